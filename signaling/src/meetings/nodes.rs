//! The SFU nodes as this instance sees them: which are there, where a session goes, and which of them its meetings must
//! leave. One task looks after them; nothing is judged while the bus is away.

mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tianqiao_bus::{Bus, NodeId};
use tianqiao_protocol::control::{InstanceId, RoomId, SessionId};
use tianqiao_protocol::fleet::NodeReport;

use super::now;
use crate::config::Config;
use crate::limits::{Rate, TokenBucket};
use crate::metrics::Metrics;
use crate::placement::{Fleet, PlacementLimits, Rebalancer, Wish};
pub use watch::run;

/// Sessions that a node may have still although they moved away while it could not be asked; more are left to time out.
const MAX_STALE: usize = 10_000;

pub struct Nodes {
    bus: Arc<dyn Bus>,
    instance: InstanceId,
    metrics: Arc<Metrics>,
    region: String,
    /// Sessions that are asked to leave one draining node.
    drain_rate: Rate,
    /// Sessions that cannot move are ended when their node has drained for this time.
    drain_grace: Duration,
    inner: Mutex<Inner>,
}

struct Inner {
    fleet: Fleet,
    rebalancer: Rebalancer,
    /// This instance's rooms on each node, with their sessions.
    rooms: HashMap<NodeId, BTreeMap<RoomId, u32>>,
    drains: HashMap<NodeId, Drain>,
    /// By node: what it is to close when it is back.
    stale: HashMap<NodeId, HashSet<SessionId>>,
    /// Nodes that are being asked whether they live.
    asked: HashSet<NodeId>,
    /// From when on a node that is missing is lost; none while the bus is away.
    judged_from: Option<Instant>,
    /// Nodes that are gone, until their rooms have been told.
    lost: Vec<NodeId>,
}

struct Drain {
    since: Instant,
    bucket: TokenBucket,
}

/// A place that is held on a node; dropped, it is free again.
pub struct Reservation {
    nodes: Arc<Nodes>,
    pub node: NodeId,
    is_used: bool,
}

impl Reservation {
    /// The session is there.
    pub fn opened(mut self) {
        self.is_used = true;
        self.nodes.lock().fleet.opened(now(), &self.node);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_used {
            self.nodes.lock().fleet.given_up(&self.node);
        }
    }
}

impl Nodes {
    pub fn new(config: &Config, instance: &InstanceId, bus: Arc<dyn Bus>, metrics: Arc<Metrics>) -> Arc<Self> {
        let limits = PlacementLimits {
            soft: f64::from(config.node_soft_load) / 100.0,
            hard: f64::from(config.node_hard_load) / 100.0,
            room_share: config.room_node_sessions,
            ..PlacementLimits::default()
        };
        Arc::new(Self {
            bus,
            instance: instance.clone(),
            metrics,
            region: config.region.clone(),
            drain_rate: Rate::per_second(config.drain_rate, config.drain_rate),
            drain_grace: config.drain_grace,
            inner: Mutex::new(Inner {
                fleet: Fleet::new(limits),
                rebalancer: Rebalancer::new(Rate::per_minute(
                    config.rebalance_rate,
                    config.rebalance_rate.div_ceil(4).max(12),
                )),
                rooms: HashMap::new(),
                drains: HashMap::new(),
                stale: HashMap::new(),
                asked: HashSet::new(),
                judged_from: Some(now()),
                lost: Vec::new(),
            }),
        })
    }

    /// Holds a place for one more session of a room that has these nodes; `to` rather than another.
    pub fn reserve(
        self: &Arc<Self>,
        room: &BTreeMap<NodeId, u32>,
        but: &[NodeId],
        to: Option<&NodeId>,
    ) -> Option<Reservation> {
        let room: Vec<(NodeId, u32)> = room.iter().map(|(node, count)| (node.clone(), *count)).collect();
        let wish = Wish {
            room: &room,
            expected: 0,
            region: &self.region,
            but,
        };
        let node = self.choose(wish, to).or_else(|| {
            // Nodes of which no report has come yet.
            self.look();
            self.choose(wish, to)
        })?;
        Some(Reservation {
            nodes: self.clone(),
            node,
            is_used: false,
        })
    }

    fn choose(&self, wish: Wish<'_>, to: Option<&NodeId>) -> Option<NodeId> {
        let mut inner = self.lock();
        if let Some(to) = to
            && !wish.but.contains(to)
            && inner.fleet.reserve_on(to)
        {
            return Some(to.clone());
        }
        inner.fleet.choose(&mut rand::rng(), wish)
    }

    /// Whether somebody who leaves that node could go anywhere.
    pub fn has_other(&self, node: &NodeId) -> bool {
        let but = std::slice::from_ref(node);
        let wish = Wish {
            region: &self.region,
            but,
            ..Wish::default()
        };
        self.lock().fleet.has_place(&mut rand::rng(), wish)
    }

    /// A room has one session more on a node, or one less.
    pub fn count(&self, room: &RoomId, node: &NodeId, more: bool) {
        let mut inner = self.lock();
        if !inner.rooms.contains_key(node) {
            inner.rooms.insert(node.clone(), BTreeMap::new());
        }
        let Some(rooms) = inner.rooms.get_mut(node) else {
            return;
        };
        let sessions = rooms.entry(room.clone()).or_default();
        *sessions = if more {
            *sessions + 1
        } else {
            sessions.saturating_sub(1)
        };
        if *sessions == 0 {
            rooms.remove(room);
        }
        if rooms.is_empty() {
            inner.rooms.remove(node);
        }
    }

    /// A session that the node could not be told to close: it is told when it is back.
    pub fn close_later(&self, node: &NodeId, session: SessionId) {
        let mut inner = self.lock();
        let stale = inner.stale.entry(node.clone()).or_default();
        if stale.len() < MAX_STALE {
            stale.insert(session);
        }
    }

    fn on_report(&self, report: &NodeReport) {
        let mut inner = self.lock();
        let came_back = !inner.fleet.is_present(&report.node);
        let restarted = inner.fleet.on_report(now(), report);
        if restarted {
            // What it had is gone, also what was to be closed.
            inner.stale.remove(&report.node);
            inner.lost.push(report.node.clone());
        } else if came_back {
            tracing::info!(node = report.node, region = report.region, "a media server is there");
        }
    }

    /// Compares what is known with the nodes on the bus.
    fn look(&self) {
        let there = self.bus.nodes();
        let mut inner = self.lock();
        inner.fleet.on_missed(|node| there.contains(node));
        for node in &there {
            inner.fleet.on_seen(node);
        }
        if !inner.is_judged(now()) {
            return;
        }
        let gone: Vec<NodeId> = inner
            .fleet
            .present()
            .filter(|node| !there.contains(node))
            .cloned()
            .collect();
        for node in gone {
            inner.on_lost(&node);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The bus has been there for long enough to miss a node on it.
    fn is_judged(&self, now: Instant) -> bool {
        self.judged_from.is_some_and(|from| now >= from)
    }

    fn on_lost(&mut self, node: &NodeId) {
        if self.fleet.on_lost(node) {
            self.lost.push(node.clone());
        }
    }
}

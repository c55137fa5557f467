//! The task that looks after the nodes of this instance's meetings: loss, drain, rebalancing.

use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use tianqiao_bus::{BusError, NodeId};
use tianqiao_protocol::control::{Owner, RoomId, SfuRequest};
use tianqiao_protocol::ws::EndReason;
use tokio::time::MissedTickBehavior;

use super::super::{Meetings, now};
use super::{Drain, Nodes};
use crate::limits::TokenBucket;
use crate::meeting::MoveReason;
use crate::placement::RoomOnNode;

const TICK: Duration = Duration::from_millis(250);
/// Ticks from one look for nodes that are too full to the next.
const REBALANCE_TICKS: u32 = 4;
/// After the bus came back nodes may need this long to be heard of.
const RECONNECT_GRACE: Duration = Duration::from_secs(2);
/// A node that has not reported for this time is asked whether it lives: one that was killed is found out at once.
const LATE_REPORT: Duration = Duration::from_millis(650);
/// The longest an answer may take that says anything; a slow one is no loss.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Sessions of a lost node begin anew within so much time for each of them, at most within [`MAX_JITTER`].
const JITTER_PER_SESSION: Duration = Duration::from_millis(2);
const MAX_JITTER: Duration = Duration::from_secs(1);

/// For as long as the server runs.
pub async fn run(meetings: Arc<Meetings>) {
    let nodes = meetings.nodes.clone();
    let mut reports = nodes.bus.reports();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let connected = nodes.bus.connected();
    let mut number = 0_u32;
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some(report) => nodes.on_report(&report),
                // No more will come; the nodes on the bus are still seen.
                None => {
                    ticks.tick().await;
                }
            },
            _ = ticks.tick() => {
                number = number.wrapping_add(1);
                let is_connected = *connected.borrow();
                if !is_connected {
                    nodes.lock().judged_from = None;
                    continue;
                }
                nodes.lock().judged_from.get_or_insert_with(|| now() + RECONNECT_GRACE);
                nodes.look();
                nodes.ask_late_ones();
                nodes.close_stale(&meetings);
                drain(&meetings, &nodes);
                if number.is_multiple_of(REBALANCE_TICKS) {
                    rebalance(&meetings, &nodes);
                }
            }
        }
        leave_lost(&meetings, &nodes);
    }
}

impl Nodes {
    /// The node may be gone: it is asked.
    pub fn suspect(self: &Arc<Self>, node: &NodeId) {
        if !*self.bus.connected().borrow() || !self.lock().asked.insert(node.clone()) {
            return;
        }
        let (nodes, node) = (self.clone(), node.clone());
        tokio::spawn(async move {
            let asker = nodes.asker();
            let asked = nodes.bus.request(&node, &asker, SfuRequest::Ping);
            let answer = tokio::time::timeout(PING_TIMEOUT, asked).await;
            let mut inner = nodes.lock();
            inner.asked.remove(&node);
            if let Ok(Err(BusError::NoNode(_) | BusError::Gone)) = answer
                && inner.is_judged(now())
            {
                inner.on_lost(&node);
            }
        });
    }

    fn asker(&self) -> Owner {
        Owner {
            instance: self.instance.clone(),
            epoch: 0,
        }
    }

    /// Asks the nodes of this instance's meetings whose reports are late.
    fn ask_late_ones(self: &Arc<Self>) {
        let now = now();
        let late: Vec<NodeId> = {
            let inner = self.lock();
            let late = inner.rooms.keys().filter(|node| {
                let reported = inner.fleet.reported_at(node);
                inner.fleet.is_present(node)
                    && reported.is_none_or(|at| now.saturating_duration_since(at) > LATE_REPORT)
            });
            late.cloned().collect()
        };
        late.iter().for_each(|node| self.suspect(node));
    }

    /// Tells nodes that are back to close what has moved away meanwhile.
    fn close_stale(self: &Arc<Self>, meetings: &Meetings) {
        let back: Vec<_> = {
            let mut inner = self.lock();
            let present: Vec<NodeId> = inner
                .stale
                .keys()
                .filter(|node| inner.fleet.is_present(node))
                .cloned()
                .collect();
            let take = |node: NodeId| Some((inner.stale.remove(&node)?, node));
            present.into_iter().filter_map(take).collect()
        };
        for (sessions, node) in back {
            tracing::info!(%node, sessions = sessions.len(), "a media server that is back closes what has moved away");
            for session in sessions {
                let live = meetings.find_session(&session);
                match live {
                    Some(live) if live.has_session_on(&session, &node) => {}
                    Some(live) => live.close_media(session, node.clone()),
                    None => self.close(node.clone(), session),
                }
            }
        }
    }

    /// Of a meeting that is over.
    fn close(self: &Arc<Self>, node: NodeId, session: String) {
        let nodes = self.clone();
        tokio::spawn(async move {
            // The latest claim there can be: nobody owns the meeting any longer.
            let owner = Owner {
                epoch: u64::MAX,
                ..nodes.asker()
            };
            let _ = nodes.bus.request(&node, &owner, SfuRequest::Close { session }).await;
        });
    }

    fn rooms_on(&self, node: &str) -> Vec<(RoomId, u32)> {
        let inner = self.lock();
        let rooms = inner.rooms.get(node).into_iter().flatten();
        rooms.map(|(room, sessions)| (room.clone(), *sessions)).collect()
    }
}

/// Everybody on nodes that are gone is asked to go elsewhere.
fn leave_lost(meetings: &Meetings, nodes: &Arc<Nodes>) {
    let lost = std::mem::take(&mut nodes.lock().lost);
    for node in lost {
        let rooms = nodes.rooms_on(&node);
        let sessions: u32 = rooms.iter().map(|(_, sessions)| sessions).sum();
        tracing::warn!(node, sessions, "a media server is gone, its sessions go elsewhere");
        nodes.metrics.nodes_lost.inc();
        let within = (JITTER_PER_SESSION * sessions).min(MAX_JITTER);
        for (room, _) in rooms {
            if let Some(live) = meetings.find_room(&room) {
                live.on_node_lost(&node, within);
            }
        }
    }
}

/// Sessions on draining nodes are asked to leave, few at a time.
fn drain(meetings: &Meetings, nodes: &Arc<Nodes>) {
    let now = now();
    let draining: Vec<NodeId> = nodes.lock().fleet.draining().cloned().collect();
    nodes.lock().drains.retain(|node, _| draining.contains(node));
    for node in draining {
        let rooms = nodes.rooms_on(&node);
        if rooms.is_empty() {
            continue;
        }
        let (mut allowed, is_over) = {
            let mut inner = nodes.lock();
            let rate = nodes.drain_rate;
            if !inner.drains.contains_key(&node) {
                tracing::info!(
                    node,
                    rooms = rooms.len(),
                    "a media server drains, its sessions are moved"
                );
            }
            let drain = inner.drains.entry(node.clone()).or_insert_with(|| Drain {
                since: now,
                bucket: TokenBucket::new(rate, now),
            });
            let is_over = now.saturating_duration_since(drain.since) >= nodes.drain_grace;
            (drain.bucket.available(now), is_over)
        };
        let has_other = nodes.has_other(&node);
        for (room, _) in rooms {
            let Some(live) = meetings.find_room(&room) else {
                continue;
            };
            if is_over {
                live.end_unmovable(&node, EndReason::ServerShutdown);
            }
            if allowed == 0 || !has_other {
                continue;
            }
            let started = live.start_moves(&node, allowed, MoveReason::Drain, None);
            allowed -= started.min(allowed);
            if let Some(drain) = nodes.lock().drains.get_mut(&node) {
                drain.bucket.charge(now, started);
            }
        }
    }
}

/// Nodes that are too full give rooms and sessions away.
fn rebalance(meetings: &Meetings, nodes: &Arc<Nodes>) {
    let full: Vec<NodeId> = {
        let inner = nodes.lock();
        let own = inner.rooms.keys();
        own.filter(|node| inner.fleet.is_present(node) && !inner.fleet.is_draining(node))
            .filter(|node| {
                inner
                    .fleet
                    .load(node)
                    .is_some_and(|load| load > inner.fleet.rest_load())
            })
            .cloned()
            .collect()
    };
    for node in full {
        let mut rooms: Vec<RoomOnNode> = nodes
            .rooms_on(&node)
            .into_iter()
            .filter_map(|(room, _)| {
                let sessions = meetings.find_room(&room)?.movable(&node) as u32;
                Some(RoomOnNode { room, sessions })
            })
            .collect();
        rooms.shuffle(&mut rand::rng());
        let sheds = {
            let mut inner = nodes.lock();
            let super::Inner { fleet, rebalancer, .. } = &mut *inner;
            rebalancer.step(now(), &mut rand::rng(), fleet, &node, rooms)
        };
        for shed in sheds {
            tracing::info!(
                node,
                to = shed.to,
                room = shed.room,
                sessions = shed.sessions,
                "a full media server gives sessions away"
            );
            if let Some(live) = meetings.find_room(&shed.room) {
                live.start_moves(&node, shed.sessions as usize, MoveReason::Rebalance, Some(&shed.to));
            }
        }
    }
}

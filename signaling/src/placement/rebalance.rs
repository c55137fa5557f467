//! First placements leave some nodes too full: those give rooms and sessions away, few at a time and only to nodes that
//! stay clearly below the threshold with them, so that nothing goes back and forth.

use std::collections::HashMap;
use std::time::Instant;

use rand::Rng;
use tianqiao_protocol::fleet::NodeId;

use super::{Fleet, Wish};
use crate::limits::{Rate, TokenBucket};

/// What a node that gives away stops at, and what a node that takes must stay below, under the soft threshold.
pub(super) const SOURCE_MARGIN: f64 = 0.05;
const TARGET_MARGIN: f64 = 0.15;
/// Rooms of at most so many sessions go whole.
const SMALL_ROOM: u32 = 12;

/// A room with what it has on the node.
#[derive(Clone, Debug)]
pub struct RoomOnNode {
    pub room: String,
    /// That can move.
    pub sessions: u32,
}

/// Sessions of a room that are to go to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shed {
    pub room: String,
    pub sessions: u32,
    pub to: NodeId,
}

pub struct Rebalancer {
    rate: Rate,
    nodes: HashMap<NodeId, Giving>,
}

struct Giving {
    bucket: TokenBucket,
    /// It was over the threshold and has not come below it by the margin.
    active: bool,
    /// Sessions that were sent away and that its reports may still count, until then.
    leaving: Vec<(Instant, u32)>,
}

impl Rebalancer {
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            nodes: HashMap::new(),
        }
    }

    /// What `node` gives away now of these rooms, the smallest whole ones first.
    pub fn step(
        &mut self,
        now: Instant,
        rng: &mut impl Rng,
        fleet: &Fleet,
        node: &NodeId,
        mut rooms: Vec<RoomOnNode>,
    ) -> Vec<Shed> {
        let soft = fleet.limits.soft;
        let Some(load) = fleet.load(node) else {
            self.nodes.remove(node);
            return Vec::new();
        };
        if load < soft - SOURCE_MARGIN {
            self.nodes.remove(node);
            return Vec::new();
        }
        if load <= soft && !self.nodes.contains_key(node) {
            return Vec::new();
        }
        let rate = self.rate;
        let giving = self.nodes.entry(node.clone()).or_insert_with(|| Giving {
            bucket: TokenBucket::new(rate, now),
            active: false,
            leaving: Vec::new(),
        });
        giving.active |= load > soft;
        giving.leaving.retain(|(until, _)| *until > now);
        if !giving.active {
            return Vec::new();
        }
        let mut left = giving.leaving.iter().map(|(_, count)| count).sum::<u32>();
        let mut sheds = Vec::new();
        let mut coming: HashMap<NodeId, u32> = HashMap::new();
        rooms.retain(|room| room.sessions > 0);
        rooms.sort_by_key(|room| room.sessions);
        for room in rooms {
            if fleet.load_without(node, left) < soft - SOURCE_MARGIN {
                break;
            }
            // A small room goes whole or not at all; of a large one single sessions.
            let sessions = if room.sessions <= SMALL_ROOM { room.sessions } else { 1 };
            let Some(to) = fleet.target(rng, node, sessions, &coming) else {
                break;
            };
            if giving.bucket.take_all(now, sessions as usize).is_err() {
                break;
            }
            left += sessions;
            giving.leaving.push((now + LEAVING_FOR, sessions));
            *coming.entry(to.clone()).or_default() += sessions;
            sheds.push(Shed {
                room: room.room,
                sessions,
                to,
            });
        }
        sheds
    }
}

/// So long a move takes at most, and its report.
const LEAVING_FOR: std::time::Duration = std::time::Duration::from_secs(15);

impl Fleet {
    /// How full a node would be without some of its sessions.
    fn load_without(&self, id: &str, sessions: u32) -> f64 {
        self.get(id).map_or(0.0, |node| {
            let all = node.sessions().max(1);
            let rest = f64::from(all.saturating_sub(sessions)) / f64::from(all);
            node.load(0).worst() * rest
        })
    }

    /// Another node that stays clearly below the threshold with so many more.
    fn target(
        &self,
        rng: &mut impl Rng,
        from: &NodeId,
        sessions: u32,
        coming: &HashMap<NodeId, u32>,
    ) -> Option<NodeId> {
        let region = self.get(from)?.region.as_str();
        for _ in 0..2 {
            let wish = Wish {
                region,
                but: std::slice::from_ref(from),
                ..Wish::default()
            };
            let index = self.find(rng, wish)?;
            let node = &self.nodes[index as usize];
            let more = sessions + coming.get(&node.id).copied().unwrap_or(0);
            if node.region == region && node.load(more).worst() < self.limits.soft - TARGET_MARGIN {
                return Some(node.id.clone());
            }
        }
        None
    }
}

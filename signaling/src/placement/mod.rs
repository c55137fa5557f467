//! On which SFU node a session goes. Sans-IO: load reports and the time in, decisions out. A decision takes the same time
//! in a fleet of three nodes and of a hundred thousand: nodes stand in lists by region and by how full they are.

mod node;
mod rebalance;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rand::Rng;
use tianqiao_protocol::fleet::{NodeId, NodeReport};

use node::{Node, Tier};
pub use rebalance::{Rebalancer, RoomOnNode, Shed};

/// How full nodes may be, as parts of their capacity.
#[derive(Clone, Copy, Debug)]
pub struct PlacementLimits {
    /// From here on a room takes another node, and the node gives sessions away.
    pub soft: f64,
    /// From here on a node takes nothing more.
    pub hard: f64,
    /// Sessions of one room on one node before the room takes another; 0: as many as fit.
    pub room_share: u32,
    /// A report that comes so long after a session was opened shows it.
    pub settle: Duration,
}

impl Default for PlacementLimits {
    fn default() -> Self {
        Self {
            soft: 0.7,
            hard: 0.9,
            room_share: 0,
            settle: Duration::from_millis(1500),
        }
    }
}

/// What a session to be placed asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// The room's nodes with its sessions on each.
    pub room: &'a [(NodeId, u32)],
    /// How many the room is expected to have in the end; 0: not known.
    pub expected: u32,
    /// Empty: any.
    pub region: &'a str,
    /// Not these: the session is to leave them.
    pub but: &'a [NodeId],
}

type Index = u32;

/// Nodes of one region that take sessions, by how full they are.
#[derive(Default)]
struct Region {
    tiers: [Vec<Index>; Tier::COUNT],
}

/// All nodes of which reports come.
pub struct Fleet {
    limits: PlacementLimits,
    nodes: Vec<Node>,
    by_id: HashMap<NodeId, Index>,
    regions: BTreeMap<String, Region>,
    free: Vec<Index>,
}

impl Fleet {
    pub fn new(limits: PlacementLimits) -> Self {
        Self {
            limits,
            nodes: Vec::new(),
            by_id: HashMap::new(),
            regions: BTreeMap::new(),
            free: Vec::new(),
        }
    }

    /// Returns whether the node was started again since its last report: what it had is gone.
    pub fn on_report(&mut self, now: Instant, report: &NodeReport) -> bool {
        let index = self.index_of(&report.node);
        self.unlist(index);
        let node = &mut self.nodes[index as usize];
        let restarted = node.on_report(now, report, self.limits.settle);
        self.list(index);
        restarted
    }

    /// A node that is there although no report of it has come.
    pub fn on_seen(&mut self, id: &NodeId) {
        let index = self.index_of(id);
        let node = &self.nodes[index as usize];
        if !node.present && !node.dead {
            self.change(index, |node| node.present = true);
        }
    }

    /// The bus misses a node that is known to be gone: if it lists it again, it is back.
    pub fn on_missed(&mut self, there: impl Fn(&NodeId) -> bool) {
        for node in self.nodes.iter_mut().filter(|node| node.dead) {
            node.dead = there(&node.id);
        }
    }

    /// A node is gone: nothing is placed on it until it reports again. Returns whether that is news.
    pub fn on_lost(&mut self, id: &str) -> bool {
        let Some(&index) = self.by_id.get(id) else {
            return false;
        };
        let was = self.nodes[index as usize].present;
        self.change(index, Node::on_lost);
        was
    }

    /// Forgets a node.
    pub fn forget(&mut self, id: &str) {
        if let Some(index) = self.by_id.remove(id) {
            self.unlist(index);
            self.nodes[index as usize] = Node::new(NodeId::new());
            self.free.push(index);
        }
    }

    pub fn is_present(&self, id: &str) -> bool {
        self.get(id).is_some_and(|node| node.present)
    }

    pub fn is_draining(&self, id: &str) -> bool {
        self.get(id).is_some_and(|node| node.present && node.draining)
    }

    /// When its last report came.
    pub fn reported_at(&self, id: &str) -> Option<Instant> {
        self.get(id)?.reported_at
    }

    /// How full it is with what is reserved, as a part of its capacity.
    pub fn load(&self, id: &str) -> Option<f64> {
        self.get(id).map(|node| node.load(0).worst())
    }

    pub fn present(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter().filter(|node| node.present).map(|node| &node.id)
    }

    pub fn draining(&self) -> impl Iterator<Item = &NodeId> {
        let draining = self.nodes.iter().filter(|node| node.present && node.draining);
        draining.map(|node| &node.id)
    }

    /// Picks a node and holds a place on it; [`Self::opened`] or [`Self::given_up`] follows.
    pub fn choose(&mut self, rng: &mut impl Rng, wish: Wish<'_>) -> Option<NodeId> {
        let index = self.find(rng, wish)?;
        self.change(index, |node| node.pending += 1);
        Some(self.nodes[index as usize].id.clone())
    }

    /// Holds a place on that node, if it takes sessions.
    pub fn reserve_on(&mut self, id: &str) -> bool {
        let index = self.by_id.get(id).copied();
        let index = index.filter(|index| self.nodes[*index as usize].tier(&self.limits).is_some());
        if let Some(index) = index {
            self.change(index, |node| node.pending += 1);
        }
        index.is_some()
    }

    /// Below this load a node has nothing to give away.
    pub fn rest_load(&self) -> f64 {
        self.limits.soft - rebalance::SOURCE_MARGIN
    }

    /// Whether [`Self::choose`] would find one.
    pub fn has_place(&self, rng: &mut impl Rng, wish: Wish<'_>) -> bool {
        self.find(rng, wish).is_some()
    }

    /// The session that a place was held for is on the node.
    pub fn opened(&mut self, now: Instant, id: &str) {
        if let Some(&index) = self.by_id.get(id) {
            self.change(index, |node| node.on_opened(now));
        }
    }

    /// The session that a place was held for will not come.
    pub fn given_up(&mut self, id: &str) {
        if let Some(&index) = self.by_id.get(id) {
            self.change(index, |node| node.pending = node.pending.saturating_sub(1));
        }
    }

    fn find(&self, rng: &mut impl Rng, wish: Wish<'_>) -> Option<Index> {
        let region = self.regions.get(wish.region);
        // Of the room's own nodes, in the region where it has nodes that take sessions.
        let local = !wish.region.is_empty() && region.is_some_and(Region::has_places);
        let own = || {
            wish.room.iter().filter_map(|(id, sessions)| {
                let index = *self.by_id.get(id)?;
                let node = &self.nodes[index as usize];
                let near = !local || node.region == wish.region;
                (near && !wish.but.contains(id)).then_some((index, node, *sessions))
            })
        };
        let least = |limit: f64, share: bool| {
            let fit = own().filter(|(_, node, sessions)| {
                let shared = share && self.is_shared_out(node, *sessions, wish.expected);
                node.takes() && !shared && node.load(1).worst() < limit
            });
            fit.min_by(|(_, a, _), (_, b, _)| a.load(0).worst().total_cmp(&b.load(0).worst()))
                .map(|(index, ..)| index)
        };
        let skip = |index: Index| {
            let id = &self.nodes[index as usize].id;
            wish.but.contains(id) || wish.room.iter().any(|(own, _)| own == id)
        };
        least(self.limits.soft, true)
            .or_else(|| self.two_choices(rng, region, Tier::Open, &skip))
            .or_else(|| least(self.limits.soft, false))
            .or_else(|| least(self.limits.hard, false))
            .or_else(|| self.two_choices(rng, region, Tier::Warm, &skip))
            .or_else(|| self.elsewhere(rng, wish, Tier::Open, &skip))
            .or_else(|| self.elsewhere(rng, wish, Tier::Warm, &skip))
            .or_else(|| {
                // Busy, but with places: better than to send somebody away.
                let hot = own().filter(|(_, node, _)| node.tier(&self.limits) == Some(Tier::Hot));
                hot.map(|(index, ..)| index).next()
            })
            .or_else(|| self.two_choices(rng, region, Tier::Hot, &skip))
            .or_else(|| self.elsewhere(rng, wish, Tier::Hot, &skip))
    }

    /// The room has its share of the node.
    fn is_shared_out(&self, node: &Node, sessions: u32, expected: u32) -> bool {
        let fits = node.fits(self.limits.soft);
        let mut share = match self.limits.room_share {
            0 => u32::MAX,
            share => share,
        };
        if expected > fits {
            share = share.min(expected.div_ceil(expected.div_ceil(fits.max(1))));
        }
        sessions >= share
    }

    /// The emptier one of two that chance picks.
    fn two_choices(
        &self,
        rng: &mut impl Rng,
        region: Option<&Region>,
        tier: Tier,
        skip: &impl Fn(Index) -> bool,
    ) -> Option<Index> {
        let nodes = &region?.tiers[tier as usize];
        let first = pick(rng, nodes, skip)?;
        let second = pick(rng, nodes, &|index| index == first || skip(index)).unwrap_or(first);
        let load = |index: Index| self.nodes[index as usize].load(0).worst();
        Some(if load(second) < load(first) { second } else { first })
    }

    /// In another region, of those the emptiest by two choices each.
    fn elsewhere(
        &self,
        rng: &mut impl Rng,
        wish: Wish<'_>,
        tier: Tier,
        skip: &impl Fn(Index) -> bool,
    ) -> Option<Index> {
        let others = self.regions.iter().filter(|(name, _)| **name != wish.region);
        let found: Vec<Index> = others
            .filter_map(|(_, region)| self.two_choices(rng, Some(region), tier, skip))
            .collect();
        let load = |index: &Index| self.nodes[*index as usize].load(0).worst();
        found.into_iter().min_by(|a, b| load(a).total_cmp(&load(b)))
    }

    fn get(&self, id: &str) -> Option<&Node> {
        self.by_id.get(id).map(|index| &self.nodes[*index as usize])
    }

    fn index_of(&mut self, id: &NodeId) -> Index {
        if let Some(&index) = self.by_id.get(id) {
            return index;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = Node::new(id.clone());
                index
            }
            None => {
                self.nodes.push(Node::new(id.clone()));
                (self.nodes.len() - 1) as Index
            }
        };
        self.by_id.insert(id.clone(), index);
        index
    }

    fn change(&mut self, index: Index, act: impl FnOnce(&mut Node)) {
        let before = self.nodes[index as usize].listed.map(|(tier, _)| tier);
        act(&mut self.nodes[index as usize]);
        if self.nodes[index as usize].tier(&self.limits) != before {
            self.unlist(index);
            self.list(index);
        }
    }

    fn list(&mut self, index: Index) {
        let node = &mut self.nodes[index as usize];
        let Some(tier) = node.tier(&self.limits) else {
            return;
        };
        if !self.regions.contains_key(&node.region) {
            self.regions.insert(node.region.clone(), Region::default());
        }
        if let Some(region) = self.regions.get_mut(&node.region) {
            let list = &mut region.tiers[tier as usize];
            node.listed = Some((tier, list.len() as u32));
            list.push(index);
        }
    }

    fn unlist(&mut self, index: Index) {
        let node = &mut self.nodes[index as usize];
        let Some((tier, place)) = node.listed.take() else {
            return;
        };
        let Some(region) = self.regions.get_mut(&node.region) else {
            return;
        };
        let list = &mut region.tiers[tier as usize];
        list.swap_remove(place as usize);
        let moved = list.get(place as usize).copied();
        if let Some(moved) = moved {
            self.nodes[moved as usize].listed = Some((tier, place));
        }
    }
}

impl Region {
    fn has_places(&self) -> bool {
        self.tiers.iter().any(|tier| !tier.is_empty())
    }
}

/// How often chance may hit a node that is out of question before all are looked through.
const TRIES: usize = 4;

fn pick(rng: &mut impl Rng, nodes: &[Index], skip: &impl Fn(Index) -> bool) -> Option<Index> {
    if nodes.is_empty() {
        return None;
    }
    for _ in 0..TRIES {
        let index = nodes[rng.random_range(0..nodes.len())];
        if !skip(index) {
            return Some(index);
        }
    }
    // Few nodes, or a room on very many: from a random one on.
    let start = rng.random_range(0..nodes.len());
    let (tail, head) = nodes.split_at(start);
    head.iter().chain(tail).copied().find(|index| !skip(*index))
}

#[cfg(test)]
mod tests;

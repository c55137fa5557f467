//! A room over several nodes as its owner wants it: which nodes are linked, and by which link each hears of the
//! participants of the others. Sans-IO: participants in, [`RoomRelays`] for the nodes out, their replies in.
//!
//! Every node is told a state, not steps; changes since the last state that it surely has go as such. Where it is not sure
//! what a node has, it is told all.

mod grid;
mod links;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::Rng;
use tianqiao_protocol::TrackInfo;
use tianqiao_protocol::control::{LinkId, RelayEndpoint, RemoteParticipant, RoomId, RoomRelays, SessionId};
use tianqiao_protocol::fleet::NodeId;

use grid::Grid;
use links::Links;
use sync::{Sync, Told};

/// Participants of one message; the rest follow as changes, so that none is too large for the bus.
const MAX_PARTICIPANTS: usize = 500;

#[derive(Clone, Copy, Debug)]
pub struct TopologyLimits {
    /// Links of one node in one room.
    pub fan_out: usize,
    /// Keys of links are replaced this often.
    pub rotate: Duration,
}

/// A participant as other nodes are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where its media comes from.
    pub node: NodeId,
    /// Another node on which it has a session: it moves there.
    pub also: Option<NodeId>,
    pub identity: String,
    pub tracks: Vec<TrackInfo>,
}

/// What a node said to a [`RoomRelays`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayReply {
    Relayed(Vec<RelayEndpoint>),
    /// It is not at the base of the changes.
    Behind,
    /// Whether it was carried out is not known, or it was refused.
    Failed,
}

pub struct Topology {
    room: RoomId,
    limits: TopologyLimits,
    members: BTreeMap<SessionId, Member>,
    /// Sessions of each node, those that move to it included.
    sessions: BTreeMap<NodeId, usize>,
    grid: Grid,
    links: Links,
    /// Decides who is the dominant speaker.
    home: Option<NodeId>,
    nodes: BTreeMap<NodeId, Sync>,
    last_version: u64,
}

impl Topology {
    pub fn new(room: RoomId, limits: TopologyLimits) -> Self {
        Self {
            room,
            grid: Grid::new(limits.fan_out),
            limits,
            members: BTreeMap::new(),
            sessions: BTreeMap::new(),
            links: Links::default(),
            home: None,
            nodes: BTreeMap::new(),
            last_version: 0,
        }
    }

    /// The node that decides who is the dominant speaker.
    pub fn home(&self) -> Option<&NodeId> {
        self.home.as_ref()
    }

    /// Another instance tells the nodes from now on. Returns them with their sessions.
    pub fn take_nodes(&mut self) -> BTreeMap<NodeId, usize> {
        self.members.clear();
        self.nodes.clear();
        self.links = Links::default();
        std::mem::take(&mut self.sessions)
    }

    /// The room's nodes with their sessions.
    #[cfg(test)]
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, usize)> {
        self.sessions.iter().map(|(node, sessions)| (node, *sessions))
    }

    /// What is known of a participant; none: it is gone. Names the nodes that have a session less or more than before.
    pub fn set_member(
        &mut self,
        now: Instant,
        rng: &mut impl Rng,
        session: &SessionId,
        member: Option<Member>,
    ) -> Vec<(NodeId, bool)> {
        if self.members.get(session) == member.as_ref() {
            return Vec::new();
        }
        let mut counts = Vec::new();
        let before = match &member {
            Some(member) => self.members.insert(session.clone(), member.clone()),
            None => self.members.remove(session),
        };
        let placed = |member: &Option<Member>| match member {
            Some(member) => {
                let also = member.also.clone().filter(|also| *also != member.node);
                (Some(member.node.clone()), also)
            }
            None => (None, None),
        };
        let (old, new) = (placed(&before), placed(&member));
        if old != new {
            counts.extend([old.0, old.1].into_iter().flatten().map(|node| (node, false)));
            counts.extend([new.0, new.1].into_iter().flatten().map(|node| (node, true)));
            for (node, more) in &counts {
                self.count(node, *more);
            }
            self.arrange(now, rng);
        }
        let told = |member: &Option<Member>| member.as_ref().map(|member| member.node.clone());
        let quiet = told(&before) == told(&member)
            && before.as_ref().map(|member| (&member.identity, &member.tracks))
                == member.as_ref().map(|member| (&member.identity, &member.tracks));
        if !quiet {
            let own = told(&member).filter(|node| told(&before).as_ref() == Some(node));
            for (_, sync) in self.nodes.iter_mut().filter(|(node, _)| own.as_ref() != Some(node)) {
                sync.change(session);
            }
        }
        counts
    }

    /// The node is gone, or was started again: what it knew is lost.
    pub fn on_node_lost(&mut self, node: &str) {
        let has_sessions = self.sessions.contains_key(node);
        self.links.forget_endpoints(node);
        if has_sessions {
            self.nodes.values_mut().for_each(|sync| sync.links_changed = true);
            if let Some(sync) = self.nodes.get_mut(node) {
                sync.forget();
            }
        } else {
            self.nodes.remove(node);
        }
    }

    fn count(&mut self, node: &NodeId, more: bool) {
        let sessions = self.sessions.entry(node.clone()).or_default();
        if more {
            *sessions += 1;
        } else {
            *sessions = sessions.saturating_sub(1);
        }
        if *sessions == 0 {
            self.sessions.remove(node);
        }
    }

    /// After nodes got their first session or lost their last one.
    fn arrange(&mut self, now: Instant, rng: &mut impl Rng) {
        let sessions = &self.sessions;
        if self.grid.update(|node| sessions.contains_key(node), sessions.keys()) {
            self.rearrange(now, rng);
        }
    }

    fn rearrange(&mut self, now: Instant, rng: &mut impl Rng) {
        let is_home = |node: &NodeId| self.sessions.contains_key(node);
        if !self.home.as_ref().is_some_and(is_home) {
            let most = self.sessions.iter().max_by_key(|(_, sessions)| **sessions);
            self.home = most.map(|(node, _)| node.clone());
        }
        let pairs: BTreeSet<(NodeId, NodeId)> = self.grid.pairs().collect();
        self.links.set(now, rng, pairs);
        let several = self.grid.len() > 1;
        for node in self.sessions.keys().filter(|_| several) {
            self.nodes.entry(node.clone()).or_default();
        }
        // What comes by which link may have changed for all.
        let (sessions, nodes) = (&self.sessions, &mut self.nodes);
        nodes.retain(|node, sync| {
            sync.leaves = !several || !sessions.contains_key(node);
            sync.tell_all();
            // Who was never told of the room's others has nothing to forget.
            !sync.leaves || sync.was_told()
        });
    }

    /// What a node is to be told now.
    pub fn poll_request(&mut self, now: Instant) -> Option<(NodeId, RoomRelays)> {
        let due = |(_, sync): &(&NodeId, &Sync)| sync.is_due(now);
        let node = self.nodes.iter().find(due).map(|(node, _)| node.clone())?;
        let home = self.home.as_deref().filter(|home| *home != node.as_str());
        let home = home.and_then(|home| self.via(&node, home));
        let links = self.links.of(&node);
        self.last_version += 1;
        let version = self.last_version;
        let remote = |session: &SessionId| self.remote(&node, session);
        let all = || self.members.keys().cloned();
        let sync = self.nodes.get(&node)?;
        let Told {
            base,
            participants,
            gone,
            rest,
        } = sync.gather(all, remote, MAX_PARTICIPANTS);
        if let Some(sync) = self.nodes.get_mut(&node) {
            sync.on_sent(version, rest);
        }
        let relays = RoomRelays {
            room: self.room.clone(),
            version,
            base,
            home,
            links,
            participants,
            gone,
        };
        Some((node, relays))
    }

    /// The answer to the request of that version; of another one it says nothing any longer.
    pub fn on_reply(&mut self, now: Instant, node: &str, version: u64, reply: RelayReply) {
        let Some(sync) = self.nodes.get_mut(node) else {
            return;
        };
        if !sync.on_reply(now, version, &reply) {
            return;
        }
        let is_done = sync.leaves && sync.is_settled();
        if let RelayReply::Relayed(endpoints) = reply {
            for peer in self.links.set_endpoints(node, &endpoints) {
                if let Some(sync) = self.nodes.get_mut(&peer) {
                    sync.links_changed = true;
                }
            }
        }
        if is_done {
            self.nodes.remove(node);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let retries = self.nodes.values().filter_map(Sync::due_at);
        retries.chain(self.links.rotates_at(self.limits.rotate)).min()
    }

    pub fn handle_timeout(&mut self, now: Instant, rng: &mut impl Rng) {
        for node in self.links.rotate(now, rng, self.limits.rotate) {
            if let Some(sync) = self.nodes.get_mut(&node) {
                sync.links_changed = true;
            }
        }
    }

    /// A participant as a node is to know it, if it is another's.
    fn remote(&self, node: &NodeId, session: &SessionId) -> Option<RemoteParticipant> {
        let member = self.members.get(session).filter(|member| member.node != *node)?;
        Some(RemoteParticipant {
            session: session.clone(),
            identity: member.identity.clone(),
            via: self.via(node, &member.node)?,
            tracks: member.tracks.clone(),
        })
    }

    /// The link by which media of `origin` comes to `node`.
    fn via(&self, node: &str, origin: &str) -> Option<LinkId> {
        let parent = self.grid.parent(origin, node)?;
        self.links.id(node, parent)
    }

    /// All that a node is to have in the end.
    #[cfg(test)]
    fn wanted(
        &self,
        node: &NodeId,
    ) -> (
        Option<LinkId>,
        Vec<tianqiao_protocol::control::RelayLink>,
        BTreeMap<SessionId, RemoteParticipant>,
    ) {
        let home = self.home.as_deref().filter(|home| *home != node.as_str());
        let remote = |session: &SessionId| Some((session.clone(), self.remote(node, session)?));
        (
            home.and_then(|home| self.via(node, home)),
            self.links.of(node),
            self.members.keys().filter_map(remote).collect(),
        )
    }
}

#[cfg(test)]
mod tests;

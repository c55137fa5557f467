//! A meeting over instances: made from a claim, handed on with its sessions, given up for whoever owns it now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tianqiao_bus::NodeId;
use tianqiao_protocol::ParticipantId;
use tianqiao_protocol::control::{AdoptedSession, SfuReply, SfuRequest};

use super::live::LiveMeeting;
use super::{Meetings, now};
use crate::auth::Passcode;
use crate::meeting::{MeetingSnapshot, Memo};
use crate::network::Network;
use crate::refusal::Refusal;

/// What of a meeting never changes, and by which claim it is this instance's.
#[derive(Clone, Debug)]
pub struct ClaimedMeeting {
    pub id: String,
    pub code: String,
    pub title: Option<String>,
    pub passcode: Option<Passcode>,
    pub epoch: u64,
}

/// What a meeting tells whoever keeps its claim and its snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Its snapshot is out of date; said once until [`LiveMeeting::take_snapshot`].
    Changed(String),
    Over {
        id: String,
        code: String,
        epoch: u64,
    },
    /// A node says that another instance has a later claim.
    Superseded(String),
}

/// What came of asking nodes for sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    pub adopted: u64,
    pub malformed: u64,
}

impl Meetings {
    /// A meeting of another instance that is this one's by now. Its sessions follow by [`LiveMeeting::adopt`]; nobody finds
    /// it before [`Self::open`].
    pub fn restore(self: &Arc<Self>, claimed: ClaimedMeeting, snapshot: &MeetingSnapshot) -> Arc<LiveMeeting> {
        LiveMeeting::new(self.clone(), claimed, Some(snapshot))
    }

    pub fn open(&self, live: &Arc<LiveMeeting>) {
        self.by_code.insert(live.code.clone(), live.clone());
        if self.by_id.insert(live.id.clone(), live.clone()).is_none() {
            self.metrics.meetings.inc();
        }
        super::live::spawn_timer(live);
    }

    /// A meeting that was just claimed. `from`: as for [`Self::create`].
    pub fn add(self: &Arc<Self>, claimed: ClaimedMeeting, from: Option<Network>) -> Arc<LiveMeeting> {
        if let Some(network) = from {
            self.unused().add(now(), &claimed.id, network);
        }
        let live = self.restore(claimed, &MeetingSnapshot::default());
        self.open(&live);
        live
    }

    pub fn all(&self) -> Vec<Arc<LiveMeeting>> {
        self.by_id.iter().map(|live| live.clone()).collect()
    }

    /// Says that a meeting was ended that was never here.
    pub fn bury(&self, name: &str) {
        self.remember_ended([name.to_owned()]);
    }

    pub fn is_buried(&self, id: &str) -> bool {
        let tombstones = self.tombstones.lock();
        tombstones.is_ok_and(|tombstones| tombstones.contains_key(id))
    }
}

impl LiveMeeting {
    pub fn epoch(&self) -> u64 {
        self.owner.epoch
    }

    /// Nodes that may have sessions of it.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.node_counts().into_keys().collect()
    }

    /// What is to be kept of it; the next change is a [`Notice::Changed`] again.
    pub fn take_snapshot(&self) -> MeetingSnapshot {
        self.is_dirty.store(false, Ordering::Release);
        self.lock().meeting.snapshot(now())
    }

    /// Its snapshot is out of date.
    pub fn mark_changed(&self) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            self.meetings.notify(Notice::Changed(self.id.clone()));
        }
    }

    /// Asks a node for its sessions of the meeting, and takes them in. Sessions that the node had and has no longer end.
    pub async fn adopt(
        self: &Arc<Self>,
        node: &NodeId,
        generations: &BTreeMap<ParticipantId, u32>,
    ) -> Result<Adoption, Refusal> {
        let before = self.lock().meeting.sessions_on(node);
        let room = self.id.clone();
        let SfuReply::Adopted { sessions } = self.ask(node, SfuRequest::Adopt { room }).await? else {
            return Ok(Adoption::default());
        };
        let gone: Vec<ParticipantId> = before
            .into_iter()
            .filter(|id| !sessions.iter().any(|session| session.session == *id))
            .collect();
        for id in gone {
            tracing::info!(session = id, room = self.id, %node, "the node has the session no longer");
            self.leave(&id, tianqiao_protocol::ws::EndReason::MediaTimeout);
        }
        Ok(self.take_in(node, sessions, generations))
    }

    fn take_in(
        self: &Arc<Self>,
        node: &NodeId,
        sessions: Vec<AdoptedSession>,
        generations: &BTreeMap<ParticipantId, u32>,
    ) -> Adoption {
        let mut adoption = Adoption::default();
        let now = now();
        for session in sessions {
            let Ok(memo) = serde_json::from_str::<Memo>(&session.memo) else {
                adoption.malformed += 1;
                continue;
            };
            adoption.adopted += 1;
            let id = session.session.clone();
            if self.meetings.sessions.insert(id.clone(), self.clone()).is_none() {
                self.meetings.places().adopt(now, &id, memo.network, session.connected);
                let sessions = &self.meetings.metrics.sessions;
                sessions.with_label_values(&[memo.kind.label()]).inc();
            }
            let generation = generations.get(&id).copied().unwrap_or_default();
            self.with(|meeting| meeting.adopt(now, node, memo, session, generation));
        }
        adoption
    }

    /// Another instance has it: WebSockets are cut so that their clients resume there; media goes on.
    pub fn give_up(&self) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.over, true) {
            return;
        }
        for (_, (_, outbox)) in inner.websockets.drain() {
            outbox.cut();
        }
        for (session, kind) in inner.meeting.retire() {
            self.meetings.forget_session(&session);
            let sessions = &self.meetings.metrics.sessions;
            sessions.with_label_values(&[kind.label()]).dec();
        }
        for (node, sessions) in inner.topology.take_nodes() {
            for _ in 0..sessions {
                self.meetings.nodes.count(&self.id, &node, false);
            }
        }
        self.meetings.forget(self);
        self.timeout_changed.notify_one();
    }
}

//! What one node has been told of a room, and when it is told more.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tianqiao_protocol::control::{RemoteParticipant, SessionId};

use super::RelayReply;

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(16);

pub struct Sync {
    /// The version that it surely has.
    acked: Option<u64>,
    in_flight: Option<u64>,
    /// Participants that have changed since the latest request was made.
    changed: BTreeSet<SessionId>,
    /// Links, their keys or ends, or the home have changed since then.
    pub links_changed: bool,
    /// All is to be told.
    all: bool,
    /// It has been told of others at some time.
    told: bool,
    failures: u32,
    not_before: Option<Instant>,
    /// It has no sessions of the room, or is its only node: it is told that there are no others.
    pub leaves: bool,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            acked: None,
            in_flight: None,
            changed: BTreeSet::new(),
            links_changed: true,
            all: true,
            told: false,
            failures: 0,
            not_before: None,
            leaves: false,
        }
    }
}

pub struct Told {
    pub base: Option<u64>,
    pub participants: Vec<RemoteParticipant>,
    pub gone: Vec<SessionId>,
    /// What did not fit.
    pub rest: BTreeSet<SessionId>,
}

impl Sync {
    pub fn change(&mut self, session: &SessionId) {
        if !self.all {
            self.changed.insert(session.clone());
        }
    }

    pub fn tell_all(&mut self) {
        self.all = true;
        self.links_changed = true;
        self.changed.clear();
    }

    /// It has nothing of what it was told.
    pub fn forget(&mut self) {
        self.acked = None;
        self.failures = 0;
        self.not_before = None;
        self.tell_all();
    }

    pub fn was_told(&self) -> bool {
        self.told
    }

    /// It has all there is.
    pub fn is_settled(&self) -> bool {
        !self.has_news() && self.in_flight.is_none()
    }

    fn has_news(&self) -> bool {
        self.all || self.links_changed || !self.changed.is_empty()
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.in_flight.is_none() && self.has_news() && self.not_before.is_none_or(|at| at <= now)
    }

    /// When it is to be tried again.
    pub fn due_at(&self) -> Option<Instant> {
        (self.in_flight.is_none() && self.has_news())
            .then_some(self.not_before)
            .flatten()
    }

    pub fn gather<I: Iterator<Item = SessionId>>(
        &self,
        all: impl Fn() -> I,
        remote: impl Fn(&SessionId) -> Option<RemoteParticipant>,
        most: usize,
    ) -> Told {
        let base = if self.all { None } else { self.acked };
        let mut told = Told {
            base,
            participants: Vec::new(),
            gone: Vec::new(),
            rest: BTreeSet::new(),
        };
        let mut add = |session: SessionId| match remote(&session) {
            _ if told.participants.len() + told.gone.len() >= most => drop(told.rest.insert(session)),
            Some(participant) => told.participants.push(participant),
            None if base.is_some() => told.gone.push(session),
            None => {}
        };
        if base.is_none() {
            all().for_each(&mut add);
        } else {
            self.changed.iter().cloned().for_each(&mut add);
        }
        told
    }

    pub fn on_sent(&mut self, version: u64, rest: BTreeSet<SessionId>) {
        self.in_flight = Some(version);
        self.changed = rest;
        self.links_changed = false;
        self.all = false;
        self.told = true;
    }

    /// Returns whether it is the answer that was waited for.
    pub fn on_reply(&mut self, now: Instant, version: u64, reply: &RelayReply) -> bool {
        if self.in_flight != Some(version) {
            return false;
        }
        self.in_flight = None;
        match reply {
            RelayReply::Relayed(_) => {
                self.acked = Some(version);
                self.failures = 0;
                self.not_before = None;
            }
            RelayReply::Behind => {
                self.acked = None;
                self.tell_all();
                self.not_before = None;
                // A node that is never content is not asked in a loop.
                self.failures += 1;
                if self.failures > 1 {
                    self.back_off(now);
                }
            }
            RelayReply::Failed => {
                self.acked = None;
                self.tell_all();
                self.failures += 1;
                self.back_off(now);
            }
        }
        true
    }

    fn back_off(&mut self, now: Instant) {
        let wait = FIRST_RETRY * 2_u32.saturating_pow(self.failures.min(10) - 1);
        self.not_before = Some(now + wait.min(LAST_RETRY));
    }
}

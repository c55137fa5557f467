//! Changes of the participants list, gathered so that 300 joins do not make 300² messages: sent at
//! once when it was quiet, else together after an interval.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tianqiao_protocol::ParticipantId;
use tianqiao_protocol::ws::ServerMessage;

use super::participant::Participant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Joined,
    Left,
    Tracks,
}

pub struct Roster {
    interval: Duration,
    sent_at: Option<Instant>,
    /// The number of the latest change; the first is 1.
    latest: u64,
    waiting: Vec<(u64, ParticipantId, Change)>,
}

/// Changes that are to be told now.
pub struct Changes(Vec<(u64, ParticipantId, Change)>);

impl Roster {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            sent_at: None,
            latest: 0,
            waiting: Vec::new(),
        }
    }

    pub fn record(&mut self, participant: &str, change: Change) {
        let repeated = change == Change::Tracks
            && self
                .waiting
                .iter()
                .any(|(_, id, known)| id == participant && *known == change);
        self.latest += 1;
        if repeated {
            // A newcomer in between has read the older tracks: the change counts from now.
            self.waiting
                .retain(|(_, id, known)| id != participant || *known != change);
        }
        self.waiting.push((self.latest, participant.to_owned(), change));
    }

    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// When [`Self::take`] will give what waits. `None`: nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let sent_at = self.sent_at?;
        (!self.waiting.is_empty()).then(|| sent_at + self.interval)
    }

    pub fn take(&mut self, now: Instant) -> Option<Changes> {
        if self.waiting.is_empty() || self.due().is_some_and(|due| now < due) {
            return None;
        }
        self.sent_at = Some(now);
        Some(Changes(std::mem::take(&mut self.waiting)))
    }
}

impl Changes {
    /// Number of the first change; whoever knows less must be told all.
    pub fn first(&self) -> u64 {
        self.0.first().map_or(u64::MAX, |(number, ..)| *number)
    }

    /// What somebody is told who knows of the changes up to `known`.
    pub fn since(&self, known: u64, participants: &BTreeMap<ParticipantId, Participant>) -> Vec<ServerMessage> {
        let mut joined = BTreeSet::new();
        let mut left = Vec::new();
        let mut tracks = Vec::new();
        for (_, id, change) in self.0.iter().filter(|(number, ..)| *number > known) {
            match change {
                Change::Joined => {
                    joined.insert(id);
                }
                Change::Left if !joined.remove(id) => left.push(id.clone()),
                Change::Left => {}
                Change::Tracks => tracks.push(id),
            }
        }
        let mut messages = Vec::new();
        let tracks = tracks.into_iter().filter(|id| !joined.contains(id));
        let tracks = tracks.filter_map(|id| participants.get(id));
        let tracks = tracks.map(|member| ServerMessage::Tracks {
            participant: member.id.clone(),
            tracks: member.tracks.clone(),
        });
        let tracks: Vec<ServerMessage> = tracks.collect();
        if !joined.is_empty() || !left.is_empty() {
            let joined = joined.iter().filter_map(|id| participants.get(*id));
            let joined = joined.map(Participant::to_wire).collect();
            messages.push(ServerMessage::Roster { joined, left });
        }
        messages.extend(tracks);
        messages
    }
}

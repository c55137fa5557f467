//! What of a meeting outlives the instance that owns it: here what nodes cannot tell, and of each session a memo that its
//! node keeps and gives back with what it knows itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tianqiao_protocol::control::AdoptedSession;
use tianqiao_protocol::fleet::NodeId;
use tianqiao_protocol::ws::ChatLine;
use tianqiao_protocol::{ParticipantId, SlotPause};

use super::participant::{Kind, Newcomer, Participant, Phase};
use super::roster::Change;
use super::{CHAT_SHARE, KNOWN_FOR, Meeting, MeetingLimits, Output};
use crate::network::Network;

/// Bytes of chat in a snapshot; the oldest lines are left out first.
const MAX_CHAT: usize = 512 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeetingSnapshot {
    pub chat: Vec<ChatLine>,
    /// The number of the next line.
    pub next_line: u32,
    /// Who was in it with media that connected, and for how many seconds not any more.
    pub known: Vec<(String, u64)>,
    /// ICE restarts over HTTP.
    pub ice_generations: BTreeMap<ParticipantId, u32>,
}

/// What signaling must know of a session beside what its node does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    pub name: String,
    pub identity: String,
    pub secret: String,
    pub kind: Kind,
    pub network: Network,
}

impl Memo {
    pub fn of(newcomer: &Newcomer) -> Self {
        Self {
            name: newcomer.name.clone(),
            identity: newcomer.identity.clone(),
            secret: newcomer.secret.clone(),
            kind: newcomer.kind,
            network: newcomer.network,
        }
    }
}

impl Meeting {
    /// Grows with each change of what [`Self::snapshot`] tells.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub fn snapshot(&self, now: Instant) -> MeetingSnapshot {
        let present = self.participants.values().filter(|member| member.connected);
        let present = present.map(|member| (member.identity.clone(), 0));
        let left = self.known.iter();
        let left = left.map(|(identity, left)| (identity.clone(), now.saturating_duration_since(*left).as_secs()));
        let restarted = self.participants.values().filter(|member| member.ice_generation > 0);
        MeetingSnapshot {
            chat: self.chat.latest(MAX_CHAT),
            next_line: self.chat.next_line(),
            known: left
                .chain(present)
                .filter(|(_, ago)| *ago < KNOWN_FOR.as_secs())
                .collect(),
            ice_generations: restarted
                .map(|member| (member.id.clone(), member.ice_generation))
                .collect(),
        }
    }

    /// A meeting as its snapshot has it, without its sessions.
    pub fn restore(limits: MeetingLimits, now: Instant, snapshot: &MeetingSnapshot) -> Self {
        let mut meeting = Self::new(limits, now);
        meeting.chat.restore(&snapshot.chat, snapshot.next_line);
        let known = snapshot.known.iter().take(limits.max_participants.max(1));
        let left = |ago: u64| now.checked_sub(Duration::from_secs(ago)).unwrap_or(now);
        meeting.known = known.map(|(identity, ago)| (identity.clone(), left(*ago))).collect();
        meeting
    }

    /// A session that its node tells of. One that is known is brought up to date; another one waits to be resumed.
    /// Of two on different nodes, as in a move, the one that connected first stays.
    pub fn adopt(&mut self, now: Instant, node: &NodeId, memo: Memo, session: AdoptedSession, ice_generation: u32) {
        let id = session.session.clone();
        if self.ended.is_some() {
            return;
        }
        if let Some(member) = self.participants.get_mut(&id)
            && let Some(known) = member.node.clone().filter(|known| known != node)
        {
            let replaced = session.connected && !member.connected;
            let close = Output::CloseMedia {
                session: id.clone(),
                node: if replaced { known } else { node.clone() },
            };
            match self.side(&id, node) {
                // The move goes on.
                Some(_) => return,
                None => self.outputs.push_back(close),
            }
            if !replaced {
                return;
            }
        }
        if !self.participants.contains_key(&id) {
            let newcomer = Newcomer {
                id: id.clone(),
                identity: memo.identity,
                name: memo.name,
                kind: memo.kind,
                secret: memo.secret,
                network: memo.network,
            };
            let mut participant = Participant::new(newcomer, self.limits.chat_rate.share(CHAT_SHARE), now);
            participant.phase = match memo.kind {
                Kind::Web => Phase::Detached { since: now },
                Kind::Whip | Kind::Whep => Phase::Unattended,
            };
            participant.ice_generation = ice_generation;
            let is_listed = participant.is_listed();
            self.participants.insert(id.clone(), participant);
            self.idle_since = None;
            if is_listed {
                self.roster.record(&id, Change::Joined);
            }
        }
        if let Some(member) = self.participants.get_mut(&id) {
            member.node = Some(node.clone());
            member.memo = session.memo;
        }
        self.relay_news.insert(id.clone());
        if session.connected {
            self.on_connected(&id);
        }
        let stands = self.participants.get(&id).map(Participant::paused).unwrap_or_default();
        let goes_on = stands.into_iter().filter(|mid| !session.paused.contains(mid));
        let pauses = goes_on.map(|mid| SlotPause { mid, paused: false });
        let pauses = pauses.chain(session.paused.iter().map(|mid| SlotPause {
            mid: mid.clone(),
            paused: true,
        }));
        let pauses: Vec<SlotPause> = pauses.collect();
        self.set_answered(now, &id, session.tracks, session.slots);
        self.on_slots_paused(&id, &pauses);
        for slot in session.unsupported {
            self.on_codec_unsupported(&id, slot);
        }
        self.on_wanted(&id, session.wanted);
        self.on_quality(now, &id, session.quality);
        self.flush_roster(now);
    }

    /// Those who have their media on that node, as far as is known.
    pub fn sessions_on(&self, node: &str) -> Vec<ParticipantId> {
        let admitted = self
            .participants
            .values()
            .filter(|member| member.phase != Phase::Reserved);
        let on_node = admitted.filter(|member| member.node.as_deref() == Some(node));
        on_node.map(|member| member.id.clone()).collect()
    }

    /// Another instance has it: nothing is said or done here any more. Returns all sessions.
    pub fn retire(&mut self) -> Vec<(ParticipantId, Kind)> {
        self.has_moved = true;
        self.ended = Some(tianqiao_protocol::ws::EndReason::ServerShutdown);
        self.outputs.clear();
        self.relay_news.clear();
        self.moves = super::Moves::default();
        let all = std::mem::take(&mut self.participants);
        all.into_values().map(|member| (member.id, member.kind)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rate;
    use crate::meeting::{ChatLimits, Output, StillLimits};
    use tianqiao_protocol::{SlotState, TrackInfo, TrackSource};

    fn limits() -> MeetingLimits {
        MeetingLimits {
            max_participants: 10,
            chat: ChatLimits {
                max_length: 100,
                max_lines: 5,
                max_bytes: 10_000,
                page_bytes: 10_000,
            },
            chat_rate: Rate::bytes(100_000, 100_000),
            max_per_identity: 2,
            stills: StillLimits {
                max_bytes: 1_000,
                bitrate: 0,
                max_tracks: 1,
                rate: Rate::per_minute(10, 10),
            },
            unconnected_grace: Duration::from_secs(5),
            roster_interval: Duration::from_millis(200),
            resume_window: Duration::from_secs(30),
            ttl: Duration::from_secs(600),
        }
    }

    fn newcomer(id: &str) -> Newcomer {
        Newcomer {
            id: id.to_owned(),
            identity: format!("{id}'s"),
            name: id.to_uppercase(),
            kind: Kind::Web,
            secret: format!("{id}-secret"),
            network: Network::host([192, 0, 2, 1].into()),
        }
    }

    fn tracks() -> Vec<TrackInfo> {
        vec![TrackInfo {
            id: 7,
            source: TrackSource::Microphone,
            muted: true,
        }]
    }

    /// With Ann in it, who has said six lines, and Bob, who has left.
    fn meeting(now: Instant) -> Meeting {
        let mut meeting = Meeting::new(limits(), now);
        for id in ["ann", "bob"] {
            meeting.reserve(now, newcomer(id)).expect("there is room");
            meeting.admit(now, id, tracks(), Vec::new()).expect("it is let in");
            meeting.on_connected(id);
        }
        for number in 1..=6 {
            let before = meeting.changes();
            meeting
                .send_chat(now, "ann", &format!("line {number}"), 0)
                .expect("it is said");
            assert!(meeting.changes() > before);
        }
        let before = meeting.changes();
        meeting.leave(now, "bob", tianqiao_protocol::ws::EndReason::Left);
        assert!(meeting.changes() > before);
        meeting
    }

    fn adopted(paused: bool) -> AdoptedSession {
        let slot = SlotState {
            mid: "5".to_owned(),
            track: Some(9),
        };
        AdoptedSession {
            session: "ann".to_owned(),
            memo: String::new(),
            connected: true,
            tracks: tracks(),
            slots: vec![slot],
            paused: if paused { vec!["5".to_owned()] } else { Vec::new() },
            unsupported: Vec::new(),
            wanted: Vec::new(),
            quality: Default::default(),
        }
    }

    fn node() -> NodeId {
        "n1".to_owned()
    }

    #[test]
    fn a_meeting_goes_on_elsewhere_as_it_was() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut before = meeting(start);
        let later = start + Duration::from_secs(60);
        let snapshot = serde_json::to_string(&before.snapshot(later)).expect("it is written");
        let snapshot: MeetingSnapshot = serde_json::from_str(&snapshot).expect("it is read");
        let mut after = Meeting::restore(limits(), later, &snapshot);
        assert_eq!(after.snapshot(later).chat, before.snapshot(later).chat);
        after.adopt(later, &node(), Memo::of(&newcomer("ann")), adopted(true), 0);
        assert!(after.knows(later, "ann's") && after.knows(later, "bob's"));
        assert!(!after.knows(start + KNOWN_FOR, "bob's"), "he left a minute before");
        assert!(after.resume("ann", "guess").is_err());
        let state = after.resume("ann", "ann-secret").expect("it is resumed");
        assert_eq!(
            state.participants,
            before.resume("ann", "ann-secret").expect("it is resumed").participants
        );
        assert_eq!((state.slots.len(), state.paused), (1, vec!["5".to_owned()]));
        let seqs: Vec<u32> = state.chat.iter().map(|line| line.seq).collect();
        assert_eq!(seqs, [2, 3, 4, 5, 6]);
        after.send_chat(later, "ann", "line 7", 0).expect("it is said");
        assert_eq!(after.chat_page(None).last().map(|line| line.seq), Some(7));
        // What changed while nobody listened is told.
        while after.poll_output().is_some() {}
        after.adopt(later, &node(), Memo::of(&newcomer("ann")), adopted(false), 0);
        let told = std::iter::from_fn(|| after.poll_output());
        let told: Vec<_> = told.filter(|output| matches!(output, Output::Send { .. })).collect();
        assert_eq!(told.len(), 1, "{told:?}");
    }

    #[test]
    fn who_does_not_resume_is_gone_after_the_window() {
        let now = Instant::now();
        let mut meeting = Meeting::restore(limits(), now, &MeetingSnapshot::default());
        meeting.adopt(now, &node(), Memo::of(&newcomer("ann")), adopted(false), 0);
        meeting.handle_timeout(now + limits().resume_window);
        assert!(meeting.identity("ann").is_none());
        let closes = Output::CloseMedia {
            session: "ann".to_owned(),
            node: node(),
        };
        assert!(std::iter::from_fn(|| meeting.poll_output()).any(|output| output == closes));
    }

    #[test]
    fn a_meeting_that_was_given_up_says_nothing_and_takes_nobody() {
        let now = Instant::now();
        let mut meeting = meeting(now);
        assert_eq!(meeting.retire(), [("ann".to_owned(), Kind::Web)]);
        assert_eq!(meeting.poll_output(), None);
        let refused = [
            meeting.reserve(now, newcomer("eve")).expect_err("it is gone"),
            meeting.resume("ann", "ann-secret").expect_err("it is gone"),
        ];
        for refusal in refused {
            assert_eq!(refusal, crate::refusal::Refusal::meeting_has_moved());
        }
        assert_eq!(meeting.poll_timeout(), None);
    }

    #[test]
    fn snapshots_of_other_versions_are_read() {
        let read = serde_json::from_str::<MeetingSnapshot>(r#"{"next_line": 4, "invented": true}"#);
        assert_eq!(read.map(|snapshot| snapshot.next_line).ok(), Some(4));
    }
}

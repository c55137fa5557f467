//! Bodies of fuzz targets, in this crate so that they also run over their seeds as ordinary tests.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tianqiao_protocol::control::CloseReason;
use tianqiao_protocol::ws::{ClientMessage, EndReason};
use tianqiao_protocol::{
    LinkQuality, ParticipantId, QualityGrade, SlotPause, SlotState, TrackInfo, TrackSource, UnsupportedSlot,
    WantedTrack,
};

use crate::limits::Rate;
use crate::meeting::{ChatLimits, Kind, Meeting, MeetingLimits, Newcomer, Output, StillLimits};
use crate::network::Network;

const LIMITS: MeetingLimits = MeetingLimits {
    max_participants: 6,
    chat: ChatLimits {
        max_length: 50,
        max_lines: 8,
        max_bytes: 2_000,
        page_bytes: 700,
    },
    chat_rate: Rate::bytes(500, 4_000),
    max_per_identity: 2,
    stills: StillLimits {
        max_bytes: 1_000,
        bitrate: 200_000,
        max_tracks: 2,
        rate: Rate::bytes(1, 2),
    },
    unconnected_grace: Duration::from_secs(5),
    roster_interval: Duration::from_millis(200),
    resume_window: Duration::from_secs(25),
    ttl: Duration::from_secs(3600),
};

/// A meeting driven by any sequence of calls, with what must hold after each of them.
pub fn fuzz_meeting(data: &[u8]) {
    let mut run = Run::new();
    let mut bytes = data;
    while let Some(call) = take(&mut bytes) {
        run.call(call, &mut bytes);
        run.check();
    }
    run.end();
}

fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(first)
}

struct Run {
    now: Instant,
    meeting: Meeting,
    next_id: u32,
    /// Admitted or reserved and not forgotten, and whether a WebSocket hears of it.
    members: HashMap<ParticipantId, bool>,
    forgotten: BTreeSet<ParticipantId>,
    over: bool,
}

impl Run {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            meeting: Meeting::new(LIMITS, now),
            next_id: 0,
            members: HashMap::new(),
            forgotten: BTreeSet::new(),
            over: false,
        }
    }

    /// An id of somebody who is or was in it, or of nobody.
    fn id(&self, bytes: &mut &[u8]) -> ParticipantId {
        let number = u32::from(take(bytes).unwrap_or(0));
        format!("p{}", number % (self.next_id + 2))
    }

    fn call(&mut self, call: u8, bytes: &mut &[u8]) {
        match call % 18 {
            0 | 1 => self.reserve(bytes),
            2 | 3 => {
                let id = self.id(bytes);
                if self.meeting.admit(self.now, &id, tracks(bytes), slots(bytes)).is_ok() {
                    // Others than the caller of this test admit once.
                    self.members.insert(id, true);
                }
            }
            4 => self.now += Duration::from_millis(u64::from(take(bytes).unwrap_or(0)).pow(2)),
            5 => {
                if let Some(at) = self.meeting.poll_timeout() {
                    self.now = self.now.max(at);
                }
                self.meeting.handle_timeout(self.now);
                self.check();
                let next = self.meeting.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "a timeout is still due after it was handled"
                );
            }
            6 => {
                let id = self.id(bytes);
                if let Some(attached) = self.members.get_mut(&id) {
                    *attached = false;
                }
                self.meeting.detach(self.now, &id);
            }
            7 => {
                let id = self.id(bytes);
                let secret = if take(bytes).unwrap_or(0).is_multiple_of(4) {
                    "wrong"
                } else {
                    "secret"
                };
                let resumed = self.meeting.resume(&id, secret).is_ok();
                self.check();
                if resumed {
                    assert_eq!(secret, "secret");
                    self.members.insert(id, true);
                }
            }
            8 => {
                let id = self.id(bytes);
                self.meeting.leave(self.now, &id, EndReason::Left);
            }
            9 => {
                let id = self.id(bytes);
                self.meeting.on_media_closed(self.now, &id, CloseReason::IceTimeout);
            }
            10 => {
                let id = self.id(bytes);
                self.meeting.on_connected(&id);
            }
            11 => {
                let id = self.id(bytes);
                self.meeting.on_slots(&id, &slots(bytes));
            }
            12 => {
                let id = self.id(bytes);
                self.meeting.set_answered(self.now, &id, tracks(bytes), slots(bytes));
            }
            13 => {
                let (dominant, other) = (self.id(bytes), self.id(bytes));
                self.meeting.on_speakers(Some(dominant.clone()), vec![dominant, other]);
            }
            14 => self.message(bytes),
            16 => {
                let id = self.id(bytes);
                let what = take(bytes).unwrap_or(0);
                let (mid, paused) = ((what % 8).to_string(), what >= 128);
                self.meeting.on_slots_paused(
                    &id,
                    &[SlotPause {
                        mid: mid.clone(),
                        paused,
                    }],
                );
                let track = u32::from(what);
                self.meeting.on_codec_unsupported(&id, UnsupportedSlot { mid, track });
                let wanted = WantedTrack {
                    track: track % 4,
                    layers: vec![],
                    low_voice: paused,
                };
                self.meeting.on_wanted(&id, vec![wanted]);
                let grade = [QualityGrade::Good, QualityGrade::Fair, QualityGrade::Poor][usize::from(what % 3)];
                self.meeting
                    .on_quality(self.now, &id, LinkQuality { grade, cause: None });
            }
            17 => {
                let (id, track) = (self.id(bytes), u32::from(take(bytes).unwrap_or(0) % 4));
                let image = vec![0; usize::from(take(bytes).unwrap_or(0)) * 8];
                let put = self.meeting.put_still(self.now, &id, track, image.clone().into(), 0);
                if put.is_ok() {
                    assert!(image.len() <= LIMITS.stills.max_bytes);
                }
                let other = self.id(bytes);
                drop(self.meeting.still(&other, track));
            }
            _ if take(bytes) == Some(255) => self.meeting.end(self.now, EndReason::MeetingEnded),
            _ => {
                let id = self.id(bytes);
                self.meeting
                    .set_muted(self.now, &id, u32::from(take(bytes).unwrap_or(0) % 4), true);
            }
        }
    }

    fn reserve(&mut self, bytes: &mut &[u8]) {
        let (person, from) = (take(bytes).unwrap_or(0), take(bytes).unwrap_or(0));
        let id = format!("p{}", self.next_id);
        self.next_id += 1;
        let newcomer = Newcomer {
            id: id.clone(),
            identity: format!("person{}", person % 5),
            name: "Ann".into(),
            kind: [Kind::Web, Kind::Web, Kind::Whip, Kind::Whep][usize::from(person) / 5 % 4],
            secret: "secret".into(),
            network: Network::host(Ipv4Addr::new(10, 0, 0, from % 3).into()),
        };
        if self.meeting.reserve(self.now, newcomer).is_ok() {
            assert!(!self.over);
            self.members.insert(id, false);
        }
    }

    /// A message of a client as JSON, as far as it reaches the meeting.
    fn message(&mut self, bytes: &mut &[u8]) {
        let id = self.id(bytes);
        let length = usize::from(take(bytes).unwrap_or(0)).min(bytes.len());
        let (text, rest) = bytes.split_at(length);
        *bytes = rest;
        let text = String::from_utf8_lossy(text);
        match serde_json::from_str::<ClientMessage>(&text) {
            Ok(ClientMessage::Chat { text }) => drop(self.meeting.send_chat(self.now, &id, &text, 0)),
            Ok(ClientMessage::History { before }) => self.check_page(before),
            Ok(ClientMessage::Leave) => self.meeting.leave(self.now, &id, EndReason::Left),
            Ok(ClientMessage::Mute { track, muted }) => self.meeting.set_muted(self.now, &id, track, muted),
            Ok(_) => {}
            Err(_) => drop(self.meeting.send_chat(self.now, &id, &text, 0)),
        }
    }

    fn check_page(&self, before: Option<u32>) {
        let page = self.meeting.chat_page(before);
        let bytes: usize = page.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= LIMITS.chat.page_bytes && page.len() <= LIMITS.chat.max_lines);
        assert!(page.is_sorted_by_key(|line| line.seq));
        assert!(before.is_none_or(|before| page.iter().all(|line| line.seq < before)));
    }

    /// Carries out the outputs as a server does, and looks at each.
    fn check(&mut self) {
        while let Some(output) = self.meeting.poll_output() {
            assert!(!self.over, "nothing follows the end: {output:?}");
            match output {
                Output::Send { to, .. } => {
                    assert!(!to.is_empty());
                    for id in to {
                        assert_eq!(
                            self.members.get(&id),
                            Some(&true),
                            "{id} is told something and has no WebSocket"
                        );
                    }
                }
                Output::End { participant, .. } => {
                    let attached = self.members.get_mut(&participant).expect("who ends was a member");
                    assert!(std::mem::take(attached), "{participant} ends and has no WebSocket");
                }
                Output::CloseMedia { session: id, .. } => assert!(self.members.contains_key(&id), "{id} is no member"),
                Output::Moved { .. } => {}
                Output::Forget { participant, .. } => {
                    assert!(
                        self.members.remove(&participant).is_some(),
                        "{participant} is no member"
                    );
                    assert!(self.forgotten.insert(participant), "forgotten once");
                }
                Output::CloseRoom(_) => {}
                Output::Over => self.over = true,
            }
        }
        assert!(self.members.len() <= LIMITS.max_participants);
        assert!(self.meeting.listed() <= self.members.len());
        self.check_page(None);
    }

    fn end(mut self) {
        self.meeting.end(self.now, EndReason::ServerShutdown);
        self.check();
        assert!(self.over && self.members.is_empty(), "the end forgets everybody");
        assert_eq!(self.meeting.poll_timeout(), None);
    }
}

fn tracks(bytes: &mut &[u8]) -> Vec<TrackInfo> {
    let count = u32::from(take(bytes).unwrap_or(0) % 4);
    let track = |id| TrackInfo {
        id,
        source: TrackSource::Camera,
        muted: false,
    };
    (0..count).map(track).collect()
}

fn slots(bytes: &mut &[u8]) -> Vec<SlotState> {
    let count = take(bytes).unwrap_or(0) % 4;
    (0..count)
        .map(|_| {
            let what = take(bytes).unwrap_or(0);
            SlotState {
                mid: (what % 8).to_string(),
                track: (what >= 64).then(|| u32::from(what)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_and_all_that_is_cut_off_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sfu/core/fuzz/seeds/meeting");
        let seeds = std::fs::read_dir(folder).expect("the target has seeds");
        for seed in seeds {
            let seed = std::fs::read(seed.expect("a file").path()).expect("it is read");
            (0..=seed.len()).for_each(|end| fuzz_meeting(&seed[..end]));
        }
    }

    #[test]
    fn any_sequence_of_calls() {
        use rand::{Rng, RngCore, SeedableRng};
        for seed in 0..500 {
            let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
            let mut data = vec![0; random.random_range(0..2_000)];
            random.fill_bytes(&mut data);
            fuzz_meeting(&data);
        }
    }
}

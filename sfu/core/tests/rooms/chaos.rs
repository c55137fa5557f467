//! Thousands of random steps; after each, what the workers were told must be what the rooms are.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tianqiao_sfu_core::negotiated::MediaKind;
use tianqiao_sfu_core::rooms::{AudioPolicy, SlotTarget, SlotView};
use tianqiao_sfu_core::units::TrackId;
use tianqiao_sfu_core::worker_api::{CloseReason, WorkerEvent};

use crate::harness::*;

const ROOMS: [&str; 2] = ["north", "south"];
const LOUDEST: usize = 4;

struct Chaos {
    node: Node,
    rng: StdRng,
    /// Who is in, with what.
    present: BTreeMap<String, Joiner>,
}

impl Chaos {
    fn pick(&mut self) -> Option<String> {
        if self.present.is_empty() {
            return None;
        }
        let index = self.rng.random_range(0..self.present.len());
        self.present.keys().nth(index).cloned()
    }

    fn random_joiner(&mut self, name: &str, room: &'static str) -> Joiner {
        let sources = [Microphone, Camera, Screen, ScreenAudio];
        let mut joiner = joiner(name)
            .in_room(room)
            .slots(self.rng.random_range(0..6), self.rng.random_range(0..5));
        for source in sources {
            if self.rng.random_bool(0.4) {
                joiner.tracks.push((source, self.rng.random_bool(0.2)));
            }
        }
        joiner.views = self.random_views();
        joiner
    }

    fn random_views(&mut self) -> Vec<SlotView> {
        let mut views = Vec::new();
        for slot in 0..self.rng.random_range(0..6) {
            let target = match self.rng.random_range(0..4) {
                0 => SlotTarget::Nobody,
                1 => SlotTarget::ActiveSpeaker,
                n => of(
                    &format!("s{}", self.rng.random_range(0..12)),
                    if n == 2 { Camera } else { Screen },
                ),
            };
            views.push(view(&format!("v{slot}"), target, self.rng.random_range(0..3) * 360));
        }
        views
    }

    fn step(&mut self) {
        let Some(name) = self.pick().filter(|_| self.rng.random_bool(0.75)) else {
            let name = format!("s{}", self.rng.random_range(0..12));
            if !self.present.contains_key(&name) {
                let room = ROOMS[self.rng.random_range(0..ROOMS.len())];
                let mut joiner = self.random_joiner(&name, room);
                if self.rng.random_bool(0.2) {
                    joiner = joiner.following(SlotTarget::ActiveSpeaker);
                }
                self.node.join(joiner.clone());
                self.present.insert(name, joiner);
            }
            return;
        };
        match self.rng.random_range(0..10) {
            0 => {
                self.node.leave(&name);
                self.present.remove(&name);
            }
            1 => {
                let reason = CloseReason::IceTimeout;
                self.node
                    .worker_event(&name, |connection| WorkerEvent::Closed { connection, reason });
                self.present.remove(&name);
            }
            2 => {
                let before = self.present[&name].clone();
                let mut joiner = self.random_joiner(&name, before.room);
                // A media section keeps its kind for life, so sections are only added or dropped at the end.
                let keep = before.tracks.len().min(self.rng.random_range(0..5));
                joiner.tracks = before.tracks[..keep].to_vec();
                joiner.audio = before.audio;
                self.node.reoffer(joiner.clone());
                self.present.insert(name, joiner);
            }
            3 | 4 => {
                let views = self.random_views();
                self.node.look(&name, &views);
            }
            5 | 6 => {
                let tracks = &mut self.present.get_mut(&name).expect("present").tracks;
                if let Some((source, muted)) = tracks.first_mut() {
                    *muted = self.rng.random_bool(0.5);
                    self.node.mute(&name, *source, *muted);
                }
            }
            7 => self.node.pass(Duration::from_millis(self.rng.random_range(0..2_000))),
            _ => {
                if self.present[&name].tracks.contains(&(Microphone, false)) {
                    let ms = self.rng.random_range(1..20) * 50;
                    self.node.speak(&[&name], ms);
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.node.rooms.session_count(), self.present.len());
        assert_eq!(self.node.connections.len(), self.present.len());
        for (name, joiner) in &self.present {
            let neighbours = self.present.iter().filter(|(_, other)| other.room == joiner.room);
            let mut visible: HashSet<TrackId> = HashSet::new();
            let mut audible: HashSet<TrackId> = HashSet::new();
            for (neighbour, other) in neighbours {
                for &(source, muted) in &other.tracks {
                    let track = self.node.track(neighbour, source);
                    if source.kind() == MediaKind::Video {
                        visible.insert(track);
                    } else if !muted && neighbour != name {
                        audible.insert(track);
                    }
                }
            }
            let seat = self.node.seat(name);
            let slots = &self.node.connections[&(seat.worker, seat.connection)].slots;
            let mut heard = HashSet::new();
            for (track, ..) in slots.values() {
                let uses = slots.values().filter(|(other, ..)| other == track).count();
                assert!(uses <= 2, "{name} gets {track} {uses} times");
            }
            for (slot, (track, ..)) in slots {
                if slot.starts_with('v') {
                    assert!(visible.contains(track), "{name} {slot}");
                } else if joiner.audio == AudioPolicy::Loudest {
                    assert!(audible.contains(track), "{name} {slot}");
                    assert!(heard.insert(track), "{name} hears one twice");
                }
            }
            if joiner.audio == AudioPolicy::Loudest {
                let expected = audible.len().min(joiner.audio_slots).min(LOUDEST);
                assert_eq!(
                    heard.len(),
                    expected,
                    "{name} hears {heard:?} of {audible:?} in {slots:?}; {joiner:?}"
                );
            }
        }
    }
}

#[test]
fn slots_hold_only_what_is_there() {
    for seed in 0..20 {
        let mut chaos = Chaos {
            node: Node::new(3),
            rng: StdRng::seed_from_u64(seed),
            present: BTreeMap::new(),
        };
        for _ in 0..300 {
            chaos.step();
            chaos.check();
        }
        for name in std::mem::take(&mut chaos.present).into_keys() {
            chaos.node.leave(&name);
        }
        assert!(chaos.node.rooms.is_empty());
    }
}

//! What publishers are told to send, from what the workers' subscribers want.

use std::time::Duration;

use tianqiao_sfu_core::allocator::VoiceLayer;
use tianqiao_sfu_core::allocator::uplink::{Heights, Wants};
use tianqiao_sfu_core::rooms::{RoomsEvent, TrackSource};
use tianqiao_sfu_core::units::{Bitrate, WorkerIndex};
use tianqiao_sfu_core::worker_api::{TrackWants, WorkerCommand, WorkerEvent};

use crate::harness::*;

const SECOND: Duration = Duration::from_secs(1);

impl Node {
    /// A worker tells what its subscribers want of a track.
    fn want(&mut self, worker: u8, name: &str, source: TrackSource, wants: Wants) {
        self.want_of(worker, name, source, wants, [180, 360, 720]);
    }

    /// The same of a track whose layers have other heights.
    fn want_of(&mut self, worker: u8, name: &str, source: TrackSource, wants: Wants, heights: Heights) {
        let track = self.track(name, source);
        let wants = Box::new(wants);
        let tracks = vec![TrackWants { track, wants, heights }];
        self.event_of(WorkerIndex(worker), WorkerEvent::Wanted { tracks });
    }

    /// What publishers were told since this was last asked, as `ann: q=200 h=500`, in kbit/s.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for event in self.taken_events() {
            let RoomsEvent::Wanted { session, tracks } = event else {
                continue;
            };
            for track in tracks {
                let layer = |layer: &tianqiao_sfu_core::rooms::WantedLayer| {
                    format!("{}={}", layer.rid, layer.max_bitrate.0 / 1_000)
                };
                let mut words: Vec<String> = track.layers.iter().map(layer).collect();
                words.extend(track.low_voice.then(|| "low".to_owned()));
                told.push(format!("{session}: {}", words.join(" ")));
            }
        }
        // Of tracks of one moment none is the first.
        told.sort();
        told
    }

    /// Workers that were told a plan since this was last asked.
    fn planned(&mut self) -> Vec<u8> {
        let commands = std::mem::take(&mut self.commands);
        let plans = commands
            .into_iter()
            .filter(|(_, command)| matches!(command, WorkerCommand::SetPlan { .. }));
        plans.map(|(worker, _)| worker.0).collect()
    }
}

/// So many viewers, the highest layer that they ask for, and the kbit/s that they can take.
fn viewers(viewers: &[(usize, u8, u64)]) -> Wants {
    let mut wants = Wants::default();
    for &(count, highest, kbit) in viewers {
        for _ in 0..count {
            wants.add_video(highest, Bitrate::kbps(kbit));
        }
    }
    wants
}

fn low_voice() -> Wants {
    let mut wants = Wants::default();
    wants.add_voice(VoiceLayer::Low);
    wants
}

fn ann() -> Node {
    let mut node = Node::new(2);
    node.join(joiner("ann").publishing(&[Microphone, Camera, Screen]));
    node
}

#[test]
fn who_is_watched_by_nobody_sends_nothing_after_a_while() {
    let mut node = ann();
    node.pass(SECOND * 4);
    assert_eq!(node.told(), [""; 0]);
    node.pass(SECOND * 2);
    assert_eq!(node.told(), ["ann: ", "ann: "]);
    node.pass(SECOND * 60);
    assert_eq!(node.told(), [""; 0]);
    assert_eq!(node.rooms.poll_timeout(), None);
}

#[test]
fn wants_of_all_workers_make_one_plan() {
    let mut node = ann();
    node.want(0, "ann", Camera, viewers(&[(5, 1, 250)]));
    node.want(1, "ann", Camera, viewers(&[(4, 1, 250), (1, 1, 900)]));
    node.planned();
    node.pass(SECOND * 6);
    // The screen is watched by nobody.
    assert_eq!(node.told(), ["ann: ", "ann: q=150 h=208"]);
    // Of the screen only its own worker is told.
    let mut planned = node.planned();
    planned.sort_unstable();
    assert_eq!(planned, [0, 0, 1]);
}

#[test]
fn a_newcomer_wakes_a_layer_at_once_and_who_goes_is_waited_for() {
    let mut node = ann();
    node.want(0, "ann", Camera, viewers(&[(1, 0, 900)]));
    node.pass(SECOND * 6);
    assert_eq!(node.told(), ["ann: ", "ann: q=200"]);
    node.planned();
    node.want(1, "ann", Camera, viewers(&[(1, 2, 9_000)]));
    assert_eq!(node.told(), ["ann: q=200 f=2500"]);
    assert_eq!(node.planned(), [0, 1]);
    // Away for four seconds, and back.
    node.want(1, "ann", Camera, viewers(&[]));
    node.pass(SECOND * 4);
    node.want(1, "ann", Camera, viewers(&[(1, 2, 9_000)]));
    node.pass(SECOND * 60);
    assert_eq!(node.told(), [""; 0]);
    // It has forgotten what it was told.
    assert_eq!(node.planned(), [1]);
    node.want(1, "ann", Camera, viewers(&[]));
    node.want(0, "ann", Camera, viewers(&[]));
    node.pass(SECOND * 5);
    assert_eq!(node.told(), ["ann: "]);
}

#[test]
fn links_that_swing_are_no_news() {
    let mut node = ann();
    node.want(0, "ann", Camera, viewers(&[(1, 2, 1_000)]));
    node.pass(SECOND * 6);
    node.told();
    for second in 0..60 {
        node.want(0, "ann", Camera, viewers(&[(1, 2, [1_000, 940, 1_040][second % 3])]));
        node.pass(SECOND);
    }
    let told = node.told();
    assert!(told.len() <= 1, "{told:?}");
}

#[test]
fn a_stream_without_layers_gets_one_ceiling() {
    let mut node = ann();
    node.want_of(0, "ann", Screen, viewers(&[(2, 0, 1_500)]), [720, 0, 0]);
    node.pass(SECOND * 6);
    let told = node.told();
    let ceiling = told.iter().find_map(|told| told.strip_prefix("ann: =")?.parse().ok());
    assert!(
        ceiling.is_some_and(|kbit: u64| (1_150..=1_250).contains(&kbit)),
        "{told:?}"
    );
}

#[test]
fn a_stream_with_layers_in_it_gets_the_sum_of_theirs() {
    let mut node = ann();
    node.want(0, "ann", Screen, viewers(&[(1, 0, 900), (1, 1, 2_000)]));
    node.pass(SECOND * 6);
    assert_eq!(node.told(), ["ann: ", "ann: =900"]);
    // It is told when its smallest layer alone is watched, and when nobody watches.
    node.want(0, "ann", Screen, viewers(&[(1, 0, 900)]));
    node.pass(SECOND * 6);
    assert_eq!(node.told(), ["ann: =200"]);
    node.want(0, "ann", Screen, viewers(&[]));
    node.pass(SECOND * 6);
    assert_eq!(node.told(), ["ann: "]);
}

#[test]
fn what_is_unmuted_is_sent_whole_until_it_is_said_anew() {
    let mut node = ann();
    node.pass(SECOND * 6);
    node.told();
    node.mute("ann", Camera, true);
    node.pass(SECOND * 60);
    node.mute("ann", Camera, false);
    assert_eq!(node.told(), [""; 0]);
    node.pass(SECOND * 5);
    assert_eq!(node.told(), ["ann: "]);
}

#[test]
fn a_low_voice_is_asked_for_at_once_and_for_half_a_minute_longer() {
    let mut node = ann();
    node.pass(SECOND * 6);
    node.told();
    node.want(1, "ann", Microphone, low_voice());
    assert_eq!(node.told(), ["ann: low"]);
    node.want(0, "ann", Microphone, low_voice());
    node.want(1, "ann", Microphone, Wants::default());
    node.pass(SECOND * 60);
    assert_eq!(node.told(), [""; 0]);
    node.want(0, "ann", Microphone, Wants::default());
    node.pass(SECOND * 29);
    assert_eq!(node.told(), [""; 0]);
    node.pass(SECOND);
    assert_eq!(node.told(), ["ann: "]);
}

#[test]
fn nothing_is_left_of_who_goes() {
    let mut node = ann();
    node.join(joiner("bob").publishing(&[Camera]));
    node.want(0, "ann", Camera, viewers(&[(1, 2, 1_000)]));
    node.leave("ann");
    let stale = node.track("bob", Camera);
    node.leave("bob");
    let wants = Box::new(viewers(&[(1, 2, 1_000)]));
    let tracks = vec![TrackWants {
        track: stale,
        wants,
        heights: [180, 360, 720],
    }];
    node.event_of(WorkerIndex(0), WorkerEvent::Wanted { tracks });
    assert!(node.rooms.is_empty());
    assert_eq!(node.rooms.poll_timeout(), None);
}

//! A second, low voice is a layer of its microphone's track.

use tianqiao_sfu_core::rooms::RoomsError;
use tianqiao_sfu_core::worker_api::{PublishedTrack, WorkerCommand};

use crate::harness::*;

/// What the worker was told of the sections that send, by the latest offer.
fn published(node: &Node) -> Vec<(String, bool, u8)> {
    let tracks = |command: &WorkerCommand| match command {
        WorkerCommand::Open(open) => Some(open.tracks.clone()),
        WorkerCommand::Renegotiate(offer) => Some(offer.tracks.clone()),
        _ => None,
    };
    let latest = node.commands.iter().rev().find_map(|(_, command)| tracks(command));
    let microphone = node.track("ann", Microphone);
    let describe = |track: &PublishedTrack| (track.mid.to_string(), track.track == microphone, track.voice_layer);
    latest.expect("an offer").iter().map(describe).collect()
}

#[test]
fn it_comes_and_goes_with_offers_and_nobody_sees_it() {
    let mut node = Node::new(1);
    node.join(joiner("bob").viewing(&[view("v0", of("ann", Camera), 360)]));
    node.join(joiner("ann").publishing(&[Microphone, Camera]));
    let heard = node.shown("bob");
    let microphone = node.track("ann", Microphone);
    node.taken_events();

    let state = node.reoffer(joiner("ann").publishing(&[Microphone, Camera, MicrophoneLow]));
    let sources: Vec<_> = state.tracks.iter().map(|track| track.source).collect();
    assert_eq!(sources, [Microphone, Camera]);
    assert_eq!(node.track("ann", Microphone), microphone);
    let own = |mid: &str, is_microphone, layer| (mid.to_owned(), is_microphone, layer);
    let both = [own("p0", true, 0), own("p1", false, 0), own("p2", true, 1)];
    assert_eq!(published(&node), both);
    assert_eq!(node.shown("bob"), heard);
    assert_eq!(node.taken_events(), []);
    assert_eq!(node.rooms.track_count(), 2);

    // Without a declaration it stays what it was.
    let mut again = joiner("ann").publishing(&[Microphone, Camera, MicrophoneLow]);
    again.declare = false;
    node.reoffer(again);
    assert_eq!(published(&node), both);
    // One mute is of both.
    node.mute("ann", Microphone, true);
    node.reoffer(joiner("ann").publishing_muted(Microphone).publishing_more(Camera));
    assert_eq!(published(&node), both[..2]);
    node.leave("ann");
    node.leave("bob");
    assert!(node.rooms.is_empty());
}

#[test]
fn it_goes_with_one_microphone() {
    let mut node = Node::new(1);
    let alone = node.try_join(joiner("ann").publishing(&[Camera, MicrophoneLow]));
    assert_eq!(alone, Err(RoomsError::LowVoiceAlone { mid: mid("p1") }));
    let two = node.try_join(joiner("ann").publishing(&[Microphone, MicrophoneLow, MicrophoneLow]));
    assert_eq!(two, Err(RoomsError::LowVoiceAlone { mid: mid("p2") }));
    assert!(node.rooms.is_empty());
    // Whichever section comes first.
    node.join(joiner("ann").publishing(&[MicrophoneLow, Microphone]));
    assert_eq!(
        published(&node),
        [("p1".to_owned(), true, 0), ("p0".to_owned(), true, 1)]
    );
}

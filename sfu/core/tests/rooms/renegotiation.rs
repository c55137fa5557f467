use tianqiao_sfu_core::negotiated::IceCredentials;
use tianqiao_sfu_core::rooms::RoomsError;
use tianqiao_sfu_core::worker_api::WorkerCommand;

use crate::harness::*;

#[test]
fn tracks_and_slots_keep_their_place_by_mid() {
    let mut node = Node::new(2);
    node.join(joiner("bob").publishing(&[Microphone, Camera]));
    let alice = joiner("alice")
        .viewing(&[view("v0", of("bob", Camera), 360)])
        .slots(2, 1);
    let before = node.join(alice.clone().publishing(&[Microphone]));
    node.taken_set_slots();
    // More slots and a screen: nothing changes for what was there.
    let after = node.reoffer(alice.slots(4, 9).publishing(&[Microphone, Screen]));
    assert_eq!(after.tracks[0], before.tracks[0]);
    assert_eq!(after.tracks[1].source, Screen);
    assert_eq!(node.taken_set_slots(), 0);
    assert_eq!(node.shown("alice"), ["a0:bob", "v0:bob"]);
    assert_eq!(node.rooms.renegotiation("alice").expect("open").sdp_version, 3);
}

#[test]
fn without_a_declaration_a_track_keeps_source_and_mute() {
    let mut node = Node::new(1);
    let mut film = joiner("film").publishing(&[Screen]).publishing_muted(ScreenAudio);
    let before = node.join(film.clone());
    film.declare = false;
    assert_eq!(node.reoffer(film).tracks, before.tracks);
}

#[test]
fn ice_restarts_with_fresh_credentials_for_the_same_connection() {
    let mut node = Node::new(1);
    node.join(joiner("alice"));
    let before = node.seat("alice");
    let remote = IceCredentials {
        ufrag: "next".into(),
        pwd: "next".repeat(6),
    };
    let after = node.rooms.restart_ice("alice", remote.clone()).expect("open");
    assert_eq!(after.connection, before.connection);
    assert_ne!(after.local_ice, before.local_ice);
    assert_eq!(after.local_ice.ufrag[..10], before.local_ice.ufrag[..10]);
    let output = node.rooms.poll_output();
    let Some(tianqiao_sfu_core::rooms::RoomsOutput::Command(
        _,
        WorkerCommand::RestartIce {
            local, remote: told, ..
        },
    )) = output
    else {
        panic!("{output:?}");
    };
    assert_eq!((local, told), (after.local_ice, remote));
    let unknown = node.rooms.fresh_credentials("nobody");
    assert_eq!(unknown, Err(RoomsError::SessionUnknown("nobody".into())));
}

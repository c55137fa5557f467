use std::collections::HashSet;

use tianqiao_sfu_core::rooms::{EndReason, RoomsEvent};
use tianqiao_sfu_core::transport::ufrag;
use tianqiao_sfu_core::worker_api::{CloseReason, WorkerCommand, WorkerEvent};

use crate::harness::*;

#[test]
fn undeclared_tracks_are_a_microphone_and_a_camera() {
    let mut node = Node::new(1);
    let mut alice = joiner("alice").publishing(&[Microphone, Camera]);
    alice.declare = false;
    let state = node.join(alice);
    let sources: Vec<_> = state.tracks.iter().map(|track| (track.source, track.muted)).collect();
    assert_eq!(sources, [(Microphone, false), (Camera, false)]);
    assert!(state.tracks.iter().all(|track| track.id.0 != 0));
}

#[test]
fn the_worker_is_told_of_the_connection_its_tracks_and_mutes() {
    let mut node = Node::new(1);
    let state = node.join(joiner("alice").publishing(&[Microphone]).publishing_muted(Camera));
    let seat = node.seat("alice");
    let WorkerCommand::Open(open) = &node.commands[0].1 else {
        panic!("{:?}", node.commands);
    };
    assert_eq!(open.connection, seat.connection);
    assert_eq!(open.local_ice, seat.local_ice);
    assert_eq!(
        ufrag::parse(&seat.local_ice.ufrag),
        Some((seat.worker, seat.connection))
    );
    let published: Vec<_> = open.tracks.iter().map(|track| (track.mid, track.track)).collect();
    assert_eq!(
        published,
        [(mid("p0"), state.tracks[0].id), (mid("p1"), state.tracks[1].id)]
    );
    assert!(node.muted.contains(&state.tracks[1].id) && node.muted.len() == 1);
}

#[test]
fn a_large_room_spreads_over_all_workers() {
    let mut node = Node::new(4);
    let mut publishers = HashSet::new();
    let mut listeners = vec![0; 4];
    for i in 0..16 {
        node.join(joiner(format!("p{i}")).publishing(&[Microphone]));
        publishers.insert(node.seat(&format!("p{i}")).worker);
    }
    for i in 0..40 {
        node.join(joiner(format!("s{i}")));
        listeners[usize::from(node.seat(&format!("s{i}")).worker.0)] += 1;
    }
    assert_eq!(publishers.len(), 4);
    assert_eq!(listeners, [10; 4]);
}

#[test]
fn what_workers_report_becomes_events() {
    let mut node = Node::new(2);
    node.join(joiner("alice"));
    node.worker_event("alice", |connection| WorkerEvent::Connected { connection });
    node.worker_event("alice", |connection| WorkerEvent::Closed {
        connection,
        reason: CloseReason::IceTimeout,
    });
    // Crossed with what the worker already knows: no event, no panic.
    node.worker_event("alice", |connection| WorkerEvent::Connected { connection });
    let session = || "alice".into();
    assert_eq!(
        node.taken_events(),
        [
            RoomsEvent::Connected { session: session() },
            RoomsEvent::Closed {
                session: session(),
                reason: EndReason::Connection(CloseReason::IceTimeout)
            }
        ]
    );
    assert!(node.rooms.is_empty());
}

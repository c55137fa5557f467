//! Links that lose datagrams, or are cut for a time.

use tianqiao_sfu_core::rooms::{RoomsEvent, TrackSource};

use crate::world::*;

#[test]
fn what_a_link_loses_is_not_missed_by_those_behind_it() {
    let mut world = World::new(2, 1);
    world.link(0, 1, &between("10%"));
    let alice = world.join(0, "alice", &publisher());
    let joiner = Joiner {
        audio_slots: 1,
        ..viewer("alice", 180)
    };
    let bob = world.join(1, "bob", &joiner);
    if let Some(voice) = &mut world.peers[alice].voice {
        voice.level = 20;
    }
    world.run(secs(3.0));
    let from = world.time();
    world.run(secs(20.0));
    let to = world.time() - secs(1.0);
    world.run(secs(0.5));
    let listener = world.peers[bob].listeners.values().next().expect("a voice");
    let heard = listener.heard(from, to, secs(0.2));
    assert!(heard.lost < 0.01 && heard.late < 0.01, "{heard:?}");
    let pictures = world.peers[bob].pictures(from);
    assert!(pictures as f64 > 20.5 * 30.0 * 0.99 - 3.0, "{pictures} pictures");
    let freeze = world.peers[bob].longest_freeze(from, to);
    assert!(freeze < secs(0.4), "{freeze:?}");
    world.end();
}

#[test]
fn after_a_cut_everything_goes_on_by_itself() {
    let mut world = World::pair(2);
    let alice = world.join(0, "alice", &publisher());
    let joiner = Joiner {
        audio_slots: 1,
        ..viewer("alice", 360)
    };
    let bob = world.join(1, "bob", &joiner);
    if let Some(voice) = &mut world.peers[alice].voice {
        voice.level = 20;
    }
    world.run(secs(4.0));
    let track = world.track(alice, TrackSource::Microphone);
    for length in [0.5, 5.0, 30.0] {
        let (from, until) = (world.time(), world.time() + secs(length));
        if let Some(wire) = world.wires.get_mut(&(0, 1)) {
            wire.net.cut(from, until);
        }
        world.run(secs(length));
        let heard = world.peers[bob].heard(track);
        world.run(secs(1.5));
        assert!(world.peers[bob].heard(track) > heard + 10, "the voice after {length} s");
        assert!(
            world.peers[bob].pictures(world.time() - secs(0.5)) > 10,
            "the picture after {length} s"
        );
        world.run(secs(3.0));
        assert_eq!(world.peers[bob].height_at(world.time()), 360);
        let cuts = |event: &RoomsEvent| matches!(event, RoomsEvent::Link { is_up: false, .. });
        let told = world.nodes[1].events.iter().filter(|(at, _)| *at >= from);
        assert_eq!(told.filter(|(_, event)| cuts(event)).count(), usize::from(length > 2.0));
    }
    world.end();
}

#[test]
fn another_link_takes_the_place_of_one_that_is_given_up() {
    let mut world = World::pair(2);
    let alice = world.join(0, "alice", &publisher());
    let joiner = Joiner {
        audio_slots: 1,
        ..viewer("alice", 180)
    };
    let viewers: Vec<usize> = (0..3).map(|n| world.join(1, &format!("v{n}"), &joiner)).collect();
    if let Some(voice) = &mut world.peers[alice].voice {
        voice.level = 20;
    }
    world.run(secs(2.0));
    let track = world.track(alice, TrackSource::Microphone);
    for _ in 0..3 {
        world.unlink(0, 1);
        world.run(secs(0.3));
        world.link(0, 1, &between("0%"));
        let heard: Vec<usize> = viewers.iter().map(|&viewer| world.peers[viewer].heard(track)).collect();
        world.run(secs(1.5));
        for (&viewer, heard) in viewers.iter().zip(heard) {
            let peer = &world.peers[viewer];
            assert!(
                peer.heard(track) > heard + 30,
                "{} of {} heard",
                peer.heard(track) - heard,
                peer.name
            );
            world.assert_watches(viewer);
        }
    }
    world.end();
}

#[test]
fn a_microphone_outlives_the_links_over_which_it_was_heard() {
    let mut world = World::new(3, 1);
    world.link(0, 1, &between("0%"));
    world.link(0, 2, &between("0%"));
    let alice = world.join(0, "alice", &speaker());
    let ears = [world.join(1, "one", &listener()), world.join(2, "two", &listener())];
    if let Some(voice) = &mut world.peers[alice].voice {
        voice.level = 20;
    }
    world.run(secs(1.0));
    let track = world.track(alice, TrackSource::Microphone);
    world.unlink(0, 1);
    world.run(secs(0.5));
    let heard = world.peers[ears[1]].heard(track);
    world.run(secs(1.0));
    assert!(world.peers[ears[1]].heard(track) > heard + 45);
    world.end();
}

#[test]
fn the_way_may_change_under_those_who_watch() {
    let mut world = World::new(3, 2);
    world.link(0, 1, &between("0%"));
    world.link(1, 2, &between("0%"));
    world.join(0, "alice", &publisher());
    let viewers = [0, 1].map(|n| world.join(2, &format!("v{n}"), &viewer("alice", 180)));
    for _ in 0..3 {
        world.run(secs(1.5));
        for viewer in viewers {
            world.assert_watches(viewer);
        }
        // The short way, and the long one again.
        world.link(0, 2, &between("0%"));
        world.run(secs(1.5));
        for viewer in viewers {
            world.assert_watches(viewer);
        }
        world.unlink(0, 2);
    }
    world.end();
}

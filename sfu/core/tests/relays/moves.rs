//! A participant moves: for a while it is here and on another node.

use tianqiao_sfu_core::rooms::{SlotTarget, TrackSource};

use crate::world::*;

fn speaks(world: &mut World, peer: usize) {
    if let Some(voice) = &mut world.peers[peer].voice {
        voice.level = 20;
    }
}

#[test]
fn the_picture_of_the_old_node_stays_until_the_new_one_has_connected() {
    let mut world = World::pair(2);
    let both = Joiner {
        audio_slots: 4,
        views: vec![(SlotTarget::ActiveSpeaker, 180), (camera_of("alice"), 180)],
        ..publisher()
    };
    let old = world.join(0, "alice", &both);
    let watcher = Joiner {
        audio_slots: 4,
        ..viewer("alice", 180)
    };
    let bob = world.join(1, "bob", &watcher);
    speaks(&mut world, old);
    world.run(secs(2.0));
    let [before, voice] = [TrackSource::Camera, TrackSource::Microphone].map(|source| world.track(old, source));
    let fresh = world.open(1, "alice", &both);
    speaks(&mut world, fresh);
    let after = world.track(fresh, TrackSource::Camera);
    world.peers[fresh].silent = true;
    world.run(secs(0.3));
    world.peers[fresh].silent = false;
    assert_eq!(
        world.shown(bob, "v0").unwrap_or(before),
        before,
        "while the other connects"
    );
    world.assert_watches(bob);
    for _ in 0..10_000 {
        world.run(MS);
        if world.peers[fresh].connected {
            break;
        }
    }
    assert!(world.peers[fresh].connected);
    world.run(secs(0.5));
    assert_eq!(world.shown(bob, "v0"), Some(after));
    world.assert_watches(bob);
    // Neither hears himself nor sees himself as the speaker.
    world.run(secs(2.0));
    let own = [voice, world.track(fresh, TrackSource::Microphone)];
    for peer in [old, fresh] {
        for track in own {
            assert_eq!(world.peers[peer].heard(track), 0, "hears himself");
        }
    }
    let shown = world.shown(fresh, "v0");
    assert!(shown != Some(before) && shown != Some(after), "sees himself");

    world.close(old);
    world.sync();
    world.run(secs(1.0));
    assert_eq!(world.shown(bob, "v0"), Some(after));
    world.assert_watches(bob);
    world.end();
}

#[test]
fn who_goes_to_the_other_node_is_shown_from_there() {
    let mut world = World::pair(1);
    let old = world.join(1, "alice", &publisher());
    let bob = world.join(1, "bob", &viewer("alice", 180));
    world.run(secs(1.0));
    let fresh = world.join(0, "alice", &publisher());
    world.run(secs(0.5));
    world.assert_watches(bob);
    world.close(old);
    world.run(secs(1.0));
    assert_eq!(world.shown(bob, "v0"), Some(world.track(fresh, TrackSource::Camera)));
    world.assert_watches(bob);
    world.end();
}

#[test]
fn a_node_that_is_lost_before_the_participant_has_connected_elsewhere_is_waited_for() {
    let mut world = World::pair(1);
    let old = world.join(0, "alice", &publisher());
    let bob = world.join(1, "bob", &viewer("alice", 180));
    world.run(secs(1.0));
    let fresh = world.open(1, "alice", &publisher());
    world.peers[fresh].silent = true;
    world.run(secs(0.1));
    world.close(old);
    world.sync();
    world.run(secs(0.1));
    world.peers[fresh].silent = false;
    for _ in 0..10_000 {
        world.run(MS);
        if world.peers[fresh].connected {
            break;
        }
    }
    world.run(secs(1.0));
    assert_eq!(world.shown(bob, "v0"), Some(world.track(fresh, TrackSource::Camera)));
    world.assert_watches(bob);
    world.end();
}

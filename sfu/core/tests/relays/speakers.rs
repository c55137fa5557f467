//! Who has the floor is decided on one node and shown on all; of the voices the loudest cross.

use std::time::Duration;

use tianqiao_sfu_core::rooms::{RoomsEvent, SlotTarget, TrackSource};

use crate::world::*;

fn speak(world: &mut World, speaker: usize, others: &[usize], time: Duration) {
    for &other in others.iter().chain([&speaker]) {
        if let Some(voice) = &mut world.peers[other].voice {
            voice.level = if other == speaker { 20 } else { 127 };
        }
    }
    world.run(time);
}

fn tells_of_speakers(world: &World, node: usize) -> bool {
    let mut events = world.nodes[node].events.iter();
    events.any(|(_, event)| matches!(event, RoomsEvent::Speakers { .. }))
}

#[test]
fn the_active_speaker_is_shown_on_the_other_node_wherever_he_is() {
    let mut world = World::pair(2);
    let alice = world.join(0, "alice", &publisher());
    let anna = world.join(0, "anna", &publisher());
    let bert = world.join(1, "bert", &publisher());
    let all = [alice, anna, bert];
    let on = |node| (node, vec![(SlotTarget::ActiveSpeaker, 180)]);
    let [here, there] = [on(0), on(1)].map(|(node, views)| {
        let joiner = Joiner { views, ..listener() };
        world.join(node, &format!("viewer{node}"), &joiner)
    });
    for speaker in [alice, bert, anna, bert, alice] {
        speak(&mut world, speaker, &all, secs(3.0));
        let camera = Some(world.track(speaker, TrackSource::Camera));
        assert_eq!(world.shown(there, "v0"), camera, "{}", world.peers[speaker].name);
        assert_eq!(world.shown(here, "v0"), camera, "{}", world.peers[speaker].name);
        assert!(world.peers[there].pictures(world.time() - secs(1.0)) > 25);
    }
    assert!(tells_of_speakers(&world, 0));
    assert!(!tells_of_speakers(&world, 1), "only where it is decided");
    world.end();
}

#[test]
fn the_loudest_are_heard_on_the_other_node_and_the_others_do_not_cross() {
    let mut world = World::pair(2);
    let speakers: Vec<usize> = (0..12).map(|n| world.join(0, &format!("s{n}"), &speaker())).collect();
    let ears = [world.join(1, "ear", &listener()), world.join(1, "other", &listener())];
    for &speaker in &speakers {
        speak(&mut world, speaker, &speakers, secs(2.0));
        let (track, from) = (world.track(speaker, TrackSource::Microphone), world.time());
        let before = ears.map(|ear| world.peers[ear].heard(track));
        let kbit = world.kbit(0, 1, secs(1.0));
        for (ear, before) in ears.into_iter().zip(before) {
            let came = world.peers[ear].heard(track) - before;
            assert!(
                came >= 48,
                "{came} packets of {} since {from:?}",
                world.peers[speaker].name
            );
        }
        // Of twelve that all send, those that may be heard: four, and two more for those who are among them.
        assert!(kbit < 6.5 * 75.0, "{kbit} kbit/s");
        assert!(kbit > 3.0 * 40.0, "{kbit} kbit/s");
    }
    world.end();
}

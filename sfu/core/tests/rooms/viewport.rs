use tianqiao_sfu_core::allocator::Mode;
use tianqiao_sfu_core::rooms::{RoomsEvent, SlotState, SlotTarget};
use tianqiao_sfu_core::worker_api::WorkerCommand;

use crate::harness::*;

#[test]
fn slots_follow_the_viewport_and_only_differences_are_told() {
    let mut node = Node::new(2);
    node.join(joiner("bob").publishing(&[Camera, Screen]));
    node.join(joiner("carol").publishing(&[Camera]));
    let state = node.join(joiner("alice").viewing(&[view("v0", of("bob", Camera), 720)]));
    let bob = node.track("bob", Camera);
    assert_eq!(
        state.slots,
        [SlotState {
            mid: mid("v0"),
            track: Some(bob)
        }]
    );
    assert_eq!(node.taken_events(), [], "the reply told it");
    assert_eq!(node.height("alice", "v0"), 720);
    node.taken_set_slots();

    // Another height: the worker is told, the client has nothing to learn.
    node.look("alice", &[view("v0", of("bob", Camera), 180)]);
    assert_eq!((node.height("alice", "v0"), node.taken_set_slots()), (180, 1));
    assert!(node.taken_events().is_empty());

    node.look(
        "alice",
        &[view("v0", of("bob", Camera), 180), view("v2", of("carol", Camera), 90)],
    );
    assert_eq!(node.shown("alice"), ["v0:bob", "v2:carol"]);
    assert_eq!(node.taken_set_slots(), 1);
    let carol = node.track("carol", Camera);
    let told = |slot: &str, track| {
        let slots = vec![SlotState { mid: mid(slot), track }];
        RoomsEvent::Slots {
            session: "alice".into(),
            slots,
        }
    };
    assert_eq!(node.taken_events(), [told("v2", Some(carol))]);

    node.look(
        "alice",
        &[
            view("v2", of("carol", Camera), 90),
            view("v9", SlotTarget::ActiveSpeaker, 90),
        ],
    );
    assert_eq!(node.shown("alice"), ["v2:carol"]);
    assert_eq!(node.taken_events(), [told("v0", None)]);
}

#[test]
fn a_slot_waits_for_its_source_and_empties_when_it_ends() {
    let mut node = Node::new(2);
    node.join(joiner("alice").viewing(&[view("v0", of("bob", Screen), 1080)]));
    assert!(node.shown("alice").is_empty());
    node.join(joiner("bob").publishing(&[Camera]));
    assert!(node.shown("alice").is_empty());
    node.reoffer(joiner("bob").publishing(&[Camera, Screen]));
    assert_eq!(node.shown("alice"), ["v0:bob"]);
    node.reoffer(joiner("bob").publishing(&[Camera]));
    assert!(node.shown("alice").is_empty());
    node.reoffer(joiner("bob").publishing(&[Camera, Screen]));
    node.leave("bob");
    assert!(node.shown("alice").is_empty());
    let slots = |event: &RoomsEvent| matches!(event, RoomsEvent::Slots { .. });
    assert_eq!(node.taken_events().iter().filter(|event| slots(event)).count(), 4);
}

#[test]
fn a_muted_camera_keeps_its_slot() {
    let mut node = Node::new(2);
    node.join(joiner("bob").publishing(&[Camera]));
    node.join(joiner("alice").viewing(&[view("v0", of("bob", Camera), 720)]));
    node.mute("bob", Camera, true);
    node.mute("bob", Camera, true);
    assert_eq!(node.shown("alice"), ["v0:bob"]);
    assert!(node.muted.contains(&node.track("bob", Camera)));
    node.mute("bob", Camera, false);
    assert!(node.muted.is_empty());
}

#[test]
fn nobody_sees_into_another_room_and_audio_is_not_a_picture() {
    let mut node = Node::new(1);
    node.join(joiner("bob").in_room("other").publishing(&[Camera]));
    node.join(joiner("carol").publishing(&[Microphone]));
    let views = [
        view("v0", of("bob", Camera), 720),
        view("v1", of("carol", Microphone), 720),
    ];
    node.join(joiner("alice").viewing(&views).slots(0, 2));
    assert!(node.shown("alice").is_empty());
}

#[test]
fn a_source_fills_two_slots_at_most_however_it_is_asked_for() {
    let mut node = Node::new(1);
    node.join(joiner("bob").publishing(&[Microphone, Camera]));
    node.join(joiner("carol").publishing(&[Camera]));
    node.speak(&["bob"], 2_000);
    let everywhere: Vec<_> = (0..6).map(|i| view(&format!("v{i}"), of("bob", Camera), 720)).collect();
    node.join(joiner("alice").slots(0, 6).viewing(&everywhere));
    assert_eq!(node.shown("alice"), ["v0:bob", "v1:bob"]);

    // The active speaker is the same source.
    let mut views = everywhere.clone();
    views[0].target = SlotTarget::ActiveSpeaker;
    views[1] = view("v1", of("carol", Camera), 720);
    node.taken_events();
    node.look("alice", &views);
    assert_eq!(node.shown("alice"), ["v0:bob", "v1:carol", "v2:bob"]);
    let [RoomsEvent::Slots { slots, .. }] = &node.taken_events()[..] else {
        panic!("one event");
    };
    assert_eq!(slots.len(), 2, "{slots:?}");

    // One slot gives it back, the next one gets it.
    views[2].target = SlotTarget::Nobody;
    node.look("alice", &views);
    assert_eq!(node.shown("alice"), ["v0:bob", "v1:carol", "v3:bob"]);
    node.reoffer(joiner("alice").slots(0, 3).viewing(&everywhere[..3]));
    assert_eq!(node.shown("alice"), ["v0:bob", "v1:bob"]);
    // Slots that follow somebody are slots like others.
    node.join(joiner("whep").slots(1, 5).following(of("bob", Camera)));
    assert_eq!(node.shown("whep"), ["a0:bob", "v0:bob", "v1:bob"]);
}

#[test]
fn how_much_is_wanted_is_told_to_the_worker_when_it_changes() {
    let mut node = Node::new(1);
    node.join(joiner("bob").publishing(&[Camera]));
    node.join(joiner("alice").viewing(&[]));
    let mut told = |mode| {
        node.rooms.set_viewport("alice", &[], mode).expect("an open session");
        node.look("bob", &[]);
        let modes = node.commands.drain(..).filter_map(|(_, command)| match command {
            WorkerCommand::SetMode { mode, .. } => Some(mode),
            _ => None,
        });
        modes.collect::<Vec<_>>()
    };
    assert_eq!(told(Mode::Normal), []);
    assert_eq!(told(Mode::AudioOnly), [Mode::AudioOnly]);
    assert_eq!(told(Mode::AudioOnly), []);
    assert_eq!(told(Mode::Normal), [Mode::Normal]);
}

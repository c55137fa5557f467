use std::time::Duration;

use tianqiao_sfu_core::rooms::{EndReason, RoomsEvent, SlotTarget};

use crate::harness::*;

fn busy(name: impl ToString) -> Joiner {
    let views = [
        view("v0", SlotTarget::ActiveSpeaker, 720),
        view("v1", of("nobody", Camera), 90),
    ];
    joiner(name).publishing(&[Microphone, Camera]).viewing(&views)
}

#[test]
fn a_thousand_cycles_leave_nothing() {
    let mut node = Node::new(3);
    for cycle in 0..250 {
        for name in 0..4 {
            node.join(busy(format!("{cycle}-{name}")));
        }
        node.speak(&[&format!("{cycle}-1")], 200);
        for name in 0..4 {
            node.leave(&format!("{cycle}-{name}"));
        }
        node.commands.clear();
        node.events.clear();
        node.pass(Duration::from_millis(10));
        assert!(node.rooms.is_empty(), "cycle {cycle}");
    }
    assert!(node.connections.is_empty());
    assert_eq!(node.rooms.poll_timeout(), None);
}

#[test]
fn a_room_closes_at_once_and_alone() {
    let mut node = Node::new(2);
    node.join(busy("a"));
    node.join(busy("b"));
    node.join(busy("c").in_room("other"));
    node.speak(&["a"], 1_000);
    node.taken_set_slots();
    assert_eq!(node.rooms.close_room(node.now, ROOM), 2);
    node.pass(Duration::from_secs(1));
    assert_eq!(node.rooms.session_count(), 1);
    assert_eq!(node.rooms.room_count(), 1);
    assert_eq!(node.rooms.track_count(), 2);
}

#[test]
fn a_shutdown_tells_every_session() {
    let mut node = Node::new(2);
    node.join(busy("a"));
    node.join(busy("b").in_room("other"));
    node.taken_events();
    node.rooms.shut_down();
    let mut events = Vec::new();
    while let Some(output) = node.rooms.poll_output() {
        if let tianqiao_sfu_core::rooms::RoomsOutput::Event(event) = output {
            events.push(event);
        }
    }
    let closed = |name: &str| RoomsEvent::Closed {
        session: name.into(),
        reason: EndReason::Shutdown,
    };
    assert_eq!(events, [closed("a"), closed("b")]);
    assert!(node.rooms.is_empty());
}

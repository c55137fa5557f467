use tianqiao_sfu_core::rooms::SlotTarget;

use crate::harness::*;

fn watcher(name: &str) -> Joiner {
    joiner(name)
        .slots(0, 1)
        .viewing(&[view("v0", SlotTarget::ActiveSpeaker, 720)])
}

fn speaker(name: &str) -> Joiner {
    watcher(name).publishing(&[Microphone, Camera])
}

#[test]
fn before_anyone_speaks_it_is_the_first_who_publishes_and_never_oneself() {
    let mut node = Node::new(2);
    node.join(watcher("viewer"));
    assert!(node.shown("viewer").is_empty());
    node.join(speaker("alice"));
    node.join(speaker("bob"));
    assert_eq!(node.shown("viewer"), ["v0:alice"]);
    assert_eq!(node.shown("alice"), ["v0:bob"]);
    assert_eq!(node.shown("bob"), ["v0:alice"]);
    node.leave("alice");
    assert_eq!(node.shown("viewer"), ["v0:bob"]);
    assert!(node.shown("bob").is_empty());
}

#[test]
fn it_follows_the_dominant_speaker_who_sees_the_one_before() {
    let mut node = Node::new(2);
    node.join(watcher("viewer"));
    for name in ["alice", "bob", "carol"] {
        node.join(speaker(name));
    }
    node.speak(&["bob"], 1_000);
    assert_eq!(node.shown("viewer"), ["v0:bob"]);
    assert_eq!(node.shown("bob"), ["v0:alice"], "nobody spoke before");
    node.speak(&[], 1_500);
    assert_eq!(node.shown("viewer"), ["v0:bob"], "silence changes nothing");
    node.speak(&["carol"], 3_000);
    assert_eq!(node.shown("viewer"), ["v0:carol"]);
    assert_eq!(node.shown("carol"), ["v0:bob"]);
    assert_eq!(node.shown("bob"), ["v0:carol"]);
    node.leave("carol");
    assert_eq!(node.shown("viewer"), ["v0:bob"]);
}

#[test]
fn a_speaker_without_camera_leaves_the_picture_where_it_was() {
    let mut node = Node::new(2);
    node.join(watcher("viewer"));
    node.join(speaker("alice"));
    node.join(speaker("bob"));
    node.join(watcher("telephone").publishing(&[Microphone]));
    node.speak(&["bob"], 1_000);
    node.speak(&["telephone"], 3_000);
    assert_eq!(node.shown("viewer"), ["v0:bob"]);
    // Once there is a camera it shows.
    node.reoffer(speaker("telephone"));
    assert_eq!(node.shown("viewer"), ["v0:telephone"]);
}

#[test]
fn an_open_camera_goes_before_a_closed_one_until_someone_speaks() {
    let mut node = Node::new(1);
    node.join(watcher("alice").publishing(&[Microphone]).publishing_muted(Camera));
    node.join(watcher("viewer"));
    assert_eq!(node.shown("viewer"), ["v0:alice"]);
    node.join(speaker("bob"));
    assert_eq!(node.shown("viewer"), ["v0:bob"]);
    node.speak(&["alice"], 1_000);
    assert_eq!(node.shown("viewer"), ["v0:alice"]);
}

#[test]
fn in_a_grid_the_slot_of_whoever_speaks_goes_first() {
    let mut node = Node::new(2);
    for name in ["alice", "bob", "carol"] {
        node.join(speaker(name));
    }
    let names = [("v0", "alice"), ("v1", "bob"), ("v2", "carol")];
    let slots = names.map(|(slot, name)| view(slot, of(name, Camera), 180));
    node.join(joiner("viewer").slots(0, 3).viewing(&slots));
    for (who, slot) in [("bob", "v1"), ("carol", "v2"), ("bob", "v1")] {
        node.speak(&[who], 3_000);
        assert_eq!(node.spoken("viewer"), [slot]);
    }
    node.leave("bob");
    assert_eq!(node.spoken("viewer"), ["v2"]);
}

//! WHEP: one participant's audio and video.

use tianqiao_sfu_core::rooms::SlotTarget;

use crate::harness::*;

fn speaker(name: &str) -> Joiner {
    joiner(name).publishing(&[Microphone, Camera])
}

#[test]
fn one_participant_is_followed() {
    let mut node = Node::new(2);
    node.join(joiner("whep").slots(2, 1).following(of("bob", Camera)));
    node.join(speaker("alice"));
    assert!(node.shown("whep").is_empty());
    node.join(speaker("bob"));
    assert_eq!(node.shown("whep"), ["a0:bob", "v0:bob"]);
    node.speak(&["alice"], 2_000);
    assert_eq!(node.shown("whep"), ["a0:bob", "v0:bob"]);
    assert_eq!(node.height("whep", "v0"), u16::MAX);
}

#[test]
fn the_active_speaker_is_followed_and_before_that_the_first_who_publishes() {
    let mut node = Node::new(2);
    node.join(joiner("whep").slots(1, 1).following(SlotTarget::ActiveSpeaker));
    node.join(joiner("telephone").publishing(&[Microphone]));
    assert_eq!(node.shown("whep"), ["a0:telephone"]);
    node.join(speaker("alice"));
    assert_eq!(node.shown("whep"), ["a0:alice", "v0:alice"]);
    node.join(speaker("bob"));
    node.speak(&["bob"], 1_000);
    assert_eq!(node.shown("whep"), ["a0:bob", "v0:bob"]);
    node.speak(&["telephone"], 3_000);
    assert_eq!(node.shown("whep"), ["a0:telephone", "v0:bob"]);
    node.leave("telephone");
    assert_eq!(node.shown("whep"), ["a0:bob", "v0:bob"]);
}

#[test]
fn a_view_goes_before_the_followed_target() {
    let mut node = Node::new(2);
    node.join(speaker("alice"));
    node.join(joiner("bob").publishing(&[Screen]));
    let views = [view("v1", of("bob", Screen), 1080)];
    let whep = joiner("whep").slots(1, 2).viewing(&views);
    node.join(whep.following(SlotTarget::ActiveSpeaker));
    assert_eq!(node.shown("whep"), ["a0:alice", "v0:alice", "v1:bob"]);
}

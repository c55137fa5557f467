use crate::harness::*;

fn listener(name: impl ToString) -> Joiner {
    joiner(name).slots(4, 4)
}

fn speaker(name: impl ToString) -> Joiner {
    listener(name).publishing(&[Microphone, Camera])
}

/// Whom a session hears, in the order of its slots.
fn heard(node: &Node, name: &str) -> Vec<String> {
    let slots = node.shown(name).into_iter().filter(|slot| slot.starts_with('a'));
    slots.map(|slot| slot[3..].to_owned()).collect()
}

#[test]
fn in_a_small_room_everybody_hears_everybody_else() {
    let mut node = Node::new(2);
    node.join(listener("ear"));
    for i in 0..5 {
        node.join(speaker(i));
    }
    for i in 0..5 {
        let mut others = heard(&node, &i.to_string());
        others.sort();
        let expected: Vec<String> = (0..5)
            .filter(|&other| other != i)
            .map(|other| other.to_string())
            .collect();
        assert_eq!(others, expected);
    }
    assert_eq!(heard(&node, "ear").len(), 4);
}

#[test]
fn the_muted_are_not_heard() {
    let mut node = Node::new(2);
    node.join(listener("ear"));
    node.join(speaker("alice"));
    node.join(listener("bob").publishing_muted(Microphone));
    assert_eq!(node.shown("ear"), ["a0:alice"]);
    node.mute("bob", Microphone, false);
    assert_eq!(node.shown("ear"), ["a0:alice", "a1:bob"]);
    node.mute("alice", Microphone, true);
    assert_eq!(node.shown("ear"), ["a1:bob"], "bob stays where he is");
}

#[test]
fn in_a_large_room_whoever_speaks_is_heard_and_silence_changes_nothing() {
    let mut node = Node::new(2);
    node.join(listener("ear"));
    for i in 0..10 {
        node.join(speaker(i));
    }
    assert_eq!(heard(&node, "ear"), ["0", "1", "2", "3"]);
    node.speak(&["8"], 1_000);
    let hearing = heard(&node, "ear");
    assert!(hearing.contains(&"8".to_owned()) && hearing.len() == 4, "{hearing:?}");
    node.taken_set_slots();
    node.speak(&["8"], 5_000);
    node.speak(&[], 5_000);
    node.speak(&["8"], 5_000);
    assert_eq!(node.taken_set_slots(), 0);
    for i in 4..7 {
        node.speak(&[&i.to_string()], 3_000);
        node.speak(&[], 1_000);
    }
    let mut hearing = heard(&node, "ear");
    hearing.sort();
    assert_eq!(hearing, ["4", "5", "6", "8"], "the last four who spoke");
    assert!(!heard(&node, "8").contains(&"8".to_owned()));
    assert_eq!(heard(&node, "8").len(), 4);
}

#[test]
fn a_change_costs_a_command_per_session() {
    let mut node = Node::new(2);
    for i in 0..10 {
        node.join(speaker(i));
    }
    for i in 0..90 {
        node.join(listener(format!("ear{i}")));
    }
    node.speak(&["0"], 1_000);
    node.taken_set_slots();
    node.speak(&["9"], 3_000);
    let changes = node.taken_set_slots();
    assert!((90..=200).contains(&changes), "{changes}");
}

#[test]
fn shared_sound_is_heard_in_a_large_room() {
    let mut node = Node::new(2);
    node.join(listener("ear"));
    for i in 0..10 {
        node.join(speaker(i));
    }
    node.speak(&["5"], 1_000);
    node.join(listener("film").publishing(&[Screen, ScreenAudio]));
    let hearing = heard(&node, "ear");
    assert!(
        hearing.contains(&"film".to_owned()) && hearing.contains(&"5".to_owned()),
        "{hearing:?}"
    );
    node.speak(&["1", "2", "3", "4"], 3_000);
    assert!(heard(&node, "ear").contains(&"film".to_owned()));
    node.mute("film", ScreenAudio, true);
    assert!(!heard(&node, "ear").contains(&"film".to_owned()));
}

#[test]
fn a_newcomer_takes_the_slot_that_plays_with_his_picture() {
    let mut node = Node::new(2);
    node.join(speaker("alice"));
    node.join(listener("bob").publishing_muted(Microphone).publishing_muted(Camera));
    let views = [view("v1", of("alice", Camera), 180), view("v3", of("bob", Camera), 180)];
    node.join(listener("ear").viewing(&views));
    assert_eq!(node.shown("ear"), ["a1:alice", "v1:alice", "v3:bob"]);
    node.mute("bob", Microphone, false);
    assert_eq!(heard(&node, "ear"), ["alice", "bob"]);
    assert!(node.shown("ear").contains(&"a3:bob".to_owned()));
}

#[test]
fn a_presenter_hears_as_many_as_everybody() {
    let mut node = Node::new(2);
    node.join(listener("film").publishing(&[Microphone, ScreenAudio]));
    for i in 0..10 {
        node.join(speaker(i));
    }
    node.speak(&["film"], 1_000);
    assert_eq!(heard(&node, "film").len(), 4);
    assert_eq!(heard(&node, "9").len(), 4);
}

use std::time::{Duration, Instant};

use tianqiao_sfu_core::rooms::RoomsEvent;

use crate::harness::*;

type Told = (Option<String>, Vec<String>);

fn told(events: Vec<RoomsEvent>) -> Vec<Told> {
    let speakers = events.into_iter().filter_map(|event| match event {
        RoomsEvent::Speakers { dominant, speaking, .. } => {
            let speaking = speaking.iter().map(|id| id.to_string()).collect();
            Some((dominant.map(|id| id.to_string()), speaking))
        }
        _ => None,
    });
    speakers.collect()
}

fn room() -> Node {
    let mut node = Node::new(2);
    for name in ["alice", "bob", "carol"] {
        node.join(joiner(name).publishing(&[Microphone]));
    }
    node
}

#[test]
fn who_speaks_is_told_when_it_changes_and_when_it_ends() {
    let mut node = room();
    node.speak(&["alice"], 3_000);
    let alice = (Some("alice".to_owned()), vec!["alice".to_owned()]);
    assert_eq!(told(node.taken_events()).last(), Some(&alice));
    node.speak(&["alice"], 3_000);
    assert!(told(node.taken_events()).is_empty());
    // No levels come any more, only time.
    node.pass(Duration::from_secs(10));
    assert_eq!(told(node.taken_events()), [(alice.0, vec![])]);
    assert_eq!(node.rooms.poll_timeout(), None, "a silent room sleeps");
}

#[test]
fn it_is_told_at_most_every_200_ms() {
    let mut node = room();
    let mut times: Vec<Instant> = Vec::new();
    for round in 0..400 {
        let name = ["alice", "bob", "carol"][round % 3];
        node.speak(&[name], 50);
        times.extend(told(node.taken_events()).iter().map(|_| node.now));
    }
    assert!(times.len() > 1);
    for pair in times.windows(2) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(150),
            "{:?}",
            pair[1] - pair[0]
        );
    }
}

#[test]
fn a_speaker_who_leaves_or_mutes_is_no_speaker() {
    let mut node = room();
    node.speak(&["alice"], 3_000);
    node.leave("alice");
    node.pass(Duration::from_secs(1));
    assert_eq!(told(node.taken_events()).last(), Some(&(None, vec![])));
    node.speak(&["bob"], 3_000);
    node.mute("bob", Microphone, true);
    node.pass(Duration::from_secs(1));
    assert_eq!(told(node.taken_events()).last(), Some(&(None, vec![])));
}

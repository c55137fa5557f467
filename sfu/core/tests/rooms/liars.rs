//! Sessions that claim to be loud shut nobody out who speaks.

use tianqiao_sfu_core::rooms::RoomsEvent;

use crate::harness::*;

/// Levels of somebody who speaks, in −dBov every 50 ms: words of a few syllables, pauses between them and one
/// for thought.
const SPEECH: &[u8] = &[
    52, 38, 31, 27, 29, 35, 44, 33, 26, 30, 37, 48, 62, 70, 41, 32, 28, 34, 39, 30, 25, 29, 36, 45, 58, 72, 75, 74, 47,
    35, 29, 26, 31, 38, 42, 33, 28, 32, 40, 51, 66, 73, 43, 34, 27, 30, 35, 29, 33, 41, 55, 71, 76, 77, 75, 76, 78, 75,
    76, 77, 76, 75, 78, 74, 49, 36, 30, 28, 33, 27, 31, 38, 46, 60,
];
const AUDIBLE: u8 = 52;

/// What a liar claims in one 50 ms, by its number and the time.
type Lie = fn(usize, usize) -> u8;

fn pseudo_random(liar: usize, at: usize) -> u8 {
    ((liar * 7_919 + at * 104_729) ^ (at * at * 31)) as u8 % 25
}

struct Outcome {
    /// Of what the honest one says after his first second, in percent.
    heard: usize,
    /// Of the time after his third second in which he has the floor, in percent.
    floor: usize,
}

/// Five liars claim for 20 s that they speak; then somebody does, for 20 s.
fn against(lie: Lie, identity: Option<&str>) -> Outcome {
    let mut node = Node::new(2);
    node.join(joiner("ear"));
    let liars: Vec<String> = (0..5).map(|liar| format!("liar{liar}")).collect();
    for liar in &liars {
        let joiner = joiner(liar).publishing(&[Microphone]);
        node.join(match identity {
            Some(identity) => joiner.known_as(identity),
            None => joiner,
        });
    }
    node.join(joiner("honest").publishing(&[Microphone]));
    let (mut said, mut heard, mut ticks, mut floor, mut dominant) = (0, 0, 0, 0, None);
    for at in 0..800 {
        let speech = (at >= 400).then(|| SPEECH[at % SPEECH.len()]);
        let lies = liars
            .iter()
            .enumerate()
            .map(|(liar, name)| (name.as_str(), lie(liar, at)));
        let levels: Vec<_> = lies.chain(speech.map(|level| ("honest", level))).collect();
        node.levels(&levels);
        for event in node.taken_events() {
            if let RoomsEvent::Speakers { dominant: who, .. } = event {
                dominant = who;
            }
        }
        if at >= 420 && speech.is_some_and(|level| level <= AUDIBLE) {
            said += 1;
            heard += usize::from(node.shown("ear").iter().any(|slot| slot.ends_with(":honest")));
        }
        if at >= 460 {
            ticks += 1;
            floor += usize::from(dominant.as_deref() == Some("honest"));
        }
    }
    Outcome {
        heard: heard * 100 / said,
        floor: floor * 100 / ticks,
    }
}

#[test]
fn who_speaks_is_heard_and_has_the_floor_whatever_others_claim() {
    let table: &[(&str, Lie)] = &[
        ("as loud as can be", |_, _| 0),
        ("each a level of its own", |liar, _| 3 * liar as u8),
        ("two levels in lock-step", |_, at| if at % 2 == 0 { 0 } else { 14 }),
        ("two levels in turns", |liar, at| {
            if (at + liar).is_multiple_of(2) { 0 } else { 14 }
        }),
        ("on and off", |_, at| if at / 5 % 2 == 0 { 0 } else { 127 }),
        (
            "on and off in turns",
            |liar, at| if (at / 10) % 5 == liar { 0 } else { 127 },
        ),
        ("three levels", |_, at| [0, 9, 20][at % 3]),
        ("any level, without a breath", pseudo_random),
    ];
    for (name, lie) in table {
        let outcome = against(*lie, None);
        assert!(outcome.heard >= 95, "{name}: {} % heard", outcome.heard);
        assert!(outcome.floor >= 90, "{name}: {} % of the floor", outcome.floor);
    }
}

#[test]
fn one_identity_has_one_voice_however_well_its_sessions_speak() {
    let speaks = |liar: usize, at: usize| SPEECH[(at + 17 * liar) % SPEECH.len()].saturating_sub(20);
    let outcome = against(speaks, Some("mallory"));
    assert_eq!(outcome.heard, 100);
}

#[test]
fn others_that_speak_too_leave_a_turn_to_who_has_said_little() {
    let speaks = |liar: usize, at: usize| SPEECH[(at + 17 * liar) % SPEECH.len()].saturating_sub(20);
    let outcome = against(speaks, None);
    // Four places for six, of whom he is the softest by far.
    assert!(outcome.heard >= 67, "{} % heard", outcome.heard);
}

#[test]
fn who_speaks_evenly_is_not_punished_where_nobody_lies() {
    let mut node = Node::new(2);
    node.join(joiner("ear"));
    for i in 0..10 {
        node.join(joiner(i).publishing(&[Microphone]));
    }
    // A lecture without a rise, over which others say a word now and then.
    let mut dominant = None;
    for at in 0..600 {
        let mut levels = vec![("8", 35)];
        if at % 100 > 90 {
            levels.push(("9", SPEECH[at % SPEECH.len()]));
        }
        node.levels(&levels);
        for event in node.taken_events() {
            if let RoomsEvent::Speakers { dominant: who, .. } = event {
                dominant = who;
            }
        }
        if at >= 20 {
            let hearing = node.shown("ear");
            assert!(hearing.iter().any(|slot| slot.ends_with(":8")), "{at}: {hearing:?}");
            assert_eq!(dominant.as_deref(), Some("8"), "{at}");
        }
    }
}

use super::*;
use crate::meeting::moves::Placed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use tianqiao_protocol::control::SfuEvent;

const DRAIN: MoveReason = MoveReason::Drain;

impl Bench {
    fn two_members() -> Self {
        let mut bench = Self::new();
        for id in ["a", "b"] {
            bench.reserve(0, id, Kind::Web).expect("there is room");
            let now = bench.at(0);
            bench
                .meeting
                .admit(now, id, vec![track(1)], vec![slot("5", Some(9))])
                .expect("admitted");
            bench.meeting.on_connected(id);
        }
        bench.meeting.take_relay_news();
        bench.outputs();
        bench
    }

    /// Number of the move that a member was asked for last.
    fn asked(&mut self) -> Option<(u32, bool)> {
        let asked = self.outputs().into_iter().filter_map(|output| match output {
            Output::Send {
                message: ServerMessage::Move { number, lost, .. },
                ..
            } => Some((number, lost)),
            _ => None,
        });
        asked.reduce(|_, latest| latest)
    }

    fn start(&mut self, millis: u64, reason: MoveReason) -> u32 {
        let now = self.at(millis);
        assert!(self.meeting.start_move(now, "a", reason, None, Duration::ZERO));
        self.asked().expect("it is asked").0
    }

    fn open(&mut self, millis: u64, number: u32) {
        let now = self.at(millis);
        self.meeting.begin_move("a", number).expect("it is under way");
        assert!(self.meeting.open_second(now, "a", number, "n2".into()));
    }

    fn answer(&mut self, millis: u64, number: u32) -> Result<(), Refusal> {
        let now = self.at(millis);
        let (tracks, slots) = (vec![track(101)], vec![slot("5", Some(9))]);
        self.meeting.on_second_answered(now, "a", number, "n2", tracks, slots)
    }

    fn second(&mut self, millis: u64, event: SfuEvent) {
        let now = self.at(millis);
        self.meeting.on_second_event(now, event);
    }

    fn connect(&mut self, millis: u64) {
        self.second(millis, SfuEvent::Connected { session: "a".into() });
    }

    fn time_out(&mut self, millis: u64) {
        let now = self.at(millis);
        self.meeting.handle_timeout(now);
    }

    fn tracks(&self) -> Vec<TrackId> {
        self.meeting.participants["a"]
            .tracks
            .iter()
            .map(|track| track.id)
            .collect()
    }

    fn node(&self) -> Option<&str> {
        self.meeting.participants["a"].node.as_deref()
    }
}

fn close_at(id: &str, node: &str) -> Output {
    Output::CloseMedia {
        session: id.into(),
        node: node.into(),
    }
}

#[test]
fn a_client_that_does_not_say_that_media_flows_is_taken_to_have_it() {
    let mut bench = Bench::two_members();
    let number = bench.start(0, DRAIN);
    bench.open(100, number);
    bench.answer(200, number).expect("answered");
    bench.connect(300);
    assert_eq!(
        (bench.tracks(), bench.node()),
        (vec![1], Some("n1")),
        "others see no change yet"
    );
    bench.time_out(10_299);
    assert_eq!(bench.tracks(), [1]);
    bench.time_out(10_300);
    assert_eq!((bench.tracks(), bench.node()), (vec![101], Some("n2")));
    let outputs = bench.outputs();
    assert!(outputs.contains(&close_at("a", "n1")), "{outputs:?}");
    assert!(bench.meeting.moves.due().is_none());
}

#[test]
fn news_that_overtake_the_answer_are_kept() {
    let mut bench = Bench::two_members();
    let number = bench.start(0, DRAIN);
    bench.open(100, number);
    bench.connect(150);
    let slots = vec![slot("5", Some(77))];
    bench.second(
        150,
        SfuEvent::Slots {
            session: "a".into(),
            slots,
        },
    );
    bench.meeting.on_moved(bench.at(160), "a", number).expect("known");
    assert_eq!(bench.tracks(), [1]);
    bench.answer(200, number).expect("answered");
    assert_eq!(bench.tracks(), [101]);
    let news = bench.news();
    assert!(news.contains(&"a: 5=Some(77)".to_owned()), "{news:?}");
    assert!(news.contains(&"b: tracks a 1".to_owned()), "{news:?}");
}

#[test]
fn other_nodes_hear_of_the_new_tracks_only_when_they_are_there() {
    let mut bench = Bench::two_members();
    let number = bench.start(0, DRAIN);
    bench.open(100, number);
    bench.answer(200, number).expect("answered");
    let placed = |node: &str, also: Option<&str>, id| Placed {
        node: node.into(),
        also: also.map(str::to_owned),
        identity: "person-a".into(),
        tracks: vec![track(id)],
    };
    let news = bench.meeting.take_relay_news();
    assert_eq!(news, [("a".to_owned(), Some(placed("n1", Some("n2"), 1)))]);
    bench.connect(300);
    bench.meeting.on_moved(bench.at(400), "a", number).expect("known");
    let news = bench.meeting.take_relay_news();
    assert_eq!(news, [("a".to_owned(), Some(placed("n2", None, 101)))]);
}

#[test]
fn a_second_move_waits_for_the_first_but_a_loss_hurries_it() {
    let mut bench = Bench::two_members();
    let number = bench.start(0, DRAIN);
    let now = bench.at(10);
    assert!(
        !bench
            .meeting
            .start_move(now, "a", MoveReason::Rebalance, None, Duration::ZERO)
    );
    assert_eq!(bench.meeting.start_moves(now, "n1", 9, DRAIN, None), 1, "only b");
    bench.open(100, number);
    bench.answer(200, number).expect("answered");
    bench.outputs();
    bench.meeting.on_node_lost(bench.at(300), "n1", Duration::ZERO);
    assert_eq!(bench.meeting.nodes_of("a"), ["n2"]);
    bench.connect(400);
    assert_eq!(
        (bench.tracks(), bench.node()),
        (vec![101], Some("n2")),
        "nothing is left to wait for"
    );
}

#[test]
fn the_target_may_be_lost_too() {
    let mut bench = Bench::two_members();
    let number = bench.start(0, DRAIN);
    bench.open(100, number);
    bench.answer(200, number).expect("answered");
    bench.meeting.on_node_lost(bench.at(300), "n2", Duration::ZERO);
    assert_eq!(bench.node(), Some("n1"));
    bench.outputs();
    bench.time_out(1_300);
    let (again, lost) = bench.asked().expect("it is asked again");
    assert!(again > number && !lost);
    let target = bench.meeting.begin_move("a", again).expect("under way");
    assert_eq!(target.but, ["n1", "n2"]);
    assert!(bench.answer(1_400, number).is_err(), "an answer of before");
}

#[test]
fn a_client_that_vanishes_keeps_its_session_until_that_ends_by_itself() {
    let mut bench = Bench::two_members();
    bench.start(0, DRAIN);
    bench.meeting.detach(bench.at(100), "a");
    bench.time_out(20_000);
    assert_eq!(bench.asked(), None);
    assert!(bench.meeting.has_participant("a"));
    bench
        .meeting
        .on_media_closed(bench.at(20_100), "a", CloseReason::IceTimeout);
    assert!(!bench.meeting.has_participant("a"));
    assert!(bench.meeting.moves.due().is_none());
}

#[test]
fn whoever_has_no_media_and_takes_up_no_move_is_gone_after_a_while() {
    let mut bench = Bench::two_members();
    bench.meeting.on_node_lost(bench.at(0), "n1", Duration::ZERO);
    let mut asked = 0;
    for second in 1..=200 {
        bench.time_out(1_000 * second);
        asked += usize::from(bench.asked().is_some());
    }
    assert!((2..=6).contains(&asked), "{asked}");
    assert!(!bench.meeting.has_participant("a") && !bench.meeting.has_participant("b"));
}

#[test]
fn what_cannot_move_ends_with_its_lost_node_and_is_listed_on_a_draining_one() {
    let mut bench = Bench::two_members();
    bench.reserve(0, "w", Kind::Whip).expect("there is room");
    bench
        .meeting
        .admit(bench.at(0), "w", vec![track(2)], vec![])
        .expect("admitted");
    assert_eq!(bench.meeting.unmovable("n1"), [("w".to_owned(), Kind::Whip)]);
    assert_eq!(bench.meeting.movable("n1"), 2);
    assert_eq!(bench.meeting.start_moves(bench.at(1), "n1", 1, DRAIN, None), 1);
    assert_eq!(bench.meeting.movable("n1"), 1);
    assert_eq!(bench.meeting.on_node_lost(bench.at(2), "n1", Duration::ZERO), 2);
    assert!(!bench.meeting.has_participant("w"));
}

/// Any order of calls, with time between: afterwards nothing hangs, and each session that a node has is known.
#[test]
fn whatever_happens_moves_end_and_no_session_is_forgotten() {
    let mut done = 0;
    for seed in 0..3000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::two_members();
        let mut millis = 0;
        // Sessions of `a` by node, as nodes would have them.
        let mut sessions: BTreeMap<NodeId, bool> = BTreeMap::from([("n1".to_owned(), true)]);
        let mut number = 0;
        let mut opening: Option<(u32, NodeId)> = None;
        for step in 0..120 {
            let is_quiet = step >= 60;
            millis += rng.random_range(1..1500);
            let now = bench.at(millis);
            let meeting = &mut bench.meeting;
            match rng.random_range(0..12) {
                0 if !is_quiet => drop(meeting.start_move(now, "a", DRAIN, None, Duration::ZERO)),
                1 if !is_quiet => {
                    let node = format!("n{}", rng.random_range(1..4));
                    sessions.remove(&node);
                    meeting.on_node_lost(now, &node, Duration::ZERO);
                }
                2 if !is_quiet => meeting.detach(now, "a"),
                3 => drop(meeting.resume("a", "secret-a")),
                4..=6 if opening.is_none() => {
                    if let Ok(target) = meeting.begin_move("a", number) {
                        if let Some(before) = target.replaces {
                            sessions.remove(&before);
                        }
                        let node = (1..4)
                            .map(|number| format!("n{number}"))
                            .find(|node| !target.but.contains(node));
                        let node = node.expect("one of three");
                        assert!(meeting.open_second(now, "a", number, node.clone()));
                        opening = Some((number, node));
                    }
                }
                4..=7 => {
                    if let Some((number, node)) = opening.take() {
                        if rng.random_bool(0.2) && !is_quiet {
                            meeting.on_second_failed(now, "a", number);
                        } else {
                            sessions.insert(node.clone(), false);
                            let _ = meeting.on_second_answered(now, "a", number, &node, vec![track(step)], vec![]);
                        }
                    }
                }
                8 | 9 => {
                    for (node, connected) in &mut sessions {
                        *connected = true;
                        if meeting.side("a", node) == Some(Side::Second) {
                            meeting.on_second_event(now, SfuEvent::Connected { session: "a".into() });
                        }
                    }
                }
                10 => drop(meeting.on_moved(now, "a", number)),
                _ => meeting.handle_timeout(now),
            }
            for output in bench.outputs() {
                match output {
                    Output::CloseMedia { session, node } if session == "a" => drop(sessions.remove(&node)),
                    Output::Send {
                        message: ServerMessage::Move { number: asked, .. },
                        to,
                    } if to == ["a"] => {
                        assert!(asked >= number, "seed {seed}");
                        number = asked;
                    }
                    Output::Moved {
                        event: MoveEvent::Done, ..
                    } => done += 1,
                    _ => {}
                }
            }
            let known = bench.meeting.participants.get("a");
            let nodes: Vec<NodeId> = known.into_iter().flat_map(|member| member.nodes().cloned()).collect();
            for node in sessions.keys() {
                assert!(
                    nodes.contains(node),
                    "seed {seed}: {node} has a session that nobody knows of"
                );
            }
        }
        if let Some(member) = bench.meeting.participants.get("a") {
            let due = bench.meeting.moves.due().is_some();
            assert!(member.moving.is_none() || due, "seed {seed}: a move without an end");
        }
    }
    assert!(done > 1000, "{done} moves came to their end");
}

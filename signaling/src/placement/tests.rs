use super::*;
use crate::limits::Rate;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tianqiao_protocol::fleet::{NodeCapacity, NodeLoad};

fn report(node: &str, region: &str, sessions: u32) -> NodeReport {
    NodeReport {
        node: node.into(),
        region: region.into(),
        capacity: NodeCapacity {
            sessions: 1000,
            egress: 0,
        },
        load: NodeLoad {
            sessions,
            ..NodeLoad::default()
        },
        ..NodeReport::default()
    }
}

struct Bench {
    fleet: Fleet,
    rng: StdRng,
    start: Instant,
}

impl Bench {
    fn new(nodes: &[(&str, &str, u32)]) -> Self {
        let mut bench = Self {
            fleet: Fleet::new(PlacementLimits::default()),
            rng: StdRng::seed_from_u64(7),
            start: Instant::now(),
        };
        for (node, region, sessions) in nodes {
            bench.fleet.on_report(bench.start, &report(node, region, *sessions));
        }
        bench
    }

    fn choose(&mut self, room: &[(NodeId, u32)], region: &str) -> Option<NodeId> {
        let wish = Wish {
            room,
            region,
            ..Wish::default()
        };
        self.fleet.choose(&mut self.rng, wish)
    }
}

#[test]
fn a_room_stays_together_until_its_node_is_too_full() {
    let mut bench = Bench::new(&[("a", "", 600), ("b", "", 0), ("c", "", 0)]);
    let mut room: Vec<(NodeId, u32)> = vec![("a".into(), 1)];
    for _ in 0..99 {
        assert_eq!(bench.choose(&room, "").as_deref(), Some("a"));
        room[0].1 += 1;
    }
    let spilled = bench.choose(&room, "").expect("a node");
    assert_ne!(spilled, "a");
    room.push((spilled.clone(), 1));
    for _ in 0..50 {
        assert_eq!(bench.choose(&room, ""), Some(spilled.clone()), "one more node, not all");
    }
}

#[test]
fn a_storm_of_joins_is_placed_by_what_is_reserved() {
    let mut bench = Bench::new(&[]);
    let nodes = ["a", "b", "c"];
    let mut reports: Vec<NodeReport> = nodes.map(|node| report(node, "", 0)).into();
    for report in &mut reports {
        report.capacity.sessions = 240;
    }
    let mut placed: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut history: Vec<BTreeMap<NodeId, u32>> = Vec::new();
    // 500 within a minute; each report shows what was a second ago.
    for step in 0..600_u64 {
        let now = bench.start + Duration::from_millis(100 * step);
        history.push(placed.clone());
        if step % 5 == 0 {
            for report in &mut reports {
                let old = &history[history.len().saturating_sub(10)];
                report.load.sessions = old.get(&report.node).copied().unwrap_or(0);
                bench.fleet.on_report(now, report);
            }
        }
        if step % 6 == 5 {
            for _ in 0..5 {
                let room: Vec<(NodeId, u32)> = placed.clone().into_iter().collect();
                let node = bench.choose(&room, "").expect("there is room for 500 of 720");
                bench.fleet.opened(now, &node);
                *placed.entry(node).or_default() += 1;
            }
        }
    }
    assert_eq!(placed.values().sum::<u32>(), 500);
    for (node, sessions) in &placed {
        assert!(
            *sessions <= 216,
            "{node} has {sessions}, over the hard threshold: {placed:?}"
        );
    }
    assert!(placed.len() == 3, "{placed:?}");
}

#[test]
fn two_choices_balance_many_small_rooms() {
    let names: Vec<String> = (0..50).map(|number| format!("n{number}")).collect();
    let mut bench = Bench::new(&[]);
    for name in &names {
        bench.fleet.on_report(bench.start, &report(name, "", 0));
    }
    let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
    for _ in 0..5000 {
        let node = bench.choose(&[], "").expect("a node");
        bench.fleet.opened(bench.start, &node);
        *counts.entry(node).or_default() += 1;
    }
    let (least, most) = (counts.values().min(), counts.values().max());
    assert!(least >= Some(&90) && most <= Some(&110), "{least:?} to {most:?} of 100");
}

#[test]
fn another_region_serves_only_where_the_own_has_no_place() {
    let mut bench = Bench::new(&[("eu1", "eu", 0), ("eu2", "eu", 880), ("us1", "us", 0)]);
    for _ in 0..20 {
        assert_eq!(bench.choose(&[], "us").as_deref(), Some("us1"));
    }
    let mut full = report("us1", "us", 1000);
    bench.fleet.on_report(bench.start, &full);
    assert_eq!(bench.choose(&[], "us").as_deref(), Some("eu1"));
    full.load.sessions = 0;
    full.draining = true;
    bench.fleet.on_report(bench.start, &full);
    assert_eq!(bench.choose(&[], "us").as_deref(), Some("eu1"));
    // A room in Europe: who comes from America has a node there.
    bench.fleet.on_report(bench.start, &report("us1", "us", 0));
    assert_eq!(bench.choose(&[("eu1".into(), 5)], "us").as_deref(), Some("us1"));
    assert_eq!(bench.choose(&[("eu1".into(), 5)], "mars").as_deref(), Some("eu1"));
}

#[test]
fn nothing_goes_to_nodes_that_are_lost_drain_or_are_full() {
    let mut bench = Bench::new(&[("a", "", 0), ("b", "", 950)]);
    let mut drains = report("c", "", 0);
    drains.draining = true;
    bench.fleet.on_report(bench.start, &drains);
    for _ in 0..50 {
        assert_eq!(bench.choose(&[("c".into(), 9)], "").as_deref(), Some("a"));
    }
    assert!(bench.fleet.on_lost("a"));
    assert!(!bench.fleet.on_lost("a"), "no news");
    assert_eq!(bench.choose(&[("a".into(), 9)], ""), None);
    // The bus may list it for a while.
    bench.fleet.on_seen(&"a".into());
    assert!(!bench.fleet.is_present("a"));
    bench.fleet.on_missed(|_| false);
    bench.fleet.on_seen(&"a".into());
    assert!(bench.fleet.is_present("a") && bench.fleet.on_lost("a"));
    bench.fleet.on_report(bench.start, &report("a", "", 0));
    assert_eq!(bench.choose(&[], "").as_deref(), Some("a"));
}

#[test]
fn a_busy_node_is_the_last_resort_and_a_full_one_none() {
    let mut bench = Bench::new(&[]);
    let mut busy = report("a", "", 100);
    busy.load.busy = 990;
    bench.fleet.on_report(bench.start, &busy);
    assert_eq!(bench.choose(&[], "").as_deref(), Some("a"));
    busy.load.sessions = 990;
    bench.fleet.on_report(bench.start, &busy);
    assert_eq!(bench.choose(&[], ""), None);
}

#[test]
fn a_room_of_known_size_is_spread_from_the_start() {
    let mut bench = Bench::new(&[("a", "", 0), ("b", "", 0), ("c", "", 0)]);
    let mut room: BTreeMap<NodeId, u32> = BTreeMap::new();
    for _ in 0..1500 {
        let nodes: Vec<(NodeId, u32)> = room.clone().into_iter().collect();
        let wish = Wish {
            room: &nodes,
            expected: 1500,
            ..Wish::default()
        };
        let node = bench.fleet.choose(&mut bench.rng, wish).expect("a node");
        *room.entry(node).or_default() += 1;
    }
    assert!(room.values().all(|sessions| *sessions == 500), "{room:?}");
}

#[test]
fn reservations_end_when_reports_show_the_sessions() {
    let mut bench = Bench::new(&[("a", "", 0)]);
    for _ in 0..100 {
        bench.choose(&[], "").expect("a node");
        bench.fleet.opened(bench.start, "a");
    }
    bench.choose(&[], "").expect("a node");
    assert_eq!(bench.fleet.load("a"), Some(0.101));
    bench.fleet.given_up("a");
    let later = bench.start + Duration::from_secs(1);
    bench.fleet.on_report(later, &report("a", "", 0));
    assert_eq!(bench.fleet.load("a"), Some(0.1), "the report is too young");
    let later = bench.start + Duration::from_secs(2);
    bench.fleet.on_report(later, &report("a", "", 100));
    assert_eq!(bench.fleet.load("a"), Some(0.1));
}

#[test]
fn a_full_node_gives_small_rooms_away_until_it_is_clearly_below() {
    let mut bench = Bench::new(&[("a", "", 720), ("b", "", 100)]);
    let mut rebalancer = Rebalancer::new(Rate::per_second(10, 30));
    let mut loads = BTreeMap::from([("a".to_owned(), 720_u32), ("b".to_owned(), 100)]);
    let mut rooms: Vec<u32> = vec![3; 240];
    let mut moved_at = Vec::new();
    for second in 0..120_u64 {
        let now = bench.start + Duration::from_secs(second);
        for (node, sessions) in &loads {
            bench.fleet.on_report(now, &report(node, "", *sessions));
        }
        for node in ["a".to_owned(), "b".to_owned()] {
            let of = |(number, sessions): (usize, &u32)| RoomOnNode {
                room: number.to_string(),
                sessions: *sessions,
            };
            let on_node = if node == "a" {
                rooms.iter().enumerate().map(of).collect()
            } else {
                Vec::new()
            };
            for shed in rebalancer.step(now, &mut bench.rng, &bench.fleet, &node, on_node) {
                assert_eq!((node.as_str(), shed.to.as_str()), ("a", "b"));
                let number: usize = shed.room.parse().expect("a number");
                rooms[number] -= shed.sessions;
                *loads.get_mut("a").expect("a") -= shed.sessions;
                *loads.get_mut("b").expect("b") += shed.sessions;
                moved_at.push(second);
            }
        }
    }
    assert!((640..=650).contains(&loads["a"]), "{loads:?}");
    assert!(moved_at.first() != moved_at.last(), "few at a time");
    assert!(moved_at.last() < Some(&60), "and then it rests: {moved_at:?}");
}

#[test]
fn nothing_is_given_to_nodes_without_clear_headroom() {
    let mut bench = Bench::new(&[("a", "", 720), ("b", "", 560)]);
    let mut rebalancer = Rebalancer::new(Rate::per_second(10, 30));
    let rooms = vec![RoomOnNode {
        room: "r".into(),
        sessions: 2,
    }];
    let sheds = rebalancer.step(bench.start, &mut bench.rng, &bench.fleet, &"a".into(), rooms);
    assert_eq!(sheds, []);
}

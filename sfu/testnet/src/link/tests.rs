use super::*;
use crate::profile::{BitRate, Outage, Profile, Share, Step};

const PACKET: usize = 1_250;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// A packet takes 10 ms at 1 Mbit/s.
fn megabit() -> Direction {
    Direction {
        rate: Some(BitRate(1_000_000)),
        queue: ms(100),
        ..Direction::default()
    }
}

/// The fates of packets sent at a steady pace.
fn fates(direction: &Direction, seed: u64, count: u32, every: Duration) -> Vec<Fate> {
    let mut link = Link::new(direction, seed);
    (0..count).map(|number| link.send(every * number, PACKET)).collect()
}

fn share(fates: &[Fate], fate: Fate) -> f64 {
    fates.iter().filter(|other| **other == fate).count() as f64 / fates.len() as f64
}

/// Lengths of the runs of losses.
fn bursts(fates: &[Fate]) -> Vec<usize> {
    let runs = fates.chunk_by(|one, next| one == next);
    runs.filter(|run| run[0] == Fate::Lost).map(<[Fate]>::len).collect()
}

#[test]
fn a_link_without_limits_hands_on_at_once() {
    let mut link = Link::new(&Direction::default(), 1);
    assert_eq!(link.send(ms(5), 100_000), Fate::Arrives(ms(5)));
}

#[test]
fn packets_take_their_time_and_their_turn() {
    let mut link = Link::new(
        &Direction {
            delay: ms(50),
            ..megabit()
        },
        1,
    );
    for (at, bytes, expected) in [
        (0, PACKET, 60),
        (0, PACKET, 70),
        (15, PACKET, 80),
        (100, PACKET, 160),
        // An earlier time counts as the last.
        (90, PACKET / 10, 161),
    ] {
        assert_eq!(link.send(ms(at), bytes), Fate::Arrives(ms(expected)), "{at}");
    }
}

#[test]
fn the_queue_is_full_when_one_would_wait_longer_than_it() {
    let mut link = Link::new(&megabit(), 1);
    // One in transmission and ten that wait, the last of them 100 ms.
    let fates: Vec<Fate> = (0..12).map(|_| link.send(ms(0), PACKET)).collect();
    assert_eq!(fates[10], Fate::Arrives(ms(110)));
    assert_eq!(fates[11], Fate::Overflowed);
    assert_eq!(link.send(ms(9), PACKET), Fate::Overflowed);
    assert_eq!(link.waiting(ms(10)), ms(100));
    assert_eq!(link.send(ms(10), PACKET), Fate::Arrives(ms(120)));
    assert_eq!(link.counters().overflowed, 2);
}

#[test]
fn overload_gets_the_rate_and_no_more() {
    // 1.25 Mbit/s for 100 s.
    let fates = fates(&megabit(), 1, 12_500, ms(8));
    let arrived = fates.iter().filter(|fate| matches!(fate, Fate::Arrives(_))).count();
    assert!((10_000..=10_011).contains(&arrived), "{arrived}");
}

#[test]
fn the_queue_is_as_long_as_the_rate_of_the_moment_says() {
    let direction = Direction {
        trace: vec![
            Step {
                at: ms(1_000),
                rate: Some(BitRate(0)),
                ..Step::default()
            },
            Step {
                at: ms(2_000),
                rate: Some(BitRate(100_000)),
                ..Step::default()
            },
        ],
        ..megabit()
    };
    let mut link = Link::new(&direction, 1);
    let mut send = |at, count| (0..count).map(|_| link.send(ms(at), PACKET)).collect::<Vec<_>>();
    // While nothing moves the queue holds 100 ms of the rate before; afterwards that is a second's worth.
    let halted = send(1_500, 13);
    assert_eq!(halted[0], Fate::Arrives(ms(2_100)));
    assert_eq!(halted[10], Fate::Arrives(ms(3_100)));
    assert_eq!(share(&halted, Fate::Overflowed), 2.0 / 13.0);
    for (at, fate) in [
        (2_000, Fate::Overflowed),
        (2_999, Fate::Overflowed),
        (3_000, Fate::Arrives(ms(3_200))),
    ] {
        assert_eq!(send(at, 1), [fate], "{at}");
    }
}

/// 1 Mbit/s, of which a tenth is left from 100 ms on.
fn slow_from_100_ms() -> Direction {
    let slow = Step {
        at: ms(100),
        rate: Some(BitRate(100_000)),
        ..Step::default()
    };
    Direction {
        trace: vec![slow],
        ..megabit()
    }
}

#[test]
fn a_packet_in_transmission_feels_the_change_of_rate() {
    let mut link = Link::new(&slow_from_100_ms(), 1);
    // 4 ms of its 10 at the first rate, the rest in ten times the time.
    assert_eq!(link.send(ms(96), PACKET), Fate::Arrives(ms(160)));
}

#[test]
fn capacity_follows_the_trace() {
    let mut link = Link::new(&slow_from_100_ms(), 1);
    assert_eq!(link.capacity(ms(0), ms(200)), Some(12_500 + 1_250));
    link.set_direction(ms(1_000), &slow_from_100_ms());
    assert_eq!(link.capacity(ms(1_000), ms(1_200)), Some(12_500 + 1_250));
    assert_eq!(Link::new(&Direction::default(), 1).capacity(ms(0), ms(1)), None);
}

#[test]
fn losses_are_as_many_as_asked_for_and_have_used_the_link() {
    let direction = Direction {
        loss: Share(0.2),
        ..megabit()
    };
    for seed in 0..3 {
        let fates = fates(&direction, seed, 20_000, ms(8));
        let carried = fates.iter().filter(|fate| **fate != Fate::Overflowed).count();
        assert!((16_000..=16_011).contains(&carried), "{carried}");
        let lost = share(&fates, Fate::Lost) * fates.len() as f64 / carried as f64;
        assert!((lost - 0.2).abs() < 0.01, "{lost}");
        // Independent ones come in runs of 1 / (1 - p).
        let all_carried: Vec<Fate> = fates.into_iter().filter(|fate| *fate != Fate::Overflowed).collect();
        let bursts = bursts(&all_carried);
        let mean = bursts.iter().sum::<usize>() as f64 / bursts.len() as f64;
        assert!((mean - 1.25).abs() < 0.05, "{mean}");
    }
}

#[test]
fn bursts_are_as_long_as_asked_for() {
    for (loss, length) in [(0.03, 6.0), (0.2, 3.0), (0.01, 1.0), (0.5, 10.0)] {
        let direction = Direction {
            burst_loss: Share(loss),
            burst_length: length,
            ..Direction::default()
        };
        let fates = fates(&direction, 1, 200_000, ms(1));
        let lost = share(&fates, Fate::Lost);
        assert!((lost - loss).abs() < 0.1 * loss, "{lost} for {loss}");
        let bursts = bursts(&fates);
        let mean = bursts.iter().sum::<usize>() as f64 / bursts.len() as f64;
        assert!((mean - length).abs() < 0.1 * length, "{mean} for {length}");
    }
}

#[test]
fn jitter_keeps_the_order_and_its_measure() {
    let direction = Direction {
        delay: ms(100),
        jitter: ms(10),
        ..Direction::default()
    };
    // Far apart, so that keeping the order changes nothing.
    let apart = fates(&direction, 1, 10_000, ms(100));
    let delays: Vec<f64> = (0..)
        .zip(&apart)
        .map(|(number, fate)| match fate {
            Fate::Arrives(at) => (*at - ms(100) * number).as_secs_f64() * 1e3,
            other => panic!("{other:?}"),
        })
        .collect();
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    let variance = delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / delays.len() as f64;
    assert!((mean - 100.0).abs() < 0.5, "{mean}");
    assert!((variance.sqrt() - 10.0).abs() < 0.3, "{variance}");
    assert!(delays.iter().all(|delay| (70.0..=130.0).contains(delay)));

    let close = fates(&direction, 1, 10_000, us(500));
    let arrivals: Vec<Duration> = close
        .iter()
        .filter_map(|fate| match fate {
            Fate::Arrives(at) => Some(*at),
            _ => None,
        })
        .collect();
    assert!(arrivals.is_sorted());
}

#[test]
fn outages_take_what_is_sent_and_what_would_leave() {
    let direction = Direction {
        outages: vec![Outage {
            at: ms(1_000),
            length: ms(500),
        }],
        ..megabit()
    };
    let mut link = Link::new(&direction, 1);
    for (at, expected) in [
        (989, Fate::Arrives(ms(999))),
        (990, Fate::Outage),
        (1_000, Fate::Outage),
        (1_499, Fate::Outage),
        (1_500, Fate::Arrives(ms(1_510))),
    ] {
        assert_eq!(link.send(ms(at), PACKET), expected, "{at}");
    }
    assert_eq!(link.counters().outage, 3);
}

#[test]
fn a_link_is_cut_and_mended_by_command() {
    let mut link = Link::new(&Direction::default(), 1);
    link.cut(ms(10), ms(20));
    for (at, expected) in [
        (9, Fate::Arrives(ms(9))),
        (10, Fate::Outage),
        (20, Fate::Arrives(ms(20))),
    ] {
        assert_eq!(link.send(ms(at), PACKET), expected, "{at}");
    }
    link.cut(ms(30), Duration::MAX);
    assert_eq!(link.send(ms(1_000_000), PACKET), Fate::Outage);
    link.mend();
    assert_eq!(link.send(ms(1_000_000), PACKET), Fate::Arrives(ms(1_000_000)));
}

#[test]
fn another_profile_takes_over_what_is_queued() {
    let mut link = Link::new(
        &Direction {
            delay: ms(50),
            ..megabit()
        },
        1,
    );
    assert_eq!(link.send(ms(1_000), PACKET), Fate::Arrives(ms(1_060)));
    assert_eq!(link.send(ms(1_000), PACKET), Fate::Arrives(ms(1_070)));
    let slow = Direction {
        rate: Some(BitRate(100_000)),
        queue: ms(1_000),
        outages: vec![Outage {
            at: ms(500),
            length: ms(1),
        }],
        ..Direction::default()
    };
    // Of the second packet 10 ms are left, which are now 100.
    link.set_direction(ms(1_010), &slow);
    assert_eq!(link.waiting(ms(1_010)), ms(100));
    assert_eq!(link.send(ms(1_010), PACKET), Fate::Arrives(ms(1_210)));
    assert_eq!(
        link.send(ms(1_510), PACKET),
        Fate::Outage,
        "its times are since it began"
    );
}

#[test]
fn the_same_seed_is_the_same_fate() {
    let profile = Profile::shipped("hotel-wifi").unwrap();
    let run = |seed| fates(&profile.down, seed, 5_000, ms(5));
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let mut down = profile.down_link(7);
    let mut up = Profile::symmetric(profile.down.clone()).up_link(7);
    let differ = |at| down.send(ms(at), PACKET) != up.send(ms(at), PACKET);
    assert!(
        (0..5_000).step_by(5).any(differ),
        "the directions have dice of their own"
    );
}

#[test]
fn one_concern_does_not_move_the_others() {
    let run = |loss, burst_loss, jitter, reorder| {
        let direction = Direction {
            loss: Share(loss),
            burst_loss: Share(burst_loss),
            burst_length: 3.0,
            delay: ms(100),
            jitter: ms(jitter),
            reorder: Share(reorder),
            reorder_by: ms(1_000),
            ..Direction::default()
        };
        // Far apart, so that keeping the order changes nothing.
        fates(&direction, 7, 2_000, ms(100))
    };
    let lost = |fates: &[Fate]| fates.iter().map(|fate| *fate == Fate::Lost).collect::<Vec<_>>();
    assert_eq!(lost(&run(0.1, 0.0, 0, 0.0)), lost(&run(0.1, 0.0, 5, 0.1)));
    assert_eq!(lost(&run(0.0, 0.1, 0, 0.0)), lost(&run(0.0, 0.1, 5, 0.1)));
    let others = [run(0.2, 0.0, 5, 0.1), run(0.0, 0.2, 5, 0.1), run(0.2, 0.2, 5, 0.1)];
    for lossy in others {
        let both = lossy.into_iter().zip(run(0.0, 0.0, 5, 0.1));
        assert!(
            both.filter(|(lossy, _)| *lossy != Fate::Lost)
                .all(|(lossy, whole)| lossy == whole)
        );
    }
}

#[test]
fn counters_add_up() {
    let mut link = Profile::shipped("village-bad").unwrap().down_link(1);
    for number in 0..1_000 {
        link.send(ms(50) * number, PACKET);
    }
    let counters = *link.counters();
    assert_eq!((counters.sent, counters.sent_bytes), (1_000, 1_250_000));
    assert_eq!(
        counters.arrived + counters.lost + counters.overflowed + counters.outage,
        1_000
    );
    assert_eq!(counters.arrived_bytes, counters.arrived * 1_250);
    assert!(counters.overflowed > 400 && counters.lost > 50, "{counters:?}");
}

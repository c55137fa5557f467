//! Connections that share a link with each other and with TCP.

use std::time::Duration;

use tianqiao_sfu_core::units::Bitrate;

use crate::source::{Source, Video};
use crate::tcp::Tcp;
use crate::world::{World, link};

/// What each sender got from `from` to `to` seconds.
fn received(world: &mut World, from: f64, to: f64) -> Vec<u64> {
    world.run_until(from);
    let before: Vec<u64> = world.receivers.iter().map(|receiver| receiver.received_bytes).collect();
    world.run_until(to);
    let after = world.receivers.iter().map(|receiver| receiver.received_bytes);
    let bits = after.zip(before).map(|(after, before)| (after - before) * 8);
    bits.map(|bits| (bits as f64 / (to - from)) as u64).collect()
}

#[test]
fn two_connections_share_within_30_to_70() {
    for (kbps, late) in [(1_000, 0.0), (3_000, 0.0), (1_000, 10.0), (3_000, 10.0)] {
        for seed in 1..6 {
            let rate = Bitrate::kbps(kbps);
            let source = |seed| Source::new(Video::Follows, rate.times(2.0), seed);
            let mut world = World::with_sender(&link(rate, 0.0), source(seed), seed);
            world.run_until(late);
            world.add(source(seed + 100));
            world.forget_queue();
            let shares = received(&mut world, late + 20.0, late + 80.0);
            let all: u64 = shares.iter().sum();
            println!(
                "{kbps} kbit/s, second after {late} s, seed {seed}: {shares:?}, queue {:?}",
                world.max_queue
            );
            for share in shares {
                let part = share as f64 / all as f64;
                assert!((0.3..=0.7).contains(&part), "{kbps} {seed}: {part}");
            }
            assert!(all as f64 > rate.0 as f64 * 0.75, "{kbps} {seed}: {all}");
        }
    }
}

#[test]
fn beside_tcp_neither_starves() {
    for (kbps, queue) in [(2_000, 150), (2_000, 300), (5_000, 150), (5_000, 300)] {
        for seed in 1..6 {
            let rate = Bitrate::kbps(kbps);
            let mut down = link(rate, 0.0);
            down.queue = Duration::from_millis(queue);
            let source = Source::new(Video::Follows, rate.times(2.0), seed);
            let mut world = World::with_sender(&down, source, seed);
            world.run_until(10.0);
            world.tcp = Some(Tcp::new());
            world.run_until(20.0);
            let tcp_before = world.tcp.as_ref().unwrap().received_bytes;
            let ours = received(&mut world, 20.0, 80.0)[0];
            let tcp = (world.tcp.as_ref().unwrap().received_bytes - tcp_before) * 8 / 60;
            println!("{kbps} kbit/s, {queue} ms, seed {seed}: ours {ours}, tcp {tcp}");
            assert!(ours > rate.0 / 5, "{kbps} {queue} {seed}: {ours}");
            assert!(tcp > rate.0 / 5, "{kbps} {queue} {seed}: {tcp}");
        }
    }
}

//! How soon the estimate is what the link carries, and what that does to its queue.

use tianqiao_sfu_core::units::Bitrate;

use crate::source::{Source, Video};
use crate::world::{World, link, secs};

const SEEDS: std::ops::Range<u64> = 1..4;

fn reaches(kbps: u64, loss: f64, within: f64) {
    let rate = Bitrate::kbps(kbps);
    for seed in SEEDS {
        let source = Source::new(Video::Follows, rate.times(2.0), seed);
        let mut world = World::with_sender(&link(rate, loss), source, seed);
        let reached = world.run_while(20.0, |world| world.estimate() < rate.times(0.8));
        world.run_until(10.0);
        let before = world.senders[0].sent_bytes;
        world.run_until(40.0);
        let used = ((world.senders[0].sent_bytes - before) * 8 / 30) as f64 / rate.0 as f64;
        let queue = world.max_queue;
        println!("{kbps} kbit/s, loss {loss}, seed {seed}: 80 % after {reached:.2} s, queue {queue:?}, used {used:.2}");
        assert!(reached <= within, "{kbps} {loss} {seed}: {reached}");
        assert!(queue < secs(0.25), "{kbps} {loss} {seed}: {queue:?}");
        assert!((0.78..1.0).contains(&used), "{kbps} {loss} {seed}: {used}");
    }
}

#[test]
fn on_100_kbps() {
    reaches(100, 0.0, 5.0);
    reaches(100, 0.05, 5.0);
}

#[test]
fn on_300_kbps() {
    reaches(300, 0.0, 5.0);
    reaches(300, 0.05, 5.0);
}

#[test]
fn on_1_mbps() {
    reaches(1_000, 0.0, 5.0);
    reaches(1_000, 0.05, 5.0);
}

#[test]
fn on_3_mbps() {
    reaches(3_000, 0.0, 5.0);
    reaches(3_000, 0.05, 5.0);
}

#[test]
fn on_10_mbps() {
    reaches(10_000, 0.0, 10.0);
    reaches(10_000, 0.05, 10.0);
}

//! Links that become slower, faster or dead for a while.

use tianqiao_sfu_core::units::Bitrate;

use crate::source::{Source, Video};
use crate::world::{World, link, secs};

const FULL: Bitrate = Bitrate::kbps(1_000);
const LOW: Bitrate = Bitrate::kbps(300);

#[test]
fn a_drop_to_a_third_for_twenty_seconds() {
    for seed in 1..4 {
        for variation in [0.1, 0.3] {
            let mut source = Source::new(Video::Follows, Bitrate::kbps(2_000), seed);
            source.variation = variation;
            let mut world = World::with_sender(&link(FULL, 0.0), source, seed);
            world.run_until(20.0);
            let before = world.estimate();
            world.set_down(&link(LOW, 0.0));
            world.run_until(20.5);
            let recovered = world.run_while(40.0, |world| world.queue() > secs(0.15)) - 20.0;
            let worst = world.max_queue;
            world.forget_queue();
            world.run_until(40.0);
            let during = world.estimate();
            let again = world.max_queue;
            world.set_down(&link(FULL, 0.0));
            let full = world.run_while(80.0, |world| world.estimate() < FULL.times(0.8)) - 40.0;
            println!(
                "seed {seed}: before {before:?}, queue {worst:?}, short after {recovered:.2} s, then at most {again:?}, during {during:?}, full after {full:.2} s"
            );
            assert!(recovered < 1.5, "{seed}: {recovered}");
            assert!(again < secs(0.3), "{seed}: {again:?}");
            assert!(
                during <= LOW.times(1.2) && during >= LOW.times(0.6),
                "{seed}: {during:?}"
            );
            assert!(full < 10.0, "{seed}: {full}");
        }
    }
}

#[test]
fn ten_seconds_without_a_link() {
    for seed in 1..4 {
        let source = Source::new(Video::Follows, Bitrate::kbps(2_000), seed);
        let mut world = World::with_sender(&link(FULL, 0.0), source, seed);
        world.run_until(20.0);
        world.down.link_mut().cut(secs(20.0), secs(30.0));
        world.run_until(30.0);
        let during = world.estimate();
        let full = world.run_while(60.0, |world| world.estimate() < FULL.times(0.7)) - 30.0;
        let loss = world.senders[0].bwe.loss();
        println!("seed {seed}: {during:?} in the outage, full after {full:.2} s, {loss:?}");
        assert!(during < FULL.times(0.5), "{seed}: {during:?}");
        assert!(full < 2.0, "{seed}: {full}");
        assert!(loss.share < 0.1, "{seed}: {loss:?}");
    }
}

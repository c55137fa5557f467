//! Loss at random is not a full link; loss by a full link is.

use tianqiao_sfu_core::units::Bitrate;
use tianqiao_testnet::profile::Share;

use crate::source::{Source, Video};
use crate::world::{World, link};

/// Lowest, mean and highest estimate from `from` to `to` seconds, looked at ten times a second.
fn estimates(world: &mut World, from: u64, to: u64) -> (Bitrate, Bitrate, Bitrate) {
    world.run_until(from as f64);
    let (mut least, mut most, mut sum, mut count) = (Bitrate(u64::MAX), Bitrate(0), 0, 0);
    for tenth in from * 10..to * 10 {
        world.run_until(tenth as f64 / 10.0);
        let estimate = world.estimate();
        (least, most) = (least.min(estimate), most.max(estimate));
        sum += estimate.0;
        count += 1;
    }
    (least, Bitrate(sum / count), most)
}

#[test]
fn a_fifth_lost_at_random_leaves_half_of_2_mbps_at_least() {
    for seed in 1..6 {
        let source = Source::new(Video::Follows, Bitrate::kbps(4_000), seed);
        let mut world = World::with_sender(&link(Bitrate::kbps(2_000), 0.2), source, seed);
        let (least, mean, most) = estimates(&mut world, 10, 60);
        println!(
            "seed {seed}: {least:?} {mean:?} {most:?} queue {:?} {:?}",
            world.max_queue,
            world.senders[0].bwe.loss()
        );
        assert!(mean >= Bitrate::kbps(1_000), "{seed}: {mean:?}");
        assert!(least >= Bitrate::kbps(600), "{seed}: {least:?}");
        assert!(most <= Bitrate::kbps(2_500), "{seed}: {most:?}");
        let loss = world.senders[0].bwe.loss();
        assert!((0.15..0.25).contains(&loss.share), "{loss:?}");
    }
}

/// Speech alone is as much as is left of it, and does not vary: only a probe shows that more is carried.
#[test]
fn a_fifth_lost_at_random_on_a_village_link() {
    for seed in 1..16 {
        let source = Source::new(Video::Follows, Bitrate::kbps(400), seed);
        let mut down = link(Bitrate::kbps(100), 0.2);
        down.delay = std::time::Duration::from_millis(150);
        let mut world = World::with_sender(&down, source, seed);
        let (least, mean, most) = estimates(&mut world, 10, 60);
        println!(
            "seed {seed}: {least:?} {mean:?} {most:?} queue {:?} {:?}",
            world.max_queue,
            world.senders[0].bwe.loss()
        );
        assert!(mean >= Bitrate::kbps(70), "{seed}: {mean:?}");
    }
}

#[test]
fn losses_in_bursts_are_told_as_such() {
    let source = Source::new(Video::Follows, Bitrate::kbps(1_000), 1);
    let mut down = link(Bitrate::kbps(2_000), 0.0);
    (down.burst_loss, down.burst_length) = (Share(0.05), 4.0);
    let mut world = World::with_sender(&down, source, 1);
    let (mut share, mut burst) = (0.0, 0.0);
    for second in 0..60 {
        world.run_until(20.0 + f64::from(second));
        let loss = world.senders[0].bwe.loss();
        share += loss.share / 60.0;
        burst += loss.mean_burst / 60.0;
    }
    println!("{share} {burst}");
    assert!((0.03..0.07).contains(&share), "{share}");
    assert!((3.0..5.0).contains(&burst), "{burst}");
}

/// A queue of 20 ms hides from the delay, so that loss is all there is to see.
#[test]
fn a_shallow_queue_is_not_taken_for_random_loss() {
    for seed in 1..4 {
        let rate = Bitrate::kbps(1_000);
        let source = Source::new(Video::Follows, Bitrate::kbps(4_000), seed);
        let mut down = link(rate, 0.0);
        down.queue = std::time::Duration::from_millis(20);
        let mut world = World::with_sender(&down, source, seed);
        let (least, mean, most) = estimates(&mut world, 5, 60);
        let counters = *world.down.link().counters();
        let lost = counters.overflowed as f64 / counters.sent as f64;
        println!("seed {seed}: {least:?} {mean:?} {most:?} lost {lost:.3}");
        assert!(mean <= rate.times(1.15), "{seed}: {mean:?}");
        assert!(mean >= rate.times(0.5), "{seed}: {mean:?}");
        assert!(lost < 0.1, "{seed}: {lost}");
    }
}

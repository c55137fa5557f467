//! What others fell into.

use tianqiao_sfu_core::units::Bitrate;

use crate::source::{Source, Video};
use crate::world::{World, link};

const RATE: Bitrate = Bitrate::kbps(3_000);

/// mediasoup's issue 316: a subscriber whose video is paused for want of an estimate is sent nothing that could
/// raise it.
#[test]
fn a_paused_subscriber_is_probed_for() {
    let mut source = Source::new(Video::Follows, Bitrate::kbps(2_500), 1);
    source.is_paused = true;
    let low = link(Bitrate::kbps(60), 0.0);
    let mut world = World::with_sender(&low, source, 1);
    world.run_until(30.0);
    let low = world.estimate();
    world.set_down(&link(RATE, 0.0));
    let raised = world.run_while(60.0, |world| world.estimate() < Bitrate::kbps(1_500)) - 30.0;
    println!("{low:?}, raised after {raised}");
    assert!(low < Bitrate::kbps(80), "{low:?}");
    assert!(raised < 8.0, "{raised}");
}

/// str0m's issue 506: an estimate that was learned from audio alone stayed at 40 kbit/s.
#[test]
fn an_estimate_learned_from_audio_alone_rises_when_video_is_wanted() {
    for seed in 1..4 {
        let mut source = Source::new(Video::None, crate::source::AUDIO_RATE, seed);
        source.variation = 0.0;
        let mut world = World::with_sender(&link(RATE, 0.0), source, seed);
        world.run_until(20.0);
        let audio_only = world.estimate();
        world.senders[0].source.video = Video::Follows;
        let now = world.now;
        world.senders[0].set_desired(now, Bitrate::kbps(2_500));
        let raised = world.run_while(40.0, |world| world.estimate() < Bitrate::kbps(2_000)) - 20.0;
        println!("{audio_only:?} with audio, raised after {raised:.2}");
        assert!(raised < 2.0, "{raised}");
    }
}

/// str0m's issue 1018: an allocator that takes only layers that fit, whose rate is mostly below what they are
/// planned for, keeps the sender below the estimate, and what arrives keeps the estimate below the next layer.
#[test]
fn layers_of_variable_rate_do_not_hold_the_estimate() {
    for seed in 1..4 {
        for seldom in [0.3, 0.8] {
            let layers = [150, 500, 1_500].map(Bitrate::kbps).to_vec();
            let mut source = Source::new(Video::Layers(layers), Bitrate::kbps(1_700), seed);
            source.variation = seldom;
            let mut world = World::with_sender(&link(RATE, 0.0), source, seed);
            // First on a link that carries only the lowest layer.
            world.set_down(&link(Bitrate::kbps(300), 0.0));
            world.run_until(20.0);
            let low = world.estimate();
            world.set_down(&link(RATE, 0.0));
            let raised = world.run_while(60.0, |world| world.estimate() < Bitrate::kbps(1_700)) - 20.0;
            world.run_until(60.0);
            println!("{low:?}, raised after {raised:.2}, at the end {:?}", world.estimate());
            assert!(raised < 10.0, "{raised}");
            assert!(world.estimate() > Bitrate::kbps(1_600), "{:?}", world.estimate());
        }
    }
}

/// mediasoup's issue 962: what a publisher's uplink loses never got a number here, and is not missed.
#[test]
fn loss_on_a_publishers_uplink_is_not_the_subscribers() {
    let source = Source::new(Video::Follows, Bitrate::kbps(2_500), 1);
    let mut world = World::with_sender(&link(RATE, 0.0), source, 1);
    world.senders[0].uplink_loss = 30;
    world.run_until(30.0);
    let sender = &world.senders[0];
    assert!(sender.missing > 1_000, "{}", sender.missing);
    assert!(sender.bwe.estimate() > RATE.times(0.7), "{:?}", sender.bwe.estimate());
    assert_eq!((sender.bwe.loss().share, sender.lost_told), (0.0, 0));
}

/// Nobody wants more than is sent: nothing is probed.
#[test]
fn what_nobody_wants_is_not_probed_for() {
    let mut source = Source::new(Video::Follows, Bitrate::kbps(300), 1);
    source.variation = 0.0;
    let mut world = World::with_sender(&link(RATE, 0.0), source, 1);
    world.run_until(5.0);
    let probed = world.senders[0].probe_bytes;
    world.run_until(60.0);
    println!("{probed}");
    assert!(world.estimate() < Bitrate::kbps(1_000), "{:?}", world.estimate());
    assert_eq!(world.senders[0].probe_bytes, probed);
    assert!(probed < 10_000, "{probed}");
}

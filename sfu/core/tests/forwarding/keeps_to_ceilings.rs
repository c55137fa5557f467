//! Publishers above their ceilings, and sessions and nodes that send all they may.

use std::time::Duration;

use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::rate::RateLimits;
use tianqiao_sfu_core::units::Bitrate;

use crate::source::{Video, audio};
use crate::world::*;

struct Call {
    world: World,
    publisher: usize,
    subscriber: usize,
    video: Video,
    sounds: u64,
}

impl Call {
    fn new(rates: RateLimits) -> Self {
        let mut world = World::with(1, rates);
        let media = vec![camera("0", 1000, &[]), microphone("1", 2000)];
        let publisher = world.join(0, media, &[("0", 71), ("1", 72)]);
        let subscriber = world.join(0, vec![video_slot("5", 50), audio_slot("6", 60)], &[]);
        world.show(subscriber, "5", Some((71, 0)), 360);
        world.show(subscriber, "6", Some((72, 0)), 0);
        Self {
            world,
            publisher,
            subscriber,
            video: Video::new(1000, 360),
            sounds: 100,
        }
    }

    /// For so long frames of `packets` kilobytes at 30 a second and sound go out; key frames where asked for.
    /// Gives the packets of video and of sound that came, and the sequence numbers of the video.
    fn run(&mut self, time: Duration, packets: usize) -> (usize, usize, Vec<u16>) {
        let mut video = Vec::new();
        let mut sound = 0;
        for _ in 0..time.as_millis() / 33 {
            let rtcp = std::mem::take(&mut self.world.peers[self.publisher].rtcp);
            let asked = rtcp.iter().any(|rtcp| matches!(rtcp, Rtcp::Pli(_)));
            let first = self.sounds == 100;
            let frame = self.video.frame(asked || first, packets);
            self.sounds += 1;
            self.world.send_rtp(self.publisher, &[audio(2000, self.sounds, 20)]);
            self.world.send_rtp(self.publisher, &frame);
            for rtp in self.world.peers[self.subscriber].take_rtp() {
                match rtp.header.payload_type {
                    SLOT_VP8 => video.push(rtp.header.seq),
                    SLOT_OPUS => sound += 1,
                    _ => {}
                }
            }
            self.world.advance(33 * MS);
        }
        (video.len(), sound, video)
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.world.workers[0].counters().drops.value(reason)
    }
}

/// Each follows the one before.
fn is_gapless(seqs: &[u16]) -> bool {
    seqs.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1))
}

const SECONDS: Duration = Duration::from_secs(1);

#[test]
fn a_layer_above_its_ceiling_is_cut_and_goes_on_at_a_key_frame() {
    let mut call = Call::new(RateLimits::default());
    // 4.8 Mbit/s: nothing is left out.
    let (video, sound, _) = call.run(10 * SECONDS, 20);
    assert_eq!((video, sound), (303 * 20, 303));
    assert_eq!(call.drops(DropReason::OverTrackRate), 0);
    // 19 Mbit/s of 8, within what the publisher may send in all.
    let (video, sound, seqs) = call.run(20 * SECONDS, 80);
    let kilobits = video * 8 / 20;
    assert!((4_000..=8_500).contains(&kilobits), "{kilobits} kbit/s");
    assert_eq!(sound, 606);
    assert!(is_gapless(&seqs), "what is cut off is no loss to subscribers");
    assert!(call.drops(DropReason::OverTrackRate) > 1_000);
    // He comes down, and all is well.
    call.run(2 * SECONDS, 20);
    let (video, _, _) = call.run(5 * SECONDS, 20);
    assert_eq!(video, 151 * 20);
}

#[test]
fn a_publisher_far_above_his_ceiling_is_not_decrypted_and_is_understood_again_later() {
    let mut call = Call::new(RateLimits {
        video_layer: Bitrate(0),
        ..RateLimits::default()
    });
    // 120 Mbit/s of 25: 150,000 packets, two wraps of their numbers.
    let (video, _, _) = call.run(10 * SECONDS, 500);
    assert!((20_000..=36_000).contains(&video), "{video} kB in 10 s");
    let undecrypted = call.drops(DropReason::OverPublisherRate);
    assert!(undecrypted > 100_000, "{undecrypted}");
    call.run(3 * SECONDS, 10);
    assert_eq!(call.drops(DropReason::SrtpAuth), 0, "the rollover counter is right");
    let (video, sound, _) = call.run(5 * SECONDS, 10);
    assert_eq!((video, sound), (151 * 10, 151));
}

#[test]
fn forged_packets_use_nobodys_ceiling_up() {
    let mut call = Call::new(RateLimits::default());
    call.run(SECONDS, 10);
    for _ in 0..20_000 {
        let mut forged = vec![0x55; 1_200];
        (forged[0], forged[1]) = (0x80, VP8);
        call.world.deliver(call.publisher, &mut forged);
    }
    assert_eq!(call.drops(DropReason::SrtpAuth), 20_000);
    let (video, sound, _) = call.run(SECONDS, 10);
    assert_eq!((video, sound), (30 * 10, 30));
}

#[test]
fn above_a_sessions_or_the_nodes_ceiling_sound_goes_first_and_pictures_begin_anew() {
    let session = RateLimits {
        session: Bitrate(1_500_000),
        ..RateLimits::default()
    };
    let node = RateLimits {
        worker: Bitrate(1_500_000),
        ..RateLimits::default()
    };
    for (rates, reason) in [(session, DropReason::OverSessionRate), (node, DropReason::OverNodeRate)] {
        let mut call = Call::new(rates);
        let (video, sound, seqs) = call.run(20 * SECONDS, 10);
        let kilobits = video * 8 / 20;
        assert!(
            (700..=1_600).contains(&kilobits),
            "{reason:?}: {kilobits} kbit/s of 2,400"
        );
        assert_eq!(sound, 606);
        assert!(is_gapless(&seqs));
        assert!(call.drops(reason) > 0);
        // Within it nothing is missing.
        call.run(5 * SECONDS, 3);
        let (video, _, _) = call.run(5 * SECONDS, 3);
        assert_eq!(video, 151 * 3);
    }
}

#[test]
fn no_ceiling_is_met_by_an_ordinary_call() {
    let mut call = Call::new(RateLimits::default());
    call.run(10 * SECONDS, 25);
    for reason in [
        DropReason::OverTrackRate,
        DropReason::OverPublisherRate,
        DropReason::OverRtcpRate,
        DropReason::OverSessionRate,
        DropReason::OverNodeRate,
    ] {
        assert_eq!(call.drops(reason), 0, "{reason:?}");
    }
}

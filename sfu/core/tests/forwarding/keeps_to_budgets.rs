//! What one subscriber can ask for, of the server and of those it watches.

use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::packet::rtcp::{ReportBlock, SenderInfo, write};
use tianqiao_sfu_core::units::Ssrc;

use crate::source::Video;
use crate::world::*;

const PUBLISHER: u32 = 1000;

struct Call {
    world: World,
    publishers: Vec<(usize, Video)>,
}

impl Call {
    fn new(workers: u8, publishers: u32) -> Self {
        let mut world = World::new(workers);
        let publish = |index| {
            let ssrc = PUBLISHER * (index + 1);
            let media = vec![camera("0", ssrc, &[])];
            (world.join(0, media, &[("0", 71 + index)]), Video::new(ssrc, 360))
        };
        let publishers = (0..publishers).map(publish).collect();
        Self { world, publishers }
    }

    /// Everybody sends a frame, a key frame where one was asked for; how many were.
    fn frame(&mut self) -> usize {
        let mut asked = 0;
        for (peer, video) in &mut self.publishers {
            let rtcp = std::mem::take(&mut self.world.peers[*peer].rtcp);
            let plis = rtcp.iter().filter(|rtcp| matches!(rtcp, Rtcp::Pli(_))).count();
            let first = video.picture_id == 0x7ff0;
            asked += plis;
            let packets = video.frame(first || plis > 0, 2);
            self.world.send_rtp(*peer, &packets);
        }
        self.world.advance(33 * MS);
        asked
    }

    fn frames(&mut self, frames: usize) -> usize {
        (0..frames).map(|_| self.frame()).sum()
    }
}

#[test]
fn a_flood_of_requests_makes_a_publisher_send_few_key_frames() {
    for (workers, subscriber_worker, fir) in [(1, 0, false), (1, 0, true), (2, 1, false)] {
        let mut call = Call::new(workers, 1);
        let flooder = call.world.join(subscriber_worker, vec![video_slot("5", 50)], &[]);
        let honest = call.world.join(subscriber_worker, vec![video_slot("5", 50)], &[]);
        for peer in [flooder, honest] {
            call.world.show(peer, "5", Some((71, 0)), 360);
        }
        call.frames(30);
        let mut asked = 0;
        for _ in 0..30 * 20 {
            for number in 0..33u8 {
                call.world.send_rtcp(flooder, |out| match fir {
                    true => write::fir(Ssrc(1), Ssrc(50), number, out),
                    false => write::pli(Ssrc(1), Ssrc(50), out),
                });
            }
            asked += call.frame();
        }
        // Four at once and one in three seconds, of 20; without a budget it would be 60.
        assert!((4..=12).contains(&asked), "{asked} key frames in 20 s, FIR {fir}");
        // Who shares the layer with the flooder still gets what he needs, at once.
        call.world.send_rtcp(honest, |out| write::pli(Ssrc(1), Ssrc(50), out));
        let asked = call.frames(12);
        assert_eq!(asked, 1);
    }
}

#[test]
fn a_request_past_the_budget_is_answered_later_unless_a_key_frame_came_meanwhile() {
    let mut call = Call::new(1, 1);
    let subscriber = call.world.join(0, vec![video_slot("5", 50)], &[]);
    call.world.show(subscriber, "5", Some((71, 0)), 360);
    call.frames(30);
    for _ in 0..4 {
        call.world
            .send_rtcp(subscriber, |out| write::pli(Ssrc(1), Ssrc(50), out));
        let asked = call.frames(12);
        assert_eq!(asked, 1);
    }
    // The receiver asks once more and, being no browser, never again.
    call.world
        .send_rtcp(subscriber, |out| write::pli(Ssrc(1), Ssrc(50), out));
    assert_eq!(call.world.workers[0].counters().keyframe_requests_deferred, 1);
    let asked = call.frames(30 * 4);
    assert_eq!(asked, 1);
    let asked = call.frames(30 * 10);
    assert_eq!(asked, 0);
}

#[test]
fn a_flood_of_slot_changes_is_no_way_around_it() {
    let mut call = Call::new(1, 4);
    let mids: Vec<String> = (0..20).map(|slot| format!("v{slot}")).collect();
    let slots = (0u32..).zip(&mids).map(|(slot, mid)| video_slot(mid, 50 + 2 * slot));
    let flooder = call.world.join(0, slots.collect(), &[]);
    call.frames(30);
    let mut asked = 0;
    for turn in 0..30 * 20u32 {
        // Every source wanders from slot to slot.
        for (slot, mid) in (0u32..).zip(&mids) {
            let source = (turn % 20 == slot).then_some((71 + turn % 4, 0));
            call.world.show(flooder, mid, source, 360);
        }
        asked += call.frame();
    }
    // For each of four sources eight at once, and one in two seconds.
    assert!(asked <= 4 * (8 + 11), "{asked} key frames in 20 s");
    // What it shows at last it gets, if a little later.
    call.world.show(flooder, "v0", Some((71, 0)), 360);
    call.world.peers[flooder].take_rtp();
    call.frames(30 * 3);
    assert!(call.world.peers[flooder].take_rtp().len() > 30);
}

#[test]
fn packets_are_sent_again_a_few_times_per_round_trip_and_half_as_much_as_was_sent() {
    let mut call = Call::new(1, 1);
    let subscriber = call.world.join(0, vec![video_slot("5", 50)], &[]);
    call.world.show(subscriber, "5", Some((71, 0)), 360);
    let (mut sent, mut again) = (0, 0);
    for _ in 0..30 * 10 {
        call.frame();
        let received = call.world.peers[subscriber].take_rtp();
        let media = received.iter().filter(|rtp| rtp.header.ssrc == Ssrc(50));
        let latest = media.clone().map(|rtp| rtp.header.seq).next_back().unwrap_or(0);
        sent += media.count();
        again += received.iter().filter(|rtp| rtp.header.ssrc == Ssrc(51)).count();
        // All of the last second, all of the time.
        for _ in 0..5 {
            let seqs = (0..60).rev().map(|back| latest.wrapping_sub(back));
            call.world
                .send_rtcp(subscriber, |out| write::nack(Ssrc(1), Ssrc(50), seqs, out));
        }
    }
    // 2 kB a frame are 60 kB/s; half of it and the base of 125 kB/s are 155 kB/s.
    let allowed = 10 * 155_000 / 1_000;
    assert!(sent >= 590 && again <= allowed, "{sent} sent, {again} again");
}

#[test]
fn the_measured_round_trip_spaces_retransmissions() {
    for (round_trip, least, most) in [(0, 15, 20), (200, 5, 6), (900, 2, 2)] {
        let mut call = Call::new(1, 1);
        let subscriber = call.world.join(0, vec![video_slot("5", 50)], &[]);
        call.world.show(subscriber, "5", Some((71, 0)), 360);
        // Sender reports of the publisher make those to the subscriber.
        let (peer, ssrc) = (call.publishers[0].0, Ssrc(PUBLISHER));
        let info = SenderInfo {
            ntp: 1 << 40,
            rtp: 0,
            packets: 0,
            octets: 0,
        };
        call.world
            .send_rtcp(peer, |out| write::sender_report(ssrc, &info, &[], out));
        call.frames(40);
        let ntp = call.world.peers[subscriber]
            .rtcp
            .iter()
            .rev()
            .find_map(|rtcp| match rtcp {
                Rtcp::SenderReport { ntp, .. } => Some(*ntp),
                _ => None,
            });
        let ntp = ntp.expect("a sender report");
        call.world.advance(MS * (round_trip + 1));
        let block = ReportBlock {
            ssrc: Ssrc(50),
            fraction_lost: 0,
            cumulative_lost: 0,
            highest_seq: 0,
            jitter: 0,
            last_sr: (ntp >> 16) as u32,
            delay_since_last_sr: 0,
        };
        report_round_trip(&mut call, subscriber, block, round_trip);
        let latest = call.world.peers[subscriber]
            .take_rtp()
            .last()
            .expect("media")
            .header
            .seq;
        let mut again = 0;
        for _ in 0..500 {
            call.world
                .send_rtcp(subscriber, |out| write::nack(Ssrc(1), Ssrc(50), [latest], out));
            again += call.world.peers[subscriber].take_rtp().len();
            call.world.advance(MS);
        }
        assert!((least..=most).contains(&again), "{round_trip} ms: {again}");
    }
}

/// Sends a receiver report whose delay makes the round trip what it is to be.
fn report_round_trip(call: &mut Call, subscriber: usize, mut block: ReportBlock, round_trip: u32) {
    let age = ((call.world.ntp.at(call.world.now) >> 16) as u32).wrapping_sub(block.last_sr);
    block.delay_since_last_sr = age - (round_trip << 16) / 1_000;
    call.world
        .send_rtcp(subscriber, |out| write::receiver_report(Ssrc(1), &[block], out));
}

#[test]
fn a_flood_of_rtcp_is_not_even_decrypted() {
    let mut call = Call::new(1, 1);
    let subscriber = call.world.join(0, vec![video_slot("5", 50)], &[]);
    for _ in 0..10_000 {
        call.world
            .send_rtcp(subscriber, |out| write::receiver_report(Ssrc(1), &[], out));
    }
    let dropped = |call: &Call| call.world.workers[0].counters().drops.value(DropReason::OverRtcpRate);
    // 250 kB, of 100 B at least.
    assert!((7_400..=7_501).contains(&dropped(&call)), "{}", dropped(&call));
    call.world.advance(100 * MS);
    let before = dropped(&call);
    call.world
        .send_rtcp(subscriber, |out| write::receiver_report(Ssrc(1), &[], out));
    assert_eq!(dropped(&call), before);
}

use std::time::{Duration, Instant};

use super::*;
use crate::packet::rtcp::write::{TransportFeedbackHead, transport_feedback};
use crate::packet::rtcp::{RtcpPacket, RtcpPackets};
use crate::units::Ssrc;

const PACKET: SentPacket = SentPacket {
    bytes: 1_000,
    kind: PacketKind::Video,
    probe: None,
};

fn without_transport_feedback() -> SendSideBwe {
    SendSideBwe::new(Config::without_transport_feedback())
}

/// Whoever only publishes is told nothing of, and costs a few words.
#[test]
fn costs_little_until_it_is_used() {
    assert!(size_of::<SendSideBwe>() <= 48, "{}", size_of::<SendSideBwe>());
    assert!(
        size_of::<estimator::Estimator>() <= 2_624,
        "{}",
        size_of::<estimator::Estimator>()
    );
    let mut bwe = SendSideBwe::new(Config::default());
    let now = Instant::now();
    bwe.set_desired(now, Bitrate(0));
    bwe.handle_timeout(now);
    assert_eq!(bwe.poll_timeout(), None);
    assert_eq!((bwe.poll_probe(now), bwe.next_seq()), (None, 0));
    assert_eq!(bwe.estimate(), Config::default().start);
    assert!(bwe.estimator.is_none());
}

#[test]
fn numbers_are_given_at_sending_one_after_the_other() {
    let mut bwe = SendSideBwe::new(Config::default());
    let now = Instant::now();
    for seq in 0..70_000u32 {
        assert_eq!(bwe.next_seq(), seq as u16);
        assert_eq!(bwe.on_sent(now, PACKET), seq as u16);
    }
}

#[test]
fn feedback_on_what_was_never_sent_changes_nothing() {
    let mut bwe = SendSideBwe::new(Config::default());
    let now = Instant::now();
    let head = TransportFeedbackHead {
        sender: Ssrc(1),
        media: Ssrc(2),
        base_seq: 60_000,
        packet_count: 2,
        reference_time: 1,
        feedback_count: 0,
    };
    let mut buffer = [0; 100];
    let len = transport_feedback(&head, &[0x2002], &[1, 1], &mut buffer).unwrap();
    let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = RtcpPackets::new(&buffer[..len]).next() else {
        panic!("feedback");
    };
    assert!(bwe.on_transport_feedback(now, &feedback).is_empty());
    bwe.on_sent(now, PACKET);
    assert!(bwe.on_transport_feedback(now, &feedback).is_empty());
    assert_eq!(bwe.stats().feedback.unknown_packets, 2);
    assert_eq!(bwe.round_trip(), None);
}

#[test]
fn remb_is_the_estimate_where_there_is_nothing_else_and_loss_lowers_it() {
    let mut bwe = without_transport_feedback();
    let epoch = Instant::now();
    let at = |second| epoch + Duration::from_secs(second);
    bwe.on_remb(at(0), Bitrate::kbps(800));
    assert_eq!(bwe.estimate(), Bitrate::kbps(800));
    bwe.on_report_loss(at(1), 100, 20);
    assert_eq!(bwe.estimate(), Bitrate::kbps(720));
    assert_eq!(bwe.loss().share, 0.2);
    bwe.on_remb(at(2), Bitrate::kbps(500));
    assert_eq!(bwe.estimate(), Bitrate::kbps(500));
    bwe.on_report_round_trip(at(2), Duration::from_millis(80));
    assert_eq!(bwe.round_trip(), Some(Duration::from_millis(80)));
}

#[test]
fn without_remb_the_estimate_rises_with_reports_of_little_loss() {
    let mut bwe = without_transport_feedback();
    let epoch = Instant::now();
    for second in 0..10 {
        bwe.on_report_loss(epoch + Duration::from_secs(second), 100, 1);
    }
    assert!((600..700).contains(&(bwe.estimate().0 / 1_000)), "{:?}", bwe.estimate());
}

#[test]
fn nothing_is_probed_for_a_peer_that_tells_nothing() {
    let mut bwe = without_transport_feedback();
    let epoch = Instant::now();
    bwe.set_desired(epoch, Bitrate::kbps(2_000));
    for tick in 0..200 {
        let now = epoch + Duration::from_millis(100 * tick);
        bwe.on_sent(now, PACKET);
        bwe.handle_timeout(now);
        assert_eq!(bwe.poll_probe(now), None);
    }
    assert_eq!(bwe.estimate(), Bitrate::kbps(300));
}

#[test]
fn remb_caps_what_feedback_says() {
    let mut bwe = SendSideBwe::new(Config::default());
    let now = Instant::now();
    bwe.on_remb(now, Bitrate::kbps(60));
    assert_eq!(bwe.estimate(), Bitrate::kbps(60));
    // A peer's zero is no limit, and its wildest number none of ours.
    bwe.on_remb(now, Bitrate(0));
    assert_eq!(bwe.estimate(), Bitrate::kbps(60));
    bwe.on_remb(now, Bitrate(u64::MAX));
    assert_eq!(bwe.estimate(), Config::default().max);
}

#[test]
fn time_is_asked_for_and_a_silent_peer_is_sent_less_and_less() {
    let mut bwe = SendSideBwe::new(Config::default());
    let epoch = Instant::now();
    bwe.set_desired(epoch, Bitrate::kbps(500));
    let first = bwe.poll_timeout().unwrap();
    assert!(first > epoch && first <= epoch + Duration::from_millis(250));
    assert!(bwe.poll_probe(epoch).is_some());
    bwe.on_sent(epoch, PACKET);
    bwe.handle_timeout(first);
    assert!(bwe.poll_timeout().unwrap() > first);
}

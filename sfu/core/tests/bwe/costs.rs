//! What estimation costs the packet path.

use std::time::{Duration, Instant};

use allocation_counter::measure;
use tianqiao_sfu_core::bwe::{Config, PacketKind, SendSideBwe, SentPacket};
use tianqiao_sfu_core::packet::rtcp::{RtcpPacket, RtcpPackets};
use tianqiao_sfu_core::twcc::FeedbackGenerator;
use tianqiao_sfu_core::units::{Bitrate, Ssrc};

const PACKETS: u64 = 30_000;
const GAP: Duration = Duration::from_millis(3);

/// Every twentieth packet is lost; the others arrive 30 ms later, and feedback comes every 100 ms.
fn feedback(epoch: Instant) -> Vec<(Instant, Vec<u8>)> {
    let mut generator = FeedbackGenerator::new();
    let mut messages = Vec::new();
    for seq in 0..PACKETS {
        let arrived = epoch + GAP * seq as u32 + Duration::from_millis(30);
        if seq % 20 != 7 {
            generator.on_packet(arrived, seq as u16);
        }
        let mut buffer = [0; 1_200];
        if let Some(len) = generator.poll(arrived, &mut buffer, Ssrc(1), Ssrc(2)) {
            messages.push((arrived, buffer[..len].to_vec()));
        }
    }
    messages
}

fn run(bwe: &mut SendSideBwe, sent: impl Iterator<Item = Instant>, messages: &mut &[(Instant, Vec<u8>)]) -> usize {
    let mut lost = 0;
    for now in sent {
        while let Some(((at, message), rest)) = messages.split_first()
            && *at <= now
        {
            *messages = rest;
            for packet in RtcpPackets::new(message) {
                if let Ok(RtcpPacket::TransportFeedback(feedback)) = packet {
                    lost += bwe.on_transport_feedback(*at, &feedback).len();
                }
            }
        }
        if bwe.poll_timeout().is_some_and(|at| at <= now) {
            bwe.handle_timeout(now);
        }
        bwe.poll_probe(now);
        bwe.on_sent(
            now,
            SentPacket {
                bytes: 1_100,
                kind: PacketKind::Video,
                probe: None,
            },
        );
    }
    lost
}

#[test]
fn nothing_is_allocated_per_packet_or_message() {
    let epoch = Instant::now();
    let messages = feedback(epoch);
    let mut messages = &messages[..];
    let mut bwe = SendSideBwe::new(Config::default());
    bwe.set_desired(epoch, Bitrate::kbps(5_000));
    let mut times = (0..PACKETS).map(|seq| epoch + GAP * seq as u32);
    // The window of what arrives grows to what it needs.
    run(&mut bwe, times.by_ref().take(5_000), &mut messages);
    let mut lost = 0;
    let allocations = measure(|| lost = run(&mut bwe, times, &mut messages));
    assert!(lost > 1_200, "{lost}");
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}

#[test]
fn an_estimator_in_use_takes_less_than_sixteen_kilobytes() {
    let epoch = Instant::now();
    let messages = feedback(epoch);
    let mut bwe = None;
    let held = measure(|| {
        let bwe = bwe.insert(SendSideBwe::new(Config::default()));
        let times = (0..PACKETS).map(|seq| epoch + GAP * seq as u32);
        run(bwe, times, &mut &messages[..]);
    });
    assert!(held.bytes_current < 16_384, "{held:?}");
}

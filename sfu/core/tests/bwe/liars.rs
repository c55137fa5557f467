//! Receivers whose feedback is wrong, by chance or on purpose: they may spoil their own estimate and nothing else.

use std::time::{Duration, Instant};

use tianqiao_sfu_core::bwe::{Config, PacketKind, SendSideBwe, SentPacket};
use tianqiao_sfu_core::packet::rtcp::write::{TransportFeedbackHead, transport_feedback};
use tianqiao_sfu_core::packet::rtcp::{RtcpPacket, RtcpPackets};
use tianqiao_sfu_core::units::{Bitrate, Ssrc};

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }
}

/// Numbers near those that were sent, and anything in the other fields.
fn lie(dice: &mut Dice, next: u16) -> Vec<u8> {
    let chunks: Vec<u16> = (0..1 + dice.roll(6))
        .map(|_| match dice.roll(4) {
            0 => 1 + dice.roll(600) as u16,
            1 => 0x2000 | (1 + dice.roll(100) as u16),
            2 => 0x4000 | (1 + dice.roll(100) as u16),
            _ => 0x8000 | dice.roll(1 << 14) as u16,
        })
        .collect();
    let deltas: Vec<u8> = (0..900).map(|_| dice.roll(256) as u8).collect();
    let head = TransportFeedbackHead {
        sender: Ssrc(1),
        media: Ssrc(2),
        base_seq: next
            .wrapping_sub(dice.roll(2_000) as u16)
            .wrapping_add(dice.roll(50) as u16),
        packet_count: 1 + dice.roll(500) as u16,
        reference_time: dice.roll(1 << 24) as i32 - (1 << 23),
        feedback_count: dice.roll(256) as u8,
    };
    let mut buffer = [0; 1_400];
    let len = transport_feedback(&head, &chunks, &deltas, &mut buffer).expect("it fits");
    buffer[..len].to_vec()
}

#[test]
fn any_feedback_leaves_an_estimate_within_bounds() {
    let config = Config {
        max: Bitrate::kbps(20_000),
        ..Config::default()
    };
    let epoch = Instant::now();
    let mut understood = 0;
    for seed in 1..40 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut bwe = SendSideBwe::new(config);
        bwe.set_desired(epoch, Bitrate::kbps(5_000));
        for step in 0..2_000u32 {
            let now = epoch + Duration::from_millis(5) * step;
            let probe = bwe.poll_probe(now).map(|cluster| cluster.id);
            for _ in 0..1 + dice.roll(6) {
                let bytes = 40 + dice.roll(1_200) as usize;
                let kind = PacketKind::Video;
                bwe.on_sent(now, SentPacket { bytes, kind, probe });
            }
            if dice.roll(5) == 0 {
                for packet in RtcpPackets::new(&lie(&mut dice, bwe.next_seq())) {
                    if let Ok(RtcpPacket::TransportFeedback(feedback)) = packet {
                        understood += 1;
                        bwe.on_transport_feedback(now, &feedback);
                    }
                }
            }
            if dice.roll(20) == 0 {
                bwe.on_remb(now, Bitrate(dice.roll(u64::MAX)));
                bwe.on_report_loss(now, dice.roll(1 << 32) as u32, dice.roll(1 << 32) as u32);
            }
            bwe.handle_timeout(now);
            let estimate = bwe.estimate();
            assert!(
                (config.min..=config.max).contains(&estimate),
                "{seed} {step}: {estimate:?}"
            );
            let loss = bwe.loss();
            assert!(
                (0.0..=1.0).contains(&loss.share) && loss.mean_burst >= 1.0,
                "{seed} {step}: {loss:?}"
            );
        }
    }
    assert!(understood > 5_000, "{understood}");
}

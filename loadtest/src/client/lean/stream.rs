//! One received stream: its statistics (RFC 3550, appendix A) and what it lacks.

use std::time::{Duration, Instant};

use tianqiao_protocol::MediaKind;
use tianqiao_sfu_core::negotiated::Codec;
use tianqiao_sfu_core::packet::payload::describe;
use tianqiao_sfu_core::packet::rtcp::{ReportBlock, SenderInfo};
use tianqiao_sfu_core::units::{ExtendedSeq, Ssrc};
use tianqiao_sfu_core::uptrack::nack_generator::{NackGenerator, NackLimits};

use super::receiver::Wish;
use super::sdp::clock_rate;
use crate::media::nanos_since_epoch;

/// A stream that begins without a key frame is given that long before it is asked for one.
const FIRST_KEYFRAME_WAIT: Duration = Duration::from_millis(200);
/// Between two requests for a key frame.
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(1);

/// A packet as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub at: Instant,
    pub seq: u16,
    pub timestamp: u32,
    /// It came over RTX.
    pub is_repair: bool,
}

pub(super) struct ReceiveStream {
    ssrc: u32,
    kind: MediaKind,
    first: ExtendedSeq,
    highest: ExtendedSeq,
    received: u64,
    /// Expected and received packets at the last report.
    reported: (u64, u64),
    /// In 1/16 of clock ticks.
    jitter: u32,
    transit: Option<u32>,
    /// Compact NTP time of the last sender report, and its arrival.
    last_sr: Option<(u32, Instant)>,
    nacks: Option<NackGenerator>,
    /// When to ask for a key frame; `None` while pictures can be decoded.
    keyframe_due: Option<Instant>,
}

impl ReceiveStream {
    pub fn new(ssrc: u32, kind: MediaKind, repair: bool, first: &Arrival) -> Self {
        let is_video = kind == MediaKind::Video;
        let seq = ExtendedSeq(first.seq.into());
        Self {
            ssrc,
            kind,
            first: seq,
            highest: seq,
            received: 0,
            reported: (0, 0),
            jitter: 0,
            transit: None,
            last_sr: None,
            nacks: (is_video && repair).then(|| NackGenerator::new(NackLimits::VIDEO)),
            keyframe_due: is_video.then(|| first.at + FIRST_KEYFRAME_WAIT),
        }
    }

    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// When [`Self::poll_wishes`] may have something, if this packet changed that.
    pub fn on_packet(&mut self, arrival: &Arrival, payload: &[u8]) -> Option<Instant> {
        let seq = self.highest.nearest(arrival.seq);
        self.highest = self.highest.max(seq);
        self.received += 1;
        if !arrival.is_repair {
            self.update_jitter(arrival);
        }
        let mut due = None;
        if let Some(nacks) = &mut self.nacks {
            nacks.on_packet(arrival.at, seq);
            due = nacks.poll_timeout();
            if nacks.needs_keyframe() && self.keyframe_due.is_none() {
                self.keyframe_due = Some(arrival.at);
            }
        }
        if self.keyframe_due.is_some() {
            self.look_for_keyframe(seq, payload);
        }
        due.into_iter().chain(self.keyframe_due).min()
    }

    fn look_for_keyframe(&mut self, seq: ExtendedSeq, payload: &[u8]) {
        if describe(Codec::Vp8, payload).keyframe {
            self.keyframe_due = None;
            if let Some(nacks) = &mut self.nacks {
                nacks.on_keyframe(seq);
            }
        }
    }

    /// RFC 3550, appendix A.8.
    fn update_jitter(&mut self, arrival: &Arrival) {
        let micros = nanos_since_epoch(arrival.at) / 1000;
        let ticks = (micros * u64::from(clock_rate(self.kind) / 1000) / 1000) as u32;
        let transit = ticks.wrapping_sub(arrival.timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let distance = (transit.wrapping_sub(last) as i32).unsigned_abs();
            self.jitter = self
                .jitter
                .saturating_add(distance)
                .saturating_sub((self.jitter + 8) >> 4);
        }
    }

    pub fn on_sender_report(&mut self, now: Instant, info: &SenderInfo) {
        self.last_sr = Some((info.compact_ntp(), now));
    }

    /// `None` where nothing came since the last call.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let expected = self.highest.0 - self.first.0 + 1;
        let (expected_before, received_before) = std::mem::replace(&mut self.reported, (expected, self.received));
        if self.received == received_before {
            return None;
        }
        let lost = (expected - expected_before).saturating_sub(self.received - received_before);
        let (last_sr, delay) = match self.last_sr {
            Some((ntp, at)) => (ntp, now.saturating_duration_since(at)),
            None => (0, Duration::ZERO),
        };
        Some(ReportBlock {
            ssrc: Ssrc(self.ssrc),
            fraction_lost: (256 * lost / (expected - expected_before).max(1)).min(255) as u8,
            cumulative_lost: (expected as i64 - self.received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: self.highest.0 as u32,
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr: (delay.as_micros() * 65_536 / 1_000_000) as u32,
        })
    }

    /// Says what is due, and when something may be due again.
    pub fn poll_wishes(&mut self, now: Instant, rtt: Duration, ask: &mut impl FnMut(Wish)) -> Option<Instant> {
        let mut next = None;
        if let Some(nacks) = &mut self.nacks {
            loop {
                let seqs = nacks.poll(now, rtt);
                if seqs.is_empty() {
                    break;
                }
                ask(Wish::Packets {
                    ssrc: self.ssrc,
                    seqs: seqs.to_vec(),
                });
            }
            next = nacks.poll_timeout();
            if nacks.needs_keyframe() && self.keyframe_due.is_none() {
                self.keyframe_due = Some(now);
            }
        }
        if let Some(due) = &mut self.keyframe_due {
            if *due <= now {
                ask(Wish::Keyframe { ssrc: self.ssrc });
                *due = now + KEYFRAME_INTERVAL;
            }
            next = next.into_iter().chain([*due]).min();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYFRAME: [u8; 11] = [0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0, 5, 0xd0, 2];
    const DELTA: [u8; 4] = [0x10, 0x11, 0, 0];

    fn arrival(at: Instant, seq: u16) -> Arrival {
        Arrival {
            at,
            seq,
            timestamp: u32::from(seq) * 3000,
            is_repair: false,
        }
    }

    fn wishes(stream: &mut ReceiveStream, now: Instant) -> Vec<Wish> {
        let mut wishes = Vec::new();
        stream.poll_wishes(now, Duration::ZERO, &mut |wish| wishes.push(wish));
        wishes
    }

    #[test]
    fn reports_tell_losses_and_wraps() {
        let now = Instant::now();
        let mut stream = ReceiveStream::new(1, MediaKind::Audio, true, &arrival(now, 65_530));
        for step in (0..20u16).filter(|step| step % 4 != 1) {
            stream.on_packet(&arrival(now, 65_530u16.wrapping_add(step)), &[]);
        }
        let block = stream.report(now).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (5, 64));
        assert_eq!(block.highest_seq, 65_530 + 19);
        assert_eq!(stream.report(now), None, "nothing came since");
    }

    #[test]
    fn an_even_stream_has_no_jitter() {
        let start = Instant::now();
        nanos_since_epoch(start);
        let mut stream = ReceiveStream::new(1, MediaKind::Video, false, &arrival(start, 0));
        for frame in 0..100u16 {
            let at = start + Duration::from_secs(1) * u32::from(frame) / 30;
            stream.on_packet(&arrival(at, frame), &KEYFRAME);
        }
        assert!(stream.report(start).unwrap().jitter <= 90, "a millisecond at most");
    }

    #[test]
    fn a_stream_without_a_key_frame_asks_until_one_comes() {
        let now = Instant::now();
        let mut stream = ReceiveStream::new(1, MediaKind::Video, false, &arrival(now, 0));
        let due = stream.on_packet(&arrival(now, 0), &DELTA).unwrap();
        assert_eq!(due, now + FIRST_KEYFRAME_WAIT);
        assert_eq!(wishes(&mut stream, now), []);
        assert_eq!(wishes(&mut stream, due), [Wish::Keyframe { ssrc: 1 }]);
        assert_eq!(wishes(&mut stream, due), []);
        assert_eq!(
            wishes(&mut stream, due + KEYFRAME_INTERVAL),
            [Wish::Keyframe { ssrc: 1 }]
        );
        assert_eq!(stream.on_packet(&arrival(due, 1), &KEYFRAME), None);
        assert_eq!(wishes(&mut stream, due + 9 * KEYFRAME_INTERVAL), []);
    }

    #[test]
    fn missing_packets_are_asked_for_and_hopeless_gaps_mean_a_key_frame() {
        let now = Instant::now();
        let mut stream = ReceiveStream::new(1, MediaKind::Video, true, &arrival(now, 0));
        stream.on_packet(&arrival(now, 0), &KEYFRAME);
        let due = stream.on_packet(&arrival(now, 3), &DELTA).unwrap();
        let seqs = vec![1, 2];
        assert_eq!(wishes(&mut stream, due), [Wish::Packets { ssrc: 1, seqs }]);
        for seq in [1, 2] {
            stream.on_packet(&arrival(now, seq), &DELTA);
        }
        assert_eq!(wishes(&mut stream, due + KEYFRAME_INTERVAL), []);
        stream.on_packet(&arrival(due, 2000), &DELTA);
        assert_eq!(wishes(&mut stream, due), [Wish::Keyframe { ssrc: 1 }]);
    }
}

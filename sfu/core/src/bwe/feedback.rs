//! Matches transport-wide feedback with what was sent: which packets arrived when, and which did not.

use super::history::{Fate, History, PacketKind};
use super::time::Micros;
use crate::packet::rtcp::congestion_feedback::{OFFSETS_PER_SECOND, PacketFate};
use crate::packet::rtcp::transport_feedback::{REFERENCE_UNIT_US, TransportFeedback};
use crate::units::ExtendedSeq;

/// Feedback on packets sent longer ago is not of use: libwebrtc's bound on a round trip that it works with
/// is 3 s, and receivers send feedback at least four times a second.
const MAX_AGE: Micros = Micros::secs(10);

/// A packet that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    pub seq: ExtendedSeq,
    pub sent: Micros,
    /// By the receiver's clock, whose zero is anything.
    pub arrived: Micros,
    pub bytes: u16,
    pub probe: Option<std::num::NonZeroU8>,
    /// Bytes sent before it whose feedback was lost, as far as they are likely to have arrived.
    pub unreported: u32,
    /// It had been reported lost before.
    pub was_lost: bool,
}

/// A packet that feedback says did not arrive, told once. It may still come, if the network changed the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostPacket {
    /// As `on_sent` returned it.
    pub seq: u16,
    pub bytes: u16,
    pub kind: PacketKind,
    pub(super) sent: Micros,
}

/// What was wrong with feedback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedbackStats {
    pub received: u64,
    /// Feedback packets that did not come, by their counter.
    pub missing: u64,
    /// Packets reported that were never sent or that are forgotten.
    pub unknown_packets: u64,
    /// Packets reported as arrived once more.
    pub duplicates: u64,
}

/// What one feedback packet told, in buffers that are used again.
#[derive(Clone, Debug, Default)]
pub struct FeedbackMatcher {
    /// By time of arrival.
    pub acked: Vec<Acked>,
    /// By number.
    pub lost: Vec<LostPacket>,
    pub stats: FeedbackStats,
    last: Last,
    highest: ExtendedSeq,
}

/// The receiver's clock as the last message told it; a client sends one kind of them.
#[derive(Clone, Copy, Debug, Default)]
enum Last {
    #[default]
    None,
    Transport(LastFeedback),
    /// When a message by RFC 8888 was made, in 1/65,536 s.
    Congestion(i64),
}

#[derive(Clone, Copy, Debug)]
struct LastFeedback {
    count: u8,
    /// The 24 bits of the message.
    reference: i32,
    /// The same, unwrapped.
    reference_unwrapped: i64,
}

impl FeedbackMatcher {
    /// Fills `acked` and `lost` anew.
    pub fn on_feedback(&mut self, now: Micros, feedback: &TransportFeedback<'_>, history: &mut History) {
        self.begin();
        let clock = self.unwrap_clock(feedback);
        let base = self.highest.max(history.oldest()).nearest(feedback.base_seq);
        let (unreported, _) = history.bytes_of(self.next_expected()..base);
        let mut next = base;
        for arrival in feedback.received() {
            let seq = ExtendedSeq(base.0 + u64::from(arrival.seq.wrapping_sub(feedback.base_seq)));
            self.lose(now, next, seq, history);
            next = ExtendedSeq(seq.0 + 1);
            self.acknowledge(now, seq, Micros(clock + arrival.arrival_us), history);
        }
        let end = ExtendedSeq(base.0 + u64::from(feedback.packet_count));
        self.lose(now, next, end, history);
        self.finish(unreported, history);
    }

    fn begin(&mut self) {
        self.acked.clear();
        self.lost.clear();
        self.stats.received += 1;
    }

    /// `unreported` bytes were sent before what feedback told of, and after all that was told of before.
    fn finish(&mut self, unreported: u64, history: &mut History) {
        let arrived = self.acked.len() as u64;
        if let Some(first) = self.acked.first_mut() {
            first.unreported = (unreported * arrived / (arrived + self.lost.len() as u64)) as u32;
        }
        if !self.acked.is_sorted_by_key(|acked| acked.arrived) {
            self.acked.sort_unstable_by_key(|acked| (acked.arrived, acked.seq));
        }
        history.reserve(history.next_seq().0 - self.highest.0.min(history.next_seq().0));
    }

    /// The same by RFC 8888. Packets come by stream, so in no order.
    pub fn on_congestion_feedback(
        &mut self,
        now: Micros,
        timestamp: u32,
        packets: impl Iterator<Item = (u16, PacketFate)>,
        history: &mut History,
    ) {
        self.begin();
        let made = self.unwrap_timestamp(timestamp);
        let (expected, latest) = (self.next_expected(), history.next_seq());
        let mut first = latest;
        for (number, fate) in packets {
            // None was sent later than the latest.
            let seq = latest.nearest(number);
            first = first.min(seq);
            match fate {
                PacketFate::Missing => self.lose(now, seq, ExtendedSeq(seq.0 + 1), history),
                PacketFate::Came(offset) => {
                    let before = Micros(i64::from(offset) * 1_000_000 / OFFSETS_PER_SECOND);
                    self.acknowledge(now, seq, made - before, history);
                }
                PacketFate::CameSometime => {
                    if let Some(entry) = history.entry_mut(seq) {
                        entry.set_fate(Fate::Arrived);
                    }
                }
            }
        }
        self.lost.sort_unstable_by_key(|lost| (lost.sent, lost.seq));
        self.finish(history.bytes_of(expected..first).0, history);
    }

    /// The time of the message, which goes on across wraps of its timestamp.
    fn unwrap_timestamp(&mut self, timestamp: u32) -> Micros {
        let last = match self.last {
            Last::Congestion(last) => last,
            Last::None | Last::Transport(_) => timestamp.into(),
        };
        let step = timestamp.wrapping_sub(last as u32) as i32;
        // Who lies about each step gets to the end of 64 bits, and no further.
        let made = last.saturating_add(step.into());
        self.last = Last::Congestion(made);
        let (seconds, fraction) = (made >> 16, made & 0xffff);
        Micros(
            seconds
                .saturating_mul(1_000_000)
                .saturating_add((fraction * 1_000_000) >> 16),
        )
    }

    /// What to add to the message's arrivals so that they go on across wraps of the reference time.
    fn unwrap_clock(&mut self, feedback: &TransportFeedback<'_>) -> i64 {
        let reference = feedback.reference_time;
        let mut unwrapped = i64::from(reference);
        if let Last::Transport(last) = self.last {
            // The difference of two 24-bit numbers, sign extended.
            let step = reference.wrapping_sub(last.reference) << 8 >> 8;
            unwrapped = last.reference_unwrapped + i64::from(step);
            let skipped = feedback.feedback_count.wrapping_sub(last.count.wrapping_add(1));
            // More than half of the counter's range is feedback that comes late, not a gap.
            if skipped < 128 {
                self.stats.missing += u64::from(skipped);
            }
        }
        self.last = Last::Transport(LastFeedback {
            count: feedback.feedback_count,
            reference,
            reference_unwrapped: unwrapped,
        });
        (unwrapped - i64::from(reference)) * REFERENCE_UNIT_US
    }

    fn acknowledge(&mut self, now: Micros, seq: ExtendedSeq, arrived: Micros, history: &mut History) {
        let Some(entry) = history.entry_mut(seq) else {
            self.stats.unknown_packets += 1;
            return;
        };
        let was_lost = match entry.fate() {
            Fate::Arrived => {
                self.stats.duplicates += 1;
                return;
            }
            Fate::Lost => true,
            Fate::Unknown => false,
        };
        entry.set_fate(Fate::Arrived);
        if entry.is_resent() {
            return;
        }
        let sent = entry.sent(now);
        self.highest = self.highest.max(seq);
        if now - sent > MAX_AGE {
            return;
        }
        self.acked.push(Acked {
            seq,
            sent,
            arrived,
            bytes: entry.bytes,
            probe: entry.probe,
            unreported: 0,
            was_lost,
        });
    }

    /// The number after the last one that feedback told of.
    pub fn next_expected(&self) -> ExtendedSeq {
        ExtendedSeq(self.highest.0 + 1)
    }

    /// The numbers from `from` to before `to` did not arrive.
    fn lose(&mut self, now: Micros, from: ExtendedSeq, to: ExtendedSeq, history: &mut History) {
        let known = from.max(history.oldest()).0..to.min(history.next_seq()).0;
        for seq in known.map(ExtendedSeq) {
            let Some(entry) = history.entry_mut(seq) else { continue };
            if entry.fate() != Fate::Unknown {
                continue;
            }
            entry.set_fate(Fate::Lost);
            self.highest = self.highest.max(seq);
            let sent = entry.sent(now);
            if now - sent <= MAX_AGE {
                self.lost.push(LostPacket {
                    seq: seq.truncate(),
                    bytes: entry.bytes,
                    kind: entry.kind(),
                    sent,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bwe::history::SentPacket;
    use crate::packet::rtcp::write::{TransportFeedbackHead, transport_feedback};
    use crate::packet::rtcp::{RtcpPacket, RtcpPackets};
    use crate::units::Ssrc;

    /// Packets 10 ms apart, each of 100 bytes more than the one before.
    fn sent(packets: u64) -> History {
        let mut history = History::default();
        for n in 0..packets {
            let packet = SentPacket {
                bytes: 100 * (1 + n as usize % 10),
                kind: PacketKind::Audio,
                probe: None,
            };
            history.push(Micros::millis(10 * n as i64), packet);
        }
        history
    }

    /// Feedback from `base` on: ticks of 250 µs since the packet before, or lost.
    fn told(matcher: &mut FeedbackMatcher, history: &mut History, head: (u16, i32, u8), deltas: &[Option<u8>]) {
        let (base_seq, reference_time, feedback_count) = head;
        let head = TransportFeedbackHead {
            sender: Ssrc(1),
            media: Ssrc(2),
            base_seq,
            packet_count: deltas.len() as u16,
            reference_time,
            feedback_count,
        };
        let chunks: Vec<u16> = deltas
            .iter()
            .map(|delta| u16::from(delta.is_some()) << 13 | 1)
            .collect();
        let deltas: Vec<u8> = deltas.iter().copied().flatten().collect();
        let mut buffer = [0; 1_500];
        let len = transport_feedback(&head, &chunks, &deltas, &mut buffer).unwrap();
        let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = RtcpPackets::new(&buffer[..len]).next() else {
            panic!("feedback");
        };
        let now = Micros::millis(10 * history.next_seq().0 as i64 + 50);
        matcher.on_feedback(now, &feedback, history);
    }

    fn arrivals(matcher: &FeedbackMatcher) -> Vec<(u64, i64)> {
        let acked = matcher.acked.iter();
        acked.map(|acked| (acked.seq.0, acked.arrived.0 / 250)).collect()
    }

    fn lost(matcher: &FeedbackMatcher) -> Vec<u16> {
        matcher.lost.iter().map(|lost| lost.seq).collect()
    }

    #[test]
    fn tells_what_arrived_when_and_what_did_not() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(5));
        told(
            &mut matcher,
            &mut history,
            (0, 10, 0),
            &[Some(4), None, Some(40), None, None],
        );
        assert_eq!(arrivals(&matcher), [(0, 2_564), (2, 2_604)]);
        assert_eq!(lost(&matcher), [1, 3, 4]);
        assert_eq!(matcher.lost[0].bytes, 200);
        assert_eq!(
            (matcher.acked[1].sent, matcher.acked[1].bytes),
            (Micros::millis(20), 300)
        );
    }

    #[test]
    fn tells_each_loss_once_and_takes_late_packets_back() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(4));
        told(&mut matcher, &mut history, (0, 10, 0), &[Some(0), None, None, Some(1)]);
        assert_eq!(lost(&matcher), [1, 2]);
        told(&mut matcher, &mut history, (1, 10, 1), &[Some(9), None, Some(1)]);
        assert_eq!(lost(&matcher), [] as [u16; 0]);
        let late: Vec<_> = matcher
            .acked
            .iter()
            .map(|acked| (acked.seq.0, acked.was_lost))
            .collect();
        assert_eq!(late, [(1, true)]);
        assert_eq!(matcher.stats.duplicates, 1);
    }

    #[test]
    fn a_packet_that_was_sent_again_under_its_number_is_no_measure() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(4));
        told(&mut matcher, &mut history, (0, 10, 0), &[Some(0), None, Some(1), None]);
        history.entry_mut(ExtendedSeq(1)).unwrap().set_resent();
        let now = Micros::millis(90);
        assert_eq!(history.fate(1, now), Some((Fate::Lost, Micros::millis(80))));
        told(&mut matcher, &mut history, (1, 20, 1), &[Some(9), Some(1), Some(1)]);
        assert_eq!(arrivals(&matcher).len(), 1, "3 alone");
        assert_eq!(history.fate(1, now), Some((Fate::Arrived, Micros::millis(80))));
        assert_eq!(history.fate(4, now), None);
    }

    #[test]
    fn sorts_by_arrival_and_goes_on_across_wraps_of_the_arrival_clock() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(6));
        let last = (1 << 23) - 1;
        told(&mut matcher, &mut history, (0, last, 0), &[Some(0)]);
        let before = matcher.acked[0].arrived;
        told(&mut matcher, &mut history, (1, -(1 << 23), 1), &[Some(0)]);
        assert_eq!(matcher.acked[0].arrived - before, Micros(64_000));
        // Once more round, with an earlier reference: feedback whose order changed.
        told(&mut matcher, &mut history, (2, last, 2), &[Some(4), Some(0)]);
        assert_eq!(matcher.acked[0].arrived - before, Micros(1_000));
    }

    #[test]
    fn counts_what_was_never_sent_and_feedback_that_did_not_come() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(3));
        told(
            &mut matcher,
            &mut history,
            (1, 10, 250),
            &[Some(0), Some(0), Some(0), None],
        );
        assert_eq!(arrivals(&matcher).len(), 2);
        assert_eq!(lost(&matcher), [] as [u16; 0]);
        assert_eq!((matcher.stats.unknown_packets, matcher.stats.missing), (1, 0));
        told(&mut matcher, &mut history, (0, 10, 3), &[None]);
        assert_eq!(matcher.stats.missing, 8);
        // An older one comes late.
        told(&mut matcher, &mut history, (0, 10, 1), &[None]);
        assert_eq!(matcher.stats.missing, 8);
    }

    /// Half of what follows arrives, so half of that whose feedback was lost is taken to have arrived.
    #[test]
    fn what_lost_feedback_told_of_counts_as_the_rest() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(9));
        told(&mut matcher, &mut history, (0, 10, 0), &[Some(0)]);
        told(&mut matcher, &mut history, (5, 12, 2), &[Some(0), None]);
        // Packets 1 to 4 are of 200 to 500 bytes.
        assert_eq!(matcher.acked[0].unreported, 700);
        assert_eq!(lost(&matcher), [6]);
        told(&mut matcher, &mut history, (7, 13, 3), &[Some(0)]);
        assert_eq!(matcher.acked[0].unreported, 0);
    }

    #[test]
    fn goes_on_across_wraps_of_the_sequence_number() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(65_530));
        told(&mut matcher, &mut history, (65_529, 10, 0), &[Some(0)]);
        for _ in 0..20 {
            history.push(
                Micros::millis(655_300),
                SentPacket {
                    bytes: 1,
                    kind: PacketKind::Video,
                    probe: None,
                },
            );
        }
        told(&mut matcher, &mut history, (65_530, 10, 1), &[Some(0); 20]);
        assert_eq!(matcher.acked.last().map(|acked| acked.seq), Some(ExtendedSeq(65_549)));
        assert_eq!(matcher.stats.unknown_packets, 0);
    }

    #[test]
    fn feedback_by_stream_is_told_in_order_and_goes_on_across_wraps_of_its_clock() {
        use PacketFate::{Came, CameSometime, Missing};
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(9));
        let now = Micros::millis(150);
        let mut told = |timestamp, packets: &[(u16, PacketFate)]| {
            matcher.on_congestion_feedback(now, timestamp, packets.iter().copied(), &mut history);
            (
                arrivals(&matcher),
                lost(&matcher),
                matcher.acked.first().map(|acked| acked.unreported),
            )
        };
        // One stream has the even numbers, the other the odd ones.
        let packets = [
            (0, Came(1_024)),
            (2, Missing),
            (4, Came(0)),
            (1, Came(512)),
            (3, CameSometime),
        ];
        let second = 1 << 16;
        assert_eq!(
            told(u32::MAX - second + 1, &packets),
            (
                vec![(0, 262_136_000), (1, 262_138_000), (4, 262_140_000)],
                vec![2],
                Some(0)
            )
        );
        // Half a second after the wrap; what a message told of that was lost had 600 bytes.
        assert_eq!(
            told(second / 2, &[(6, Came(0)), (9, Came(0)), (2, Came(512))]),
            (vec![(2, 262_144_000), (6, 262_146_000)], vec![], Some(0))
        );
        assert_eq!(
            told(second, &[(8, Came(0))]),
            (vec![(8, 262_148_000)], vec![], Some(800))
        );
        assert_eq!((matcher.stats.unknown_packets, matcher.stats.duplicates), (1, 0));
    }

    #[test]
    fn a_clock_that_lies_at_each_step_overflows_nothing() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(1));
        for step in 0..20_000_u32 {
            let packets = std::iter::once((0, PacketFate::Came(0x1ffd)));
            matcher.on_congestion_feedback(Micros::ZERO, step.wrapping_mul(0x7fff_ffff), packets, &mut history);
        }
        assert_eq!(matcher.stats.duplicates, 19_999);
    }

    /// Claims of 65,535 lost packets, over and over, cost no more than the ring is long.
    #[test]
    fn what_is_claimed_of_the_forgotten_is_dropped() {
        let (mut matcher, mut history) = (FeedbackMatcher::default(), sent(3_000));
        for base in [0, 1_000, 40_000] {
            let mut buffer = [0; 100];
            let head = TransportFeedbackHead {
                sender: Ssrc(1),
                media: Ssrc(2),
                base_seq: base,
                packet_count: 0x1fff,
                reference_time: 0,
                feedback_count: 0,
            };
            let len = transport_feedback(&head, &[0x1fff], &[], &mut buffer).unwrap();
            let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = RtcpPackets::new(&buffer[..len]).next() else {
                panic!("feedback");
            };
            matcher.on_feedback(Micros::secs(31), &feedback, &mut history);
            assert!(matcher.lost.len() <= 512, "{}", matcher.lost.len());
        }
    }
}

//! Matches transport-wide feedback with what was sent: which packets arrived when, and which did not.

use super::history::{Fate, History, PacketKind};
use super::time::Micros;
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
    /// It had been reported lost before.
    pub was_lost: bool,
}

/// A packet that feedback says did not arrive, told once. It may still come, if the network changed the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostPacket {
    /// As [`History::push`] returned it.
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
    last: Option<LastFeedback>,
    highest: ExtendedSeq,
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
        self.acked.clear();
        self.lost.clear();
        self.stats.received += 1;
        let clock = self.unwrap_clock(feedback);
        let base = self.highest.max(history.oldest()).nearest(feedback.base_seq);
        let mut next = base;
        for arrival in feedback.received() {
            let seq = ExtendedSeq(base.0 + u64::from(arrival.seq.wrapping_sub(feedback.base_seq)));
            self.lose(now, next, seq, history);
            next = ExtendedSeq(seq.0 + 1);
            self.acknowledge(now, seq, Micros(clock + arrival.arrival_us), history);
        }
        let end = ExtendedSeq(base.0 + u64::from(feedback.packet_count));
        self.lose(now, next, end, history);
        if !self.acked.is_sorted_by_key(|acked| acked.arrived) {
            self.acked.sort_unstable_by_key(|acked| (acked.arrived, acked.seq));
        }
        history.reserve(history.next_seq().0 - self.highest.0.min(history.next_seq().0));
    }

    /// What to add to the message's arrivals so that they go on across wraps of the reference time.
    fn unwrap_clock(&mut self, feedback: &TransportFeedback<'_>) -> i64 {
        let reference = feedback.reference_time;
        let mut unwrapped = i64::from(reference);
        if let Some(last) = self.last {
            // The difference of two 24-bit numbers, sign extended.
            let step = reference.wrapping_sub(last.reference) << 8 >> 8;
            unwrapped = last.reference_unwrapped + i64::from(step);
            let skipped = feedback.feedback_count.wrapping_sub(last.count.wrapping_add(1));
            // More than half of the counter's range is feedback that comes late, not a gap.
            if skipped < 128 {
                self.stats.missing += u64::from(skipped);
            }
        }
        self.last = Some(LastFeedback {
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
            was_lost,
        });
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

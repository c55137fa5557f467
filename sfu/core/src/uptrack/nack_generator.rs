//! Which packets of a stream are missing, and when to ask for them (RFC 4585 generic NACK).

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::units::ExtendedSeq;

/// A missing packet is asked for once that many newer ones have come (TCP's threshold for taking
/// reordering for loss, RFC 5681) …
const REORDER_PACKETS: u64 = 3;
/// … or that long after the gap was seen. mediasoup's suggested NACK delay.
const REORDER_DELAY: Duration = Duration::from_millis(10);
/// Added to the round trip before a packet is asked for again, for the peer's pacer.
const RETRY_MARGIN: Duration = Duration::from_millis(10);
/// Shortest time between two requests of a packet; libwebrtc's processing interval.
const MIN_RETRY: Duration = Duration::from_millis(20);
/// Packets of one [`NackGenerator::poll`]: at worst 512 bytes of PIDs.
pub const NACK_BATCH: usize = 128;

/// When to give a packet up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NackLimits {
    /// Missing packets kept; a longer gap is hopeless.
    pub max_missing: usize,
    pub max_requests: u8,
    /// A packet is asked for only if it can be here by then.
    pub max_age: Duration,
}

impl NackLimits {
    /// A gap of 500 packets is over a second of 2.5 Mbit/s: a keyframe costs less than its repair.
    /// Ten requests as in libwebrtc; receivers hold a frame for about 3 s before they ask for a
    /// keyframe themselves.
    pub const VIDEO: Self = Self {
        max_missing: 500,
        max_requests: 10,
        max_age: Duration::from_secs(3),
    };

    /// Later than that a jitter buffer has concealed the packet.
    pub const AUDIO: Self = Self {
        max_missing: 50,
        max_requests: 3,
        max_age: Duration::from_millis(500),
    };
}

#[derive(Clone, Debug)]
pub struct NackGenerator {
    limits: NackLimits,
    highest: Option<ExtendedSeq>,
    /// Ascending, at most `limits.max_missing`.
    missing: Vec<Missing>,
    /// Not later than the first request that is due.
    next_due: Option<Instant>,
    needs_keyframe: bool,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: ExtendedSeq,
    since: Instant,
    last_request: Instant,
    requests: u8,
}

impl NackGenerator {
    #[doc(hidden)]
    pub(crate) fn check_bounds(&self) {
        assert!(self.missing.len() <= self.limits.max_missing);
    }

    pub fn new(limits: NackLimits) -> Self {
        Self {
            limits,
            highest: None,
            missing: Vec::new(),
            next_due: None,
            needs_keyframe: false,
        }
    }

    /// A packet came, by whatever way: padding-only and retransmitted ones count too.
    pub fn on_packet(&mut self, now: Instant, seq: ExtendedSeq) {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return;
        };
        if seq <= highest {
            if let Ok(index) = self.missing.binary_search_by_key(&seq, |missing| missing.seq) {
                self.missing.remove(index);
            }
            return;
        }
        self.highest = Some(seq);
        let gap = highest.0 + 1..seq.0;
        let gap_len = gap.end - gap.start;
        if gap_len > self.limits.max_missing as u64 {
            self.missing.clear();
            self.needs_keyframe = true;
            return;
        }
        if gap_len > 0 {
            self.add(now, gap);
        }
        // Of those missing, has one now enough newer packets that had not before?
        let (from, to) = (highest.0, seq.0);
        let mut newest = self.missing.iter().rev().map(|missing| missing.seq.0 + REORDER_PACKETS);
        if newest.by_ref().take_while(|&due| from < due).any(|due| due <= to) {
            self.next_due = Some(now);
        }
    }

    fn add(&mut self, now: Instant, gap: std::ops::Range<u64>) {
        let over = (self.missing.len() + (gap.end - gap.start) as usize).saturating_sub(self.limits.max_missing);
        if over > 0 {
            self.missing.drain(..over);
            self.needs_keyframe = true;
        }
        self.missing.extend(gap.map(|number| Missing {
            seq: ExtendedSeq(number),
            since: now,
            last_request: now,
            requests: 0,
        }));
        let due = now + REORDER_DELAY;
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    /// It has not come and may still be asked for.
    pub fn is_missing(&self, seq: ExtendedSeq) -> bool {
        self.missing.binary_search_by_key(&seq, |missing| missing.seq).is_ok()
    }

    /// The first packet of a keyframe came: nothing before it is needed any more.
    pub fn on_keyframe(&mut self, first: ExtendedSeq) {
        let before = self.missing.partition_point(|missing| missing.seq < first);
        self.missing.drain(..before);
        self.needs_keyframe = false;
    }

    /// A packet was given up, so frames from there on cannot be decoded before a keyframe. Stays
    /// until [`Self::on_keyframe`].
    pub fn needs_keyframe(&self) -> bool {
        self.needs_keyframe
    }

    /// When [`Self::poll`] has something to do; at once where it says the past.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_due
    }

    /// Packets to ask for now, ascending; poll again until it is empty. `rtt` is the round trip to
    /// the sender.
    pub fn poll(&mut self, now: Instant, rtt: Duration) -> ArrayVec<u16, NACK_BATCH> {
        let mut batch = ArrayVec::new();
        if self.next_due.is_none_or(|due| due > now) {
            return batch;
        }
        self.give_up(now, rtt);
        let retry = (rtt + RETRY_MARGIN).max(MIN_RETRY);
        let highest = self.highest.unwrap_or_default();
        let mut next_due = None;
        for missing in &mut self.missing {
            if missing.due(highest, retry) <= now {
                if batch.is_full() {
                    next_due = Some(now);
                    break;
                }
                batch.push(missing.seq.truncate());
                missing.requests += 1;
                missing.last_request = now;
            }
            let due = missing.due(highest, retry);
            next_due = Some(next_due.map_or(due, |next: Instant| next.min(due)));
        }
        self.next_due = next_due;
        batch
    }

    fn give_up(&mut self, now: Instant, rtt: Duration) {
        let limits = self.limits;
        let retry = (rtt + RETRY_MARGIN).max(MIN_RETRY);
        let before = self.missing.len();
        self.missing.retain(|missing| {
            let waits_for_answer = missing.requests > 0 && now < missing.last_request + retry;
            let may_ask = missing.requests < limits.max_requests && now + rtt <= missing.since + limits.max_age;
            waits_for_answer || may_ask
        });
        self.needs_keyframe |= self.missing.len() < before;
    }
}

impl Missing {
    fn due(&self, highest: ExtendedSeq, retry: Duration) -> Instant {
        match self.requests {
            0 if highest.0 - self.seq.0 >= REORDER_PACKETS => self.since,
            0 => self.since + REORDER_DELAY,
            _ => self.last_request + retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn after(seqs: impl IntoIterator<Item = u64>, now: Instant) -> NackGenerator {
        let mut generator = NackGenerator::new(NackLimits::VIDEO);
        for seq in seqs {
            generator.on_packet(now, ExtendedSeq(seq));
        }
        generator
    }

    #[test]
    fn first_requests() {
        let now = Instant::now();
        for (name, seqs, at_once, after_delay) in [
            ("in order", &[1, 2, 3][..], &[][..], &[][..]),
            ("one missing", &[1, 3], &[], &[2]),
            ("one missing, three newer", &[1, 3, 4, 5], &[2], &[]),
            ("two gaps", &[1, 3, 6], &[2], &[4, 5]),
            ("reordered", &[1, 3, 2, 4, 5], &[], &[]),
            ("a gap of four", &[1, 6], &[2, 3], &[4, 5]),
            ("across a wrap", &[65_534, 65_540, 65_536], &[65_535, 1], &[2, 3]),
            ("two wraps up", &[131_071, 131_076], &[0, 1], &[2, 3]),
            ("before the first", &[10, 4, 11], &[], &[]),
        ] {
            let mut generator = after(seqs.iter().copied(), now);
            assert_eq!(generator.poll(now, RTT).as_slice(), at_once, "{name}");
            assert_eq!(generator.poll(now + ms(10), RTT).as_slice(), after_delay, "{name}");
            assert_eq!(generator.poll(now + ms(50), RTT).as_slice(), [0u16; 0], "{name}");
            assert!(!generator.needs_keyframe());
        }
    }

    #[test]
    fn retries_are_a_round_trip_apart_and_bounded() {
        let start = Instant::now();
        let mut generator = after([1, 3], start);
        let mut requests = Vec::new();
        while let Some(due) = generator.poll_timeout() {
            if !generator.poll(due, RTT).is_empty() {
                requests.push((due - start).as_millis());
            }
            assert!(requests.len() <= 10);
        }
        assert_eq!(requests, [10, 120, 230, 340, 450, 560, 670, 780, 890, 1_000]);
        assert!(generator.needs_keyframe());
        generator.on_keyframe(ExtendedSeq(9));
        assert!(!generator.needs_keyframe());
    }

    #[test]
    fn nothing_is_asked_for_that_would_come_too_late() {
        let start = Instant::now();
        for (limits, rtt, expected) in [
            (NackLimits::AUDIO, ms(600), 0),
            (NackLimits::AUDIO, ms(300), 1),
            (NackLimits::AUDIO, ms(50), 3),
            (NackLimits::VIDEO, ms(1_000), 2),
        ] {
            let mut generator = NackGenerator::new(limits);
            generator.on_packet(start, ExtendedSeq(1));
            generator.on_packet(start, ExtendedSeq(3));
            let mut requests = 0;
            while let Some(due) = generator.poll_timeout() {
                requests += generator.poll(due, rtt).len();
            }
            assert_eq!(requests, expected, "{rtt:?}");
        }
    }

    #[test]
    fn an_answer_ends_it() {
        let now = Instant::now();
        let mut generator = after([1, 3, 4, 5], now);
        assert_eq!(generator.poll(now, RTT).as_slice(), [2]);
        generator.on_packet(now + ms(90), ExtendedSeq(2));
        assert!(generator.poll(now + ms(500), RTT).is_empty());
        assert_eq!(generator.poll_timeout(), None);
        assert!(!generator.needs_keyframe());
    }

    #[test]
    fn a_hopeless_gap_wants_a_keyframe() {
        let now = Instant::now();
        let mut generator = after([1, 600], now);
        assert!(generator.needs_keyframe());
        assert!(generator.poll(now + ms(20), RTT).is_empty());

        let mut generator = after([1, 402, 700], now);
        assert!(generator.needs_keyframe());
        assert_eq!(generator.missing.len(), 500);
        let mut asked = Vec::new();
        loop {
            let batch = generator.poll(now + ms(20), RTT);
            if batch.is_empty() {
                break;
            }
            asked.extend(batch);
        }
        assert_eq!(asked.len(), 500);
        assert!(asked.is_sorted());
    }

    #[test]
    fn a_keyframe_makes_older_gaps_moot() {
        let now = Instant::now();
        let mut generator = after([1, 5, 10], now);
        generator.on_keyframe(ExtendedSeq(8));
        assert_eq!(generator.poll(now + ms(20), RTT).as_slice(), [8, 9]);
    }
}

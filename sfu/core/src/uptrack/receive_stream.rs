//! Reception of one RTP stream: extended sequence numbers, duplicates, and what receiver reports
//! tell of it (RFC 3550, sections 6.4.1 and A.1, A.3, A.8).

use std::time::{Duration, Instant};

use crate::packet::rtcp::ReportBlock;
use crate::units::{ExtendedSeq, Ssrc};

/// A jump ahead by more is a restart until proven otherwise (RFC 3550, A.1).
const MAX_DROPOUT: i16 = 3_000;
/// Packets that far behind the highest are still told from duplicates: some 7 s of 2.5 Mbit/s.
const WINDOW: u64 = 2_048;
/// Transit times that differ by more say nothing of jitter: the sender's clock was set, or slept.
const MAX_TRANSIT_STEP: Duration = Duration::from_secs(5);
/// Numbers begin one wrap up, so that packets from before the first still have one.
const FIRST_WRAP: u64 = 1 << 16;

#[derive(Clone, Debug)]
pub struct ReceiveStream {
    ssrc: Ssrc,
    clock_rate: u32,
    state: Option<State>,
    last_sr: Option<(u32, Instant)>,
}

#[derive(Clone, Debug)]
struct State {
    highest: ExtendedSeq,
    /// Where counting began: the first packet, or the first after a restart.
    base: ExtendedSeq,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Of the packet after one that jumped: if it comes, the stream has restarted.
    restart_at: Option<u16>,
    seen: SeenWindow,
    jitter: Jitter,
}

impl ReceiveStream {
    /// `clock_rate` in Hz.
    pub fn new(ssrc: Ssrc, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate,
            state: None,
            last_sr: None,
        }
    }

    /// A packet of the stream itself, padding-only ones included. `None`: a duplicate, too old,
    /// or a jump that the next packet has to confirm.
    ///
    /// After a restart numbers go on in the next wrap, above all that were given out before.
    pub fn on_packet(&mut self, now: Instant, seq: u16, timestamp: u32) -> Option<ExtendedSeq> {
        let Some(state) = &mut self.state else {
            let first = ExtendedSeq(FIRST_WRAP + u64::from(seq));
            let jitter = Jitter::new(now, timestamp, self.clock_rate);
            self.state = Some(State::new(first, jitter));
            return Some(first);
        };
        let step = seq.wrapping_sub(state.highest.truncate()) as i16;
        if !(-(WINDOW as i16)..=MAX_DROPOUT).contains(&step) {
            if state.restart_at.replace(seq.wrapping_add(1)) != Some(seq) {
                return None;
            }
            let next_wrap = (state.highest.0 | 0xffff) + 1;
            let first = ExtendedSeq(next_wrap + u64::from(seq));
            *state = State::new(first, Jitter::new(now, timestamp, self.clock_rate));
            return Some(first);
        }
        state.restart_at = None;
        let extended = state.highest.nearest(seq);
        if !state.seen.insert(state.highest, extended) {
            return None;
        }
        state.received += 1;
        if extended > state.highest {
            state.highest = extended;
            state.jitter.on_packet(now, timestamp);
        }
        Some(extended)
    }

    /// A packet of this stream that came by retransmission (RFC 4588). It counts as lost still, so
    /// that reports tell the sender what the network does. `None` as in [`Self::on_packet`]; also
    /// before the stream's first packet.
    pub fn on_recovered(&mut self, seq: u16) -> Option<ExtendedSeq> {
        let state = self.state.as_mut()?;
        let step = seq.wrapping_sub(state.highest.truncate()) as i16;
        if !(-(WINDOW as i16)..=MAX_DROPOUT).contains(&step) {
            return None;
        }
        let extended = state.highest.nearest(seq);
        if !state.seen.insert(state.highest, extended) {
            return None;
        }
        state.highest = state.highest.max(extended);
        Some(extended)
    }

    /// `ntp` is the time of the stream's sender report. False: it is not taken, for the last one came less
    /// than `interval` ago.
    pub fn on_sender_report(&mut self, now: Instant, ntp: u64, interval: Duration) -> bool {
        let is_early = |(_, at): (u32, Instant)| now.saturating_duration_since(at) < interval;
        if self.last_sr.is_some_and(is_early) {
            return false;
        }
        self.last_sr = Some(((ntp >> 16) as u32, now));
        true
    }

    pub fn highest(&self) -> Option<ExtendedSeq> {
        self.state.as_ref().map(|state| state.highest)
    }

    /// Packets that were expected since counting began, and how many of them came by themselves.
    pub fn counts(&self) -> (u64, u64) {
        let counts = |state: &State| (state.highest.0 - state.base.0 + 1, state.received);
        self.state.as_ref().map_or((0, 0), counts)
    }

    /// The block for the next report; "since the last report" means since the last call. `None`
    /// before the first packet.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let state = self.state.as_mut()?;
        let expected = state.highest.0 - state.base.0 + 1;
        let lost = expected as i64 - state.received as i64;
        let (last_sr, delay_since_last_sr) = match self.last_sr {
            Some((ntp, at)) => (ntp, in_clock_units(now.saturating_duration_since(at), 1 << 16)),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: state.fraction_lost(expected),
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: (state.highest.0 - FIRST_WRAP) as u32,
            jitter: state.jitter.value(),
            last_sr,
            delay_since_last_sr,
        })
    }
}

impl State {
    fn new(first: ExtendedSeq, jitter: Jitter) -> Self {
        Self {
            highest: first,
            base: first,
            received: 1,
            expected_prior: 0,
            received_prior: 0,
            restart_at: None,
            seen: SeenWindow::new(first),
            jitter,
        }
    }

    /// RFC 3550, A.3.
    fn fraction_lost(&mut self, expected: u64) -> u8 {
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received - self.received_prior;
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost = expected_interval.saturating_sub(received_interval);
        match expected_interval {
            0 => 0,
            _ => ((lost << 8) / expected_interval).min(255) as u8,
        }
    }
}

/// Which of the last [`WINDOW`] numbers came.
#[derive(Clone, Debug)]
struct SeenWindow([u64; (WINDOW / 64) as usize]);

impl SeenWindow {
    fn new(first: ExtendedSeq) -> Self {
        let mut window = Self([0; _]);
        window.set(first.0);
        window
    }

    fn set(&mut self, number: u64) {
        self.0[(number % WINDOW / 64) as usize] |= 1 << (number % 64);
    }

    fn clear(&mut self, number: u64) {
        self.0[(number % WINDOW / 64) as usize] &= !(1 << (number % 64));
    }

    fn contains(&self, number: u64) -> bool {
        self.0[(number % WINDOW / 64) as usize] & 1 << (number % 64) != 0
    }

    /// False where `seq` was seen before or lies behind the window that ends at `highest`.
    fn insert(&mut self, highest: ExtendedSeq, seq: ExtendedSeq) -> bool {
        if seq > highest {
            let fresh = highest.0 + 1..seq.0;
            if seq.0 - highest.0 >= WINDOW {
                self.0.fill(0);
            } else {
                fresh.for_each(|number| self.clear(number));
            }
        } else if highest.0 - seq.0 >= WINDOW || self.contains(seq.0) {
            return false;
        }
        self.set(seq.0);
        true
    }
}

/// Interarrival jitter (RFC 3550, A.8). Packets of one video frame share a timestamp, so only the
/// first packet of each timestamp counts: the others would measure the sender's pacing.
#[derive(Clone, Debug)]
struct Jitter {
    clock_rate: u32,
    epoch: Instant,
    last_timestamp: u32,
    last_transit: u32,
    /// In 1/16 clock units.
    scaled: u32,
}

impl Jitter {
    fn new(now: Instant, timestamp: u32, clock_rate: u32) -> Self {
        Self {
            clock_rate,
            epoch: now,
            last_timestamp: timestamp,
            last_transit: 0u32.wrapping_sub(timestamp),
            scaled: 0,
        }
    }

    fn on_packet(&mut self, now: Instant, timestamp: u32) {
        if timestamp == self.last_timestamp {
            return;
        }
        let arrival = in_clock_units(now.saturating_duration_since(self.epoch), self.clock_rate);
        let transit = arrival.wrapping_sub(timestamp);
        let step = (transit.wrapping_sub(self.last_transit) as i32).unsigned_abs();
        self.last_timestamp = timestamp;
        self.last_transit = transit;
        if step < in_clock_units(MAX_TRANSIT_STEP, self.clock_rate) {
            self.scaled = self.scaled + step - ((self.scaled + 8) >> 4);
        }
    }

    fn value(&self) -> u32 {
        self.scaled >> 4
    }
}

/// Wraps as RTP timestamps do.
fn in_clock_units(duration: Duration, rate: u32) -> u32 {
    (duration.as_nanos() * u128::from(rate) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_millis(20);

    fn stream() -> ReceiveStream {
        ReceiveStream::new(Ssrc(5), 48_000)
    }

    #[test]
    fn numbers_extend_and_duplicates_are_told() {
        let now = Instant::now();
        for (name, seqs) in [
            (
                "wrap",
                &[(65_534u16, Some(65_534)), (65_535, Some(65_535)), (0, Some(65_536))][..],
            ),
            ("duplicate", &[(7, Some(7)), (7, None), (8, Some(8)), (7, None)]),
            (
                "reordered",
                &[(7, Some(7)), (10, Some(10)), (8, Some(8)), (8, None), (9, Some(9))],
            ),
            ("before the first", &[(7, Some(7)), (5, Some(5)), (65_535, Some(-1))]),
            ("gap", &[(7, Some(7)), (3_007, Some(3_007)), (3_006, Some(3_006))]),
            (
                "behind the window",
                &[(5_000, Some(5_000)), (2_953, Some(2_953)), (2_951, None), (2_952, None)],
            ),
            (
                "one stray",
                &[(7, Some(7)), (40_000, None), (8, Some(8)), (40_001, None), (9, Some(9))],
            ),
            (
                "restart ahead",
                &[
                    (7, Some(7)),
                    (20_000, None),
                    (20_001, Some(65_536 + 20_001)),
                    (20_002, Some(65_536 + 20_002)),
                ],
            ),
            (
                "restart behind",
                &[(30_000, Some(30_000)), (5, None), (6, Some(65_536 + 6)), (30_001, None)],
            ),
        ] {
            let mut stream = stream();
            for (index, &(seq, expected)) in seqs.iter().enumerate() {
                let expected = expected.map(|number: i64| ExtendedSeq(FIRST_WRAP.wrapping_add_signed(number)));
                assert_eq!(stream.on_packet(now, seq, 0), expected, "{name} {index}");
            }
        }
    }

    #[test]
    fn a_long_run_is_never_taken_for_duplicates() {
        let now = Instant::now();
        let mut stream = stream();
        // Every third is lost, every tenth comes twice.
        for number in (0..200_000u32).filter(|number| number % 3 != 0) {
            assert!(stream.on_packet(now, number as u16, number).is_some(), "{number}");
            assert!(number % 10 != 0 || stream.on_packet(now, number as u16, number).is_none());
        }
    }

    #[test]
    fn loss_per_interval_and_in_all() {
        let now = Instant::now();
        let mut stream = stream();
        assert_eq!(stream.report_block(now), None);
        // (numbers that come, fraction lost in 1/256, cumulative, highest)
        for (seqs, fraction, lost, highest) in [
            (65_530..65_534u32, 0, 0, 65_533u32),
            (65_536..65_540, 85, 2, 65_539),
            (65_540..65_540, 0, 2, 65_539),
            (65_550..65_551, 232, 12, 65_550),
        ] {
            for seq in seqs {
                stream.on_packet(now, seq as u16, 0);
            }
            let block = stream.report_block(now).unwrap();
            assert_eq!(
                (block.fraction_lost, block.cumulative_lost, block.highest_seq),
                (fraction, lost, highest)
            );
        }
        // Late ones come: less is lost in all, and nothing in this interval.
        for seq in 4..14u16 {
            stream.on_packet(now, seq, 0);
        }
        let block = stream.report_block(now).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 2));
    }

    #[test]
    fn recovered_packets_count_as_lost() {
        let now = Instant::now();
        let mut stream = stream();
        assert_eq!(stream.on_recovered(2), None);
        stream.on_packet(now, 1, 0);
        stream.on_packet(now, 3, 0);
        assert_eq!(stream.on_recovered(2), Some(ExtendedSeq(FIRST_WRAP + 2)));
        assert_eq!(stream.on_recovered(2), None);
        assert_eq!(stream.on_packet(now, 2, 0), None);
        assert_eq!(stream.on_recovered(30_000), None);
        assert_eq!(stream.report_block(now).unwrap().cumulative_lost, 1);
    }

    #[test]
    fn a_restart_counts_anew() {
        let now = Instant::now();
        let mut stream = stream();
        stream.on_packet(now, 1, 0);
        stream.on_packet(now, 30_000, 0);
        stream.on_packet(now, 30_001, 0);
        let block = stream.report_block(now).unwrap();
        assert_eq!((block.cumulative_lost, block.highest_seq), (0, 65_536 + 30_001));
    }

    #[test]
    fn jitter_is_zero_on_time_and_grows_with_delay() {
        let start = Instant::now();
        let mut stream = stream();
        let mut now = start;
        for index in 0..100u16 {
            stream.on_packet(now, index, u32::from(index) * 960);
            now += AT;
        }
        assert_eq!(stream.report_block(now).unwrap().jitter, 0);
        // Every second packet is 10 ms late: the mean step is 480.
        for index in 100..400u16 {
            let late = Duration::from_millis(u64::from(index % 2) * 10);
            stream.on_packet(now + late, index, u32::from(index) * 960);
            now += AT;
        }
        let jitter = stream.report_block(now).unwrap().jitter;
        assert!((470..=480).contains(&jitter), "{jitter}");
        // A frame's further packets and a clock that jumped by an hour change nothing.
        stream.on_packet(now + AT * 20, 400, 399 * 960);
        stream.on_packet(now, 401, 399 * 960 + 3_600 * 48_000);
        assert_eq!(stream.report_block(now).unwrap().jitter, jitter);
    }

    #[test]
    fn sender_report_times_come_back() {
        let now = Instant::now();
        let mut stream = stream();
        stream.on_packet(now, 1, 0);
        assert!(stream.on_sender_report(now, 0x1122_3344_5566_7788, AT));
        assert!(!stream.on_sender_report(now + AT / 2, 0x2222_3344_5566_7788, AT));
        let block = stream.report_block(now + Duration::from_millis(1_500)).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x3344_5566, 98_304));
    }
}

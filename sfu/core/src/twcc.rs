//! Transport-wide congestion control feedback to publishers
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01): when which packet came.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::packet::rtcp::transport_feedback::{DELTA_UNIT_US, REFERENCE_UNIT_US, symbol};
use crate::packet::rtcp::write::{TransportFeedbackHead, transport_feedback};
use crate::units::{ExtendedSeq, Ssrc};

/// The draft's and libwebrtc's default: 100 ms, well below the time a queue takes to build up and
/// about 6 kbit/s with all headers.
const INTERVAL: Duration = Duration::from_millis(100);
/// Packets whose arrival is remembered: over a second of 10 Mbit/s. With so many waiting half of
/// it, feedback goes out before its time.
const HISTORY: usize = 1_024;
const EARLY: u64 = HISTORY as u64 / 2;
/// Packets that look older than the history, one after the other, before the sender is taken to
/// have started anew.
const RESTART_AFTER: u8 = 8;
/// One feedback packet, so that it fits any path with SRTCP, UDP and IP around it.
const MAX_PACKET: usize = 1_100;
const FIXED_LEN: usize = 20;
const TICKS_PER_REFERENCE: i64 = REFERENCE_UNIT_US / DELTA_UNIT_US;
/// Times start away from zero, so that no reference time is negative.
const FIRST_TICK: i64 = TICKS_PER_REFERENCE;
const ONE_BIT_SYMBOLS: usize = 14;
const TWO_BIT_SYMBOLS: usize = 7;
const MAX_RUN: usize = 0x1fff;

#[derive(Clone, Debug, Default)]
pub struct FeedbackGenerator {
    feedback_count: u8,
    stream: Option<Stream>,
}

#[derive(Clone, Debug)]
struct Stream {
    epoch: Instant,
    /// Arrivals by the low bits of the sequence number, in [`DELTA_UNIT_US`].
    arrivals: Vec<Option<Arrival>>,
    highest: ExtendedSeq,
    /// The first number that the next feedback tells of, where there is something to tell.
    next: ExtendedSeq,
    has_news: bool,
    due: Instant,
    old_in_a_row: u8,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    seq: ExtendedSeq,
    tick: i64,
}

impl FeedbackGenerator {
    pub fn new() -> Self {
        Self::default()
    }

    /// A packet with transport-wide sequence number `seq` came; of duplicates the first counts.
    pub fn on_packet(&mut self, now: Instant, seq: u16) {
        match &mut self.stream {
            Some(stream) => stream.on_packet(now, seq),
            None => self.stream = Some(Stream::new(now, seq)),
        }
    }

    /// When [`Self::poll`] has feedback; `None` while no packets come.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stream = self.stream.as_ref().filter(|stream| stream.has_news)?;
        Some(stream.due)
    }

    /// Writes a feedback packet at the start of `buffer` if it is time; returns its length. Poll
    /// again until it is `None`: what does not fit one packet comes in the next.
    pub fn poll(&mut self, now: Instant, buffer: &mut [u8], sender: Ssrc, media: Ssrc) -> Option<usize> {
        let stream = self
            .stream
            .as_mut()
            .filter(|stream| stream.has_news && stream.due <= now)?;
        let report = stream.collect(buffer.len().min(MAX_PACKET))?;
        let head = TransportFeedbackHead {
            sender,
            media,
            base_seq: report.base.truncate(),
            packet_count: report.symbols.len() as u16,
            reference_time: report.reference_time as i32,
            feedback_count: self.feedback_count,
        };
        let len = transport_feedback(&head, &chunks(&report.symbols), &report.deltas, buffer)?;
        self.feedback_count = self.feedback_count.wrapping_add(1);
        stream.next = ExtendedSeq(report.base.0 + report.symbols.len() as u64);
        stream.has_news = stream.next <= stream.highest;
        if !stream.has_news {
            stream.due = now + INTERVAL;
        }
        Some(len)
    }
}

/// One feedback packet's content.
struct Report {
    base: ExtendedSeq,
    /// In units of 64 ms.
    reference_time: i64,
    symbols: ArrayVec<u8, HISTORY>,
    deltas: ArrayVec<u8, MAX_PACKET>,
}

impl Stream {
    fn new(now: Instant, seq: u16) -> Self {
        // One wrap up, so that packets from before the first have numbers.
        let first = ExtendedSeq((1 << 16) + u64::from(seq));
        let mut stream = Self {
            epoch: now,
            arrivals: vec![None; HISTORY],
            highest: first,
            next: first,
            has_news: true,
            due: now + INTERVAL,
            old_in_a_row: 0,
        };
        stream.store(now, first);
        stream
    }

    fn on_packet(&mut self, now: Instant, seq: u16) {
        let seq = self.highest.nearest(seq);
        if seq.0 + HISTORY as u64 <= self.highest.0 {
            self.old_in_a_row += 1;
            if self.old_in_a_row == RESTART_AFTER {
                *self = Self::new(now, seq.truncate());
            }
            return;
        }
        self.old_in_a_row = 0;
        if self.arrival(seq).is_some() {
            return;
        }
        self.store(now, seq);
        self.highest = self.highest.max(seq);
        if !self.has_news || seq < self.next {
            // A late packet is told of together with those behind it once more.
            self.next = self.next.min(seq);
        }
        self.has_news = true;
        let oldest = ExtendedSeq(self.highest.0 + 1 - HISTORY as u64);
        self.next = self.next.max(oldest);
        if self.highest.0 - self.next.0 >= EARLY {
            self.due = self.due.min(now);
        }
    }

    fn store(&mut self, now: Instant, seq: ExtendedSeq) {
        let elapsed = now.saturating_duration_since(self.epoch).as_micros() as i64;
        self.arrivals[seq.0 as usize % HISTORY] = Some(Arrival {
            seq,
            tick: FIRST_TICK + elapsed / DELTA_UNIT_US,
        });
    }

    fn arrival(&self, seq: ExtendedSeq) -> Option<i64> {
        self.arrivals[seq.0 as usize % HISTORY]
            .filter(|arrival| arrival.seq == seq)
            .map(|arrival| arrival.tick)
    }

    /// What fits into `room` bytes, from `next` on. `None` where that is nothing.
    fn collect(&self, room: usize) -> Option<Report> {
        let numbers = self.next.0..=self.highest.0;
        let first = numbers.clone().find_map(|number| self.arrival(ExtendedSeq(number)))?;
        let reference_time = first / TICKS_PER_REFERENCE;
        let mut report = Report {
            base: self.next,
            reference_time,
            symbols: ArrayVec::new(),
            deltas: ArrayVec::new(),
        };
        let mut last = reference_time * TICKS_PER_REFERENCE;
        for number in numbers {
            let arrival = self.arrival(ExtendedSeq(number));
            let (symbol, delta) = match arrival.map(|tick| tick - last) {
                None => (symbol::LOST, 0),
                Some(delta @ 0..=255) => (symbol::SMALL_DELTA, delta as i16),
                Some(delta) => match i16::try_from(delta) {
                    Ok(delta) => (symbol::LARGE_DELTA, delta),
                    // More than 8 s: the next feedback begins with a time of its own.
                    Err(_) => break,
                },
            };
            // Every chunk but the last tells of seven packets at least.
            let chunk_bytes = 2 * (report.symbols.len() + 1).div_ceil(TWO_BIT_SYMBOLS);
            let len = FIXED_LEN + chunk_bytes + report.deltas.len() + usize::from(symbol);
            if len.next_multiple_of(4) > room || report.symbols.is_full() {
                break;
            }
            let bytes = delta.to_be_bytes();
            // A symbol's value is the number of its delta's bytes.
            report.deltas.extend(bytes[2 - usize::from(symbol)..].iter().copied());
            report.symbols.push(symbol);
            last = arrival.unwrap_or(last);
        }
        (!report.symbols.is_empty()).then_some(report)
    }
}

type Chunks = ArrayVec<u16, { HISTORY.div_ceil(TWO_BIT_SYMBOLS) }>;

/// Packs status symbols: a run where it saves something, else a vector of as many as possible.
fn chunks(symbols: &[u8]) -> Chunks {
    let mut chunks = Chunks::new();
    let mut rest = symbols;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take_while(|&&symbol| symbol == first).take(MAX_RUN).count();
        let one_bit = rest
            .iter()
            .take(ONE_BIT_SYMBOLS)
            .all(|&symbol| symbol <= symbol::SMALL_DELTA);
        let per_vector = if one_bit { ONE_BIT_SYMBOLS } else { TWO_BIT_SYMBOLS };
        let (chunk, told) = if run >= per_vector.min(rest.len()) {
            (u16::from(first) << 13 | run as u16, run)
        } else if one_bit {
            (0x8000 | vector(rest, ONE_BIT_SYMBOLS, 1), ONE_BIT_SYMBOLS)
        } else {
            (0xc000 | vector(rest, TWO_BIT_SYMBOLS, 2), TWO_BIT_SYMBOLS)
        };
        chunks.push(chunk);
        rest = &rest[told.min(rest.len())..];
    }
    chunks
}

/// `count` symbols of `bits` each in the low 14 bits; missing ones are 0.
fn vector(symbols: &[u8], count: usize, bits: usize) -> u16 {
    let symbols = symbols.iter().copied().chain(std::iter::repeat(symbol::LOST));
    symbols
        .take(count)
        .fold(0, |vector, symbol| vector << bits | u16::from(symbol))
}

#[cfg(test)]
mod tests;

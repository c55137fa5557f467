//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use crate::packet::bytes::{u16_at, u24_at, u32_at};
use crate::units::Ssrc;

/// Unit of the reference time.
pub const REFERENCE_UNIT_US: i64 = 64_000;
/// Unit of receive deltas.
pub const DELTA_UNIT_US: i64 = 250;

/// Two-bit packet status symbols (section 3.1.1).
pub(crate) mod symbol {
    pub const LOST: u8 = 0;
    pub const SMALL_DELTA: u8 = 1;
    pub const LARGE_DELTA: u8 = 2;
}

/// A feedback message whose chunks and deltas are known to be complete.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    pub sender: Ssrc,
    pub media: Ssrc,
    /// The first transport-wide sequence number told of.
    pub base_seq: u16,
    /// How many sequence numbers from `base_seq` on it tells of.
    pub packet_count: u16,
    /// Signed 24 bits in units of 64 ms; its zero is the receiver's choice.
    pub reference_time: i32,
    /// Counts feedback packets, to tell lost ones.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let packet_count = u16_at(body, 10)?;
        let payload = body.get(16..)?;
        let mut told = 0;
        let mut delta_bytes = 0;
        let mut chunks = 0;
        while told < usize::from(packet_count) {
            let chunk = Chunk(u16_at(payload, 2 * chunks)?);
            let statuses = chunk.len().min(usize::from(packet_count) - told);
            delta_bytes += chunk.delta_bytes(statuses)?;
            told += statuses;
            // A run of no packets would let a message of nothing but them go on.
            if statuses == 0 {
                return None;
            }
            chunks += 1;
        }
        let (chunks, deltas) = payload.split_at_checked(2 * chunks)?;
        Some(Self {
            sender: Ssrc(u32_at(body, 0)?),
            media: Ssrc(u32_at(body, 4)?),
            base_seq: u16_at(body, 8)?,
            packet_count,
            reference_time: (u24_at(body, 12)? << 8) as i32 >> 8,
            feedback_count: *body.get(15)?,
            chunks,
            deltas: deltas.get(..delta_bytes)?,
        })
    }

    /// The packets that arrived, by sequence number. The others of `packet_count` are lost so far;
    /// as they are not visited, this takes time by the message's bytes, not by what it claims.
    pub fn received(&self) -> Received<'a> {
        Received {
            chunks: self.chunks,
            deltas: self.deltas,
            left: self.packet_count,
            chunk: Chunk(0),
            index: 0,
            in_chunk: 0,
            seq: self.base_seq,
            arrival_us: i64::from(self.reference_time) * REFERENCE_UNIT_US,
        }
    }
}

/// A packet's arrival in µs of the clock of [`TransportFeedback::reference_time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub seq: u16,
    pub arrival_us: i64,
}

/// Iterates [`TransportFeedback::received`].
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    /// Statuses behind the current chunk.
    left: u16,
    chunk: Chunk,
    index: usize,
    in_chunk: usize,
    seq: u16,
    arrival_us: i64,
}

impl Received<'_> {
    fn next_chunk(&mut self) -> Option<()> {
        if self.left == 0 {
            return None;
        }
        self.chunk = Chunk(u16_at(self.chunks, 0)?);
        self.chunks = &self.chunks[2..];
        self.index = 0;
        self.in_chunk = self.chunk.len().min(self.left.into());
        self.left -= self.in_chunk as u16;
        Some(())
    }

    fn take_delta(&mut self, symbol: u8) -> Option<i64> {
        if symbol == symbol::SMALL_DELTA {
            let (&delta, rest) = self.deltas.split_first()?;
            self.deltas = rest;
            return Some(delta.into());
        }
        let delta = u16_at(self.deltas, 0)? as i16;
        self.deltas = &self.deltas[2..];
        Some(delta.into())
    }
}

impl Iterator for Received<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            if self.index == self.in_chunk {
                self.next_chunk()?;
            }
            if self.chunk.is_run_of_lost() {
                self.seq = self.seq.wrapping_add(self.in_chunk as u16);
                self.index = self.in_chunk;
                continue;
            }
            let symbol = self.chunk.symbol(self.index);
            let seq = self.seq;
            self.index += 1;
            self.seq = seq.wrapping_add(1);
            if symbol == symbol::LOST {
                continue;
            }
            self.arrival_us += self.take_delta(symbol)? * DELTA_UNIT_US;
            return Some(Arrival {
                seq,
                arrival_us: self.arrival_us,
            });
        }
    }
}

/// A packet status chunk: a run length (section 3.1.3) or a status vector (3.1.4).
#[derive(Clone, Copy, Debug)]
struct Chunk(u16);

impl Chunk {
    fn is_run(self) -> bool {
        self.0 & 0x8000 == 0
    }

    fn is_run_of_lost(self) -> bool {
        self.0 & 0xe000 == 0
    }

    fn has_two_bit_symbols(self) -> bool {
        self.0 & 0x4000 != 0
    }

    fn len(self) -> usize {
        match (self.is_run(), self.has_two_bit_symbols()) {
            (true, _) => usize::from(self.0 & 0x1fff),
            (false, false) => 14,
            (false, true) => 7,
        }
    }

    fn symbol(self, index: usize) -> u8 {
        match (self.is_run(), self.has_two_bit_symbols()) {
            (true, _) => (self.0 >> 13 & 3) as u8,
            (false, false) => (self.0 >> (13 - index) & 1) as u8,
            (false, true) => (self.0 >> (12 - 2 * index) & 3) as u8,
        }
    }

    /// Bytes of deltas that the first `statuses` symbols ask for; `None` for the reserved symbol.
    fn delta_bytes(self, statuses: usize) -> Option<usize> {
        let bytes = |symbol| (symbol <= symbol::LARGE_DELTA).then_some(usize::from(symbol));
        if self.is_run() {
            return Some(bytes(self.symbol(0))? * statuses);
        }
        (0..statuses).map(|index| bytes(self.symbol(index))).sum()
    }
}

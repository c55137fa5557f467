//! What a downtrack has sent lately: enough to send the same packet again, in four bytes a packet, for as
//! long as the track's ring has the packet, and no more packets than that takes.

use std::time::{Duration, Instant};

use crate::units::ExtendedSeq;
use crate::uptrack::retransmission_ring::RingLimits;

use super::layers::LayerStretch;
use super::vp8_continuity::Vp8Stretch;

/// A packet is not sent again within this time: the second NACK crossed the first answer.
pub const RESEND_INTERVAL: Duration = Duration::from_millis(25);
/// In which the time of a retransmission is kept; it wraps after [`TICKS`] of them, 1.3 s.
const TICK: Duration = Duration::from_millis(5);
const TICKS: u16 = 255;

/// Of a slot that has just begun, or shows little: 30 packets a second for two seconds.
const MIN_CAPACITY: usize = 64;

/// Stretches that are remembered: changes of layer or source within the time that packets are.
const STRETCHES: usize = 8;

/// A part of the outgoing stream that came from one layer of one source, all moved alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    pub layer: u8,
    /// Which source the slot had; packets of an earlier one are no longer at hand.
    pub generation: u8,
    /// What was added to the source's RTP timestamps, picture ids and TL0PICIDX, and frame numbers.
    pub timestamp_offset: u32,
    pub vp8: Vp8Stretch,
    pub frame_offset: u16,
    pub layers: LayerStretch,
}

/// A packet that was sent and can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub out: ExtendedSeq,
    pub source: ExtendedSeq,
    pub stretch: Stretch,
    /// It was sent again before.
    pub is_repeated: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Low bits of the source's number.
    source: u16,
    /// Number of the stretch; 0: nothing was sent under this number.
    stretch: u8,
    /// In [`TICK`]s from `resends_since` on, 1 to 255; 0: not sent again yet.
    resent: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Numbered {
    number: u8,
    /// Outgoing and source number of its first packet; they drift apart by the packets left out.
    out: ExtendedSeq,
    source: ExtendedSeq,
    stretch: Stretch,
}

/// A ring by outgoing sequence number; allocated with the first packet, and doubled when its packets are
/// overwritten while the track's ring, which has `limits`, may still keep them.
#[derive(Debug)]
pub struct History {
    entries: Box<[Entry]>,
    limits: RingLimits,
    /// The first packet of this lap of the ring and when it went out.
    lap: Option<(ExtendedSeq, Instant)>,
    highest: ExtendedSeq,
    /// Of the stretch that packets now belong to; 0: the next packet begins one.
    current: u8,
    last_number: u8,
    /// By number.
    stretches: Box<[Numbered]>,
    resends_since: Option<Instant>,
}

impl History {
    pub fn new(limits: RingLimits) -> Self {
        Self {
            entries: Box::default(),
            limits,
            lap: None,
            highest: ExtendedSeq(0),
            current: 0,
            last_number: 0,
            stretches: Box::default(),
            resends_since: None,
        }
    }

    /// What follows comes from another layer or source.
    pub fn end_stretch(&mut self) {
        self.current = 0;
    }

    /// The packet `source` goes out as `out` at `now`; `stretch` tells of the stretch that it may begin.
    pub fn insert(&mut self, now: Instant, out: ExtendedSeq, source: ExtendedSeq, stretch: impl FnOnce() -> Stretch) {
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); self.limits.packets.min(MIN_CAPACITY)].into();
            self.stretches = vec![Numbered::default(); STRETCHES].into();
            self.highest = out;
        }
        if self.current == 0 {
            self.begin(out, source, stretch());
        }
        self.begin_lap(now, out);
        self.advance(out);
        if self.highest.0 - out.0 < self.entries.len() as u64 {
            let index = self.index(out);
            self.entries[index] = Entry {
                source: source.truncate(),
                stretch: self.current,
                resent: 0,
            };
        }
    }

    fn begin(&mut self, out: ExtendedSeq, source: ExtendedSeq, stretch: Stretch) {
        // 0 is no stretch's number.
        self.last_number = self.last_number.checked_add(1).unwrap_or(1);
        self.current = self.last_number;
        self.stretches[usize::from(self.current) % STRETCHES] = Numbered {
            number: self.current,
            out,
            source,
            stretch,
        };
    }

    /// Makes room where the ring has gone round too soon.
    fn begin_lap(&mut self, now: Instant, out: ExtendedSeq) {
        let capacity = self.entries.len();
        let (first, began) = *self.lap.get_or_insert((out, now));
        if out.0 < first.0 + capacity as u64 {
            return;
        }
        if capacity == self.limits.packets || now.saturating_duration_since(began) >= self.limits.age {
            self.lap = Some((out, now));
        } else {
            let old = std::mem::replace(&mut self.entries, vec![Entry::default(); 2 * capacity].into());
            for kept in (self.highest.0 + 1).saturating_sub(capacity as u64)..=self.highest.0 {
                let index = self.index(ExtendedSeq(kept));
                self.entries[index] = old[kept as usize & (capacity - 1)];
            }
        }
    }

    /// Numbers up to `out` are taken or left out; their places hold packets of a lap ago.
    fn advance(&mut self, out: ExtendedSeq) {
        let ahead = out.0.saturating_sub(self.highest.0);
        if ahead >= self.entries.len() as u64 {
            self.entries.fill(Entry::default());
        } else {
            for left_out in self.highest.0 + 1..out.0 {
                let index = self.index(ExtendedSeq(left_out));
                self.entries[index] = Entry::default();
            }
        }
        self.highest = self.highest.max(out);
    }

    /// The packet that a NACK of `seq` means; `None` where it is forgotten or was resent less than `interval` ago.
    pub fn resend(&mut self, now: Instant, seq: u16, interval: Duration) -> Option<Sent> {
        let out = self.highest.nearest(seq);
        let age = self.highest.0.checked_sub(out.0)?;
        if age >= self.entries.len() as u64 {
            return None;
        }
        let index = self.index(out);
        let entry = self.entries.get_mut(index).filter(|entry| entry.stretch != 0)?;
        let found = self.stretches.get(usize::from(entry.stretch) % STRETCHES)?;
        if found.number != entry.stretch {
            return None;
        }
        let since = *self.resends_since.get_or_insert(now);
        let ticks = now.saturating_duration_since(since).as_nanos() / TICK.as_nanos();
        let tick = (ticks % u128::from(TICKS)) as u8 + 1;
        let elapsed = (u16::from(tick) + TICKS - u16::from(entry.resent)) % TICKS;
        if entry.resent != 0 && TICK * u32::from(elapsed) < interval {
            return None;
        }
        let is_repeated = entry.resent != 0;
        entry.resent = tick;
        let near = found.source.0.wrapping_add_signed(out.0 as i64 - found.out.0 as i64);
        Some(Sent {
            out,
            source: ExtendedSeq(near).nearest(entry.source),
            stretch: found.stretch,
            is_repeated,
        })
    }

    pub fn clear(&mut self) {
        self.entries = Box::default();
        self.stretches = Box::default();
        self.lap = None;
        self.end_stretch();
    }

    fn index(&self, out: ExtendedSeq) -> usize {
        out.0 as usize & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(packets: usize) -> RingLimits {
        RingLimits {
            packets,
            ..RingLimits::VIDEO
        }
    }

    fn history(capacity: usize, packets: impl IntoIterator<Item = (u64, u64)>) -> History {
        let mut history = History::new(limits(capacity));
        let now = Instant::now();
        for (out, source) in packets {
            history.insert(now, ExtendedSeq(out), ExtendedSeq(source), Stretch::default);
        }
        history
    }

    fn source(history: &mut History, now: Instant, seq: u16) -> Option<u64> {
        history.resend(now, seq, RESEND_INTERVAL).map(|sent| sent.source.0)
    }

    #[test]
    fn it_finds_what_was_sent_across_a_wrap_and_not_twice_at_once() {
        let now = Instant::now();
        let mut history = history(16, (65_530..65_542).map(|out| (out, out + 7)));
        assert_eq!(source(&mut history, now, 2), Some(65_545));
        assert_eq!(source(&mut history, now, 65_531), Some(65_538));
        assert_eq!(source(&mut history, now, 65_531), None);
        assert_eq!(source(&mut history, now + RESEND_INTERVAL, 65_531), Some(65_538));
        let later = now + RESEND_INTERVAL + Duration::from_millis(19);
        assert_eq!(source(&mut history, later, 65_531), None);
        assert_eq!(source(&mut history, now, 7), None);
        assert_eq!(source(&mut history, now, 65_500), None);
    }

    #[test]
    fn numbers_that_were_never_sent_are_not_taken_for_those_of_a_lap_ago() {
        let now = Instant::now();
        let sent = (100..116).map(|out| (out, out)).chain([(119, 119), (117, 117)]);
        let mut history = history(16, sent);
        for (seq, found) in [
            (119, true),
            (118, false),
            (117, true),
            (116, false),
            (104, true),
            (103, false),
        ] {
            assert_eq!(source(&mut history, now, seq), found.then_some(u64::from(seq)), "{seq}");
        }
        // A gap of more than the ring forgets everything before it.
        history.insert(now, ExtendedSeq(500), ExtendedSeq(500), Stretch::default);
        assert_eq!(source(&mut history, now, 119), None);
        assert_eq!(source(&mut history, now, 490), None);
        assert_eq!(source(&mut history, now, 500), Some(500));
    }

    #[test]
    fn each_packet_has_the_offsets_of_its_stretch_as_long_as_that_is_remembered() {
        let now = Instant::now();
        let mut history = History::new(limits(64));
        for layer in 0..20u8 {
            history.end_stretch();
            for packet in 0..2 {
                let out = ExtendedSeq(1_000 + 2 * u64::from(layer) + packet);
                let source = ExtendedSeq(70_000 * (20 - u64::from(layer)) + packet);
                history.insert(now, out, source, || Stretch {
                    layer,
                    timestamp_offset: u32::from(layer) * 10,
                    ..Stretch::default()
                });
            }
        }
        let sent = history.resend(now, 1_039, RESEND_INTERVAL).expect("the latest");
        assert_eq!((sent.stretch.layer, sent.source), (19, ExtendedSeq(70_001)));
        let sent = history
            .resend(now, 1_024, RESEND_INTERVAL)
            .expect("within eight stretches");
        assert_eq!((sent.stretch.layer, sent.stretch.timestamp_offset), (12, 120));
        assert_eq!(sent.source, ExtendedSeq(70_000 * 8));
        assert_eq!(history.resend(now, 1_022, RESEND_INTERVAL), None);
    }

    #[test]
    fn many_left_out_packets_are_bridged() {
        let now = Instant::now();
        let mut history = history(512, (0..400).map(|out| (5_000 + out, 100_000 + 50 * out)));
        assert_eq!(source(&mut history, now, 5_399), Some(100_000 + 50 * 399));
        assert_eq!(source(&mut history, now, 5_001), Some(100_050));
    }

    #[test]
    fn it_grows_until_packets_are_kept_for_long_enough() {
        for (per_second, kept) in [(30, 64), (100, 256), (300, 512), (3_000, 512)] {
            let start = Instant::now();
            let mut history = History::new(limits(512));
            for packet in 0..10_000u64 {
                let now = start + Duration::from_secs(packet) / per_second;
                history.insert(now, ExtendedSeq(packet), ExtendedSeq(packet), Stretch::default);
                // Nothing is lost where the ring grows.
                if let Some(old) = packet.checked_sub(60) {
                    assert_eq!(source(&mut history, now, old as u16), Some(old));
                }
            }
            let now = start + Duration::from_secs(10_000);
            assert_eq!(history.entries.len(), kept, "{per_second} packets a second");
            let oldest = 10_000 - kept as u64;
            assert_eq!(source(&mut history, now, oldest as u16), Some(oldest));
            assert_eq!(source(&mut history, now, (oldest - 1) as u16), None);
        }
    }
}

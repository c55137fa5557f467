//! From a layer's sequence numbers to the gapless ones of a downtrack.

use arrayvec::ArrayVec;

use crate::units::ExtendedSeq;

/// Offsets remembered for packets that come late.
const SPANS: usize = 8;

/// A larger gap is no loss that anyone could repair: the publisher restarted its stream, or was away.
const MAX_GAP: u64 = 1000;

/// Source numbers from `start` on are moved by `offset`.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: ExtendedSeq,
    offset: i64,
}

/// Keeps what is missing missing (so that a packet recovered late still has its place), closes the
/// gaps of packets that are left out on purpose, and joins what comes before and after a switch.
#[derive(Clone, Debug)]
pub struct SeqMap {
    spans: ArrayVec<Span, SPANS>,
    highest: ExtendedSeq,
}

impl SeqMap {
    /// Source number `first` becomes `out`; nothing before it is mapped.
    pub fn starting(first: ExtendedSeq, out: ExtendedSeq) -> Self {
        let mut spans = ArrayVec::new();
        spans.push(Span {
            start: first,
            offset: out.0 as i64 - first.0 as i64,
        });
        Self { spans, highest: first }
    }

    /// Has the source jumped so far ahead that its stream must be taken as a new one?
    pub fn is_restart(&self, seq: ExtendedSeq) -> bool {
        seq.0 > self.highest.0 + MAX_GAP
    }

    /// `None`: from before the switch, or too old to know.
    pub fn map(&mut self, seq: ExtendedSeq) -> Option<ExtendedSeq> {
        let span = self.spans.iter().rev().find(|span| span.start <= seq)?;
        let out = seq.0.checked_add_signed(span.offset)?;
        self.highest = self.highest.max(seq);
        Some(ExtendedSeq(out))
    }

    /// Ahead of all that was mapped or left out.
    pub fn is_newest(&self, seq: ExtendedSeq) -> bool {
        seq > self.highest
    }

    /// Leaves `seq` out: what follows moves up by one. One that comes late leaves its gap.
    pub fn skip(&mut self, seq: ExtendedSeq) {
        if seq <= self.highest {
            return;
        }
        self.highest = seq;
        let Some(last) = self.spans.last_mut() else {
            return;
        };
        if last.start == seq {
            // The one before was left out too.
            last.start.0 += 1;
            last.offset -= 1;
            return;
        }
        let offset = last.offset;
        if self.spans.is_full() {
            self.spans.remove(0);
        }
        self.spans.push(Span {
            start: ExtendedSeq(seq.0 + 1),
            offset: offset - 1,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_keep_their_place_and_skipped_packets_do_not() {
        let mut map = SeqMap::starting(ExtendedSeq(1000), ExtendedSeq(50));
        // (source number, is it left out, number that goes out)
        for (seq, skip, out) in [
            (1000, false, Some(50)),
            (1001, false, Some(51)),
            (1003, false, Some(53)),
            (1002, false, Some(52)),
            (999, false, None),
            (1004, true, None),
            (1005, false, Some(54)),
            (1003, false, Some(53)),
            (1006, true, None),
            (1007, true, None),
            (1008, false, Some(55)),
            (1005, false, Some(54)),
            (1002, true, None),
            (1009, false, Some(56)),
        ] {
            if skip {
                map.skip(ExtendedSeq(seq));
            } else {
                assert_eq!(map.map(ExtendedSeq(seq)), out.map(ExtendedSeq), "{seq}");
            }
        }
    }

    #[test]
    fn packets_left_out_in_a_row_are_remembered_as_one() {
        let mut map = SeqMap::starting(ExtendedSeq(0), ExtendedSeq(100));
        for bundle in 0..7 {
            map.skip(ExtendedSeq(bundle * 3 + 1));
            map.skip(ExtendedSeq(bundle * 3 + 2));
            assert_eq!(map.map(ExtendedSeq(bundle * 3 + 3)), Some(ExtendedSeq(101 + bundle)));
        }
        assert_eq!(map.map(ExtendedSeq(0)), Some(ExtendedSeq(100)));
    }

    #[test]
    fn many_skips_forget_the_oldest_only() {
        let mut map = SeqMap::starting(ExtendedSeq(0), ExtendedSeq(70_000));
        for seq in 0..100 {
            map.skip(ExtendedSeq(seq * 2 + 1));
            assert_eq!(map.map(ExtendedSeq(seq * 2 + 2)), Some(ExtendedSeq(70_001 + seq)));
        }
        assert_eq!(map.map(ExtendedSeq(2)), None);
    }
}

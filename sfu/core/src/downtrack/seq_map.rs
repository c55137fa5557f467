//! From a layer's sequence numbers to the gapless ones of a downtrack.

use arrayvec::ArrayVec;

use crate::units::ExtendedSeq;

/// Offsets remembered for packets that come late: where every picture has layers that are left out, of the last
/// 0.8 s at 30 pictures a second.
const SPANS: usize = 24;

/// A larger gap is no loss that anyone could repair: the publisher restarted its stream, or was away.
const MAX_GAP: u64 = 1000;

/// Source numbers from `start` on are moved by `offset`.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: ExtendedSeq,
    offset: i64,
}

impl Span {
    fn first_out(&self) -> u64 {
        self.start.0.wrapping_add_signed(self.offset)
    }
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
        let index = self.spans.iter().rposition(|span| span.start <= seq)?;
        let out = seq.0.checked_add_signed(self.spans[index].offset)?;
        if self.spans.get(index + 1).is_some_and(|next| next.first_out() <= out) {
            // Of a run that was left out: its number belongs to what follows.
            return None;
        }
        self.highest = self.highest.max(seq);
        Some(ExtendedSeq(out))
    }

    /// Ahead of all that was mapped or left out.
    pub fn is_newest(&self, seq: ExtendedSeq) -> bool {
        seq > self.highest
    }

    /// Leaves `seq` out: what follows moves up by one. One that comes late leaves its gap. `joined`: what is missing
    /// since the packet before, also left out, is of the same frame, so left out too.
    pub fn skip(&mut self, seq: ExtendedSeq, joined: bool) {
        if seq <= self.highest {
            return;
        }
        let since = if joined { self.highest.0 } else { seq.0 - 1 };
        let left_out = (seq.0 - since) as i64;
        let follows = since == self.highest.0;
        self.highest = seq;
        let Some(last) = self.spans.last_mut() else {
            return;
        };
        if follows && last.start.0 == since + 1 {
            last.start.0 = seq.0 + 1;
            last.offset -= left_out;
            return;
        }
        let offset = last.offset;
        if self.spans.is_full() {
            self.spans.remove(0);
        }
        self.spans.push(Span {
            start: ExtendedSeq(seq.0 + 1),
            offset: offset - left_out,
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
                map.skip(ExtendedSeq(seq), false);
            } else {
                assert_eq!(map.map(ExtendedSeq(seq)), out.map(ExtendedSeq), "{seq}");
            }
        }
    }

    #[test]
    fn packets_left_out_in_a_row_are_remembered_as_one() {
        let mut map = SeqMap::starting(ExtendedSeq(0), ExtendedSeq(100));
        for bundle in 0..7 {
            map.skip(ExtendedSeq(bundle * 3 + 1), false);
            map.skip(ExtendedSeq(bundle * 3 + 2), false);
            assert_eq!(map.map(ExtendedSeq(bundle * 3 + 3)), Some(ExtendedSeq(101 + bundle)));
        }
        assert_eq!(map.map(ExtendedSeq(0)), Some(ExtendedSeq(100)));
    }

    #[test]
    fn many_skips_forget_the_oldest_only() {
        let mut map = SeqMap::starting(ExtendedSeq(0), ExtendedSeq(70_000));
        for seq in 0..100 {
            map.skip(ExtendedSeq(seq * 2 + 1), false);
            assert_eq!(map.map(ExtendedSeq(seq * 2 + 2)), Some(ExtendedSeq(70_001 + seq)));
        }
        assert_eq!(map.map(ExtendedSeq(2)), None);
    }

    #[test]
    fn a_run_that_is_left_out_takes_what_is_missing_of_it_along() {
        let mut map = SeqMap::starting(ExtendedSeq(10), ExtendedSeq(100));
        map.map(ExtendedSeq(10));
        map.skip(ExtendedSeq(11), false);
        map.skip(ExtendedSeq(14), true);
        assert_eq!(map.map(ExtendedSeq(15)), Some(ExtendedSeq(101)));
        // What comes late of it has no place.
        for late in 11..=14 {
            assert_eq!(map.map(ExtendedSeq(late)), None, "{late}");
        }
        assert_eq!(map.map(ExtendedSeq(10)), Some(ExtendedSeq(100)));
        // Missing before it: may be of a frame that is wanted.
        map.skip(ExtendedSeq(17), false);
        assert_eq!(map.map(ExtendedSeq(18)), Some(ExtendedSeq(103)));
        assert_eq!(map.map(ExtendedSeq(16)), Some(ExtendedSeq(102)));
    }

    #[test]
    fn a_long_run_is_one_span() {
        let mut map = SeqMap::starting(ExtendedSeq(0), ExtendedSeq(0));
        map.map(ExtendedSeq(0));
        (1..500).for_each(|seq| map.skip(ExtendedSeq(seq), seq > 1));
        assert_eq!(map.spans.len(), 2);
        assert_eq!(map.map(ExtendedSeq(500)), Some(ExtendedSeq(1)));
        assert_eq!(map.map(ExtendedSeq(0)), Some(ExtendedSeq(0)));
    }
}

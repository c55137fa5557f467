//! What receiver reports tell of packets between one report on a slot and the next (RFC 3550, section 6.4.1).

use crate::packet::rtcp::ReportBlock;

/// More packets in a slot between two reports are an error or a lie: ten seconds of 40 Mbit/s.
const MAX_EXPECTED: u32 = 40_000;

/// By the places of slots; forgotten when these change.
#[derive(Debug, Default)]
pub(super) struct ReportedLoss(Vec<Option<Reported>>);

#[derive(Clone, Copy, Debug)]
struct Reported {
    highest_seq: u32,
    cumulative_lost: i32,
}

impl ReportedLoss {
    /// Packets expected since the report before, and how many of them did not come; `None` for a first report, an
    /// old one, and one that cannot be.
    pub fn on_report(&mut self, slot: usize, block: &ReportBlock) -> Option<(u32, u32)> {
        if self.0.len() <= slot {
            self.0.resize(slot + 1, None);
        }
        let reported = Reported {
            highest_seq: block.highest_seq,
            cumulative_lost: block.cumulative_lost,
        };
        let before = self.0[slot].replace(reported)?;
        let expected = block.highest_seq.wrapping_sub(before.highest_seq);
        // Late packets and duplicates are more than were lost.
        let lost = block.cumulative_lost.saturating_sub(before.cumulative_lost).max(0) as u32;
        (1..=MAX_EXPECTED)
            .contains(&expected)
            .then_some((expected, lost.min(expected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_counts_from_its_report_before() {
        let mut losses = ReportedLoss::default();
        for (slot, highest_seq, cumulative_lost, expected) in [
            (1, 1_000, 7, None),
            (1, 1_100, 9, Some((100, 2))),
            (0, u32::MAX - 9, 0, None),
            (0, 10, -3, Some((20, 0))),
            (1, 1_100, 9, None),
            // Older than the one before, and more lost than were sent.
            (1, 1_050, 9, None),
            (1, 1_060, 900, Some((10, 10))),
        ] {
            let block = ReportBlock {
                highest_seq,
                cumulative_lost,
                ..ReportBlock::default()
            };
            assert_eq!(losses.on_report(slot, &block), expected, "{slot} {highest_seq}");
        }
    }
}

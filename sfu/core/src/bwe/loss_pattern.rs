//! How much is lost and in what runs, to choose redundancy by.

use super::feedback::{Acked, LostPacket};
use super::time::Micros;

/// What was lost this long ago counts a third of what is lost now: a hundred packets of the lowest voice.
const MEMORY: Micros = Micros::secs(6);
/// A run of losses longer than this is an outage: it is neither congestion nor something that redundancy
/// reaches.
const OUTAGE: Micros = Micros::millis(500);
/// Fewer packets tell of no pattern.
const MIN_PACKETS: f64 = 10.0;

/// Losses of the last seconds, without outages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// 0 to 1, of packets.
    pub share: f64,
    /// Packets lost in a row, on the average; 1 where none are.
    pub mean_burst: f64,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            share: 0.0,
            mean_burst: 1.0,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct LossPattern {
    packets: f64,
    lost: f64,
    bursts: f64,
    last: Micros,
    last_lost_seq: Option<u16>,
}

/// Packets lost in a row, for each row.
pub fn runs(lost: &[LostPacket]) -> impl Iterator<Item = &[LostPacket]> {
    lost.chunk_by(|before, after| after.seq == before.seq.wrapping_add(1))
}

/// Whether these packets, lost in a row, met an outage.
pub fn is_outage(run: &[LostPacket]) -> bool {
    match (run.first(), run.last()) {
        (Some(first), Some(last)) => last.sent - first.sent > OUTAGE,
        _ => false,
    }
}

impl LossPattern {
    pub fn on_feedback(&mut self, now: Micros, acked: &[Acked], lost: &[LostPacket]) {
        let decay = (-(now - self.last).as_secs() / MEMORY.as_secs()).exp();
        self.last = now;
        let late = acked.iter().filter(|packet| packet.was_lost).count() as f64;
        self.packets = self.packets * decay + acked.len() as f64 - late;
        self.lost = (self.lost * decay - late).max(0.0);
        self.bursts *= decay;
        for run in runs(lost).filter(|run| !is_outage(run)) {
            self.packets += run.len() as f64;
            self.lost += run.len() as f64;
            let continues = self.last_lost_seq == Some(run[0].seq.wrapping_sub(1));
            self.bursts += f64::from(u8::from(!continues));
        }
        if let Some(last) = lost.last() {
            self.last_lost_seq = Some(last.seq);
        }
    }

    pub fn loss(&self) -> Loss {
        // Half a packet is the memory of one that was lost long ago.
        if self.packets < MIN_PACKETS || self.lost < 0.5 {
            return Loss::default();
        }
        Loss {
            share: (self.lost / self.packets).clamp(0.0, 1.0),
            mean_burst: (self.lost / self.bursts.max(0.5)).max(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bwe::history::PacketKind;
    use crate::units::ExtendedSeq;

    /// A packet every 20 ms, feedback after ten; `is_lost` by number.
    fn run(packets: u64, is_lost: impl Fn(u64) -> bool) -> Loss {
        let mut pattern = LossPattern::default();
        for feedback in 0..packets / 10 {
            let (mut acked, mut lost) = (Vec::new(), Vec::new());
            for n in feedback * 10..(feedback + 1) * 10 {
                let sent = Micros::millis(20 * n as i64);
                match is_lost(n) {
                    true => lost.push(LostPacket {
                        seq: n as u16,
                        bytes: 100,
                        kind: PacketKind::Audio,
                        sent,
                    }),
                    false => acked.push(Acked {
                        seq: ExtendedSeq(n),
                        sent,
                        arrived: sent,
                        bytes: 100,
                        probe: None,
                        unreported: 0,
                        was_lost: false,
                    }),
                }
            }
            pattern.on_feedback(Micros::millis(200 * (feedback as i64 + 1)), &acked, &lost);
        }
        pattern.loss()
    }

    #[test]
    fn tells_how_much_is_lost_and_in_what_runs() {
        let every = |n: u64, of: u64| move |packet: u64| packet % n < of;
        for (name, loss, share, burst) in [
            ("none", run(1_000, |_| false), 0.0, 1.0),
            ("one in ten", run(1_000, every(10, 1)), 0.1, 1.0),
            ("four in twenty", run(1_000, every(20, 4)), 0.2, 4.0),
            (
                "runs that feedback cuts in two",
                run(1_000, |n| (n + 2) % 20 < 4),
                0.2,
                4.0,
            ),
            ("too few to tell", run(9, every(2, 1)), 0.0, 1.0),
            ("long ago", run(3_000, |n| n < 200 && n % 2 == 0), 0.0, 1.0),
        ] {
            let is_near = (loss.share - share).abs() < 0.01 && (loss.mean_burst - burst).abs() < 0.2;
            assert!(is_near, "{name}: {loss:?}");
        }
    }

    #[test]
    fn an_outage_is_told_by_its_length() {
        let run = |millis: i64| -> Vec<LostPacket> {
            let packet = |n| LostPacket {
                seq: n as u16,
                bytes: 100,
                kind: PacketKind::Audio,
                sent: Micros::millis(20 * n),
            };
            (0..=millis / 20).map(packet).collect()
        };
        assert!(!is_outage(&run(500)) && is_outage(&run(520)) && !is_outage(&[]));
    }
}

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
        if self.packets < MIN_PACKETS || self.bursts <= 0.0 {
            return Loss::default();
        }
        Loss {
            share: (self.lost / self.packets).clamp(0.0, 1.0),
            mean_burst: (self.lost / self.bursts).max(1.0),
        }
    }
}

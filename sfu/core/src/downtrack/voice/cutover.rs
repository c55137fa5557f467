//! When a voice goes over from one layer to the other, so that nothing is said twice and nothing is left out.
//!
//! A packet comes when the last of its sound has been recorded. So when a low packet of 60 ms comes, the full
//! packets of the same 60 ms have been sent. On the way down it is too late for that one; but it tells where the
//! next one begins: full packets are sent up to there and no further, and the next low one goes on. On the way up full
//! packets go on where the low one ended; those that came before that was known are at hand still, and ride with the
//! first where the subscriber has RED.

use std::time::{Duration, Instant};

use crate::pool::Packet;

/// Time is moved no further than that before a gap is left instead: 40 ms, two frames.
const MAX_SHIFT: u32 = 1_920;
/// Who has been silent that long loses nothing by a change. Longer than two packets of 60 ms with jitter.
const SILENCE: Duration = Duration::from_millis(200);
/// After that a change is made although up to a packet's sound will be missing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Of audio's RTP clock, a second.
const CLOCK_RATE: u64 = 48_000;

/// The sound that was taken in last, in the slot's time.
#[derive(Clone, Copy, Debug)]
pub struct LatestSound {
    pub arrival: Instant,
    pub end: u32,
    pub duration: u32,
}

impl LatestSound {
    /// Where a packet of `duration` that came at `arrival` begins, as far as arrivals tell.
    pub fn start_at(&self, arrival: Instant, duration: u32) -> u32 {
        let elapsed = arrival.saturating_duration_since(self.arrival);
        let ticks = (elapsed.as_micros() as u64 * CLOCK_RATE / 1_000_000) as u32;
        self.end.wrapping_add(ticks).wrapping_sub(duration)
    }
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Where the other layer goes on.
    at: u32,
    /// What is added to its timestamps: two sender reports must not move the cut while it is waited for.
    offset: u32,
    /// Sound in one of its packets.
    duration: u32,
}

#[derive(Debug, Default)]
pub struct Cutover {
    cut: Option<Cut>,
    /// Since when the other layer comes and is not sent.
    waits_since: Option<Instant>,
    /// How far changes have moved the slot's time to bridge what was missing or came twice.
    shift: i32,
}

/// How far `one` is ahead of `other`.
fn ahead(one: u32, other: u32) -> i32 {
    one.wrapping_sub(other) as i32
}

impl Cutover {
    /// No change is waited for any longer.
    pub fn clear(&mut self) {
        self.cut = None;
        self.waits_since = None;
    }

    /// Whether a packet of the layer that is still sent must not be: the other layer is about to bring its sound.
    pub fn withholds(&mut self, timestamp: u32, duration: u32) -> bool {
        let Some(cut) = self.cut else { return false };
        let past = ahead(timestamp, cut.at);
        if past >= 2 * cut.duration as i32 {
            // The other layer does not come.
            self.clear();
            return false;
        }
        past >= -(duration as i32 / 2)
    }

    /// A packet of the layer that is wanted came; in the slot's time it begins at `mapped`, by what is known. Where
    /// it begins if it is the first that is sent, else `None`. The `at_hand` packets before it could be sent with it.
    pub fn on_target(
        &mut self,
        latest: &LatestSound,
        packet: &Packet,
        duration: u32,
        mapped: u32,
        at_hand: u32,
    ) -> Option<u32> {
        let waits_since = *self.waits_since.get_or_insert(packet.arrival);
        let mapped = self.cut.map_or(mapped, |cut| packet.timestamp.wrapping_add(cut.offset));
        let gap = ahead(mapped, latest.end);
        if packet.arrival.saturating_duration_since(latest.arrival) > SILENCE {
            // Nobody hears it if time is put right now.
            return Some(self.put_right(latest, mapped));
        }
        // Two encoders begin their frames 10 ms apart at worst, and sender reports are off by some more.
        let half = latest.duration.min(duration) as i32 / 2;
        if gap < -half {
            if self.cut.is_none() && duration >= latest.duration {
                let steps = gap.unsigned_abs().div_ceil(duration);
                self.cut = Some(Cut {
                    at: mapped.wrapping_add(steps * duration),
                    offset: mapped.wrapping_sub(packet.timestamp),
                    duration,
                });
            }
            return None;
        }
        // How many before this one are the first whose sound is not sent yet.
        let missed = (gap - half).max(0).unsigned_abs().div_ceil(duration);
        if missed <= at_hand {
            let shift = self.shift - (gap - (missed * duration) as i32);
            if shift.unsigned_abs() > MAX_SHIFT {
                return Some(self.put_right(latest, mapped));
            }
            self.shift = shift;
            return Some(latest.end.wrapping_add(missed * duration));
        }
        let is_past_cut = self.cut.is_some_and(|cut| ahead(mapped, cut.at) >= -half);
        let longer = latest.duration.max(duration) as i32;
        let is_lost = gap >= 2 * longer;
        let is_late = packet.arrival.saturating_duration_since(waits_since) > PATIENCE && gap <= longer;
        (is_past_cut || is_lost || is_late).then_some(mapped)
    }

    /// Where a packet begins by the clocks, or as near as what was sent lets it.
    fn put_right(&mut self, latest: &LatestSound, mapped: u32) -> u32 {
        let right = mapped.wrapping_sub(self.shift as u32);
        let out = if ahead(right, latest.end) < 0 {
            latest.end
        } else {
            right
        };
        self.shift = ahead(out, right);
        out
    }
}

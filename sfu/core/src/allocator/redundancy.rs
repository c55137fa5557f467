//! How many earlier frames a packet of voice repeats, and from how far back, for the losses of a link.

use std::time::{Duration, Instant};

/// RFC 2198 gives a block's age 14 bits of the media clock: 341 ms at 48 kHz. Older frames would also come
/// after their time.
const REACH: Duration = Duration::from_millis(320);

/// More frames than that help too little for their bytes.
pub(super) const MOST_FRAMES: u8 = 3;

/// How packets are lost, as two states of a link of which one loses all (Gilbert's model).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LossModel {
    share: f64,
    burst: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Redundancy {
    pub frames: u8,
    pub distance: u8,
}

impl LossModel {
    pub fn new(share: f32, burst: f32) -> Self {
        let share = if share.is_finite() {
            f64::from(share).clamp(0.0, 0.9)
        } else {
            0.0
        };
        // Where each is lost by itself, bursts are this long by chance.
        let least = 1.0 / (1.0 - share);
        let burst = if burst.is_finite() {
            f64::from(burst).clamp(least, 50.0)
        } else {
            least
        };
        Self { share, burst }
    }

    /// The share of frames that are lost in every packet that carries them.
    pub fn residual(&self, redundancy: Redundancy) -> f64 {
        // Of two packets that far apart, the second is lost, the first being lost.
        let leave = 1.0 / self.burst;
        let enter = self.share * leave / (1.0 - self.share);
        let memory = (1.0 - leave - enter).max(0.0);
        let both = self.share + (1.0 - self.share) * memory.powi(i32::from(redundancy.distance));
        self.share * both.powi(i32::from(redundancy.frames))
    }

    /// The least that leaves at most `goal` of the frames lost; where nothing does, what leaves the fewest.
    /// `packet` is the time from packet to packet; no more than `most` frames are repeated.
    pub fn redundancy(&self, packet: Duration, goal: f64, most: u8) -> Redundancy {
        let none = Redundancy::default();
        let packets = (REACH.as_micros() / packet.as_micros().max(1)).min(16) as u8;
        let choices = (1..=most.min(MOST_FRAMES)).flat_map(|frames| {
            let distances = 1..=packets / frames;
            distances.map(move |distance| Redundancy { frames, distance })
        });
        let mut best = none;
        for choice in std::iter::once(none).chain(choices) {
            if self.residual(choice) <= goal {
                return choice;
            }
            // A longer reach must be worth it.
            if self.residual(choice) < self.residual(best) * 0.95 {
                best = choice;
            }
        }
        best
    }
}

/// The loss to be ready for: it rises at once and falls slowly, so that a lull does not strip what the next
/// burst needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeldLoss {
    share: f32,
    burst: f32,
    at: Option<Instant>,
}

/// Losses of mobile links come in waves some seconds apart.
const FALL_TIME: Duration = Duration::from_secs(10);

impl HeldLoss {
    pub fn update(&mut self, now: Instant, share: f32, burst: f32) -> LossModel {
        let elapsed = self.at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let left = (-elapsed.as_secs_f32() / FALL_TIME.as_secs_f32()).exp();
        self.share = share.max(share + (self.share - share) * left);
        self.burst = burst.max(burst + (self.burst - burst) * left);
        self.at = Some(now);
        LossModel::new(self.share, self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Duration = Duration::from_millis(60);

    #[test]
    fn random_loss_is_answered_by_the_frames_right_before() {
        for (share, goal, frames) in [
            (0.0, 0.01, 0),
            (0.009, 0.01, 0),
            (0.05, 0.01, 1),
            (0.09, 0.01, 1),
            (0.2, 0.01, 2),
            (0.2, 0.05, 1),
            (0.3, 0.01, 3),
            (0.4, 0.03, 3),
        ] {
            let redundancy = LossModel::new(share, 1.0).redundancy(PACKET, goal, MOST_FRAMES);
            assert_eq!(redundancy.frames, frames, "{share} {goal}");
            assert!(redundancy.distance <= 1, "{share} {goal}: {redundancy:?}");
        }
    }

    #[test]
    fn bursts_are_reached_across() {
        let model = LossModel::new(0.03, 3.0);
        let redundancy = model.redundancy(Duration::from_millis(20), 0.01, MOST_FRAMES);
        assert_eq!((redundancy.frames, redundancy.distance), (1, 3));
        assert!(model.residual(redundancy) <= 0.01);
        // With 60 ms from packet to packet there are five within reach.
        let model = LossModel::new(0.2, 2.5);
        let redundancy = model.redundancy(PACKET, 0.03, MOST_FRAMES);
        assert!(redundancy.frames * redundancy.distance <= 5, "{redundancy:?}");
    }

    #[test]
    fn the_model_agrees_with_a_link_that_loses_like_it() {
        // A walk through the two states by a fixed sequence of numbers.
        let (share, burst) = (0.1, 3.0);
        let (mut seed, mut bad) = (1u64, false);
        let mut next = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as f64 / f64::from(1u32 << 31)
        };
        let lost: Vec<bool> = (0..400_000)
            .map(|_| {
                let change = if bad {
                    1.0 / burst
                } else {
                    share / burst / (1.0 - share)
                };
                bad ^= next() < change;
                bad
            })
            .collect();
        for (frames, distance) in [(0, 0), (1, 1), (1, 3), (2, 2), (3, 1)] {
            let gone = (0..lost.len() - 20)
                .filter(|&at| (0..=usize::from(frames)).all(|frame| lost[at + frame * usize::from(distance)]))
                .count();
            let seen = gone as f64 / lost.len() as f64;
            let said = LossModel::new(share as f32, burst as f32).residual(Redundancy { frames, distance });
            assert!((seen - said).abs() < 0.004, "{frames} {distance}: {seen} {said}");
        }
    }

    #[test]
    fn a_hopeless_link_gets_what_helps_most_and_nonsense_gets_nothing() {
        let redundancy = LossModel::new(0.6, 1.0).redundancy(PACKET, 0.01, MOST_FRAMES);
        assert_eq!(redundancy, Redundancy { frames: 3, distance: 1 });
        assert_eq!(
            LossModel::new(f32::NAN, f32::INFINITY)
                .redundancy(PACKET, 0.01, MOST_FRAMES)
                .frames,
            0
        );
        assert_eq!(
            LossModel::new(0.2, 1.0)
                .redundancy(Duration::from_secs(1), 0.01, MOST_FRAMES)
                .frames,
            0
        );
    }

    #[test]
    fn loss_is_believed_at_once_and_forgotten_slowly() {
        let start = Instant::now();
        let mut held = HeldLoss::default();
        let frames = |model: LossModel| model.redundancy(PACKET, 0.01, MOST_FRAMES).frames;
        assert_eq!(frames(held.update(start, 0.0, 1.0)), 0);
        assert_eq!(frames(held.update(start + Duration::from_millis(100), 0.2, 1.0)), 2);
        for (second, expected) in [(3, 2), (10, 1), (60, 0)] {
            let model = held.update(start + Duration::from_secs(second), 0.0, 1.0);
            assert_eq!(frames(model), expected, "{second}");
        }
    }
}

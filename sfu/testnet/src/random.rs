//! The dice of a link. Each concern has a stream of its own, so that more jitter does not move the losses.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What dice are thrown for.
#[derive(Clone, Copy, Debug)]
pub enum Concern {
    Loss,
    BurstLoss,
    Jitter,
    Reordering,
}

/// ChaCha, whose values are the same on all machines and in all versions of the crate.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64, concern: Concern) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(concern as u64);
        Self(rng)
    }

    /// True with this probability, 0–1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Close to a normal distribution of mean 0 and deviation 1, between -3 and 3: the sum of three uniform
    /// numbers, as a logarithm's last digit may differ between machines.
    pub fn normal(&mut self) -> f64 {
        (0..3).map(|_| 2.0 * self.unit() - 1.0).sum()
    }

    /// Uniform in 0..1, with all 53 bits that a double has.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_on_every_machine() {
        let mut dice = Dice::new(7, Concern::Jitter);
        let thrown: Vec<u64> = (0..3).map(|_| dice.0.next_u64()).collect();
        assert_eq!(
            thrown,
            [
                5_536_391_431_806_027_785,
                6_964_474_494_658_278_128,
                4_595_895_246_692_405_728
            ]
        );
    }

    #[test]
    fn concerns_have_streams_of_their_own() {
        let mut loss = Dice::new(7, Concern::Loss);
        let mut jitter = Dice::new(7, Concern::Jitter);
        assert!((0..8).any(|_| loss.chance(0.5) != jitter.chance(0.5)));
    }

    #[test]
    fn deviation_is_one() {
        let mut dice = Dice::new(1, Concern::Jitter);
        let values: Vec<f64> = (0..20_000).map(|_| dice.normal()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        assert!(values.iter().all(|value| value.abs() <= 3.0));
    }
}

//! When a lost connection is tried anew.

use std::time::Duration;

use rand::Rng;

const SHORTEST: Duration = Duration::from_secs(1);
/// [`super::presence`] waits longer than this for nodes after an outage.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// Before the `attempt`th attempt since the connection was lost, counted from 1. Random over the whole span, which grows
/// twofold: what lost the server at one time comes back at many.
pub(super) fn delay(attempt: usize, random: &mut impl Rng) -> Duration {
    let doublings = u32::try_from(attempt).unwrap_or(u32::MAX).min(6);
    let longest = (SHORTEST * 2u32.pow(doublings)).min(LONGEST);
    random.random_range(SHORTEST..=longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn delays_spread_between_one_and_thirty_seconds() {
        let mut random = StdRng::seed_from_u64(1);
        for attempt in [0, 1, 2, 5, 6, 100, usize::MAX] {
            for _ in 0..100 {
                let delay = delay(attempt, &mut random);
                assert!((SHORTEST..=LONGEST).contains(&delay), "{attempt}: {delay:?}");
            }
        }
        assert!((0..100).all(|_| delay(1, &mut random) <= SHORTEST * 2));
        let late: Vec<_> = (0..100).map(|_| delay(9, &mut random)).collect();
        assert!(late.iter().any(|delay| *delay < LONGEST / 3));
        assert!(late.iter().any(|delay| *delay > LONGEST * 2 / 3));
    }
}

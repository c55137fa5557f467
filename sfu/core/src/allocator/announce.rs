//! When a publisher is told of a new plan: of more at once, of less after a while.

use std::time::{Duration, Instant};

use super::uplink::UplinkPlan;

/// A viewer that went may come back, and a layer that was off costs a key frame to begin again.
const LESS_AFTER: Duration = Duration::from_secs(5);

/// What one publisher was told of one video.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announcement {
    told: UplinkPlan,
    /// Less than that would do.
    less_since: Option<Instant>,
}

impl Announcement {
    /// What the publisher goes by.
    pub fn told(&self) -> &UplinkPlan {
        &self.told
    }

    /// Takes the newest plan, about once a second; `Some` is to be told to the publisher.
    pub fn update(&mut self, now: Instant, plan: &UplinkPlan) -> Option<UplinkPlan> {
        let mut more = self.told;
        for (more, new) in more.layers.iter_mut().zip(plan.layers) {
            *more = (*more).max(new);
        }
        let is_less = plan.is_news(&more);
        let since = match is_less {
            true => *self.less_since.get_or_insert(now),
            false => {
                self.less_since = None;
                now
            }
        };
        let next = match is_less && now.saturating_duration_since(since) >= LESS_AFTER {
            true => *plan,
            false => more,
        };
        if !next.is_news(&self.told) {
            return None;
        }
        if next == *plan {
            self.less_since = None;
        }
        self.told = next;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_util::kbps;
    use super::*;

    #[test]
    fn more_is_told_at_once_and_less_after_five_seconds() {
        let start = Instant::now();
        let mut announcement = Announcement::default();
        // (second, what is wanted of two layers in kbit/s, what is told)
        for (at, wanted, told) in [
            (0, [100, 0], Some([100, 0])),
            (1, [105, 0], None),
            (2, [150, 500], Some([150, 500])),
            (3, [150, 0], None),
            // Somebody is back.
            (6, [150, 500], None),
            (7, [150, 300], None),
            // More of one layer does not wait for less of another.
            (8, [200, 300], Some([200, 500])),
            (12, [200, 300], Some([200, 300])),
            (13, [0, 0], None),
            (18, [0, 0], Some([0, 0])),
        ] {
            let plan = |kbit: [u64; 2]| {
                let layer = |kbit: u64| (kbit > 0).then(|| kbps(kbit));
                UplinkPlan {
                    layers: [layer(kbit[0]), layer(kbit[1]), None],
                }
            };
            let now = start + Duration::from_secs(at);
            assert_eq!(announcement.update(now, &plan(wanted)), told.map(plan), "{at}");
        }
    }
}

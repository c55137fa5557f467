//! When a publisher is told of a new plan: of more at once, of less after a while.

use std::time::{Duration, Instant};

use super::uplink::UplinkPlan;
use crate::negotiated::MAX_LAYERS;
use crate::units::Bitrate;

/// A viewer that went may come back, and a layer that was off costs a key frame to begin again.
const LESS_AFTER: Duration = Duration::from_secs(5);

/// Somebody behind a weak link may fall silent, leave the stage and come back to it; to begin again costs the speaker an
/// offer at most, and who listens half a second of the full voice.
const LOW_VOICE_LESS_AFTER: Duration = Duration::from_secs(30);

/// Estimates grow every few hundred milliseconds; a publisher need not hear of every step.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Who was told nothing sends all that it can.
const EVERYTHING: UplinkPlan = UplinkPlan {
    layers: [Some(Bitrate(u64::MAX)); MAX_LAYERS],
};

/// What one publisher was told of one video.
#[derive(Clone, Copy, Debug)]
pub struct Announcement {
    told: UplinkPlan,
    told_at: Option<Instant>,
    /// Less than that would do.
    less_since: Option<Instant>,
    /// More would be of use, but was told of just now.
    is_owed: bool,
}

impl Default for Announcement {
    fn default() -> Self {
        Self {
            told: EVERYTHING,
            told_at: None,
            less_since: None,
            is_owed: false,
        }
    }
}

impl Announcement {
    /// What the publisher goes by; `None` while it was told nothing.
    pub fn told(&self) -> Option<&UplinkPlan> {
        self.told_at.map(|_| &self.told)
    }

    /// Takes the newest plan; `Some` is to be told to the publisher.
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
        let is_news = next.is_news(&self.told);
        let was_just_told = self
            .told_at
            .is_some_and(|at| now.saturating_duration_since(at) < MIN_INTERVAL);
        self.is_owed = is_news && was_just_told && !next.wakes(&self.told);
        if !is_news || self.is_owed {
            return None;
        }
        if next == *plan {
            self.less_since = None;
        }
        self.told = next;
        self.told_at = Some(now);
        Some(next)
    }

    /// When to call [`Self::update`] again although nothing has changed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.told_at.filter(|_| self.is_owed) {
            Some(told_at) => Some(told_at + MIN_INTERVAL),
            None => self.less_since.map(|since| since + LESS_AFTER),
        }
    }
}

/// What one publisher was told of its low voice.
#[derive(Clone, Copy, Debug, Default)]
pub struct LowVoiceAnnouncement {
    told: bool,
    unwanted_since: Option<Instant>,
}

impl LowVoiceAnnouncement {
    /// The publisher is to send it.
    pub fn told(&self) -> bool {
        self.told
    }

    /// `Some` is to be told to the publisher.
    pub fn update(&mut self, now: Instant, wanted: bool) -> Option<bool> {
        if wanted || !self.told {
            self.unwanted_since = None;
        } else {
            let since = *self.unwanted_since.get_or_insert(now);
            if now.saturating_duration_since(since) < LOW_VOICE_LESS_AFTER {
                return None;
            }
            self.unwanted_since = None;
        }
        (std::mem::replace(&mut self.told, wanted) != wanted).then_some(wanted)
    }

    /// When to call [`Self::update`] again although nothing has changed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.unwanted_since.map(|since| since + LOW_VOICE_LESS_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_util::kbps;
    use super::*;

    fn plan(kbit: [u64; 2]) -> UplinkPlan {
        let layer = |kbit: u64| (kbit > 0).then(|| kbps(kbit));
        UplinkPlan {
            layers: [layer(kbit[0]), layer(kbit[1]), None],
        }
    }

    #[test]
    fn more_is_told_at_once_and_less_after_five_seconds() {
        let start = Instant::now();
        let mut announcement = Announcement::default();
        // (second, what is wanted of two layers in kbit/s, what is told)
        for (at, wanted, told) in [
            // All is sent before anything was told.
            (0.0, [100, 500], None),
            (4.9, [100, 0], None),
            (5.0, [100, 0], Some([100, 0])),
            (6.0, [105, 0], None),
            (7.0, [150, 500], Some([150, 500])),
            (8.0, [150, 0], None),
            // Somebody is back.
            (11.0, [150, 500], None),
            (12.0, [150, 300], None),
            // More of one layer does not wait for less of another.
            (13.0, [200, 300], Some([200, 500])),
            (17.0, [200, 300], Some([200, 300])),
            (18.0, [0, 0], None),
            (23.0, [0, 0], Some([0, 0])),
            // A layer is woken at once, more of it a second later.
            (23.1, [100, 0], Some([100, 0])),
            (23.2, [150, 0], None),
            (23.3, [150, 500], Some([150, 500])),
            (24.2, [150, 600], None),
            (24.3, [150, 600], Some([150, 600])),
        ] {
            let now = start + Duration::from_secs_f64(at);
            assert_eq!(announcement.update(now, &plan(wanted)), told.map(plan), "{at}");
            let due = announcement.poll_timeout().map(|due| (due - start).as_secs_f64());
            assert!(due.is_none_or(|due| due > at), "{due:?}");
        }
    }

    #[test]
    fn it_says_when_to_look_again() {
        let start = Instant::now();
        let mut announcement = Announcement::default();
        assert_eq!(announcement.poll_timeout(), None);
        announcement.update(start, &plan([100, 0]));
        let due = announcement.poll_timeout().expect("less is wanted");
        assert_eq!(due, start + LESS_AFTER);
        assert_eq!(announcement.told(), None);
        assert_eq!(announcement.update(due, &plan([100, 0])), Some(plan([100, 0])));
        assert_eq!(announcement.poll_timeout(), None);
        announcement.update(due, &plan([200, 0]));
        assert_eq!(announcement.poll_timeout(), Some(due + MIN_INTERVAL));
    }

    #[test]
    fn a_low_voice_goes_on_for_half_a_minute() {
        let start = Instant::now();
        let mut announcement = LowVoiceAnnouncement::default();
        for (at, wanted, told) in [
            (0, false, None),
            (1, true, Some(true)),
            (2, true, None),
            (3, false, None),
            (20, true, None),
            (30, false, None),
            (59, false, None),
            (60, false, Some(false)),
            (61, true, Some(true)),
        ] {
            let now = start + Duration::from_secs(at);
            assert_eq!(announcement.update(now, wanted), told, "{at}");
        }
    }
}

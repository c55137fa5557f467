//! Keeps quality from flapping: more is sent only after it has fitted for a while, and later each time that it
//! turned out not to fit. Less is sent at once; that is not decided here.

use std::time::{Duration, Instant};

/// Estimates come every 100–200 ms and swing; what fits in several of them in a row fits. Longer would be felt
/// when a link recovers.
pub(super) const HOLD: Duration = Duration::from_secs(1);

/// An upgrade that had to be taken back within this time has failed: a picture that changes more often than every
/// quarter of a minute is a nuisance, whatever made it so.
const FAILS_WITHIN: Duration = Duration::from_secs(15);

/// After the first failure; doubled with each further one. LiveKit's probes begin alike (3 s, times 1.5, up to 30 s).
const FIRST_BACK_OFF: Duration = Duration::from_secs(4);

/// People who see the picture change more often than once a minute ask for it to be left alone (mediasoup#1462
/// asks for 20 s).
const MOST_BACK_OFF: Duration = Duration::from_secs(60);

/// An upgrade that has held for this long clears what failed before.
const SETTLES_AFTER: Duration = Duration::from_secs(30);

/// Whoever has stood below what is asked for so long may have a useful picture if it fits what is sent now, whatever
/// the peaks: an estimate that cannot grow because little is sent would otherwise never be tested.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same of who stands still: a link that carries one picture more is not to wait for long.
const PATIENCE_FOR_ANY: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// After the first failure, and at most.
    back_offs: (Duration, Duration),
    fits_since: Option<Instant>,
    wants_since: Option<Instant>,
    upgraded_at: Option<Instant>,
    back_off: Duration,
    not_before: Option<Instant>,
    /// Somebody asked for the change: it need not wait.
    waived: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(FIRST_BACK_OFF, MOST_BACK_OFF)
    }
}

impl Gate {
    pub const fn new(first_back_off: Duration, most_back_off: Duration) -> Self {
        Self {
            back_offs: (first_back_off, most_back_off),
            fits_since: None,
            wants_since: None,
            upgraded_at: None,
            back_off: Duration::ZERO,
            not_before: None,
            waived: false,
        }
    }

    /// What failed says nothing of what there is now.
    pub fn forget_failures(&mut self) {
        self.back_off = Duration::ZERO;
        self.not_before = None;
        self.upgraded_at = None;
    }

    /// What is asked for has changed: what fits may be sent at once, unless it failed lately.
    pub fn waive(&mut self) {
        self.waived = true;
    }

    /// Nothing was ever sent, or all that failed is forgotten.
    pub fn is_untried(&self) -> bool {
        self.upgraded_at.is_none() && self.back_off == Duration::ZERO
    }

    pub fn is_backing_off(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|not_before| now < not_before)
    }

    /// The last failure is as long ago as a first one asks for.
    pub fn has_backed_off_once(&self, now: Instant) -> bool {
        self.not_before
            .is_some_and(|not_before| now + self.back_off >= not_before + self.back_offs.0)
    }

    /// `is_still`: nothing is sent.
    pub fn is_out_of_patience(&self, now: Instant, is_still: bool) -> bool {
        let patience = if is_still { PATIENCE_FOR_ANY } else { PATIENCE };
        self.wants_since
            .is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// Notes whether more is `wanted` and whether it `fits`; true: it may be sent now.
    pub fn look(&mut self, now: Instant, hold: Duration, wanted: bool, fits: bool) -> bool {
        self.look_beyond(now, hold, wanted, fits, self.is_backing_off(now))
    }

    /// The same of what is less than what failed, which needs no patience.
    pub fn look_below_failure(&mut self, now: Instant, hold: Duration, wanted: bool, fits: bool) -> bool {
        self.look_beyond(now, hold, wanted, fits, false)
    }

    fn look_beyond(&mut self, now: Instant, hold: Duration, wanted: bool, fits: bool, backs_off: bool) -> bool {
        let waived = std::mem::take(&mut self.waived);
        if self
            .upgraded_at
            .is_some_and(|at| now.saturating_duration_since(at) >= SETTLES_AFTER)
        {
            self.upgraded_at = None;
            self.back_off = Duration::ZERO;
        }
        match wanted && !backs_off {
            true => _ = self.wants_since.get_or_insert(now),
            false => self.wants_since = None,
        }
        if !fits || backs_off {
            self.fits_since = None;
            return false;
        }
        let since = *self.fits_since.get_or_insert(now);
        waived || now.saturating_duration_since(since) >= hold
    }

    pub fn on_upgrade(&mut self, now: Instant) {
        self.upgraded_at = Some(now);
        self.fits_since = None;
        self.wants_since = None;
    }

    /// What is sent has piled up, however long it was sent before.
    pub fn on_congestion(&mut self, now: Instant) {
        self.upgraded_at = Some(now);
        self.on_overload(now);
    }

    /// Less is sent because the link does not carry what was sent; true: an upgrade has failed.
    pub fn on_overload(&mut self, now: Instant) -> bool {
        self.fits_since = None;
        self.wants_since = None;
        let failed = self
            .upgraded_at
            .take()
            .is_some_and(|at| now.saturating_duration_since(at) < FAILS_WITHIN);
        if failed {
            let (first, most) = self.back_offs;
            self.back_off = (self.back_off * 2).clamp(first, most);
            self.not_before = Some(now + self.back_off);
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn it_opens_when_more_has_fitted_for_the_hold_time_without_a_break() {
        let start = Instant::now();
        let mut gate = Gate::default();
        for (at, fits, open) in [
            (0.0, true, false),
            (0.9, true, false),
            (1.0, true, true),
            (1.1, false, false),
            (1.2, true, false),
            (2.1, true, false),
            (2.2, true, true),
        ] {
            assert_eq!(gate.look(start + seconds(at), HOLD, true, fits), open, "{at}");
        }
    }

    #[test]
    fn a_change_that_was_asked_for_waits_for_nothing_but_the_last_failure() {
        let start = Instant::now();
        let mut gate = Gate::default();
        gate.waive();
        assert!(gate.look(start, HOLD, true, true));
        gate.on_upgrade(start);
        gate.on_overload(start + seconds(1.0));
        gate.waive();
        assert!(!gate.look(start + seconds(2.0), HOLD, true, true));
    }

    #[test]
    fn each_failure_doubles_the_wait_and_an_upgrade_that_holds_clears_it() {
        let mut now = Instant::now();
        let mut gate = Gate::default();
        for wait in [4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            gate.on_upgrade(now);
            now += seconds(9.0);
            gate.on_overload(now);
            assert!(gate.is_backing_off(now + seconds(wait - 0.1)), "{wait}");
            assert!(!gate.is_backing_off(now + seconds(wait)), "{wait}");
            now += seconds(wait);
        }
        gate.on_upgrade(now);
        now += seconds(30.0);
        gate.look(now, HOLD, false, false);
        gate.on_upgrade(now);
        gate.on_overload(now + seconds(1.0));
        assert!(!gate.is_backing_off(now + seconds(5.0)));
    }

    #[test]
    fn an_upgrade_that_held_for_a_while_has_not_failed() {
        let start = Instant::now();
        let mut gate = Gate::default();
        gate.on_upgrade(start);
        gate.on_overload(start + seconds(15.0));
        assert!(!gate.is_backing_off(start + seconds(15.0)));
    }
}

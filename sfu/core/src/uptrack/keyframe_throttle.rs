//! How often a layer's sender is asked for a keyframe, however many subscribers want one.

use std::time::{Duration, Instant};

/// Between two requests. libwebrtc's encoder answers at most every 300 ms, so asking faster is in vain, and
/// asking slower (LiveKit's `pli_throttle` is 500 ms) keeps who joins just after another waiting.
pub const MIN_INTERVAL: Duration = Duration::from_millis(300);
/// Unanswered requests are repeated after that time (mediasoup's
/// `KeyFrameRetransmissionWaitTime`), then after twice as long each time …
const FIRST_RETRY: Duration = Duration::from_millis(1_000);
/// … up to this: a source that is off will not answer, one that comes back should not wait long.
const MAX_RETRY: Duration = Duration::from_secs(8);

/// One layer's requests. A keyframe answers all who asked before it.
#[derive(Clone, Debug, Default)]
pub struct KeyframeThrottle {
    last_request: Option<Instant>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Wanted, but too soon after the last request.
    Deferred { until: Instant },
    /// Asked for and not seen yet.
    Pending { retry_at: Instant, retry: Duration },
}

impl KeyframeThrottle {
    /// A keyframe is needed. True: send PLI or FIR now.
    pub fn request(&mut self, now: Instant) -> bool {
        if matches!(self.state, State::Idle) {
            let until = self.last_request.map_or(now, |last| last + MIN_INTERVAL);
            self.state = State::Deferred { until };
        }
        self.poll(now)
    }

    /// The layer's keyframe came.
    pub fn on_keyframe(&mut self) {
        self.state = State::Idle;
    }

    /// Nobody needs a keyframe any more.
    pub fn cancel(&mut self) {
        self.state = State::Idle;
    }

    /// A keyframe is wanted and has not come.
    pub fn is_waiting(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// True: send PLI or FIR now, deferred from before or once more.
    pub fn poll(&mut self, now: Instant) -> bool {
        let retry = match self.state {
            State::Deferred { until } if until <= now => FIRST_RETRY,
            State::Pending { retry_at, retry } if retry_at <= now => (retry * 2).min(MAX_RETRY),
            _ => return false,
        };
        self.last_request = Some(now);
        self.state = State::Pending {
            retry_at: now + retry,
            retry,
        };
        true
    }

    /// When [`Self::poll`] will say true.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Deferred { until } => Some(until),
            State::Pending { retry_at, .. } => Some(retry_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Do {
        Request,
        Poll,
        Keyframe,
    }
    use Do::{Keyframe, Poll, Request};

    #[test]
    fn requests_are_merged_deferred_and_repeated() {
        for (name, steps) in [
            ("first goes out", &[(0, Request, true)][..]),
            (
                "second waits for the first",
                &[(0, Request, true), (100, Request, false), (999, Poll, false)],
            ),
            (
                "repeated",
                &[
                    (0, Request, true),
                    (1_000, Poll, true),
                    (2_999, Poll, false),
                    (3_000, Poll, true),
                ],
            ),
            (
                "repeated by a late request",
                &[(0, Request, true), (1_200, Request, true)],
            ),
            (
                "answered",
                &[(0, Request, true), (80, Keyframe, false), (5_000, Poll, false)],
            ),
            (
                "too soon after an answer",
                &[
                    (0, Request, true),
                    (80, Keyframe, false),
                    (90, Request, false),
                    (299, Poll, false),
                    (300, Poll, true),
                ],
            ),
            (
                "deferred and answered meanwhile",
                &[
                    (0, Request, true),
                    (80, Keyframe, false),
                    (90, Request, false),
                    (200, Keyframe, false),
                    (300, Poll, false),
                ],
            ),
            (
                "later again",
                &[(0, Request, true), (80, Keyframe, false), (600, Request, true)],
            ),
        ] {
            let start = Instant::now();
            let mut throttle = KeyframeThrottle::default();
            for (at, step, expected) in steps {
                let now = start + Duration::from_millis(*at);
                let sent = match step {
                    Request => throttle.request(now),
                    Poll => throttle.poll(now),
                    Keyframe => {
                        throttle.on_keyframe();
                        false
                    }
                };
                assert_eq!(sent, *expected, "{name} at {at}");
            }
        }
    }

    #[test]
    fn a_silent_source_is_asked_ever_more_rarely() {
        let start = Instant::now();
        let mut throttle = KeyframeThrottle::default();
        throttle.request(start);
        let mut times = Vec::new();
        for _ in 0..6 {
            let due = throttle.poll_timeout().unwrap();
            assert!(throttle.poll(due));
            times.push((due - start).as_secs());
        }
        assert_eq!(times, [1, 3, 7, 15, 23, 31]);
        throttle.cancel();
        assert_eq!(throttle.poll_timeout(), None);
        assert!(!throttle.is_waiting());
    }
}

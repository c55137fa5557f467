//! When a worker looks for the feedback that the kernel has sorted out for it.
//!
//! While media flows, feedback wakes nobody: it is read after the media that the worker has woken for, or at
//! the latest after [`MAX_DELAY`]. A worker that sends nothing is woken by feedback as by anything else, so
//! that it need not look in vain.

use std::time::{Duration, Instant};

/// Longest wait of feedback while media flows: with one video of 25 frames a second and nothing else, each
/// frame's turn comes before it.
pub const MAX_DELAY: Duration = Duration::from_millis(45);
/// Least time between two looks, as each is a system call.
const MIN_SPACING: Duration = Duration::from_millis(5);
/// Without a packet sent for that long, media does not flow.
pub const QUIET_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct FeedbackSchedule {
    last_look: Instant,
    /// Packets sent, and when that number was last seen to have changed.
    sent: u64,
    sent_at: Instant,
    /// Feedback wakes the worker.
    is_awaited: bool,
    /// Feedback has woken the worker, or more of it may be waiting.
    is_ready: bool,
}

impl FeedbackSchedule {
    pub fn new(now: Instant) -> Self {
        Self {
            last_look: now,
            sent: 0,
            sent_at: now,
            is_awaited: false,
            is_ready: false,
        }
    }

    pub fn on_ready(&mut self) {
        self.is_ready = true;
    }

    /// When to look though nothing came; `None` where feedback wakes the worker.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.is_ready, self.is_awaited) {
            (true, _) => Some(self.last_look),
            (false, true) => None,
            (false, false) => Some(self.last_look + MAX_DELAY),
        }
    }

    /// Whether to look now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_ready || !self.is_awaited && now >= self.last_look + MIN_SPACING
    }

    /// After a look, which left some where `more`: whether feedback should wake the worker from now on, where
    /// that is not how it is. `sent` counts all packets that the worker ever sent.
    #[must_use]
    pub fn on_looked(&mut self, now: Instant, more: bool, sent: u64) -> Option<bool> {
        self.last_look = now;
        self.is_ready = more;
        if sent != self.sent {
            self.sent = sent;
            self.sent_at = now;
        }
        let awaited = now >= self.sent_at + QUIET_AFTER;
        (self.is_awaited != awaited).then_some(awaited)
    }

    /// Feedback wakes the worker, or does no more.
    pub fn set_awaited(&mut self, awaited: bool) {
        self.is_awaited = awaited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(40);

    #[test]
    fn while_media_flows_it_is_looked_for_behind_media_and_never_waited_for() {
        let mut now = Instant::now();
        let mut schedule = FeedbackSchedule::new(now);
        for frame in 1..100 {
            now += FRAME;
            assert!(schedule.poll_timeout().unwrap() > now, "the frame comes first");
            assert!(schedule.is_due(now));
            assert_eq!(schedule.on_looked(now, false, frame), None);
            assert!(!schedule.is_due(now + MIN_SPACING / 2), "the rest of the frame");
        }
    }

    #[test]
    fn without_media_it_wakes_the_worker_until_media_flows_again() {
        let start = Instant::now();
        let mut schedule = FeedbackSchedule::new(start);
        let mut now = start;
        while let Some(due) = schedule.poll_timeout() {
            now = due;
            assert!(schedule.is_due(now));
            let change = schedule.on_looked(now, false, 0);
            assert_eq!(change, (now >= start + QUIET_AFTER).then_some(true));
            schedule.set_awaited(change.is_some());
        }
        assert!(now < start + QUIET_AFTER + MAX_DELAY * 2);
        now += Duration::from_secs(60);
        assert!(!schedule.is_due(now));
        schedule.on_ready();
        assert!(schedule.is_due(now));
        assert_eq!(schedule.on_looked(now, false, 0), None, "nothing was sent");
        schedule.on_ready();
        assert_eq!(schedule.on_looked(now, false, 1), Some(false));
        schedule.set_awaited(false);
        assert_eq!(schedule.poll_timeout(), Some(now + MAX_DELAY));
    }

    #[test]
    fn what_a_look_left_is_due_at_once() {
        let now = Instant::now();
        let mut schedule = FeedbackSchedule::new(now);
        assert_eq!(schedule.on_looked(now, true, 1), None);
        assert!(schedule.is_due(now));
        assert!(schedule.poll_timeout().unwrap() <= now);
    }
}

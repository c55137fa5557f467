//! A greedy TCP flow: CUBIC (RFC 9438) with losses known a round trip later and one decrease for each window.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

pub const PACKET: usize = 1_500;
const CUBIC_C: f64 = 0.4;
const CUBIC_BETA: f64 = 0.7;
/// The way back of an acknowledgement.
const ACK_DELAY: Duration = Duration::from_millis(25);

pub struct Tcp {
    window: f64,
    threshold: f64,
    in_flight: u64,
    max_window: f64,
    since_loss: Option<Duration>,
    recovering_until: Duration,
    /// When the sender learns of a packet, and whether it was lost.
    events: BinaryHeap<Reverse<(Duration, bool)>>,
    pub received_bytes: u64,
}

impl Tcp {
    pub fn new() -> Self {
        Self {
            window: 10.0,
            threshold: f64::INFINITY,
            in_flight: 0,
            max_window: 0.0,
            since_loss: None,
            recovering_until: Duration::ZERO,
            events: BinaryHeap::new(),
            received_bytes: 0,
        }
    }

    /// Whether a packet may be sent.
    pub fn may_send(&self) -> bool {
        (self.in_flight as f64) < self.window
    }

    /// A packet was sent; it arrived, or would have, at `at`.
    pub fn on_sent(&mut self, at: Duration, is_lost: bool) {
        self.in_flight += 1;
        self.events.push(Reverse((at + ACK_DELAY, is_lost)));
    }

    pub fn handle_time(&mut self, now: Duration, round_trip: Duration) {
        while let Some(Reverse((at, is_lost))) = self.events.peek().copied()
            && at <= now
        {
            self.events.pop();
            self.in_flight -= 1;
            match is_lost {
                true => self.on_loss(now, round_trip),
                false => self.on_acknowledged(now),
            }
        }
    }

    fn on_loss(&mut self, now: Duration, round_trip: Duration) {
        if now < self.recovering_until {
            return;
        }
        self.recovering_until = now + round_trip;
        self.max_window = self.window;
        self.window = (self.window * CUBIC_BETA).max(2.0);
        self.threshold = self.window;
        self.since_loss = Some(now);
    }

    fn on_acknowledged(&mut self, now: Duration) {
        self.received_bytes += PACKET as u64;
        let Some(since) = self.since_loss.filter(|_| self.window >= self.threshold) else {
            self.window += 1.0;
            return;
        };
        let k = (self.max_window * (1.0 - CUBIC_BETA) / CUBIC_C).cbrt();
        let t = (now - since).as_secs_f64();
        let target = CUBIC_C * (t - k).powi(3) + self.max_window;
        // Never slower than Reno.
        let step = ((target - self.window) / self.window).clamp(1.0 / self.window, 0.5);
        self.window += step;
    }
}

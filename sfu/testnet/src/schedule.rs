//! What a direction's trace says about every moment, and how much it can move between two of them.

use std::time::Duration;

use crate::profile::{Direction, Outage};

/// What holds at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Bits per second; `None` is without limit.
    pub rate: Option<u64>,
    /// As `rate`, but while that is zero the one before: by this the length of the queue is measured.
    pub queue_rate: u64,
    pub delay: Duration,
    pub jitter: Duration,
    pub loss: f64,
    pub burst_loss: f64,
}

/// Bits times the nanoseconds of a second: a rate multiplied by a time in nanoseconds, so nothing is rounded.
pub type Work = u128;

const NANOS_PER_SECOND: Work = 1_000_000_000;

/// All times are since the link began.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// By the time from which they hold; the first is at zero.
    pieces: Vec<(Duration, Conditions)>,
    outages: Vec<Outage>,
    repeat: Option<Duration>,
}

impl Schedule {
    pub fn new(direction: &Direction) -> Self {
        let rate = direction.rate.map(|rate| rate.0);
        let mut now = Conditions {
            rate,
            queue_rate: rate.unwrap_or(0),
            delay: direction.delay,
            jitter: direction.jitter,
            loss: direction.loss.0,
            burst_loss: direction.burst_loss.0,
        };
        let mut pieces = vec![(Duration::ZERO, now)];
        for step in &direction.trace {
            if let Some(rate) = step.rate {
                now.rate = Some(rate.0);
                now.queue_rate = if rate.0 > 0 { rate.0 } else { now.queue_rate };
            }
            now.delay = step.delay.unwrap_or(now.delay);
            now.jitter = step.jitter.unwrap_or(now.jitter);
            now.loss = step.loss.map_or(now.loss, |share| share.0);
            now.burst_loss = step.burst_loss.map_or(now.burst_loss, |share| share.0);
            pieces.push((step.at, now));
        }
        Self {
            pieces,
            outages: direction.outages.clone(),
            repeat: direction.repeat,
        }
    }

    pub fn at(&self, time: Duration) -> &Conditions {
        self.piece(time).0
    }

    pub fn is_out(&self, time: Duration) -> bool {
        let (_, time) = self.in_round(time);
        self.outages
            .iter()
            .any(|outage| outage.at <= time && time < outage.at + outage.length)
    }

    /// What can be moved between two times.
    pub fn work(&self, mut from: Duration, to: Duration) -> Work {
        let mut work = 0;
        while from < to {
            let (conditions, end) = self.piece(from);
            let end = end.map_or(to, |end| end.min(to));
            work += moved(conditions, from, end);
            from = end;
        }
        work
    }

    /// When `work` is done that begins at `from`, rounded up to a nanosecond.
    pub fn finish(&self, mut from: Duration, mut work: Work) -> Duration {
        loop {
            let (conditions, end) = self.piece(from);
            let Some(rate) = conditions.rate else { return from };
            match end.map(|end| (end, moved(conditions, from, end))) {
                Some((end, possible)) if possible < work => (from, work) = (end, work - possible),
                // A last rate of zero is not let through by the profile's checks.
                _ => return from + nanos(work.div_ceil(Work::from(rate.max(1)))),
            }
        }
    }

    /// The piece of that time, and when it ends, if ever.
    fn piece(&self, time: Duration) -> (&Conditions, Option<Duration>) {
        let (round, time) = self.in_round(time);
        let next = self.pieces.partition_point(|(from, _)| *from <= time);
        let end = self.pieces.get(next).map(|(from, _)| *from).or(self.repeat);
        (&self.pieces[next - 1].1, end.map(|end| round + end))
    }

    /// When the present repetition began, and the time since.
    fn in_round(&self, time: Duration) -> (Duration, Duration) {
        let Some(repeat) = self.repeat else {
            return (Duration::ZERO, time);
        };
        let since = nanos(time.as_nanos() % repeat.as_nanos());
        (time - since, since)
    }
}

pub fn bits(bytes: usize) -> Work {
    8 * bytes as Work * NANOS_PER_SECOND
}

/// What `rate` moves in that time.
pub fn work_of(rate: u64, time: Duration) -> Work {
    Work::from(rate) * time.as_nanos()
}

fn moved(conditions: &Conditions, from: Duration, to: Duration) -> Work {
    conditions.rate.map_or(0, |rate| work_of(rate, to - from))
}

fn nanos(nanos: Work) -> Duration {
    Duration::new((nanos / NANOS_PER_SECOND) as u64, (nanos % NANOS_PER_SECOND) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn schedule(down: &str) -> Schedule {
        let profile: Profile = format!("[up]\n[down]\n{down}").parse().unwrap();
        Schedule::new(&profile.down)
    }

    /// 1 Mbit/s, nothing from 1 s on, 300 kbit/s from 2 s on.
    const TRACE: &str = "rate = '1Mbps'
        trace = [{ at = '1s', rate = '0kbps' }, { at = '2s', rate = '300kbps' }]";

    #[test]
    fn transmission_is_integrated_over_the_steps() {
        let once = schedule(TRACE);
        let again = schedule(&format!("{TRACE}\nrepeat = '3s'"));
        for (schedule, from, bytes, expected) in [
            (&once, 0, 1_250, 10),
            (&once, 990, 1_250, 1_000),
            // Half of it before the halt, the other half at 300 kbit/s.
            (&once, 995, 1_500, 2_000 + 7_000 / 300),
            (&once, 1_500, 375, 2_010),
            (&once, 10_000, 375, 10_010),
            (&again, 2_990, 375, 3_000),
            (&again, 2_990, 375 + 125, 3_001),
            // Two rounds and a half, of 1,300 kbit each.
            (&again, 0, 2_600_000 / 8 + 62_500, 6_500),
        ] {
            let finish = schedule.finish(ms(from), bits(bytes));
            assert_eq!(finish.as_millis(), expected, "{bytes} bytes from {from} ms");
            let work = schedule.work(ms(from), finish);
            assert!(work >= bits(bytes) && work < bits(bytes) + 1_000_000, "{from} {bytes}");
        }
    }

    #[test]
    fn conditions_hold_until_the_next_step() {
        let schedule = schedule(
            "delay = '50ms'
            loss = '1%'
            trace = [{ at = '1s', delay = '80ms' }, { at = '2s', loss = '10%' }]
            outages = [{ at = '500ms', for = '100ms' }]
            repeat = '4s'",
        );
        for (at, delay, loss) in [
            (0, 50, 0.01),
            (999, 50, 0.01),
            (1_000, 80, 0.01),
            (2_000, 80, 0.1),
            (3_999, 80, 0.1),
            (4_000, 50, 0.01),
            (9_000, 80, 0.01),
        ] {
            let conditions = schedule.at(ms(at));
            assert_eq!((conditions.delay, conditions.loss), (ms(delay), loss), "{at} ms");
        }
        for (at, out) in [(499, false), (500, true), (599, true), (600, false), (4_500, true)] {
            assert_eq!(schedule.is_out(ms(at)), out, "{at} ms");
        }
    }
}

//! One direction of a link: what becomes of each packet that is sent into it.
//!
//! In this order: an outage; a drop-tail queue before a transmitter of limited rate; losses, which have used the
//! transmitter as losses in the air do; delay with jitter; re-ordering. The same seed gives the same fates to the
//! same packets, on all machines.

use std::time::Duration;

use serde::Serialize;

use crate::profile::Direction;
use crate::random::{Concern, Dice};
use crate::schedule::{Schedule, bits, work_of};

/// What a UDP payload needs besides itself: the sizes that a link is told include it.
pub const UDP_IPV4_HEADERS: usize = 20 + 8;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at this time, on the same clock as it was sent by.
    Arrives(Duration),
    /// It was transmitted, and lost on the way.
    Lost,
    /// It found the queue full.
    Overflowed,
    /// The link was dead when it was sent, or when it had left the queue.
    Outage,
}

/// What became of all packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    pub sent: u64,
    pub sent_bytes: u64,
    /// Those with a time of arrival, also where it is not yet reached.
    pub arrived: u64,
    pub arrived_bytes: u64,
    pub lost: u64,
    pub overflowed: u64,
    pub outage: u64,
}

/// One direction of a link, with the fates of its packets still to come.
#[derive(Clone, Debug)]
pub struct Link {
    schedule: Schedule,
    queue: Duration,
    reorder: f64,
    reorder_by: Duration,
    bursts: Bursts,
    dice: DiceByConcern,
    counters: Counters,
    /// The clock's time at which `schedule` began; the times below are since then.
    began: Duration,
    now: Duration,
    busy_until: Duration,
    last_arrival: Duration,
    /// An outage by command, from and until.
    cut: Option<(Duration, Duration)>,
}

#[derive(Clone, Debug)]
struct DiceByConcern {
    loss: Dice,
    jitter: Dice,
    reordering: Dice,
}

impl Link {
    /// # Panics
    /// Where the direction makes no sense, such as bursts without a length; one that was read from a file does.
    pub fn new(direction: &Direction, seed: u64) -> Self {
        let dice = |concern| Dice::new(seed, concern);
        direction.assert_sense();
        Self {
            schedule: Schedule::new(direction),
            queue: direction.queue,
            reorder: direction.reorder.0,
            reorder_by: direction.reorder_by,
            bursts: Bursts::new(direction.burst_length, dice(Concern::BurstLoss)),
            dice: DiceByConcern {
                loss: dice(Concern::Loss),
                jitter: dice(Concern::Jitter),
                reordering: dice(Concern::Reordering),
            },
            counters: Counters::default(),
            began: Duration::ZERO,
            now: Duration::ZERO,
            busy_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
            cut: None,
        }
    }

    /// Sends a packet of that many bytes, IP and UDP (or TCP) headers included. `at` is the time since the link
    /// began; it never goes back, and an earlier one counts as the last.
    pub fn send(&mut self, at: Duration, bytes: usize) -> Fate {
        self.advance(at);
        let fate = self.fate(bytes);
        self.counters.count(fate, bytes);
        match fate {
            Fate::Arrives(arrival) => Fate::Arrives(self.began + arrival),
            other => other,
        }
    }

    /// How long a packet that was sent at `at` would wait for its turn.
    pub fn waiting(&self, at: Duration) -> Duration {
        self.busy_until.saturating_sub(at.saturating_sub(self.began))
    }

    /// Bytes that the link can move between two times, outages left aside; `None` without a limit. What was before the
    /// last [`Self::set_direction`] is not known any more.
    pub fn capacity(&self, from: Duration, to: Duration) -> Option<u64> {
        self.schedule.at(Duration::ZERO).rate?;
        let [from, to] = [from, to].map(|time| time.saturating_sub(self.began));
        Some((self.schedule.work(from, to) / bits(1)) as u64)
    }

    /// Kills the link for a time, beside the outages of its profile; a second call replaces the first.
    pub fn cut(&mut self, from: Duration, until: Duration) {
        let since = |time: Duration| time.saturating_sub(self.began);
        self.cut = Some((since(from), since(until)));
    }

    /// Ends what [`Self::cut`] began.
    pub fn mend(&mut self) {
        self.cut = None;
    }

    /// Goes on as another direction, whose trace begins now. What is queued stays queued, and what has its time of
    /// arrival keeps it; the dice go on.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn set_direction(&mut self, at: Duration, direction: &Direction) {
        direction.assert_sense();
        self.advance(at);
        let queued = self.schedule.work(self.now, self.busy_until);
        let now = std::mem::take(&mut self.now);
        self.schedule = Schedule::new(direction);
        self.queue = direction.queue;
        self.reorder = direction.reorder.0;
        self.reorder_by = direction.reorder_by;
        self.bursts.length = direction.burst_length;
        self.began += now;
        self.busy_until = self.schedule.finish(Duration::ZERO, queued);
        self.last_arrival = self.last_arrival.saturating_sub(now);
        self.cut = self
            .cut
            .map(|(from, until)| (from.saturating_sub(now), until.saturating_sub(now)));
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn advance(&mut self, at: Duration) {
        self.now = self.now.max(at.saturating_sub(self.began));
    }

    fn fate(&mut self, bytes: usize) -> Fate {
        if self.is_out(self.now) {
            return Fate::Outage;
        }
        let Some(leaves) = self.transmit(bytes) else {
            return Fate::Overflowed;
        };
        if self.is_out(leaves) {
            return Fate::Outage;
        }
        let conditions = *self.schedule.at(leaves);
        // All dice are thrown for every packet, so that what one says does not move the others.
        let is_lost = self.dice.loss.chance(conditions.loss) | self.bursts.loses(conditions.burst_loss);
        let jitter = conditions.jitter.as_secs_f64() * self.dice.jitter.normal();
        let is_held_back = self.dice.reordering.chance(self.reorder);
        if is_lost {
            return Fate::Lost;
        }
        let delay = (conditions.delay.as_secs_f64() + jitter).max(0.0);
        let arrival = leaves + Duration::from_secs_f64(delay);
        if is_held_back {
            return Fate::Arrives(arrival + self.reorder_by);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        Fate::Arrives(self.last_arrival)
    }

    /// When the last bit of a packet leaves, unless the queue is full.
    fn transmit(&mut self, bytes: usize) -> Option<Duration> {
        let conditions = self.schedule.at(self.now);
        if conditions.rate.is_none() {
            return Some(self.now);
        }
        let turn = self.now.max(self.busy_until);
        let queued = self.schedule.work(self.now, turn);
        if queued > work_of(conditions.queue_rate, self.queue) {
            return None;
        }
        self.busy_until = self.schedule.finish(turn, bits(bytes));
        Some(self.busy_until)
    }

    fn is_out(&self, time: Duration) -> bool {
        let is_cut = self.cut.is_some_and(|(from, until)| from <= time && time < until);
        is_cut || self.schedule.is_out(time)
    }
}

impl Counters {
    fn count(&mut self, fate: Fate, bytes: usize) {
        self.sent += 1;
        self.sent_bytes += bytes as u64;
        match fate {
            Fate::Arrives(_) => {
                self.arrived += 1;
                self.arrived_bytes += bytes as u64;
            }
            Fate::Lost => self.lost += 1,
            Fate::Overflowed => self.overflowed += 1,
            Fate::Outage => self.outage += 1,
        }
    }
}

/// Losses in bursts: Gilbert's model, a chain of a good state that loses nothing and a bad one that loses all.
///
/// Hohlfeld, Geib and Haßlinger, "Packet loss in real-time services: Markovian models generating QoE impairments"
/// (IWQoS 2008) gives its parameters from mean loss p and mean burst length L: bad → good 1/L,
/// good → bad p / (L (1 - p)).
#[derive(Clone, Debug)]
struct Bursts {
    length: f64,
    is_bad: bool,
    dice: Dice,
}

impl Bursts {
    fn new(length: f64, dice: Dice) -> Self {
        Self {
            length,
            is_bad: false,
            dice,
        }
    }

    /// The next packet's.
    fn loses(&mut self, mean: f64) -> bool {
        let change = if mean <= 0.0 {
            f64::from(self.is_bad)
        } else if self.is_bad {
            1.0 / self.length
        } else {
            mean / (self.length * (1.0 - mean))
        };
        self.is_bad ^= self.dice.chance(change);
        self.is_bad
    }
}

#[cfg(test)]
mod tests;

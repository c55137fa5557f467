//! A link in virtual time: packets of any kind go in, and come out when their time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::link::{Fate, Link};

/// A [`Link`] with what is on its way. Times are since the link began.
#[derive(Debug)]
pub struct VirtualLink<T> {
    link: Link,
    queue: BinaryHeap<Reverse<OnItsWay<T>>>,
    pushed: u64,
}

impl<T> VirtualLink<T> {
    pub fn new(link: Link) -> Self {
        Self {
            link,
            queue: BinaryHeap::new(),
            pushed: 0,
        }
    }

    /// Sends `packet`, whose `bytes` include the IP and UDP headers. What it says is for who wants to know; a packet
    /// that does not arrive is gone.
    pub fn push(&mut self, now: Duration, bytes: usize, packet: T) -> Fate {
        let fate = self.link.send(now, bytes);
        if let Fate::Arrives(at) = fate {
            self.queue.push(Reverse(OnItsWay {
                at,
                order: self.pushed,
                packet,
            }));
            self.pushed += 1;
        }
        fate
    }

    /// The next packet that has arrived by `now`; to be asked until there is none.
    pub fn poll(&mut self, now: Duration) -> Option<T> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.queue.pop().map(|Reverse(on_its_way)| on_its_way.packet)
    }

    /// When [`Self::poll`] will have something, if nothing more is sent.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse(on_its_way)| on_its_way.at)
    }

    /// Packets on their way.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Loses all packets that are on their way.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    pub fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }
}

#[derive(Debug)]
struct OnItsWay<T> {
    at: Duration,
    order: u64,
    packet: T,
}

impl<T> OnItsWay<T> {
    /// Those that arrive together stay in the order in which they were sent.
    fn key(&self) -> (Duration, u64) {
        (self.at, self.order)
    }
}

impl<T> PartialEq for OnItsWay<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for OnItsWay<T> {}

impl<T> PartialOrd for OnItsWay<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for OnItsWay<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn packets_come_out_when_their_time_has_come() {
        // 100 bytes take a millisecond.
        let profile: Profile = "[down]\nrate = '800kbps'\nqueue = '1s'\ndelay = '50ms'\n[up]"
            .parse()
            .unwrap();
        let mut link = VirtualLink::new(profile.down_link(0));
        assert_eq!(link.next_arrival(), None);
        assert_eq!(link.push(ms(0), 100, "first"), Fate::Arrives(ms(51)));
        assert_eq!(link.push(ms(0), 100, "second"), Fate::Arrives(ms(52)));
        assert_eq!(link.push(ms(10), 100, "third"), Fate::Arrives(ms(61)));
        assert_eq!(link.poll(ms(50)), None);
        assert_eq!(link.next_arrival(), Some(ms(51)));
        assert_eq!(link.poll(ms(51)), Some("first"));
        assert_eq!(link.poll(ms(51)), None);
        assert_eq!(link.poll(ms(100)), Some("second"));
        assert_eq!(link.poll(ms(100)), Some("third"));
        assert!(link.is_empty());
    }

    #[test]
    fn what_was_held_back_is_overtaken_and_the_rest_stays_in_order() {
        let profile: Profile = "[down]\nreorder = '10%'\nreorder_by = '5ms'\n[up]".parse().unwrap();
        let mut link = VirtualLink::new(profile.down_link(3));
        let mut came = Vec::new();
        for number in 0..1_000 {
            let now = ms(number);
            link.push(now, 100, number);
            came.extend(std::iter::from_fn(|| link.poll(now)));
        }
        let mut newest = 0;
        let mut late = 0;
        for number in came {
            late += u64::from(number < newest);
            newest = newest.max(number);
        }
        assert!((70..130).contains(&late), "{late} of 1000 late");
    }
}

//! Both directions of a link, with what is on its way in them.

use std::time::Duration;

use serde::Serialize;

use crate::link::{Counters, Fate};
use crate::profile::Profile;
use crate::virtual_link::VirtualLink;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

/// What became of all packets, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkCounters {
    pub down: Counters,
    pub up: Counters,
}

/// A link of two directions in virtual time. Times are since it began.
#[derive(Debug)]
pub struct Duplex<T> {
    down: VirtualLink<T>,
    up: VirtualLink<T>,
}

impl<T> Duplex<T> {
    pub fn new(profile: &Profile, seed: u64) -> Self {
        Self {
            down: VirtualLink::new(profile.down_link(seed)),
            up: VirtualLink::new(profile.up_link(seed)),
        }
    }

    /// As [`VirtualLink::push`].
    pub fn push(&mut self, way: Way, now: Duration, bytes: usize, packet: T) -> Fate {
        self.way_mut(way).push(now, bytes, packet)
    }

    /// The next packet that has arrived by `now` in either direction; to be asked until there is none.
    pub fn poll(&mut self, now: Duration) -> Option<(Way, T)> {
        let first = match (self.down.next_arrival(), self.up.next_arrival()) {
            (Some(down), Some(up)) if up < down => Way::Up,
            (None, _) => Way::Up,
            _ => Way::Down,
        };
        self.way_mut(first).poll(now).map(|packet| (first, packet))
    }

    /// As [`VirtualLink::next_arrival`].
    pub fn next_arrival(&self) -> Option<Duration> {
        let ways = [self.down.next_arrival(), self.up.next_arrival()];
        ways.into_iter().flatten().min()
    }

    /// Kills both directions for a time.
    pub fn cut(&mut self, from: Duration, until: Duration) {
        self.down.link_mut().cut(from, until);
        self.up.link_mut().cut(from, until);
    }

    pub fn mend(&mut self) {
        self.down.link_mut().mend();
        self.up.link_mut().mend();
    }

    /// Goes on with another profile, whose trace begins now.
    pub fn set_profile(&mut self, now: Duration, profile: &Profile) {
        self.down.link_mut().set_direction(now, &profile.down);
        self.up.link_mut().set_direction(now, &profile.up);
    }

    pub fn way(&self, way: Way) -> &VirtualLink<T> {
        match way {
            Way::Down => &self.down,
            Way::Up => &self.up,
        }
    }

    pub fn counters(&self) -> LinkCounters {
        LinkCounters {
            down: *self.down.link().counters(),
            up: *self.up.link().counters(),
        }
    }

    fn way_mut(&mut self, way: Way) -> &mut VirtualLink<T> {
        match way {
            Way::Down => &mut self.down,
            Way::Up => &mut self.up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn packets_come_by_their_times_whichever_way_they_go() {
        let profile: Profile = "[down]\ndelay = '30ms'\n[up]\ndelay = '20ms'".parse().unwrap();
        let mut link = Duplex::new(&profile, 1);
        link.push(Way::Down, ms(0), 100, 'a');
        link.push(Way::Up, ms(0), 100, 'b');
        link.push(Way::Up, ms(20), 100, 'c');
        assert_eq!(link.next_arrival(), Some(ms(20)));
        let came: Vec<_> = std::iter::from_fn(|| link.poll(ms(40))).collect();
        assert_eq!(came, [(Way::Up, 'b'), (Way::Down, 'a'), (Way::Up, 'c')]);
        assert_eq!(link.poll(ms(100)), None);

        link.cut(ms(50), ms(60));
        assert_eq!(link.push(Way::Up, ms(50), 100, 'd'), Fate::Outage);
        assert_eq!(link.push(Way::Down, ms(50), 100, 'd'), Fate::Outage);
        link.mend();
        link.set_profile(ms(55), &"[down]\n[up]".parse().unwrap());
        assert_eq!(link.push(Way::Down, ms(55), 100, 'e'), Fate::Arrives(ms(55)));
        assert_eq!(link.counters().down.sent, 3);
    }
}

//! Meetings in which nobody has been yet, by who made them: they make room for others, those of the address with the most
//! of them first, so that one that makes thousands only pushes out its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::network::Network;

pub struct Unused {
    per_network: usize,
    grace: Duration,
    next: u64,
    /// The meetings of each network, oldest first.
    networks: HashMap<Network, BTreeMap<u64, (String, Instant)>>,
    /// Networks by how many they have.
    by_count: BTreeSet<(usize, Network)>,
    made: HashMap<String, (Network, u64)>,
}

impl Unused {
    pub fn new(per_network: usize, grace: Duration) -> Self {
        Self {
            per_network: per_network.max(1),
            grace,
            next: 0,
            networks: HashMap::new(),
            by_count: BTreeSet::new(),
            made: HashMap::new(),
        }
    }

    pub fn add(&mut self, now: Instant, id: &str, network: Network) {
        let number = self.next;
        self.next += 1;
        self.made.insert(id.to_owned(), (network, number));
        self.change(network, |meetings| {
            meetings.insert(number, (id.to_owned(), now));
        });
    }

    /// Somebody is in it, or it is gone. Unknown ones are no error.
    pub fn remove(&mut self, id: &str) {
        if let Some((network, number)) = self.made.remove(id) {
            self.change(network, |meetings| {
                meetings.remove(&number);
            });
        }
    }

    /// Takes out the oldest meeting of a network that has as many as it may.
    pub fn take_surplus(&mut self, network: Network) -> Option<String> {
        let meetings = self.networks.get(&network)?;
        if meetings.len() < self.per_network {
            return None;
        }
        self.take_oldest_of(network)
    }

    /// Takes out the meeting that makes room when there is no space.
    pub fn take_dispensable(&mut self, now: Instant) -> Option<String> {
        let &(count, network) = self.by_count.last()?;
        if count > 1 {
            return self.take_oldest_of(network);
        }
        let firsts = self.networks.iter().filter_map(|(network, meetings)| {
            let (number, (_, made_at)) = meetings.first_key_value()?;
            Some((*number, *network, *made_at))
        });
        let (_, network, made_at) = firsts.min_by_key(|(number, ..)| *number)?;
        let is_old = now.saturating_duration_since(made_at) >= self.grace;
        is_old.then(|| self.take_oldest_of(network)).flatten()
    }

    fn take_oldest_of(&mut self, network: Network) -> Option<String> {
        let (id, _) = self.networks.get(&network)?.first_key_value()?.1.clone();
        self.remove(&id);
        Some(id)
    }

    fn change(&mut self, network: Network, act: impl FnOnce(&mut BTreeMap<u64, (String, Instant)>)) {
        let meetings = self.networks.entry(network).or_default();
        self.by_count.remove(&(meetings.len(), network));
        act(meetings);
        if meetings.is_empty() {
            self.networks.remove(&network);
        } else {
            self.by_count.insert((meetings.len(), network));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(300);

    fn network(number: u32) -> Network {
        Network::site(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn who_makes_thousands_pushes_out_his_own() {
        let now = Instant::now();
        let mut unused = Unused::new(3, GRACE);
        unused.add(now, "honest", network(1));
        for number in 0..3 {
            assert_eq!(unused.take_surplus(network(2)), None);
            unused.add(now, &format!("bad{number}"), network(2));
        }
        assert_eq!(unused.take_surplus(network(2)).as_deref(), Some("bad0"));
        assert_eq!(unused.take_dispensable(now).as_deref(), Some("bad1"));
        // One each: only an old one goes.
        assert_eq!(unused.take_dispensable(now), None);
        assert_eq!(unused.take_dispensable(now + GRACE).as_deref(), Some("honest"));
    }

    #[test]
    fn a_meeting_in_which_somebody_was_is_not_dispensable() {
        let now = Instant::now();
        let mut unused = Unused::new(3, GRACE);
        unused.add(now, "a", network(1));
        unused.add(now, "b", network(1));
        unused.remove("a");
        unused.remove("a");
        assert_eq!(unused.take_dispensable(now + GRACE).as_deref(), Some("b"));
        assert_eq!(unused.take_dispensable(now + GRACE), None);
        assert!(unused.made.is_empty() && unused.networks.is_empty() && unused.by_count.is_empty());
    }
}

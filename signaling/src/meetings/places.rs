//! Media sessions of this process, all meetings together: who may open another, and who makes room for it. A session whose
//! media has not connected proves nothing, so those are what is counted by address and what goes first.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tianqiao_protocol::{ErrorCode, ParticipantId};

use crate::network::Network;
use crate::refusal::Refusal;

/// For so long those who connected from an address vouch for as many more: a hall that lost its network comes back.
const VOUCH_FOR: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    pub max_sessions: usize,
    /// Of `max_sessions`, for those who come back.
    pub reserve: usize,
    pub unconnected_per_network: usize,
    pub unconnected_grace: Duration,
}

#[derive(Clone, Copy)]
struct Place {
    network: Network,
    /// Of a session whose media has not connected.
    waiting: Option<u64>,
}

#[derive(Default)]
struct FromNetwork {
    /// Oldest first.
    waiting: BTreeMap<u64, (ParticipantId, Instant)>,
    sessions: usize,
    /// Those who connected in this span and in the one before.
    connected: [usize; 2],
    span_began: Option<Instant>,
}

impl FromNetwork {
    fn turn(&mut self, now: Instant) {
        let began = *self.span_began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed >= 2 * VOUCH_FOR {
            self.connected = [0, 0];
        } else if passed >= VOUCH_FOR {
            self.connected = [0, self.connected[0]];
        } else {
            return;
        }
        self.span_began = Some(now);
    }
}

pub struct Places {
    limits: PlaceLimits,
    next: u64,
    places: HashMap<ParticipantId, Place>,
    networks: HashMap<Network, FromNetwork>,
    /// Sessions whose media has not connected, oldest first.
    waiting: BTreeMap<u64, (ParticipantId, Instant)>,
}

impl Places {
    pub fn new(limits: PlaceLimits) -> Self {
        Self {
            limits,
            next: 0,
            places: HashMap::new(),
            networks: HashMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Takes a place, and names the sessions that must end for it.
    pub fn take(
        &mut self,
        now: Instant,
        id: &ParticipantId,
        network: Network,
        returns: bool,
    ) -> Result<Vec<ParticipantId>, Refusal> {
        let mut evicted = Vec::new();
        let from = self.networks.entry(network).or_default();
        from.turn(now);
        let allowed = self.limits.unconnected_per_network + from.connected.iter().sum::<usize>();
        let waiting = from.waiting.len();
        if !returns && waiting >= allowed.max(1) {
            let oldest = from.waiting.values().next().cloned();
            evicted.push(self.ripe(now, oldest, "too many unconnected sessions from your address")?);
        }
        let reserve = if returns { 0 } else { self.limits.reserve };
        let room = self.limits.max_sessions.saturating_sub(reserve);
        if self.places.len() - evicted.len() >= room {
            let stays = |(id, _): &&(ParticipantId, Instant)| !evicted.contains(id);
            let own = self
                .networks
                .get(&network)
                .and_then(|from| from.waiting.values().find(stays));
            let own = own.filter(|(_, since)| self.is_ripe(now, *since));
            let oldest = own.or_else(|| self.waiting.values().find(stays)).cloned();
            evicted.push(self.ripe(now, oldest, "the server is full")?);
        }
        for gone in &evicted {
            self.free(gone);
        }
        let number = self.next;
        self.next += 1;
        let place = Place {
            network,
            waiting: Some(number),
        };
        self.places.insert(id.clone(), place);
        self.waiting.insert(number, (id.clone(), now));
        let from = self.networks.entry(network).or_default();
        from.waiting.insert(number, (id.clone(), now));
        from.sessions += 1;
        Ok(evicted)
    }

    /// A session that was let in elsewhere and goes on here, whatever the limits.
    pub fn adopt(&mut self, now: Instant, id: &ParticipantId, network: Network, connected: bool) {
        let number = self.next;
        self.next += 1;
        let waiting = (!connected).then_some(number);
        self.places.insert(id.clone(), Place { network, waiting });
        let from = self.networks.entry(network).or_default();
        from.turn(now);
        from.sessions += 1;
        if connected {
            from.connected[0] += 1;
        } else {
            self.waiting.insert(number, (id.clone(), now));
            from.waiting.insert(number, (id.clone(), now));
        }
    }

    /// The session's media has connected.
    pub fn on_connected(&mut self, now: Instant, id: &str) {
        let Some(place) = self.places.get_mut(id) else {
            return;
        };
        let Some(number) = place.waiting.take() else {
            return;
        };
        let network = place.network;
        self.waiting.remove(&number);
        if let Some(from) = self.networks.get_mut(&network) {
            from.waiting.remove(&number);
            from.turn(now);
            from.connected[0] += 1;
        }
    }

    /// The session is gone. Unknown ones are no error.
    pub fn free(&mut self, id: &str) {
        let Some(place) = self.places.remove(id) else {
            return;
        };
        let from = self.networks.get_mut(&place.network);
        if let Some(number) = place.waiting {
            self.waiting.remove(&number);
        }
        if let Some(from) = from {
            from.sessions -= 1;
            if let Some(number) = place.waiting {
                from.waiting.remove(&number);
            }
        }
    }

    /// Forgets networks of which nothing is left.
    pub fn sweep(&mut self, now: Instant) {
        self.networks.retain(|_, from| {
            from.turn(now);
            from.sessions > 0 || from.connected != [0, 0]
        });
    }

    fn is_ripe(&self, now: Instant, since: Instant) -> bool {
        now.saturating_duration_since(since) >= self.limits.unconnected_grace
    }

    fn ripe(
        &self,
        now: Instant,
        oldest: Option<(ParticipantId, Instant)>,
        refusal: &'static str,
    ) -> Result<ParticipantId, Refusal> {
        match oldest {
            Some((id, since)) if self.is_ripe(now, since) => Ok(id),
            _ => Err(Refusal::busy(
                ErrorCode::Unavailable,
                refusal,
                self.limits.unconnected_grace,
            )),
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.waiting.is_empty() && self.networks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PlaceLimits = PlaceLimits {
        max_sessions: 10,
        reserve: 2,
        unconnected_per_network: 3,
        unconnected_grace: Duration::from_secs(5),
    };

    fn network(number: u32) -> Network {
        Network::host(std::net::Ipv4Addr::from_bits(number).into())
    }

    struct Bench {
        places: Places,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                places: Places::new(LIMITS),
                start: Instant::now(),
            }
        }

        fn take(&mut self, second: u64, id: &str, from: u32, returns: bool) -> Option<Vec<String>> {
            let now = self.start + Duration::from_secs(second);
            self.places.take(now, &id.to_owned(), network(from), returns).ok()
        }

        fn connect(&mut self, second: u64, id: &str) {
            self.places.on_connected(self.start + Duration::from_secs(second), id);
        }
    }

    #[test]
    fn one_address_has_few_sessions_that_never_connect() {
        let mut bench = Bench::new();
        for id in ["a", "b", "c"] {
            assert_eq!(bench.take(0, id, 1, false), Some(vec![]));
        }
        assert_eq!(bench.take(1, "d", 1, false), None, "all are too young to go");
        assert_eq!(bench.take(1, "e", 2, false), Some(vec![]));
        assert_eq!(bench.take(6, "d", 1, false), Some(vec!["a".to_owned()]));
    }

    #[test]
    fn those_who_connected_vouch_for_as_many_again() {
        let mut bench = Bench::new();
        for number in 0..6 {
            let id = format!("first{number}");
            assert!(bench.take(0, &id, 1, false).is_some());
            bench.connect(0, &id);
        }
        for number in 0..6 {
            bench.places.free(&format!("first{number}"));
        }
        for number in 0..8 {
            assert_eq!(
                bench.take(20, &format!("again{number}"), 1, false),
                Some(vec![]),
                "{number}"
            );
        }
    }

    #[test]
    fn when_the_server_is_full_the_unconnected_make_room_and_some_is_kept_for_who_returns() {
        let mut bench = Bench::new();
        for number in 0..8 {
            let id = format!("s{number}");
            assert_eq!(bench.take(0, &id, number, false), Some(vec![]));
            if number != 3 {
                bench.connect(0, &id);
            }
        }
        assert_eq!(bench.take(1, "early", 20, false), None);
        assert_eq!(bench.take(1, "back", 21, true), Some(vec![]));
        bench.connect(1, "back");
        assert_eq!(bench.take(6, "late", 22, false), Some(vec!["s3".to_owned()]));
    }

    #[test]
    fn nothing_is_kept_of_those_who_are_gone() {
        let mut bench = Bench::new();
        for number in 0..5 {
            bench.take(0, &format!("s{number}"), number, false);
            bench.connect(0, "s1");
        }
        for number in 0..5 {
            bench.places.free(&format!("s{number}"));
            bench.places.free(&format!("s{number}"));
        }
        bench.places.sweep(bench.start + 3 * VOUCH_FOR);
        assert!(bench.places.is_empty());
    }
}

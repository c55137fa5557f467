//! Who has how many streams, and who gives way where there are too many: those over which no valid STUN check
//! has come, the oldest first. An address alone says little, as many people may share one.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use rustc_hash::FxHashMap;
use tianqiao_sfu_core::path::TcpStreamId;

use super::TcpSettings;

/// Networks of hosts that one customer may have; what they may have unproven together is this many
/// times what one may.
const HOSTS_PER_SITE: usize = 4;
/// An IPv6 host has a /64 to itself, a customer a /56 (RFC 6177).
const HOST_PREFIX: u32 = 64;
const SITE_PREFIX: u32 = 56;

/// Whose places are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Worker,
    Host,
    HostUnproven,
    SiteUnproven,
}

pub struct Places {
    settings: TcpSettings,
    count: usize,
    /// In the order in which they came, as their ids are.
    unproven: BTreeSet<u32>,
    hosts: FxHashMap<IpAddr, Host>,
    sites: FxHashMap<IpAddr, BTreeSet<u32>>,
}

#[derive(Default)]
struct Host {
    count: usize,
    unproven: BTreeSet<u32>,
}

impl Places {
    pub fn new(settings: TcpSettings) -> Self {
        Self {
            settings,
            count: 0,
            unproven: BTreeSet::new(),
            hosts: FxHashMap::default(),
            sites: FxHashMap::default(),
        }
    }

    /// Why there is no place for one more stream from `ip`.
    pub fn is_full(&self, ip: IpAddr) -> Option<Full> {
        let host = self.hosts.get(&network(ip, HOST_PREFIX));
        let host_unproven = host.map_or(0, |host| host.unproven.len());
        let site_unproven = self.sites.get(&network(ip, SITE_PREFIX)).map_or(0, BTreeSet::len);
        let most = self.settings.max_unproven_per_address;
        if host.map_or(0, |host| host.count) >= self.settings.max_streams_per_address {
            Some(Full::Host)
        } else if host_unproven >= most {
            Some(Full::HostUnproven)
        } else if site_unproven >= most.saturating_mul(HOSTS_PER_SITE) {
            Some(Full::SiteUnproven)
        } else {
            (self.count >= self.settings.max_streams).then_some(Full::Worker)
        }
    }

    /// The stream that gives way to one from `ip`; `None` where all that could have proven themselves.
    pub fn oldest_of(&self, full: Full, ip: IpAddr) -> Option<TcpStreamId> {
        let among = match full {
            Full::Worker => &self.unproven,
            Full::Host | Full::HostUnproven => &self.hosts.get(&network(ip, HOST_PREFIX))?.unproven,
            Full::SiteUnproven => self.sites.get(&network(ip, SITE_PREFIX))?,
        };
        among.first().copied().map(TcpStreamId)
    }

    pub fn oldest(&self) -> Option<TcpStreamId> {
        self.unproven.first().copied().map(TcpStreamId)
    }

    pub fn is_unproven(&self, id: TcpStreamId) -> bool {
        self.unproven.contains(&id.0)
    }

    pub fn add(&mut self, id: TcpStreamId, ip: IpAddr) {
        self.count += 1;
        self.unproven.insert(id.0);
        let host = self.hosts.entry(network(ip, HOST_PREFIX)).or_default();
        host.count += 1;
        host.unproven.insert(id.0);
        self.sites.entry(network(ip, SITE_PREFIX)).or_default().insert(id.0);
    }

    /// A valid check came over it.
    pub fn prove(&mut self, id: TcpStreamId, ip: IpAddr) {
        self.unproven.remove(&id.0);
        if let Some(host) = self.hosts.get_mut(&network(ip, HOST_PREFIX)) {
            host.unproven.remove(&id.0);
        }
        let site = network(ip, SITE_PREFIX);
        if let Some(unproven) = self.sites.get_mut(&site) {
            unproven.remove(&id.0);
            if unproven.is_empty() {
                self.sites.remove(&site);
            }
        }
    }

    pub fn remove(&mut self, id: TcpStreamId, ip: IpAddr) {
        self.prove(id, ip);
        self.count -= 1;
        let key = network(ip, HOST_PREFIX);
        if let Some(host) = self.hosts.get_mut(&key) {
            host.count -= 1;
            if host.count == 0 {
                self.hosts.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.unproven.is_empty() && self.hosts.is_empty() && self.sites.is_empty()
    }
}

/// An IPv4 address, or the network of an IPv6 address.
fn network(ip: IpAddr, prefix: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - prefix))).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// As the listener does; whether the stream got a place, and who gave way.
    fn come(places: &mut Places, streams: &mut FxHashMap<u32, IpAddr>, id: u32, from: IpAddr) -> (bool, Vec<u32>) {
        let mut gone = Vec::new();
        while let Some(full) = places.is_full(from) {
            let Some(oldest) = places.oldest_of(full, from) else {
                return (false, gone);
            };
            let of = streams.remove(&oldest.0).expect("one that is there");
            places.remove(oldest, of);
            gone.push(oldest.0);
        }
        places.add(TcpStreamId(id), from);
        streams.insert(id, from);
        (true, gone)
    }

    fn places(max_streams: usize, per_address: usize, unproven: usize) -> (Places, FxHashMap<u32, IpAddr>) {
        let settings = TcpSettings {
            max_streams,
            max_streams_per_address: per_address,
            max_unproven_per_address: unproven,
            ..TcpSettings::default()
        };
        (Places::new(settings), FxHashMap::default())
    }

    #[test]
    fn many_addresses_cannot_keep_a_client_out() {
        let (mut places, mut streams) = places(64, 16, 8);
        let mut next = 0..;
        let mut proven = Vec::new();
        for round in 0..1_000u32 {
            let attacker = IpAddr::from([10, 0, (round >> 8) as u8, round as u8]);
            assert!(come(&mut places, &mut streams, next.next().unwrap(), attacker).0);
            if round % 20 == 0 {
                let client = IpAddr::from([192, 0, 2, (round / 20) as u8]);
                let id = next.next().unwrap();
                assert!(come(&mut places, &mut streams, id, client).0);
                places.prove(TcpStreamId(id), client);
                proven.push(id);
            }
        }
        assert_eq!(streams.len(), 64);
        assert!(
            proven.iter().all(|id| streams.contains_key(id)),
            "none of them gave way"
        );
        streams.iter().for_each(|(&id, &ip)| places.remove(TcpStreamId(id), ip));
        assert!(places.is_empty());
    }

    #[test]
    fn a_crowd_behind_one_address_fits_once_it_has_proven_itself() {
        let (mut places, mut streams) = places(4_096, 1_024, 64);
        let crowd = ip("192.0.2.1");
        for id in 0..500 {
            assert_eq!(come(&mut places, &mut streams, id, crowd), (true, Vec::new()));
            places.prove(TcpStreamId(id), crowd);
        }
        // A stranger behind the same address takes places only from its like.
        for id in 1_000..2_000 {
            let (has_place, gone) = come(&mut places, &mut streams, id, crowd);
            assert!(has_place && gone.iter().all(|&gone| gone >= 1_000));
        }
        assert_eq!(streams.len(), 564);
    }

    #[test]
    fn where_all_have_proven_themselves_a_newcomer_is_refused() {
        for (max_streams, per_address) in [(2, 9), (9, 2)] {
            let (mut places, mut streams) = places(max_streams, per_address, 5);
            for id in 0..2 {
                assert!(come(&mut places, &mut streams, id, ip("192.0.2.1")).0);
                places.prove(TcpStreamId(id), ip("192.0.2.1"));
            }
            assert_eq!(come(&mut places, &mut streams, 2, ip("192.0.2.1")), (false, Vec::new()));
        }
    }

    #[test]
    fn an_ipv6_customer_has_as_many_unproven_as_four_hosts() {
        let (mut places, mut streams) = places(1_000, 1_000, 8);
        for id in 0..256u32 {
            let host = Ipv6Addr::new(0x2001, 0xdb8, 1, id as u16, 0, 0, 0, 1);
            assert!(come(&mut places, &mut streams, id, host.into()).0);
        }
        assert_eq!(streams.len(), 32);
        assert_eq!(
            network(ip("2001:db8:0:1::5"), 64),
            network(ip("2001:db8:0:1:ffff::6"), 64)
        );
        assert_ne!(network(ip("2001:db8:0:1::5"), 64), network(ip("2001:db8:0:2::5"), 64));
        assert_eq!(network(ip("::ffff:192.0.2.1"), 64), ip("192.0.2.1"));
    }
}

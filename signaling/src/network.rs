//! What counts as one address where strangers are counted.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use tianqiao_protocol::control::Origin;

/// The first address of a network; the key under which those who share it are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Network(IpAddr);

impl Network {
    /// An IPv4 address, or the /64 that an IPv6 host has to itself.
    pub fn host(ip: IpAddr) -> Self {
        Self::masked(ip, 64)
    }

    /// An IPv4 address, or the /56 that an IPv6 customer has to itself (RFC 6177): who owns one owns 256 of [`Self::host`].
    pub fn site(ip: IpAddr) -> Self {
        Self::masked(ip, 56)
    }

    fn masked(ip: IpAddr, prefix: u32) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - prefix))).into()),
            v4 => Self(v4),
        }
    }
}

/// Sites as media servers are told of them: numbers that say nothing of the addresses, and mean the same for as long as
/// the process lives.
#[derive(Default)]
pub struct Origins(RandomState);

impl Origins {
    pub fn of(&self, ip: IpAddr) -> Origin {
        self.0.hash_one(Network::site(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_grouped_as_hosts_and_customers_own_them() {
        for (ip, host, site) in [
            ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.3"),
            ("2001:db8:1:203:4:5:6:7", "2001:db8:1:203::", "2001:db8:1:200::"),
        ] {
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(Network::host(parse(ip)), Network(parse(host)));
            assert_eq!(Network::site(parse(ip)), Network(parse(site)));
        }
    }
}

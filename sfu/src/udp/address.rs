//! Socket addresses as the kernel writes them. On a dual-stack socket IPv4 peers appear as
//! IPv4-mapped IPv6 addresses; outside this module they are plain IPv4, so that paths compare equal.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use libc::{sa_family_t, sockaddr_in, sockaddr_in6, socklen_t};

/// An IPv4-mapped address as IPv4; IPv6 flow information is dropped.
pub fn normalise(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), v6.port()),
            None => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id())),
        },
    }
}

/// Room for either kind of address. `sockaddr_in6` is the larger one, and both begin with the family.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union RawAddr {
    family: sa_family_t,
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

pub(super) const RAW_ADDR_LEN: socklen_t = size_of::<RawAddr>() as socklen_t;

impl RawAddr {
    pub(super) fn unspecified() -> Self {
        // SAFETY: all fields of both structures are integers, for which zero is a value.
        unsafe { zeroed() }
    }

    /// The address as a socket of the given family wants it, with its length. `None`: an IPv4
    /// socket cannot reach an IPv6 address.
    pub(super) fn new(addr: SocketAddr, ipv6_socket: bool) -> Option<(Self, socklen_t)> {
        let (ip, scope_id) = match addr {
            SocketAddr::V4(v4) if ipv6_socket => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V4(v4) => return Some(Self::new_v4(*v4.ip(), v4.port())),
            SocketAddr::V6(v6) if ipv6_socket => (*v6.ip(), v6.scope_id()),
            SocketAddr::V6(v6) => {
                let ip = v6.ip().to_ipv4_mapped()?;
                return Some(Self::new_v4(ip, v6.port()));
            }
        };
        let mut raw = Self::unspecified();
        raw.v6 = sockaddr_in6 {
            sin6_family: libc::AF_INET6 as sa_family_t,
            sin6_port: addr.port().to_be(),
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
            sin6_scope_id: scope_id,
        };
        Some((raw, size_of::<sockaddr_in6>() as socklen_t))
    }

    fn new_v4(ip: Ipv4Addr, port: u16) -> (Self, socklen_t) {
        let mut raw = Self::unspecified();
        raw.v4 = sockaddr_in {
            sin_family: libc::AF_INET as sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(ip.octets()),
            },
            sin_zero: [0; 8],
        };
        (raw, size_of::<sockaddr_in>() as socklen_t)
    }

    /// The normalised address, where the kernel wrote one of the internet families.
    pub(super) fn read(&self) -> Option<SocketAddr> {
        // SAFETY: both structures begin with the family, and every bit pattern is an integer.
        let family = libc::c_int::from(unsafe { self.family });
        if family == libc::AF_INET {
            // SAFETY: the family says so, and every bit pattern is a valid `sockaddr_in`.
            let v4 = unsafe { self.v4 };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        } else if family == libc::AF_INET6 {
            // SAFETY: the family says so, and every bit pattern is a valid `sockaddr_in6`.
            let v6 = unsafe { self.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let addr = SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id);
            Some(normalise(SocketAddr::V6(addr)))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_form_and_mapped_ones_come_back_plain() {
        for (addr, ipv6_socket, expected) in [
            ("192.0.2.1:4000", false, Some("192.0.2.1:4000")),
            ("192.0.2.1:4000", true, Some("192.0.2.1:4000")),
            ("[2001:db8::1]:4000", true, Some("[2001:db8::1]:4000")),
            ("[::ffff:192.0.2.1]:4000", true, Some("192.0.2.1:4000")),
            ("[::ffff:192.0.2.1]:4000", false, Some("192.0.2.1:4000")),
            ("[2001:db8::1]:4000", false, None),
        ] {
            let raw = RawAddr::new(addr.parse().expect("an address"), ipv6_socket);
            let read = raw.map(|(raw, _)| raw.read().expect("an internet family"));
            assert_eq!(
                read,
                expected.map(|e| e.parse().expect("an address")),
                "{addr} {ipv6_socket}"
            );
        }
    }

    #[test]
    fn an_unwritten_address_is_none() {
        assert_eq!(RawAddr::unspecified().read(), None);
    }

    #[test]
    fn the_scope_of_a_link_local_address_is_kept_and_its_flow_is_not() {
        let addr = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().expect("ip"), 9, 77, 3));
        let (raw, _) = RawAddr::new(addr, true).expect("same family");
        assert_eq!(
            raw.read(),
            Some(SocketAddr::V6(SocketAddrV6::new(
                "fe80::1".parse().expect("ip"),
                9,
                0,
                3
            )))
        );
    }
}

//! Whose request it is, where proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The peer's address; where the peer is a trusted proxy, the last entry of `X-Forwarded-For` that is not one itself.
/// What stands before an entry that cannot be read is not believed.
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|network| network.contains(ip));
    let mut client = peer.to_canonical();
    let values = headers.get_all("x-forwarded-for").iter();
    // Proxies append, to the last header of that name or by another one.
    let mut entries = values
        .rev()
        .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    while is_trusted(&client) {
        let Some(ip) = entries.next().and_then(|entry| address(entry.trim())) else {
            break;
        };
        client = ip;
    }
    client
}

/// `ip`, `ip:port`, `[ipv6]` or `[ipv6]:port`.
fn address(entry: &str) -> Option<IpAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    let ip = entry.parse::<IpAddr>().ok().or_else(with_port).or_else(bracketed);
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_that_no_trusted_proxy_is_counts() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().expect("a network"));
        for (peer, headers, expected) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.9 ,10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.9", "10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9:1234"], "203.0.113.9"),
            ("10.0.0.1", &["2001:db9::7"], "2001:db9::7"),
            ("10.0.0.1", &["[2001:db9::7]"], "2001:db9::7"),
            ("10.0.0.1", &["[2001:db9::7]:443"], "2001:db9::7"),
            ("2001:db8::1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &["", "[::1"], "10.0.0.1"),
        ] {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append("x-forwarded-for", value.parse().expect("a header"));
            }
            let ip = client_ip(peer.parse().expect("an address"), &map, &trusted);
            assert_eq!(
                ip,
                expected.parse::<IpAddr>().expect("an address"),
                "{peer} {headers:?}"
            );
        }
    }
}

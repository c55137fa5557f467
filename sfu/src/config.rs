//! Settings of an SFU node.

use std::net::{IpAddr, Ipv4Addr};

use tianqiao_bus::NodeId;
pub use tianqiao_sfu_core::rate::RateLimits;
pub use tianqiao_sfu_core::rooms::RoomsLimits;
use tianqiao_sfu_core::sdp::CodecPreferences;
pub use tianqiao_sfu_core::sdp::SdpLimits;
pub use tianqiao_sfu_core::units::Bitrate;
pub use tianqiao_sfu_core::worker_core::SpeechConfig;

pub use crate::node::{IntakeConfig, QueueLimits};
pub use crate::tcp::TcpSettings;
use crate::udp;

/// Every address costs each answer two candidate lines, and each client two checks.
const MAX_DETECTED_ADDRS: usize = 8;

#[derive(Clone, Debug)]
pub struct SfuConfig {
    /// The node's name on the bus.
    pub node: NodeId,
    pub region: String,
    /// Where its own HTTP port is, if it has one.
    pub http: String,
    /// Worker threads, at most 255; 0: one per core.
    pub workers: usize,
    /// Keeps each worker on a core of its own, where there are exactly as many cores.
    pub pin_workers: bool,
    /// Addresses announced to clients; empty: those of this machine's interfaces.
    pub media_addrs: Vec<IpAddr>,
    /// UDP and TCP port of the first worker, the next one has the next port; 0: any free ports.
    pub media_port: u16,
    /// Where the workers' sockets are bound.
    pub media_bind: IpAddr,
    pub limits: RoomsLimits,
    /// Of each worker; that of all that it sends is replaced by its share of `max_bitrate`.
    pub rates: RateLimits,
    /// Of all media that the node sends; 0: no limit.
    pub max_bitrate: Bitrate,
    pub speech: SpeechConfig,
    pub sdp: SdpLimits,
    pub intake: IntakeConfig,
    pub codecs: CodecPreferences,
    /// Agrees to congestion control feedback by RFC 8888 where a client offers it.
    pub rfc8888: bool,
    /// Of each worker.
    pub tcp: TcpSettings,
}

impl Default for SfuConfig {
    fn default() -> Self {
        Self {
            node: "local".to_owned(),
            region: String::new(),
            http: String::new(),
            workers: 0,
            pin_workers: true,
            media_addrs: Vec::new(),
            media_port: 10_000,
            media_bind: udp::wildcard(),
            limits: RoomsLimits::default(),
            rates: RateLimits::default(),
            max_bitrate: Bitrate(0),
            speech: SpeechConfig::default(),
            sdp: SdpLimits::default(),
            intake: IntakeConfig::default(),
            codecs: CodecPreferences::default(),
            rfc8888: false,
            tcp: TcpSettings::default(),
        }
    }
}

impl SfuConfig {
    /// How many workers there will be; `None` where it is too many.
    pub fn worker_count(&self) -> Option<u8> {
        match self.workers {
            0 => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                Some(u8::try_from(cores).unwrap_or(u8::MAX))
            }
            workers => u8::try_from(workers).ok(),
        }
    }

    /// The rates of one of `workers`.
    pub fn worker_rates(&self, workers: u8) -> RateLimits {
        RateLimits {
            worker: Bitrate(self.max_bitrate.0.div_ceil(u64::from(workers.max(1)))),
            ..self.rates
        }
    }

    /// The addresses to announce: the given ones, else the detected ones that the sockets can use.
    pub fn announced_addrs(&self) -> Vec<IpAddr> {
        if !self.media_addrs.is_empty() {
            return self.media_addrs.clone();
        }
        if !self.media_bind.is_unspecified() {
            return vec![self.media_bind];
        }
        let mut addrs = match if_addrs::get_if_addrs() {
            Ok(interfaces) => {
                let up = interfaces.into_iter().filter(|interface| interface.is_oper_up());
                announceable(up.map(|interface| interface.ip()))
            }
            Err(error) => {
                tracing::warn!(%error, "cannot list the network interfaces; set the media address");
                Vec::new()
            }
        };
        if self.media_bind.is_ipv4() {
            addrs.retain(IpAddr::is_ipv4);
        }
        // A browser on this machine can meet without any network.
        addrs.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        addrs
    }
}

/// Those that a client elsewhere may reach, IPv4 first.
fn announceable(addrs: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for addr in addrs {
        let reachable = match addr {
            IpAddr::V4(v4) => !v4.is_link_local(),
            // A link-local address means nothing without the scope of the client's own interface.
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        let usable = reachable && !addr.is_loopback() && !addr.is_unspecified() && !addr.is_multicast();
        if usable && !found.contains(&addr) {
            found.push(addr);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found.truncate(MAX_DETECTED_ADDRS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn only_reachable_addresses_are_announced() {
        let all = [
            "::1",
            "127.0.0.1",
            "fe80::1",
            "2001:db8::1",
            "10.0.0.5",
            "169.254.3.4",
            "10.0.0.5",
        ];
        assert_eq!(
            announceable(addrs(&all).into_iter()),
            addrs(&["10.0.0.5", "2001:db8::1"])
        );
    }

    #[test]
    fn given_addresses_are_taken_as_they_are() {
        let mut config = SfuConfig {
            media_addrs: addrs(&["203.0.113.7"]),
            ..SfuConfig::default()
        };
        assert_eq!(config.announced_addrs(), addrs(&["203.0.113.7"]));
        config.media_addrs.clear();
        assert_eq!(config.announced_addrs().last(), Some(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        config.media_bind = addrs(&["127.0.0.1"])[0];
        assert_eq!(config.announced_addrs(), addrs(&["127.0.0.1"]));
    }
}

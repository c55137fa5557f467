//! Where attacks take place: in a network namespace with nothing but loopback, where the system lets this
//! process have one. There the tool may have as many IPv6 addresses as it likes, and nothing gets out.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv6Addr;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

/// /64s of attackers, of several /56s.
const NETWORKS: u16 = 64;

/// IPv6 addresses of attackers.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    v6: Vec<Ipv6Addr>,
    /// Nothing of the attacks can leave the machine or meet anything else on it.
    pub is_isolated: bool,
}

impl Sources {
    /// The machine's loopback.
    pub fn shared() -> Self {
        let v6 = Self::can_bind(Ipv6Addr::LOCALHOST);
        Self {
            v6: v6.then_some(Ipv6Addr::LOCALHOST).into_iter().collect(),
            is_isolated: false,
        }
    }

    /// Moves this thread, and those that it starts from now on, into a namespace of their own. Without
    /// the right to do so everything stays where it is.
    pub fn isolate() -> Self {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            tracing::info!(%error, "no network namespace: attackers have but one IPv6 address");
            return Self::shared();
        }
        let mut commands = "link set lo up\n".to_owned();
        for addr in networks() {
            let _ = writeln!(commands, "addr add {addr}/128 dev lo nodad");
        }
        if !ip(&commands) {
            tracing::warn!("`ip` of iproute2 does not do all that a network of our own needs");
        }
        Self {
            v6: match Self::can_bind(networks()[0]) {
                true => networks(),
                false => Self::shared().v6,
            },
            is_isolated: true,
        }
    }

    fn can_bind(addr: Ipv6Addr) -> bool {
        std::net::UdpSocket::bind((addr, 0)).is_ok()
    }

    pub fn v6(&self) -> &[Ipv6Addr] {
        &self.v6
    }
}

/// One unique local address (RFC 4193) of each /64.
fn networks() -> Vec<Ipv6Addr> {
    let addr = |network: u16| Ipv6Addr::new(0xfd74, 0x6971, 0x616f, network << 4, 0, 0, 0, 1);
    (0..NETWORKS).map(addr).collect()
}

/// Does all of `commands`, a line each.
fn ip(commands: &str) -> bool {
    let child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return false };
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(commands.as_bytes()));
    child.wait().is_ok_and(|status| status.success()) && matches!(written, Some(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_of_another_64() {
        let networks: std::collections::HashSet<_> = networks().iter().map(|addr| addr.to_bits() >> 64).collect();
        assert_eq!(networks.len(), usize::from(NETWORKS));
        assert!(networks.iter().all(|network| network >> 16 == 0xfd74_6971_616f));
    }
}

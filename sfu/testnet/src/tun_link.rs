//! A weak link between the network of this thread and a network namespace, over two TUN devices. It carries
//! everything: page, TLS, WebSocket and media. As root.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::duplex::Way;
use crate::netns::{Netns, NetworkError, ip};
use crate::profile::Profile;
use crate::pump::{Ends, Pump, READS_AT_ONCE, Report};
use crate::tun::Tun;

/// As Ethernet's. A link that carries less is one for a profile of its own.
const MTU: usize = 1_500;
/// Links that a machine can have at once.
const MAX_LINKS: u32 = 256;
/// Of RFC 2544's range for benchmarks the half that no test uses for bridges and pairs.
const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
/// Room for a client that changes its address.
const PREFIX_LEN: u32 = 29;
/// A name by which a browser takes it for a cable.
const CLIENT_DEVICE: &str = "eth0";

/// A running link with its namespace; all is removed when this is dropped.
pub struct TunLink {
    server: Ipv4Addr,
    client: Ipv4Addr,
    device: String,
    strays: Arc<AtomicU64>,
    // Before the namespace, so that nothing is sent any more when its processes end.
    pump: Pump<Tuns>,
    netns: Netns,
}

impl TunLink {
    /// The server's side is where this thread is, the client's a new namespace whose default route is the link.
    ///
    /// # Errors
    /// [`NetworkError::NotAllowed`] without root, iproute2 or /dev/net/tun.
    pub fn start(profile: &Profile, seed: u64) -> Result<Self, NetworkError> {
        let netns = Netns::create("link")?;
        let (number, server_tun) = server_tun()?;
        let device = server_device(number);
        let client_tun = netns.enter(|| Tun::create(CLIENT_DEVICE)).map_err(failed)?;
        let [server, client] = [1, 2].map(|host| address(number, host));
        let (address, mtu) = (|addr| format!("{addr}/{PREFIX_LEN}"), MTU.to_string());
        ip(&["addr", "add", &address(server), "dev", &device])?;
        netns.ip(&["addr", "add", &address(client), "dev", CLIENT_DEVICE])?;
        // No IPv6: its router solicitations would be packets of nobody's. A kernel without it does not mind.
        let _ = ip(&["link", "set", &device, "addrgenmode", "none"]);
        let _ = netns.ip(&["link", "set", CLIENT_DEVICE, "addrgenmode", "none"]);
        ip(&["link", "set", &device, "mtu", &mtu, "up"])?;
        netns.ip(&["link", "set", CLIENT_DEVICE, "mtu", &mtu, "up"])?;
        // A browser only believes in a network that leads to the world.
        netns.ip(&["route", "add", "default", "via", &server.to_string()])?;
        let strays = Arc::default();
        let tuns = Tuns {
            server: server_tun,
            client: client_tun,
            server_addr: server,
            strays: Arc::clone(&strays),
            buffer: [0; MTU],
        };
        Ok(Self {
            server,
            client,
            device,
            strays,
            pump: Pump::start(tuns, profile, seed).map_err(failed)?,
            netns,
        })
    }

    /// The server's address, as the client sees it.
    pub fn server(&self) -> Ipv4Addr {
        self.server
    }

    /// The client's address. The next four are free, for one that moves.
    pub fn client(&self) -> Ipv4Addr {
        self.client
    }

    /// The server's device.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Where the client is.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Kills the link for a time, from now on.
    pub fn cut(&self, length: Duration) {
        self.pump.cut(length);
    }

    /// Ends what [`Self::cut`] began.
    pub fn mend(&self) {
        self.pump.mend();
    }

    /// Goes on with another profile, whose trace begins now.
    pub fn set_profile(&self, profile: Profile) {
        self.pump.set_profile(profile);
    }

    /// What the link has done so far.
    pub fn report(&self) -> Report {
        self.pump.report()
    }

    /// Packets for elsewhere than the other side, such as a browser's for its maker. They get nowhere, and take
    /// nothing of the link.
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }
}

/// The first that is free.
fn server_tun() -> Result<(u32, Tun), NetworkError> {
    for number in 0..MAX_LINKS {
        match Tun::create(&server_device(number)) {
            Ok(tun) => return Ok((number, tun)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(NetworkError::NotAllowed(format!("/dev/net/tun: {error}"))),
        }
    }
    Err(NetworkError::Failed(format!("there are {MAX_LINKS} links already")))
}

fn server_device(number: u32) -> String {
    format!("tqlink{number}")
}

fn address(number: u32, host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(NETWORK.to_bits() + (number << (32 - PREFIX_LEN)) + host)
}

fn failed(error: io::Error) -> NetworkError {
    NetworkError::Failed(error.to_string())
}

struct Tuns {
    server: Tun,
    client: Tun,
    server_addr: Ipv4Addr,
    strays: Arc<AtomicU64>,
    buffer: [u8; MTU],
}

impl Ends for Tuns {
    type Packet = Vec<u8>;

    fn readable(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.server.as_fd(), self.client.as_fd()]
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Way, usize, Vec<u8>)) {
        for (way, tun) in [(Way::Down, &self.server), (Way::Up, &self.client)] {
            for _ in 0..READS_AT_ONCE {
                let Ok(packet) = tun.read(&mut self.buffer) else { break };
                let Some(to) = ipv4_destination(packet) else { continue };
                if (way == Way::Up) == (to == self.server_addr) {
                    sink(way, packet.len(), packet.to_vec());
                } else {
                    self.strays.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn deliver(&mut self, way: Way, packet: Vec<u8>) -> usize {
        let to = match way {
            Way::Down => &self.client,
            Way::Up => &self.server,
        };
        // A device that has been taken down loses it, as any network would.
        let _ = to.write(&packet);
        packet.len()
    }
}

/// RFC 791, section 3.1.
fn ipv4_destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (packet[0] >> 4 == 4).then(|| destination.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_networks_of_their_own() {
        for (number, host, expected) in [
            (0, 1, [198, 19, 0, 1]),
            (0, 2, [198, 19, 0, 2]),
            (1, 1, [198, 19, 0, 9]),
            (31, 6, [198, 19, 0, 254]),
            (32, 1, [198, 19, 1, 1]),
            (MAX_LINKS - 1, 1, [198, 19, 7, 249]),
        ] {
            assert_eq!(address(number, host).octets(), expected);
        }
    }

    #[test]
    fn only_ipv4_has_a_destination() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[198, 19, 0, 1]);
        assert_eq!(ipv4_destination(&packet), Some(Ipv4Addr::new(198, 19, 0, 1)));
        assert_eq!(ipv4_destination(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(ipv4_destination(&packet), None);
    }
}

//! UDP datagrams with somebody else's address as source, and what comes of them there.

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};

use crate::network::{Host, Network};

const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// IPPROTO_RAW (raw(7)): the sender writes the IP header.
const RAW: i32 = 255;

/// Sends to the server from wherever it likes.
pub struct Forger {
    socket: Socket,
    server: SocketAddrV4,
    /// UDP payload that it has sent in the victim's name, by port.
    pub bytes: HashMap<u16, usize>,
}

impl Forger {
    pub fn new(network: &Network, server: SocketAddr) -> Self {
        let IpAddr::V4(ip) = server.ip() else {
            panic!("the network has IPv4 only")
        };
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW))).expect("a raw socket");
        Self {
            socket: network.at(Host::Attacker, open),
            server: SocketAddrV4::new(ip, server.port()),
            bytes: HashMap::new(),
        }
    }

    /// From `port` of the victim.
    pub fn send(&mut self, port: u16, payload: &[u8]) {
        let packet = ipv4_udp(SocketAddrV4::new(Host::Victim.addr(), port), self.server, payload);
        let to = SocketAddrV4::new(*self.server.ip(), 0).into();
        self.socket.send_to(&packet, &to).expect("sent");
        *self.bytes.entry(port).or_default() += payload.len();
    }
}

/// With no UDP checksum, as IPv4 allows; the kernel fills in that of IP.
fn ipv4_udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_len = (UDP_HEADER + payload.len()) as u16;
    let mut packet = vec![0; IPV4_HEADER];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(IPV4_HEADER as u16 + udp_len).to_be_bytes());
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    for field in [from.port(), to.port(), udp_len, 0] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// Counts what comes to whichever port; nobody there has asked for anything.
pub struct Bystander {
    socket: Socket,
    server: Ipv4Addr,
    /// UDP payload from the server, by port.
    pub bytes: HashMap<u16, usize>,
}

impl Bystander {
    pub fn new(network: &Network, server: SocketAddr) -> Self {
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).expect("a raw socket");
        let socket = network.at(Host::Victim, open);
        socket.set_nonblocking(true).expect("set");
        assert_eq!(server.ip(), IpAddr::V4(Host::Server.addr()));
        Self {
            socket,
            server: Host::Server.addr(),
            bytes: HashMap::new(),
        }
    }

    /// Takes what has come; how many packets it was.
    ///
    /// # Panics
    /// Where anything is media.
    pub fn receive(&mut self) -> usize {
        let mut buffer = [0; 2048];
        let mut packets = 0;
        while let Ok(len) = self.socket.read(&mut buffer) {
            let header_len = 4 * usize::from(buffer[0] & 0x0f);
            let payload = &buffer[header_len + UDP_HEADER..len];
            if buffer[12..16] != self.server.octets() {
                continue;
            }
            let kind = classify(payload);
            assert!(
                matches!(kind, Ok(PacketKind::Stun | PacketKind::Dtls)),
                "{kind:?} of {} bytes came to the victim",
                payload.len()
            );
            let port = u16::from_be_bytes([buffer[header_len + 2], buffer[header_len + 3]]);
            *self.bytes.entry(port).or_default() += payload.len();
            packets += 1;
        }
        packets
    }
}

//! A bridge with a server, an attacker, a victim and honest clients on it, each in a network namespace of its
//! own, and so with an address that only it can read at.

use std::net::{Ipv4Addr, UdpSocket};

use tianqiao_testnet::netns::{Netns, NetworkError, or_skip};

#[derive(Clone, Copy)]
pub enum Host {
    Server,
    Attacker,
    Victim,
    Honest,
}

use Host::{Attacker, Honest, Server, Victim};

impl Host {
    /// RFC 2544's range for benchmarks.
    pub fn addr(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1 + self as u8)
    }
}

/// The namespaces; they are removed when this is dropped, also by a panic.
pub struct Network {
    /// By [`Host`].
    hosts: [Netns; 4],
}

impl Network {
    /// `None`, and says why, where this machine does not allow it.
    pub fn create() -> Option<Self> {
        let server = or_skip(Netns::create("test"))?;
        // What is allowed so far is allowed to the end: a failure from here on is one of the test.
        let other = || Netns::create("test").expect("another namespace");
        let network = Self {
            hosts: [server, other(), other(), other()],
        };
        network.connect().expect("a bridge");
        Some(network)
    }

    fn connect(&self) -> Result<(), NetworkError> {
        let server = self.netns(Server);
        let addr = |host: Host| format!("{}/24", host.addr());
        server.ip(&["link", "add", "bridge", "type", "bridge"])?;
        server.ip(&["addr", "add", &addr(Server), "dev", "bridge"])?;
        server.ip(&["link", "set", "bridge", "up"])?;
        for host in [Attacker, Victim, Honest] {
            let netns = self.netns(host);
            let port = format!("port{}", host as u8);
            let peer = ["type", "veth", "peer", "name", "eth0", "netns", netns.name()];
            server.ip(&[&["link", "add", &port][..], &peer].concat())?;
            server.ip(&["link", "set", &port, "master", "bridge", "up"])?;
            netns.ip(&["addr", "add", &addr(host), "dev", "eth0"])?;
            netns.ip(&["link", "set", "eth0", "up"])?;
        }
        // One network, so even a strict reverse path filter lets the victim's address through.
        Ok(())
    }

    /// Runs `work` at `host`: sockets that it makes, and threads that it starts, stay there.
    pub fn at<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> T {
        self.netns(host).enter(work)
    }

    pub fn udp(&self, host: Host) -> UdpSocket {
        self.at(host, || UdpSocket::bind((host.addr(), 0)).expect("a socket"))
    }

    fn netns(&self, host: Host) -> &Netns {
        &self.hosts[host as usize]
    }
}

//! Two network namespaces with a veth pair between them: a network without hardware for servers that
//! leave loopback out.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use tianqiao_testnet::netns::Netns;

use super::place::{Place, Side};

/// RFC 2544's range for benchmarks.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const GENERATOR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// The namespaces; they are removed, with whatever runs in them, when this is dropped.
pub struct Veth {
    server: Netns,
    generator: Netns,
}

impl Veth {
    /// Needs root. What a killed run has left behind is removed first.
    pub fn create() -> Result<Self> {
        let [server, generator] = [Netns::create("bench")?, Netns::create("bench")?];
        let peer = ["peer", "name", "bench0", "netns", generator.name()];
        server.ip(&[&["link", "add", "bench0", "type", "veth"], &peer[..]].concat())?;
        for (netns, addr) in [(&server, SERVER), (&generator, GENERATOR)] {
            netns.ip(&["addr", "add", &format!("{addr}/30"), "dev", "bench0"])?;
            netns.ip(&["link", "set", "bench0", "up"])?;
        }
        Ok(Self { server, generator })
    }

    /// The sides of `place` in these namespaces.
    pub fn place(&self, place: Place) -> Place {
        let side = |side: Side, addr: Ipv4Addr, netns: &Netns| Side {
            addr: IpAddr::V4(addr),
            netns: Some(netns.name().to_owned()),
            ..side
        };
        Place {
            server: side(place.server, SERVER, &self.server),
            generator: side(place.generator, GENERATOR, &self.generator),
        }
    }
}

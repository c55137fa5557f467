//! How a packet came in and where one goes out.

use std::net::SocketAddr;

/// A TCP stream that the shell accepted on a worker's port; never reused while the worker lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpStreamId(pub u32);

/// Which of this machine's addresses a datagram came to, numbered by the socket; what is sent must leave
/// from the same one, or the peer does not know it again. 0: the only one, or as the routes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocalAddr(pub u8);

/// One pair of transport addresses, as the worker's shell tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    Udp {
        remote: SocketAddr,
        local: LocalAddr,
    },
    /// ICE-TCP passive (RFC 6544), framed by RFC 4571; the framing stays in the shell.
    Tcp {
        stream: TcpStreamId,
        remote: SocketAddr,
    },
}

impl Path {
    /// Over UDP, from whichever local address the routes say.
    pub fn udp(remote: SocketAddr) -> Self {
        Self::Udp {
            remote,
            local: LocalAddr::default(),
        }
    }

    pub fn remote(&self) -> SocketAddr {
        match *self {
            Self::Udp { remote, .. } | Self::Tcp { remote, .. } => remote,
        }
    }
}

//! How a packet came in and where one goes out.

use std::net::SocketAddr;

/// A TCP stream that the shell accepted on a worker's port; never reused while the worker lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpStreamId(pub u32);

/// One remote transport address, as the worker's shell tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    Udp(SocketAddr),
    /// ICE-TCP passive (RFC 6544), framed by RFC 4571; the framing stays in the shell.
    Tcp {
        stream: TcpStreamId,
        remote: SocketAddr,
    },
}

impl Path {
    pub fn remote(&self) -> SocketAddr {
        match *self {
            Self::Udp(remote) | Self::Tcp { remote, .. } => remote,
        }
    }
}

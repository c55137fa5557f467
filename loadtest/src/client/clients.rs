//! Which kind of client, and what runs it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::driver;
use super::lean::LeanPeer;
use super::lean::engine::Engine;
use super::peer::{MediaSink, Peer, PeerConfig};
use super::rtc_peer::RtcPeer;
use super::sdp;
use super::session::MediaSession;

/// Room for a second of video while a client waits for its turn; the kernel may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ClientKind {
    /// Over the server's own transport core, many to a thread: leaves the machine to the server.
    #[default]
    Lean,
    /// Over the `rtc` crate, each with a task of its own: costs more, and nothing of it is ours.
    Webrtc,
}

impl ClientKind {
    /// # Errors
    /// Where the system has no more of the threads that lean clients share.
    pub fn start(self, threads: usize) -> Result<Clients> {
        Ok(match self {
            Self::Lean => Clients::Lean(Engine::start(threads)?),
            Self::Webrtc => Clients::Webrtc,
        })
    }
}

/// A kind of client, and what runs it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clients {
    /// Over the `rtc` crate, each with a tokio task of its own: behaves as a WebRTC stack does.
    #[default]
    Webrtc,
    /// Over the server's own transport core, many to a thread: cost next to nothing.
    Lean(Engine),
}

impl Clients {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Webrtc => "webrtc",
            Self::Lean(_) => "lean",
        }
    }

    pub fn peer(&self, config: &PeerConfig) -> Result<Box<dyn Peer>> {
        Ok(match self {
            Self::Webrtc => Box::new(RtcPeer::new(config, Instant::now())?),
            Self::Lean(_) => Box::new(LeanPeer::new(config)?),
        })
    }

    /// Takes the answer and begins ICE towards its first UDP candidate.
    pub fn connect(&self, peer: Box<dyn Peer>, answer: &str, sink: Box<dyn MediaSink>) -> Result<MediaSession> {
        self.connect_from(None, peer, answer, sink)
    }

    /// The same from the local address `from`.
    pub fn connect_from(
        &self,
        from: Option<IpAddr>,
        mut peer: Box<dyn Peer>,
        answer: &str,
        sink: Box<dyn MediaSink>,
    ) -> Result<MediaSession> {
        let remote = sdp::first_udp_candidate(answer).context("the answer has no UDP candidate")?;
        peer.set_answer(Instant::now(), answer)?;
        self.start(from, peer, remote, sink)
    }

    /// Takes an offer and begins ICE towards its first UDP candidate; the answer is for the server.
    pub fn accept(
        &self,
        mut peer: Box<dyn Peer>,
        offer: &str,
        sink: Box<dyn MediaSink>,
    ) -> Result<(MediaSession, String)> {
        let remote = sdp::first_udp_candidate(offer).context("the offer has no UDP candidate")?;
        let answer = peer.accept_offer(Instant::now(), offer)?;
        Ok((self.start(None, peer, remote, sink)?, answer))
    }

    /// Begins ICE of a peer that has its remote description, from a socket that reaches `remote`.
    fn start(
        &self,
        from: Option<IpAddr>,
        mut peer: Box<dyn Peer>,
        remote: SocketAddr,
        sink: Box<dyn MediaSink>,
    ) -> Result<MediaSession> {
        let socket = match from.filter(|from| from.is_ipv4() == remote.is_ipv4()) {
            Some(from) => bind(from)?,
            None => bind_towards(remote)?,
        };
        peer.set_local_addr(socket.local_addr()?)?;
        match self {
            Self::Webrtc => Ok(driver::spawn(peer, tokio::net::UdpSocket::from_std(socket)?, sink)),
            Self::Lean(engine) => Ok(engine.spawn(peer, socket, sink)),
        }
    }
}

/// A non-blocking socket on the address from which `remote` is reached.
fn bind_towards(remote: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if remote.is_ipv4() {
        "0.0.0.0:0".parse()?
    } else {
        "[::]:0".parse()?
    };
    let probe = UdpSocket::bind(any)?;
    probe
        .connect(remote)
        .with_context(|| format!("no route to the media address {remote}"))?;
    bind(probe.local_addr()?.ip())
}

fn bind(local: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((local, 0))?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

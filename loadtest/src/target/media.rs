//! Peers for servers that speak SDP over something else than our WebSocket.

use std::time::Instant;

use anyhow::Result;

use crate::client::{Clients, MediaSession, MediaSink, Peer, PeerConfig};

/// A peer whose offer waits for its answer.
pub struct Offering {
    clients: Clients,
    peer: Box<dyn Peer>,
    offer: String,
}

pub fn offer(clients: &Clients, config: &PeerConfig) -> Result<Offering> {
    let mut peer = clients.peer(config)?;
    let offer = peer.offer(Instant::now())?;
    let clients = clients.clone();
    Ok(Offering { clients, peer, offer })
}

impl Offering {
    pub fn offer(&self) -> &str {
        &self.offer
    }

    /// Takes the answer and begins ICE.
    pub fn connect(self, answer: &str, sink: Box<dyn MediaSink>) -> Result<MediaSession> {
        self.clients.connect(self.peer, answer, sink)
    }
}

/// Takes a server's offer and begins ICE; the answer is for the server.
pub fn accept(clients: &Clients, offer: &str, sink: Box<dyn MediaSink>) -> Result<(MediaSession, String)> {
    clients.accept(clients.peer(&PeerConfig::default())?, offer, sink)
}

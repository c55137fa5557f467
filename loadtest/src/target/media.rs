//! Peers for servers that speak SDP over something else than our WebSocket.

use std::time::Instant;

use anyhow::Result;

use crate::client::participant::{connect_media, connect_offered};
use crate::client::{MediaSession, MediaSink, Peer, PeerConfig, RtcPeer};

/// A peer whose offer waits for its answer.
pub struct Offering {
    peer: Box<dyn Peer>,
    offer: String,
}

pub fn offer(config: &PeerConfig) -> Result<Offering> {
    let mut peer = new_peer(config)?;
    let offer = peer.offer(Instant::now())?;
    Ok(Offering { peer, offer })
}

impl Offering {
    pub fn offer(&self) -> &str {
        &self.offer
    }

    /// Takes the answer and begins ICE.
    pub async fn connect(self, answer: &str, sink: Box<dyn MediaSink>) -> Result<MediaSession> {
        connect_media(self.peer, answer, sink).await
    }
}

/// Takes a server's offer and begins ICE; the answer is for the server.
pub async fn accept(offer: &str, sink: Box<dyn MediaSink>) -> Result<(MediaSession, String)> {
    connect_offered(new_peer(&PeerConfig::default())?, offer, sink).await
}

fn new_peer(config: &PeerConfig) -> Result<Box<dyn Peer>> {
    Ok(Box::new(RtcPeer::new(config, Instant::now())?))
}

//! The handle of a running connection, whatever runs it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::peer::Peer;
use crate::media::{Mark, MediaSource};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Sent,
    Received,
}

/// Sees every datagram, encrypted, with its RTP header in the clear; `true` loses it.
pub type Impairment = Box<dyn FnMut(Direction, &[u8]) -> bool + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaState {
    New,
    Connected,
    Closed,
}

/// A running connection. Dropping it makes the client vanish without a word.
pub struct MediaSession {
    commands: Box<dyn Fn(Command) + Send + Sync>,
    state: watch::Receiver<MediaState>,
}

type PeerCall = Box<dyn FnOnce(&mut dyn Peer) + Send>;

pub(super) enum Command {
    Publish(Vec<Box<dyn MediaSource>>),
    Mark(Mark, oneshot::Sender<()>),
    Call(PeerCall),
    Impair(Option<Impairment>),
    Close,
    Vanish,
}

impl MediaSession {
    /// `commands` hands a command to whatever runs the connection, which drops the sender of `state` at its end.
    pub(super) fn new(commands: impl Fn(Command) + Send + Sync + 'static, state: watch::Receiver<MediaState>) -> Self {
        Self {
            commands: Box::new(commands),
            state,
        }
    }

    /// Waits for ICE and DTLS.
    pub async fn connected(&self, limit: Duration) -> Result<()> {
        let mut state = self.state.clone();
        let state = timeout(limit, state.wait_for(|state| *state != MediaState::New))
            .await
            .with_context(|| format!("no media connection within {limit:?}"))?
            .map(|state| *state);
        match state {
            Ok(MediaState::Connected) => Ok(()),
            _ => bail!("the media connection failed"),
        }
    }

    /// Waits until the server closes the connection or is not heard any more.
    pub async fn closed(&self) {
        let _ = self.state.clone().wait_for(|state| *state == MediaState::Closed).await;
    }

    /// Begins to send, in the order of kinds: each source takes the first free stream of its kind.
    pub fn publish(&self, sources: Vec<Box<dyn MediaSource>>) {
        (self.commands)(Command::Publish(sources));
    }

    /// Begins or ends the measured window of all sources with their next packets.
    pub async fn mark(&self, mark: Mark) -> Result<()> {
        let (done, marked) = oneshot::channel();
        (self.commands)(Command::Mark(mark, done));
        marked.await.context("the media connection is over")
    }

    /// Runs `call` on the peer.
    pub async fn with_peer<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Peer) -> R + Send + 'static,
    ) -> Result<R> {
        let (done, result) = oneshot::channel();
        let call: PeerCall = Box::new(move |peer| drop(done.send(call(peer))));
        (self.commands)(Command::Call(call));
        result.await.context("the media connection is over")
    }

    pub async fn request_keyframe(&self, ssrc: u32) -> Result<()> {
        self.with_peer(move |peer| peer.request_keyframe(Instant::now(), ssrc))
            .await?
    }

    pub async fn request_packets(&self, ssrc: u32, sequence_numbers: Vec<u16>) -> Result<()> {
        self.with_peer(move |peer| peer.request_packets(Instant::now(), ssrc, &sequence_numbers))
            .await?
    }

    pub fn impair(&self, impairment: Option<Impairment>) {
        (self.commands)(Command::Impair(impairment));
    }

    /// Whether ICE and DTLS have been up and the server has not closed since.
    pub fn is_connected(&self) -> bool {
        *self.state.borrow() == MediaState::Connected
    }

    /// Says good-bye on DTLS, waits until that is sent and the sink is gone.
    pub async fn close(self) {
        (self.commands)(Command::Close);
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }
}

impl Drop for MediaSession {
    fn drop(&mut self) {
        (self.commands)(Command::Vanish);
    }
}

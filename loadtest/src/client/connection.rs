//! One peer with its sources and its sink, for whatever owns the socket.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Instant;

use tokio::sync::watch;

use super::peer::{MediaSink, Peer, PeerEvent, SendStream, Transmit};
use super::session::{Command, Direction, Impairment, MediaState};
use crate::media::MediaSource;

/// Every input is followed by [`Self::drain_transmits`].
pub(super) struct Connection {
    peer: Box<dyn Peer>,
    sink: Box<dyn MediaSink>,
    sources: Vec<(Box<dyn MediaSource>, SendStream)>,
    impairment: Option<Impairment>,
    is_closed: bool,
    /// Dropped last: whoever waits for its end may rely on the sink being gone.
    state: watch::Sender<MediaState>,
}

impl Connection {
    /// `peer` has its remote description and its local address.
    pub fn new(peer: Box<dyn Peer>, sink: Box<dyn MediaSink>) -> (Self, watch::Receiver<MediaState>) {
        let (sender, state) = watch::channel(MediaState::New);
        let connection = Self {
            peer,
            sink,
            sources: Vec::new(),
            impairment: None,
            is_closed: false,
            state: sender,
        };
        (connection, state)
    }

    /// The server closed, or is not heard any more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// `Break` at the connection's end; what is still to be sent is in [`Self::drain_transmits`].
    pub fn handle_command(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Publish(sources) => self.publish(sources),
            Command::Mark(mark, done) => {
                self.sources.iter_mut().for_each(|(source, _)| source.mark(mark));
                let _ = done.send(());
            }
            Command::Call(call) => call(&mut *self.peer),
            Command::Impair(impairment) => self.impairment = impairment,
            Command::Close => {
                self.peer.close();
                return ControlFlow::Break(());
            }
            Command::Vanish => return ControlFlow::Break(()),
        }
        self.handle_events();
        ControlFlow::Continue(())
    }

    fn publish(&mut self, sources: Vec<Box<dyn MediaSource>>) {
        let mut free = self.peer.send_streams();
        free.retain(|stream| self.sources.iter().all(|(_, used)| used.ssrc != stream.ssrc));
        for source in sources {
            match free.iter().position(|stream| stream.kind == source.kind()) {
                Some(index) => self.sources.push((source, free.remove(index))),
                None => tracing::warn!(kind = ?source.kind(), "no stream for a source"),
            }
        }
    }

    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let peer = self.peer.poll_timeout();
        let sources = self.sources.iter().map(|(source, _)| source.poll_timeout());
        sources.chain(peer).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
            self.handle_events();
        }
        for (source, stream) in &mut self.sources {
            if source.poll_timeout() <= now {
                source.handle_timeout(now, *stream, &mut |packet| {
                    if let Err(error) = self.peer.send_rtp(now, packet) {
                        tracing::debug!(%error, "a packet was not sent");
                    }
                });
            }
        }
    }

    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, data: &mut [u8]) {
        if !is_lost(&mut self.impairment, Direction::Received, data) {
            self.peer.handle_datagram(now, from, data, &mut *self.sink);
            self.handle_events();
        }
    }

    pub fn drain_transmits(&mut self, mut send: impl FnMut(Transmit<'_>)) {
        while let Some(transmit) = self.peer.poll_transmit() {
            if !is_lost(&mut self.impairment, Direction::Sent, transmit.data) {
                send(transmit);
            }
        }
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::Connected => drop(self.state.send_replace(MediaState::Connected)),
                PeerEvent::Closed => {
                    self.is_closed = true;
                    self.state.send_replace(MediaState::Closed);
                }
                PeerEvent::KeyframeRequested { ssrc } => {
                    self.sink.on_keyframe_request(ssrc);
                    let wanted = self.sources.iter_mut().find(|(_, stream)| stream.ssrc == ssrc);
                    if let Some((source, _)) = wanted {
                        source.on_keyframe_request();
                    }
                }
            }
        }
    }
}

fn is_lost(impairment: &mut Option<Impairment>, direction: Direction, data: &[u8]) -> bool {
    impairment.as_mut().is_some_and(|lose| lose(direction, data))
}

//! Runs one [`Peer`] on a UDP socket as a tokio task.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep_until, timeout};

use super::peer::{OutgoingRtp, Peer, PeerEvent, ReceivedRtp};
use crate::media::{Mark, MediaSource};

/// Datagrams read before what they caused is sent: several frames' packets.
const RECEIVE_BATCH: usize = 64;
const MAX_DATAGRAM: usize = 2048;
/// Where a peer has no timer running.
const IDLE: Duration = Duration::from_secs(3600);
/// Room for a second of video while the task waits for its turn; the kernel may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Takes what a peer receives, on the task of its connection.
pub trait MediaSink: Send {
    fn on_rtp(&mut self, packet: ReceivedRtp);
    fn on_keyframe_request(&mut self, _ssrc: u32) {}
}

/// Takes nothing.
pub struct NoSink;

impl MediaSink for NoSink {
    fn on_rtp(&mut self, _packet: ReceivedRtp) {}
}

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
    commands: mpsc::UnboundedSender<Command>,
    state: watch::Receiver<MediaState>,
    task: JoinHandle<()>,
}

type PeerCall = Box<dyn FnOnce(&mut dyn Peer) + Send>;

enum Command {
    Publish(Vec<Box<dyn MediaSource>>),
    Mark(Mark, oneshot::Sender<()>),
    Call(PeerCall),
    Impair(Option<Impairment>),
    Close,
}

impl MediaSession {
    /// `peer` has its answer and the address of `socket`.
    pub fn spawn(peer: Box<dyn Peer>, socket: UdpSocket, sink: Box<dyn MediaSink>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (state_sender, state) = watch::channel(MediaState::New);
        let driver = Driver {
            peer,
            socket,
            sink,
            sources: Vec::new(),
            impairment: None,
            state: state_sender,
            buffer: vec![0; MAX_DATAGRAM],
            outgoing: Vec::new(),
        };
        let task = tokio::spawn(driver.run(receiver));
        Self { commands, state, task }
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
        let _ = self.commands.send(Command::Publish(sources));
    }

    /// Begins or ends the measured window of all sources with their next packets.
    pub async fn mark(&self, mark: Mark) -> Result<()> {
        let (done, marked) = oneshot::channel();
        let _ = self.commands.send(Command::Mark(mark, done));
        marked.await.context("the media connection is over")
    }

    /// Runs `call` on the peer.
    pub async fn with_peer<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Peer) -> R + Send + 'static,
    ) -> Result<R> {
        let (done, result) = oneshot::channel();
        let call: PeerCall = Box::new(move |peer| drop(done.send(call(peer))));
        let _ = self.commands.send(Command::Call(call));
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
        let _ = self.commands.send(Command::Impair(impairment));
    }

    /// Whether ICE and DTLS have been up and the server has not closed since.
    pub fn is_connected(&self) -> bool {
        *self.state.borrow() == MediaState::Connected
    }

    /// Says good-bye on DTLS and waits until that is sent.
    pub async fn close(self) {
        let _ = self.commands.send(Command::Close);
        let _ = self.task.await;
    }
}

/// A socket on the address from which `remote` is reached.
pub async fn bind_towards(remote: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if remote.is_ipv4() {
        "0.0.0.0:0".parse()?
    } else {
        "[::]:0".parse()?
    };
    let probe = std::net::UdpSocket::bind(any)?;
    probe
        .connect(remote)
        .with_context(|| format!("no route to the media address {remote}"))?;
    let local = SocketAddr::new(probe.local_addr()?.ip(), 0);
    let socket = std::net::UdpSocket::bind(local)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

struct Driver {
    peer: Box<dyn Peer>,
    socket: UdpSocket,
    sink: Box<dyn MediaSink>,
    sources: Vec<(Box<dyn MediaSource>, super::peer::SendStream)>,
    impairment: Option<Impairment>,
    state: watch::Sender<MediaState>,
    buffer: Vec<u8>,
    outgoing: Vec<OutgoingRtp>,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut timer = std::pin::pin!(sleep_until(Instant::now().into()));
        loop {
            self.drain().await;
            if *self.state.borrow() == MediaState::Closed {
                return;
            }
            self.set_timer(timer.as_mut());
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Close) => {
                        self.peer.close();
                        self.send_all().await;
                        return;
                    }
                    Some(command) => self.handle_command(command),
                },
                readable = self.socket.readable() => match readable {
                    Ok(()) => self.receive(),
                    Err(error) => {
                        tracing::warn!(%error, "media socket");
                        return;
                    }
                },
                () = timer.as_mut() => self.handle_timeout(),
            }
        }
    }

    fn set_timer(&mut self, timer: std::pin::Pin<&mut Sleep>) {
        let peer = self.peer.poll_timeout();
        let sources = self.sources.iter().map(|(source, _)| source.poll_timeout());
        let next = sources
            .chain(peer)
            .min()
            .unwrap_or_else(|| Instant::now() + IDLE)
            .into();
        if timer.deadline() != next || timer.is_elapsed() {
            timer.reset(next);
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Publish(sources) => self.publish(sources),
            Command::Mark(mark, done) => {
                self.sources.iter_mut().for_each(|(source, _)| source.mark(mark));
                let _ = done.send(());
            }
            Command::Call(call) => call(&mut *self.peer),
            Command::Impair(impairment) => self.impairment = impairment,
            Command::Close => {}
        }
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

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        if self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
        }
        for (source, stream) in &mut self.sources {
            if source.poll_timeout() <= now {
                source.handle_timeout(now, *stream, &mut self.outgoing);
            }
        }
        for packet in self.outgoing.drain(..) {
            if let Err(error) = self.peer.send_rtp(now, packet) {
                tracing::debug!(%error, "a packet was not sent");
            }
        }
    }

    fn receive(&mut self) {
        for _ in 0..RECEIVE_BATCH {
            let Ok((len, from)) = self.socket.try_recv_from(&mut self.buffer) else {
                break;
            };
            let data = &self.buffer[..len];
            if self
                .impairment
                .as_mut()
                .is_some_and(|lose| lose(Direction::Received, data))
            {
                continue;
            }
            self.peer.handle_datagram(Instant::now(), from, data);
            while let Some(packet) = self.peer.poll_rtp() {
                self.sink.on_rtp(packet);
            }
        }
    }

    async fn drain(&mut self) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::Connected => drop(self.state.send_replace(MediaState::Connected)),
                PeerEvent::Closed => drop(self.state.send_replace(MediaState::Closed)),
                PeerEvent::KeyframeRequested { ssrc } => {
                    self.sink.on_keyframe_request(ssrc);
                    let wanted = self.sources.iter_mut().find(|(_, stream)| stream.ssrc == ssrc);
                    if let Some((source, _)) = wanted {
                        source.on_keyframe_request();
                    }
                }
            }
        }
        self.send_all().await;
    }

    async fn send_all(&mut self) {
        while let Some(transmit) = self.peer.poll_transmit() {
            if self
                .impairment
                .as_mut()
                .is_some_and(|lose| lose(Direction::Sent, &transmit.data))
            {
                continue;
            }
            let sent = match self.socket.try_send_to(&transmit.data, transmit.to) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.socket.send_to(&transmit.data, transmit.to).await
                }
                sent => sent,
            };
            if let Err(error) = sent {
                tracing::debug!(%error, to = %transmit.to, "a datagram was not sent");
            }
        }
    }
}

//! A participant: its WebSocket and its media.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tianqiao_protocol::ws::{Answer, ClientMessage, Join, Joined, Offer, Resume, Resumed, ServerMessage, WsError};
use tianqiao_protocol::{ReceiveMode, SlotTarget, SlotView, TrackDeclaration, TrackSource};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::clients::Clients;
use super::peer::{MediaSink, PeerConfig};
use super::sdp;
use super::session::MediaSession;
use super::signaling::{ByteCounts, Server, WebSocket};

/// How a participant joins.
#[derive(Clone, Debug, Default)]
pub struct JoinConfig {
    pub clients: Clients,
    pub peer: PeerConfig,
    /// Targets of the video slots; those without one are paused.
    pub targets: Vec<SlotTarget>,
    /// Height in pixels at which slots with a target are shown.
    pub height: u16,
    /// Where media is sent instead of to the server: a relay to it.
    pub relay: Option<SocketAddr>,
}

/// What a join took.
#[derive(Clone, Copy, Debug)]
pub struct JoinCost {
    /// From the opening of the WebSocket to the answer.
    pub answered: Duration,
    pub offer_bytes: usize,
    pub answer_bytes: usize,
    pub websocket_sent: u64,
    pub websocket_received: u64,
}

pub struct Participant {
    /// What it offered at first.
    pub offer: String,
    pub joined: Joined,
    pub cost: JoinCost,
    pub media: MediaSession,
    /// All that the server says after `joined`, but for answers.
    pub messages: mpsc::UnboundedReceiver<ServerMessage>,
    signaling: Signaling,
    /// The `mid` of each video slot.
    slot_mids: Vec<String>,
    tracks: Vec<TrackDeclaration>,
    views: Vec<SlotView>,
    server: Server,
    next_offer: u32,
}

impl Participant {
    /// Joins. The media connection comes up afterwards: see [`MediaSession::connected`].
    pub async fn join(server: &Server, token: &str, config: &JoinConfig, sink: Box<dyn MediaSink>) -> Result<Self> {
        let mut peer = config.clients.peer(&config.peer)?;
        let offer = peer.offer(Instant::now())?;
        let (tracks, slot_mids) = declare(&offer, &config.peer);
        let views = views(&slot_mids, &config.targets, config.height);
        let begin = Instant::now();
        let mut websocket = WebSocket::connect(server).await?;
        let join = Join {
            token: token.to_owned(),
            sdp: offer.clone(),
            tracks: tracks.clone(),
            slots: views.clone(),
        };
        let joined = match websocket.ask(&ClientMessage::Join(join)).await? {
            ServerMessage::Joined(joined) => *joined,
            other => bail!("a join was answered by {other:?}"),
        };
        let bytes = websocket.bytes();
        let cost = JoinCost {
            answered: begin.elapsed(),
            offer_bytes: offer.len(),
            answer_bytes: joined.sdp.len(),
            websocket_sent: bytes.sent.load(Ordering::Relaxed),
            websocket_received: bytes.received.load(Ordering::Relaxed),
        };
        let answer = match config.relay {
            Some(relay) => sdp::with_udp_candidate(&joined.sdp, relay),
            None => joined.sdp.clone(),
        };
        let media = config
            .clients
            .connect_from(server.from_address(), peer, &answer, sink)?;
        let (signaling, messages) = Signaling::spawn(websocket);
        let server = server.clone();
        Ok(Self {
            offer,
            joined,
            cost,
            media,
            messages,
            signaling,
            slot_mids,
            tracks,
            views,
            server,
            next_offer: 1,
        })
    }

    pub fn id(&self) -> &str {
        &self.joined.participant
    }

    pub fn send(&self, message: ClientMessage) {
        let _ = self.signaling.outgoing.send(Outgoing::Message(message));
    }

    pub fn websocket_bytes(&self) -> &ByteCounts {
        &self.signaling.bytes
    }

    /// Shows `targets` in the video slots.
    pub fn set_viewport(&mut self, targets: &[SlotTarget], height: u16) {
        self.views = views(&self.slot_mids, targets, height);
        self.send(ClientMessage::Viewport {
            slots: self.views.clone(),
            mode: ReceiveMode::Full,
        });
    }

    pub fn slot_mids(&self) -> &[String] {
        &self.slot_mids
    }

    /// Offers anew, with further video slots or an ICE restart.
    pub async fn renegotiate(&mut self, further_slots: usize, restart_ice: bool) -> Result<Answer> {
        let sdp = self
            .media
            .with_peer(move |peer| {
                peer.add_video_slots(further_slots)?;
                if restart_ice {
                    peer.restart_ice();
                }
                peer.offer(Instant::now())
            })
            .await??;
        let receivers = sdp::sections(&sdp)
            .into_iter()
            .filter(|s| s.kind == "video" && s.direction == "recvonly");
        self.slot_mids = receivers.map(|section| section.mid).collect();
        let id = self.next_offer;
        self.next_offer += 1;
        let (tracks, slots) = (self.tracks.clone(), self.views.clone());
        let answer = self
            .signaling
            .offer(Offer {
                id,
                sdp,
                tracks,
                slots,
                move_number: None,
            })
            .await?;
        let sdp = answer.sdp.clone();
        self.media
            .with_peer(move |peer| peer.set_answer(Instant::now(), &sdp))
            .await??;
        Ok(answer)
    }

    /// Cuts the WebSocket without a word; the media goes on.
    pub async fn cut_websocket(&mut self) {
        self.signaling.task.abort();
        // Cut before, it has been waited for.
        if !self.signaling.task.is_finished() {
            let _ = (&mut self.signaling.task).await;
        }
    }

    /// Sends an offer as it is, for what no well-behaved client sends; whether it was answered.
    pub async fn offer_raw(&mut self, sdp: String) -> Result<Answer> {
        let id = self.next_offer;
        self.next_offer += 1;
        let (tracks, slots) = (self.tracks.clone(), self.views.clone());
        self.signaling
            .offer(Offer {
                id,
                sdp,
                tracks,
                slots,
                move_number: None,
            })
            .await
    }

    /// Takes the session up again on a new WebSocket.
    pub async fn resume(&mut self) -> Result<Resumed> {
        let mut websocket = WebSocket::connect(&self.server).await?;
        let resume = Resume {
            session: self.joined.session.clone(),
        };
        let resumed = match websocket.ask(&ClientMessage::Resume(resume)).await? {
            ServerMessage::Resumed(resumed) => *resumed,
            other => bail!("a resume was answered by {other:?}"),
        };
        (self.signaling, self.messages) = Signaling::spawn(websocket);
        Ok(resumed)
    }

    /// Ends as a killed browser does: both connections are dropped without a word.
    pub async fn vanish(mut self) {
        self.cut_websocket().await;
        drop(self.media);
    }

    /// Leaves with good-byes on WebSocket and DTLS.
    pub async fn leave(self) {
        self.send(ClientMessage::Leave);
        let _ = self.signaling.outgoing.send(Outgoing::Close);
        self.media.close().await;
        let _ = self.signaling.task.await;
    }
}

/// The tracks that an offer of a [`PeerConfig`] sends and the mids of its video slots.
fn declare(offer: &str, config: &PeerConfig) -> (Vec<TrackDeclaration>, Vec<String>) {
    let mut mids = sdp::sections(offer).into_iter().map(|section| section.mid);
    let mut tracks = Vec::new();
    for (sends, source) in [
        (config.microphone, TrackSource::Microphone),
        (config.low_voice, TrackSource::MicrophoneLow),
        (config.camera, TrackSource::Camera),
    ] {
        if sends && let Some(mid) = mids.next() {
            tracks.push(TrackDeclaration {
                mid,
                source,
                muted: false,
            });
        }
    }
    (tracks, mids.skip(config.audio_slots).collect())
}

fn views(mids: &[String], targets: &[SlotTarget], height: u16) -> Vec<SlotView> {
    let targets = targets.iter().cloned().chain(std::iter::repeat(SlotTarget::Nobody));
    let view = |(mid, target): (&String, SlotTarget)| {
        let height = if target == SlotTarget::Nobody { 0 } else { height };
        SlotView {
            mid: mid.clone(),
            target,
            height,
        }
    };
    mids.iter().zip(targets).map(view).collect()
}

enum Outgoing {
    Message(ClientMessage),
    Offer(Offer, oneshot::Sender<Result<Answer, WsError>>),
    Close,
}

/// The task that reads and writes a WebSocket.
struct Signaling {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    bytes: Arc<ByteCounts>,
    task: JoinHandle<()>,
}

impl Signaling {
    fn spawn(websocket: WebSocket) -> (Self, mpsc::UnboundedReceiver<ServerMessage>) {
        let bytes = websocket.bytes();
        let (outgoing, receiver) = mpsc::unbounded_channel();
        let (sender, messages) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            if let Err(error) = run_websocket(websocket, receiver, sender).await {
                tracing::debug!(%error, "WebSocket");
            }
        });
        (Self { outgoing, bytes, task }, messages)
    }

    async fn offer(&self, offer: Offer) -> Result<Answer> {
        let (sender, answer) = oneshot::channel();
        let _ = self.outgoing.send(Outgoing::Offer(offer, sender));
        match answer.await.context("the WebSocket is closed")? {
            Ok(answer) => Ok(answer),
            Err(error) => bail!("the offer was refused ({:?}): {}", error.code, error.message),
        }
    }
}

async fn run_websocket(
    mut websocket: WebSocket,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    messages: mpsc::UnboundedSender<ServerMessage>,
) -> Result<()> {
    let mut waiting: Vec<(u32, oneshot::Sender<Result<Answer, WsError>>)> = Vec::new();
    loop {
        tokio::select! {
            command = outgoing.recv() => match command {
                Some(Outgoing::Message(message)) => websocket.send(&message).await?,
                Some(Outgoing::Offer(offer, answered)) => {
                    waiting.push((offer.id, answered));
                    websocket.send(&ClientMessage::Offer(offer)).await?;
                }
                Some(Outgoing::Close) | None => {
                    websocket.close().await;
                    return Ok(());
                }
            },
            message = websocket.recv() => {
                let Some(message) = message? else { return Ok(()) };
                let id = match &message {
                    ServerMessage::Answer(answer) => Some(answer.id),
                    ServerMessage::Error(error) => error.offer,
                    _ => None,
                };
                let asked = id.and_then(|id| waiting.iter().position(|(waiting, _)| *waiting == id));
                match (asked, message) {
                    (Some(index), ServerMessage::Answer(answer)) => drop(waiting.remove(index).1.send(Ok(answer))),
                    (Some(index), ServerMessage::Error(error)) => drop(waiting.remove(index).1.send(Err(error))),
                    (_, message) => drop(messages.send(message)),
                }
            }
        }
    }
}

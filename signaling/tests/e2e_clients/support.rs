//! A server process, a meeting in it and clients that say what they receive.

use std::time::{Duration, Instant};

use tianqiao_loadtest::client::{Clients, Engine, JoinConfig, MediaSink, Participant, PeerConfig, ReceivedRtp, Server};
use tianqiao_loadtest::media::{AudioSource, MediaSource, Stamp, TrackWindow, VideoFormat, VideoSource};
use tianqiao_loadtest::server_process::{ServerOptions, ServerProcess};
use tianqiao_protocol::rest::{CreateMeeting, CreateToken, CreatedMeeting};
use tianqiao_protocol::ws::ServerMessage;
use tianqiao_protocol::{MediaKind, SlotTarget, TrackId, TrackSource};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// For everything that should happen at once; generous, as test machines are busy.
pub const LIMIT: Duration = Duration::from_secs(20);
pub const LOUD: u8 = 20;

pub struct Meeting {
    pub server: Server,
    pub created: CreatedMeeting,
    /// What further participants are.
    pub clients: Clients,
    process: ServerProcess,
}

impl Meeting {
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    pub async fn open_with(arguments: &[&str]) -> Self {
        let options = ServerOptions {
            binary: Some(env!("CARGO_BIN_EXE_tianqiao").into()),
            workers: Some(2),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let process = ServerProcess::start(&options).await.expect("the server starts");
        let server = Server::new(&process.url, false).expect("the server's URL");
        let created = server
            .create_meeting(&CreateMeeting::default())
            .await
            .expect("a meeting");
        Self {
            server,
            created,
            clients: Clients::default(),
            process,
        }
    }

    /// Base URL of the server.
    pub fn url(&self) -> &str {
        self.process.url.trim_end_matches('/')
    }

    /// A meeting of lean clients.
    pub async fn open_lean() -> Self {
        Self {
            clients: Clients::Lean(Engine::start(1).expect("a thread")),
            ..Self::open().await
        }
    }

    pub async fn token(&self, name: &str) -> String {
        let request = CreateToken {
            name: name.to_owned(),
            passcode: None,
        };
        self.server
            .join_token(&self.created.id, &request)
            .await
            .expect("a token")
    }

    /// Joins and waits for the media connection.
    pub async fn join(&self, name: &str, peer: PeerConfig, targets: Vec<SlotTarget>) -> Client {
        let token = self.token(name).await;
        let (sink, received) = ChannelSink::new();
        let config = JoinConfig {
            clients: self.clients.clone(),
            peer,
            targets,
            height: 720,
            relay: None,
        };
        let participant = Participant::join(&self.server, &token, &config, sink)
            .await
            .expect("a join");
        participant.media.connected(LIMIT).await.expect("a media connection");
        Client { participant, received }
    }

    /// A participant with microphone and camera, both sending; its packets are stamped with `stamp` (video)
    /// and `stamp + 1` (audio).
    pub async fn join_publisher(&self, name: &str, stamp: u16) -> Client {
        let peer = PeerConfig {
            microphone: true,
            camera: true,
            repair: true,
            ..Default::default()
        };
        let client = self.join(name, peer, vec![]).await;
        client.publish(stamp);
        client
    }

    pub async fn close(self) {
        let log = self.process.log_tail();
        self.process.stop().await.expect("the server stops");
        assert!(!log.contains("panicked"), "{log}");
    }
}

pub struct Client {
    pub participant: Participant,
    pub received: mpsc::UnboundedReceiver<Received>,
}

#[derive(Debug)]
pub enum Received {
    Rtp(Packet),
    KeyframeRequest,
}

/// An RTP packet as the client's sink was shown it.
#[derive(Debug)]
pub struct Packet {
    pub ssrc: u32,
    pub csrc: Option<u32>,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

impl Client {
    pub fn id(&self) -> String {
        self.participant.id().to_owned()
    }

    pub fn camera(&self) -> SlotTarget {
        SlotTarget::Source {
            participant: self.id(),
            source: TrackSource::Camera,
        }
    }

    /// Starts both sources.
    pub fn publish(&self, stamp: u16) {
        let now = Instant::now();
        let video = TrackWindow::new(stamp, MediaKind::Video);
        let audio = TrackWindow::new(stamp + 1, MediaKind::Audio);
        let format = VideoFormat {
            kbps: 500,
            ..Default::default()
        };
        let sources: Vec<Box<dyn MediaSource>> = vec![
            Box::new(VideoSource::new(format, video, now)),
            Box::new(AudioSource::new(LOUD, audio, now)),
        ];
        self.participant.media.publish(sources);
    }

    /// The client's own published track, from the room's state.
    pub fn own_track(&self, source: TrackSource) -> TrackId {
        let state = &self.participant.joined.state;
        let own = state
            .participants
            .iter()
            .find(|other| other.id == self.participant.id())
            .expect("in the room");
        own.tracks
            .iter()
            .find(|track| track.source == source)
            .expect("published")
            .id
    }

    /// The next RTP packet that `wanted` takes, with its stamp.
    pub async fn rtp(&mut self, mut wanted: impl FnMut(&Packet, Stamp) -> bool) -> (Packet, Stamp) {
        let find = async {
            loop {
                let Received::Rtp(packet) = self.received.recv().await.expect("media goes on") else {
                    continue;
                };
                let stamp = Stamp::read(&packet.payload).expect("all payloads are stamped");
                if wanted(&packet, stamp) {
                    return (packet, stamp);
                }
            }
        };
        timeout(LIMIT, find).await.expect("the awaited packet")
    }

    pub async fn keyframe_request(&mut self) {
        let find = async { while !matches!(self.received.recv().await, Some(Received::KeyframeRequest) | None) {} };
        timeout(LIMIT, find).await.expect("a key frame request");
    }

    /// Forgets what has come so far.
    pub fn forget_received(&mut self) {
        while self.received.try_recv().is_ok() {}
    }

    /// The next message that `wanted` finds something in.
    pub async fn message<T>(&mut self, limit: Duration, mut wanted: impl FnMut(&ServerMessage) -> Option<T>) -> T {
        let find = async {
            loop {
                let message = self.participant.messages.recv().await.expect("the WebSocket is open");
                if let Some(found) = wanted(&message) {
                    return found;
                }
            }
        };
        timeout(limit, find).await.expect("the awaited message")
    }

    /// Waits until the roster says that `other` has left.
    pub async fn sees_leaving(&mut self, other: &str, limit: Duration) {
        let gone = |message: &ServerMessage| match message {
            ServerMessage::Roster { left, .. } => left.iter().any(|id| id == other).then_some(()),
            _ => None,
        };
        self.message(limit, gone).await;
    }
}

struct ChannelSink(mpsc::UnboundedSender<Received>);

impl ChannelSink {
    #[allow(clippy::new_ret_no_self)]
    fn new() -> (Box<dyn MediaSink>, mpsc::UnboundedReceiver<Received>) {
        let (sender, received) = mpsc::unbounded_channel();
        (Box::new(Self(sender)), received)
    }
}

impl MediaSink for ChannelSink {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
        let packet = Packet {
            ssrc: packet.ssrc,
            csrc: packet.csrc,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            payload: packet.payload.to_vec(),
        };
        let _ = self.0.send(Received::Rtp(packet));
    }

    fn on_keyframe_request(&mut self, _ssrc: u32) {
        let _ = self.0.send(Received::KeyframeRequest);
    }
}

pub fn channel_sink() -> (Box<dyn MediaSink>, mpsc::UnboundedReceiver<Received>) {
    ChannelSink::new()
}

pub fn viewer(audio_slots: usize, video_slots: usize) -> PeerConfig {
    PeerConfig {
        audio_slots,
        video_slots,
        repair: true,
        ..Default::default()
    }
}

/// RTP payload type of a datagram, `None` for everything else (RFC 7983, RFC 5761).
pub fn payload_type(datagram: &[u8]) -> Option<u8> {
    let kind = *datagram.get(1)? & 0x7f;
    let is_rtp = (128..192).contains(datagram.first()?) && !(64..96).contains(&kind);
    is_rtp.then_some(kind)
}

pub fn sequence_number(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[2], datagram[3]])
}

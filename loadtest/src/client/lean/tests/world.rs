//! One worker and its lean clients, with a link between them that loses what it is told to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tianqiao_protocol::MediaKind;
use tianqiao_sfu_core::drop_reason::DropCounters;
use tianqiao_sfu_core::negotiated::{IceCredentials, Negotiated};
use tianqiao_sfu_core::ntp::NtpClock;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::sdp::{self, AnswerParams, Candidate, CodecPreferences, Offer, Protocol, SdpLimits};
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::transport::{Certificate, ufrag};
use tianqiao_sfu_core::units::{ConnectionId, TrackId, WorkerIndex};
use tianqiao_sfu_core::worker_api::{
    OpenConnection, PublishedTrack, Renegotiate, SetSlot, SlotSource, WorkerCommand, WorkerEvent,
};
use tianqiao_sfu_core::worker_core::{PacketSink, WorkerConfig, WorkerCore};

use super::super::LeanPeer;
use crate::client::peer::{MediaSink, Peer, PeerConfig, PeerEvent, ReceivedRtp};
use crate::media::{
    AudioSource, MediaSource, Stamp, TrackWindow, VideoFormat, VideoSource, is_keyframe_start, nanos_since_epoch,
};

pub const MS: Duration = Duration::from_millis(1);

pub struct World {
    pub now: Instant,
    pub clients: Vec<Client>,
    worker: WorkerCore,
    certificate: Certificate,
    worker_events: Vec<WorkerEvent>,
}

pub struct Client {
    pub peer: LeanPeer,
    pub connection: ConnectionId,
    pub payloads: Vec<Packet>,
    pub keyframes_asked: usize,
    negotiated: Negotiated,
    local_ice: IceCredentials,
    sources: Vec<(Box<dyn MediaSource>, crate::client::peer::SendStream)>,
    events: Vec<String>,
    toll: Toll,
}

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub track: u16,
    pub seq: u64,
    pub sequence_number: u16,
    pub csrc: Option<u32>,
    pub keyframe: bool,
}

/// What the link of a client loses, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toll {
    every: Option<usize>,
    all_datagrams: bool,
    count: usize,
}

impl Toll {
    /// Every `n`th RTP packet.
    pub fn every(n: usize) -> Self {
        Self {
            every: Some(n),
            ..Self::default()
        }
    }

    /// All RTP packets.
    pub fn all() -> Self {
        Self::every(1)
    }

    pub fn all_datagrams() -> Self {
        Self {
            all_datagrams: true,
            ..Self::default()
        }
    }

    fn takes(&mut self, datagram: &[u8]) -> bool {
        if self.all_datagrams {
            return true;
        }
        let Some(every) = self.every else { return false };
        if classify(datagram) != Ok(PacketKind::Rtp) {
            return false;
        }
        self.count += 1;
        self.count.is_multiple_of(every)
    }
}

#[derive(Default)]
struct Sink(Vec<(SocketAddr, Vec<u8>)>);

impl PacketSink for Sink {
    fn send(&mut self, batch: &SendBatch) {
        for run in batch.runs() {
            for packet in batch.bytes(run).chunks(run.segment) {
                self.0.push((run.path.remote(), packet.to_vec()));
            }
        }
    }
}

#[derive(Default)]
struct Received(Vec<Packet>);

impl MediaSink for Received {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
        let stamp = Stamp::read(packet.payload).expect("all payloads are stamped");
        self.0.push(Packet {
            track: stamp.track,
            seq: stamp.seq,
            sequence_number: packet.sequence_number,
            csrc: packet.csrc,
            keyframe: packet.payload_type == 96 && is_keyframe_start(packet.payload),
        });
    }
}

pub fn server_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 10_000))
}

fn client_addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1], 1000 + index as u16))
}

impl World {
    pub fn new() -> Self {
        let now = Instant::now();
        nanos_since_epoch(now);
        let certificate = Certificate::generate().unwrap();
        let ntp = NtpClock::new(now, Duration::from_secs(1_700_000_000));
        Self {
            now,
            clients: Vec::new(),
            worker: WorkerCore::new(WorkerConfig::new(WorkerIndex(0), certificate.clone(), ntp), now),
            certificate,
            worker_events: Vec::new(),
        }
    }

    /// The peer and the server's answer to its offer.
    pub fn offer_and_answer(&mut self, config: &PeerConfig) -> (LeanPeer, String) {
        let mut peer = LeanPeer::new(config).unwrap();
        let offer = peer.offer(self.now).unwrap();
        let local = ufrag::generate(WorkerIndex(0), ConnectionId(1000));
        let (answer, _) = self.answer(&offer, &local, None);
        (peer, answer)
    }

    fn answer(&self, offer: &str, local: &IceCredentials, previous: Option<&Negotiated>) -> (String, Negotiated) {
        let offer = Offer::parse(offer, &SdpLimits::default()).unwrap();
        let candidates = [Protocol::TcpPassive, Protocol::Udp].map(|protocol| Candidate {
            protocol,
            addr: server_addr(),
        });
        let params = AnswerParams {
            local_ice: local,
            fingerprint: self.certificate.fingerprint(),
            candidates: &candidates,
            session_id: 1,
            version: 1,
            first_ssrc: 1000 * (1 + self.clients.len() as u32),
            preferences: &CodecPreferences::default(),
            low_voices: &[],
            rfc8888: false,
        };
        let answered = sdp::answer(&offer, &params, previous).unwrap();
        (answered.sdp, answered.negotiated)
    }

    /// A client whose connection is up; its index.
    pub fn join(&mut self, config: &PeerConfig) -> usize {
        let index = self.clients.len();
        let connection = ConnectionId(1 + index as u32);
        let local_ice = ufrag::generate(WorkerIndex(0), connection);
        let mut peer = LeanPeer::new(config).unwrap();
        let offer = peer.offer(self.now).unwrap();
        let (answer, negotiated) = self.answer(&offer, &local_ice, None);
        let open = OpenConnection {
            connection,
            local_ice: local_ice.clone(),
            tracks: tracks(index, &negotiated),
            negotiated: negotiated.clone(),
        };
        self.worker
            .handle_command(self.now, WorkerCommand::Open(Box::new(open)));
        peer.set_answer(self.now, &answer).unwrap();
        peer.set_local_addr(client_addr(index)).unwrap();
        self.clients.push(Client {
            peer,
            connection,
            payloads: Vec::new(),
            keyframes_asked: 0,
            negotiated,
            local_ice,
            sources: Vec::new(),
            events: Vec::new(),
            toll: Toll::default(),
        });
        self.advance(20 * MS);
        assert_eq!(self.events_of(index), ["Connected"]);
        self.clients[index].events.clear();
        assert_eq!(self.worker_events, [WorkerEvent::Connected { connection }]);
        self.worker_events.clear();
        index
    }

    pub fn renegotiate(&mut self, index: usize) {
        let connection = self.clients[index].connection;
        let offer = self.clients[index].peer.offer(self.now).unwrap();
        let local = ufrag::generate(WorkerIndex(0), connection);
        let previous = self.clients[index].negotiated.clone();
        let (answer, negotiated) = self.answer(&offer, &local, Some(&previous));
        let renegotiate = Renegotiate {
            connection,
            local_ice: Some(local.clone()),
            tracks: tracks(index, &negotiated),
            negotiated: negotiated.clone(),
        };
        let command = WorkerCommand::Renegotiate(Box::new(renegotiate));
        self.worker.handle_command(self.now, command);
        let client = &mut self.clients[index];
        client.peer.set_answer(self.now, &answer).unwrap();
        (client.negotiated, client.local_ice) = (negotiated, local);
        self.advance(20 * MS);
    }

    /// Video as track 0 and audio as track 1.
    pub fn publish(&mut self, index: usize) {
        let video = VideoSource::new(VideoFormat::default(), TrackWindow::new(0, MediaKind::Video), self.now);
        let audio = AudioSource::new(30, TrackWindow::new(1, MediaKind::Audio), self.now);
        self.publish_all(index, vec![Box::new(video), Box::new(audio)]);
    }

    /// Three layers as tracks 0 to 2.
    pub fn publish_layers(&mut self, index: usize) {
        let layer = |(track, (kbps, height)): (usize, (u32, u16))| -> Box<dyn MediaSource> {
            let format = VideoFormat {
                kbps,
                height,
                width: height * 16 / 9,
                ..Default::default()
            };
            let window = TrackWindow::new(track as u16, MediaKind::Video);
            Box::new(VideoSource::new(format, window, self.now))
        };
        let layers = [(150, 180), (500, 360), (1700, 720)];
        let sources = layers.into_iter().enumerate().map(layer).collect();
        self.publish_all(index, sources);
    }

    fn publish_all(&mut self, index: usize, sources: Vec<Box<dyn MediaSource>>) {
        let client = &mut self.clients[index];
        let mut free = client.peer.send_streams();
        for source in sources {
            let stream = free.iter().position(|stream| stream.kind == source.kind()).unwrap();
            client.sources.push((source, free.remove(stream)));
        }
        self.advance(200 * MS);
    }

    /// Puts the publisher's tracks into the viewer's first slots.
    pub fn show(&mut self, viewer: usize, publisher: usize) {
        self.show_at(viewer, publisher, 720);
    }

    pub fn show_at(&mut self, viewer: usize, publisher: usize, height: u16) {
        let published = tracks(publisher, &self.clients[publisher].negotiated);
        let slots: Vec<_> = self.clients[viewer]
            .negotiated
            .media
            .iter()
            .filter(|media| media.send.is_some())
            .map(|media| (media.mid, media.kind))
            .collect();
        for source in published {
            let kind = kind_of(&self.clients[publisher].negotiated, source.mid.as_str());
            let Some((mid, _)) = slots.iter().find(|(_, slot)| *slot == kind) else {
                continue;
            };
            let set = SetSlot {
                connection: self.clients[viewer].connection,
                mid: *mid,
                source: Some(SlotSource {
                    is_relayed: false,
                    track: source.track,
                    home: WorkerIndex(0),
                }),
                height,
                rank: Default::default(),
            };
            self.worker.handle_command(self.now, WorkerCommand::SetSlot(set));
        }
    }

    /// SSRC of the first video slot.
    pub fn slot_ssrc(&self, index: usize) -> u32 {
        let media = &self.clients[index].negotiated.media;
        let video = |media: &&tianqiao_sfu_core::negotiated::NegotiatedMedia| {
            media.kind == tianqiao_sfu_core::negotiated::MediaKind::Video
        };
        media.iter().filter(video).find_map(|media| media.send).unwrap().ssrc.0
    }

    pub fn toll(&mut self, index: usize, toll: Toll) {
        self.clients[index].toll = toll;
    }

    pub fn received(&self, index: usize, track: u16) -> Vec<Packet> {
        let packets = self.clients[index].payloads.iter();
        packets.filter(|packet| packet.track == track).copied().collect()
    }

    pub fn events_of(&self, index: usize) -> &[String] {
        &self.clients[index].events
    }

    pub fn worker_events(&self) -> &[WorkerEvent] {
        &self.worker_events
    }

    pub fn counters(&self) -> &DropCounters {
        &self.worker.counters().drops
    }

    pub fn close_from_the_server(&mut self, index: usize) {
        let connection = self.clients[index].connection;
        self.worker
            .handle_command(self.now, WorkerCommand::Close { connection });
    }

    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += MS;
            if self.worker.poll_timeout().is_some_and(|due| due <= self.now) {
                self.worker.handle_timeout(self.now);
            }
            for client in &mut self.clients {
                client.handle_timeout(self.now);
            }
            self.settle();
        }
    }

    /// Carries what is under way until nothing is.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for (index, client) in self.clients.iter_mut().enumerate() {
                let path = Path::udp(client_addr(index));
                while let Some(transmit) = client.peer.poll_transmit() {
                    moved = true;
                    assert_eq!(transmit.to, server_addr());
                    if !client.toll.takes(transmit.data) {
                        self.worker.handle_packet(self.now, path, &mut transmit.data.to_vec());
                    }
                }
            }
            let mut sink = Sink::default();
            self.worker.flush(self.now, &mut sink);
            for (to, mut data) in sink.0 {
                moved = true;
                let index = usize::from(to.port() - 1000);
                self.clients[index].receive(self.now, &mut data);
            }
            while let Some(event) = self.worker.poll_event() {
                if !matches!(event, WorkerEvent::AudioLevels { .. } | WorkerEvent::Wanted { .. }) {
                    self.worker_events.push(event);
                }
            }
            if !moved {
                return;
            }
        }
    }
}

impl Client {
    fn handle_timeout(&mut self, now: Instant) {
        if self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
        }
        for (source, stream) in &mut self.sources {
            if source.poll_timeout() <= now {
                let peer = &mut self.peer;
                source.handle_timeout(now, *stream, &mut |packet| peer.send_rtp(now, packet).unwrap());
            }
        }
        self.handle_events();
    }

    fn receive(&mut self, now: Instant, data: &mut [u8]) {
        if self.toll.takes(data) {
            return;
        }
        let mut received = Received::default();
        self.peer.handle_datagram(now, server_addr(), data, &mut received);
        self.payloads.append(&mut received.0);
        self.handle_events();
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::KeyframeRequested { ssrc } => {
                    self.keyframes_asked += 1;
                    let wanted = self.sources.iter_mut().find(|(_, stream)| stream.ssrc == ssrc);
                    wanted.unwrap().0.on_keyframe_request();
                }
                other => self.events.push(format!("{other:?}")),
            }
        }
    }
}

/// The tracks of a client, named after its sections.
fn tracks(index: usize, negotiated: &Negotiated) -> Vec<PublishedTrack> {
    let published = negotiated.media.iter().filter(|media| media.receive.is_some());
    let track = |(section, media): (usize, &tianqiao_sfu_core::negotiated::NegotiatedMedia)| PublishedTrack {
        mid: media.mid,
        track: TrackId(1 + 10 * index as u32 + section as u32),
        screen: false,
        voice_layer: 0,
    };
    published.enumerate().map(track).collect()
}

fn kind_of(negotiated: &Negotiated, mid: &str) -> tianqiao_sfu_core::negotiated::MediaKind {
    negotiated
        .media
        .iter()
        .find(|media| media.mid.as_str() == mid)
        .unwrap()
        .kind
}

/// A publisher offers to a viewer without a server between them; the viewer's payloads, and how often
/// each became connected. `lite`: the publisher passes for an ICE-lite agent.
pub fn answer_an_offer(lite: bool) -> (Vec<Vec<u8>>, [usize; 2]) {
    struct Payloads(Vec<Vec<u8>>);
    impl MediaSink for Payloads {
        fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
            self.0.push(packet.payload.to_vec());
        }
    }

    let mut now = Instant::now();
    let config = PeerConfig {
        camera: true,
        ..Default::default()
    };
    let mut peers = [
        LeanPeer::new(&config).unwrap(),
        LeanPeer::new(&PeerConfig::default()).unwrap(),
    ];
    let candidate = |index: usize| {
        let addr = client_addr(index);
        format!("a=candidate:1 1 udp 1 {} {} typ host\r\n", addr.ip(), addr.port())
    };
    let mut offer = peers[0].offer(now).unwrap() + &candidate(0);
    if lite {
        offer = offer.replacen("a=group", "a=ice-lite\r\na=group", 1);
    }
    let answer = peers[1].accept_offer(now, &offer).unwrap();
    assert!(
        answer.contains("a=setup:active") && answer.contains("a=recvonly"),
        "{answer}"
    );
    peers[0].set_answer(now, &(answer + &candidate(1))).unwrap();
    let mut source = VideoSource::new(VideoFormat::default(), TrackWindow::new(0, MediaKind::Video), now);
    let stream = peers[0].send_streams()[0];
    let mut sinks = [(); 2].map(|()| Payloads(Vec::new()));
    let mut connected = [0; 2];
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.set_local_addr(client_addr(index)).unwrap();
    }
    for _ in 0..500 {
        now += MS;
        for peer in &mut peers {
            peer.handle_timeout(now);
        }
        if connected == [1, 1] && source.poll_timeout() <= now {
            source.handle_timeout(now, stream, &mut |packet| peers[0].send_rtp(now, packet).unwrap());
        }
        for _ in 0..4 {
            for from in [0, 1] {
                let mut sent = Vec::new();
                while let Some(transmit) = peers[from].poll_transmit() {
                    sent.push(transmit.data.to_vec());
                }
                for mut data in sent {
                    let (to, sink) = (&mut peers[1 - from], &mut sinks[1 - from]);
                    to.handle_datagram(now, client_addr(from), &mut data, sink);
                }
                while let Some(event) = peers[from].poll_event() {
                    connected[from] += usize::from(event == PeerEvent::Connected);
                }
            }
        }
    }
    let [_, viewer] = sinks;
    (viewer.0, connected)
}

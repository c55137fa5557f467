//! One worker and its clients in steps of a millisecond, each behind a link of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use arrayvec::ArrayVec;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::negotiated::{
    Codec, DtlsRole, ExtensionIds, Feedback, MediaKind, Negotiated, NegotiatedCodec, NegotiatedMedia, ReceiveMedia,
    SendMedia,
};
use tianqiao_sfu_core::ntp::NtpClock;
use tianqiao_sfu_core::packet::extensions::ExtensionValues;
use tianqiao_sfu_core::packet::rtcp::{RtcpPacket, RtcpPackets, write};
use tianqiao_sfu_core::packet::rtp::RtpHeader;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::transport::{Certificate, SRTP_MAX_OVERHEAD, ufrag};
use tianqiao_sfu_core::twcc::FeedbackGenerator;
use tianqiao_sfu_core::units::{ConnectionId, Mid, Rid, Ssrc, TrackId, WorkerIndex};
use tianqiao_sfu_core::worker_api::{
    OpenConnection, PublishedTrack, Renegotiate, SetSlot, SlotRank, SlotSource, WorkerCommand, WorkerEvent,
};
use tianqiao_sfu_core::worker_core::{PacketSink, WorkerConfig, WorkerCore};
use tianqiao_testnet::duplex::{Duplex, Way};
use tianqiao_testnet::link::UDP_IPV4_HEADERS;
use tianqiao_testnet::profile::Profile;

use crate::client::{Client, Version};
use crate::publisher::{Camera, OPUS, Outgoing, RIDS, Speech, VP8};
use crate::receiver::{Listener, Viewer, Wish};
use crate::remb::Remb;
use crate::rfc8888::CongestionReports;

const SLOT_VP8: u8 = 100;
const SLOT_RTX: u8 = 101;
const SLOT_OPUS: u8 = 109;
const SLOT_RED: u8 = 110;
const OWN: Ssrc = Ssrc(99);

pub const MS: Duration = Duration::from_millis(1);
pub const LOW_VOICE: &str = "low";

pub fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

pub fn profile(text: &str) -> Profile {
    text.parse().expect("a profile")
}

/// A link without limits that takes 10 ms each way.
pub fn good() -> Profile {
    profile("[down]\ndelay = '10ms'\n[up]\ndelay = '10ms'")
}

/// The same speed in both directions, 50 ms there and back.
pub fn limited(kbit: u64) -> Profile {
    profile(&format!(
        "[down]\nrate = '{kbit}kbps'\nqueue = '1s'\ndelay = '25ms'\n[up]\ndelay = '25ms'"
    ))
}

pub struct Peer {
    client: Client,
    pub connection: ConnectionId,
    pub link: Duplex<Vec<u8>>,
    feedback: FeedbackGenerator,
    /// Of one that estimates its link itself.
    pub remb: Option<Remb>,
    /// Of one that tells by RFC 8888.
    pub reports: Option<CongestionReports>,
    /// By SSRC of the slot.
    pub viewers: BTreeMap<u32, Viewer>,
    pub listeners: BTreeMap<u32, Listener>,
    pub cameras: Vec<Camera>,
    pub voices: Vec<Speech>,
    pub paddings: usize,
    /// The longest queue of the way down since it was set to zero.
    pub queue: Duration,
    /// The same of the pacer.
    pub paced: Duration,
}

pub struct World {
    pub now: Instant,
    epoch: Instant,
    seed: u64,
    pub worker: WorkerCore,
    pub peers: Vec<Peer>,
    pub events: Vec<(Duration, WorkerEvent)>,
    sink: Sink,
    /// By the worker, for what came and for what it sent.
    pub allocations: u64,
    pub sent: usize,
}

/// Has room, so that it allocates nothing while it is counted what the worker does.
struct Sink {
    bytes: Vec<u8>,
    packets: Vec<(Path, Range<usize>)>,
}

impl Sink {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(1 << 21),
            packets: Vec::with_capacity(1 << 12),
        }
    }
}

impl PacketSink for Sink {
    fn send(&mut self, batch: &SendBatch) {
        for run in batch.runs() {
            for packet in batch.bytes(run).chunks(run.segment) {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(packet);
                self.packets.push((run.path, start..self.bytes.len()));
            }
        }
    }
}

impl World {
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// The same with other losses.
    pub fn with_seed(seed: u64) -> Self {
        let now = Instant::now();
        let ntp = NtpClock::new(now, Duration::from_secs(1_700_000_000));
        let certificate = Certificate::generate().expect("generates");
        let config = WorkerConfig::new(WorkerIndex(0), certificate, ntp);
        Self {
            now,
            epoch: now,
            seed,
            worker: WorkerCore::new(config, now),
            peers: Vec::new(),
            events: Vec::new(),
            sink: Sink::new(),
            allocations: 0,
            sent: 0,
        }
    }

    /// Since the world began.
    pub fn time(&self) -> Duration {
        self.now - self.epoch
    }

    /// Opens a connection; its index among the peers.
    pub fn open(&mut self, profile: &Profile, media: Vec<NegotiatedMedia>, tracks: &[(&str, u32)]) -> usize {
        let peer = self.peers.len();
        let connection = ConnectionId(peer as u32 + 1);
        let local = ufrag::generate(WorkerIndex(0), connection);
        let client = Client::new(Version::Dtls13, true, 1150, local.clone(), self.now);
        let track = |&(mid, track): &(&str, u32)| PublishedTrack {
            mid: to_mid(mid),
            track: TrackId(track),
            screen: mid == "screen",
            voice_layer: u8::from(mid == LOW_VOICE),
        };
        let open = OpenConnection {
            connection,
            local_ice: local,
            negotiated: negotiated(&client, media),
            tracks: tracks.iter().map(track).collect(),
        };
        self.worker
            .handle_command(self.now, WorkerCommand::Open(Box::new(open)));
        let mut link = Duplex::new(profile, self.seed * 100 + peer as u64 + 1);
        link.set_profile(self.time(), profile);
        self.peers.push(Peer {
            client,
            connection,
            link,
            feedback: FeedbackGenerator::new(),
            remb: None,
            reports: None,
            viewers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            cameras: Vec::new(),
            voices: Vec::new(),
            paddings: 0,
            queue: Duration::ZERO,
            paced: Duration::ZERO,
        });
        peer
    }

    /// The same, and waits until it is up.
    pub fn join(&mut self, profile: &Profile, media: Vec<NegotiatedMedia>, tracks: &[(&str, u32)]) -> usize {
        let peer = self.open(profile, media, tracks);
        for _ in 0..30_000 {
            self.run(MS);
            if self.is_up(peer) {
                return peer;
            }
        }
        panic!("peer {peer} does not connect");
    }

    pub fn is_up(&mut self, peer: usize) -> bool {
        let connection = self.peers[peer].connection;
        let up = WorkerEvent::Connected { connection };
        self.events.iter().any(|(_, event)| *event == up) && self.peers[peer].client.keys().is_some()
    }

    /// Somebody with a camera (track `track`) and a microphone (`track` + 1) on a good link.
    pub fn publisher(&mut self, track: u32, profile: &Profile) -> usize {
        let media = vec![camera("cam", &RIDS), microphone("mic", 2_000)];
        let peer = self.join(profile, media, &[("cam", track), ("mic", track + 1)]);
        let now = self.time();
        self.peers[peer]
            .cameras
            .push(Camera::new("cam", 1_000, 3, now, |_| 1.0));
        self.peers[peer].voices.push(Speech::new(2_000, false, now));
        peer
    }

    pub fn renegotiate(&mut self, peer: usize, media: Vec<NegotiatedMedia>) {
        let renegotiate = Renegotiate {
            connection: self.peers[peer].connection,
            local_ice: None,
            negotiated: negotiated(&self.peers[peer].client, media),
            tracks: Vec::new(),
        };
        self.worker
            .handle_command(self.now, WorkerCommand::Renegotiate(Box::new(renegotiate)));
    }

    pub fn close(&mut self, peer: usize) {
        let connection = self.peers[peer].connection;
        self.worker
            .handle_command(self.now, WorkerCommand::Close { connection });
    }

    pub fn show(&mut self, peer: usize, mid: &str, track: u32, height: u16) {
        self.show_ranked(peer, mid, track, height, SlotRank::default());
    }

    pub fn show_ranked(&mut self, peer: usize, mid: &str, track: u32, height: u16, rank: SlotRank) {
        let source = SlotSource {
            is_relayed: false,
            track: TrackId(track),
            home: WorkerIndex(0),
        };
        let set = SetSlot {
            connection: self.peers[peer].connection,
            mid: to_mid(mid),
            source: Some(source),
            height,
            rank,
        };
        self.worker.handle_command(self.now, WorkerCommand::SetSlot(set));
    }

    /// A REMB of `bitrate` in bit/s from somebody who has not agreed to send any.
    pub fn tell_remb(&mut self, peer: usize, bitrate: u64) {
        let time = self.time();
        self.peers[peer].send_rtcp(time, |out| write::remb(OWN, bitrate, &[], out));
    }

    pub fn set_link(&mut self, peer: usize, profile: &Profile) {
        let now = self.time();
        self.peers[peer].link.set_profile(now, profile);
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    pub fn viewer(&self, peer: usize, ssrc: u32) -> &Viewer {
        &self.peers[peer].viewers[&ssrc]
    }

    pub fn listener(&self, peer: usize, ssrc: u32) -> &Listener {
        &self.peers[peer].listeners[&ssrc]
    }

    pub fn kbit(&self, peer: usize) -> u64 {
        let connection = self.peers[peer].connection;
        self.worker
            .link_stats(connection)
            .map_or(0, |stats| stats.estimate.0 / 1_000)
    }

    /// In the pacer: packets, and the time that they take.
    pub fn waiting(&self, peer: usize) -> (usize, Duration) {
        self.worker.waiting(self.peers[peer].connection)
    }

    /// When a slot was told to stand still, or to go on.
    pub fn pauses(&self, peer: usize) -> Vec<(Duration, bool)> {
        let own = self.peers[peer].connection;
        let mut all = Vec::new();
        for (at, event) in &self.events {
            if let WorkerEvent::SlotsPaused { connection, pauses } = event
                && *connection == own
            {
                all.extend(pauses.iter().map(|pause| (*at, pause.is_paused)));
            }
        }
        all
    }

    /// What was said to be left beside media, in kbit/s.
    pub fn spares(&self, peer: usize) -> Vec<(Duration, u64)> {
        let own = self.peers[peer].connection;
        let spare = |(at, event): &(Duration, WorkerEvent)| match event {
            WorkerEvent::Spare { connection, spare } if *connection == own => Some((*at, spare.0 / 1_000)),
            _ => None,
        };
        self.events.iter().filter_map(spare).collect()
    }

    fn step(&mut self) {
        self.now += MS;
        let (now, time) = (self.now, self.now - self.epoch);
        if self.worker.poll_timeout().is_some_and(|due| due <= now) {
            self.worker.handle_timeout(now);
        }
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            peer.speak(now, time);
            while let Some((way, mut packet)) = peer.link.poll(time) {
                match way {
                    Way::Up => {
                        let handle = || self.worker.handle_packet(now, path(index), &mut packet);
                        self.allocations += measure(handle).count_total;
                    }
                    Way::Down => peer.receive(now, time, packet),
                }
            }
        }
        self.allocations += measure(|| self.worker.flush(now, &mut self.sink)).count_total;
        self.sent += self.sink.packets.len();
        for (to, range) in self.sink.packets.drain(..) {
            let packet = self.sink.bytes[range].to_vec();
            if let Some(index) = (0..self.peers.len()).find(|&index| path(index) == to) {
                let link = &mut self.peers[index].link;
                link.push(Way::Down, time, packet.len() + UDP_IPV4_HEADERS, packet);
            }
        }
        self.sink.bytes.clear();
        for peer in &mut self.peers {
            peer.paced = peer.paced.max(self.worker.waiting(peer.connection).1);
            peer.queue = peer.queue.max(peer.link.way(Way::Down).link().waiting(time));
        }
        while let Some(event) = self.worker.poll_event() {
            self.events.push((time, event));
        }
    }
}

impl Peer {
    fn send(&mut self, time: Duration, packet: Vec<u8>) {
        self.link.push(Way::Up, time, packet.len() + UDP_IPV4_HEADERS, packet);
    }

    fn send_rtp(&mut self, time: Duration, (mut packet, header_len, seq): Outgoing) {
        let Some((_, outbound)) = self.client.keys() else {
            return;
        };
        let len = packet.len();
        packet.resize(len + SRTP_MAX_OVERHEAD, 0);
        let len = outbound.protect_rtp(&mut packet, len, header_len, seq).expect("fits");
        packet.truncate(len);
        self.send(time, packet);
    }

    fn send_rtcp(&mut self, time: Duration, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let mut packet = vec![0; 1_300];
        let Some((_, outbound)) = self.client.keys() else {
            return;
        };
        let Some(len) = write(&mut packet) else { return };
        let len = outbound.protect_rtcp(&mut packet, len).expect("fits");
        packet.truncate(len);
        self.send(time, packet);
    }

    /// All that it sends of its own accord.
    fn speak(&mut self, now: Instant, time: Duration) {
        if self.client.poll_timeout() <= now {
            self.client.handle_timeout(now);
        }
        for packet in self.client.take_output() {
            self.send(time, packet);
        }
        let media: Vec<Outgoing> = self.cameras.iter_mut().flat_map(|camera| camera.poll(time)).collect();
        let voices: Vec<Outgoing> = self.voices.iter_mut().flat_map(|voice| voice.poll(time)).collect();
        for packet in voices.into_iter().chain(media) {
            self.send_rtp(time, packet);
        }
        let mut buffer = vec![0; 1_300];
        while let Some(len) = self.feedback.poll(now, &mut buffer, OWN, Ssrc(0)) {
            let feedback = buffer[..len].to_vec();
            self.send_rtcp(time, |out| {
                out[..len].copy_from_slice(&feedback);
                Some(len)
            });
        }
        if let Some(report) = self.remb.as_mut().and_then(|remb| remb.poll(time)) {
            self.send_rtcp(time, |out| report.write(OWN, out));
        }
        let report = self.reports.as_mut().and_then(|reports| reports.poll(time, OWN));
        if let Some(report) = report {
            self.send_rtcp(time, |out| {
                out.get_mut(..report.len())?.copy_from_slice(&report);
                Some(report.len())
            });
        }
        let wishes = self
            .viewers
            .iter_mut()
            .filter_map(|(&ssrc, viewer)| Some((ssrc, viewer.poll(time)?)));
        for (ssrc, wish) in wishes.collect::<Vec<_>>() {
            self.send_rtcp(time, |out| match wish {
                Wish::Nack(seqs) => write::nack(OWN, Ssrc(ssrc), seqs, out),
                Wish::Pli => write::pli(OWN, Ssrc(ssrc), out),
            });
        }
    }

    fn receive(&mut self, now: Instant, time: Duration, mut packet: Vec<u8>) {
        match classify(&packet).expect("known") {
            PacketKind::Stun | PacketKind::Dtls => self.client.handle_packet(now, &packet),
            PacketKind::Rtp => {
                let Some((inbound, _)) = self.client.keys() else { return };
                let is_voice = [SLOT_OPUS, SLOT_RED].contains(&(packet[1] & 0x7f));
                let len = match inbound.unprotect_rtp(&mut packet) {
                    // Sent again, as what told of it was lost.
                    Err(DropReason::SrtpReplay) if is_voice => return,
                    other => other.expect("authentic"),
                };
                self.on_rtp(now, time, &packet[..len]);
            }
            PacketKind::Rtcp => {
                let Some((inbound, _)) = self.client.keys() else { return };
                let len = inbound.unprotect_rtcp(&mut packet).expect("authentic and new");
                self.on_rtcp(time, &packet[..len]);
            }
        }
    }

    fn on_rtp(&mut self, now: Instant, time: Duration, packet: &[u8]) {
        let header = RtpHeader::parse(packet).expect("well-formed");
        let values = ExtensionValues::parse(&extension_ids(), &header, packet);
        if let Some(reports) = &mut self.reports {
            assert_eq!((values.transport_cc, values.abs_send_time), (None, None));
            reports.on_packet(time, header.ssrc, header.seq);
        }
        match &mut self.remb {
            Some(remb) => {
                assert_eq!(values.transport_cc, None);
                remb.on_packet(time, header.ssrc, header.seq, packet.len(), values.abs_send_time);
            }
            None => {
                assert_eq!(values.abs_send_time, None);
                if let Some(number) = values.transport_cc {
                    self.feedback.on_packet(now, number);
                }
            }
        }
        let payload = &packet[header.payload_range(packet).expect("padding fits")];
        let ssrc = header.ssrc.0;
        match header.payload_type {
            SLOT_VP8 => {
                let viewer = self.viewers.entry(ssrc).or_default();
                viewer.on_packet(time, header.seq, header.marker, payload);
            }
            SLOT_RTX if payload.is_empty() => self.paddings += 1,
            SLOT_RTX => {
                let seq = u16::from_be_bytes([payload[0], payload[1]]);
                let viewer = self.viewers.entry(ssrc - 1).or_default();
                viewer.on_packet(time, seq, header.marker, &payload[2..]);
            }
            SLOT_OPUS | SLOT_RED => {
                let listener = self.listeners.entry(ssrc).or_default();
                listener.on_packet(time, header.timestamp, header.payload_type == SLOT_RED, payload);
            }
            other => panic!("payload type {other}"),
        }
    }

    fn on_rtcp(&mut self, time: Duration, packet: &[u8]) {
        let mut again = Vec::new();
        for part in RtcpPackets::new(packet) {
            match part.expect("well-formed") {
                RtcpPacket::Pli(pli) => self.cameras.iter_mut().for_each(|camera| camera.on_pli(pli.media.0)),
                RtcpPacket::Nack(nack) => {
                    for seq in nack.seqs {
                        let sent = self
                            .cameras
                            .iter_mut()
                            .find_map(|camera| camera.on_nack(nack.media.0, seq));
                        again.extend(sent);
                    }
                }
                _ => {}
            }
        }
        for packet in again {
            self.send_rtp(time, packet);
        }
    }
}

fn negotiated(client: &Client, media: Vec<NegotiatedMedia>) -> Negotiated {
    Negotiated {
        remote_ice: Client::credentials(),
        remote_fingerprint: client.fingerprint.clone(),
        dtls_role: DtlsRole::Passive,
        media,
    }
}

fn path(peer: usize) -> Path {
    Path::udp(SocketAddr::from(([10, 0, 0, 1], 5000 + peer as u16)))
}

fn to_mid(mid: &str) -> Mid {
    Mid::from(mid).expect("short")
}

fn extension_ids() -> ExtensionIds {
    ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        audio_level: Some(3),
        transport_cc: Some(5),
        abs_send_time: Some(6),
        ..ExtensionIds::default()
    }
}

fn media(mid: &str, codecs: &[(Codec, u8, Option<u8>)]) -> NegotiatedMedia {
    let codec = |&(codec, payload_type, rtx): &(Codec, u8, Option<u8>)| NegotiatedCodec {
        codec,
        payload_type,
        rtx,
        feedback: Feedback {
            nack: codec.kind() == MediaKind::Video,
            pli: codec.kind() == MediaKind::Video,
            fir: false,
            transport_cc: true,
            remb: false,
            ccfb: false,
        },
    };
    NegotiatedMedia {
        mid: to_mid(mid),
        kind: codecs[0].0.kind(),
        codecs: codecs.iter().map(codec).collect(),
        extensions: extension_ids(),
        receive: None,
        send: None,
        reduced_size_rtcp: true,
    }
}

pub fn camera(mid: &str, rids: &[&str]) -> NegotiatedMedia {
    let rids = rids.iter().map(|rid| Rid::from(rid).expect("short")).collect();
    NegotiatedMedia {
        receive: Some(ReceiveMedia {
            ssrcs: ArrayVec::new(),
            rids,
        }),
        ..media(mid, &[(Codec::Vp8, VP8, None)])
    }
}

pub fn microphone(mid: &str, ssrc: u32) -> NegotiatedMedia {
    let ssrcs = std::iter::once((Ssrc(ssrc), None)).collect();
    let receive = Some(ReceiveMedia {
        ssrcs,
        rids: ArrayVec::new(),
    });
    NegotiatedMedia {
        receive,
        ..media(mid, &[(Codec::Opus, OPUS, None)])
    }
}

fn slot(ssrc: u32, media: NegotiatedMedia) -> NegotiatedMedia {
    let send = Some(SendMedia {
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Ssrc(ssrc + 1),
    });
    NegotiatedMedia { send, ..media }
}

pub fn video_slot(mid: &str, ssrc: u32) -> NegotiatedMedia {
    slot(ssrc, media(mid, &[(Codec::Vp8, SLOT_VP8, Some(SLOT_RTX))]))
}

/// A slot of a client that agreed to REMB in place of transport-wide feedback.
pub fn by_remb(mut slot: NegotiatedMedia) -> NegotiatedMedia {
    slot.extensions.transport_cc = None;
    for codec in &mut slot.codecs {
        (codec.feedback.transport_cc, codec.feedback.remb) = (false, true);
    }
    slot
}

/// A slot of a client that agreed to RFC 8888.
pub fn by_rfc8888(mut slot: NegotiatedMedia) -> NegotiatedMedia {
    slot.extensions.transport_cc = None;
    for codec in &mut slot.codecs {
        (codec.feedback.transport_cc, codec.feedback.ccfb) = (false, true);
    }
    slot
}

pub fn audio_slot(mid: &str, ssrc: u32) -> NegotiatedMedia {
    slot(
        ssrc,
        media(mid, &[(Codec::Opus, SLOT_OPUS, None), (Codec::Red, SLOT_RED, None)]),
    )
}

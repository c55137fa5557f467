//! Workers and clients in virtual time, with nothing between them that delays or loses unless asked to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use tianqiao_sfu_core::downtrack::voice::AudioFormat;
use tianqiao_sfu_core::mail::Mail;
use tianqiao_sfu_core::negotiated::{
    Codec, DtlsRole, ExtensionIds, Feedback, MediaKind, Negotiated, NegotiatedCodec, NegotiatedMedia, ReceiveMedia,
    SendMedia,
};
use tianqiao_sfu_core::ntp::NtpClock;
use tianqiao_sfu_core::packet::rtcp::{RtcpPacket, RtcpPackets};
use tianqiao_sfu_core::packet::rtp::RtpHeader;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::rate::RateLimits;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::transport::{Certificate, SRTP_MAX_OVERHEAD, ufrag};
use tianqiao_sfu_core::units::{ConnectionId, Mid, Rid, Ssrc, TrackId, WorkerIndex};
use tianqiao_sfu_core::worker_api::{
    OpenConnection, PublishedTrack, Renegotiate, SetAudio, SetSlot, SlotSource, WorkerCommand, WorkerEvent,
};
use tianqiao_sfu_core::worker_core::{PacketSink, WorkerConfig, WorkerCore};

use crate::client::{Client, Version};
use crate::source::Outgoing;

pub const VP8: u8 = 96;
pub const VP8_RTX: u8 = 97;
pub const OPUS: u8 = 111;
/// Payload types of subscribers differ from those of publishers, so that none slips through.
pub const SLOT_VP8: u8 = 100;
pub const SLOT_RTX: u8 = 101;
pub const SLOT_OPUS: u8 = 109;
pub const RED: u8 = 63;
pub const SLOT_RED: u8 = 110;

/// The mid of a section on which a low voice comes.
pub const LOW_VOICE: &str = "low";

pub const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub struct Rtp {
    pub header: RtpHeader,
    pub csrcs: Vec<u32>,
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rtcp {
    Pli(Ssrc),
    Nack(Ssrc, u16),
    SenderReport { ssrc: Ssrc, ntp: u64, rtp: u32 },
}

pub struct Peer {
    client: Client,
    pub worker: usize,
    pub connection: ConnectionId,
    pub rtp: Vec<Rtp>,
    pub rtcp: Vec<Rtcp>,
    /// Sizes of the GSO runs that came.
    pub runs: Vec<usize>,
    /// RTP packets do not come, but are kept as they were on the wire.
    pub loses: bool,
    pub lost: Vec<Vec<u8>>,
}

pub struct World {
    pub now: Instant,
    pub workers: Vec<WorkerCore>,
    pub peers: Vec<Peer>,
    pub events: Vec<WorkerEvent>,
    /// The workers' clock in their sender reports.
    pub ntp: NtpClock,
    next_connection: u32,
}

#[derive(Default)]
struct Sink(Vec<(Path, Vec<Vec<u8>>)>);

impl PacketSink for Sink {
    fn send(&mut self, batch: &SendBatch) {
        for run in batch.runs() {
            self.0.push((
                run.path,
                batch.bytes(run).chunks(run.segment).map(<[u8]>::to_vec).collect(),
            ));
        }
    }
}

impl World {
    pub fn new(workers: u8) -> Self {
        Self::with(workers, RateLimits::default())
    }

    pub fn with(workers: u8, rates: RateLimits) -> Self {
        let now = Instant::now();
        let ntp = NtpClock::new(now, Duration::from_secs(1_700_000_000));
        let certificate = Certificate::generate().expect("generates");
        let worker = |index| {
            let config = WorkerConfig::new(WorkerIndex(index), certificate.clone(), ntp);
            WorkerCore::new(WorkerConfig { rates, ..config }, now)
        };
        Self {
            now,
            workers: (0..workers).map(worker).collect(),
            peers: Vec::new(),
            events: Vec::new(),
            ntp,
            next_connection: 1,
        }
    }

    /// Opens a connection with these sections and waits until it is up; its index among the peers.
    pub fn join(&mut self, worker: usize, media: Vec<NegotiatedMedia>, tracks: &[(&str, u32)]) -> usize {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let local = ufrag::generate(WorkerIndex(worker as u8), connection);
        let client = Client::new(Version::Dtls13, true, 1150, local.clone(), self.now);
        let open = OpenConnection {
            connection,
            local_ice: local,
            negotiated: negotiated(&client, media),
            tracks: tracks
                .iter()
                .map(|&(mid, track)| PublishedTrack {
                    mid: to_mid(mid),
                    track: TrackId(track),
                    screen: false,
                    voice_layer: u8::from(mid == LOW_VOICE),
                })
                .collect(),
        };
        self.workers[worker].handle_command(self.now, WorkerCommand::Open(Box::new(open)));
        self.peers.push(Peer {
            client,
            worker,
            connection,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            runs: Vec::new(),
            loses: false,
            lost: Vec::new(),
        });
        let peer = self.peers.len() - 1;
        for _ in 0..100 {
            self.advance(MS);
            if self.events.contains(&WorkerEvent::Connected { connection }) && self.peers[peer].client.keys().is_some()
            {
                return peer;
            }
        }
        panic!("peer {peer} does not connect");
    }

    /// A new answer for a subscriber.
    pub fn renegotiate(&mut self, peer: usize, media: Vec<NegotiatedMedia>) {
        let peer = &self.peers[peer];
        let renegotiate = Renegotiate {
            connection: peer.connection,
            local_ice: None,
            negotiated: negotiated(&peer.client, media),
            tracks: Vec::new(),
        };
        let command = WorkerCommand::Renegotiate(Box::new(renegotiate));
        self.workers[peer.worker].handle_command(self.now, command);
        self.settle();
    }

    pub fn leave(&mut self, peer: usize) {
        let peer = &self.peers[peer];
        self.workers[peer.worker].handle_command(
            self.now,
            WorkerCommand::Close {
                connection: peer.connection,
            },
        );
        self.settle();
    }

    pub fn show(&mut self, peer: usize, mid: &str, source: Option<(u32, usize)>, height: u16) {
        let set = SetSlot {
            connection: self.peers[peer].connection,
            mid: to_mid(mid),
            source: source.map(|(track, home)| SlotSource {
                track: TrackId(track),
                home: WorkerIndex(home as u8),
                is_relayed: false,
            }),
            height,
            rank: Default::default(),
        };
        let worker = self.peers[peer].worker;
        self.workers[worker].handle_command(self.now, WorkerCommand::SetSlot(set));
        self.settle();
    }

    /// How the voice in a slot is sent.
    pub fn set_audio(&mut self, peer: usize, mid: &str, format: AudioFormat) {
        let set = SetAudio {
            connection: self.peers[peer].connection,
            mid: to_mid(mid),
            format,
        };
        let worker = self.peers[peer].worker;
        self.workers[worker].handle_command(self.now, WorkerCommand::SetAudio(set));
        self.settle();
    }

    /// One batch of RTP packets of one peer.
    pub fn send_rtp(&mut self, peer: usize, packets: &[Outgoing]) {
        for mut packet in self.encrypt(peer, packets) {
            self.deliver(peer, &mut packet);
        }
        self.settle();
    }

    /// Packets as a peer puts them on the wire.
    pub fn encrypt(&mut self, peer: usize, packets: &[Outgoing]) -> Vec<Vec<u8>> {
        let (_, outbound) = self.peers[peer].client.keys().expect("connected");
        let encrypt = |(plain, header_len, seq): &Outgoing| {
            let mut packet = plain.clone();
            packet.resize(plain.len() + SRTP_MAX_OVERHEAD, 0);
            let len = outbound.protect_rtp(&mut packet, plain.len(), *header_len, *seq);
            packet.truncate(len.expect("fits"));
            packet
        };
        packets.iter().map(encrypt).collect()
    }

    pub fn send_rtcp(&mut self, peer: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let mut packet = vec![0; 1200];
        let len = write(&mut packet).expect("fits");
        let (_, outbound) = self.peers[peer].client.keys().expect("connected");
        let len = outbound.protect_rtcp(&mut packet, len).expect("fits");
        self.deliver(peer, &mut packet[..len].to_vec());
        self.settle();
    }

    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += MS;
            for worker in &mut self.workers {
                if worker.poll_timeout().is_some_and(|due| due <= self.now) {
                    worker.handle_timeout(self.now);
                }
            }
            for peer in 0..self.peers.len() {
                if self.peers[peer].client.poll_timeout() <= self.now {
                    self.peers[peer].client.handle_timeout(self.now);
                }
            }
            self.settle();
        }
    }

    /// Time passes, and workers do something only when they have asked to be woken; how often they were.
    pub fn sleep(&mut self, time: Duration) -> usize {
        let (end, mut wakes) = (self.now + time, 0);
        loop {
            let workers = self.workers.iter().filter_map(WorkerCore::poll_timeout);
            let clients = self.peers.iter().map(|peer| peer.client.poll_timeout());
            let due = workers.chain(clients).min().unwrap_or(end);
            if due >= end {
                self.now = end;
                return wakes;
            }
            self.now = self.now.max(due);
            for worker in &mut self.workers {
                if worker.poll_timeout().is_some_and(|due| due <= self.now) {
                    worker.handle_timeout(self.now);
                    wakes += 1;
                }
            }
            for peer in &mut self.peers {
                if peer.client.poll_timeout() <= self.now {
                    peer.client.handle_timeout(self.now);
                }
            }
            self.settle();
        }
    }

    pub fn deliver(&mut self, peer: usize, packet: &mut [u8]) {
        let worker = self.peers[peer].worker;
        self.workers[worker].handle_packet(self.now, path(peer), packet);
    }

    /// Carries everything that is under way until nothing is.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for peer in 0..self.peers.len() {
                for mut packet in self.peers[peer].client.take_output() {
                    self.deliver(peer, &mut packet);
                    moved = true;
                }
            }
            for worker in 0..self.workers.len() {
                // As the shell does: what others are to send goes to them first.
                self.workers[worker].write_mail();
                moved |= self.post(worker);
                let mut sink = Sink::default();
                self.workers[worker].flush(self.now, &mut sink);
                for (path, packets) in sink.0 {
                    moved = true;
                    let Some(peer) = self
                        .peers
                        .iter_mut()
                        .enumerate()
                        .find(|(index, _)| self::path(*index) == path)
                    else {
                        continue;
                    };
                    peer.1.receive(self.now, packets);
                }
                while let Some(event) = self.workers[worker].poll_event() {
                    self.events.push(event);
                }
                moved |= self.post(worker);
            }
            if !moved {
                return;
            }
        }
    }

    /// Brings the mail of a worker to the others; whether there was any.
    fn post(&mut self, worker: usize) -> bool {
        let mails: Vec<(WorkerIndex, Mail)> = std::iter::from_fn(|| self.workers[worker].poll_mail()).collect();
        let posted = !mails.is_empty();
        for (to, mail) in mails {
            self.workers[usize::from(to.0)].handle_mail(self.now, WorkerIndex(worker as u8), mail);
        }
        posted
    }
}

impl Peer {
    fn receive(&mut self, now: Instant, packets: Vec<Vec<u8>>) {
        if packets.iter().all(|packet| classify(packet) == Ok(PacketKind::Rtp)) {
            self.runs.push(packets.len());
        }
        for mut packet in packets {
            match classify(&packet).expect("known") {
                PacketKind::Stun | PacketKind::Dtls => self.client.handle_packet(now, &packet),
                PacketKind::Rtp if self.loses => self.lost.push(packet),
                PacketKind::Rtp => {
                    let (inbound, _) = self.client.keys().expect("connected");
                    let len = inbound.unprotect_rtp(&mut packet).expect("authentic and new");
                    let packet = &packet[..len];
                    let header = RtpHeader::parse(packet).expect("well-formed");
                    let csrcs = header.csrcs(packet).map(|ssrc| ssrc.0).collect();
                    let payload = packet[header.payload_range(packet).expect("padding fits")].to_vec();
                    self.rtp.push(Rtp { header, csrcs, payload });
                }
                PacketKind::Rtcp => {
                    let (inbound, _) = self.client.keys().expect("connected");
                    let len = inbound.unprotect_rtcp(&mut packet).expect("authentic and new");
                    for part in RtcpPackets::new(&packet[..len]) {
                        match part.expect("well-formed") {
                            RtcpPacket::Pli(pli) => self.rtcp.push(Rtcp::Pli(pli.media)),
                            RtcpPacket::Nack(nack) => {
                                self.rtcp.extend(nack.seqs.map(|seq| Rtcp::Nack(nack.media, seq)));
                            }
                            RtcpPacket::SenderReport(report) => self.rtcp.push(Rtcp::SenderReport {
                                ssrc: report.ssrc,
                                ntp: report.info.ntp,
                                rtp: report.info.rtp,
                            }),
                            _ => {}
                        }
                    }
                }
            }
        }
    }

    /// A valid check that nominates wherever it comes from.
    pub fn check(&self) -> Vec<u8> {
        self.client.check_with_password(&self.client.server_password())
    }

    /// Whether it answers the server's checks.
    pub fn set_answers(&mut self, answers: bool) {
        self.client.answers = answers;
    }

    pub fn take_rtp(&mut self) -> Vec<Rtp> {
        std::mem::take(&mut self.rtp)
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

pub fn to_mid(mid: &str) -> Mid {
    Mid::from(mid).expect("short")
}

fn codec(codec: Codec, payload_type: u8, rtx: Option<u8>) -> NegotiatedCodec {
    let video = codec.kind() == MediaKind::Video;
    let feedback = Feedback {
        nack: true,
        pli: video,
        fir: false,
        transport_cc: true,
        remb: false,
        ccfb: false,
    };
    NegotiatedCodec {
        codec,
        payload_type,
        rtx,
        feedback,
    }
}

fn media(mid: &str, codecs: &[NegotiatedCodec]) -> NegotiatedMedia {
    NegotiatedMedia {
        mid: to_mid(mid),
        kind: codecs[0].codec.kind(),
        codecs: codecs.iter().copied().collect(),
        extensions: ExtensionIds {
            mid: Some(1),
            rid: Some(2),
            audio_level: Some(3),
            ..ExtensionIds::default()
        },
        receive: None,
        send: None,
        reduced_size_rtcp: true,
    }
}

/// A section on which the client sends VP8, its layer i under SSRC `ssrc` + i where it has rids.
pub fn camera(mid: &str, ssrc: u32, rids: &[&str]) -> NegotiatedMedia {
    let mut ssrcs = ArrayVec::new();
    if rids.is_empty() {
        ssrcs.push((Ssrc(ssrc), Some(Ssrc(ssrc + 100))));
    }
    let rids = rids.iter().map(|rid| Rid::from(rid).expect("short")).collect();
    NegotiatedMedia {
        receive: Some(ReceiveMedia { ssrcs, rids }),
        ..media(mid, &[codec(Codec::Vp8, VP8, Some(VP8_RTX))])
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
        ..media(mid, &[codec(Codec::Opus, OPUS, None), codec(Codec::Red, RED, None)])
    }
}

pub fn video_slot(mid: &str, ssrc: u32) -> NegotiatedMedia {
    let send = Some(SendMedia {
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Ssrc(ssrc + 1),
    });
    NegotiatedMedia {
        send,
        ..media(mid, &[codec(Codec::Vp8, SLOT_VP8, Some(SLOT_RTX))])
    }
}

pub fn audio_slot(mid: &str, ssrc: u32) -> NegotiatedMedia {
    let send = Some(SendMedia {
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Ssrc(ssrc + 1),
    });
    NegotiatedMedia {
        send,
        ..media(mid, &[codec(Codec::Opus, SLOT_OPUS, None)])
    }
}

/// The same with RED.
pub fn red_slot(mid: &str, ssrc: u32) -> NegotiatedMedia {
    NegotiatedMedia {
        codecs: [codec(Codec::Opus, SLOT_OPUS, None), codec(Codec::Red, SLOT_RED, None)]
            .into_iter()
            .collect(),
        ..audio_slot(mid, ssrc)
    }
}

//! A client: what it publishes, and what it makes of its slots.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::negotiated::{
    Codec, DtlsRole, ExtensionIds, Feedback, MediaKind, Negotiated, NegotiatedCodec, NegotiatedMedia, ReceiveMedia,
    SendMedia,
};
use tianqiao_sfu_core::packet::extensions::ExtensionValues;
use tianqiao_sfu_core::packet::rtcp::{RtcpPacket, RtcpPackets, write};
use tianqiao_sfu_core::packet::rtp::RtpHeader;
use tianqiao_sfu_core::rooms::WantedTrack;
use tianqiao_sfu_core::transport::SRTP_MAX_OVERHEAD;
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::twcc::FeedbackGenerator;
use tianqiao_sfu_core::units::{ExtendedSeq, Mid, Rid, Ssrc, TrackId};

use crate::client::Client;
use crate::publisher::{Camera, LAYERS, OPUS, Outgoing, RIDS, VP8};
use crate::receiver::{Listener, Viewer, Wish};

const SLOT_VP8: u8 = 100;
const SLOT_RTX: u8 = 101;
const SLOT_OPUS: u8 = 109;
const OWN: Ssrc = Ssrc(99);
pub const CAMERA_SSRC: u32 = 1_000;
const VOICE_SSRC: u32 = 2_000;
/// From a client to its node, and back.
const WAY: Duration = Duration::from_millis(10);

/// A microphone: Opus every 20 ms at a level that tests set.
pub struct Voice {
    began: Duration,
    next: u64,
    /// −dBov; 127 is silence.
    pub level: u8,
}

impl Voice {
    pub fn new(now: Duration) -> Self {
        Self {
            began: now,
            next: 0,
            level: 127,
        }
    }

    fn poll(&mut self, now: Duration) -> Vec<Outgoing> {
        let mut out = Vec::new();
        while now >= self.began + Duration::from_millis(20) * (self.next as u32 + 1) {
            let voice = u8::from(self.level < 127) << 7;
            let (seq, timestamp) = (1_000 + self.next, self.next as u32 * 960);
            let mut packet = vec![0x80, OPUS];
            packet.extend((seq as u16).to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend(VOICE_SSRC.to_be_bytes());
            packet[0] |= 0x10;
            packet.extend([0xbe, 0xde, 0, 1, 3 << 4, voice | self.level, 0, 0]);
            let header_len = packet.len();
            packet.push(0x48);
            packet.resize(header_len + 80, self.next as u8);
            out.push((packet, header_len, ExtendedSeq(seq)));
            self.next += 1;
        }
        out
    }
}

pub struct Peer {
    pub node: usize,
    pub worker: usize,
    pub name: String,
    client: Client,
    pub connected: bool,
    /// Nothing of it comes or goes.
    pub silent: bool,
    pub up: VecDeque<(Duration, Vec<u8>)>,
    down: VecDeque<(Duration, Vec<u8>)>,
    feedback: FeedbackGenerator,
    pub viewers: BTreeMap<u32, Viewer>,
    pub listeners: BTreeMap<u32, Listener>,
    /// Packets of each voice that came, and when the last one did.
    pub heard: BTreeMap<TrackId, (usize, Duration)>,
    pub camera: Option<Camera>,
    pub voice: Option<Voice>,
    /// Does as it is told by [`tianqiao_sfu_core::rooms::RoomsEvent::Wanted`].
    pub obeys: bool,
    /// Requests for key frames that came, by layer.
    pub asked: [usize; 3],
    pub wanted: Vec<(Duration, WantedTrack)>,
}

impl Peer {
    pub fn new(node: usize, worker: usize, name: &str, client: Client) -> Self {
        Self {
            node,
            worker,
            name: name.to_owned(),
            client,
            connected: false,
            silent: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            feedback: FeedbackGenerator::new(),
            viewers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            heard: BTreeMap::new(),
            camera: None,
            voice: None,
            obeys: false,
            asked: [0; 3],
            wanted: Vec::new(),
        }
    }

    pub fn on_wanted(&mut self, time: Duration, wanted: &WantedTrack) {
        self.wanted.push((time, wanted.clone()));
        if let Some(camera) = self.camera.as_mut().filter(|_| self.obeys) {
            let ceiling = |rid: &str| {
                let layer = wanted.layers.iter().find(|layer| layer.rid.as_str() == rid)?;
                Some((layer.max_bitrate.0 / 1_000) as usize)
            };
            camera.set_ceilings(RIDS.map(ceiling));
        }
    }

    fn send(&mut self, time: Duration, packet: Vec<u8>) {
        if !self.silent {
            self.up.push_back((time + WAY, packet));
        }
    }

    /// From its node.
    pub fn push(&mut self, time: Duration, packet: Vec<u8>) {
        if !self.silent {
            self.down.push_back((time + WAY, packet));
        }
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

    /// Takes what has come, and sends what it sends of its own accord.
    pub fn turn(&mut self, now: Instant, time: Duration) {
        while self.down.front().is_some_and(|(at, _)| *at <= time) {
            if let Some((_, packet)) = self.down.pop_front() {
                self.receive(now, time, packet);
            }
        }
        if self.client.poll_timeout() <= now {
            self.client.handle_timeout(now);
        }
        for packet in self.client.take_output() {
            self.send(time, packet);
        }
        let voice = self.voice.as_mut().map(|voice| voice.poll(time));
        let video = self.camera.as_mut().map(|camera| camera.poll(time));
        for packet in voice.into_iter().chain(video).flatten() {
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
        let viewers = self.viewers.iter_mut();
        let wishes: Vec<_> = viewers
            .filter_map(|(&ssrc, viewer)| Some((ssrc, viewer.poll(time)?)))
            .collect();
        for (ssrc, wish) in wishes {
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
                let len = match inbound.unprotect_rtp(&mut packet) {
                    Err(DropReason::SrtpReplay) => return,
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
        if let Some(number) = values.transport_cc {
            self.feedback.on_packet(now, number);
        }
        let payload = &packet[header.payload_range(packet).expect("padding fits")];
        let ssrc = header.ssrc.0;
        match header.payload_type {
            SLOT_VP8 => {
                let viewer = self.viewers.entry(ssrc).or_default();
                viewer.on_packet(time, header.seq, header.marker, payload);
            }
            SLOT_RTX if payload.is_empty() => {}
            SLOT_RTX => {
                let seq = u16::from_be_bytes([payload[0], payload[1]]);
                let viewer = self.viewers.entry(ssrc - 1).or_default();
                viewer.on_packet(time, seq, header.marker, &payload[2..]);
            }
            SLOT_OPUS => {
                for track in header.csrcs(packet) {
                    let heard = self.heard.entry(TrackId(track.0)).or_default();
                    *heard = (heard.0 + 1, time);
                }
                let listener = self.listeners.entry(ssrc).or_default();
                listener.on_packet(time, header.timestamp, false, payload);
            }
            other => panic!("payload type {other}"),
        }
    }

    fn on_rtcp(&mut self, time: Duration, packet: &[u8]) {
        let mut again = Vec::new();
        for part in RtcpPackets::new(packet) {
            match (part.expect("well-formed"), &mut self.camera) {
                (RtcpPacket::Pli(pli), Some(camera)) => {
                    camera.on_pli(pli.media.0);
                    let layer = pli.media.0.checked_sub(CAMERA_SSRC);
                    if let Some(asked) = layer.and_then(|layer| self.asked.get_mut(layer as usize)) {
                        *asked += 1;
                    }
                }
                (RtcpPacket::Nack(nack), Some(camera)) => {
                    again.extend(nack.seqs.filter_map(|seq| camera.on_nack(nack.media.0, seq)));
                }
                _ => {}
            }
        }
        for packet in again {
            self.send_rtp(time, packet);
        }
    }

    pub fn has_keys(&mut self) -> bool {
        self.client.keys().is_some()
    }

    /// All pictures of all slots since `from`.
    pub fn pictures(&self, from: Duration) -> usize {
        self.viewers.values().map(|viewer| viewer.since(from).count()).sum()
    }

    /// Of the first picture since `from`, in the only slot that shows something.
    pub fn first_picture(&self, from: Duration) -> Option<Duration> {
        let firsts = self.viewers.values().filter_map(|viewer| viewer.since(from).next());
        firsts.map(|picture| picture.at).min()
    }

    /// The height of what the only video slot shows at `at`.
    pub fn height_at(&self, at: Duration) -> u16 {
        let heights = self.viewers.values().map(|viewer| viewer.height_at(at));
        heights.max().unwrap_or(0)
    }

    pub fn longest_freeze(&self, from: Duration, to: Duration) -> Duration {
        let freezes = self.viewers.values().map(|viewer| viewer.longest_freeze(from, to));
        freezes.min().unwrap_or(to - from)
    }

    /// Packets of a voice that came so far.
    pub fn heard(&self, track: TrackId) -> usize {
        self.heard.get(&track).map_or(0, |heard| heard.0)
    }
}

/// Kbit/s that a camera's layer takes.
pub fn layer_kbit(layer: usize) -> f64 {
    LAYERS[layer].1 as f64
}

pub fn negotiated(client: &Client, media: Vec<NegotiatedMedia>) -> Negotiated {
    Negotiated {
        remote_ice: Client::credentials(),
        remote_fingerprint: client.fingerprint.clone(),
        dtls_role: DtlsRole::Passive,
        media,
    }
}

pub fn mid(text: &str) -> Mid {
    Mid::from(text).expect("short")
}

fn extension_ids() -> ExtensionIds {
    ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        audio_level: Some(3),
        transport_cc: Some(5),
        ..ExtensionIds::default()
    }
}

fn media(name: &str, codec: Codec, payload_type: u8, rtx: Option<u8>) -> NegotiatedMedia {
    let is_video = codec.kind() == MediaKind::Video;
    let codec = NegotiatedCodec {
        codec,
        payload_type,
        rtx,
        feedback: Feedback {
            nack: is_video,
            pli: is_video,
            fir: false,
            transport_cc: true,
            remb: false,
            ccfb: false,
        },
    };
    NegotiatedMedia {
        mid: mid(name),
        kind: codec.codec.kind(),
        codecs: std::iter::once(codec).collect(),
        extensions: extension_ids(),
        receive: None,
        send: None,
        reduced_size_rtcp: true,
    }
}

pub fn camera() -> NegotiatedMedia {
    let rids = RIDS.iter().map(|rid| Rid::from(rid).expect("short")).collect();
    let receive = Some(ReceiveMedia {
        ssrcs: ArrayVec::new(),
        rids,
    });
    NegotiatedMedia {
        receive,
        ..media("cam", Codec::Vp8, VP8, None)
    }
}

pub fn microphone() -> NegotiatedMedia {
    let receive = Some(ReceiveMedia {
        ssrcs: std::iter::once((Ssrc(VOICE_SSRC), None)).collect(),
        rids: ArrayVec::new(),
    });
    NegotiatedMedia {
        receive,
        ..media("mic", Codec::Opus, OPUS, None)
    }
}

pub fn slot(name: &str, kind: MediaKind, ssrc: u32) -> NegotiatedMedia {
    let send = Some(SendMedia {
        ssrc: Ssrc(ssrc),
        rtx_ssrc: Ssrc(ssrc + 1),
    });
    let media = match kind {
        MediaKind::Audio => media(name, Codec::Opus, SLOT_OPUS, None),
        MediaKind::Video => media(name, Codec::Vp8, SLOT_VP8, Some(SLOT_RTX)),
    };
    NegotiatedMedia { send, ..media }
}

//! Speakers, slots and listeners in virtual time.

mod layers;
mod losses;
mod packets;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::downtrack::{Decision, Downtrack, SlotFormat};
use crate::negotiated::{Codec, ExtensionIds, Feedback, MediaKind, NegotiatedCodec, NegotiatedMedia, SendMedia};
use crate::packet::extensions::ExtensionValues;
use crate::packet::red;
use crate::packet::rtp::RtpHeader;
use crate::pool::test_util::info;
use crate::pool::{PacketInfo, PacketPool, PacketRef};
use crate::track::{Home, Track};
use crate::units::{Mid, Ssrc, TrackId};

const MS: Duration = Duration::from_millis(1);
const OPUS: u8 = 109;
const RED: u8 = 110;
const TRACK: TrackId = TrackId(7);

fn media(has_red: bool) -> NegotiatedMedia {
    let codec = |codec, payload_type| NegotiatedCodec {
        codec,
        payload_type,
        rtx: None,
        feedback: Feedback::default(),
    };
    let codecs = [codec(Codec::Opus, OPUS), codec(Codec::Red, RED)];
    NegotiatedMedia {
        mid: Mid::from("1").expect("short"),
        kind: MediaKind::Audio,
        codecs: codecs.into_iter().take(1 + usize::from(has_red)).collect(),
        extensions: ExtensionIds {
            audio_level: Some(1),
            ..ExtensionIds::default()
        },
        receive: None,
        send: Some(SendMedia {
            ssrc: Ssrc(50),
            rtx_ssrc: Ssrc(51),
        }),
        reduced_size_rtcp: true,
    }
}

/// A slot and the track that is in it.
struct Slot {
    downtrack: Downtrack,
    track: Track,
    buffer: Vec<u8>,
}

impl Slot {
    fn new(has_red: bool, format: AudioFormat) -> Self {
        let media = media(has_red);
        let send = media.send.expect("a slot");
        let mut downtrack = Downtrack::new(&media, send, SlotFormat::shared(&media, []), 100);
        downtrack.set_audio(format);
        downtrack.set_source(Some(TRACK), 0);
        Self {
            downtrack,
            track: Track::new(TRACK, MediaKind::Audio, Home::Unknown),
            buffer: vec![0; 2_000],
        }
    }

    /// What goes out for a packet that came.
    fn forward(&mut self, packet: &PacketRef) -> Option<Vec<u8>> {
        self.track.on_packet(packet.clone());
        self.track.pending.clear();
        if std::mem::take(&mut self.track.layers_changed) {
            self.downtrack.retarget(&self.track);
        }
        let decision = match self.downtrack.has_voice() {
            true => self.downtrack.rewrite_voice(packet, &self.track)?,
            false => self.downtrack.rewrite(packet, &self.track, 0)?,
        };
        Some(self.write(packet, &decision))
    }

    fn flush(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (packet, decision) = self.downtrack.flush_voice(now)?;
        Some(self.write(&packet, &decision))
    }

    fn write(&mut self, packet: &Packet, decision: &Decision) -> Vec<u8> {
        let written = self.downtrack.write(&mut self.buffer, packet, decision, TRACK, 0);
        let datagram = self.buffer[..written.expect("fits").len].to_vec();
        self.downtrack.on_protected(decision.seq, 0, &datagram);
        datagram
    }
}

/// Who publishes a voice in one layer. A frame's payload tells which it is.
struct Speaker {
    layer: u8,
    /// ms of sound in a packet.
    length: u32,
    seq: u64,
    /// RTP timestamp at time 0.
    base: u32,
    pool: PacketPool,
}

impl Speaker {
    fn full() -> Self {
        Self {
            layer: 0,
            length: 20,
            seq: 65_530,
            base: 0xffff_ff00,
            pool: PacketPool::new(256),
        }
    }

    fn low() -> Self {
        Self {
            layer: 1,
            length: 60,
            seq: 900,
            base: 77_777,
            pool: PacketPool::new(256),
        }
    }

    /// The packet of the sound from `at` ms on, which comes when that is over.
    fn packet(&mut self, epoch: Instant, at: u32) -> PacketRef {
        self.packet_of(epoch, at, 60)
    }

    fn packet_of(&mut self, epoch: Instant, at: u32, len: usize) -> PacketRef {
        self.seq += 1;
        let info = PacketInfo {
            timestamp: self.base.wrapping_add(at * 48),
            layer: self.layer,
            frame: crate::packet::payload::describe(Codec::Opus, &[]),
            audio_level: Some(30),
            ..info(self.seq, epoch + MS * (at + self.length))
        };
        let toc = if self.length == 60 { 3 << 3 } else { 9 << 3 };
        let mut payload = vec![toc];
        payload.extend(at.to_be_bytes());
        // Opus padding, which must stay as it is.
        payload.resize(len.max(1), self.layer);
        payload.truncate(len);
        self.pool.fill(info, &payload, &[]).expect("fits")
    }
}

/// What a receiver reads in a packet: each frame by its RTP timestamp.
#[derive(Debug)]
struct Read {
    seq: u16,
    payload_type: u8,
    marker: bool,
    audio_level: Option<u8>,
    /// The oldest first.
    frames: Vec<(u32, Vec<u8>)>,
}

fn read(datagram: &[u8]) -> Read {
    let header = RtpHeader::parse(datagram).expect("well-formed");
    let ids = media(true).extensions;
    let level = ExtensionValues::parse(&ids, &header, datagram).audio_level;
    assert_eq!(header.csrcs(datagram).collect::<Vec<_>>(), [Ssrc(TRACK.0)]);
    let payload = &datagram[header.payload_range(datagram).expect("no padding")];
    let frames = match header.payload_type {
        OPUS => vec![(header.timestamp, payload.to_vec())],
        RED => red::blocks(payload)
            .expect("well-formed")
            .map(|block| {
                assert_eq!(block.payload_type, OPUS);
                let timestamp = header.timestamp.wrapping_sub(block.timestamp_offset.into());
                (timestamp, payload[block.range].to_vec())
            })
            .collect(),
        other => panic!("payload type {other}"),
    };
    Read {
        seq: header.seq,
        payload_type: header.payload_type,
        marker: header.marker,
        audio_level: level.map(|level| level.level | u8::from(level.voice) << 7),
        frames,
    }
}

/// Which sound a frame is, in ms.
fn at(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[1..5].try_into().expect("a whole frame"))
}

/// A jitter buffer: frames by RTP timestamp, each as it came first.
#[derive(Debug, Default)]
struct Listener {
    first: Option<u32>,
    frames: BTreeMap<i32, Vec<u8>>,
}

impl Listener {
    fn receive(&mut self, datagram: &[u8]) {
        for (timestamp, frame) in read(datagram).frames {
            let first = *self.first.get_or_insert(timestamp);
            let twin = self.frames.entry(timestamp.wrapping_sub(first) as i32);
            let kept = twin.or_insert_with(|| frame.clone());
            assert_eq!(*kept, frame, "a frame sent again is the same");
        }
    }
}

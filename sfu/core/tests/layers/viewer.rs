//! A slot with its track, and a decoder behind it that checks that all it needs has come.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use arrayvec::ArrayVec;
use tianqiao_sfu_core::downtrack::{Downtrack, SlotFormat};
use tianqiao_sfu_core::negotiated::{
    Codec, ExtensionIds, Feedback, MediaKind, NegotiatedCodec, NegotiatedMedia, SendMedia,
};
use tianqiao_sfu_core::packet::described_frame::{Described, DescriptorReader};
use tianqiao_sfu_core::packet::extensions::ExtensionValues;
use tianqiao_sfu_core::packet::rtp::RtpHeader;
use tianqiao_sfu_core::pool::PacketRef;
use tianqiao_sfu_core::track::view::LayerTarget;
use tianqiao_sfu_core::track::{Home, Track};
use tianqiao_sfu_core::units::{Mid, Ssrc, TrackId};

use crate::svc::{Dti, Frame};

const DESCRIPTOR: u8 = 5;

pub struct Received {
    pub seq: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub descriptor: Option<Described>,
    pub payload: Vec<u8>,
    pub bytes: Vec<u8>,
    /// Of the publisher's packet.
    pub source: u64,
}

pub struct Viewer {
    pub slot: Downtrack,
    pub track: Track,
    reader: DescriptorReader,
    pub received: Vec<Received>,
    /// The stream of which the publisher is asked for a key frame.
    pub asks: Option<u8>,
    pub asked: usize,
}

pub fn media(codec: Codec, has_descriptor: bool, rtx: bool) -> NegotiatedMedia {
    let negotiated = NegotiatedCodec {
        codec,
        payload_type: 100,
        rtx: rtx.then_some(101),
        feedback: Feedback::default(),
    };
    NegotiatedMedia {
        mid: Mid::from("5").expect("short"),
        kind: MediaKind::Video,
        codecs: std::iter::once(negotiated).collect::<ArrayVec<_, 12>>(),
        extensions: ExtensionIds {
            dependency_descriptor: has_descriptor.then_some(DESCRIPTOR),
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

impl Viewer {
    pub fn new(codec: Codec, has_descriptor: bool, height: u16) -> Self {
        let media = media(codec, has_descriptor, false);
        let format = SlotFormat::shared(&media, []);
        let mut slot = Downtrack::new(&media, media.send.expect("a slot"), format, 30_000);
        slot.set_source(Some(TrackId(7)), height);
        Self {
            slot,
            track: Track::new(TrackId(7), MediaKind::Video, Home::Unknown),
            reader: DescriptorReader::default(),
            received: Vec::new(),
            asks: None,
            asked: 0,
        }
    }

    pub fn target(&mut self, spatial: u8, temporal: u8) {
        self.slot.set_target(Some(LayerTarget {
            spatial_or_simulcast: spatial,
            temporal,
        }));
        self.retarget();
    }

    pub fn retarget(&mut self) {
        self.asks = self.slot.retarget(&self.track);
        self.asked += usize::from(self.asks.is_some());
    }

    /// What a batch does: all come in, then all go out.
    pub fn take(&mut self, packets: &[PacketRef]) {
        for packet in packets {
            self.track.on_packet(packet.clone());
        }
        self.track.pending.clear();
        for packet in packets {
            self.forward(packet);
        }
        if std::mem::take(&mut self.track.layers_changed) {
            self.retarget();
        }
    }

    fn forward(&mut self, packet: &PacketRef) {
        let Some(decision) = self.slot.rewrite(packet, &self.track, 0) else {
            return;
        };
        let mut out = vec![0; 2_000];
        let written = self
            .slot
            .write(&mut out, packet, &decision, TrackId(7), 0)
            .expect("fits");
        out.truncate(written.len);
        let header = RtpHeader::parse(&out).expect("well-formed");
        let ids = ExtensionIds {
            dependency_descriptor: Some(DESCRIPTOR),
            ..ExtensionIds::default()
        };
        let values = ExtensionValues::parse(&ids, &header, &out);
        let descriptor = values.dependency_descriptor.map(|range| out[range].to_vec());
        let described = descriptor.map(|bytes| self.reader.read(&bytes).expect("readable"));
        self.received.push(Received {
            seq: header.seq,
            timestamp: header.timestamp,
            marker: header.marker,
            descriptor: described,
            payload: out[header.payload_range(&out).expect("a payload")].to_vec(),
            bytes: out.clone(),
            source: packet.seq.0,
        });
    }

    /// Sends one of the received packets again; its bytes.
    pub fn again(&mut self, index: usize) -> Option<Vec<u8>> {
        let now = self.track.layers.iter().filter_map(|layer| layer.last_packet).max()?;
        let seq = self.received[index].seq;
        let sent = self.slot.retransmit(now, seq, Duration::ZERO)?;
        let packet = self.track.layers[usize::from(sent.stretch.layer)]
            .ring
            .find(sent.source)?
            .clone();
        let mut out = vec![0; 2_000];
        let (written, _, _) = self.slot.write_again(&mut out, &packet, &sent, TrackId(7), 0)?;
        out.truncate(written.len);
        Some(out)
    }

    pub fn assert_no_gaps(&self) {
        for pair in self.received.windows(2) {
            assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1), "source {}", pair[1].source);
        }
    }
}

/// Frame, packet of it, and how many it has.
pub fn identity(payload: &[u8]) -> (u32, u32, u32) {
    let value = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
    (value(3), value(7), value(11))
}

/// All frames that came are whole, and all that they refer to came before. The highest layers of each picture.
pub fn decode(received: &[Received], frames: &[Frame], whole_pictures: bool) -> Vec<(u32, u8, u8)> {
    let mut decoded = HashSet::new();
    let mut pictures: BTreeMap<u32, (u8, u8)> = BTreeMap::new();
    let mut packets = 0;
    let mut began = false;
    for (at, packet) in received.iter().enumerate() {
        let (id, index, count) = identity(&packet.payload);
        let frame = &frames[id as usize];
        assert_eq!(index, packets, "frame {id} in order");
        packets += 1;
        let next = received.get(at + 1).map(|next| next.timestamp);
        if packets < count {
            assert!(next.is_none_or(|next| next == packet.timestamp), "frame {id} is whole");
            assert!(!packet.marker, "frame {id}");
            continue;
        }
        packets = 0;
        assert!(began || frame.keyframe, "begins with a key frame");
        began = true;
        if frame.keyframe {
            decoded.clear();
        }
        for reference in &frame.references {
            assert!(
                decoded.contains(reference),
                "frame {id} {frame:?} refers to {reference}"
            );
        }
        decoded.insert(id);
        pictures.insert(frame.picture, (frame.spatial, frame.temporal));
        if whole_pictures {
            let ends = next.is_none_or(|next| next != packet.timestamp);
            if next.is_some() {
                assert_eq!(packet.marker, ends, "marker of frame {id}");
            }
        } else {
            assert!(packet.marker, "every frame ends");
        }
    }
    pictures
        .into_iter()
        .map(|(picture, (spatial, temporal))| (picture, spatial, temporal))
        .collect()
}

/// No frame was left out of a decode target that the subscriber is told to be active, and numbers keep their distances.
pub fn check_descriptors(received: &[Received], frames: &[Frame]) {
    let mut active = 0u32;
    let mut last: Option<(u32, u16)> = None;
    for packet in received {
        let (id, index, _) = identity(&packet.payload);
        let described = packet.descriptor.expect("a descriptor");
        let number = described.frame.number;
        if let Some((last_id, last_number)) = last {
            assert_eq!(number.wrapping_sub(last_number), (id - last_id) as u16, "frame {id}");
            let skipped = &frames[last_id as usize + 1..(id.max(last_id + 1)) as usize];
            for frame in skipped {
                for (target, dti) in frame.dtis.iter().enumerate() {
                    // There a target begins anew, whatever was left out before.
                    if frames[id as usize].dtis[target] == Dti::Switch {
                        continue;
                    }
                    let is_active = described.frame.active.unwrap_or(active) >> target & active >> target & 1 == 1;
                    assert!(!is_active || *dti == Dti::NotPresent, "target {target} lacks {frame:?}");
                }
            }
        }
        if index == 0 {
            active = described.frame.active.unwrap_or(active);
        }
        last = Some((id, number));
    }
}

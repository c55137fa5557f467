//! What the fuzz target of the layers runs: a slot that is sent streams with any descriptors, in any order.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::history::Sent;
use super::{Downtrack, SlotFormat};
use crate::negotiated::{
    Codec, ExtensionIds, Feedback, MAX_LAYERS, MediaKind, NegotiatedCodec, NegotiatedMedia, SendMedia,
};
use crate::packet::described_frame::DescriptorReader;
use crate::packet::extensions::ExtensionValues;
use crate::packet::payload::{self, FrameInfo};
use crate::packet::rtp::RtpHeader;
use crate::pool::{PacketInfo, PacketPool};
use crate::track::view::LayerTarget;
use crate::track::{Home, Track};
use crate::units::{ExtendedSeq, Mid, Ssrc, TrackId};

const CODECS: [Codec; 4] = [
    Codec::Vp8,
    Codec::Vp9 { profile: 0 },
    Codec::Av1 { profile: 0 },
    Codec::H264 { profile: 0x42e0 },
];
const DESCRIPTOR: u8 = 5;
/// Ends what an input could make long.
const MAX_PACKETS: usize = 2_000;

/// Of each packet: eight bytes of what it is and what is asked for, then a length and so many bytes of descriptor and
/// payload. Nothing may panic, no sequence number may be used for two packets, what goes out can be read as it came
/// but for its number and mask, and what is sent again is equal to the bit.
pub fn layers(data: &[u8]) {
    run(data);
}

/// Packets that went out.
fn run(data: &[u8]) -> usize {
    let Some((&kind, mut rest)) = data.split_first() else {
        return 0;
    };
    let mut forwarded = 0;
    let codec = CODECS[usize::from(kind & 3)];
    let mut slot = slot(codec, kind & 4 != 0);
    let mut track = Track::new(TrackId(7), MediaKind::Video, Home::Unknown);
    let mut readers: [DescriptorReader; MAX_LAYERS] = Default::default();
    let mut pool = PacketPool::new(64);
    let (mut now, mut used, mut seqs) = (Instant::now(), HashSet::new(), [1_000u64; MAX_LAYERS]);
    for _ in 0..MAX_PACKETS {
        let Some((head, behind)) = rest.split_first_chunk::<8>() else {
            break;
        };
        let [layer, step, time, target, temporal, flags, descriptor_len, payload_len] = *head;
        let descriptor = &behind[..usize::from(descriptor_len & 0x7f).min(behind.len())];
        let payload = &behind[descriptor.len()..][..usize::from(payload_len).min(behind.len() - descriptor.len())];
        rest = &behind[descriptor.len() + payload.len()..];
        now += Duration::from_millis(time.into());
        if flags & 1 != 0 {
            let (spatial_or_simulcast, temporal) = (target % 4, temporal % 4);
            slot.set_target(Some(LayerTarget {
                spatial_or_simulcast,
                temporal,
            }));
            slot.retarget(&track);
        }
        if flags & 2 != 0 {
            track.update_meters(now);
            track.layers_view();
            slot.retarget(&track);
        }
        let stream = usize::from(layer) % MAX_LAYERS;
        let seq = &mut seqs[stream];
        *seq = (*seq).saturating_add_signed(i64::from(step as i8) % 24).max(1);
        let mut frame: FrameInfo = payload::describe(codec, payload);
        if let Some(described) = readers[stream].read(descriptor) {
            frame.describe(described);
        }
        let info = PacketInfo {
            seq: ExtendedSeq(*seq),
            timestamp: u32::from(time) * 90 + u32::from(target),
            marker: flags & 4 != 0,
            codec,
            layer: stream as u8,
            arrival: now,
            frame,
            audio_level: None,
            video_orientation: None,
            recovered: flags & 8 != 0,
        };
        // A stream brings each number once, as `ReceiveStream` sees to.
        if !used.insert((stream, *seq)) {
            continue;
        }
        let Some(packet) = pool.fill(info, payload, descriptor) else {
            continue;
        };
        track.on_packet(packet.clone());
        track.pending.clear();
        let Some(decision) = slot.rewrite(&packet, &track, 0) else {
            continue;
        };
        forwarded += 1;
        assert!(
            used.insert((usize::MAX, decision.seq.0)),
            "{:?} goes out twice",
            decision.seq
        );
        let mut out = [0; 2_048];
        let written = slot.write(&mut out, &packet, &decision, TrackId(7), 0).expect("fits");
        check_descriptor(&out[..written.len], &packet);
        let mut again = [0; 2_048];
        let sent: Option<Sent> = slot.retransmit(now, decision.seq.truncate(), Duration::ZERO);
        if let Some(sent) = sent
            && let Some((rewritten, _, _)) = slot.write_again(&mut again, &packet, &sent, TrackId(7), 0)
        {
            assert_eq!(out[..written.len], again[..rewritten.len]);
        }
    }
    forwarded
}

/// What is read of it is what the publisher wrote.
fn check_descriptor(out: &[u8], packet: &crate::pool::Packet) {
    let header = RtpHeader::parse(out).expect("well-formed");
    let ids = ExtensionIds {
        dependency_descriptor: Some(DESCRIPTOR),
        ..ExtensionIds::default()
    };
    let values = ExtensionValues::parse(&ids, &header, out);
    let (Some(range), Some(before)) = (values.dependency_descriptor, packet.frame.described) else {
        return;
    };
    if !before.has_structure {
        return;
    }
    let after = DescriptorReader::default().read(&out[range]).expect("readable").frame;
    assert!(after.has_structure);
    assert_eq!((after.dtis, after.chain_diffs), (before.dtis, before.chain_diffs));
}

fn slot(codec: Codec, has_descriptor: bool) -> Downtrack {
    let negotiated = NegotiatedCodec {
        codec,
        payload_type: 100,
        rtx: None,
        feedback: Feedback::default(),
    };
    let send = SendMedia {
        ssrc: Ssrc(50),
        rtx_ssrc: Ssrc(51),
    };
    let media = NegotiatedMedia {
        mid: Mid::from("5").expect("short"),
        kind: MediaKind::Video,
        codecs: std::iter::once(negotiated).collect(),
        extensions: ExtensionIds {
            dependency_descriptor: has_descriptor.then_some(DESCRIPTOR),
            ..ExtensionIds::default()
        },
        receive: None,
        send: Some(send),
        reduced_size_rtcp: true,
    };
    let format = SlotFormat::shared(&media, []);
    let mut slot = Downtrack::new(&media, send, format, 30_000);
    slot.set_source(Some(TrackId(7)), 720);
    slot
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Chromium's AV1 L3T3_KEY: a key frame of one layer and its two packets, then pictures of both lower layers.
    pub const CHROMIUM: &[u8] = include_bytes!("../../fuzz/seeds/layers/av1_l3t3_key");

    /// The target reaches what it is for.
    #[test]
    fn seeds_forward_media() {
        assert!(super::run(CHROMIUM) > 10);
    }

    #[test]
    fn any_descriptors_in_any_order() {
        let mut random = SmallRng::seed_from_u64(8);
        for _ in 0..3_000 {
            let mut data = CHROMIUM.to_vec();
            for _ in 0..random.random_range(0..60) {
                let at = random.random_range(0..data.len());
                data[at] = random.random();
            }
            if random.random_ratio(1, 3) {
                let at = random.random_range(0..data.len());
                data.rotate_left(at);
            }
            super::layers(&data);
        }
    }
}

//! What the fuzz targets run: every parser over any bytes, reading all that it gives, and the
//! properties that hold whatever the bytes are. Also run over seeded inputs as ordinary tests.

use super::dependency_descriptor::{DependencyDescriptor, Structure};
use super::extensions::{ExtensionValues, ExtensionWriter, elements};
use super::rtcp::{RtcpPacket, RtcpPackets, write};
use super::rtp::RtpHeader;
use super::{opus, payload, red, rtx};
use crate::negotiated::{Codec, ExtensionIds};

/// Header, CSRCs, extensions, payload, and RTX decapsulation.
pub fn rtp(packet: &[u8]) {
    let Ok(header) = RtpHeader::parse(packet) else {
        return;
    };
    assert!(header.header_len <= packet.len());
    assert_eq!(header.csrcs(packet).count(), usize::from(header.csrc_count));
    let ids = ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        audio_level: Some(4),
        abs_send_time: Some(5),
        transport_cc: Some(6),
        video_orientation: Some(7),
        dependency_descriptor: Some(8),
    };
    let values = ExtensionValues::parse(&ids, &header, packet);
    if let Some(range) = values.dependency_descriptor {
        dependency_descriptor(&packet[range]);
    }
    rewrite_extensions(&header, packet);
    if let Ok(range) = header.payload_range(packet) {
        payload(&packet[range.clone()]);
        if let Ok((_, original)) = rtx::read_payload(packet, range.clone()) {
            assert_eq!(original.end, range.end);
        }
    }
}

/// Elements that were read can be written and read again.
fn rewrite_extensions(header: &RtpHeader, packet: &[u8]) {
    let mut copy = packet[..header.header_len].to_vec();
    let start = header.extension.map_or(header.header_len, |block| block.start - 4);
    copy.resize(start + 8 + 2 * packet.len(), 0);
    let mut writer = ExtensionWriter::new(&mut copy[start..]);
    let mut written = Vec::new();
    for element in elements(header, packet).filter(|element| element.id != 0) {
        let data = &packet[element.range];
        assert!(writer.push(element.id, data));
        written.push((element.id, data));
    }
    let len = writer.finish();
    copy.truncate(start + len);
    copy[0] = copy[0] & !0x10 | if len > 0 { 0x10 } else { 0 };
    let header = RtpHeader::parse(&copy).expect("what was written is whole");
    let read = elements(&header, &copy).map(|element| (element.id, &copy[element.range]));
    assert!(read.eq(written));
}

/// A compound packet and all that its parts iterate over.
pub fn rtcp(datagram: &[u8]) {
    let mut buffer = vec![0; 70_000];
    for packet in RtcpPackets::new(datagram) {
        match packet {
            Ok(RtcpPacket::SenderReport(report)) => {
                let blocks: Vec<_> = report.blocks.collect();
                assert!(write::sender_report(report.ssrc, &report.info, &blocks, &mut buffer).is_some());
                assert!(
                    blocks
                        .iter()
                        .all(|block| block.round_trip(7).is_none_or(|time| time <= u32::MAX / 2))
                );
            }
            Ok(RtcpPacket::ReceiverReport(report)) => assert!(report.blocks.count() <= write::MAX_BLOCKS),
            Ok(RtcpPacket::Nack(nack)) => {
                // A pair of four bytes names 17 at most.
                assert!(nack.seqs.count() <= datagram.len() / 4 * 17);
                write::nack(nack.sender, nack.media, nack.seqs, &mut buffer);
            }
            Ok(RtcpPacket::Fir(fir)) => assert!(fir.entries.count() <= datagram.len() / 8),
            Ok(RtcpPacket::Remb(remb)) => assert!(remb.ssrcs.count() <= 255),
            Ok(RtcpPacket::Bye(bye)) => assert!(bye.ssrcs.count() <= 31),
            Ok(RtcpPacket::TransportFeedback(feedback)) => {
                // Each has a delta of a byte at least.
                assert!(feedback.received().count() <= datagram.len());
            }
            Ok(RtcpPacket::CongestionFeedback(feedback)) => {
                let packets = feedback.streams().map(|stream| stream.packets().count());
                assert!(packets.sum::<usize>() <= datagram.len() / 2);
            }
            Ok(RtcpPacket::Sdes(_) | RtcpPacket::Pli(_) | RtcpPacket::Unknown { .. }) | Err(_) => {}
        }
    }
}

/// The bytes as the payload of every codec, and as RED.
pub fn payload(bytes: &[u8]) {
    for codec in [
        Codec::Opus,
        Codec::Vp8,
        Codec::Vp9 { profile: 0 },
        Codec::H264 { profile: 0x42e0 },
        Codec::Av1 { profile: 0 },
    ] {
        let info = payload::describe(codec, bytes);
        let Some(descriptor) = info.vp8 else {
            continue;
        };
        assert!(usize::from(descriptor.len) < bytes.len());
        let mut copy = bytes.to_vec();
        descriptor.rewrite(&mut copy, 0x1234, 0x56);
        let again = payload::describe(codec, &copy).vp8.expect("its form has not changed");
        assert_eq!(again.len, descriptor.len);
        assert_eq!(
            again.picture_id.map(|id| id.value),
            descriptor.picture_id.map(|id| 0x1234 & id.mask())
        );
    }
    assert!(opus::duration(bytes).is_none_or(|duration| (1..=opus::MAX_DURATION).contains(&duration)));
    if let Ok(blocks) = red::blocks(bytes) {
        let mut end = None;
        for block in blocks {
            assert!(block.range.start <= block.range.end && block.range.end <= bytes.len());
            assert!(end.is_none_or(|end| end == block.range.start));
            end = Some(block.range.end);
        }
        assert_eq!(end, Some(bytes.len()));
    }
}

/// A descriptor by itself, then with the structure that it brought.
pub fn dependency_descriptor(bytes: &[u8]) {
    let read = |current: Option<&Structure>| DependencyDescriptor::parse(bytes, current);
    if let Ok(DependencyDescriptor {
        structure: Some(structure),
        ..
    }) = read(None)
    {
        assert!(structure.templates.len() <= 64 && structure.decode_targets.len() <= 32);
        assert!(read(Some(&structure)).is_ok());
        // The mandatory fields by themselves refer to it.
        assert!(DependencyDescriptor::parse(&bytes[..3], Some(&structure)).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// First bytes that lead into each parser, then noise; and mutations of whole packets.
    const SEEDS: &[&[u8]] = &[
        &[],
        &[
            0x90, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xbe, 0xde, 0, 2, 0x10, 0x30, 0x82, 1, 2, 3, 0x41, 9,
        ],
        &[
            0xb1, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0x10, 0, 0, 3, 8, 9, 0x80, 0, 1, 0x80,
        ],
        &[0x82, 200, 0, 18, 0, 0, 0, 1],
        &[0x81, 201, 0, 7, 0, 0, 0, 1],
        &[0x81, 202, 0, 4, 0, 0, 0, 1, 1, 4],
        &[0x83, 203, 0, 3, 0, 0, 0, 1],
        &[0x81, 205, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2],
        &[
            0x8f, 205, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 20, 0, 0, 1, 7, 0x20, 3, 0xd5, 0x41,
        ],
        &[0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0],
        &[0x8f, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1],
        &[
            0x90, 0xf0, 0x92, 0x34, 0x07, 0x01, 0x50, 0x6a, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01,
        ],
        &[0x8a, 0x81, 0x23, 0x18, 0x05, 0x00, 0x02, 0xd0, 0x01, 0x04, 0x01],
        &[
            0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44,
        ],
        &[0x78, 0, 14, 0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40],
        &[0x28, 12, 0x08, 0x00, 0x00, 0x00, 0x24, 0xc4, 0xff, 0xb3],
        &[0xef, 0x1e, 0, 3, 0xef, 0x0f, 0, 4, 111],
        &[0xc3, 0x00, 0x05, 0x80, 0xc1, 0x13, 0xaf, 0x87, 0x51],
    ];

    fn inputs() -> impl Iterator<Item = Vec<u8>> {
        let mut random = SmallRng::seed_from_u64(1);
        (0..20_000).map(move |_| {
            let mut input = SEEDS[random.random_range(0..SEEDS.len())].to_vec();
            let noise = random.random_range(0..60);
            input.extend((0..noise).map(|_| random.random::<u8>()));
            for _ in 0..random.random_range(0..4) {
                let len = input.len();
                if len > 0 {
                    input[random.random_range(0..len)] = random.random();
                }
            }
            if random.random_ratio(1, 4) {
                input.truncate(random.random_range(0..=input.len()));
            }
            input
        })
    }

    #[test]
    fn no_input_breaks_a_parser() {
        for input in inputs() {
            super::rtp(&input);
            super::rtcp(&input);
            super::payload(&input);
            super::dependency_descriptor(&input);
        }
    }
}

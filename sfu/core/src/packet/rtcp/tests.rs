use super::transport_feedback::Arrival;
use super::write::{self, TransportFeedbackHead};
use super::*;
use crate::units::Ssrc;

const BLOCK: ReportBlock = ReportBlock {
    ssrc: Ssrc(0x0102_0304),
    fraction_lost: 64,
    cumulative_lost: -5,
    highest_seq: 0x0001_fffe,
    jitter: 321,
    last_sr: 0xaabb_ccdd,
    delay_since_last_sr: 65_536,
};

fn one(datagram: &[u8]) -> RtcpPacket<'_> {
    let mut packets = RtcpPackets::new(datagram);
    let packet = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    packet
}

/// Writes into a buffer of exactly the needed size, and shows that one byte less is refused.
fn written(write: impl Fn(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut buffer = vec![0xee; 1500];
    let len = write(&mut buffer).unwrap();
    buffer.truncate(len);
    assert_eq!(write(&mut buffer), Some(len));
    assert_eq!(write(&mut vec![0; len - 1]), None);
    buffer
}

#[test]
fn sender_report_goes_round() {
    let info = SenderInfo {
        ntp: 0x0123_4567_89ab_cdef,
        rtp: 90_000,
        packets: 10,
        octets: 1_000,
    };
    let bytes = written(|buffer| write::sender_report(Ssrc(7), &info, &[BLOCK, BLOCK], buffer));
    assert_eq!(bytes.len(), 28 + 48);
    let RtcpPacket::SenderReport(read) = one(&bytes) else {
        panic!("an SR");
    };
    assert_eq!((read.ssrc, read.info), (Ssrc(7), info));
    assert_eq!(info.compact_ntp(), 0x4567_89ab);
    assert_eq!(read.blocks.collect::<Vec<_>>(), [BLOCK, BLOCK]);
}

#[test]
fn compound_of_report_names_and_bye() {
    let mut bytes = written(|buffer| write::receiver_report(Ssrc(1), &[BLOCK], buffer));
    bytes.extend(written(|buffer| write::sdes_cname(Ssrc(1), "tianqiao", buffer)));
    bytes.extend(written(|buffer| write::bye(&[Ssrc(1), Ssrc(2)], buffer)));
    let packets: Vec<_> = RtcpPackets::new(&bytes).map(Result::unwrap).collect();
    let [
        RtcpPacket::ReceiverReport(report),
        RtcpPacket::Sdes(sdes),
        RtcpPacket::Bye(bye),
    ] = packets[..]
    else {
        panic!("{packets:?}");
    };
    assert_eq!(report.ssrc, Ssrc(1));
    assert_eq!(report.blocks.collect::<Vec<_>>(), [BLOCK]);
    assert_eq!(sdes.cname, Some(&b"tianqiao"[..]));
    assert_eq!(bye.ssrcs.collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
    assert_eq!(sender_ssrc(&bytes), Some(Ssrc(1)));
}

#[test]
fn nack_packs_and_unpacks() {
    for (seqs, pairs) in [
        (&[5][..], 1),
        (&[5, 6, 21], 1),
        (&[5, 22], 2),
        (&[65_530, 65_535, 0, 10], 1),
        (&[1, 17, 18, 40], 3),
    ] {
        let bytes = written(|buffer| write::nack(Ssrc(1), Ssrc(2), seqs.iter().copied(), buffer));
        assert_eq!(bytes.len(), 12 + 4 * pairs, "{seqs:?}");
        let RtcpPacket::Nack(nack) = one(&bytes) else {
            panic!("a NACK");
        };
        assert_eq!((nack.sender, nack.media), (Ssrc(1), Ssrc(2)));
        assert_eq!(nack.seqs.collect::<Vec<_>>(), seqs);
    }
    assert_eq!(write::nack(Ssrc(1), Ssrc(2), [], &mut [0; 100]), None);
    assert!(write::nack(Ssrc(1), Ssrc(2), [3, 3, 4], &mut [0; 16]).is_some());
}

#[test]
fn keyframe_requests_and_remb_go_round() {
    let bytes = written(|buffer| write::pli(Ssrc(1), Ssrc(2), buffer));
    assert_eq!(bytes, [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert!(matches!(one(&bytes), RtcpPacket::Pli(pli) if pli == Pli { sender: Ssrc(1), media: Ssrc(2) }));

    let bytes = written(|buffer| write::fir(Ssrc(1), Ssrc(2), 9, buffer));
    let RtcpPacket::Fir(fir) = one(&bytes) else {
        panic!("a FIR");
    };
    assert_eq!(fir.entries.collect::<Vec<_>>(), [(Ssrc(2), 9)]);

    for (bitrate, expected) in [
        (0, 0),
        (262_143, 262_143),
        (2_500_001, 2_500_000),
        (u64::MAX, 0x3_ffff << 46),
    ] {
        let bytes = written(|buffer| write::remb(Ssrc(1), bitrate, &[Ssrc(2), Ssrc(3)], buffer));
        let RtcpPacket::Remb(remb) = one(&bytes) else {
            panic!("a REMB");
        };
        assert_eq!(remb.bitrate, expected);
        assert_eq!(remb.ssrcs.collect::<Vec<_>>(), [Ssrc(2), Ssrc(3)]);
    }
}

#[test]
fn transport_feedback_gives_arrivals() {
    let head = TransportFeedbackHead {
        sender: Ssrc(1),
        media: Ssrc(2),
        base_seq: 65_534,
        packet_count: 14 + 3 + 7 + 1,
        reference_time: -2,
        feedback_count: 200,
    };
    // One-bit vector: packets 0, 2; a run of three lost; two-bit vector: small, large; a run of one small.
    let chunks = [0b1010_1000_0000_0000, 0x0003, 0b1101_1000_0000_0000, 0x2001];
    let deltas = [4, 8, 255, 0xff, 0xfc, 1];
    let bytes = written(|buffer| write::transport_feedback(&head, &chunks, &deltas, buffer));
    let RtcpPacket::TransportFeedback(feedback) = one(&bytes) else {
        panic!("feedback");
    };
    assert_eq!((feedback.base_seq, feedback.packet_count), (65_534, 25));
    assert_eq!((feedback.reference_time, feedback.feedback_count), (-2, 200));
    let zero = -128_000;
    let expected = [
        (65_534, zero + 1_000),
        (0, zero + 3_000),
        (15, zero + 66_750),
        (16, zero + 65_750),
        (22, zero + 66_000),
    ];
    assert_eq!(
        feedback.received().collect::<Vec<_>>(),
        expected.map(|(seq, arrival_us)| Arrival { seq, arrival_us })
    );
}

#[test]
fn refuses_what_does_not_fit() {
    for (name, bytes) in [
        ("one byte", &[0x80][..]),
        ("version 1", &[0x40, 201, 0, 1, 0, 0, 0, 1]),
        ("longer than the datagram", &[0x80, 201, 0, 2, 0, 0, 0, 1]),
        ("RR without its block", &[0x81, 201, 0, 1, 0, 0, 0, 1]),
        ("SR cut off", &[0x80, 200, 0, 1, 0, 0, 0, 1]),
        (
            "SDES item longer than the chunk",
            &[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 9, 65, 0],
        ),
        ("BYE without its source", &[0x81, 203, 0, 0]),
        ("NACK without media", &[0x81, 205, 0, 1, 0, 0, 0, 1]),
        ("PLI without media", &[0x81, 206, 0, 1, 0, 0, 0, 1]),
        ("padding longer than the packet", &[0xa0, 201, 0, 1, 0, 0, 0, 9]),
        (
            "feedback without chunks",
            &[0x8f, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0],
        ),
        (
            "feedback of an empty run",
            &[
                0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5,
            ],
        ),
        (
            "feedback without deltas",
            &[
                0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0x20, 0x05, 0, 0,
            ],
        ),
    ] {
        let results: Vec<_> = RtcpPackets::new(bytes).collect();
        assert!(
            matches!(results[..], [Err(DropReason::RtcpMalformed)]),
            "{name}: {results:?}"
        );
    }
}

#[test]
fn what_came_before_a_bad_packet_is_kept() {
    let mut bytes = written(|buffer| write::pli(Ssrc(1), Ssrc(2), buffer));
    bytes.extend([0x80, 77, 0, 0]);
    bytes.extend([0x80, 201, 0, 9]);
    let results: Vec<_> = RtcpPackets::new(&bytes).collect();
    assert!(matches!(
        results[..],
        [
            Ok(RtcpPacket::Pli(_)),
            Ok(RtcpPacket::Unknown {
                packet_type: 77,
                format: 0
            }),
            Err(DropReason::RtcpMalformed)
        ]
    ));
}

#[test]
fn round_trip_of_rfc_3550() {
    // The example of RFC 3550, figure 2: 6.125 s.
    let block = ReportBlock {
        last_sr: 0xb705_2000,
        delay_since_last_sr: 0x0005_4000,
        ..ReportBlock::default()
    };
    assert_eq!(block.round_trip(0xb710_8000), Some(0x0006_2000));
    assert_eq!(block.round_trip(0xb705_2000), Some(0));
    assert_eq!(ReportBlock::default().round_trip(5), None);
}

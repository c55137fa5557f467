use super::*;
use crate::packet::rtcp::{RtcpPacket, RtcpPackets, TransportFeedback};

const SENDER: Ssrc = Ssrc(1);
const MEDIA: Ssrc = Ssrc(2);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn feedback(packet: &[u8]) -> TransportFeedback<'_> {
    match RtcpPackets::new(packet).next() {
        Some(Ok(RtcpPacket::TransportFeedback(feedback))) => feedback,
        other => panic!("{other:?}"),
    }
}

/// Base and count of each packet, and all arrivals in µs from the first.
type Told = (Vec<(u16, u16)>, Vec<(u16, i64)>);

fn poll_all(generator: &mut FeedbackGenerator, now: Instant) -> Told {
    let mut buffer = [0; 1_500];
    let mut told = Told::default();
    while let Some(len) = generator.poll(now, &mut buffer, SENDER, MEDIA) {
        let feedback = feedback(&buffer[..len]);
        assert_eq!((feedback.sender, feedback.media), (SENDER, MEDIA));
        told.0.push((feedback.base_seq, feedback.packet_count));
        let zero = FIRST_TICK * DELTA_UNIT_US;
        told.1.extend(
            feedback
                .received()
                .map(|arrival| (arrival.seq, arrival.arrival_us - zero)),
        );
    }
    told
}

/// Feeds (ms, seq) and polls at the end.
fn run(packets: &[(u64, u16)]) -> Told {
    let start = Instant::now();
    let mut generator = FeedbackGenerator::new();
    for &(at, seq) in packets {
        generator.on_packet(start + ms(at), seq);
    }
    let (last, _) = packets[packets.len() - 1];
    poll_all(&mut generator, start + ms(last.max(100)))
}

#[test]
fn arrivals_are_told() {
    for (name, packets, expected) in [
        ("one", &[(0, 5)][..], (vec![(5, 1)], &[(5, 0)][..])),
        (
            "across the wrap",
            &[(0, 65_535), (5, 0), (9, 1)],
            (vec![(65_535, 3)], &[(65_535, 0), (0, 5_000), (1, 9_000)]),
        ),
        ("a loss", &[(0, 5), (70, 7)], (vec![(5, 3)], &[(5, 0), (7, 70_000)])),
        (
            "reordered",
            &[(0, 5), (10, 7), (20, 6)],
            (vec![(5, 3)], &[(5, 0), (6, 20_000), (7, 10_000)]),
        ),
        (
            "before the first",
            &[(0, 5), (10, 4)],
            (vec![(4, 2)], &[(4, 10_000), (5, 0)]),
        ),
        (
            "a duplicate",
            &[(0, 5), (10, 5), (20, 6)],
            (vec![(5, 2)], &[(5, 0), (6, 20_000)]),
        ),
        (
            "a pause of 9 s",
            &[(0, 5), (9_000, 6)],
            (vec![(5, 1), (6, 1)], &[(5, 0), (6, 9_000_000)]),
        ),
        (
            "a pause of 8 s",
            &[(0, 5), (8_000, 6)],
            (vec![(5, 2)], &[(5, 0), (6, 8_000_000)]),
        ),
        (
            "a long gap",
            &[(0, 5), (1, 6), (2, 8_000)],
            (vec![(6_977, 1_024)], &[(8_000, 2_000)]),
        ),
    ] {
        assert_eq!(run(packets), (expected.0, expected.1.to_vec()), "{name}");
    }
}

#[test]
fn feedback_comes_every_100_ms_and_only_with_news() {
    let start = Instant::now();
    let mut generator = FeedbackGenerator::new();
    assert_eq!(generator.poll_timeout(), None);
    generator.on_packet(start, 1);
    assert_eq!(generator.poll_timeout(), Some(start + ms(100)));
    assert!(poll_all(&mut generator, start + ms(99)).0.is_empty());
    assert_eq!(poll_all(&mut generator, start + ms(100)).0, [(1, 1)]);
    assert_eq!(generator.poll_timeout(), None);
    generator.on_packet(start + ms(110), 2);
    assert_eq!(generator.poll_timeout(), Some(start + ms(200)));
    assert_eq!(poll_all(&mut generator, start + ms(200)).0, [(2, 1)]);
    // After a pause the first packet is told of at once.
    generator.on_packet(start + ms(5_000), 3);
    assert_eq!(poll_all(&mut generator, start + ms(5_000)).0, [(3, 1)]);
}

#[test]
fn losses_between_feedback_and_late_packets_are_told() {
    let start = Instant::now();
    let mut generator = FeedbackGenerator::new();
    generator.on_packet(start, 1);
    generator.on_packet(start, 2);
    assert_eq!(poll_all(&mut generator, start + ms(100)).0, [(1, 2)]);
    generator.on_packet(start + ms(110), 5);
    assert_eq!(
        poll_all(&mut generator, start + ms(200)),
        (vec![(3, 3)], vec![(5, 110_000)])
    );
    // 4 comes late: it and 5 are told of again, not 5 as lost.
    generator.on_packet(start + ms(210), 4);
    assert_eq!(
        poll_all(&mut generator, start + ms(300)),
        (vec![(4, 2)], vec![(4, 210_000), (5, 110_000)])
    );
}

#[test]
fn feedback_packets_are_counted() {
    let start = Instant::now();
    let mut generator = FeedbackGenerator::new();
    let mut buffer = [0; 200];
    for count in 0..300u16 {
        let now = start + ms(100) * u32::from(count + 1);
        generator.on_packet(now, count);
        let len = generator.poll(now, &mut buffer, SENDER, MEDIA);
        let Some(len) = len else {
            // The very first waits for its interval.
            assert_eq!(count, 0);
            continue;
        };
        assert_eq!(feedback(&buffer[..len]).feedback_count, (count - 1) as u8);
    }
}

#[test]
fn what_does_not_fit_comes_in_the_next_packet() {
    // Deltas of 70 ms are large: two bytes each.
    let start = Instant::now();
    let mut generator = FeedbackGenerator::new();
    let mut expected = Vec::new();
    for number in 0..400u16 {
        let seq = number.wrapping_sub(100);
        generator.on_packet(start + ms(70 * u64::from(number)), seq);
        expected.push((seq, 70_000 * i64::from(number)));
    }
    let now = start + ms(70 * 400);
    let mut small = [0; 60];
    let len = generator.poll(now, &mut small, SENDER, MEDIA).unwrap();
    let first: Vec<_> = feedback(&small[..len]).received().map(|arrival| arrival.seq).collect();
    assert!(!first.is_empty());
    assert_eq!(generator.poll(now, &mut [0; 20], SENDER, MEDIA), None);
    let (_, arrivals) = poll_all(&mut generator, now);
    assert_eq!(arrivals, expected[first.len()..]);
    let told: Vec<_> = expected[..first.len()].iter().map(|&(seq, _)| seq).collect();
    assert_eq!(first, told);
}

#[test]
fn many_packets_do_not_wait_and_history_is_bounded() {
    let start = Instant::now();
    let mut generator = FeedbackGenerator::new();
    let mut told = 0;
    for number in 0..5_000u32 {
        generator.on_packet(start, number as u16);
        if generator.poll_timeout().is_some_and(|due| due <= start) {
            told += poll_all(&mut generator, start).1.len();
        }
    }
    assert_eq!(told + poll_all(&mut generator, start + ms(100)).1.len(), 5_000);
}

#[test]
fn a_sender_that_starts_anew_is_followed() {
    let start = Instant::now();
    let mut generator = FeedbackGenerator::new();
    generator.on_packet(start, 40_000);
    for seq in 20_000..20_020 {
        generator.on_packet(start, seq);
    }
    assert_eq!(poll_all(&mut generator, start + ms(100)).0, [(20_007, 13)]);
}

#[test]
fn chunks_take_the_shortest_form() {
    let s = |pattern: &str| -> Vec<u8> { pattern.bytes().map(|byte| byte - b'0').collect() };
    for (symbols, expected) in [
        (s("1"), &[0x2001][..]),
        (s("11111111111111111111"), &[0x2014]),
        (s("10"), &[0b1010_0000_0000_0000]),
        (s("1011111111111111"), &[0b1010_1111_1111_1111, 0x2002]),
        (s("2"), &[0x4001]),
        (s("12"), &[0b1101_1000_0000_0000]),
        (s("11111112"), &[0x2007, 0x4001]),
        (s("000000000000000000002"), &[0x0014, 0x4001]),
        (s("22222220"), &[0x4007, 0x0001]),
    ] {
        assert_eq!(chunks(&symbols)[..], *expected, "{symbols:?}");
    }
}

#[test]
fn anything_is_told_as_it_was() {
    // A seeded generator of losses, reordering and delays; all that arrive are told in the end.
    let mut state = 12_345u32;
    let mut random = move |limit: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % limit
    };
    let start = Instant::now();
    let mut now = start;
    let mut generator = FeedbackGenerator::new();
    let mut waiting: Vec<u16> = Vec::new();
    // Times count from the first packet.
    generator.on_packet(start, u16::MAX);
    let mut sent = std::collections::BTreeMap::from([(u16::MAX, 0)]);
    let mut told = std::collections::BTreeMap::new();
    for number in 0..20_000u32 {
        now += Duration::from_micros(random(3_000).into());
        if random(5) > 0 {
            waiting.push(number as u16);
        }
        if waiting.len() > random(6) as usize {
            let seq = waiting.remove(random(waiting.len() as u32) as usize);
            sent.insert(seq, (now - start).as_micros() as i64 / 250 * 250);
            generator.on_packet(now, seq);
        }
        told.extend(poll_all(&mut generator, now).1);
    }
    told.extend(poll_all(&mut generator, now + ms(100)).1);
    assert_eq!(told.len(), sent.len());
    assert_eq!(told.iter().find(|&(seq, at)| sent[seq] != *at), None);
}

//! Voices through a whole worker: redundancy from publishers and to subscribers, repeats, low voices.

use tianqiao_sfu_core::downtrack::voice::AudioFormat;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::packet::red;
use tianqiao_sfu_core::packet::rtcp::{SenderInfo, write};
use tianqiao_sfu_core::units::Ssrc;

use crate::source::{frame, low_speech, red, speech};
use crate::world::*;

/// A speaker and two listeners, one of them with RED, on `worker`.
fn room(worker: usize) -> (World, usize, usize, usize) {
    let mut world = World::new(2);
    let speaker = world.join(0, vec![microphone("1", 2000)], &[("1", 72)]);
    let plain = world.join(worker, vec![audio_slot("6", 60)], &[]);
    let with_red = world.join(worker, vec![red_slot("6", 60)], &[]);
    for listener in [plain, with_red] {
        world.show(listener, "6", Some((72, 0)), 0);
    }
    (world, speaker, plain, with_red)
}

/// Number of each frame that a packet carries, the oldest first.
fn frames(rtp: &Rtp) -> Vec<u64> {
    let number = |frame: &[u8]| u64::from_be_bytes(frame[2..10].try_into().expect("a frame"));
    match rtp.header.payload_type {
        SLOT_RED => red::blocks(&rtp.payload)
            .expect("well-formed")
            .map(|block| {
                assert_eq!(block.payload_type, SLOT_OPUS);
                number(&rtp.payload[block.range])
            })
            .collect(),
        SLOT_OPUS => vec![number(&rtp.payload)],
        other => panic!("payload type {other}"),
    }
}

fn redundant(redundancy: u8) -> AudioFormat {
    AudioFormat {
        redundancy,
        ..AudioFormat::default()
    }
}

fn check_recovery(worker: usize) {
    let (mut world, speaker, plain, with_red) = room(worker);
    world.set_audio(with_red, "6", redundant(1));
    // As Chromium sends it, with one and with two frames before. 3, 6 and 7 are lost on their way to the server.
    for seq in [1, 2, 4, 5, 8, 9] {
        let before: Vec<u64> = (seq - seq.min(2)..seq).filter(|&before| before > 0).collect();
        let skip = before.len().saturating_sub(if seq < 5 { 1 } else { 2 });
        world.send_rtp(speaker, &[red(2000, seq, &before[skip..])]);
        world.advance(20 * MS);
    }
    // And one of those comes after all.
    world.send_rtp(speaker, &[red(2000, 7, &[5, 6])]);
    let received = world.peers[plain].take_rtp();
    let numbers: Vec<_> = received.iter().flat_map(frames).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    for (rtp, number) in received.iter().zip(1..) {
        let first = &received[0].header;
        assert_eq!(rtp.payload, frame(number));
        assert_eq!(rtp.header.seq, first.seq.wrapping_add(number as u16 - 1));
        assert_eq!(
            rtp.header.timestamp,
            first.timestamp.wrapping_add(960 * (number as u32 - 1))
        );
        assert_eq!(rtp.csrcs, [72]);
    }
    let received = world.peers[with_red].take_rtp();
    let carried: Vec<_> = received.iter().map(frames).collect();
    assert_eq!(
        carried,
        [
            vec![1],
            vec![1, 2],
            vec![2, 3, 4],
            vec![3, 4, 5],
            vec![5, 6, 7, 8],
            vec![6, 7, 8, 9]
        ]
    );
    assert_eq!(world.workers[0].counters().red_frames_recovered, 3);
    assert_eq!(world.workers[0].counters().drops.value(DropReason::RtpDuplicate), 1);
}

#[test]
fn what_is_lost_on_its_way_to_the_server_and_comes_as_redundancy_reaches_everyone() {
    check_recovery(0);
}

#[test]
fn on_another_worker_too() {
    check_recovery(1);
}

#[test]
fn a_publisher_s_redundancy_is_not_passed_on_and_not_doubled() {
    let (mut world, speaker, plain, with_red) = room(0);
    for seq in 1..4 {
        world.send_rtp(speaker, &[red(2000, seq, &[])]);
    }
    world.set_audio(with_red, "6", redundant(2));
    for seq in 4..8 {
        world.send_rtp(speaker, &[red(2000, seq, &[seq - 2, seq - 1])]);
    }
    let carried = |world: &mut World, peer: usize| world.peers[peer].take_rtp().iter().map(frames).collect::<Vec<_>>();
    let expected: Vec<Vec<u64>> = (1..8).map(|seq| vec![seq]).collect();
    assert_eq!(carried(&mut world, plain), expected);
    let expected = [
        vec![1],
        // One earlier frame, while nothing is known of the link.
        vec![1, 2],
        vec![2, 3],
        vec![2, 3, 4],
        vec![3, 4, 5],
        vec![4, 5, 6],
        vec![5, 6, 7],
    ];
    assert_eq!(carried(&mut world, with_red), expected);
}

#[test]
fn red_that_cannot_be_read_is_dropped_and_foreign_blocks_are_let_be() {
    let (mut world, speaker, plain, _) = room(0);
    world.send_rtp(speaker, &[speech(2000, 1)]);
    let mut cut_off = red(2000, 3, &[1, 2]);
    cut_off.0.truncate(cut_off.1 + 7);
    let mut foreign_primary = red(2000, 4, &[]);
    foreign_primary.0[foreign_primary.1] = 13;
    // Comfort noise in front of the newest frame.
    let mut foreign_block = red(2000, 6, &[5]);
    foreign_block.0[foreign_block.1] = 0x80 | 13;
    world.send_rtp(speaker, &[cut_off, foreign_primary, foreign_block]);
    let numbers: Vec<_> = world.peers[plain].take_rtp().iter().flat_map(frames).collect();
    assert_eq!(numbers, [1, 6]);
    let drops = &world.workers[0].counters().drops;
    assert_eq!(drops.value(DropReason::RtpMalformed), 1);
    assert_eq!(drops.value(DropReason::RtpUnknownPayloadType), 1);
}

#[test]
fn frames_that_wait_go_when_their_time_is_over() {
    let (mut world, speaker, _, with_red) = room(0);
    let format = AudioFormat {
        frames_per_packet: 3,
        ..AudioFormat::default()
    };
    world.set_audio(with_red, "6", format);
    for seq in 1..6 {
        world.send_rtp(speaker, &[speech(2000, seq)]);
        world.sleep(20 * MS);
    }
    let carried: Vec<_> = world.peers[with_red].take_rtp().iter().map(frames).collect();
    assert_eq!(carried, [[1, 2, 3]]);
    // Two wait; the worker asks to be woken for them.
    world.sleep(50 * MS);
    let carried: Vec<_> = world.peers[with_red].take_rtp().iter().map(frames).collect();
    assert_eq!(carried, [[4, 5]]);
}

#[test]
fn a_packet_that_is_sent_again_is_the_same_to_the_bit() {
    let (mut world, speaker, _, with_red) = room(0);
    let format = AudioFormat {
        resend: true,
        ..redundant(1)
    };
    world.set_audio(with_red, "6", format);
    world.peers[with_red].loses = true;
    for seq in 1..6 {
        world.send_rtp(speaker, &[speech(2000, seq)]);
    }
    let lost = std::mem::take(&mut world.peers[with_red].lost);
    assert_eq!(lost.len(), 5);
    let seq = u16::from_be_bytes([lost[3][2], lost[3][3]]);
    for _ in 0..2 {
        world.send_rtcp(with_red, |out| write::nack(Ssrc(1), Ssrc(60), [seq], out));
    }
    assert_eq!(
        world.peers[with_red].lost,
        [lost[3].clone()],
        "once, however often it is asked for at once"
    );
    // It is taken, since the first one never came.
    world.peers[with_red].loses = false;
    world.advance(100 * MS);
    world.send_rtcp(with_red, |out| write::nack(Ssrc(1), Ssrc(60), [seq], out));
    let received = world.peers[with_red].take_rtp();
    assert_eq!(received.iter().map(frames).collect::<Vec<_>>(), [[3, 4]]);
    assert_eq!(world.workers[0].counters().retransmissions_sent, 2);
}

/// Two listeners change to the low voice at its first packet, on the speaker's worker and on another; a third does not.
fn check_low_voice(with_reports: bool) {
    let mut world = World::new(2);
    let media = vec![microphone("1", 2000), microphone(LOW_VOICE, 3000)];
    let speaker = world.join(0, media, &[("1", 72), (LOW_VOICE, 72)]);
    let [near, far, full] = [0, 1, 1].map(|worker| world.join(worker, vec![red_slot("6", 60)], &[]));
    for listener in [near, far, full] {
        world.show(listener, "6", Some((72, 0)), 0);
    }
    let low = AudioFormat {
        layer: 1,
        ..AudioFormat::default()
    };
    for listener in [near, far] {
        world.set_audio(listener, "6", low);
    }
    for number in 0..60 {
        world.send_rtp(speaker, &[speech(2000, number)]);
        if number % 3 == 2 {
            world.send_rtp(speaker, &[low_speech(3000, number / 3)]);
            if with_reports {
                // As libwebrtc has it: what a packet begins with is recorded when it is sent.
                for (ssrc, rtp) in [(2000, number as u32 * 960), (3000, number as u32 / 3 * 2_880)] {
                    let info = SenderInfo {
                        ntp: world.ntp.at(world.now),
                        rtp,
                        packets: 1,
                        octets: 1,
                    };
                    world.send_rtcp(speaker, |out| write::sender_report(Ssrc(ssrc), &info, &[], out));
                }
            }
        }
        world.advance(20 * MS);
    }
    for listener in [near, far] {
        let received = world.peers[listener].take_rtp();
        assert!(received.len() < 30, "{} packets", received.len());
        let is_low = |rtp: &Rtp| rtp.payload[0] == 0x18;
        assert!(received[received.len() - 10..].iter().all(is_low));
        // One clock and all that was said, whatever the publisher's two clocks are.
        let mut said = 0;
        for (index, rtp) in received.iter().enumerate() {
            let first = &received[0].header;
            assert_eq!(rtp.header.seq, first.seq.wrapping_add(index as u16));
            assert_eq!(rtp.header.timestamp.wrapping_sub(first.timestamp), said * 48);
            let number = u64::from_be_bytes(rtp.payload[rtp.payload.len() - 38..][..8].try_into().unwrap()) as u32;
            let length = if is_low(rtp) { 60 } else { 20 };
            assert_eq!(number * length, said);
            said += length;
        }
    }
    assert_eq!(world.peers[full].take_rtp().len(), 60);
}

#[test]
fn a_low_voice_is_a_layer_of_the_full_one() {
    check_low_voice(false);
}

#[test]
fn sender_reports_that_lag_by_a_packet_s_length_do_not_move_the_low_voice() {
    check_low_voice(true);
}

//! NACKs both ways.

use tianqiao_sfu_core::packet::rtcp::write;
use tianqiao_sfu_core::units::Ssrc;

use crate::source::Video;
use crate::world::*;

fn setup(workers: u8, subscriber_worker: usize) -> (World, usize, usize, Video) {
    let mut world = World::new(workers);
    let publisher = world.join(0, vec![camera("0", 1000, &[])], &[("0", 71)]);
    let subscriber = world.join(subscriber_worker, vec![video_slot("5", 50)], &[]);
    world.show(subscriber, "5", Some((71, 0)), 360);
    (world, publisher, subscriber, Video::new(1000, 360))
}

#[test]
fn a_subscriber_gets_again_what_it_lost_over_rtx() {
    for (workers, subscriber_worker) in [(1, 0), (2, 1)] {
        let (mut world, publisher, subscriber, mut video) = setup(workers, subscriber_worker);
        for keyframe in [true, false, false] {
            let frame = video.frame(keyframe, 4);
            world.send_rtp(publisher, &frame);
        }
        let received = world.peers[subscriber].take_rtp();
        let lost = [received[3].clone(), received[6].clone()];
        let seqs = lost.clone().map(|rtp| rtp.header.seq);
        world.send_rtcp(subscriber, |out| write::nack(Ssrc(1), Ssrc(50), seqs, out));
        let again = world.peers[subscriber].take_rtp();
        assert_eq!(again.len(), 2);
        for (rtx, lost) in again.iter().zip(&lost) {
            assert_eq!((rtx.header.ssrc, rtx.header.payload_type), (Ssrc(51), SLOT_RTX));
            assert_eq!(rtx.payload[..2], lost.header.seq.to_be_bytes());
            assert_eq!(rtx.payload[2..], lost.payload);
            assert_eq!(rtx.header.timestamp, lost.header.timestamp);
            assert_eq!(rtx.header.marker, lost.header.marker);
        }
        // A NACK that crosses the answer is not answered again at once, one of what was never sent not at all.
        world.send_rtcp(subscriber, |out| write::nack(Ssrc(1), Ssrc(50), seqs, out));
        world.send_rtcp(subscriber, |out| {
            write::nack(Ssrc(1), Ssrc(50), [seqs[0].wrapping_sub(100)], out)
        });
        assert!(world.peers[subscriber].take_rtp().is_empty());
    }
}

#[test]
fn a_worker_that_is_only_woken_when_it_asks_for_it_sends_its_nacks_in_time_and_sleeps_otherwise() {
    let (mut world, publisher, _, mut video) = setup(1, 0);
    let key = video.frame(true, 4);
    world.send_rtp(publisher, &key);
    let quiet = world.sleep(1000 * MS);
    assert!(
        (8..=16).contains(&quiet),
        "{quiet} times in a second without anything to do"
    );
    let mut delta = video.frame(false, 6);
    let lost = delta.remove(1).2.truncate();
    world.send_rtp(publisher, &delta);
    let nack = Rtcp::Nack(Ssrc(1000), lost);
    world.sleep(40 * MS);
    assert!(
        world.peers[publisher].rtcp.contains(&nack),
        "{:?}",
        world.peers[publisher].rtcp
    );
    // The repair does not come: it is asked for again.
    world.peers[publisher].rtcp.clear();
    world.sleep(200 * MS);
    assert!(
        world.peers[publisher].rtcp.contains(&nack),
        "{:?}",
        world.peers[publisher].rtcp
    );
}

#[test]
fn a_publisher_is_asked_for_what_it_lost_and_the_repair_takes_its_place() {
    let (mut world, publisher, subscriber, mut video) = setup(1, 0);
    let key = video.frame(true, 4);
    world.send_rtp(publisher, &key);
    let delta = video.frame(false, 6);
    let (lost, rest) = delta.split_at(1);
    world.send_rtp(publisher, rest);
    world.advance(40 * MS);
    let lost_seq = lost[0].2.truncate();
    assert!(world.peers[publisher].rtcp.contains(&Rtcp::Nack(Ssrc(1000), lost_seq)));

    // Its answer over RTX.
    let (mut packet, header_len, _) = lost[0].clone();
    packet[1] = packet[1] & 0x80 | VP8_RTX;
    packet[2..4].copy_from_slice(&1u16.to_be_bytes());
    packet[8..12].copy_from_slice(&1100u32.to_be_bytes());
    packet.splice(header_len..header_len, lost_seq.to_be_bytes());
    world.send_rtp(
        publisher,
        &[(packet, header_len, tianqiao_sfu_core::units::ExtendedSeq(1))],
    );
    let received = world.peers[subscriber].take_rtp();
    assert_eq!(received.len(), 10);
    let first = received[0].header.seq;
    let order: Vec<u16> = received.iter().map(|rtp| rtp.header.seq.wrapping_sub(first)).collect();
    assert_eq!(order, [0, 1, 2, 3, 5, 6, 7, 8, 9, 4]);
    assert_eq!(received[9].payload, lost[0].0[lost[0].1..]);
    // It is not asked for any more.
    world.peers[publisher].rtcp.clear();
    world.advance(300 * MS);
    assert!(
        !world.peers[publisher]
            .rtcp
            .iter()
            .any(|rtcp| matches!(rtcp, Rtcp::Nack(..)))
    );
}

#[test]
fn many_requests_for_a_key_frame_become_few() {
    let (mut world, publisher, subscriber, mut video) = setup(2, 1);
    let key = video.frame(true, 2);
    world.send_rtp(publisher, &key);
    world.advance(600 * MS);
    world.peers[publisher].rtcp.clear();
    for _ in 0..50 {
        world.send_rtcp(subscriber, |out| write::pli(Ssrc(1), Ssrc(50), out));
        world.advance(MS);
    }
    let plis = world.peers[publisher]
        .rtcp
        .iter()
        .filter(|rtcp| matches!(rtcp, Rtcp::Pli(_)))
        .count();
    assert_eq!(plis, 1);
}

#[test]
fn a_slot_that_comes_back_under_its_ssrc_never_repeats_a_packet_index() {
    let (mut world, publisher, subscriber, mut video) = setup(1, 0);
    let last = |world: &mut World, frame: &[crate::source::Outgoing]| {
        world.send_rtp(publisher, frame);
        let received = world.peers[subscriber].take_rtp();
        received.last().expect("a packet").header.seq
    };
    let before = last(&mut world, &video.frame(true, 4));
    world.renegotiate(subscriber, vec![]);
    world.renegotiate(subscriber, vec![video_slot("5", 50)]);
    world.show(subscriber, "5", Some((71, 0)), 360);
    // The client would refuse a repeated index as a replay.
    assert_eq!(last(&mut world, &video.frame(true, 4)), before.wrapping_add(4));
}

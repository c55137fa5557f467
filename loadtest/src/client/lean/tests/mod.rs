//! Lean clients against a worker of the server's core, in virtual time.

mod world;

use std::time::Duration;

use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::worker_api::{CloseReason, WorkerEvent};

use self::world::{MS, Toll, World};
use super::LeanPeer;
use crate::client::peer::{NoSink, Peer, PeerConfig};
use crate::media::is_keyframe_start;

fn publisher() -> PeerConfig {
    PeerConfig {
        microphone: true,
        camera: true,
        repair: true,
        ..Default::default()
    }
}

fn viewer(repair: bool) -> PeerConfig {
    PeerConfig {
        audio_slots: 1,
        video_slots: 1,
        repair,
        ..Default::default()
    }
}

/// A publisher and a viewer who sees and hears it.
fn pair(world: &mut World, repair: bool) -> (usize, usize) {
    let anna = world.join(&publisher());
    world.publish(anna);
    let bo = world.join(&viewer(repair));
    world.show(bo, anna);
    (anna, bo)
}

#[test]
fn what_one_sends_another_receives_whole_and_in_order() {
    let mut world = World::new();
    let (anna, bo) = pair(&mut world, false);
    world.advance(Duration::from_secs(3));
    for track in [0, 1] {
        let packets = world.received(bo, track);
        assert!(packets.len() > 100, "{}", packets.len());
        let first = packets[0];
        for (index, packet) in packets.iter().enumerate() {
            assert_eq!(packet.seq, first.seq + index as u64);
            assert_eq!(packet.sequence_number, first.sequence_number.wrapping_add(index as u16));
            assert!(packet.csrc.is_some());
        }
    }
    assert!(world.clients[bo].payloads[0].keyframe, "a slot begins with a key frame");
    assert_eq!(world.counters().value(DropReason::RtpUnknownSsrc), 0);
    assert_eq!(world.clients[anna].payloads.len(), 0);
    assert!(world.events_of(anna).is_empty() && world.events_of(bo).is_empty());
}

#[test]
fn losses_on_both_ways_are_repaired() {
    let mut world = World::new();
    let (anna, bo) = pair(&mut world, true);
    world.advance(Duration::from_millis(500));
    world.toll(anna, Toll::every(9));
    world.toll(bo, Toll::every(7));
    let from = world.received(bo, 0).last().unwrap().seq;
    world.advance(Duration::from_secs(3));
    world.toll(anna, Toll::default());
    world.toll(bo, Toll::default());
    let upto = world.received(bo, 0).last().unwrap().seq;
    world.advance(Duration::from_millis(500));
    let mut seqs: Vec<u64> = world.received(bo, 0).iter().map(|packet| packet.seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let seqs: Vec<_> = seqs.into_iter().filter(|seq| (from..=upto).contains(seq)).collect();
    assert_eq!(seqs, (from..=upto).collect::<Vec<_>>());
}

#[test]
fn without_repair_a_lost_packet_stays_lost() {
    let mut world = World::new();
    let (_, bo) = pair(&mut world, false);
    world.advance(Duration::from_millis(500));
    world.toll(bo, Toll::every(7));
    world.advance(Duration::from_secs(1));
    let packets = world.received(bo, 0);
    let (first, last) = (packets[0].seq, packets.last().unwrap().seq);
    assert!((packets.len() as u64) < last - first);
}

#[test]
fn a_keyframe_request_goes_all_the_way() {
    let mut world = World::new();
    let (anna, bo) = pair(&mut world, false);
    world.advance(Duration::from_secs(2));
    world.clients[bo].payloads.clear();
    let asked = world.clients[anna].keyframes_asked;
    let slot = world.slot_ssrc(bo);
    let now = world.now;
    world.clients[bo].peer.request_keyframe(now, slot).unwrap();
    world.advance(Duration::from_millis(200));
    assert_eq!(world.clients[anna].keyframes_asked, asked + 1);
    assert!(world.clients[bo].payloads.iter().any(|packet| packet.keyframe));
}

#[test]
fn a_stream_whose_key_frame_was_lost_is_asked_for_another() {
    let mut world = World::new();
    let anna = world.join(&publisher());
    world.publish(anna);
    world.advance(Duration::from_secs(1));
    let bo = world.join(&viewer(false));
    world.toll(bo, Toll::all());
    world.show(bo, anna);
    world.advance(Duration::from_millis(300));
    world.toll(bo, Toll::default());
    let asked = world.clients[anna].keyframes_asked;
    world.advance(Duration::from_secs(2));
    assert!(world.clients[anna].keyframes_asked > asked);
    assert!(world.clients[bo].payloads.iter().any(|packet| packet.keyframe));
}

#[test]
fn simulcast_layers_are_told_apart() {
    let mut world = World::new();
    let config = PeerConfig {
        rids: ["q", "h", "f"].map(str::to_owned).to_vec(),
        microphone: false,
        ..publisher()
    };
    let anna = world.join(&config);
    assert_eq!(world.clients[anna].peer.send_streams().len(), 3);
    world.publish_layers(anna);
    let bo = world.join(&viewer(false));
    for (height, track) in [(180, 0), (360, 1), (720, 2)] {
        world.show_at(bo, anna, height);
        world.advance(Duration::from_secs(1));
        let seen = world.clients[bo].payloads.last().unwrap().track;
        assert_eq!(seen, track, "at {height} lines");
    }
    assert_eq!(world.counters().value(DropReason::RtpUnknownSsrc), 0);
}

#[test]
fn consent_and_reports_go_on_for_minutes() {
    let mut world = World::new();
    let (anna, bo) = pair(&mut world, false);
    world.advance(Duration::from_secs(90));
    assert!(world.worker_events().is_empty(), "{:?}", world.worker_events());
    assert!(world.events_of(anna).is_empty() && world.events_of(bo).is_empty());
}

#[test]
fn a_good_bye_is_heard_on_both_sides() {
    let mut world = World::new();
    let (anna, bo) = pair(&mut world, false);
    world.clients[anna].peer.close();
    world.advance(MS);
    let connection = world.clients[anna].connection;
    let reason = CloseReason::PeerClosed;
    assert_eq!(world.worker_events(), [WorkerEvent::Closed { connection, reason }]);
    world.close_from_the_server(bo);
    world.advance(MS);
    assert_eq!(world.events_of(bo), ["Closed"]);
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    let mut world = World::new();
    let bo = world.join(&viewer(false));
    world.toll(bo, Toll::all_datagrams());
    world.advance(Duration::from_secs(40));
    assert_eq!(world.events_of(bo), ["Closed"]);
    assert_eq!(world.clients[bo].peer.poll_timeout(), None);
}

#[test]
fn further_slots_and_an_ice_restart_are_negotiated_on_the_run() {
    let mut world = World::new();
    let (anna, bo) = pair(&mut world, false);
    world.clients[bo].peer.add_video_slots(2).unwrap();
    world.clients[bo].peer.restart_ice();
    world.renegotiate(bo);
    world.clients[bo].payloads.clear();
    world.show(bo, anna);
    world.advance(Duration::from_secs(60));
    assert!(world.received(bo, 0).len() > 1000);
    assert!(world.worker_events().is_empty() && world.events_of(bo).is_empty());
}

#[test]
fn a_lean_client_answers_the_offer_of_another() {
    for lite in [false, true] {
        let (received, connected) = world::answer_an_offer(lite);
        assert_eq!(connected, [1, 1], "lite: {lite}");
        assert!(
            received.iter().any(|payload| is_keyframe_start(payload)),
            "lite: {lite}"
        );
    }
}

#[test]
fn garbage_is_dropped() {
    let mut world = World::new();
    let (_, bo) = pair(&mut world, true);
    let now = world.now;
    let from = world::server_addr();
    let mut random = 1u32;
    for len in 0..400usize {
        for first in [0, 1, 20, 22, 63, 64, 0x80, 0x90, 0xb0, 255] {
            let mut datagram: Vec<u8> = (0..len)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                })
                .collect();
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            world.clients[bo]
                .peer
                .handle_datagram(now, from, &mut datagram, &mut NoSink);
        }
    }
    world.clients[bo].payloads.clear();
    world.advance(Duration::from_secs(1));
    assert!(world.received(bo, 0).len() > 100);
}

#[test]
fn what_the_server_itself_might_send_wrongly_is_dropped() {
    use tianqiao_sfu_core::packet::rtcp::write;
    use tianqiao_sfu_core::units::Ssrc;

    let mut world = World::new();
    let (_, bo) = pair(&mut world, true);
    let now = world.now;
    for plain in [
        &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9][..],
        &[0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 200],
        &[0x80, 97, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1],
        &[0x80, 97, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3],
        &[0x9f, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9],
        &[0x80, 50, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1],
    ] {
        let _ = world.clients[bo].peer.receiver.on_rtp(now, plain, &mut NoSink);
    }
    let mut nack = [0; 64];
    let len = write::nack(Ssrc(1), Ssrc(2), 0..40, &mut nack).unwrap();
    for len in 0..=len {
        world.clients[bo].peer.on_rtcp(now, &nack[..len]);
    }
    world.advance(Duration::from_secs(1));
    assert!(world.events_of(bo).is_empty());
}

#[test]
fn bad_descriptions_are_errors() {
    let mut world = World::new();
    let (_, answer) = world.offer_and_answer(&viewer(false));
    let set = |answer: &str| {
        let mut peer = LeanPeer::new(&viewer(false)).unwrap();
        peer.offer(world.now).unwrap();
        peer.set_answer(world.now, answer)
    };
    set(&answer).unwrap();
    let one_section = answer.rsplit_once("m=video").unwrap().0;
    for (bad, why) in [
        (String::new(), "no media section"),
        (one_section.to_owned(), "media sections"),
        (answer.replace("a=fingerprint", "a=finger"), "fingerprint"),
        (answer.replace("a=ice-pwd", "a=ice-key"), "ice-pwd"),
        (answer.replace("udp", "tcp"), "candidate"),
    ] {
        let error = format!("{:#}", set(&bad).unwrap_err());
        assert!(error.contains(why), "{error}");
    }
    let mut peer = LeanPeer::new(&viewer(false)).unwrap();
    assert!(peer.set_local_addr(world::server_addr()).is_err());
    for len in 0..answer.len() {
        let _ = set(&answer[..len]);
        let _ = LeanPeer::new(&viewer(false))
            .unwrap()
            .accept_offer(world.now, &answer[..len]);
    }
}

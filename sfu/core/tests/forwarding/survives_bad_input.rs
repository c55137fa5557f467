//! Whatever strangers and joined clients send is dropped and counted.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::units::{ExtendedSeq, TrackId};
use tianqiao_sfu_core::worker_api::WorkerEvent;

use crate::source::{Video, sound};
use crate::world::*;

fn random_packet(rng: &mut StdRng) -> Vec<u8> {
    let mut packet = vec![0; rng.random_range(0..300)];
    rng.fill(&mut packet[..]);
    if let Some(first) = packet.first_mut() {
        *first = [0x00, 0x16, 0x80, 0x90, 0xb0, 0xff][rng.random_range(0..6)];
    }
    packet
}

#[test]
fn noise_from_strangers_and_from_a_client() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut world = World::new(1);
    let peer = world.join(0, vec![camera("0", 1000, &[]), video_slot("5", 50)], &[("0", 71)]);
    let stranger = Path::udp(([192, 0, 2, 1], 9).into());
    let dropped = |world: &World| {
        world.workers[0]
            .counters()
            .drops
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    let before = dropped(&world);
    for _ in 0..2000 {
        let (now, mut packet) = (world.now, random_packet(&mut rng));
        world.workers[0].handle_packet(now, stranger, &mut packet);
    }
    assert_eq!(dropped(&world) - before, 2000);

    // Properly encrypted nonsense.
    for seq in 0..2000u64 {
        let mut packet = random_packet(&mut rng);
        packet.resize(packet.len().max(12), 0);
        packet[0] = 0x80 | rng.random::<u8>() & 0x3f;
        packet[1] = rng.random_range(0..64);
        packet[2..4].copy_from_slice(&(seq as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&(1000 + rng.random_range(0..3u32)).to_be_bytes());
        let header_len = 12 + 4 * usize::from(packet[0] & 0x0f);
        if header_len + 4 > packet.len() || packet[0] & 0x10 != 0 {
            continue;
        }
        world.send_rtp(peer, &[(packet, header_len, ExtendedSeq(seq))]);
    }
    for _ in 0..2000 {
        let mut packet = random_packet(&mut rng);
        packet.resize(packet.len().max(8), 0);
        packet[0] = 0x80 | rng.random::<u8>() & 0x3f;
        packet[1] = rng.random_range(200..=207);
        world.send_rtcp(peer, |out| {
            out[..packet.len()].copy_from_slice(&packet);
            Some(packet.len())
        });
    }
    world.advance(1000 * MS);

    // And it still works.
    let subscriber = world.join(0, vec![video_slot("5", 70)], &[]);
    world.show(subscriber, "5", Some((71, 0)), 360);
    let mut video = Video::new(1000, 360);
    video.seq = ExtendedSeq(30_000);
    world.send_rtp(peer, &video.frame(true, 2));
    world.send_rtp(peer, &video.frame(true, 2));
    assert!(!world.peers[subscriber].take_rtp().is_empty());
}

#[test]
fn packets_too_small_for_speech_are_silent_whatever_level_they_claim() {
    let mut world = World::new(1);
    let liar = world.join(0, vec![microphone("0", 2000)], &[("0", 72)]);
    // (bytes of payload, claimed level, level that is told)
    for (seq, (len, claimed, told)) in (100..).zip([(1, 0, 127), (3, 0, 127), (10, 5, 127), (15, 5, 5), (80, 30, 30)]) {
        world.events.clear();
        world.send_rtp(liar, &[sound(2000, seq, claimed, len)]);
        world.advance(60 * MS);
        let levels = world.events.iter().find_map(|event| match event {
            WorkerEvent::AudioLevels { levels } => Some(levels.clone()),
            _ => None,
        });
        let levels = levels.expect("heard");
        assert_eq!((levels[0].track, levels[0].level), (TrackId(72), told), "{len} bytes");
        assert_eq!(levels[0].voice, told < 127);
    }
}

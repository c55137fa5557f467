//! What a subscriber and a publisher cost in memory, by what is freed when they leave.

#[path = "../transport_handshake/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../forwarding/source.rs"]
#[allow(dead_code)]
mod source;
#[path = "../forwarding/world.rs"]
#[allow(dead_code)]
mod world;

use allocation_counter::measure;

use source::{Video, audio};
use world::{MS, World, audio_slot, camera, microphone, video_slot};

const VIDEO_SLOTS: [&str; 9] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"];
const AUDIO_SLOTS: [&str; 3] = ["a0", "a1", "a2"];

/// Bytes that the server frees when `peer` leaves.
fn bytes_of(world: &mut World, peer: usize) -> i64 {
    -measure(|| world.leave(peer)).bytes_current
}

#[test]
fn a_subscriber_that_receives_nine_videos_and_three_voices() {
    let mut world = World::new(1);
    let mut slots = Vec::new();
    for (index, mid) in (0u32..).zip(VIDEO_SLOTS) {
        slots.push(video_slot(mid, 100 + 2 * index));
    }
    for (index, mid) in (0u32..).zip(AUDIO_SLOTS) {
        slots.push(audio_slot(mid, 200 + 2 * index));
    }
    let mut publishers = Vec::new();
    for index in 0..9u32 {
        let media = vec![camera("0", 1000, &[]), microphone("1", 2000)];
        publishers.push((
            world.join(0, media, &[("0", 70 + index), ("1", 90 + index)]),
            Video::new(1000, 360),
        ));
    }
    let idle = world.join(0, slots.clone(), &[]);
    let subscriber = world.join(0, slots, &[]);
    for (index, mid) in (0u32..).zip(VIDEO_SLOTS) {
        world.show(subscriber, mid, Some((70 + index, 0)), 360);
    }
    for (index, mid) in (0u32..).zip(AUDIO_SLOTS) {
        world.show(subscriber, mid, Some((90 + index, 0)), 0);
    }
    for frame in 0..200 {
        for (publisher, video) in &mut publishers {
            let mut packets = video.frame(frame == 0, 4);
            packets.push(audio(2000, 100 + frame, 20));
            world.send_rtp(*publisher, &packets);
        }
        world.advance(33 * MS);
    }
    assert!(world.peers[subscriber].rtp.len() >= 200 * (9 * 4 + 3));
    let (idle, receiving) = (bytes_of(&mut world, idle), bytes_of(&mut world, subscriber));
    println!("idle {idle} B, receiving {receiving} B");
    assert!((1..=60_000).contains(&receiving), "{receiving} B");
    assert!((1..=receiving).contains(&idle), "{idle} B");
}

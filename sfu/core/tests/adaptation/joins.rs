//! How soon there is a picture, and that nothing is left behind.

use tianqiao_sfu_core::worker_api::SlotRank;

use crate::publisher::Camera;
use crate::world::{MS, World, audio_slot, camera, good, limited, profile, secs, video_slot};

#[test]
fn a_good_link_has_a_picture_at_once() {
    let mut world = World::new();
    world.publisher(71, &good());
    world.run(secs(2.0));
    let viewer = world.join(
        &good(),
        vec![video_slot("v", 50), video_slot("w", 52), audio_slot("a", 60)],
        &[],
    );
    world.show(viewer, "v", 71, 720);
    world.show(viewer, "a", 72, 0);
    let joined = world.time();
    world.run(secs(3.0));
    let first = world
        .viewer(viewer, 50)
        .since(joined)
        .next()
        .map(|picture| picture.at - joined);
    let full = world
        .viewer(viewer, 50)
        .since(joined)
        .find(|picture| picture.height == 720);
    println!(
        "first {first:?}, full {:?}, {} kbit/s",
        full.map(|full| full.at - joined),
        world.kbit(viewer)
    );
    assert!(first.is_some_and(|first| first < MS * 300), "{first:?}");
    assert!(full.is_some_and(|full| full.at - joined < secs(2.0)));

    let second = world.join(&good(), vec![camera("cam", &crate::publisher::RIDS)], &[("cam", 81)]);
    let now = world.time();
    world.peers[second]
        .cameras
        .push(Camera::new("cam", 5_000, 3, now, |_| 1.0));
    world.show(viewer, "w", 81, 720);
    world.run(secs(2.0));
    let first = world
        .viewer(viewer, 52)
        .since(now)
        .next()
        .map(|picture| picture.at - now);
    println!("of a new publisher {first:?}");
    assert!(first.is_some_and(|first| first < MS * 300), "{first:?}");
}

#[test]
fn a_screen_whose_rate_varies_does_not_flap() {
    let mut world = World::new();
    let publisher = world.join(
        &good(),
        vec![camera("screen", &crate::publisher::RIDS)],
        &[("screen", 71)],
    );
    let now = world.time();
    // A new slide every eight seconds, little between.
    let slides = |frame: u64| if frame % 240 < 12 { 2.0 } else { 0.15 };
    world.peers[publisher]
        .cameras
        .push(Camera::new("screen", 1_000, 3, now, slides));
    let viewer = world.join(&limited(1_500), vec![video_slot("v", 50)], &[]);
    let rank = SlotRank {
        is_screen: true,
        ..SlotRank::default()
    };
    world.show_ranked(viewer, "v", 71, 720, rank);
    world.run(secs(30.0));
    let from = world.time();
    world.run(secs(60.0));
    let changes = world.viewer(viewer, 50).changes(from);
    println!("{changes} changes, {} kbit/s", world.kbit(viewer));
    assert!(changes <= 2, "{changes}");
}

/// Estimates, feedback, a pacer that spreads, redundancy and packets sent again.
#[test]
fn nothing_is_allocated_per_packet() {
    let mut world = World::new();
    world.publisher(71, &good());
    for kbit in [400, 900, 2_500] {
        let link =
            format!("[down]\nrate = '{kbit}kbps'\nqueue = '1s'\ndelay = '25ms'\nloss = '2%'\n[up]\ndelay = '25ms'");
        let viewer = world.join(&profile(&link), vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
        world.show(viewer, "v", 71, 720);
        world.show(viewer, "a", 72, 0);
    }
    // Rings and histories fill up.
    world.run(secs(30.0));
    (world.allocations, world.sent) = (0, 0);
    world.run(secs(20.0));
    println!("{} allocations, {} packets", world.allocations, world.sent);
    assert!(world.sent > 5_000);
    // What is told of levels and of layers that change is no matter of packets.
    assert!(world.allocations < world.sent as u64 / 10, "{}", world.allocations);
}

#[test]
fn what_waits_survives_a_new_answer_and_an_end() {
    let mut world = World::new();
    world.publisher(71, &good());
    let slots = || vec![video_slot("v", 50), audio_slot("a", 60)];
    let viewer = world.join(&limited(400), slots(), &[]);
    world.show(viewer, "v", 71, 720);
    world.run(secs(3.0));
    // Until a key frame waits.
    let waits = |world: &mut World| {
        world.show(viewer, "v", 71, 720);
        world.peers[0].cameras[0].on_pli(1_000);
        for _ in 0..3_000 {
            world.run(MS);
            if world.waiting(viewer).0 > 0 {
                return true;
            }
        }
        false
    };
    assert!(waits(&mut world), "nothing waits");
    // The slots change places, and one is gone.
    world.renegotiate(viewer, vec![audio_slot("a", 60), video_slot("v", 50)]);
    let at = world.time();
    world.run(secs(3.0));
    assert!(world.viewer(viewer, 50).since(at).count() > 20);
    assert!(waits(&mut world), "nothing waits");
    world.renegotiate(viewer, vec![audio_slot("a", 60)]);
    world.run(secs(1.0));
    assert_eq!(world.waiting(viewer).0, 0);
    world.renegotiate(viewer, slots());
    world.run(secs(1.0));
    assert!(waits(&mut world), "nothing waits");
    world.close(viewer);
    world.run(secs(2.0));
    assert_eq!(world.waiting(viewer).0, 0);
    world.close(0);
    world.run(secs(1.0));
    assert!(world.worker.is_empty());
    world.worker.check_bounds();
}

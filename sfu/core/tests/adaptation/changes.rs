//! A link that gets worse and better.

use std::time::Duration;

use tianqiao_sfu_core::worker_api::SlotRank;

use crate::world::{MS, World, audio_slot, good, limited, secs, video_slot};

/// A viewer of one camera at 720 lines, and of its speech.
fn viewer(world: &mut World, kbit: u64) -> usize {
    world.publisher(71, &good());
    let viewer = world.join(&limited(kbit), vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
    world.show(viewer, "v", 71, 720);
    world.show(viewer, "a", 72, 0);
    viewer
}

#[test]
fn a_picture_gets_smaller_with_its_link_and_larger_again() {
    let mut world = World::new();
    let viewer = viewer(&mut world, 1_000);
    world.run(secs(20.0));
    let drop = world.time();
    println!("before: {} kbit/s", world.kbit(viewer));
    assert_eq!(world.viewer(viewer, 50).height_at(drop), 360);
    world.set_link(viewer, &limited(300));
    world.peers[viewer].queue = Duration::ZERO;
    world.run(secs(4.0));
    let first = world
        .viewer(viewer, 50)
        .since(drop)
        .find(|picture| picture.height == 180);
    let first = first.map(|picture| picture.at - drop);
    println!(
        "{first:?} {} kbit/s, queue {:?}",
        world.kbit(viewer),
        world.peers[viewer].queue
    );
    assert!(first.is_some_and(|first| first < secs(2.0)), "{first:?}");
    assert!(world.peers[viewer].queue < secs(0.8), "{:?}", world.peers[viewer].queue);
    (world.peers[viewer].queue, world.peers[viewer].paced) = (Duration::ZERO, Duration::ZERO);
    world.run(secs(16.0));
    let (steady, paced) = (world.peers[viewer].queue, world.peers[viewer].paced);
    println!("pacer {paced:?}");
    assert!(paced < MS * 250, "{paced:?}");
    let freeze = world
        .viewer(viewer, 50)
        .longest_freeze(drop + secs(4.0), drop + secs(20.0));
    println!(
        "steady queue {steady:?}, freeze {freeze:?}, {} kbit/s",
        world.kbit(viewer)
    );
    assert!(steady < secs(0.3), "{steady:?}");
    assert!(freeze < secs(0.6), "{freeze:?}");
    let back = world.time();
    world.set_link(viewer, &limited(1_000));
    world.run(secs(15.0));
    let larger = world
        .viewer(viewer, 50)
        .since(back)
        .find(|picture| picture.height == 360);
    let larger = larger.map(|picture| picture.at - back);
    let heard = world
        .listener(viewer, 60)
        .heard(drop, world.time() - secs(1.0), MS * 300);
    println!("larger after {larger:?}; {heard:?}");
    assert!(larger.is_some_and(|larger| larger < secs(10.0)), "{larger:?}");
    assert!(heard.lost < 0.01, "{heard:?}");
}

#[test]
fn what_was_paused_goes_on_when_the_link_carries_it() {
    let mut world = World::new();
    let viewer = viewer(&mut world, 60);
    world.run(secs(10.0));
    let pauses = world.pauses(viewer);
    println!("{pauses:?} {} kbit/s", world.kbit(viewer));
    assert!(pauses.last().is_some_and(|(_, is_paused)| *is_paused));
    let better = world.time();
    world.set_link(viewer, &limited(1_000));
    world.run(secs(15.0));
    let shown = world
        .viewer(viewer, 50)
        .since(better)
        .next()
        .map(|picture| picture.at - better);
    println!(
        "{:?} shown after {shown:?}, {} kbit/s",
        world.pauses(viewer),
        world.kbit(viewer)
    );
    assert!(shown.is_some_and(|shown| shown < secs(10.0)), "{shown:?}");
    assert!(world.pauses(viewer).last().is_some_and(|(_, is_paused)| !is_paused));
}

#[test]
fn losses_on_a_publishers_way_are_not_taken_for_the_viewers() {
    let mut world = World::new();
    world.publisher(
        71,
        &crate::world::profile("[down]\ndelay = '10ms'\n[up]\ndelay = '10ms'\nloss = '10%'"),
    );
    let viewer = world.join(&limited(3_000), vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
    world.show(viewer, "v", 71, 720);
    world.show(viewer, "a", 72, 0);
    world.run(secs(20.0));
    let before = world.time();
    world.run(secs(10.0));
    let view = world.viewer(viewer, 50);
    println!("{} kbit/s, {}", world.kbit(viewer), view.height_at(world.time()));
    assert!(world.kbit(viewer) > 2_200, "{}", world.kbit(viewer));
    assert!(view.since(before).all(|picture| picture.height == 720));
}

/// Four cameras, of which the link carries small pictures only.
#[test]
fn a_grid_shares_a_link_and_its_speech_is_whole() {
    let mut world = World::new();
    let mut slots = vec![audio_slot("a", 60)];
    slots.extend([("v0", 50), ("v1", 52), ("v2", 54), ("v3", 56)].map(|(mid, ssrc)| video_slot(mid, ssrc)));
    for publisher in 0..4 {
        world.publisher(71 + 10 * publisher, &good());
    }
    let viewer = world.join(&limited(1_000), slots, &[]);
    world.show(viewer, "a", 72, 0);
    for (at, mid) in ["v0", "v1", "v2", "v3"].into_iter().enumerate() {
        world.show(viewer, mid, 71 + 10 * at as u32, 720);
    }
    world.run(secs(15.0));
    let from = world.time();
    (world.peers[viewer].queue, world.peers[viewer].paced) = (Duration::ZERO, Duration::ZERO);
    world.run(secs(30.0));
    let to = world.time();
    let heard = world.listener(viewer, 60).heard(from, to - secs(1.0), MS * 300);
    let freezes = [50, 52, 54, 56].map(|ssrc| world.viewer(viewer, ssrc).longest_freeze(from, to));
    let changes = [50, 52, 54, 56].map(|ssrc| world.viewer(viewer, ssrc).changes(from));
    let peer = &world.peers[viewer];
    println!(
        "grid: {heard:?} {freezes:?} {changes:?} queue {:?} pacer {:?} {} kbit/s",
        peer.queue,
        peer.paced,
        world.kbit(viewer)
    );
    assert!(peer.queue < MS * 300, "{:?}", peer.queue);
    assert!(heard.lost < 0.01 && heard.late < 0.01, "{heard:?}");
    assert!(freezes.iter().all(|freeze| *freeze < secs(1.0)), "{freezes:?}");
    // Tiles still take turns at what is left for one of them.
    assert!(changes.iter().sum::<usize>() <= 4, "{changes:?}");
}

/// What five cameras over a link come to that falls from 1 Mbit/s to 300 kbit/s for 20 s.
#[derive(Debug)]
struct Fall {
    /// The longest time without a picture of the speaker, after the first second of the drop.
    freeze: Duration,
    /// Frames a second of the speaker, late in the drop.
    speaker: f64,
    /// Share of the link that is used in the last 10 s of the drop.
    used: f64,
    /// Frames a second of all, when the link has been good again for a while.
    after: [f64; 5],
}

/// `at`: where the encoders are when the link falls.
fn fall(at: Duration) -> Fall {
    let mut world = World::new();
    let slots = [("v0", 50), ("v1", 52), ("v2", 54), ("v3", 56), ("v4", 58)];
    let mut media = vec![audio_slot("a", 60)];
    media.extend(slots.map(|(mid, ssrc)| video_slot(mid, ssrc)));
    for publisher in 0..5 {
        world.publisher(71 + 10 * publisher, &good());
    }
    let viewer = world.join(&limited(1_000), media, &[]);
    world.show(viewer, "a", 72, 0);
    for (at, (mid, _)) in slots.into_iter().enumerate() {
        let rank = SlotRank {
            is_speaker: at == 0,
            order: at as u16,
            ..SlotRank::default()
        };
        world.show_ranked(viewer, mid, 71 + 10 * at as u32, 240, rank);
    }
    world.run(secs(25.0) + at);
    let drop = world.time();
    world.set_link(viewer, &limited(300));
    world.run(secs(10.0));
    let arrived = |world: &World| world.peers[viewer].link.counters().down.arrived_bytes;
    let before = arrived(&world);
    world.run(secs(10.0));
    let used = (arrived(&world) - before) as f64 * 8.0 / 3e6;
    let back = world.time();
    world.set_link(viewer, &limited(1_000));
    world.run(secs(25.0));
    let rate = |ssrc: u32, from: Duration, to: Duration| {
        let pictures = world.viewer(viewer, ssrc).since(from).filter(|picture| picture.at < to);
        pictures.count() as f64 / (to - from).as_secs_f64()
    };
    Fall {
        freeze: world.viewer(viewer, 50).longest_freeze(drop + secs(1.0), back),
        speaker: rate(50, drop + secs(5.0), back),
        used,
        after: slots.map(|(_, ssrc)| rate(ssrc, back + secs(10.0), back + secs(25.0))),
    }
}

#[test]
fn a_grid_comes_through_a_drop() {
    let falls: Vec<Fall> = (0..6).map(|at| fall(MS * 170 * at)).collect();
    for fall in &falls {
        println!("{fall:.2?}");
        // Somebody is seen throughout, and moves as soon as all has settled.
        assert!(fall.freeze < secs(0.5), "{fall:?}");
        assert!(fall.speaker > 25.0, "{fall:?}");
        // Then all are seen again.
        assert!(fall.after.iter().all(|&rate| rate > 7.0), "{fall:?}");
    }
    let used = falls.iter().map(|fall| fall.used).sum::<f64>() / falls.len() as f64;
    assert!(used > 0.85, "{used}");
}

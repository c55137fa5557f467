//! A link that gets worse and better.

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
    world.peers[viewer].queue = std::time::Duration::ZERO;
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
    world.peers[viewer].queue = std::time::Duration::ZERO;
    world.run(secs(16.0));
    let steady = world.peers[viewer].queue;
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

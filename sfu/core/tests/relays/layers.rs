//! Of a video in three layers, what somebody has a use for crosses the link, once.

use crate::peer::layer_kbit;
use crate::world::*;

/// What a layer takes on the link, at most: headers of the link, and a key frame now and then.
fn at_most(layers: &[usize]) -> f64 {
    layers.iter().map(|&layer| layer_kbit(layer)).sum::<f64>() * 1.3 + 40.0
}

#[test]
fn the_small_layer_alone_crosses_for_small_pictures_and_begins_at_once() {
    let mut world = World::pair(2);
    let alice = world.join(0, "alice", &filmer());
    world.run(secs(1.0));
    assert!(world.kbit(0, 1, secs(1.0)) < 20.0, "nobody watches");

    let bob = world.join(1, "bob", &viewer("nobody", 180));
    let begun = world.time();
    world.look(bob, &[(camera_of("alice"), 180)]);
    world.run(secs(1.0));
    let first = world.peers[bob].first_picture(begun).expect("a picture");
    assert!(first - begun < secs(0.25), "{:?}", first - begun);
    let one = world.kbit(0, 1, secs(3.0));
    assert!(one < at_most(&[0]) && one > layer_kbit(0) * 0.8, "{one} kbit/s");
    assert_eq!(world.peers[bob].height_at(world.time()), 180);
    let freeze = world.peers[bob].longest_freeze(first, world.time());
    assert!(freeze < secs(0.15), "{freeze:?}");

    // On both workers of the other node, and however many.
    let more: Vec<usize> = (0..3)
        .map(|n| world.join(1, &format!("v{n}"), &viewer("alice", 180)))
        .collect();
    let workers: Vec<usize> = more
        .iter()
        .chain([&bob])
        .map(|&peer| world.peers[peer].worker)
        .collect();
    assert!(workers.contains(&0) && workers.contains(&1), "{workers:?}");
    world.run(secs(1.0));
    let many = world.kbit(0, 1, secs(3.0));
    assert!(many < at_most(&[0]), "{many} kbit/s");
    for &peer in &more {
        assert!(world.peers[peer].pictures(world.time() - secs(1.0)) > 27);
    }

    let asked = world.peers[alice].asked;
    let carol = world.join(1, "carol", &viewer("alice", 720));
    world.run(secs(4.0));
    assert_eq!(world.peers[carol].height_at(world.time()), 720);
    assert_eq!(world.peers[bob].height_at(world.time()), 180);
    assert!(world.peers[alice].asked[2] > asked[2], "a key frame of the large layer");
    let both = world.kbit(0, 1, secs(2.0));
    assert!(both > layer_kbit(0) + layer_kbit(2) * 0.9, "{both} kbit/s");
    assert!(both < at_most(&[0, 2]), "{both} kbit/s");

    world.leave(carol);
    world.run(secs(2.5));
    let again = world.kbit(0, 1, secs(2.0));
    assert!(again < at_most(&[0]), "{again} kbit/s");

    for peer in more.into_iter().chain([bob]) {
        world.leave(peer);
    }
    world.run(secs(2.5));
    let nobody = world.kbit(0, 1, secs(1.0));
    assert!(nobody < 20.0, "{nobody} kbit/s");
    world.end();
}

#[test]
fn a_node_between_passes_a_video_on_whichever_workers_its_links_are_on() {
    for is_spread in [false, true] {
        let mut world = World::new(3, 2);
        world.link(0, 1, &between("0%"));
        world.join(0, "alice", &filmer());
        if is_spread {
            // A link goes to the worker that has the room.
            world.join(1, "between", &listener());
        }
        world.link(1, 2, &between("0%"));
        let between = [world.wires[&(0, 1)].workers[1], world.wires[&(1, 2)].workers[0]];
        assert_eq!(between[0] != between[1], is_spread);
        let bob = world.join(2, "bob", &viewer("alice", 720));
        world.run(secs(5.0));
        assert_eq!(world.peers[bob].height_at(world.time()), 720);
        assert!(world.peers[bob].pictures(world.time() - secs(1.0)) > 27);
        // The steps on the way up are given up one node after the other.
        world.run(secs(2.0));
        let kbit = world.kbit(0, 1, secs(1.0));
        assert!(kbit < at_most(&[2]), "{kbit} kbit/s");
        world.end();
    }
}

#[test]
fn who_watches_on_the_node_of_a_link_is_shown_at_once_what_crosses_already() {
    let mut world = World::pair(1);
    world.join(0, "alice", &filmer());
    world.join(1, "bob", &viewer("alice", 360));
    world.run(secs(3.0));
    let carol = world.join(1, "carol", &viewer("nobody", 360));
    let begun = world.time();
    world.look(carol, &[(camera_of("alice"), 360)]);
    world.run(secs(1.0));
    let first = world.peers[carol].first_picture(begun).expect("a picture");
    assert!(first - begun < secs(0.35), "{:?}", first - begun);
}

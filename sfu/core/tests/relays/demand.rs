//! What is wanted behind links reaches the publisher, and what he was told reaches those who want it.

use crate::peer::layer_kbit;
use crate::world::*;

/// What the publisher was told last: for each layer whether it is wanted.
fn wanted(world: &World, peer: usize) -> Vec<String> {
    let told = world.peers[peer].wanted.iter().rev();
    let mut told = told.filter(|(_, wanted)| !wanted.layers.is_empty() || !wanted.low_voice);
    let layers = told.next().map_or(&[][..], |(_, wanted)| &wanted.layers);
    layers.iter().map(|layer| layer.rid.to_string()).collect()
}

#[test]
fn a_publisher_sends_what_those_on_another_node_can_use_and_no_more() {
    for workers in [1, 2] {
        let mut world = World::pair(workers);
        let alice = world.join(0, "alice", &publisher());
        world.peers[alice].obeys = true;
        world.run(secs(8.0));
        let viewers: Vec<usize> = (0..2)
            .map(|n| world.join(1, &format!("v{n}"), &viewer("alice", 180)))
            .collect();
        world.run(secs(8.0));
        assert_eq!(wanted(&world, alice), ["q"], "{workers} workers");
        for &viewer in &viewers {
            assert!(world.peers[viewer].pictures(world.time() - secs(1.0)) > 27);
        }

        let carol = world.join(1, "carol", &viewer("alice", 720));
        world.run(secs(5.0));
        assert!(wanted(&world, alice).contains(&"f".to_owned()), "{workers} workers");
        assert_eq!(world.peers[carol].height_at(world.time()), 720, "{workers} workers");
        let kbit = world.kbit(0, 1, secs(1.0));
        assert!(kbit > layer_kbit(2), "{kbit} kbit/s");

        world.leave(carol);
        world.run(secs(10.0));
        assert_eq!(wanted(&world, alice), ["q"], "{workers} workers");
        // The other node is lost: nobody wants anything any longer.
        world.unlink(0, 1);
        world.run(secs(10.0));
        assert!(wanted(&world, alice).len() <= 1, "{:?}", wanted(&world, alice));
        world.link(0, 1, &between("0%"));
        world.run(secs(3.0));
        for &viewer in &viewers {
            assert!(world.peers[viewer].pictures(world.time() - secs(1.0)) > 27);
        }
        world.end();
    }
}

#[test]
fn a_lost_node_wants_no_large_picture_any_longer() {
    let mut world = World::pair(1);
    let alice = world.join(0, "alice", &publisher());
    world.peers[alice].obeys = true;
    world.join(0, "here", &viewer("alice", 180));
    world.join(1, "there", &viewer("alice", 720));
    world.run(secs(8.0));
    assert!(wanted(&world, alice).contains(&"f".to_owned()));
    world.unlink(0, 1);
    world.run(secs(12.0));
    assert_eq!(wanted(&world, alice), ["q"]);
    world.end();
}

#[test]
fn it_reaches_him_over_a_node_between() {
    let mut world = World::new(3, 2);
    world.link(0, 1, &between("0%"));
    world.link(1, 2, &between("0%"));
    let alice = world.join(0, "alice", &publisher());
    world.peers[alice].obeys = true;
    let bob = world.join(2, "bob", &viewer("alice", 180));
    world.run(secs(8.0));
    assert_eq!(wanted(&world, alice), ["q"]);
    world.look(bob, &[(camera_of("alice"), 720)]);
    world.run(secs(5.0));
    assert_eq!(world.peers[bob].height_at(world.time()), 720);
    world.end();
}

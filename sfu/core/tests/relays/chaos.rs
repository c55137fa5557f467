//! Whatever comes and goes in whatever order: nothing is left at the end.

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use tianqiao_sfu_core::rooms::SlotTarget;

use crate::world::*;

const PLACES: [(usize, usize); 3] = [(0, 1), (1, 2), (0, 2)];

fn random_views(rng: &mut StdRng) -> Vec<(SlotTarget, u16)> {
    let view = |_| {
        let target = match rng.random_range(0..4) {
            0 => SlotTarget::ActiveSpeaker,
            _ => camera_of(&format!("p{}", rng.random_range(0..8))),
        };
        (target, [0, 180, 360, 720][rng.random_range(0..4)])
    };
    (0..2).map(view).collect()
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(3, 1 + (seed % 2) as u8);
    let mut present: Vec<usize> = Vec::new();
    for _ in 0..40 {
        match rng.random_range(0..10) {
            0..4 => {
                let (node, name) = (rng.random_range(0..3), format!("p{}", rng.random_range(0..8)));
                let is_taken = |&&peer: &&usize| world.peers[peer].name == name && world.peers[peer].node == node;
                if present.iter().any(|peer| is_taken(&peer)) {
                    continue;
                }
                let joiner = Joiner {
                    camera: rng.random_bool(0.6),
                    microphone: rng.random_bool(0.6),
                    audio_slots: rng.random_range(0..3),
                    views: random_views(&mut rng),
                };
                let peer = world.open(node, &name, &joiner);
                if let Some(voice) = &mut world.peers[peer].voice {
                    voice.level = rng.random_range(15..40);
                }
                present.push(peer);
                if rng.random_bool(0.7) {
                    world.sync();
                }
            }
            4..6 => {
                if let Some(at) = (0..present.len()).choose(&mut rng) {
                    world.close(present.swap_remove(at));
                    if rng.random_bool(0.7) {
                        world.sync();
                    }
                }
            }
            6 => {
                if let Some(&peer) = present.iter().choose(&mut rng) {
                    let views = random_views(&mut rng);
                    world.look(peer, &views);
                }
            }
            7 => world.sync(),
            _ => {
                let (one, other) = PLACES[rng.random_range(0..PLACES.len())];
                match world.wires.contains_key(&(one, other)) {
                    true => world.unlink(one, other),
                    false => world.link(one, other, &between("2%")),
                }
            }
        }
        world.run(MS * rng.random_range(0..150));
    }
    for peer in present {
        world.close(peer);
        world.run(MS * rng.random_range(0..20));
    }
    for (one, other) in PLACES {
        world.unlink(one, other);
    }
    world.sync();
    world.run(secs(2.5));
    world.assert_empty();
}

#[test]
fn nothing_is_left_of_meetings_that_came_and_went() {
    for seed in 0..60 {
        run(seed);
    }
}

#[test]
fn a_room_that_is_closed_takes_its_links_with_it() {
    let mut world = World::pair(2);
    for (node, name) in [(0, "alice"), (1, "bob")] {
        world.join(node, name, &publisher());
        world.join(node, &format!("{name}'s viewer"), &viewer("alice", 360));
    }
    world.run(secs(1.0));
    for node in 0..2 {
        let now = world.now;
        assert_eq!(world.nodes[node].rooms.close_room(now, ROOM), 2);
    }
    for peer in &mut world.peers {
        peer.silent = true;
    }
    world.wires.clear();
    world.run(secs(2.5));
    world.assert_empty();
}

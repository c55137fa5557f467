//! What the fuzz target of a whole worker runs: three clients in one room on two workers, with keys, that send
//! anything at all, in the order that the input says.

mod clients;
mod input;
mod world;

use self::input::Input;
use self::world::World;

/// Each operation is a byte and what it reads behind it. Nothing may panic, nothing may grow past its bounds,
/// no address may get more than three times what came from it before it has answered, and nobody may get their
/// own packets.
pub fn worker(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    while let Some(operation) = input.byte() {
        match operation % 16 {
            0 | 1 => world.rtp(&mut input),
            2 => world.raw_rtp(&mut input),
            3 | 4 => world.rtcp(&mut input),
            5 => world.raw_rtcp(&mut input),
            6 | 7 => world.check(&mut input),
            8 => world.answer(&mut input),
            9 => world.datagram(&mut input),
            10 => world.set_slot(&mut input),
            11 => world.renegotiate(&mut input),
            12 => world.command(&mut input),
            13 => world.mail(&mut input),
            _ => world.advance(&mut input),
        }
        world.settle();
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn a_worker_takes_any_sequence() {
        let mut rng = StdRng::seed_from_u64(5);
        for _ in 0..200 {
            let data: Vec<u8> = (0..rng.random_range(0..4_000)).map(|_| rng.random()).collect();
            worker(&data);
        }
    }

    /// The target reaches what it is for.
    #[test]
    fn seeds_recover_lost_frames_of_voices() {
        let seed = include_bytes!("../../fuzz/seeds/worker/redundancy");
        let mut input = Input::new(seed);
        let mut world = World::new();
        while let Some(operation) = input.byte() {
            match operation % 16 {
                0 => world.rtp(&mut input),
                3 => world.rtcp(&mut input),
                10 => world.set_slot(&mut input),
                12 => world.command(&mut input),
                _ => world.advance(&mut input),
            }
            world.settle();
        }
        assert!(world.recovered() >= 3 && world.forwarded > 0);
    }

    #[test]
    fn seeds_forward_media() {
        let seed = include_bytes!("../../fuzz/seeds/worker/forwards");
        let mut input = Input::new(seed);
        let mut world = World::new();
        while let Some(operation) = input.byte() {
            match operation % 16 {
                0 => world.rtp(&mut input),
                10 => world.set_slot(&mut input),
                _ => world.advance(&mut input),
            }
            world.settle();
        }
        assert!(world.forwarded > 0);
    }
}

//! The allocator as a whole, in virtual time.

mod estimator;
mod modes;
mod rules;

use std::time::{Duration, Instant};

use super::test_util::{camera, kbps, layer, link, screen, voice_with_low};
use super::*;
use crate::units::TrackId;

/// One subscriber's connection. Time passes in steps of 100 ms, as estimates come.
struct Subscriber {
    allocator: Allocator,
    allocation: Allocation,
    now: Instant,
    demands: Vec<Demand>,
}

const STEP: Duration = Duration::from_millis(100);

impl Subscriber {
    fn new(demands: &[Demand]) -> Self {
        Self {
            allocator: Allocator::default(),
            allocation: Allocation::default(),
            now: Instant::now(),
            demands: demands.to_vec(),
        }
    }

    fn run(&mut self, link: &Link) {
        self.now += STEP;
        self.allocator
            .allocate(self.now, link, &self.demands, &mut self.allocation);
    }

    /// Runs for `seconds` and counts how often a slot's choice changed.
    fn run_for(&mut self, seconds: f64, link: &Link) -> usize {
        let mut changes = 0;
        for _ in 0..(seconds * 10.0).round() as usize {
            let before: Vec<Choice> = self.allocation.slots.iter().map(|slot| slot.choice).collect();
            self.run(link);
            let after = self.allocation.slots.iter().map(|slot| slot.choice);
            changes += after.zip(before).filter(|(after, before)| after != before).count();
        }
        changes
    }

    fn choice(&self, slot: usize) -> Choice {
        self.allocation.slots[slot].choice
    }

    /// Spatial and temporal layer of a video slot; `None` where it is paused.
    fn layer(&self, slot: usize) -> Option<(u8, u8)> {
        match self.choice(slot) {
            Choice::Video(layer) => Some((layer.spatial, layer.temporal)),
            _ => None,
        }
    }

    fn layers(&self) -> Vec<Option<(u8, u8)>> {
        (0..self.demands.len()).map(|slot| self.layer(slot)).collect()
    }

    fn video(&mut self, slot: usize) -> &mut VideoDemand {
        match &mut self.demands[slot] {
            Demand::Video(video) => video,
            other => panic!("slot {slot} is {other:?}"),
        }
    }
}

/// A tile of the viewport with a track of its own.
fn tile(order: u16, height: u16) -> Demand {
    Demand::Video(VideoDemand {
        track: TrackId(u32::from(order) + 1),
        order,
        ..camera(height)
    })
}

fn speaker(height: u16) -> Demand {
    Demand::Video(VideoDemand {
        track: TrackId(50),
        is_active_speaker: true,
        ..camera(height)
    })
}

fn shared_screen(height: u16) -> Demand {
    Demand::Video(VideoDemand {
        track: TrackId(60),
        ..screen(height)
    })
}

fn speech(order: u8) -> Demand {
    Demand::Audio(voice_with_low(order))
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

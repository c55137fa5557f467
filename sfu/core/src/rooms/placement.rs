//! Which worker a session goes to, and the names that must be unique on it.

use rand::Rng;

use crate::units::{ConnectionId, WorkerIndex};

/// Sessions per worker; publishers cost a worker decryption, subscribers encryption, so each kind is
/// spread by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    publishers: Vec<u32>,
    subscribers: Vec<u32>,
}

impl Load {
    fn of(&self, worker: WorkerIndex, publishes: bool) -> u32 {
        let counts = if publishes { &self.publishers } else { &self.subscribers };
        counts.get(usize::from(worker.0)).copied().unwrap_or(0)
    }

    fn all_of(&self, worker: WorkerIndex) -> u32 {
        self.of(worker, true) + self.of(worker, false)
    }

    pub(super) fn add(&mut self, worker: WorkerIndex, publishes: bool) {
        let counts = if publishes {
            &mut self.publishers
        } else {
            &mut self.subscribers
        };
        let index = usize::from(worker.0);
        if counts.len() <= index {
            counts.resize(index + 1, 0);
        }
        counts[index] += 1;
    }

    pub(super) fn remove(&mut self, worker: WorkerIndex, publishes: bool) {
        let counts = if publishes {
            &mut self.publishers
        } else {
            &mut self.subscribers
        };
        counts[usize::from(worker.0)] -= 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.publishers.iter().chain(&self.subscribers).all(|&count| count == 0)
    }
}

/// Sessions of a room below which its packets are not worth the way from worker to worker.
const SMALL_ROOM: u32 = 8;

pub(super) struct Placement {
    pub(super) load: Load,
    /// Per worker; never reused.
    last_connection: Vec<u32>,
}

impl Placement {
    pub(super) fn new(workers: u8) -> Self {
        Self {
            load: Load::default(),
            last_connection: vec![0; usize::from(workers.max(1))],
        }
    }

    /// A room begins on the worker with the fewest sessions of the node and stays there while it is
    /// small. Then each session goes to the worker with the fewest of its kind of the same room, so
    /// that one room uses all workers; among equals to the one with the fewest of the node.
    pub(super) fn worker(&self, room: Option<&Load>, publishes: bool) -> WorkerIndex {
        let workers = || (0..self.last_connection.len()).map(|index| WorkerIndex(index as u8));
        let in_room = |worker| room.map_or(0, |room| room.all_of(worker));
        let home = workers().max_by_key(|&worker| in_room(worker));
        if let Some(home) = home
            && (1..SMALL_ROOM).contains(&in_room(home))
        {
            return home;
        }
        workers()
            .min_by_key(|&worker| {
                let alike = room.map_or(0, |room| room.of(worker, publishes));
                (alike, self.load.of(worker, publishes), self.load.all_of(worker))
            })
            .expect("there is at least one worker")
    }

    pub(super) fn connection(&mut self, worker: WorkerIndex) -> ConnectionId {
        let last = &mut self.last_connection[usize::from(worker.0)];
        *last = last.wrapping_add(1);
        ConnectionId(*last)
    }

    /// A random number that is not 0.
    pub(super) fn number(&self) -> u32 {
        rand::rng().random_range(1..=u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(placement: &mut Placement, room: &mut Load, publishes: bool) -> WorkerIndex {
        let worker = placement.worker(Some(room), publishes);
        room.add(worker, publishes);
        placement.load.add(worker, publishes);
        worker
    }

    #[test]
    fn a_large_room_and_the_node_are_both_even() {
        let mut placement = Placement::new(3);
        let mut rooms = vec![Load::default(); 10];
        for index in 0..100 {
            for room in &mut rooms {
                join(&mut placement, room, index % 5 == 0);
            }
        }
        for room in &rooms {
            for counts in [&room.publishers, &room.subscribers] {
                let (least, most) = (counts.iter().min(), counts.iter().max());
                let apart = most.zip(least).map(|(most, least)| most - least);
                assert!(apart.is_some_and(|apart| apart <= 1), "{counts:?}");
            }
        }
        let all: Vec<u32> = (0..3).map(|index| placement.load.all_of(WorkerIndex(index))).collect();
        assert!(all.iter().all(|count| (323..=343).contains(count)), "{all:?}");
    }

    #[test]
    fn a_small_room_stays_on_one_worker_and_small_rooms_are_spread() {
        let mut placement = Placement::new(3);
        for room in 0..6 {
            let mut load = Load::default();
            let homes: Vec<u8> = (0..8).map(|_| join(&mut placement, &mut load, true).0).collect();
            assert_eq!(homes, [room % 3; 8]);
            assert_ne!(placement.worker(Some(&load), true).0, room % 3);
        }
    }
}

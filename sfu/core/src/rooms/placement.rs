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

    /// The worker with the fewest sessions of that kind of the same room, so that one room uses all
    /// workers; among equals the one with the fewest of the node.
    pub(super) fn worker(&self, room: Option<&Load>, publishes: bool) -> WorkerIndex {
        (0..self.last_connection.len())
            .map(|index| WorkerIndex(index as u8))
            .min_by_key(|&worker| {
                let in_room = room.map_or(0, |room| room.of(worker, publishes));
                let all = self.load.of(worker, true) + self.load.of(worker, false);
                (in_room, self.load.of(worker, publishes), all)
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

    #[test]
    fn rooms_and_the_node_are_both_even() {
        let mut placement = Placement::new(3);
        let mut rooms = vec![Load::default(); 10];
        for room in &mut rooms {
            for publishes in [true, false, false, true, false] {
                let worker = placement.worker(Some(room), publishes);
                room.add(worker, publishes);
                placement.load.add(worker, publishes);
            }
            assert!(room.subscribers.iter().all(|&count| count == 1));
        }
        assert_eq!(placement.load.subscribers, [10, 10, 10]);
        let publishers = &placement.load.publishers;
        assert!(publishers.iter().all(|count| (6..=7).contains(count)), "{publishers:?}");
    }
}

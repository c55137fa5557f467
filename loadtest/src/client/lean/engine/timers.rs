//! When which connection wants to be woken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A heap with at most one entry that counts for each key; entries that were put off stay until they
/// are due, so that putting off, which every packet may do, costs nothing.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By key: the earliest of its entries.
    scheduled: Vec<Option<Instant>>,
}

impl Timers {
    /// Wakes `key` at `due`, or earlier where it was to be woken earlier.
    pub fn schedule(&mut self, key: usize, due: Instant) {
        if key >= self.scheduled.len() {
            self.scheduled.resize(key + 1, None);
        }
        if self.scheduled[key].is_none_or(|scheduled| due < scheduled) {
            self.scheduled[key] = Some(due);
            self.heap.push(Reverse((due, key)));
        }
    }

    pub fn remove(&mut self, key: usize) {
        if let Some(scheduled) = self.scheduled.get_mut(key) {
            *scheduled = None;
        }
    }

    /// May be of an entry that does not count any more.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// The next key that is due.
    pub fn pop(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((due, key))) = self.heap.peek().copied() {
            if due > now {
                return None;
            }
            self.heap.pop();
            if self.scheduled.get(key) == Some(&Some(due)) {
                self.scheduled[key] = None;
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_time_of_each_key_counts_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut timers = Timers::default();
        for (key, due) in [(1, 30), (0, 20), (1, 10), (1, 40), (2, 25)] {
            timers.schedule(key, at(due));
        }
        assert_eq!(timers.poll_timeout(), Some(at(10)));
        assert_eq!(timers.pop(at(5)), None);
        assert_eq!((timers.pop(at(22)), timers.pop(at(22))), (Some(1), Some(0)));
        assert_eq!(timers.pop(at(22)), None);
        timers.remove(2);
        assert_eq!(
            timers.pop(at(100)),
            None,
            "neither what was put off nor what was removed"
        );
        timers.schedule(2, at(50));
        assert_eq!(timers.pop(at(50)), Some(2));
        assert_eq!(timers.poll_timeout(), None);
    }
}

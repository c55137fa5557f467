//! Work that waits for few hands, taken in turns: whoever brings much waits behind its own and not in front of
//! others. Sans-IO; who brings it is an opaque number.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// What a piece of work weighs at least, in bytes: it takes memory and a turn even if it is short.
const MIN_WEIGHT: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes that wait in all.
    pub bytes: usize,
    /// Bytes that wait for one origin.
    pub bytes_per_origin: usize,
    /// What an origin may take in one turn, in bytes: many small pieces or one large one.
    pub quantum: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            bytes: 128 << 20,
            bytes_per_origin: 32 << 20,
            quantum: 128 << 10,
        }
    }
}

/// Why work does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its origin has as much waiting as it may have.
    Origin,
    /// All together have.
    Full,
}

/// Pieces of work by session, in order within each, and one of a session at a time. Sessions of one origin share its
/// turn; origins take turns by the bytes they bring (deficit round robin).
#[derive(Debug)]
pub struct FairQueue<T> {
    limits: QueueLimits,
    bytes: usize,
    sessions: HashMap<String, Lane<T>>,
    origins: HashMap<u64, Origin>,
    /// Origins with a session that is ready, each once.
    turns: VecDeque<u64>,
}

#[derive(Debug)]
struct Lane<T> {
    origin: u64,
    waiting: VecDeque<(usize, T)>,
    /// One was taken and is not finished.
    busy: bool,
}

#[derive(Debug, Default)]
struct Origin {
    bytes: usize,
    /// What is left of its turn, in bytes.
    credit: usize,
    /// Sessions that have work waiting and none under way, each once.
    ready: VecDeque<String>,
}

impl<T> FairQueue<T> {
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            bytes: 0,
            sessions: HashMap::new(),
            origins: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The session has work that waits or is under way.
    pub fn has(&self, session: &str) -> bool {
        self.sessions.contains_key(session)
    }

    /// Adds work of `bytes`, and returns what does not get in: this, or where all places are taken the newest of
    /// those origins that hold more. A session that has work here goes on under the origin that it had.
    pub fn push(&mut self, origin: u64, session: &str, bytes: usize, work: T) -> Vec<(T, Refused)> {
        let weight = bytes.max(MIN_WEIGHT);
        let origin = self.sessions.get(session).map_or(origin, |lane| lane.origin);
        let held = self.origins.get(&origin).map_or(0, |origin| origin.bytes) + weight;
        if held > self.limits.bytes_per_origin {
            return vec![(work, Refused::Origin)];
        }
        let mut refused = Vec::new();
        while self.bytes + weight > self.limits.bytes {
            let Some(other) = self.evict(held) else {
                refused.push((work, Refused::Full));
                return refused;
            };
            refused.push((other, Refused::Full));
        }
        self.insert(origin, session, weight, work);
        refused
    }

    fn insert(&mut self, origin: u64, session: &str, weight: usize, work: T) {
        self.bytes += weight;
        let lane = self.sessions.entry(session.to_owned()).or_insert_with(|| Lane {
            origin,
            waiting: VecDeque::new(),
            busy: false,
        });
        lane.waiting.push_back((weight, work));
        let is_ready = !lane.busy && lane.waiting.len() == 1;
        self.origins.entry(origin).or_default().bytes += weight;
        if is_ready {
            self.make_ready(origin, session);
        }
    }

    fn make_ready(&mut self, key: u64, session: &str) {
        let origin = self.origins.entry(key).or_default();
        if origin.ready.is_empty() {
            self.turns.push_back(key);
        }
        origin.ready.push_back(session.to_owned());
    }

    /// The work whose turn it is, with its session, which then waits for [`Self::finish`].
    pub fn pop(&mut self) -> Option<(String, T)> {
        loop {
            let key = *self.turns.front()?;
            let origin = self.origins.get_mut(&key).expect("it has a turn");
            let session = origin.ready.front().expect("it has a turn").clone();
            let lane = self.sessions.get_mut(&session).expect("it is ready");
            let weight = lane.waiting.front().expect("it is ready").0;
            if origin.credit < weight {
                origin.credit += self.limits.quantum.max(1);
                self.turns.rotate_left(1);
                continue;
            }
            origin.credit -= weight;
            lane.busy = true;
            let (_, work) = lane.waiting.pop_front().expect("it is ready");
            origin.ready.pop_front();
            if origin.ready.is_empty() {
                // A turn is not saved up.
                origin.credit = 0;
                self.turns.pop_front();
            }
            self.on_taken(key, weight);
            return Some((session, work));
        }
    }

    /// The session's work that was popped is done; its next may be taken.
    pub fn finish(&mut self, session: &str) {
        let Some(lane) = self.sessions.get_mut(session) else {
            return;
        };
        lane.busy = false;
        let origin = lane.origin;
        match lane.waiting.is_empty() {
            true => drop(self.sessions.remove(session)),
            false => self.make_ready(origin, session),
        }
    }

    /// Takes out all waiting work of a session.
    pub fn remove_session(&mut self, session: &str) -> Vec<T> {
        let mut removed = Vec::new();
        while let Some(work) = self.remove_last(session) {
            removed.push(work);
        }
        removed
    }

    /// Takes out all waiting work that `is_wanted`.
    pub fn remove_where(&mut self, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let of = |(session, lane): (&String, &Lane<T>)| {
            let any = lane.waiting.iter().any(|(_, work)| is_wanted(work));
            any.then(|| session.clone())
        };
        // A session's work is all of one room.
        let sessions: Vec<String> = self.sessions.iter().filter_map(of).collect();
        sessions
            .iter()
            .flat_map(|session| self.remove_session(session))
            .collect()
    }

    /// Takes out the newest work of the origin that holds most, if that is more than `held`.
    fn evict(&mut self, held: usize) -> Option<T> {
        let of_all = self.origins.values().filter(|origin| !origin.ready.is_empty());
        let largest = of_all.max_by_key(|origin| origin.bytes)?;
        if largest.bytes <= held {
            return None;
        }
        let session = largest.ready.back()?.clone();
        self.remove_last(&session)
    }

    fn remove_last(&mut self, session: &str) -> Option<T> {
        let lane = self.sessions.get_mut(session)?;
        let (weight, work) = lane.waiting.pop_back()?;
        let key = lane.origin;
        if lane.waiting.is_empty() && !lane.busy {
            self.sessions.remove(session);
            let origin = self.origins.get_mut(&key).expect("its session was ready");
            origin.ready.retain(|ready| ready != session);
            if origin.ready.is_empty() {
                origin.credit = 0;
                self.turns.retain(|&turn| turn != key);
            }
        }
        self.on_taken(key, weight);
        Some(work)
    }

    fn on_taken(&mut self, key: u64, weight: usize) {
        self.bytes -= weight;
        if let Entry::Occupied(mut origin) = self.origins.entry(key) {
            origin.get_mut().bytes -= weight;
            if origin.get().bytes == 0 {
                origin.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KB: usize = 1024;

    fn queue(bytes: usize, bytes_per_origin: usize, quantum: usize) -> FairQueue<String> {
        FairQueue::new(QueueLimits {
            bytes,
            bytes_per_origin,
            quantum,
        })
    }

    /// Work is named by its session and a number.
    fn push(
        queue: &mut FairQueue<String>,
        origin: u64,
        session: &str,
        bytes: usize,
        number: usize,
    ) -> Vec<(String, Refused)> {
        queue.push(origin, session, bytes, format!("{session}{number}"))
    }

    /// All that can be taken, finished at once.
    fn drain(queue: &mut FairQueue<String>) -> Vec<String> {
        std::iter::from_fn(|| {
            let (session, work) = queue.pop()?;
            queue.finish(&session);
            Some(work)
        })
        .collect()
    }

    fn is_forgotten(queue: &FairQueue<String>) -> bool {
        queue.is_empty() && queue.sessions.is_empty() && queue.origins.is_empty() && queue.turns.is_empty()
    }

    #[test]
    fn an_honest_offer_waits_for_one_of_a_thousand_hostile_ones() {
        let mut queue = queue(1 << 30, 1 << 30, 128 * KB);
        for number in 0..1_000 {
            push(&mut queue, 1, &format!("hostile{number}-"), 128 * KB, 0);
        }
        push(&mut queue, 2, "honest", 13 * KB, 0);
        let order = drain(&mut queue);
        assert_eq!(order.iter().position(|work| work == "honest0"), Some(1));
        assert_eq!(order.len(), 1_001);
        assert!(is_forgotten(&queue));
    }

    #[test]
    fn a_crowd_of_small_offers_has_as_many_bytes_in_its_turn_as_a_large_one() {
        let mut queue = queue(1 << 30, 1 << 30, 128 * KB);
        for number in 0..100 {
            push(&mut queue, 1, &format!("large{number}-"), 128 * KB, 0);
            push(&mut queue, 2, &format!("small{number}-"), 12 * KB, 0);
        }
        let order = drain(&mut queue);
        let last_small = order.iter().rposition(|work| work.starts_with("small"));
        // 10 or 11 small ones for each large one.
        assert!(last_small < Some(112), "{last_small:?}");
    }

    #[test]
    fn a_session_keeps_its_order_even_when_its_address_changes() {
        let mut queue = queue(1 << 20, 1 << 20, 128 * KB);
        push(&mut queue, 1, "a", 1, 0);
        push(&mut queue, 2, "a", 1, 1);
        push(&mut queue, 3, "b", 1, 0);
        let first = queue.pop();
        assert_eq!(first, Some(("a".to_owned(), "a0".to_owned())));
        assert_eq!(queue.pop(), Some(("b".to_owned(), "b0".to_owned())));
        assert_eq!(queue.pop(), None, "a0 is not finished");
        queue.finish("b");
        queue.finish("a");
        assert_eq!(drain(&mut queue), ["a1"]);
        assert!(is_forgotten(&queue));
    }

    #[test]
    fn an_origin_has_a_bound_and_the_largest_makes_way() {
        let mut queue = queue(10 * KB, 8 * KB, 128 * KB);
        for number in 0..8 {
            push(&mut queue, 1, &format!("a{number}-"), KB, 0);
        }
        assert_eq!(push(&mut queue, 1, "a8-", 1, 0), [("a8-0".to_owned(), Refused::Origin)]);
        assert_eq!(push(&mut queue, 2, "b", 2 * KB, 0), []);
        let evicted = ["a7-0", "a6-0"].map(|work| (work.to_owned(), Refused::Full));
        assert_eq!(push(&mut queue, 3, "c", 2 * KB, 0), evicted);
        assert_eq!(
            push(&mut queue, 2, "d", 8 * KB, 0),
            [("d0".to_owned(), Refused::Origin)]
        );
        // Nobody has more than it would have itself.
        assert_eq!(push(&mut queue, 2, "d", 5 * KB, 0), [("d0".to_owned(), Refused::Full)]);
        assert_eq!(drain(&mut queue).len(), 8);
        assert!(is_forgotten(&queue));
    }

    #[test]
    fn work_of_a_session_or_a_room_is_taken_out() {
        let mut queue = queue(1 << 20, 1 << 20, 128 * KB);
        for (session, number) in [("a", 0), ("b", 0), ("a", 1), ("c", 0)] {
            push(&mut queue, 1, session, 1, number);
        }
        assert_eq!(queue.pop().map(|(_, work)| work).as_deref(), Some("a0"));
        assert_eq!(queue.remove_session("a"), ["a1"]);
        assert_eq!(queue.remove_where(|work| work == "b0"), ["b0"]);
        queue.finish("a");
        queue.finish("never there");
        assert_eq!(drain(&mut queue), ["c0"]);
        assert!(is_forgotten(&queue));
    }
}

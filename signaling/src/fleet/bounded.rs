//! A map that forgets: what is old, and where there is too much, anything.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::meetings::now;

pub struct Bounded<V> {
    capacity: usize,
    entries: Mutex<HashMap<String, (V, Instant)>>,
}

impl<V: Clone> Bounded<V> {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: Mutex::default(),
        }
    }

    /// With its age.
    pub fn get(&self, key: &str) -> Option<(V, Duration)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, at) = entries.get(key)?;
        Some((value.clone(), now().saturating_duration_since(*at)))
    }

    pub fn insert(&self, key: &str, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity && !entries.contains_key(key) {
            let some = entries.keys().next().cloned();
            some.map(|key| entries.remove(&key));
        }
        entries.insert(key.to_owned(), (value, now()));
    }

    pub fn remove(&self, key: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_no_more_than_it_may() {
        let map = Bounded::new(3);
        for number in 0..10 {
            map.insert(&number.to_string(), number);
        }
        assert_eq!(map.entries.lock().expect("no panic").len(), 3);
        assert_eq!(map.get("9").map(|(value, _)| value), Some(9));
        map.remove("9");
        assert_eq!(map.get("9"), None);
    }
}

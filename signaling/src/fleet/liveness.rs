//! Which instances live: those whose registry entries change. Only time in which the store was read counts, by our own
//! clock, so that neither a store that is away nor a clock that is wrong makes anybody dead. Sans-IO.
//!
//! That somebody is silent is a suspicion; he is dead once his entry was deleted at the very revision that was last seen,
//! which fails where he has said anything since.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tianqiao_protocol::control::InstanceId;

/// An entry is rewritten this often.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// The registry is read this often.
pub const LOOK: Duration = Duration::from_millis(500);
/// Who is silent for so long is asked at his internal port.
const DOUBT: Duration = Duration::from_millis(1_200);
/// Who is silent for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(3);
/// The same of one whose port refuses connections.
const SILENCE_REFUSED: Duration = Duration::from_millis(1_600);
/// After the store was away everybody has this long to find it again.
const GRACE: Duration = Duration::from_secs(5);
/// Looks that are farther apart have missed something.
const MAX_GAP: Duration = Duration::from_millis(2_500);

struct Seen {
    revision: u64,
    changed_at: Instant,
    /// Its port has refused a connection since.
    refused: bool,
}

pub struct Liveness {
    me: InstanceId,
    connected: bool,
    looked_at: Option<Instant>,
    /// Silence before does not count.
    counts_from: Option<Instant>,
    others: BTreeMap<InstanceId, Seen>,
}

impl Liveness {
    pub fn new(me: InstanceId) -> Self {
        Self {
            me,
            connected: true,
            looked_at: None,
            counts_from: None,
            others: BTreeMap::new(),
        }
    }

    pub fn set_connected(&mut self, now: Instant, connected: bool) {
        if std::mem::replace(&mut self.connected, connected) != connected {
            self.counts_from = Some(now + GRACE);
        }
    }

    /// The registry as it was read, each entry with its revision. Returns whether somebody has come or gone.
    pub fn look(&mut self, now: Instant, entries: &[(InstanceId, u64)]) -> bool {
        match self.looked_at {
            None => self.counts_from = Some(now),
            Some(before) if now.saturating_duration_since(before) > MAX_GAP => self.counts_from = Some(now + GRACE),
            Some(_) => {}
        }
        self.looked_at = Some(now);
        let before: Vec<InstanceId> = self.others.keys().cloned().collect();
        self.others.retain(|id, _| entries.iter().any(|(known, _)| known == id));
        for (id, revision) in entries.iter().filter(|(id, _)| *id != self.me) {
            let seen = self.others.entry(id.clone()).or_insert(Seen {
                revision: *revision,
                changed_at: now,
                refused: false,
            });
            // A lower one was read before and comes late.
            if *revision > seen.revision {
                *seen = Seen {
                    revision: *revision,
                    changed_at: now,
                    refused: false,
                };
            }
        }
        !before.iter().eq(self.others.keys())
    }

    /// The port of that instance refuses connections.
    pub fn on_refused(&mut self, id: &str) {
        if let Some(seen) = self.others.get_mut(id) {
            seen.refused = true;
        }
    }

    /// Those whose ports are worth a try.
    pub fn doubtful(&self, now: Instant) -> Vec<InstanceId> {
        let doubtful = self.others.iter().filter(|(_, seen)| {
            let silence = self.silence(now, seen);
            !seen.refused && silence.is_some_and(|silence| silence >= DOUBT)
        });
        doubtful.map(|(id, _)| id.clone()).collect()
    }

    /// Those who are to be declared dead by deleting their entries at that revision.
    pub fn silent(&self, now: Instant) -> Vec<(InstanceId, u64)> {
        let silent = self.others.iter().filter(|(_, seen)| {
            let limit = if seen.refused { SILENCE_REFUSED } else { SILENCE };
            self.silence(now, seen).is_some_and(|silence| silence >= limit)
        });
        silent.map(|(id, seen)| (id.clone(), seen.revision)).collect()
    }

    /// The entry of that instance is gone.
    pub fn on_gone(&mut self, id: &str) {
        self.others.remove(id);
    }

    /// This instance and all others that are registered, in order.
    pub fn members(&self) -> Vec<InstanceId> {
        let mut members: Vec<InstanceId> = self.others.keys().cloned().collect();
        members.push(self.me.clone());
        members.sort_unstable();
        members
    }

    /// `None`: it cannot be told now.
    fn silence(&self, now: Instant, seen: &Seen) -> Option<Duration> {
        let looks = self.looked_at?;
        if !self.connected || now.saturating_duration_since(looks) > MAX_GAP {
            return None;
        }
        let since = seen.changed_at.max(self.counts_from?);
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: &str = "b";

    struct Bench {
        liveness: Liveness,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let mut bench = Self {
                liveness: Liveness::new("a".into()),
                start: Instant::now(),
            };
            bench.look(0, 1);
            bench
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn look(&mut self, millis: u64, revision: u64) {
            let now = self.at(millis);
            self.liveness.look(now, &[("a".into(), 9), (B.into(), revision)]);
        }

        fn is_dead(&self, millis: u64) -> bool {
            !self.liveness.silent(self.at(millis)).is_empty()
        }
    }

    #[test]
    fn who_is_silent_is_dead_and_sooner_where_his_port_refuses() {
        for (refuses, alive, dead) in [(false, 2_900, 3_000), (true, 1_500, 1_600)] {
            let mut bench = Bench::new();
            if refuses {
                bench.liveness.on_refused(B);
            }
            for millis in (500..=alive).step_by(500) {
                bench.look(millis, 1);
            }
            assert!(!bench.is_dead(alive));
            assert!(bench.is_dead(dead));
            bench.look(dead, 2);
            assert!(!bench.is_dead(dead + 1_599), "it has said something");
        }
    }

    #[test]
    fn nobody_dies_of_a_store_that_is_away() {
        let mut bench = Bench::new();
        let back = 7 * 60_000;
        bench.liveness.set_connected(bench.at(500), false);
        assert!(!bench.is_dead(back - 1));
        bench.liveness.set_connected(bench.at(back), true);
        for millis in (back..back + 8_000).step_by(500) {
            bench.look(millis, 1);
            assert!(!bench.is_dead(millis));
        }
        assert!(bench.is_dead(back + 8_000), "he has not come back");
        // The same where only reads fail.
        let mut bench = Bench::new();
        assert!(!bench.is_dead(60_000));
        bench.look(60_000, 1);
        assert!(!bench.is_dead(60_000));
    }
}

//! Which nodes are there, from their reports and from beats that this process sends to itself through the bus. Only
//! time in which beats come counts: a bus that is gone, or hangs with the connection up, loses no node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::{NodeId, NodeReport};

use super::backoff;

/// How often a beat is sent.
pub(super) const BEAT: Duration = Duration::from_millis(250);
/// Longer without a beat, the bus carries nothing.
pub(super) const BEAT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Without a report for so long a node is gone: four reports.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// After an outage a node may stay away for as long as it backs off, with time to connect.
const RETURN_TIMEOUT: Duration = backoff::LONGEST.saturating_add(Duration::from_secs(5));
/// Then a node that is gone is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Further nodes are not taken note of.
const MAX_NODES: usize = 10_000;

#[derive(Default)]
pub(super) struct Presence {
    /// Grows only while beats come.
    clock: Duration,
    last_beat: Option<Instant>,
    nodes: BTreeMap<NodeId, Known>,
}

struct Known {
    report: NodeReport,
    heard: Duration,
    /// Was there at an outage and has not been heard since.
    is_awaited: bool,
}

impl Known {
    fn is_present(&self, clock: Duration) -> bool {
        let timeout = match self.is_awaited {
            true => RETURN_TIMEOUT,
            false => REPORT_TIMEOUT,
        };
        clock - self.heard < timeout
    }
}

impl Presence {
    /// A beat has come back.
    pub fn handle_beat(&mut self, now: Instant) {
        let since = self.last_beat.map(|last| now.saturating_duration_since(last));
        self.last_beat = Some(now);
        match since {
            Some(since) if since <= BEAT_TIMEOUT => self.clock += since,
            _ => self.await_nodes(),
        }
        let clock = self.clock;
        self.nodes
            .retain(|_, known| known.is_present(clock) || clock - known.heard < FORGET_AFTER);
    }

    /// The connection is gone, or no beats come: the next one ends an outage, however soon it comes. Nodes are awaited
    /// from now on, for requests may find their way before the first beat.
    pub fn on_outage(&mut self) {
        self.last_beat = None;
        self.await_nodes();
    }

    fn await_nodes(&mut self) {
        let clock = self.clock;
        for known in self.nodes.values_mut().filter(|known| known.is_present(clock)) {
            // Those that are awaited since an earlier outage were cut off anew as well.
            known.is_awaited = true;
            known.heard = clock;
        }
    }

    pub fn handle_report(&mut self, report: NodeReport) {
        let heard = self.clock;
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&report.node) {
            return;
        }
        let known = Known {
            heard,
            is_awaited: false,
            report,
        };
        self.nodes.insert(known.report.node.clone(), known);
    }

    pub fn nodes(&self) -> impl Iterator<Item = &NodeReport> {
        let present = self.nodes.values().filter(|known| known.is_present(self.clock));
        present.map(|known| &known.report)
    }

    pub fn is_present(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|known| known.is_present(self.clock))
    }

    /// Whether the node was there before an outage and may still come back from it.
    pub fn is_awaited(&self, node: &NodeId) -> bool {
        let known = self.nodes.get(node);
        known.is_some_and(|known| known.is_awaited && known.is_present(self.clock))
    }

    /// Whether beats come.
    pub fn is_beating(&self, now: Instant) -> bool {
        let last = self.last_beat;
        last.is_some_and(|last| now.saturating_duration_since(last) <= BEAT_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In virtual time: beats every 250 ms, reports every 500 ms of the nodes that are up, unless the bus is away.
    struct Fleet {
        presence: Presence,
        now: Instant,
        steps: u64,
        is_bus_up: bool,
        up: Vec<&'static str>,
    }

    impl Fleet {
        fn new(up: &[&'static str]) -> Self {
            let mut fleet = Self {
                presence: Presence::default(),
                now: Instant::now(),
                steps: 0,
                is_bus_up: true,
                up: up.to_vec(),
            };
            fleet.run(1.0);
            fleet
        }

        fn run(&mut self, seconds: f64) {
            for _ in 0..(seconds * 4.0) as u64 {
                self.now += BEAT;
                self.steps += 1;
                if !self.is_bus_up {
                    continue;
                }
                self.presence.handle_beat(self.now);
                for node in self.up.iter().filter(|_| self.steps.is_multiple_of(2)) {
                    self.presence.handle_report(NodeReport {
                        node: (*node).into(),
                        ..NodeReport::default()
                    });
                }
            }
        }

        fn nodes(&self) -> Vec<&str> {
            self.presence.nodes().map(|report| report.node.as_str()).collect()
        }
    }

    #[test]
    fn a_node_whose_reports_stop_is_gone_within_two_seconds() {
        let mut fleet = Fleet::new(&["a", "b"]);
        assert_eq!(fleet.nodes(), ["a", "b"]);
        fleet.up = vec!["a"];
        fleet.run(1.5);
        assert_eq!(fleet.nodes(), ["a", "b"]);
        fleet.run(0.75);
        assert_eq!(fleet.nodes(), ["a"]);
        fleet.up = vec!["a", "b"];
        fleet.run(0.5);
        assert_eq!(fleet.nodes(), ["a", "b"]);
    }

    #[test]
    fn no_node_is_lost_while_the_bus_is_away_however_it_is() {
        for hangs in [true, false] {
            let mut fleet = Fleet::new(&["a", "b"]);
            fleet.is_bus_up = false;
            if !hangs {
                fleet.presence.on_outage();
                assert!(fleet.presence.is_awaited(&"a".into()));
            }
            fleet.run(420.0);
            assert_eq!(fleet.nodes(), ["a", "b"]);
            assert!(!fleet.presence.is_beating(fleet.now));
            fleet.is_bus_up = true;
            // This process is back before the nodes are.
            let up = std::mem::take(&mut fleet.up);
            fleet.run(30.0);
            assert_eq!(fleet.nodes(), ["a", "b"]);
            assert!(fleet.presence.is_awaited(&"a".into()));
            fleet.up = up;
            fleet.run(1.0);
            assert!(!fleet.presence.is_awaited(&"a".into()));
            // Once it is back, a node is judged as before.
            fleet.up = vec!["a"];
            fleet.run(2.5);
            assert_eq!(fleet.nodes(), ["a"]);
        }
    }

    #[test]
    fn a_node_that_died_during_an_outage_is_gone_in_the_end() {
        let mut fleet = Fleet::new(&["a", "b"]);
        fleet.is_bus_up = false;
        fleet.run(10.0);
        fleet.up = vec!["a"];
        fleet.is_bus_up = true;
        fleet.run(34.0);
        assert_eq!(fleet.nodes(), ["a", "b"]);
        fleet.run(2.0);
        assert_eq!(fleet.nodes(), ["a"]);
    }

    #[test]
    fn a_node_that_was_gone_before_an_outage_is_not_awaited() {
        let mut fleet = Fleet::new(&["a", "b"]);
        fleet.up = vec!["a"];
        fleet.run(5.0);
        fleet.is_bus_up = false;
        fleet.run(10.0);
        fleet.is_bus_up = true;
        fleet.run(1.0);
        assert_eq!(fleet.nodes(), ["a"]);
        fleet.run(700.0);
        assert_eq!(fleet.presence.nodes.len(), 1);
    }

    #[test]
    fn not_more_nodes_are_kept_than_a_fleet_can_have() {
        let mut fleet = Fleet::new(&[]);
        for node in 0..MAX_NODES + 100 {
            fleet.presence.handle_report(NodeReport {
                node: node.to_string(),
                ..NodeReport::default()
            });
        }
        assert_eq!(fleet.presence.nodes().count(), MAX_NODES);
    }
}

//! Whether the events of a node to an instance came all and in order.

use std::collections::HashMap;

use crate::NodeId;

/// Further nodes are taken as ones of which something is lost.
const MAX_NODES: usize = 10_000;

#[derive(Default)]
pub(super) struct Sequences {
    by_node: HashMap<NodeId, Last>,
}

#[derive(Clone, Copy)]
struct Last {
    stream: u64,
    seq: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Next,
    /// Events before it are lost.
    AfterGap,
    /// Had before, or given up for lost.
    Late,
}

impl Sequences {
    pub fn handle_event(&mut self, node: &NodeId, stream: u64, seq: u64) -> Arrival {
        self.advance(node, stream, seq, seq.saturating_sub(1))
    }

    /// The node has sent events up to `seq` before this.
    pub fn handle_mark(&mut self, node: &NodeId, stream: u64, seq: u64) -> Arrival {
        self.advance(node, stream, seq, seq)
    }

    /// To `seq` of the stream, where events up to `had` must be here.
    fn advance(&mut self, node: &NodeId, stream: u64, seq: u64, had: u64) -> Arrival {
        let arrived = Last { stream, seq };
        let Some(last) = self.by_node.get_mut(node) else {
            if self.by_node.len() < MAX_NODES {
                self.by_node.insert(node.clone(), arrived);
            }
            return match had {
                0 => Arrival::Next,
                _ => Arrival::AfterGap,
            };
        };
        if last.stream != stream {
            // A node that was started anew: what it last said before is lost, with its sessions.
            *last = arrived;
            return Arrival::AfterGap;
        }
        if seq < last.seq || (seq == last.seq && had < seq) {
            return Arrival::Late;
        }
        let is_whole = had <= last.seq;
        last.seq = seq;
        match is_whole {
            true => Arrival::Next,
            false => Arrival::AfterGap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arrival::*;
    use super::*;

    enum Step {
        Event(u64, u64),
        Mark(u64, u64),
    }
    use Step::*;

    #[test]
    fn gaps_are_found_by_what_follows_them() {
        let table: &[(&str, &[(Step, Arrival)])] = &[
            (
                "in order",
                &[(Event(1, 1), Next), (Event(1, 2), Next), (Mark(1, 2), Next)],
            ),
            ("the first is lost", &[(Event(1, 2), AfterGap), (Event(1, 3), Next)]),
            (
                "one between",
                &[(Event(1, 1), Next), (Event(1, 3), AfterGap), (Event(1, 4), Next)],
            ),
            (
                "the last",
                &[
                    (Event(1, 1), Next),
                    (Mark(1, 2), AfterGap),
                    (Mark(1, 2), Next),
                    (Event(1, 3), Next),
                ],
            ),
            ("all", &[(Mark(1, 2), AfterGap), (Event(1, 3), Next)]),
            (
                "twice",
                &[(Event(1, 1), Next), (Event(1, 1), Late), (Event(1, 2), Next)],
            ),
            (
                "late",
                &[
                    (Event(1, 1), Next),
                    (Event(1, 3), AfterGap),
                    (Event(1, 2), Late),
                    (Event(1, 4), Next),
                ],
            ),
            (
                "an old mark",
                &[
                    (Event(1, 1), Next),
                    (Event(1, 2), Next),
                    (Mark(1, 1), Late),
                    (Event(1, 3), Next),
                ],
            ),
            (
                "a new stream",
                &[(Event(1, 1), Next), (Event(2, 1), AfterGap), (Event(2, 2), Next)],
            ),
            (
                "an empty stream",
                &[(Mark(1, 0), Next), (Mark(1, 0), Next), (Event(1, 1), Next)],
            ),
        ];
        for (case, steps) in table {
            let mut sequences = Sequences::default();
            for (at, (step, arrival)) in steps.iter().enumerate() {
                let node = "n".into();
                let got = match *step {
                    Event(stream, seq) => sequences.handle_event(&node, stream, seq),
                    Mark(stream, seq) => sequences.handle_mark(&node, stream, seq),
                };
                assert_eq!(got, *arrival, "{case}, step {at}");
            }
        }
    }

    #[test]
    fn nodes_have_sequences_of_their_own() {
        let mut sequences = Sequences::default();
        for node in ["a", "b"] {
            assert_eq!(sequences.handle_event(&node.into(), 1, 1), Next);
        }
        assert_eq!(sequences.handle_event(&"a".into(), 1, 2), Next);
        assert_eq!(sequences.handle_event(&"b".into(), 1, 3), AfterGap);
    }
}

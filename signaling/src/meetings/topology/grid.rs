//! Which nodes of a room are linked, and the tree by which each one's media reaches the others.
//!
//! The nodes stand in a grid of as few dimensions as give each at most so many neighbours as it may have links; nodes in one
//! line of the grid are linked. With few nodes it is one line: all are linked with all. A tree changes one coordinate per
//! hop, so no path is longer than there are dimensions.

use tianqiao_protocol::fleet::NodeId;

pub struct Grid {
    fan_out: usize,
    /// A node keeps its place; the last one takes that of a node that goes.
    places: Vec<NodeId>,
    /// Nodes in a line.
    base: usize,
}

impl Grid {
    pub fn new(fan_out: usize) -> Self {
        Self {
            fan_out: fan_out.max(2),
            places: Vec::new(),
            base: 2,
        }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether other nodes are in it now.
    pub fn update<'a>(&mut self, stays: impl Fn(&NodeId) -> bool, all: impl Iterator<Item = &'a NodeId>) -> bool {
        let before = self.places.clone();
        let mut place = 0;
        while let Some(node) = self.places.get(place) {
            if stays(node) {
                place += 1;
            } else {
                self.places.swap_remove(place);
            }
        }
        for node in all {
            if !self.places.contains(node) {
                self.places.push(node.clone());
            }
        }
        self.base = base(self.places.len(), self.fan_out);
        self.places != before
    }

    /// All linked pairs, the lesser name first.
    pub fn pairs(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        let pairs = (0..self.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs.filter(|(a, b)| self.distance(*a, *b) == 1).map(|(a, b)| {
            let (a, b) = (&self.places[a], &self.places[b]);
            if a < b {
                (a.clone(), b.clone())
            } else {
                (b.clone(), a.clone())
            }
        })
    }

    /// From which neighbour `node` has what comes from `origin`.
    pub fn parent(&self, origin: &str, node: &str) -> Option<&NodeId> {
        let origin = self.places.iter().position(|place| place == origin)?;
        let node = self.places.iter().position(|place| place == node)?;
        self.places.get(self.step(origin, node)?)
    }

    /// One coordinate of `node` is made that of `origin`. A coordinate that gets smaller never leads out of the grid, whose
    /// last lines may be short; where all get greater, the way stays below `origin`.
    fn step(&self, origin: usize, node: usize) -> Option<usize> {
        let mut greater = None;
        let mut weight = 1;
        while weight <= origin.max(node) {
            let (from, to) = (node / weight % self.base, origin / weight % self.base);
            if to < from {
                return Some(node - (from - to) * weight);
            }
            if to > from {
                greater = greater.or(Some(node + (to - from) * weight));
            }
            weight *= self.base;
        }
        greater
    }

    fn distance(&self, a: usize, b: usize) -> usize {
        let (mut weight, mut distance) = (1, 0);
        while weight <= a.max(b) {
            distance += usize::from(a / weight % self.base != b / weight % self.base);
            weight *= self.base;
        }
        distance
    }
}

/// The length of a line in the grid of fewest dimensions that holds so many nodes.
fn base(nodes: usize, fan_out: usize) -> usize {
    let mut dimensions = 1;
    loop {
        let base = fan_out / dimensions + 1;
        if base <= 2 || base.checked_pow(dimensions as u32).is_none_or(|most| most >= nodes) {
            return base.max(2);
        }
        dimensions += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(nodes: usize, fan_out: usize) -> Grid {
        let names: Vec<NodeId> = (0..nodes).map(|number| format!("n{number:03}")).collect();
        let mut grid = Grid::new(fan_out);
        grid.update(|_| true, names.iter());
        grid
    }

    #[test]
    fn few_nodes_are_all_linked_with_all() {
        for nodes in 1..=9 {
            let grid = grid(nodes, 8);
            assert_eq!(grid.pairs().count(), nodes * (nodes - 1) / 2);
            for (a, b) in grid.pairs() {
                assert_eq!(grid.parent(&a, &b), Some(&a));
            }
        }
    }

    #[test]
    fn no_node_has_more_links_and_no_tree_is_deeper_than_it_may() {
        for nodes in 1..=120 {
            let grid = grid(nodes, 8);
            let pairs: std::collections::BTreeSet<_> = grid.pairs().collect();
            for node in &grid.places {
                let links = pairs.iter().filter(|(a, b)| a == node || b == node).count();
                assert!(links <= 8, "{links} links of {nodes} nodes");
                for origin in grid.places.iter().filter(|origin| *origin != node) {
                    let (mut at, mut hops) = (node, 0);
                    while at != origin {
                        let parent = grid.parent(origin, at).expect("there is a way");
                        let pair = if at < parent { (at, parent) } else { (parent, at) };
                        assert!(pairs.contains(&(pair.0.clone(), pair.1.clone())), "{pair:?}");
                        at = parent;
                        hops += 1;
                        assert!(hops <= 8, "the way of {origin} to {node} does not end");
                    }
                    let most = match nodes {
                        0..=9 => 1,
                        10..=25 => 2,
                        26..=27 => 3,
                        28..=81 => 4,
                        _ => 8,
                    };
                    assert!(hops <= most, "{hops} hops among {nodes}");
                }
            }
        }
    }

    #[test]
    fn a_node_that_goes_moves_one_other_at_most() {
        let mut grid = grid(20, 8);
        let before = grid.places.clone();
        assert!(grid.update(|node| node != "n005", std::iter::empty()));
        let moved = before.iter().zip(&grid.places).filter(|(a, b)| a != b).count();
        assert_eq!((grid.len(), moved), (19, 1));
        assert!(!grid.update(|_| true, std::iter::empty()));
    }
}

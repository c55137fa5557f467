//! The links of a room: their names, keys and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::Rng;
use tianqiao_protocol::control::{LinkId, RelayEndpoint, RelayKeys, RelayLink};
use tianqiao_protocol::fleet::NodeId;

/// Of AES-128-GCM: the key and the salt.
const KEY_BYTES: usize = 16 + 12;
/// Addresses of one end.
const MAX_ADDRESSES: usize = 16;

/// The lesser name first.
type Pair = (NodeId, NodeId);

struct Link {
    id: LinkId,
    generation: u8,
    keyed_at: Instant,
    /// What the first node of the pair sends with, and the second.
    keys: [String; 2],
    /// Where the first receives, and the second.
    endpoints: [Vec<SocketAddr>; 2],
}

#[derive(Default)]
pub struct Links {
    by_pair: BTreeMap<Pair, Link>,
}

impl Links {
    /// Makes these the links there are; those that stay keep name and keys.
    pub fn set(&mut self, now: Instant, rng: &mut impl Rng, pairs: BTreeSet<Pair>) {
        self.by_pair.retain(|pair, _| pairs.contains(pair));
        for pair in pairs {
            self.by_pair.entry(pair).or_insert_with(|| Link {
                id: rng.random(),
                generation: 0,
                keyed_at: now,
                keys: [key(rng), key(rng)],
                endpoints: Default::default(),
            });
        }
    }

    pub fn id(&self, a: &str, b: &str) -> Option<LinkId> {
        self.by_pair.get(&pair(a, b)).map(|link| link.id)
    }

    /// A node's links as it is told of them.
    pub fn of(&self, node: &str) -> Vec<RelayLink> {
        let own = self.by_pair.iter().filter_map(|(pair, link)| {
            let side = side(pair, node)?;
            let [first, second] = &link.keys;
            let (send, receive) = if side == 0 { (first, second) } else { (second, first) };
            Some(RelayLink {
                id: link.id,
                peer: if side == 0 { pair.1.clone() } else { pair.0.clone() },
                keys: RelayKeys {
                    generation: link.generation,
                    send: send.clone(),
                    receive: receive.clone(),
                },
                endpoints: link.endpoints[1 - side].clone(),
            })
        });
        own.collect()
    }

    /// Where a node receives; names the peers to whom it is news.
    pub fn set_endpoints(&mut self, node: &str, endpoints: &[RelayEndpoint]) -> Vec<NodeId> {
        let mut news = Vec::new();
        for (pair, link) in &mut self.by_pair {
            let Some(side) = side(pair, node) else {
                continue;
            };
            let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.link == link.id) else {
                continue;
            };
            let addresses = &endpoint.addresses[..endpoint.addresses.len().min(MAX_ADDRESSES)];
            if link.endpoints[side] != addresses {
                link.endpoints[side] = addresses.to_vec();
                news.push(if side == 0 { pair.1.clone() } else { pair.0.clone() });
            }
        }
        news
    }

    pub fn forget_endpoints(&mut self, node: &str) {
        for (pair, link) in &mut self.by_pair {
            if let Some(side) = side(pair, node) {
                link.endpoints[side].clear();
            }
        }
    }

    pub fn rotates_at(&self, every: Duration) -> Option<Instant> {
        self.by_pair.values().map(|link| link.keyed_at + every).min()
    }

    /// Gives new keys to the links that have had theirs for that time, and names their nodes.
    pub fn rotate(&mut self, now: Instant, rng: &mut impl Rng, every: Duration) -> BTreeSet<NodeId> {
        let mut news = BTreeSet::new();
        for ((a, b), link) in &mut self.by_pair {
            if now.saturating_duration_since(link.keyed_at) >= every {
                link.generation = link.generation.wrapping_add(1);
                link.keyed_at = now;
                link.keys = [key(rng), key(rng)];
                news.extend([a.clone(), b.clone()]);
            }
        }
        news
    }
}

fn pair(a: &str, b: &str) -> Pair {
    if a < b {
        (a.to_owned(), b.to_owned())
    } else {
        (b.to_owned(), a.to_owned())
    }
}

fn side(pair: &Pair, node: &str) -> Option<usize> {
    if pair.0 == node {
        Some(0)
    } else if pair.1 == node {
        Some(1)
    } else {
        None
    }
}

fn key(rng: &mut impl Rng) -> String {
    let mut bytes = [0; KEY_BYTES];
    rng.fill(&mut bytes[..]);
    BASE64.encode(bytes)
}

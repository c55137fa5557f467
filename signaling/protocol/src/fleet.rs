//! What nodes tell of themselves, for placement, operators and scaling.

use serde::{Deserialize, Serialize};

/// The operator's name of an SFU node, or one made up.
pub type NodeId = String;

/// Sent about twice a second over a core subject, never stored. Unknown fields are passed over: versions may differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    pub node: NodeId,
    /// Random; a node that was started again is another.
    pub incarnation: u64,
    pub region: String,
    pub version: String,
    pub draining: bool,
    pub capacity: NodeCapacity,
    pub load: NodeLoad,
    /// Address of its HTTP port for probes, metrics and draining.
    pub http: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeCapacity {
    pub sessions: u32,
    /// Bits per second out; 0: not limited.
    pub egress: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeLoad {
    pub sessions: u32,
    pub rooms: u32,
    pub downtracks: u32,
    /// Bits per second of media.
    pub egress: u64,
    pub ingress: u64,
    /// Sent in a second.
    pub packets: u64,
    /// Of its time in which the busiest worker was at work, in thousandths.
    pub busy: u16,
    /// Links to other nodes.
    pub links: u32,
}

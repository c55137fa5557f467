//! The control bus of a fleet: requests of signaling to a named SFU node, events of nodes to the signaling instance that
//! owns the room, load reports of nodes to all, and a key-value store with revisions for what must be agreed on.
//! [`in_process`] carries it inside one process, [`nats`] between processes.

pub mod in_process;
pub mod kv;
pub mod nats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vital;

use async_trait::async_trait;
use thiserror::Error;
use tianqiao_protocol::control::{InstanceId, Owner, SfuError, SfuEvent, SfuReply, SfuRequest};
pub use tianqiao_protocol::fleet::{NodeId, NodeReport};
use tokio::sync::{mpsc, oneshot, watch};

pub use kv::{Entry, Kv, KvError};

/// Requests that wait at one node before [`BusError::Overloaded`].
pub const MAX_WAITING_CALLS: usize = 4096;
/// Load reports that wait for a slow reader; the oldest are of no use.
pub const MAX_WAITING_REPORTS: usize = 1024;

#[derive(Debug, Error)]
pub enum BusError {
    #[error("no such node on the bus: {0}")]
    NoNode(NodeId),
    #[error("the node has too many requests waiting")]
    Overloaded,
    #[error("the node went away before it answered")]
    Gone,
    /// The request may have been carried out or not.
    #[error("the bus is away")]
    Away,
    #[error(transparent)]
    Refused(#[from] SfuError),
}

/// A request as it arrives at a node; dropped unanswered, the caller gets [`BusError::Gone`].
pub struct Call {
    pub owner: Owner,
    pub request: SfuRequest,
    pub reply: oneshot::Sender<Result<SfuReply, SfuError>>,
}

/// An event with the node that it comes from.
#[derive(Clone, Debug)]
pub struct NodeEvent {
    pub node: NodeId,
    pub event: SfuEvent,
}

/// All but [`Bus::request`] and [`Bus::kv`] return at once, also while the bus is away.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Signaling's side: asks a node and waits for its reply. Where the answer fails to come in time, or the bus is away,
    /// the request may have been carried out all the same.
    async fn request(&self, node: &NodeId, owner: &Owner, request: SfuRequest) -> Result<SfuReply, BusError>;

    /// Signaling's side: what nodes tell this instance from now on, in order per node. One consumer.
    fn events(&self, instance: &InstanceId) -> mpsc::UnboundedReceiver<NodeEvent>;

    /// Signaling's side: nodes some of whose events to this instance are lost, once for each time that this is found. What
    /// is so now such a node tells by `Adopt` of each room. Ends at once where no event can be lost. One consumer.
    fn missed(&self, _instance: &InstanceId) -> mpsc::UnboundedReceiver<NodeId> {
        mpsc::unbounded_channel().1
    }

    /// Signaling's side: the load reports of all nodes, from the latest that is known of each on.
    fn reports(&self) -> mpsc::Receiver<NodeReport>;

    /// A node's side: registers under `node` and receives its calls.
    fn serve(&self, node: NodeId) -> mpsc::Receiver<Call>;

    /// A node's side: tells an instance. Never blocks; lost where the instance is gone or the bus is away.
    fn publish(&self, to: &InstanceId, event: NodeEvent);

    /// A node's side: tells all instances. Never blocks; lost while the bus is away.
    fn report(&self, report: NodeReport);

    /// The nodes that are there now, as far as is known. While the bus is away nodes are neither found nor lost.
    fn nodes(&self) -> Vec<NodeId>;

    /// What instances and nodes agree on.
    fn kv(&self) -> &dyn Kv;

    /// Whether the bus carries anything now.
    fn connected(&self) -> watch::Receiver<bool>;
}

//! The control bus between signaling and SFU nodes: request/reply to a named node, and events
//! from nodes to signaling. [`in_process`] carries both inside one process.

pub mod in_process;
pub mod vital;

use async_trait::async_trait;
use thiserror::Error;
use tianqiao_protocol::control::{SfuError, SfuEvent, SfuReply, SfuRequest};
use tokio::sync::{mpsc, oneshot};

pub type NodeId = String;

/// Requests that wait at one node before [`BusError::Overloaded`].
pub const MAX_WAITING_CALLS: usize = 4096;

#[derive(Debug, Error)]
pub enum BusError {
    #[error("no such node on the bus: {0}")]
    NoNode(NodeId),
    #[error("the node has too many requests waiting")]
    Overloaded,
    #[error("the node went away before it answered")]
    Gone,
    #[error(transparent)]
    Refused(#[from] SfuError),
}

/// A request as it arrives at a node; dropped unanswered, the caller gets [`BusError::Gone`].
pub struct Call {
    pub request: SfuRequest,
    pub reply: oneshot::Sender<Result<SfuReply, SfuError>>,
}

/// An event with the node that it comes from.
#[derive(Clone, Debug)]
pub struct NodeEvent {
    pub node: NodeId,
    pub event: SfuEvent,
}

#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Signaling's side: asks a node and waits for its reply.
    async fn request(&self, node: &NodeId, request: SfuRequest) -> Result<SfuReply, BusError>;

    /// Signaling's side: the events of all nodes from now on, in order per node. One consumer.
    fn events(&self) -> mpsc::UnboundedReceiver<NodeEvent>;

    /// A node's side: registers under `node` and receives its calls.
    fn serve(&self, node: NodeId) -> mpsc::Receiver<Call>;

    /// A node's side: publishes an event. Never blocks.
    fn publish(&self, event: NodeEvent);

    /// The nodes that are registered now.
    fn nodes(&self) -> Vec<NodeId>;
}

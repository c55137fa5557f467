//! The bus of a single process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tianqiao_protocol::control::{SfuReply, SfuRequest};
use tokio::sync::{mpsc, oneshot};

use crate::{Bus, BusError, Call, MAX_WAITING_CALLS, NodeEvent, NodeId};

#[derive(Default)]
pub struct InProcessBus {
    nodes: Mutex<BTreeMap<NodeId, mpsc::Sender<Call>>>,
    events: Mutex<Option<mpsc::UnboundedSender<NodeEvent>>>,
}

impl InProcessBus {
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Bus for InProcessBus {
    async fn request(&self, node: &NodeId, request: SfuRequest) -> Result<SfuReply, BusError> {
        let calls = self
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)
            .cloned();
        let calls = calls.ok_or_else(|| BusError::NoNode(node.clone()))?;
        let (reply, answer) = oneshot::channel();
        calls.try_send(Call { request, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => BusError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => BusError::Gone,
        })?;
        Ok(answer.await.map_err(|_| BusError::Gone)??)
    }

    fn events(&self) -> mpsc::UnboundedReceiver<NodeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    fn serve(&self, node: NodeId) -> mpsc::Receiver<Call> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_CALLS);
        self.nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node, sender);
        receiver
    }

    fn publish(&self, event: NodeEvent) {
        if let Some(events) = &*self.events.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = events.send(event);
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|_, calls| !calls.is_closed());
        nodes.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tianqiao_protocol::control::SfuEvent;

    #[tokio::test]
    async fn a_request_reaches_its_node_and_comes_back() {
        let bus = InProcessBus::new();
        let mut calls = bus.serve("n1".into());
        let node = tokio::spawn(async move {
            let call = calls.recv().await.expect("a call");
            call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
        });
        let reply = bus
            .request(&"n1".into(), SfuRequest::Close { session: "s".into() })
            .await;
        assert!(matches!(reply, Ok(SfuReply::Done)));
        node.await.expect("the node ran");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_an_error() {
        let bus = InProcessBus::new();
        let request = SfuRequest::Close { session: "s".into() };
        assert!(matches!(
            bus.request(&"n1".into(), request.clone()).await,
            Err(BusError::NoNode(_))
        ));
        drop(bus.serve("n1".into()));
        assert!(matches!(bus.request(&"n1".into(), request).await, Err(BusError::Gone)));
        assert!(bus.nodes().is_empty());
    }

    #[tokio::test]
    async fn events_arrive_in_order() {
        let bus = InProcessBus::new();
        let mut events = bus.events();
        for session in ["a", "b"] {
            let event = SfuEvent::Connected {
                session: session.into(),
            };
            bus.publish(NodeEvent {
                node: "n1".into(),
                event,
            });
        }
        for session in ["a", "b"] {
            let event = events.recv().await.expect("an event").event;
            assert_eq!(
                event,
                SfuEvent::Connected {
                    session: session.into()
                }
            );
        }
    }
}

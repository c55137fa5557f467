//! A node's side of requests.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use async_nats::{Message, Subject, Subscriber};
use futures_util::StreamExt;
use tianqiao_protocol::control::{SfuError, SfuReply};
use tianqiao_protocol::error::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::link::Link;
use super::wire::{self, Envelope, EnvelopeHead, Outcome, Reply};
use crate::Call;

/// Requests that are known again when they come twice: of the last minutes even in a storm.
const MAX_RECENT: usize = 16 * 1024;

/// Receives requests for a node until nobody takes them.
pub(super) async fn run(link: Arc<Link>, subject: String, subscriber: Option<Subscriber>, calls: mpsc::Sender<Call>) {
    let subscriber = match subscriber {
        Some(subscriber) => Some(subscriber),
        None => link.subscribe(subject).await,
    };
    let Some(mut requests) = subscriber else { return };
    let mut recent = Recent::default();
    loop {
        let message = tokio::select! {
            message = requests.next() => message,
            // Then callers are to hear at once that there is no such node.
            () = calls.closed() => break,
        };
        let Some(message) = message else { break };
        handle_request(&link, message, &mut recent, &calls);
    }
    let _ = requests.unsubscribe().await;
}

fn handle_request(link: &Arc<Link>, message: Message, recent: &mut Recent, calls: &mpsc::Sender<Call>) {
    let Some(to) = message.reply else {
        return link.counters.not_understood.count();
    };
    let envelope: Envelope = match wire::decode(&message.payload) {
        Ok(envelope) => envelope,
        Err(error) => {
            link.counters.not_understood.count();
            // Of a later version, or nonsense, which gets no answer.
            if let Ok(head) = wire::decode::<EnvelopeHead>(&message.payload) {
                let message = format!("this node does not understand the request: {error}");
                let code = ErrorCode::BadMessage;
                reply(
                    link.clone(),
                    to,
                    head.id,
                    Outcome::Error(SfuError { code, message }.into()),
                );
            }
            return;
        }
    };
    let id = envelope.id;
    if !recent.insert(id) {
        return link.counters.requests_repeated.count();
    }
    let (sender, answer) = oneshot::channel();
    let call = Call {
        owner: envelope.owner,
        request: envelope.request,
        reply: sender,
    };
    match calls.try_send(call) {
        Ok(()) => {
            let link = link.clone();
            tokio::spawn(async move { reply(link, to, id, outcome(answer.await)) });
        }
        Err(mpsc::error::TrySendError::Full(_)) => reply(link.clone(), to, id, Outcome::Overloaded(true)),
        Err(mpsc::error::TrySendError::Closed(_)) => reply(link.clone(), to, id, Outcome::Gone(true)),
    }
}

fn outcome(answer: Result<Result<SfuReply, SfuError>, oneshot::error::RecvError>) -> Outcome {
    match answer {
        Ok(Ok(reply)) => Outcome::Reply(reply),
        Ok(Err(error)) => Outcome::Error(error.into()),
        Err(_) => Outcome::Gone(true),
    }
}

fn reply(link: Arc<Link>, to: Subject, id: u64, outcome: Outcome) {
    tokio::spawn(async move {
        let v = wire::VERSION;
        let encoded = wire::encode(&Reply { v, id, outcome });
        let limit = link.client.max_payload();
        let payload = match encoded {
            Ok(payload) if payload.len() <= limit => payload,
            other => {
                let message = match other {
                    Ok(payload) => format!("the answer of {} bytes is too large for the bus", payload.len()),
                    Err(error) => format!("the answer cannot be written: {error}"),
                };
                let code = ErrorCode::TooLarge;
                let outcome = Outcome::Error(SfuError { code, message }.into());
                wire::encode(&Reply { v, id, outcome }).unwrap_or_default()
            }
        };
        if let Err(error) = link.client.publish(to, payload).await {
            tracing::warn!(%error, "cannot answer a request");
        }
    });
}

/// The ids of the last requests.
#[derive(Default)]
struct Recent {
    ids: HashSet<u64>,
    in_order: VecDeque<u64>,
}

impl Recent {
    /// Whether it is new.
    fn insert(&mut self, id: u64) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.in_order.push_back(id);
        if self.in_order.len() > MAX_RECENT
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_requests_are_remembered() {
        let mut recent = Recent::default();
        assert!(recent.insert(0));
        assert!(!recent.insert(0));
        for id in 1..=MAX_RECENT as u64 {
            assert!(recent.insert(id));
        }
        assert_eq!(recent.ids.len(), MAX_RECENT);
        assert!(recent.insert(0), "forgotten");
        assert!(!recent.insert(MAX_RECENT as u64));
    }
}

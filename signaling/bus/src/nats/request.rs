//! Signaling's side of requests.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Message, Request, RequestError};
use tianqiao_protocol::control::{Owner, SfuError, SfuReply, SfuRequest};
use tianqiao_protocol::error::ErrorCode;

use super::link::{Link, lock};
use super::presence::BEAT;
use super::wire::{self, Envelope, Outcome, Reply};
use crate::{BusError, NodeId};

pub(super) async fn request(
    link: &Link,
    node: &NodeId,
    owner: &Owner,
    request: SfuRequest,
    timeout: Duration,
) -> Result<SfuReply, BusError> {
    if !link.is_up() {
        return Err(BusError::Away);
    }
    let id = rand::random();
    let owner = owner.clone();
    let v = wire::VERSION;
    let payload =
        wire::encode(&Envelope { v, id, owner, request }).map_err(|error| refused(ErrorCode::Internal, error))?;
    let limit = link.client.max_payload();
    if payload.len() > limit {
        let message = format!("a request of {} bytes is too large for the bus", payload.len());
        return Err(refused(ErrorCode::TooLarge, message));
    }
    let request = Request::new().payload(payload).timeout(None);
    let answer = link.client.send_request(link.subject("node", node), request);
    let mut is_up = link.is_up.subscribe();
    tokio::select! {
        biased;
        answer = answer => answered(link, node, id, answer),
        // The answer would go to a connection that is no more.
        _ = is_up.wait_for(|is_up| !is_up), if *is_up.borrow() => Err(BusError::Away),
        () = lost(link, node) => Err(BusError::Gone),
        () = tokio::time::sleep(timeout) => match *link.carries.borrow() {
            true => Err(BusError::Gone),
            false => Err(BusError::Away),
        },
    }
}

/// Ends when a node is gone that was there; for ever where nothing is known of it.
async fn lost(link: &Link, node: &NodeId) {
    let is_present = || lock(&link.presence).is_present(node);
    if !is_present() {
        return std::future::pending().await;
    }
    while is_present() {
        tokio::time::sleep(BEAT).await;
    }
}

fn answered(link: &Link, node: &NodeId, id: u64, answer: Result<Message, RequestError>) -> Result<SfuReply, BusError> {
    let message = answer.map_err(|error| match error.kind() {
        // After an outage nodes come back one after the other.
        RequestErrorKind::NoResponders if lock(&link.presence).is_awaited(node) => BusError::Away,
        RequestErrorKind::NoResponders => BusError::NoNode(node.clone()),
        RequestErrorKind::MaxPayloadExceeded => refused(ErrorCode::TooLarge, error),
        _ => BusError::Away,
    })?;
    let reply: Reply = wire::decode(&message.payload).map_err(|error| {
        link.counters.not_understood.count();
        refused(ErrorCode::Internal, error)
    })?;
    if reply.id != id {
        link.counters.not_understood.count();
        return Err(refused(ErrorCode::Internal, "an answer to another request"));
    }
    match reply.outcome {
        Outcome::Reply(reply) => Ok(reply),
        Outcome::Error(refusal) => Err(BusError::Refused(refusal.into())),
        Outcome::Gone(_) => Err(BusError::Gone),
        Outcome::Overloaded(_) => Err(BusError::Overloaded),
    }
}

fn refused(code: ErrorCode, message: impl ToString) -> BusError {
    BusError::Refused(SfuError {
        code,
        message: message.to_string(),
    })
}

//! Events of nodes to instances: numbered, so that an instance finds out what it has lost. How far a stream is is said
//! again and again, for the last event can be lost as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::StreamExt;
use serde::de::IgnoredAny;
use tianqiao_protocol::control::{InstanceId, SfuEvent};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::link::{Link, lock};
use super::sequence::{Arrival, Sequences};
use super::wire::{self, EventMessage};
use crate::{NodeEvent, NodeId};

/// Events that wait for the connection.
const MAX_WAITING: usize = 8192;
/// How often it is said how far streams are.
const MARK_EVERY: Duration = Duration::from_secs(2);
/// A stream without events for so long is given up: its instance is gone. One that is not starts anew, after a gap.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Instances, times nodes of this process.
const MAX_STREAMS: usize = 4096;

struct Waiting {
    to: InstanceId,
    event: EventMessage,
}

/// Numbers events and hands them on in that order.
pub(super) struct Publisher {
    streams: Mutex<HashMap<(NodeId, InstanceId), Stream>>,
    waiting: mpsc::Sender<Waiting>,
}

struct Stream {
    id: u64,
    seq: u64,
    last_event: Instant,
}

impl Publisher {
    /// With what [`run_publisher`] is to send.
    pub fn new() -> (Self, Outbox) {
        let (waiting, outbox) = mpsc::channel(MAX_WAITING);
        let streams = Mutex::default();
        (Self { streams, waiting }, Outbox(outbox))
    }

    pub fn publish(&self, link: &Link, to: &InstanceId, event: NodeEvent) {
        let NodeEvent { node, event } = event;
        let mut streams = lock(&self.streams);
        let key = (node, to.clone());
        if streams.len() >= MAX_STREAMS && !streams.contains_key(&key) {
            return link.counters.events_dropped.count();
        }
        let now = Instant::now();
        let stream = streams.entry(key.clone()).or_insert_with(|| Stream {
            id: rand::random(),
            seq: 0,
            last_event: now,
        });
        stream.seq += 1;
        stream.last_event = now;
        let event = EventMessage {
            v: wire::VERSION,
            node: key.0,
            stream: stream.id,
            seq: stream.seq,
            event: Some(event),
        };
        // Under the lock, for the order.
        if self.waiting.try_send(Waiting { to: key.1, event }).is_err() {
            link.counters.events_dropped.count();
        }
    }

    fn marks(&self) -> Vec<Waiting> {
        let mut streams = lock(&self.streams);
        streams.retain(|_, stream| stream.last_event.elapsed() < FORGET_AFTER);
        let mark = |((node, to), stream): (&(NodeId, InstanceId), &Stream)| Waiting {
            to: to.clone(),
            event: EventMessage {
                v: wire::VERSION,
                node: node.clone(),
                stream: stream.id,
                seq: stream.seq,
                event: None,
            },
        };
        streams.iter().map(mark).collect()
    }
}

pub(super) struct Outbox(mpsc::Receiver<Waiting>);

pub(super) async fn run_publisher(link: Arc<Link>, publisher: Arc<Publisher>, mut outbox: Outbox) {
    let mut mark = interval(MARK_EVERY);
    mark.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_up = link.is_up.subscribe();
    loop {
        tokio::select! {
            biased;
            waiting = outbox.0.recv() => match waiting {
                Some(waiting) => send(&link, waiting).await,
                None => return,
            },
            // Behind all events that wait, of which it tells. What the outage took is found out by it at once.
            _ = is_up.changed() => send_marks(&link, &publisher).await,
            _ = mark.tick() => send_marks(&link, &publisher).await,
        }
    }
}

async fn send_marks(link: &Link, publisher: &Publisher) {
    if !link.is_up() {
        return;
    }
    for mark in publisher.marks() {
        send(link, mark).await;
    }
}

async fn send(link: &Link, Waiting { to, event }: Waiting) {
    let sent = match wire::encode(&event) {
        Ok(payload) => link
            .client
            .publish(link.subject("instance", &to), payload)
            .await
            .is_ok(),
        Err(_) => false,
    };
    if !sent && event.event.is_some() {
        link.counters.events_dropped.count();
    }
}

/// Hands an instance its events until nobody takes them.
pub(super) async fn run_consumer(
    link: Arc<Link>,
    subject: String,
    subscriber: Option<Subscriber>,
    events: mpsc::UnboundedSender<NodeEvent>,
    missed: mpsc::UnboundedSender<NodeId>,
) {
    let subscriber = match subscriber {
        Some(subscriber) => Some(subscriber),
        None => link.subscribe(subject).await,
    };
    let Some(mut messages) = subscriber else { return };
    let mut sequences = Sequences::default();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = events.closed() => break,
        };
        let Some(message) = message else { break };
        handle_message(&link, &message.payload, &mut sequences, &events, &missed);
    }
    let _ = messages.unsubscribe().await;
}

fn handle_message(
    link: &Link,
    payload: &[u8],
    sequences: &mut Sequences,
    events: &mpsc::UnboundedSender<NodeEvent>,
    missed: &mpsc::UnboundedSender<NodeId>,
) {
    let (node, stream, seq, is_mark, event) = match wire::decode::<EventMessage<SfuEvent>>(payload) {
        Ok(message) => (
            message.node,
            message.stream,
            message.seq,
            message.event.is_none(),
            message.event,
        ),
        Err(_) => {
            link.counters.not_understood.count();
            // One of a later version has its number all the same.
            match wire::decode::<EventMessage<IgnoredAny>>(payload) {
                Ok(message) => (message.node, message.stream, message.seq, message.event.is_none(), None),
                Err(_) => return,
            }
        }
    };
    let arrival = match is_mark {
        true => sequences.handle_mark(&node, stream, seq),
        false => sequences.handle_event(&node, stream, seq),
    };
    if arrival == Arrival::AfterGap {
        link.counters.events_missed.count();
        let _ = missed.send(node.clone());
    }
    if let Some(event) = event.filter(|_| arrival != Arrival::Late) {
        let _ = events.send(NodeEvent { node, event });
    }
}

//! What all parts of the bus share, and the task that watches whether the bus carries anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::counters::Counters;
use super::presence::{BEAT, BEAT_TIMEOUT, Presence};
use super::wire;
use crate::{MAX_WAITING_REPORTS, NodeReport};

pub(super) struct Link {
    pub client: Client,
    pub prefix: String,
    /// Whether there is a connection; it may hang.
    pub is_up: watch::Sender<bool>,
    /// Whether the bus carries anything.
    pub carries: watch::Sender<bool>,
    pub presence: Mutex<Presence>,
    pub readers: Mutex<Vec<mpsc::Sender<NodeReport>>>,
    pub counters: Counters,
}

impl Link {
    pub fn new(client: Client, prefix: String) -> Self {
        Self {
            client,
            prefix,
            is_up: watch::Sender::new(false),
            carries: watch::Sender::new(false),
            presence: Mutex::default(),
            readers: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub fn subject(&self, kind: &str, name: &str) -> String {
        format!("{}.{kind}.{}", self.prefix, wire::token(name))
    }

    /// Subscribes before anything is sent that follows. None: the client is busy or has ended.
    pub fn subscribe_now(&self, subject: String) -> Option<Subscriber> {
        self.client.subscribe(subject).now_or_never()?.ok()
    }

    pub async fn subscribe(&self, subject: String) -> Option<Subscriber> {
        let subscribed = self.client.subscribe(subject.clone()).await;
        subscribed
            .inspect_err(|error| tracing::error!(subject, %error, "cannot subscribe"))
            .ok()
    }

    /// Sends unless that would take time or nobody would receive it.
    pub fn publish_now(&self, subject: String, payload: Bytes) -> bool {
        self.is_up() && matches!(self.client.publish(subject, payload).now_or_never(), Some(Ok(())))
    }

    fn handle_report(&self, payload: &[u8], subject: &str) {
        let report = match wire::decode::<NodeReport>(payload) {
            // Whom the server lets speak for one node speaks for no other.
            Ok(report) if self.subject("report", &report.node) == subject => report,
            _ => return self.counters.not_understood.count(),
        };
        lock(&self.readers).retain(|reader| match reader.try_send(report.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.reports_dropped.count();
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
        lock(&self.presence).handle_report(report);
    }

    /// Reports from the latest that is known of each node on.
    pub fn reports(&self) -> mpsc::Receiver<NodeReport> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_REPORTS);
        let mut readers = lock(&self.readers);
        for report in lock(&self.presence).nodes() {
            let _ = sender.try_send(report.clone());
        }
        readers.push(sender);
        receiver
    }
}

/// Reads reports as long as the bus lives.
pub(super) async fn run_reports(link: Arc<Link>, subscriber: Option<Subscriber>) {
    let subject = format!("{}.report.*", link.prefix);
    let subscriber = match subscriber {
        Some(subscriber) => Some(subscriber),
        None => link.subscribe(subject).await,
    };
    let Some(mut reports) = subscriber else { return };
    while let Some(message) = reports.next().await {
        link.handle_report(&message.payload, &message.subject);
    }
}

/// Sends beats to itself and watches whether they come. `changed` tells that the connection has come or gone.
pub(super) async fn run_beats(link: Arc<Link>, mut changed: mpsc::Receiver<()>) {
    let subject = link.client.new_inbox();
    let Some(mut beats) = link.subscribe(subject.clone()).await else {
        return;
    };
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_tick = Instant::now();
    loop {
        tokio::select! {
            beat = beats.next() => {
                if beat.is_none() {
                    return;
                }
                lock(&link.presence).handle_beat(Instant::now());
                link.set_up(link.is_up());
                link.set_carries(link.is_up());
            }
            Some(()) = changed.recv() => link.set_up(link.is_up()),
            _ = tick.tick() => {
                let now = Instant::now();
                // A process that stood still itself has not read its beats yet.
                let stood_still = now.saturating_duration_since(last_tick) > BEAT_TIMEOUT / 2;
                last_tick = now;
                link.set_up(link.is_up());
                if !stood_still && !lock(&link.presence).is_beating(now) {
                    link.set_carries(false);
                }
                link.publish_now(subject.clone(), Bytes::new());
            }
        }
    }
}

impl Link {
    fn set_up(&self, is_up: bool) {
        if !set(&self.is_up, is_up) {
            return;
        }
        match is_up {
            true => tracing::info!("the bus is connected"),
            false => {
                tracing::warn!("the bus is away");
                lock(&self.presence).on_outage();
                self.set_carries(false);
            }
        }
    }

    fn set_carries(&self, carries: bool) {
        if set(&self.carries, carries) && !carries {
            lock(&self.presence).on_outage();
            self.counters.outages.count();
        }
    }
}

/// Whether that is a change.
fn set(flag: &watch::Sender<bool>, to: bool) -> bool {
    flag.send_if_modified(|flag| std::mem::replace(flag, to) != to)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

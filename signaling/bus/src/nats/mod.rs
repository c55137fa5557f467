//! The bus of a fleet, over NATS: core subjects for requests, events and reports, JetStream for the key-value store.
//! The client connects by itself, again and again, and nothing here waits for it. Subjects under the prefix:
//! `node.<node>` takes requests, `instance.<instance>` events, `report.<node>` load reports, `inbox.>` answers.

mod backoff;
mod calls;
mod config;
mod counters;
mod events;
mod kv;
mod link;
mod presence;
mod request;
mod sequence;
mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use async_trait::async_trait;
use tianqiao_protocol::control::{InstanceId, Owner, SfuReply, SfuRequest};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::kv::Kv;
use crate::{Bus, BusError, Call, MAX_WAITING_CALLS, NodeEvent, NodeId, NodeReport, vital};

pub use config::{Credentials, NatsConfig, NatsError};
pub use counters::{Counter, Counters};
use events::Publisher;
use kv::NatsKv;
use link::{Link, lock};

/// Must be used within the runtime that it was connected in.
pub struct NatsBus {
    link: Arc<Link>,
    kv: NatsKv,
    publisher: Arc<Publisher>,
    request_timeout: Duration,
    /// Only who asks after nodes hears their reports: nodes do not hear each other's.
    listens: Once,
    /// Of gaps that nobody has asked for yet.
    missed: Mutex<HashMap<InstanceId, Missed>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

struct Missed {
    sender: mpsc::UnboundedSender<NodeId>,
    receiver: Option<mpsc::UnboundedReceiver<NodeId>>,
}

impl NatsBus {
    /// Returns at once, also where no server can be reached yet: [`Bus::connected`] tells.
    pub async fn connect(config: NatsConfig) -> Result<Arc<Self>, NatsError> {
        let addresses = config.addresses()?;
        // One that waits says all.
        let (changed, changes) = mpsc::channel(1);
        let options = config.options(&addresses).await?.event_callback(move |event| {
            log(&event);
            let _ = changed.try_send(());
            std::future::ready(())
        });
        let client = options.connect(addresses).await?;
        let link = Arc::new(Link::new(client, config.prefix));
        let (publisher, outbox) = Publisher::new();
        let bus = Arc::new(Self {
            kv: NatsKv::new(link.clone(), config.replicas),
            publisher: Arc::new(publisher),
            request_timeout: config.request_timeout,
            listens: Once::new(),
            missed: Mutex::default(),
            tasks: Mutex::default(),
            link: link.clone(),
        });
        bus.spawn("bus-beats", link::run_beats(link.clone(), changes));
        bus.spawn("bus-events", events::run_publisher(link, bus.publisher.clone(), outbox));
        Ok(bus)
    }

    pub fn counters(&self) -> &Counters {
        &self.link.counters
    }

    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(vital::spawn(name, task).abort_handle());
    }

    fn listen(&self) {
        self.listens.call_once(|| {
            let subscriber = self.link.subscribe_now(format!("{}.report.*", self.link.prefix));
            self.spawn("bus-reports", link::run_reports(self.link.clone(), subscriber));
        });
    }

    fn missed_of(&self, instance: &InstanceId, use_it: impl FnOnce(&mut Missed)) {
        let mut missed = lock(&self.missed);
        missed.retain(|_, missed| missed.receiver.is_some() || !missed.sender.is_closed());
        use_it(missed.entry(instance.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let receiver = Some(receiver);
            Missed { sender, receiver }
        }));
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

fn log(event: &async_nats::Event) {
    use async_nats::Event;
    match event {
        Event::ServerError(error) => tracing::warn!(%error, "NATS refuses something"),
        Event::ClientError(error) => tracing::warn!(%error, "cannot connect to NATS"),
        Event::SlowConsumer(_) => tracing::warn!("messages of the bus come faster than they are read, some are lost"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
        Event::Connected | Event::Disconnected | Event::Draining | Event::Closed => {}
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn request(&self, node: &NodeId, owner: &Owner, request: SfuRequest) -> Result<SfuReply, BusError> {
        request::request(&self.link, node, owner, request, self.request_timeout).await
    }

    fn events(&self, instance: &InstanceId) -> mpsc::UnboundedReceiver<NodeEvent> {
        let (events, receiver) = mpsc::unbounded_channel();
        let mut missed = None;
        self.missed_of(instance, |of| missed = Some(of.sender.clone()));
        let Some(missed) = missed else { return receiver };
        let subject = self.link.subject("instance", instance);
        let subscriber = self.link.subscribe_now(subject.clone());
        let consumer = events::run_consumer(self.link.clone(), subject, subscriber, events, missed);
        self.spawn("bus-instance", consumer);
        receiver
    }

    fn missed(&self, instance: &InstanceId) -> mpsc::UnboundedReceiver<NodeId> {
        let mut receiver = None;
        self.missed_of(instance, |of| receiver = of.receiver.take());
        receiver.unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    fn reports(&self) -> mpsc::Receiver<NodeReport> {
        self.listen();
        self.link.reports()
    }

    fn serve(&self, node: NodeId) -> mpsc::Receiver<Call> {
        let (calls, receiver) = mpsc::channel(MAX_WAITING_CALLS);
        let subject = self.link.subject("node", &node);
        let subscriber = self.link.subscribe_now(subject.clone());
        self.spawn("bus-node", calls::run(self.link.clone(), subject, subscriber, calls));
        receiver
    }

    fn publish(&self, to: &InstanceId, event: NodeEvent) {
        self.publisher.publish(&self.link, to, event);
    }

    fn report(&self, report: NodeReport) {
        let subject = self.link.subject("report", &report.node);
        let is_sent = wire::encode(&report).is_ok_and(|payload| self.link.publish_now(subject, payload));
        if !is_sent {
            self.link.counters.reports_dropped.count();
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.listen();
        let presence = lock(&self.link.presence);
        presence.nodes().map(|report| report.node.clone()).collect()
    }

    fn kv(&self) -> &dyn Kv {
        &self.kv
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.link.carries.subscribe()
    }
}

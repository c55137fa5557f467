//! The bus of a single process.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tianqiao_protocol::control::{InstanceId, Owner, SfuReply, SfuRequest};
use tokio::sync::{mpsc, oneshot, watch};

use crate::kv::{Bucket, Entry, Kv, KvError, check_key, check_value};
use crate::{Bus, BusError, Call, MAX_WAITING_CALLS, MAX_WAITING_REPORTS, NodeEvent, NodeId, NodeReport};

pub struct InProcessBus {
    nodes: Mutex<BTreeMap<NodeId, mpsc::Sender<Call>>>,
    events: Mutex<HashMap<InstanceId, mpsc::UnboundedSender<NodeEvent>>>,
    reports: Mutex<Reports>,
    kv: InProcessKv,
    connected: watch::Sender<bool>,
}

#[derive(Default)]
struct Reports {
    latest: BTreeMap<NodeId, NodeReport>,
    readers: Vec<mpsc::Sender<NodeReport>>,
}

impl Default for InProcessBus {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            events: Mutex::default(),
            reports: Mutex::default(),
            kv: InProcessKv::default(),
            connected: watch::Sender::new(true),
        }
    }
}

impl InProcessBus {
    pub fn new() -> Self {
        Self::default()
    }

    /// For tests of what a bus between processes does: while it is away, requests and the store fail, and events and
    /// reports are lost.
    pub fn set_connected(&self, connected: bool) {
        self.kv.is_away.store(!connected, Ordering::Release);
        self.connected.send_replace(connected);
    }

    fn is_away(&self) -> bool {
        !*self.connected.borrow()
    }
}

#[async_trait]
impl Bus for InProcessBus {
    async fn request(&self, node: &NodeId, owner: &Owner, request: SfuRequest) -> Result<SfuReply, BusError> {
        if self.is_away() {
            return Err(BusError::Away);
        }
        let calls = lock(&self.nodes).get(node).cloned();
        let calls = calls.ok_or_else(|| BusError::NoNode(node.clone()))?;
        let (reply, answer) = oneshot::channel();
        let owner = owner.clone();
        calls
            .try_send(Call { owner, request, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => BusError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => BusError::Gone,
            })?;
        Ok(answer.await.map_err(|_| BusError::Gone)??)
    }

    fn events(&self, instance: &InstanceId) -> mpsc::UnboundedReceiver<NodeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.events).insert(instance.clone(), sender);
        receiver
    }

    fn reports(&self) -> mpsc::Receiver<NodeReport> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_REPORTS);
        let mut reports = lock(&self.reports);
        for report in reports.latest.values() {
            let _ = sender.try_send(report.clone());
        }
        reports.readers.push(sender);
        receiver
    }

    fn serve(&self, node: NodeId) -> mpsc::Receiver<Call> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_CALLS);
        lock(&self.nodes).insert(node, sender);
        receiver
    }

    fn publish(&self, to: &InstanceId, event: NodeEvent) {
        if self.is_away() {
            return;
        }
        if let Some(events) = lock(&self.events).get(to) {
            let _ = events.send(event);
        }
    }

    fn report(&self, report: NodeReport) {
        if self.is_away() {
            return;
        }
        let mut reports = lock(&self.reports);
        reports.readers.retain(|reader| {
            !matches!(
                reader.try_send(report.clone()),
                Err(mpsc::error::TrySendError::Closed(_))
            )
        });
        reports.latest.insert(report.node.clone(), report);
    }

    fn nodes(&self) -> Vec<NodeId> {
        let mut nodes = lock(&self.nodes);
        nodes.retain(|_, calls| !calls.is_closed());
        nodes.keys().cloned().collect()
    }

    fn kv(&self) -> &dyn Kv {
        &self.kv
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }
}

/// Revisions are counted over all keys, and so grow over deletions too.
#[derive(Default)]
struct InProcessKv {
    entries: Mutex<Entries>,
    is_away: AtomicBool,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<(Bucket, String), Entry>,
    last_revision: u64,
}

impl InProcessKv {
    fn check_there(&self) -> Result<(), KvError> {
        match self.is_away.load(Ordering::Acquire) {
            true => Err(KvError::Away("as a test wants it".to_owned())),
            false => Ok(()),
        }
    }

    fn write(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        may: impl FnOnce(Option<&Entry>) -> bool,
    ) -> Result<u64, KvError> {
        self.check_there()?;
        check_key(key)?;
        check_value(&value)?;
        let mut entries = lock(&self.entries);
        if !may(entries.by_key.get(&(bucket, key.to_owned()))) {
            return Err(KvError::Conflict);
        }
        entries.last_revision += 1;
        let revision = entries.last_revision;
        entries
            .by_key
            .insert((bucket, key.to_owned()), Entry { value, revision });
        Ok(revision)
    }
}

#[async_trait]
impl Kv for InProcessKv {
    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Entry>, KvError> {
        self.check_there()?;
        check_key(key)?;
        Ok(lock(&self.entries).by_key.get(&(bucket, key.to_owned())).cloned())
    }

    async fn create(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.write(bucket, key, value, |entry| entry.is_none())
    }

    async fn update(&self, bucket: Bucket, key: &str, value: Bytes, revision: u64) -> Result<u64, KvError> {
        let is_it = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.revision == revision);
        self.write(bucket, key, value, is_it)
    }

    async fn put(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.write(bucket, key, value, |_| true)
    }

    async fn delete(&self, bucket: Bucket, key: &str, revision: Option<u64>) -> Result<(), KvError> {
        self.check_there()?;
        check_key(key)?;
        let mut entries = lock(&self.entries);
        let key = (bucket, key.to_owned());
        match (entries.by_key.get(&key), revision) {
            (Some(entry), Some(revision)) if entry.revision != revision => return Err(KvError::Conflict),
            (None, _) => return Ok(()),
            _ => {}
        }
        entries.by_key.remove(&key);
        Ok(())
    }

    async fn keys(&self, bucket: Bucket) -> Result<Vec<String>, KvError> {
        self.check_there()?;
        let entries = lock(&self.entries);
        let keys = entries.by_key.keys().filter(|(of, _)| *of == bucket);
        Ok(keys.map(|(_, key)| key.clone()).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tianqiao_protocol::control::SfuEvent;

    fn owner() -> Owner {
        Owner {
            instance: "i".into(),
            epoch: 1,
        }
    }

    #[tokio::test]
    async fn a_request_reaches_its_node_and_comes_back() {
        let bus = InProcessBus::new();
        let mut calls = bus.serve("n1".into());
        let node = tokio::spawn(async move {
            let call = calls.recv().await.expect("a call");
            call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
        });
        let reply = bus
            .request(&"n1".into(), &owner(), SfuRequest::Close { session: "s".into() })
            .await;
        assert!(matches!(reply, Ok(SfuReply::Done)));
        node.await.expect("the node ran");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_an_error() {
        let bus = InProcessBus::new();
        let request = SfuRequest::Close { session: "s".into() };
        assert!(matches!(
            bus.request(&"n1".into(), &owner(), request.clone()).await,
            Err(BusError::NoNode(_))
        ));
        drop(bus.serve("n1".into()));
        assert!(matches!(
            bus.request(&"n1".into(), &owner(), request).await,
            Err(BusError::Gone)
        ));
        assert!(bus.nodes().is_empty());
    }

    #[tokio::test]
    async fn events_arrive_in_order() {
        let bus = InProcessBus::new();
        let mut events = bus.events(&"i".into());
        for session in ["a", "b"] {
            let event = SfuEvent::Connected {
                session: session.into(),
            };
            let node = "n1".into();
            bus.publish(&"i".into(), NodeEvent { node, event });
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

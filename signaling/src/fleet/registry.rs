//! The registry of instances: this one's heartbeats, and looks at the others'.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use tianqiao_protocol::control::InstanceId;
use tokio::time::MissedTickBehavior;

use super::Fleet;
use super::liveness::{HEARTBEAT, LOOK};
use super::store::{INSTANCES, InstanceEntry, StoreError};
use crate::meetings::now;

/// A port that refuses does so at once.
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);

impl Fleet {
    fn entry(&self, beat: u64) -> InstanceEntry {
        InstanceEntry {
            url: self.url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            beat,
        }
    }

    pub(super) async fn register(&self) -> anyhow::Result<u64> {
        let registered = self.store.put(INSTANCES, &self.me, &self.entry(0)).await;
        registered.context("this instance cannot be registered")
    }

    pub(super) async fn run_heartbeats(self: Arc<Self>, mut revision: u64) {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for beat in 1.. {
            ticks.tick().await;
            if self.is_leaving() {
                return std::future::pending().await;
            }
            match self.beat(beat, revision).await {
                Ok(next) => revision = next,
                Err(error) => tracing::debug!(%error, "a heartbeat is lost"),
            }
        }
    }

    async fn beat(&self, beat: u64, revision: u64) -> Result<u64, StoreError> {
        let entry = self.entry(beat);
        if let Some(revision) = self.store.update(INSTANCES, &self.me, &entry, revision).await? {
            return Ok(revision);
        }
        // A heartbeat may have got through that was taken for lost.
        if let Some(stored) = self.store.get::<InstanceEntry>(INSTANCES, &self.me).await? {
            return Ok(stored.revision);
        }
        tracing::warn!("this instance was silent for too long and was taken for dead");
        let revision = self.store.put(INSTANCES, &self.me, &entry).await?;
        self.check_all().await;
        Ok(revision)
    }

    pub(super) async fn run_connection(self: Arc<Self>) {
        let mut connected = self.bus.connected();
        loop {
            let is_connected = *connected.borrow_and_update();
            self.liveness().set_connected(now(), is_connected);
            if connected.changed().await.is_err() {
                return std::future::pending().await;
            }
            if *connected.borrow() {
                self.adopt_again().await;
            }
        }
    }

    pub(super) async fn run_looks(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the registry cannot be read");
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let ids = self.store.keys(INSTANCES).await?;
        let entries = ids.iter().map(|id| self.store.get::<InstanceEntry>(INSTANCES, id));
        let mut seen = Vec::new();
        let mut urls = HashMap::new();
        for (id, entry) in ids.iter().zip(join_all(entries).await) {
            if let Some(entry) = entry? {
                seen.push((id.clone(), entry.revision));
                urls.insert(id.clone(), entry.value.url);
            }
        }
        *self.urls() = urls;
        let (has_changed, doubtful) = {
            let mut liveness = self.liveness();
            let has_changed = liveness.look(now(), &seen);
            self.metrics.instances.set(liveness.members().len() as i64);
            (has_changed, liveness.doubtful(now()))
        };
        if has_changed {
            self.membership_changed.notify_one();
        }
        join_all(doubtful.iter().map(|id| self.probe(id))).await;
        let silent = self.liveness().silent(now());
        for (id, revision) in silent {
            self.declare_dead(&id, revision).await?;
        }
        Ok(())
    }

    /// Whoever heard from it since finds another revision, and it lives.
    async fn declare_dead(&self, id: &InstanceId, revision: u64) -> Result<(), StoreError> {
        if self.store.delete(INSTANCES, id, Some(revision)).await? {
            tracing::warn!(instance = id, "an instance is silent: its meetings are taken over");
            self.liveness().on_gone(id);
            self.membership_changed.notify_one();
        }
        Ok(())
    }

    async fn probe(&self, id: &InstanceId) {
        let Some(url) = self.urls().get(id).cloned() else {
            return;
        };
        let Some(address) = url.strip_prefix("http://").map(str::to_owned) else {
            return;
        };
        let connect = tokio::net::TcpStream::connect(address);
        if let Ok(Err(error)) = tokio::time::timeout(PROBE_TIMEOUT, connect).await
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            self.liveness().on_refused(id);
        }
    }
}

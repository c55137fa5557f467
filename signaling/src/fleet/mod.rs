//! Several signaling instances that serve the same meetings. Each meeting is owned by one instance, by a claim in the
//! bus's store; every other one passes requests and WebSockets on to it, and takes it over when it dies.
//!
//! The claim's revision is its epoch: nodes refuse requests by older claims, so that it does no harm that an owner may
//! learn late of being one no longer.

mod bounded;
mod claims;
mod internal;
mod keeper;
mod liveness;
mod locate;
mod metrics;
mod pass_on;
mod pipe;
mod registry;
mod secrets;
#[cfg(test)]
mod simulation;
mod store;
mod sweeps;
mod takeover;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use prometheus::Registry;
use rand::Rng;
use tianqiao_bus::{Bus, vital};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::InstanceId;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::auth::{Passcode, random_id};
use crate::meetings::{ClaimedMeeting, LiveMeeting, Meetings, Notice};
use crate::network::Network;
use crate::refusal::Refusal;
pub use internal::{CLOSE_NOT_OWNER, FromMember, admit_members};
use liveness::Liveness;
use locate::Names;
pub use metrics::FleetMetrics;
pub use pass_on::{Passing, pass_on, route};
pub use pipe::{Route, route_socket};
pub use secrets::Secrets;
use store::{CODES, ClaimEntry, MEETINGS, Store, StoreError};

/// When somebody may try again whom the store could not serve.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// Meetings whose ids fall together wait for each other.
const LOCKS: usize = 64;
/// Random codes that are tried before a meeting is refused.
const CODE_TRIES: usize = 20;

/// A place in the fleet, before there are meetings.
pub struct Seat {
    pub secrets: Secrets,
    /// Of this instance's internal port, for the others.
    pub url: String,
    pub metrics: FleetMetrics,
    pub notify: mpsc::UnboundedSender<Notice>,
}

impl Seat {
    /// Waits for the store.
    pub async fn take(
        bus: &Arc<dyn Bus>,
        url: String,
        registry: &Registry,
    ) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<Notice>)> {
        let (notify, notices) = mpsc::unbounded_channel();
        let seat = Self {
            secrets: Secrets::load(&Store::new(bus.clone())).await?,
            url,
            metrics: FleetMetrics::register(registry)?,
            notify,
        };
        Ok((seat, notices))
    }
}

pub struct Fleet {
    me: InstanceId,
    url: String,
    store: Store,
    bus: Arc<dyn Bus>,
    meetings: Arc<Meetings>,
    secrets: Secrets,
    liveness: Mutex<Liveness>,
    /// Internal ports of the others.
    urls: Mutex<HashMap<InstanceId, String>>,
    names: Names,
    locks: Vec<tokio::sync::Mutex<()>>,
    /// Revisions of the snapshots of this instance's meetings.
    snapshots: DashMap<String, u64>,
    /// Somebody has come or gone: meetings may be without an owner.
    membership_changed: Notify,
    client: pass_on::Client,
    metrics: FleetMetrics,
    /// Set for good once this instance hands its meetings over.
    is_leaving: std::sync::atomic::AtomicBool,
}

impl Fleet {
    pub fn new(
        me: InstanceId,
        bus: Arc<dyn Bus>,
        meetings: Arc<Meetings>,
        secrets: Secrets,
        url: String,
        metrics: FleetMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            liveness: Mutex::new(Liveness::new(me.clone())),
            me,
            url,
            store: Store::new(bus.clone()),
            bus,
            meetings,
            secrets,
            urls: Mutex::default(),
            names: Names::default(),
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect(),
            snapshots: DashMap::new(),
            membership_changed: Notify::new(),
            client: pass_on::client(),
            metrics,
            is_leaving: Default::default(),
        })
    }

    /// Registers this instance and runs what keeps it one of the fleet.
    pub async fn join(
        self: &Arc<Self>,
        notices: mpsc::UnboundedReceiver<Notice>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let revision = self.register().await?;
        Ok(vec![
            vital::spawn("heartbeats", self.clone().run_heartbeats(revision)),
            vital::spawn("registry", self.clone().run_looks()),
            vital::spawn("orphans", self.clone().run_sweeps()),
            vital::spawn("connection", self.clone().run_connection()),
            vital::spawn("keeper", self.clone().run_keeper(notices)),
        ])
    }

    /// Claims a new meeting. `from`: as for [`Meetings::create`].
    pub async fn create(
        &self,
        title: Option<String>,
        passcode: Option<Passcode>,
        from: Option<Network>,
    ) -> Result<Arc<LiveMeeting>, Refusal> {
        self.meetings.make_space(from)?;
        let id = random_id::<16>();
        // Until it is here, its claim looks like one that was left behind.
        let _held = self.lock(&id).await;
        let code = self.claim_code(&id).await?;
        let entry = ClaimEntry {
            instance: self.me.clone(),
            code: code.clone(),
            title: title.clone(),
            passcode: passcode.clone(),
        };
        let epoch = match self.store.create(MEETINGS, &id, &entry).await {
            Ok(Some(epoch)) => epoch,
            refused => {
                // A code without a meeting leads nowhere; it is only one fewer to give.
                let _ = self.store.delete(CODES, &code, None).await;
                refused?;
                return Err(Refusal::new(ErrorCode::Internal, "the meeting is there already"));
            }
        };
        let claimed = ClaimedMeeting {
            id,
            code,
            title,
            passcode,
            epoch,
        };
        Ok(self.meetings.add(claimed, from))
    }

    /// A code that no other meeting of the fleet has.
    async fn claim_code(&self, id: &str) -> Result<String, Refusal> {
        for _ in 0..CODE_TRIES {
            let code = rand::rng().random_range(100_000_000..1_000_000_000_u32).to_string();
            if self.store.create(CODES, &code, &id).await?.is_some() {
                return Ok(code);
            }
        }
        Err(Refusal::busy(
            ErrorCode::Unavailable,
            "there is no free code",
            STORE_RETRY,
        ))
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(std::sync::atomic::Ordering::Acquire)
    }

    fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn urls(&self) -> MutexGuard<'_, HashMap<InstanceId, String>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while it is found out, or changed, who owns the meeting.
    async fn lock(&self, id: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let sum = id
            .bytes()
            .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.locks[sum % LOCKS].lock().await
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store of the fleet did not answer");
        Self::busy(ErrorCode::Unavailable, "the servers cannot agree now", STORE_RETRY)
    }
}

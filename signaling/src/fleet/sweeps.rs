//! Meetings whose owners are dead and for which nobody asks: their timers run, and their events are heard, all the same.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream;
use rand::Rng;
use tianqiao_protocol::control::InstanceId;

use super::Fleet;
use super::claims::is_share_of;
use super::store::{ClaimEntry, MEETINGS, StoreError, TOMBSTONES, Tombstone};

/// Looked for at least this often, and at once when an instance goes.
const INTERVAL: Duration = Duration::from_secs(30);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(2);
/// Not all begin at the same time.
const MAX_JITTER_MILLIS: u64 = 150;
const AT_ONCE: usize = 16;
/// That a meeting was ended is told for so long.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(24 * 3600);

impl Fleet {
    pub(super) async fn run_sweeps(self: Arc<Self>) {
        // A fleet that was stopped as a whole has left meetings behind.
        let mut wait = PAUSE;
        for round in 0_u64.. {
            let _ = tokio::time::timeout(wait, self.membership_changed.notified()).await;
            if self.is_leaving() {
                return std::future::pending().await;
            }
            let jitter = rand::rng().random_range(0..MAX_JITTER_MILLIS);
            tokio::time::sleep(Duration::from_millis(jitter)).await;
            wait = match self.sweep(round).await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::debug!(%error, "orphans cannot be looked for");
                    PAUSE
                }
            };
        }
    }

    async fn sweep(&self, round: u64) -> Result<(), StoreError> {
        let members = self.liveness().members();
        let ids = self.store.keys(MEETINGS).await?;
        let own = ids.into_iter().filter(|id| is_share_of(&self.me, id, &members));
        let found = stream::iter(own).map(|id| {
            let members = &members;
            async move { self.adopt_orphan(&id, members).await }
        });
        let found: Vec<Result<(), StoreError>> = found.buffer_unordered(AT_ONCE).collect().await;
        found.into_iter().collect::<Result<(), _>>()?;
        self.check_all().await;
        if round % 20 == 1 {
            self.clear_tombstones(&members).await?;
        }
        Ok(())
    }

    async fn adopt_orphan(&self, id: &str, members: &[InstanceId]) -> Result<(), StoreError> {
        if self.meetings.find(id).is_ok() {
            return Ok(());
        }
        let claim = self.store.get::<ClaimEntry>(MEETINGS, id).await?;
        let owner = claim.map(|claim| claim.value.instance);
        let is_orphan = owner.is_some_and(|owner| owner == self.me || !members.contains(&owner));
        if is_orphan {
            self.forget_owner(id);
            if let Err(refusal) = self.locate(id).await {
                tracing::warn!(room = id, message = %refusal.message, "an orphan cannot be taken over");
            }
        }
        Ok(())
    }

    async fn clear_tombstones(&self, members: &[InstanceId]) -> Result<(), StoreError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        for name in self.store.keys(TOMBSTONES).await? {
            if !is_share_of(&self.me, &name, members) {
                continue;
            }
            let stored = self.store.get::<Tombstone>(TOMBSTONES, &name).await?;
            let is_old = |stored: &super::store::Stored<Tombstone>| {
                now.saturating_sub(stored.value.at) > TOMBSTONE_LIFE.as_secs()
            };
            if let Some(stored) = stored.filter(is_old) {
                self.store.delete(TOMBSTONES, &name, Some(stored.revision)).await?;
            }
        }
        Ok(())
    }
}

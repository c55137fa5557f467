//! Keeps what other instances need to go on with this one's meetings, and lets go of those that are not its own any more.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;

use super::Fleet;
use super::claims::{Judged, judge};
use super::store::{
    CODES, ClaimEntry, INSTANCES, MEETINGS, SNAPSHOTS, SnapshotEntry, StoreError, TOMBSTONES, Tombstone,
};
use crate::meetings::Notice;

/// Changes within this time are written together.
const GATHER: Duration = Duration::from_millis(150);
/// A store that is away is tried again after this time.
const PAUSE: Duration = Duration::from_secs(1);
/// What is left of an ended meeting is deleted for so long.
const ERASE_TRIES: u32 = 900;
/// Entries that are read or written at the same time.
const AT_ONCE: usize = 16;

impl Fleet {
    pub(super) async fn run_keeper(self: Arc<Self>, mut notices: mpsc::UnboundedReceiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            let fleet = self.clone();
            tokio::spawn(async move {
                match notice {
                    Notice::Changed(id) => fleet.keep(&id).await,
                    Notice::Over { id, code, epoch } => fleet.erase(&id, &code, epoch).await,
                    Notice::Superseded(id) => fleet.check(&id, "node").await,
                }
            });
        }
    }

    /// Writes the meeting's snapshot, as soon as the store lets us.
    async fn keep(&self, id: &str) {
        tokio::time::sleep(GATHER).await;
        loop {
            match self.write_snapshot(id).await {
                Ok(true) => return self.metrics.snapshots.with_label_values(&["written"]).inc(),
                Ok(false) => {
                    self.metrics.snapshots.with_label_values(&["superseded"]).inc();
                    return self.check(id, "store").await;
                }
                Err(error) => {
                    self.metrics.snapshots.with_label_values(&["failed"]).inc();
                    tracing::debug!(%error, room = id, "a snapshot cannot be written");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// False where the meeting is not ours.
    async fn write_snapshot(&self, id: &str) -> Result<bool, StoreError> {
        let _held = self.lock(id).await;
        let Ok(live) = self.meetings.find(id) else {
            return Ok(true);
        };
        let entry = SnapshotEntry {
            meeting: live.take_snapshot(),
            nodes: live.nodes(),
        };
        let known = self.snapshots.get(id).map(|revision| *revision);
        let mut written = self.store.put_snapshot(id, &entry, known).await?;
        if written.is_none() {
            // One that we wrote without hearing of it, or another owner's.
            let claim = self.store.get::<ClaimEntry>(MEETINGS, id).await?;
            let claim = claim
                .as_ref()
                .map(|claim| (claim.value.instance.as_str(), claim.revision));
            if judge(&self.me, Some(live.epoch()), claim) != Judged::Keep {
                return Ok(false);
            }
            let revision = self.store.snapshot(id).await?.map(|stored| stored.revision);
            written = self.store.put_snapshot(id, &entry, revision).await?;
        }
        if let Some(revision) = written {
            self.snapshots.insert(id.to_owned(), revision);
        }
        Ok(written.is_some())
    }

    /// Deletes what is left of a meeting that is over, unless another instance has it.
    async fn erase(&self, id: &str, code: &str, epoch: u64) {
        self.snapshots.remove(id);
        for _ in 0..ERASE_TRIES {
            match self.try_erase(id, code, epoch).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, room = id, "an ended meeting cannot be deleted"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_erase(&self, id: &str, code: &str, epoch: u64) -> Result<(), StoreError> {
        let _held = self.lock(id).await;
        let claim = self.store.get::<ClaimEntry>(MEETINGS, id).await?;
        if self.meetings.find(id).is_ok() {
            // Somebody has asked for it meanwhile, and found its claim.
            return Ok(());
        }
        if claim.is_some_and(|claim| claim.revision != epoch) {
            return Ok(());
        }
        if self.meetings.is_buried(id) {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let tombstone = Tombstone { at: since.as_secs() };
            for name in [id, code] {
                self.store.put(TOMBSTONES, name, &tombstone).await?;
            }
        }
        // The claim goes last: with it whoever tries again knows that there is something to delete.
        self.store.delete(CODES, code, None).await?;
        self.store.delete(SNAPSHOTS, id, None).await?;
        self.store.delete(MEETINGS, id, Some(epoch)).await?;
        Ok(())
    }

    /// Gives a meeting up that is here and not ours. `told_by`: who says so, `node` or `store`; a node's word counts also
    /// where the store cannot be asked.
    pub(super) async fn check(&self, id: &str, told_by: &'static str) {
        let _held = self.lock(id).await;
        let Ok(live) = self.meetings.find(id) else {
            return;
        };
        let is_ours = match self.store.get::<ClaimEntry>(MEETINGS, id).await {
            Ok(claim) => {
                let claim = claim
                    .as_ref()
                    .map(|claim| (claim.value.instance.as_str(), claim.revision));
                judge(&self.me, Some(live.epoch()), claim) == Judged::Keep
            }
            Err(_) => told_by == "store",
        };
        if !is_ours {
            tracing::warn!(room = id, told_by, "another instance has taken the meeting over");
            self.metrics.lost_claims.with_label_values(&[told_by]).inc();
            self.snapshots.remove(id);
            live.give_up();
        }
    }

    /// Checks every meeting that is here.
    pub(super) async fn check_all(&self) {
        let ids = self.meetings.all().into_iter().map(|live| live.id.clone());
        let checks = stream::iter(ids).map(|id| async move { self.check(&id, "store").await });
        checks.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Writes everything down and lets the others go on: clients find their meetings there.
    pub async fn hand_over(&self) {
        self.is_leaving.store(true, std::sync::atomic::Ordering::Release);
        let lives = stream::iter(self.meetings.all()).map(|live| async move {
            if let Err(error) = self.write_snapshot(&live.id).await {
                tracing::warn!(%error, room = live.id, "the last snapshot cannot be written");
            }
            live
        });
        let lives: Vec<_> = lives.buffer_unordered(AT_ONCE).collect().await;
        if let Err(error) = self.store.delete(INSTANCES, &self.me, None).await {
            tracing::warn!(%error, "the others are not told that this instance ends");
        }
        for live in lives {
            live.give_up();
        }
    }
}

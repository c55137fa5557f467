//! Going on with a meeting of another instance: claim, snapshot, and the sessions as their nodes know them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tianqiao_bus::NodeId;
use tianqiao_protocol::ErrorCode;

use super::store::{ClaimEntry, MEETINGS, SnapshotEntry, Stored};
use super::{Fleet, STORE_RETRY};
use crate::meetings::ClaimedMeeting;
use crate::refusal::Refusal;

/// A node answers from memory; the meeting goes on without the sessions of one that hangs.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 16;

impl Fleet {
    /// False where somebody else was first. The meeting's lock is held.
    pub(super) async fn take_over(&self, id: &str, claim: Stored<ClaimEntry>) -> Result<bool, Refusal> {
        let takeovers = &self.metrics.takeovers;
        let entry = ClaimEntry {
            instance: self.me.clone(),
            ..claim.value
        };
        let updated = self.store.update(MEETINGS, id, &entry, claim.revision).await;
        let epoch = updated.inspect_err(|_| takeovers.with_label_values(&["failed"]).inc())?;
        let Some(epoch) = epoch else {
            takeovers.with_label_values(&["lost"]).inc();
            return Ok(false);
        };
        let restored = self.restore(id, entry, epoch).await;
        let result = if restored.is_ok() { "taken" } else { "failed" };
        takeovers.with_label_values(&[result]).inc();
        restored.map(|()| true)
    }

    /// Makes a meeting that is ours by that claim. The meeting's lock is held.
    pub(super) async fn restore(&self, id: &str, claim: ClaimEntry, epoch: u64) -> Result<(), Refusal> {
        let stored = self.store.snapshot(id).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        let SnapshotEntry { nodes, meeting } = stored.map(|stored| stored.value).unwrap_or_default();
        let claimed = ClaimedMeeting {
            id: id.to_owned(),
            code: claim.code,
            title: claim.title,
            passcode: claim.passcode,
            epoch,
        };
        let live = self.meetings.restore(claimed, &meeting);
        let nodes: BTreeSet<NodeId> = match nodes.is_empty() {
            true => self.bus.nodes().into_iter().collect(),
            false => nodes.into_iter().collect(),
        };
        let asked = nodes.iter().map(|node| {
            let adopted = live.adopt(node, &meeting.ice_generations);
            tokio::time::timeout(ADOPT_TIMEOUT, adopted)
        });
        let mut sessions = 0;
        for (node, adopted) in nodes.iter().zip(join_all(asked).await) {
            match adopted {
                Ok(Ok(adoption)) => {
                    sessions += adoption.adopted;
                    self.count_adopted(adoption);
                }
                // What the nodes have is lost to us only as long as they cannot be asked.
                Ok(Err(_)) | Err(_) if !*self.bus.connected().borrow() => {
                    live.give_up();
                    let refusal = "the media servers cannot be asked now";
                    return Err(Refusal::busy(ErrorCode::Unavailable, refusal, STORE_RETRY));
                }
                Ok(Err(refusal)) => {
                    tracing::warn!(room = id, %node, message = %refusal.message, "no sessions of a node")
                }
                Err(_) => tracing::warn!(room = id, %node, "a node does not tell its sessions"),
            }
        }
        match revision {
            Some(revision) => drop(self.snapshots.insert(id.to_owned(), revision)),
            None => drop(self.snapshots.remove(id)),
        }
        self.meetings.open(&live);
        self.forget_owner(id);
        tracing::info!(room = id, epoch, sessions, "the meeting goes on here");
        // The one before finds its snapshots refused from now on.
        live.mark_changed();
        Ok(())
    }

    fn count_adopted(&self, adoption: crate::meetings::Adoption) {
        let adopted = &self.metrics.adopted;
        adopted.with_label_values(&["adopted"]).inc_by(adoption.adopted);
        if adoption.malformed > 0 {
            adopted.with_label_values(&["malformed"]).inc_by(adoption.malformed);
        }
    }

    /// Events were lost while the bus was away: what the nodes know now counts.
    pub(super) async fn adopt_again(&self) {
        let asked = self.meetings.all().into_iter().flat_map(|live| {
            let nodes = live.nodes().into_iter();
            nodes.map(move |node| (live.clone(), node))
        });
        let asked = stream::iter(asked).map(|(live, node)| async move {
            let none = BTreeMap::new();
            let adopted = tokio::time::timeout(ADOPT_TIMEOUT, live.adopt(&node, &none)).await;
            if let Ok(Ok(adoption)) = adopted {
                self.count_adopted(adoption);
            }
        });
        asked.buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

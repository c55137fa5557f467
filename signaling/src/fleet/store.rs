//! What instances agree on, in the bus's key-value store: a bucket and a type for each kind of entry. Unknown fields are
//! passed over and missing ones have defaults, for instances of several versions share a store.

use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Read;
use thiserror::Error;
use tianqiao_bus::kv::Bucket;
use tianqiao_bus::{Bus, KvError, NodeId};
use tianqiao_protocol::control::InstanceId;

use crate::auth::Passcode;
use crate::meeting::MeetingSnapshot;

pub const INSTANCES: Bucket = "instances";
pub const MEETINGS: Bucket = "meetings";
pub const CODES: Bucket = "codes";
pub const SNAPSHOTS: Bucket = "snapshots";
pub const TOMBSTONES: Bucket = "tombstones";
pub const SECRETS: Bucket = "secrets";

/// Of a snapshot once inflated.
const MAX_SNAPSHOT: u64 = 8 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("an entry of {0} cannot be read")]
    Malformed(Bucket),
}

/// An instance that lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceEntry {
    /// Of its internal HTTP port.
    pub url: String,
    pub version: String,
    /// Makes each heartbeat another value.
    pub beat: u64,
}

/// Who owns a meeting, and what of it never changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClaimEntry {
    pub instance: InstanceId,
    pub code: String,
    pub title: Option<String>,
    pub passcode: Option<Passcode>,
}

/// What nodes cannot tell of a meeting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotEntry {
    /// Those that have sessions of it.
    pub nodes: Vec<NodeId>,
    pub meeting: MeetingSnapshot,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tombstone {
    /// Seconds since the Unix epoch.
    pub at: u64,
}

/// A value with its revision.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    pub value: T,
    pub revision: u64,
}

#[derive(Clone)]
pub struct Store(Arc<dyn Bus>);

impl Store {
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self(bus)
    }

    pub async fn get<T: DeserializeOwned>(&self, bucket: Bucket, key: &str) -> Result<Option<Stored<T>>, StoreError> {
        let entry = match self.0.kv().get(bucket, key).await {
            // What cannot be a key is not there.
            Err(KvError::BadKey(_)) => None,
            other => other?,
        };
        let Some(entry) = entry else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&entry.value).map_err(|_| StoreError::Malformed(bucket))?;
        Ok(Some(Stored {
            value,
            revision: entry.revision,
        }))
    }

    /// `false`: it was there already.
    pub async fn create<T: Serialize>(&self, bucket: Bucket, key: &str, value: &T) -> Result<Option<u64>, StoreError> {
        unless_conflict(self.0.kv().create(bucket, key, json(value)).await)
    }

    /// `None`: it has another revision by now.
    pub async fn update<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<Option<u64>, StoreError> {
        unless_conflict(self.0.kv().update(bucket, key, json(value), revision).await)
    }

    pub async fn put<T: Serialize>(&self, bucket: Bucket, key: &str, value: &T) -> Result<u64, StoreError> {
        Ok(self.0.kv().put(bucket, key, json(value)).await?)
    }

    /// False where it has another revision than that.
    pub async fn delete(&self, bucket: Bucket, key: &str, revision: Option<u64>) -> Result<bool, StoreError> {
        let deleted = self.0.kv().delete(bucket, key, revision).await.map(|()| 0);
        Ok(unless_conflict(deleted)?.is_some())
    }

    pub async fn keys(&self, bucket: Bucket) -> Result<Vec<String>, StoreError> {
        Ok(self.0.kv().keys(bucket).await?)
    }

    pub async fn snapshot(&self, meeting: &str) -> Result<Option<Stored<SnapshotEntry>>, StoreError> {
        let entry = self.0.kv().get(SNAPSHOTS, meeting).await?;
        let Some(entry) = entry else {
            return Ok(None);
        };
        let malformed = || StoreError::Malformed(SNAPSHOTS);
        let mut json = Vec::new();
        let read = DeflateDecoder::new(&entry.value[..])
            .take(MAX_SNAPSHOT)
            .read_to_end(&mut json);
        read.map_err(|_| malformed())?;
        let value = serde_json::from_slice(&json).map_err(|_| malformed())?;
        Ok(Some(Stored {
            value,
            revision: entry.revision,
        }))
    }

    /// `revision`: of the one before; none: there is none. `None` where somebody else has written one.
    pub async fn put_snapshot(
        &self,
        meeting: &str,
        snapshot: &SnapshotEntry,
        revision: Option<u64>,
    ) -> Result<Option<u64>, StoreError> {
        let json = json(snapshot);
        let mut deflated = Vec::with_capacity(json.len() / 4);
        let read = DeflateEncoder::new(&json[..], Compression::fast()).read_to_end(&mut deflated);
        read.map_err(|_| StoreError::Malformed(SNAPSHOTS))?;
        let kv = self.0.kv();
        unless_conflict(match revision {
            None => kv.create(SNAPSHOTS, meeting, deflated.into()).await,
            Some(revision) => kv.update(SNAPSHOTS, meeting, deflated.into(), revision).await,
        })
    }
}

fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("entries are plain values").into()
}

fn unless_conflict(result: Result<u64, KvError>) -> Result<Option<u64>, StoreError> {
    match result {
        Ok(revision) => Ok(Some(revision)),
        Err(KvError::Conflict) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

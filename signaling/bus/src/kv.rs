//! A key-value store with revisions, for what must be agreed on: claims of rooms, snapshots, the registry. Modelled after
//! JetStream KV, which is behind it in a fleet.

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// Keys are of `[A-Za-z0-9_=./-]`, and neither begin nor end with a dot. A bucket is made when it is first used.
pub type Bucket = &'static str;

/// Larger values are refused.
pub const MAX_VALUE: usize = 900 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Bytes,
    /// Of this key's last change. Grows from change to change, over deletions too.
    pub revision: u64,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum KvError {
    /// The key was there already, or has another revision than the one that was named.
    #[error("somebody else has changed the entry")]
    Conflict,
    #[error("a value of {0} bytes is too large")]
    TooLarge(usize),
    #[error("not a key: {0}")]
    BadKey(String),
    /// A change may have been made or not.
    #[error("the store is away: {0}")]
    Away(String),
}

#[async_trait]
pub trait Kv: Send + Sync {
    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Entry>, KvError>;

    /// Makes an entry that is not there; the new revision. One that was deleted is not there.
    async fn create(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<u64, KvError>;

    /// Changes an entry that has that revision; the new revision.
    async fn update(&self, bucket: Bucket, key: &str, value: Bytes, revision: u64) -> Result<u64, KvError>;

    /// Writes whatever is there; the new revision.
    async fn put(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<u64, KvError>;

    /// Deletes an entry, if it has that revision where one is named. One that is not there is no error.
    async fn delete(&self, bucket: Bucket, key: &str, revision: Option<u64>) -> Result<(), KvError>;

    /// All keys of a bucket, in no order.
    async fn keys(&self, bucket: Bucket) -> Result<Vec<String>, KvError>;
}

/// Whether a key may be used.
pub fn check_key(key: &str) -> Result<(), KvError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=./-".contains(&byte);
    let is_good = !key.is_empty()
        && key.len() <= 200
        && key.bytes().all(allowed)
        && !key.starts_with('.')
        && !key.ends_with('.')
        && !key.contains("..");
    match is_good {
        true => Ok(()),
        false => Err(KvError::BadKey(key.chars().take(50).collect())),
    }
}

/// Whether a value may be stored.
pub fn check_value(value: &[u8]) -> Result<(), KvError> {
    match value.len() {
        0..=MAX_VALUE => Ok(()),
        len => Err(KvError::TooLarge(len)),
    }
}

//! What all instances of a fleet must have the same of: made once by whoever comes first.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::store::{SECRETS, Store, StoreError};
use crate::auth::random_bytes;

const KEY: &str = "fleet";
/// The bus has this long to come up before an instance gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Serialize, Deserialize)]
struct Entry {
    tokens: String,
    proofs: String,
    members: String,
}

#[derive(Clone)]
pub struct Secrets {
    /// Signs join and host tokens.
    pub tokens: [u8; 32],
    /// Signs challenges for proofs of work.
    pub proofs: [u8; 32],
    /// What members show each other at their internal ports.
    pub members: String,
}

impl Secrets {
    /// Waits for the store where it is away.
    pub async fn load(store: &Store) -> anyhow::Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            match read_or_create(store).await {
                Ok(entry) => return entry.parse().context("the secrets of the fleet cannot be read"),
                Err(error) if Instant::now() >= until => {
                    return Err(anyhow::Error::from(error).context("the secrets of the fleet cannot be fetched"));
                }
                Err(error) => tracing::warn!(%error, "the store of the fleet is waited for"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn read_or_create(store: &Store) -> Result<Entry, StoreError> {
    if let Some(entry) = store.get(SECRETS, KEY).await? {
        return Ok(entry.value);
    }
    let made = Entry::random();
    if store.create(SECRETS, KEY, &made).await?.is_some() {
        return Ok(made);
    }
    let entry = store.get(SECRETS, KEY).await?;
    entry.map(|entry| entry.value).ok_or(StoreError::Malformed(SECRETS))
}

impl Entry {
    fn random() -> Self {
        let secret = || BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>());
        Self {
            tokens: secret(),
            proofs: secret(),
            members: secret(),
        }
    }

    fn parse(self) -> Option<Secrets> {
        let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok();
        Some(Secrets {
            tokens: bytes(&self.tokens)?,
            proofs: bytes(&self.proofs)?,
            members: self.members,
        })
    }
}

//! Where a meeting is, by its id or code.

use std::time::Duration;

use tianqiao_bus::KvError;
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::InstanceId;

use super::bounded::Bounded;
use super::claims::{Judged, judge};
use super::store::{CODES, ClaimEntry, INSTANCES, InstanceEntry, MEETINGS, StoreError, Stored, TOMBSTONES, Tombstone};
use super::{Fleet, STORE_RETRY};
use crate::refusal::Refusal;

/// An owner is believed for so long without asking; one that has changed says so when it is asked.
const OWNER_LIFE: Duration = Duration::from_secs(10);
/// What is not there is asked for again after this time.
const MISS_LIFE: Duration = Duration::from_secs(1);
const MAX_NAMES: usize = 50_000;
/// Claims that change under our hands are looked at so often.
const TRIES: usize = 5;

/// An instance and its internal port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: InstanceId,
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Here,
    There(Peer),
    /// There is no such meeting, or there was one.
    Nowhere,
}

/// What was found lately.
pub struct Names {
    /// By a meeting's id.
    owners: Bounded<Peer>,
    /// Ids by code.
    codes: Bounded<String>,
    misses: Bounded<()>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            owners: Bounded::new(MAX_NAMES),
            codes: Bounded::new(MAX_NAMES),
            misses: Bounded::new(MAX_NAMES),
        }
    }
}

impl Fleet {
    /// Finds a meeting by id or code; one whose owner is dead is taken over.
    pub async fn locate(&self, id_or_code: &str) -> Result<Place, Refusal> {
        if self.is_here(id_or_code)? {
            return Ok(Place::Here);
        }
        let digits: String = id_or_code.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if self.meetings.is_buried(id_or_code) || self.meetings.is_buried(&digits) {
            return Ok(Place::Nowhere);
        }
        let is_code = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let name = if is_code { digits.as_str() } else { id_or_code };
        if self.names.misses.get(name).is_some_and(|(_, age)| age < MISS_LIFE) {
            return Ok(Place::Nowhere);
        }
        let id = match is_code {
            true => self.id_of(name).await?,
            false => Some(name.to_owned()),
        };
        let place = match &id {
            Some(id) => self.place(id).await?,
            None => self.ended(name).await?,
        };
        if place == Place::Nowhere {
            self.names.misses.insert(name, ());
        }
        Ok(place)
    }

    /// What is believed of the owner of that meeting is wrong.
    pub fn forget_owner(&self, id_or_code: &str) {
        let digits: String = id_or_code.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let id = self.names.codes.get(&digits).map(|(id, _)| id);
        self.names.owners.remove(id.as_deref().unwrap_or(id_or_code));
    }

    fn is_here(&self, id_or_code: &str) -> Result<bool, Refusal> {
        if self.meetings.find(id_or_code).is_err() {
            return Ok(false);
        }
        match self.is_leaving() {
            true => Err(Refusal::meeting_has_moved()),
            false => Ok(true),
        }
    }

    async fn id_of(&self, code: &str) -> Result<Option<String>, Refusal> {
        if let Some((id, _)) = self.names.codes.get(code) {
            return Ok(Some(id));
        }
        let id = self.store.get::<String>(CODES, code).await?.map(|stored| stored.value);
        if let Some(id) = &id {
            self.names.codes.insert(code, id.clone());
        }
        Ok(id)
    }

    async fn place(&self, id: &str) -> Result<Place, Refusal> {
        let believed = self.names.owners.get(id);
        if let Some((peer, age)) = &believed
            && *age < OWNER_LIFE
        {
            return Ok(Place::There(peer.clone()));
        }
        let _held = self.lock(id).await;
        for _ in 0..TRIES {
            if self.is_here(id)? {
                return Ok(Place::Here);
            }
            let claim = match self.store.get::<ClaimEntry>(MEETINGS, id).await {
                Ok(claim) => claim,
                Err(error) => return self.believe(error, believed.map(|(peer, _)| peer)),
            };
            let Some(claim) = claim else {
                return self.ended(id).await;
            };
            match self.judge_claim(id, claim).await? {
                Some(place) => return Ok(place),
                // Somebody else was first.
                None => continue,
            }
        }
        Err(Refusal::busy(
            ErrorCode::Unavailable,
            "the meeting is being moved",
            STORE_RETRY,
        ))
    }

    async fn judge_claim(&self, id: &str, claim: Stored<ClaimEntry>) -> Result<Option<Place>, Refusal> {
        let entry = Some((claim.value.instance.as_str(), claim.revision));
        match judge(&self.me, None, entry) {
            Judged::Others(owner) => match self.store.get::<InstanceEntry>(INSTANCES, &owner).await? {
                Some(instance) => {
                    let url = instance.value.url;
                    let peer = Peer { id: owner, url };
                    self.names.owners.insert(id, peer.clone());
                    Ok(Some(Place::There(peer)))
                }
                None if self.is_leaving() => Err(Refusal::meeting_has_moved()),
                None => Ok(self.take_over(id, claim).await?.then_some(Place::Here)),
            },
            _ if self.is_leaving() => Err(Refusal::meeting_has_moved()),
            Judged::Keep | Judged::Restore => {
                self.restore(id, claim.value, claim.revision).await?;
                Ok(Some(Place::Here))
            }
            Judged::Nobody => Ok(Some(Place::Nowhere)),
        }
    }

    /// While the store is away the last known owner is as good as any.
    fn believe(&self, error: StoreError, believed: Option<Peer>) -> Result<Place, Refusal> {
        match (error, believed) {
            (StoreError::Kv(KvError::Away(_)), Some(peer)) => Ok(Place::There(peer)),
            (error, _) => Err(error.into()),
        }
    }

    /// Remembers a meeting that its host has ended elsewhere.
    async fn ended(&self, name: &str) -> Result<Place, Refusal> {
        if self.store.get::<Tombstone>(TOMBSTONES, name).await?.is_some() {
            self.meetings.bury(name);
        }
        Ok(Place::Nowhere)
    }
}

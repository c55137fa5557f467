//! What the owner of a room says of its other nodes, carried out in the rooms.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tianqiao_protocol::control::{RelayEndpoint, RelayKeys, RelayLink, RoomId, RoomRelays, SfuError, SfuReply};
use tianqiao_sfu_core::relay::{LinkId, LinkKey, LinkKeys};
use tianqiao_sfu_core::rooms::{self, Rooms};
use tianqiao_sfu_core::units::WorkerIndex;

use super::answerer::Answerer;
use super::convert;

/// Late copies of what was said of a room that is gone still count as late for so long.
const REMEMBER: Duration = Duration::from_secs(60);
/// Links of a room in which nobody of this node has been for so long are ended even if nobody says so: its owner may have
/// died with it while the bus was away.
const ABANDONED_AFTER: Duration = Duration::from_secs(120);
/// Participants that one message may name.
const MAX_PARTICIPANTS: usize = 2_000;

/// Which state of each room is in force.
#[derive(Default)]
pub struct Relays {
    rooms: HashMap<RoomId, InForce>,
}

struct InForce {
    epoch: u64,
    version: u64,
    workers: HashMap<u64, WorkerIndex>,
    at: Instant,
    /// When somebody of this node was seen in it last, or the state came.
    inhabited: Instant,
}

impl Relays {
    /// Makes the state that `wanted` describes, or says why not. Late and repeated ones change nothing.
    pub fn apply(
        &mut self,
        now: Instant,
        epoch: u64,
        wanted: &RoomRelays,
        rooms: &mut Rooms,
        answerer: &Answerer,
    ) -> Result<SfuReply, SfuError> {
        if wanted.participants.len() > MAX_PARTICIPANTS {
            return Err(convert::bad_message("too many participants"));
        }
        let known = self
            .rooms
            .get(&wanted.room)
            .map(|known| (known.epoch, known.version))
            .unwrap_or_default();
        if (epoch, wanted.version) <= known {
            return Ok(self.relayed(&wanted.room, answerer));
        }
        if wanted.base.is_some_and(|base| (epoch, base) != known) {
            return Ok(SfuReply::RelayBehind);
        }
        let room: rooms::RoomId = convert::name(&wanted.room)?;
        let workers = set_links(now, &room, wanted, rooms)?;
        set_participants(now, &room, wanted, rooms)?;
        rooms.set_home(now, &room, wanted.home.map(LinkId));
        self.rooms
            .retain(|_, known| !known.workers.is_empty() || now.saturating_duration_since(known.at) < REMEMBER);
        let in_force = InForce {
            epoch,
            version: wanted.version,
            workers,
            at: now,
            inhabited: now,
        };
        self.rooms.insert(wanted.room.clone(), in_force);
        Ok(self.relayed(&wanted.room, answerer))
    }

    /// All of a room has ended.
    pub fn on_room_closed(&mut self, now: Instant, room: &str) {
        if let Some(known) = self.rooms.get_mut(room) {
            known.workers.clear();
            known.at = now;
        }
    }

    /// Ends links that nobody has a use for and nobody ends.
    pub fn sweep(&mut self, now: Instant, rooms: &mut Rooms) {
        for (room, known) in self.rooms.iter_mut().filter(|(_, known)| !known.workers.is_empty()) {
            if rooms.has_sessions(room) {
                known.inhabited = now;
            } else if now.saturating_duration_since(known.inhabited) >= ABANDONED_AFTER {
                tracing::info!(%room, "links of an abandoned room end");
                for link in std::mem::take(&mut known.workers).into_keys() {
                    rooms.close_link(now, LinkId(link));
                }
                known.at = now;
            }
        }
    }

    pub fn links(&self) -> usize {
        self.rooms.values().map(|room| room.workers.len()).sum()
    }

    fn relayed(&self, room: &str, answerer: &Answerer) -> SfuReply {
        let links = self.rooms.get(room).into_iter().flat_map(|known| &known.workers);
        let endpoint = |(&link, &worker): (&u64, &WorkerIndex)| RelayEndpoint {
            link,
            addresses: answerer.udp_addresses(worker),
        };
        SfuReply::Relayed {
            endpoints: links.map(endpoint).collect(),
        }
    }
}

/// Links first, since participants are found over them; but those that are to end only once nobody is behind them.
fn set_links(
    now: Instant,
    room: &rooms::RoomId,
    wanted: &RoomRelays,
    rooms: &mut Rooms,
) -> Result<HashMap<u64, WorkerIndex>, SfuError> {
    let mut workers = HashMap::new();
    for link in &wanted.links {
        let keys = keys(&link.keys)?;
        let opened = rooms.open_link(room, LinkId(link.id), keys, peer(link));
        workers.insert(link.id, opened.map_err(convert::rooms_error)?);
    }
    for link in rooms.links_of(room) {
        if !workers.contains_key(&link.0) {
            rooms.close_link(now, link);
        }
    }
    Ok(workers)
}

fn set_participants(
    now: Instant,
    room: &rooms::RoomId,
    wanted: &RoomRelays,
    rooms: &mut Rooms,
) -> Result<(), SfuError> {
    if wanted.base.is_none() {
        for session in rooms.remotes_of(room) {
            if wanted.participants.iter().all(|other| *other.session != *session) {
                rooms.remove_remote(now, room, &session);
            }
        }
    }
    for session in &wanted.gone {
        rooms.remove_remote(now, room, session);
    }
    for participant in &wanted.participants {
        let remote = rooms::RemoteParticipant {
            session: convert::name(&participant.session)?,
            identity: participant.identity.clone(),
            via: LinkId(participant.via),
            tracks: participant.tracks.iter().map(convert::track_info).collect(),
        };
        // One that cannot be shown is no reason to lose the others.
        if let Err(error) = rooms.set_remote(now, room, remote) {
            tracing::warn!(%room, session = participant.session, %error, "a participant of another node cannot be shown");
        }
    }
    Ok(())
}

/// Where the peer is: the first address is as good as any, since what comes from it counts for more.
fn peer(link: &RelayLink) -> Option<std::net::SocketAddr> {
    link.endpoints.first().copied()
}

fn keys(keys: &RelayKeys) -> Result<LinkKeys, SfuError> {
    Ok(LinkKeys {
        generation: keys.generation,
        send: key(&keys.send)?,
        receive: key(&keys.receive)?,
    })
}

fn key(text: &str) -> Result<LinkKey, SfuError> {
    let bytes = BASE64.decode(text).ok();
    let parts = bytes.as_deref().and_then(|bytes| {
        let (key, salt) = bytes.split_first_chunk::<16>()?;
        Some(LinkKey {
            key: *key,
            salt: salt.try_into().ok()?,
        })
    });
    parts.ok_or_else(|| convert::bad_message("not a key and salt of a link"))
}

#[cfg(test)]
mod tests {
    use tianqiao_sfu_core::negotiated::{Fingerprint, FingerprintAlgorithm};
    use tianqiao_sfu_core::rooms::RoomsConfig;
    use tianqiao_sfu_core::sdp::CodecPreferences;

    use super::*;

    #[test]
    fn links_of_an_abandoned_room_end_by_themselves() {
        let fingerprint = Fingerprint {
            algorithm: FingerprintAlgorithm::Sha256,
            digest: vec![1; 32],
        };
        let answerer = Answerer::new(fingerprint, &[], &[7_000], CodecPreferences::default());
        let (mut relays, mut rooms) = (Relays::default(), Rooms::new(RoomsConfig::default()));
        let start = Instant::now();
        let half = || BASE64.encode([1; 28]);
        let wanted = RoomRelays {
            room: "room".to_owned(),
            version: 1,
            links: vec![RelayLink {
                id: 7,
                peer: "n2".to_owned(),
                keys: RelayKeys {
                    generation: 1,
                    send: half(),
                    receive: half(),
                },
                endpoints: Vec::new(),
            }],
            ..RoomRelays::default()
        };
        relays.apply(start, 1, &wanted, &mut rooms, &answerer).expect("applied");
        relays.sweep(start + ABANDONED_AFTER / 2, &mut rooms);
        assert_eq!((relays.links(), rooms.is_empty()), (1, false));
        relays.sweep(start + ABANDONED_AFTER, &mut rooms);
        assert_eq!((relays.links(), rooms.is_empty()), (0, true));
    }
}

//! What a node that only pretends knows of rooms: who owns them by which claim, and their sessions for the next owner.

use std::collections::{BTreeMap, HashMap};

use tianqiao_protocol::control::{AdoptedSession, Owner, SfuError, SfuReply, SfuRequest};
use tianqiao_protocol::{ErrorCode, LinkQuality};

#[derive(Default)]
pub struct FakeRooms {
    rooms: HashMap<String, (Owner, BTreeMap<String, AdoptedSession>)>,
}

impl FakeRooms {
    pub fn admit(&mut self, owner: &Owner, request: &SfuRequest) -> Result<(), SfuError> {
        let room = match request {
            SfuRequest::Open(open) => Some(&open.room),
            SfuRequest::CloseRoom { room } | SfuRequest::Adopt { room } => Some(room),
            SfuRequest::Offer { session, .. }
            | SfuRequest::Viewport { session, .. }
            | SfuRequest::Mute { session, .. }
            | SfuRequest::RestartIce { session, .. }
            | SfuRequest::Close { session } => {
                let has_it = |(_, (_, sessions)): &(&String, &(Owner, BTreeMap<_, _>))| sessions.contains_key(session);
                self.rooms.iter().find(has_it).map(|(room, _)| room)
            }
            _ => None,
        };
        let room = room.cloned();
        let Some((known, _)) = room.and_then(|room| self.rooms.get_mut(&room)) else {
            return Ok(());
        };
        if owner.epoch < known.epoch {
            return Err(SfuError {
                code: ErrorCode::NotOwner,
                message: "a later claim".to_owned(),
            });
        }
        *known = owner.clone();
        Ok(())
    }

    pub fn on_answer(&mut self, owner: &Owner, request: &SfuRequest, answer: &SfuReply) {
        match (request, answer) {
            (SfuRequest::Open(open), SfuReply::Answered { tracks, slots, .. }) => {
                let session = AdoptedSession {
                    session: open.session.clone(),
                    memo: open.memo.clone(),
                    connected: false,
                    tracks: tracks.clone(),
                    slots: slots.clone(),
                    paused: Vec::new(),
                    unsupported: Vec::new(),
                    wanted: Vec::new(),
                    quality: LinkQuality::default(),
                };
                let room = self.rooms.entry(open.room.clone());
                let (_, sessions) = room.or_insert_with(|| (owner.clone(), BTreeMap::new()));
                sessions.insert(open.session.clone(), session);
            }
            (SfuRequest::Close { session }, _) => {
                for (_, sessions) in self.rooms.values_mut() {
                    sessions.remove(session);
                }
            }
            (SfuRequest::CloseRoom { room }, _) => drop(self.rooms.remove(room)),
            _ => {}
        }
    }

    pub fn on_connected(&mut self, session: &str) {
        for (_, sessions) in self.rooms.values_mut() {
            if let Some(session) = sessions.get_mut(session) {
                session.connected = true;
            }
        }
    }

    pub fn adopt(&self, room: &str) -> SfuReply {
        let sessions = self
            .rooms
            .get(room)
            .map(|(_, sessions)| sessions.values().cloned().collect());
        SfuReply::Adopted {
            sessions: sessions.unwrap_or_default(),
        }
    }
}

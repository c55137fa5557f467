//! Who owns the rooms of this node, and what a next owner wants to know of their sessions.

use std::collections::{BTreeSet, HashMap};

use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::{
    AdoptedSession, InstanceId, OpenSession, Owner, RoomId, RoomLoad, SessionId, SfuError, SfuEvent, SfuReply,
    SfuRequest,
};
use tianqiao_protocol::{LinkQuality, SlotState, TrackId, TrackInfo, UnsupportedSlot, WantedTrack};

/// Sans-IO: told of requests before and of replies and events after they were carried out.
#[derive(Default)]
pub struct Owners {
    rooms: HashMap<RoomId, Room>,
    sessions: HashMap<SessionId, Session>,
}

struct Room {
    owner: Owner,
    sessions: BTreeSet<SessionId>,
}

struct Session {
    room: RoomId,
    state: AdoptedSession,
}

impl Owners {
    /// Whether `owner` may ask for this; it is the owner of the room that it names from now on.
    pub fn admit(&mut self, owner: &Owner, request: &SfuRequest) -> Result<(), SfuError> {
        let room = match request {
            SfuRequest::Open(OpenSession { room, .. })
            | SfuRequest::CloseRoom { room }
            | SfuRequest::Adopt { room } => Some(room),
            SfuRequest::Relay(relays) => Some(&relays.room),
            SfuRequest::Offer { session, .. }
            | SfuRequest::RestartIce { session, .. }
            | SfuRequest::Viewport { session, .. }
            | SfuRequest::Mute { session, .. }
            | SfuRequest::Close { session } => self.sessions.get(session).map(|session| &session.room),
            SfuRequest::Ping | SfuRequest::Describe | SfuRequest::Drain { .. } => None,
        };
        let Some(known) = room.and_then(|room| self.rooms.get_mut(room)) else {
            return Ok(());
        };
        if owner.epoch < known.owner.epoch {
            return Err(SfuError {
                code: ErrorCode::NotOwner,
                message: format!("{} owns the room by a later claim", known.owner.instance),
            });
        }
        if known.owner != *owner {
            known.owner = owner.clone();
        }
        Ok(())
    }

    /// A session was opened.
    pub fn on_open(&mut self, owner: &Owner, room: &str, session: &str, memo: String, reply: &SfuReply) {
        let SfuReply::Answered { tracks, slots, .. } = reply else {
            return;
        };
        let state = AdoptedSession {
            session: session.to_owned(),
            memo,
            connected: false,
            tracks: tracks.clone(),
            slots: slots.clone(),
            paused: Vec::new(),
            unsupported: Vec::new(),
            wanted: Vec::new(),
            quality: LinkQuality::default(),
        };
        let entry = self.rooms.entry(room.to_owned()).or_insert_with(|| Room {
            owner: owner.clone(),
            sessions: BTreeSet::new(),
        });
        entry.sessions.insert(session.to_owned());
        let room = room.to_owned();
        self.sessions.insert(session.to_owned(), Session { room, state });
    }

    /// Another offer was answered.
    pub fn on_answer(&mut self, session: &str, tracks: &[TrackInfo], slots: &[SlotState]) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.state.tracks = tracks.to_vec();
            session.state.slots = slots.to_vec();
        }
    }

    pub fn on_muted(&mut self, session: &str, track: TrackId, muted: bool) {
        let session = self.sessions.get_mut(session);
        let tracks = session.into_iter().flat_map(|session| &mut session.state.tracks);
        for own in tracks.filter(|own| own.id == track) {
            own.muted = muted;
        }
    }

    pub fn on_closed(&mut self, session: &str) {
        let Some(Session { room, .. }) = self.sessions.remove(session) else {
            return;
        };
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.sessions.remove(session);
            if entry.sessions.is_empty() {
                self.rooms.remove(&room);
            }
        }
    }

    pub fn on_room_closed(&mut self, room: &str) {
        let sessions = self.rooms.remove(room).map(|room| room.sessions);
        for session in sessions.into_iter().flatten() {
            self.sessions.remove(&session);
        }
    }

    /// Notes an event; to whom it goes, if to anybody.
    pub fn on_event(&mut self, event: &SfuEvent) -> Option<InstanceId> {
        let session = match event {
            SfuEvent::Speakers { room, .. } | SfuEvent::Link { room, .. } => return self.instance(room),
            SfuEvent::Connected { session }
            | SfuEvent::Closed { session, .. }
            | SfuEvent::Slots { session, .. }
            | SfuEvent::SlotsPaused { session, .. }
            | SfuEvent::Quality { session, .. }
            | SfuEvent::Spare { session, .. }
            | SfuEvent::CodecUnsupported { session, .. }
            | SfuEvent::Wanted { session, .. } => session,
        };
        let Session { room, state } = self.sessions.get_mut(session)?;
        match event {
            SfuEvent::Connected { .. } => state.connected = true,
            SfuEvent::Slots { slots, .. } => change_slots(state, slots),
            SfuEvent::SlotsPaused { slots, .. } => {
                for slot in slots {
                    state.paused.retain(|mid| *mid != slot.mid);
                    if slot.paused {
                        state.paused.push(slot.mid.clone());
                    }
                }
            }
            SfuEvent::Quality { quality, .. } => state.quality = *quality,
            SfuEvent::CodecUnsupported { slot, .. } => change_unsupported(state, slot),
            SfuEvent::Wanted { tracks, .. } => change_wanted(state, tracks),
            SfuEvent::Closed { .. } => {
                let to = self.rooms.get(room).map(|room| room.owner.instance.clone());
                self.on_closed(session);
                return to;
            }
            SfuEvent::Spare { .. } | SfuEvent::Speakers { .. } | SfuEvent::Link { .. } => {}
        }
        let room = self.sessions.get(session).map(|session| session.room.clone())?;
        self.instance(&room)
    }

    /// All that is known of a room's sessions.
    pub fn adopt(&self, room: &str) -> SfuReply {
        let sessions = self.rooms.get(room).into_iter().flat_map(|room| &room.sessions);
        let states = sessions.filter_map(|session| Some(self.sessions.get(session)?.state.clone()));
        SfuReply::Adopted {
            sessions: states.collect(),
        }
    }

    /// The rooms with their sessions.
    pub fn loads(&self, relayed: impl Fn(&str) -> u64) -> Vec<RoomLoad> {
        let load = |(id, room): (&RoomId, &Room)| RoomLoad {
            room: id.clone(),
            owner: room.owner.instance.clone(),
            sessions: room.sessions.len() as u32,
            relayed: relayed(id),
        };
        self.rooms.iter().map(load).collect()
    }

    fn instance(&self, room: &str) -> Option<InstanceId> {
        Some(self.rooms.get(room)?.owner.instance.clone())
    }
}

fn change_slots(state: &mut AdoptedSession, changes: &[SlotState]) {
    for change in changes {
        state.slots.retain(|slot| slot.mid != change.mid);
        state.unsupported.retain(|slot| slot.mid != change.mid);
        if change.track.is_some() {
            state.slots.push(change.clone());
        }
    }
}

fn change_unsupported(state: &mut AdoptedSession, change: &UnsupportedSlot) {
    state.unsupported.retain(|slot| slot.mid != change.mid);
    state.unsupported.push(change.clone());
}

fn change_wanted(state: &mut AdoptedSession, changes: &[WantedTrack]) {
    for change in changes {
        state.wanted.retain(|track| track.track != change.track);
        state.wanted.push(change.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tianqiao_protocol::SlotPause;

    fn owner(instance: &str, epoch: u64) -> Owner {
        Owner {
            instance: instance.into(),
            epoch,
        }
    }

    fn opened(owners: &mut Owners, by: &Owner) {
        let reply = SfuReply::Answered {
            sdp: String::new(),
            tracks: Vec::new(),
            slots: Vec::new(),
        };
        owners.on_open(by, "room", "ann", "memo".into(), &reply);
    }

    fn mute() -> SfuRequest {
        SfuRequest::Mute {
            session: "ann".into(),
            track: 1,
            muted: true,
        }
    }

    #[test]
    fn who_owned_a_room_before_is_refused_and_hears_nothing_more() {
        let mut owners = Owners::default();
        let (first, second) = (owner("a", 3), owner("b", 4));
        opened(&mut owners, &first);
        let event = SfuEvent::Connected { session: "ann".into() };
        assert_eq!(owners.on_event(&event).as_deref(), Some("a"));
        let adopt = SfuRequest::Adopt { room: "room".into() };
        assert_eq!(owners.admit(&second, &adopt), Ok(()));
        assert_eq!(owners.on_event(&event).as_deref(), Some("b"));
        for request in [adopt, mute()] {
            let refused = owners.admit(&first, &request).expect_err("an older claim");
            assert_eq!(refused.code, ErrorCode::NotOwner);
        }
        assert_eq!(owners.admit(&second, &mute()), Ok(()));
    }

    #[test]
    fn the_next_owner_is_told_what_the_first_was() {
        let mut owners = Owners::default();
        opened(&mut owners, &owner("a", 1));
        let session = || "ann".to_owned();
        let slot = |track| SlotState { mid: "5".into(), track };
        let pause = |paused| SfuEvent::SlotsPaused {
            session: session(),
            slots: vec![SlotPause {
                mid: "5".into(),
                paused,
            }],
        };
        let slots = |track| SfuEvent::Slots {
            session: session(),
            slots: vec![slot(track)],
        };
        for event in [slots(Some(7)), pause(true), SfuEvent::Connected { session: session() }] {
            owners.on_event(&event);
        }
        let adopted = |owners: &Owners| match owners.adopt("room") {
            SfuReply::Adopted { sessions } => sessions.first().cloned().expect("one session"),
            other => panic!("{other:?}"),
        };
        let state = adopted(&owners);
        assert_eq!((state.memo.as_str(), state.connected), ("memo", true));
        assert_eq!((state.slots, state.paused), (vec![slot(Some(7))], vec!["5".to_owned()]));
        for event in [slots(None), pause(false)] {
            owners.on_event(&event);
        }
        let state = adopted(&owners);
        assert!(state.slots.is_empty() && state.paused.is_empty());
    }

    #[test]
    fn nothing_is_kept_of_what_is_closed() {
        let mut owners = Owners::default();
        opened(&mut owners, &owner("a", 1));
        owners.on_closed("ann");
        owners.on_closed("ann");
        assert!(owners.rooms.is_empty() && owners.sessions.is_empty());
        opened(&mut owners, &owner("a", 1));
        owners.on_room_closed("room");
        assert!(owners.rooms.is_empty() && owners.sessions.is_empty());
    }
}

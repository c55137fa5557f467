//! One meeting: who is in it, what they are told of each other, and when their sessions end.
//! Sans-IO: calls with the time in, [`Output`]s out; after each call drain [`Meeting::poll_output`],
//! and call [`Meeting::handle_timeout`] when [`Meeting::poll_timeout`] says.

mod chat;
mod moves;
mod participant;
mod quality;
mod roster;
mod snapshot;
mod stills;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use subtle::ConstantTimeEq;
use tianqiao_protocol::control::CloseReason;
use tianqiao_protocol::fleet::NodeId;
use tianqiao_protocol::ws::{ChatLine, EndReason, ParticipantQuality, RoomState, ServerMessage, Speakers};
use tianqiao_protocol::{
    ErrorCode, LinkQuality, ParticipantId, SlotPause, SlotState, TrackId, TrackInfo, UnsupportedSlot, WantedTrack,
};

use crate::limits::{Rate, TokenBucket};
use crate::refusal::Refusal;
use crate::text::{self, Lines, TextError};
use chat::ChatHistory;
pub use chat::ChatLimits;
use moves::Moves;
pub use moves::{MoveEvent, MoveReason, Side};
pub use participant::{Kind, Newcomer};
use participant::{Participant, Phase};
use quality::QualityNews;
use roster::{Change, Roster};
pub use snapshot::{MeetingSnapshot, Memo};
use stills::StillNews;
pub use stills::{StillLimits, StillLink, StoredStill, is_webp};

/// One participant's share of a meeting's chat is this part of it.
const CHAT_SHARE: f64 = 4.0;
/// Who was in a meeting may come back as one of those who are in it for this time.
const KNOWN_FOR: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
pub struct MeetingLimits {
    pub max_participants: usize,
    pub chat: ChatLimits,
    /// Bytes of chat of all together.
    pub chat_rate: Rate,
    /// Sessions of one person at a time.
    pub max_per_identity: usize,
    pub stills: StillLimits,
    /// A session whose media has not connected for this time makes room in a full meeting.
    pub unconnected_grace: Duration,
    pub roster_interval: Duration,
    pub resume_window: Duration,
    /// A meeting without participants is over after this time.
    pub ttl: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send {
        to: Vec<ParticipantId>,
        message: ServerMessage,
    },
    /// Tells the participant's WebSocket why it ends and closes it.
    End {
        participant: ParticipantId,
        reason: EndReason,
    },
    /// Ends the session at a node of the SFU.
    CloseMedia { session: ParticipantId, node: NodeId },
    /// A move to another node has come so far.
    Moved {
        participant: ParticipantId,
        reason: MoveReason,
        event: MoveEvent,
    },
    /// The participant is gone; its id is never used again.
    Forget { participant: ParticipantId, kind: Kind },
    /// Ends all sessions of the meeting at a node of the SFU.
    CloseRoom(NodeId),
    /// The meeting is gone.
    Over,
}

pub struct Meeting {
    limits: MeetingLimits,
    participants: BTreeMap<ParticipantId, Participant>,
    roster: Roster,
    quality_news: QualityNews,
    chat: ChatHistory,
    chat_bucket: TokenBucket,
    /// Those who were in it lately, and when they left.
    known: HashMap<String, Instant>,
    speakers: Speakers,
    stills: stills::Stills,
    moves: Moves,
    /// Those of whom nodes are to be told something new.
    relay_news: BTreeSet<ParticipantId>,
    /// Since when nobody has been in it.
    idle_since: Option<Instant>,
    /// Set for good by [`Self::end`].
    ended: Option<EndReason>,
    /// Another instance has it.
    has_moved: bool,
    /// See [`Self::changes`].
    changes: u64,
    outputs: VecDeque<Output>,
}

impl Meeting {
    pub fn new(limits: MeetingLimits, now: Instant) -> Self {
        Self {
            limits,
            participants: BTreeMap::new(),
            roster: Roster::new(limits.roster_interval),
            quality_news: QualityNews::default(),
            chat: ChatHistory::new(limits.chat),
            chat_bucket: TokenBucket::new(limits.chat_rate, now),
            known: HashMap::new(),
            speakers: Speakers::default(),
            stills: stills::Stills::default(),
            moves: Moves::default(),
            relay_news: BTreeSet::new(),
            idle_since: Some(now),
            ended: None,
            has_moved: false,
            changes: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Participants whom others see.
    pub fn listed(&self) -> usize {
        self.participants.values().filter(|member| member.is_listed()).count()
    }

    /// Holds a place for a newcomer while the SFU answers its offer; [`Self::admit`] or
    /// [`Self::leave`] follows. A session of the same person whose WebSocket is lost makes room.
    pub fn reserve(&mut self, now: Instant, newcomer: Newcomer) -> Result<(), Refusal> {
        if self.ended.is_some() {
            return Err(self.over());
        }
        let lost: Vec<ParticipantId> = self
            .participants
            .values()
            .filter(|member| member.identity == newcomer.identity && member.detached_since().is_some())
            .map(|member| member.id.clone())
            .collect();
        for id in lost {
            self.leave(now, &id, EndReason::Replaced);
        }
        let own = |member: &Participant| member.identity == newcomer.identity;
        let of_identity = self.participants.values().filter(|member| own(member)).count();
        if of_identity >= self.limits.max_per_identity.max(1) {
            let ripe = self.oldest_unconnected(now, own);
            self.make_room(now, ripe, "too many sessions of this token")?;
        }
        if self.participants.len() >= self.limits.max_participants {
            let ripe = self
                .oldest_unconnected(now, own)
                .or_else(|| self.oldest_unconnected(now, |member| member.network == newcomer.network))
                .or_else(|| self.oldest_unconnected(now, |_| true));
            self.make_room(now, ripe, "the meeting is full")?;
        }
        self.idle_since = None;
        let participant = Participant::new(newcomer, self.limits.chat_rate.share(CHAT_SHARE), now);
        self.participants.insert(participant.id.clone(), participant);
        Ok(())
    }

    /// Whether that person is or lately was in it with media that connected.
    pub fn knows(&self, now: Instant, identity: &str) -> bool {
        let member = self
            .participants
            .values()
            .any(|member| member.connected && member.identity == identity);
        let left = self.known.get(identity);
        member || left.is_some_and(|left| now.saturating_duration_since(*left) < KNOWN_FOR)
    }

    fn oldest_unconnected(&self, now: Instant, wanted: impl Fn(&Participant) -> bool) -> Option<ParticipantId> {
        let grace = self.limits.unconnected_grace;
        let ripe = self.participants.values().filter(|member| {
            !member.connected && now.saturating_duration_since(member.reserved_at) >= grace && wanted(member)
        });
        ripe.min_by_key(|member| member.reserved_at)
            .map(|member| member.id.clone())
    }

    fn make_room(&mut self, now: Instant, gone: Option<ParticipantId>, refusal: &'static str) -> Result<(), Refusal> {
        let gone = gone.ok_or_else(|| Refusal::busy(ErrorCode::MeetingFull, refusal, self.limits.unconnected_grace))?;
        self.leave(now, &gone, EndReason::MediaTimeout);
        Ok(())
    }

    /// The media of a session has connected.
    pub fn on_connected(&mut self, id: &str) {
        if let Some(member) = self.participants.get_mut(id) {
            member.connected = true;
        }
    }

    /// The newcomer's session is opened on that node, which keeps the memo of it.
    pub fn place(&mut self, id: &str, node: NodeId, memo: String) {
        if let Some(member) = self.participants.get_mut(id) {
            member.node = Some(node);
            member.memo = memo;
        }
    }

    /// Its nodes with the sessions on each, those included that are being opened.
    pub fn nodes(&self) -> BTreeMap<NodeId, u32> {
        let mut nodes = BTreeMap::new();
        for node in self.participants.values().flat_map(Participant::nodes) {
            *nodes.entry(node.clone()).or_default() += 1;
        }
        nodes
    }

    /// Since when nobody has been in it.
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// Lets a newcomer in whose offer was answered; from now on it is sent every change.
    pub fn admit(
        &mut self,
        now: Instant,
        id: &str,
        tracks: Vec<TrackInfo>,
        slots: Vec<SlotState>,
    ) -> Result<RoomState, Refusal> {
        let Some(member) = self.participants.get_mut(id) else {
            return Err(match self.ended {
                Some(_) => self.over(),
                None => Refusal::new(ErrorCode::Unavailable, "the media connection ended before it began"),
            });
        };
        member.phase = match member.kind {
            Kind::Web => Phase::Attached,
            Kind::Whip | Kind::Whep => Phase::Unattended,
        };
        member.set_tracks(tracks);
        member.set_first_slots(slots);
        if member.is_listed() {
            self.roster.record(id, Change::Joined);
        }
        self.relay_news.insert(id.to_owned());
        self.refresh_stills();
        let state = self.state_for(id);
        self.flush_roster(now);
        Ok(state)
    }

    /// Takes up a session whose WebSocket was lost, or replaces its WebSocket.
    pub fn resume(&mut self, id: &str, secret: &str) -> Result<RoomState, Refusal> {
        if self.has_moved {
            return Err(Refusal::meeting_has_moved());
        }
        let member = self.participants.get_mut(id).ok_or_else(Refusal::session_unknown)?;
        let known: bool = member.secret.as_bytes().ct_eq(secret.as_bytes()).into();
        match member.phase {
            Phase::Attached if known => self.outputs.push_back(Output::End {
                participant: id.to_owned(),
                reason: EndReason::Replaced,
            }),
            Phase::Detached { .. } if known => member.phase = Phase::Attached,
            _ => return Err(Refusal::session_unknown()),
        }
        Ok(self.state_for(id))
    }

    /// The participant's WebSocket is lost.
    pub fn detach(&mut self, now: Instant, id: &str) {
        if let Some(member) = self.participants.get_mut(id)
            && member.phase == Phase::Attached
        {
            member.phase = Phase::Detached { since: now };
        }
    }

    /// Ends one session. Unknown ones are no error.
    pub fn leave(&mut self, now: Instant, id: &str, reason: EndReason) {
        if let Some(member) = self.participants.get(id) {
            let close = |node: &NodeId| Output::CloseMedia {
                session: id.to_owned(),
                node: node.clone(),
            };
            self.outputs.extend(member.nodes().map(close));
            self.remove(now, id, reason);
        }
    }

    /// Ends the meeting for everybody.
    pub fn end(&mut self, now: Instant, reason: EndReason) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(reason);
        let nodes = self.nodes().into_keys();
        self.outputs.extend(nodes.map(Output::CloseRoom));
        let ids: Vec<ParticipantId> = self.participants.keys().cloned().collect();
        for id in ids {
            self.remove(now, &id, reason);
        }
        self.outputs.push_back(Output::Over);
    }

    /// A line of chat to everybody, the sender included; `at` is in milliseconds since the Unix epoch.
    pub fn send_chat(&mut self, now: Instant, id: &str, text: &str, at: u64) -> Result<(), Refusal> {
        let text = text::clean(text, self.limits.chat.max_length, Lines::Many).map_err(|error| match error {
            TextError::Empty => Refusal::new(ErrorCode::BadMessage, "an empty chat message"),
            TextError::TooLong => Refusal::new(ErrorCode::TooLarge, "the chat message is too long"),
        })?;
        let member = self.participants.get_mut(id).ok_or_else(Refusal::session_unknown)?;
        let bytes = text.len() + chat::LINE_OVERHEAD;
        member
            .chat
            .take_all(now, bytes)
            .and_then(|()| self.chat_bucket.take_all(now, bytes))
            .map_err(|wait| Refusal::rate_limited("too much chat", wait))?;
        let text = text.as_str();
        let line = self.chat.add(member, text, at);
        self.changes += 1;
        self.broadcast(ServerMessage::Chat(line));
        Ok(())
    }

    /// Chat before that line, or the latest.
    pub fn chat_page(&self, before: Option<u32>) -> Vec<ChatLine> {
        self.chat.page(before)
    }

    /// Whether the participant publishes that track.
    pub fn has_track(&self, id: &str, track: TrackId) -> bool {
        let member = self.participants.get(id);
        member.is_some_and(|member| member.has_track(track))
    }

    /// The person whose session it is.
    pub fn identity(&self, id: &str) -> Option<&str> {
        self.participants.get(id).map(|member| member.identity.as_str())
    }

    /// Whether that is the secret of the session.
    pub fn is_session(&self, id: &str, secret: &str) -> bool {
        let member = self
            .participants
            .get(id)
            .filter(|member| member.phase != Phase::Reserved);
        member.is_some_and(|member| member.secret.as_bytes().ct_eq(secret.as_bytes()).into())
    }

    /// A still of one of the participant's own tracks; `at` is in milliseconds since the Unix epoch. Returns how many bytes
    /// the next one had better have.
    pub fn put_still(&mut self, now: Instant, id: &str, track: TrackId, image: Bytes, at: u64) -> Result<u32, Refusal> {
        if !self.has_track(id, track) {
            return Err(Refusal::new(ErrorCode::TrackUnknown, "you publish no such track"));
        }
        let news = self.stills.put(now, &self.limits.stills, (id, track), image, at)?;
        self.tell_stills(news);
        Ok(self.stills.next_bytes(&self.limits.stills, &self.participants, track))
    }

    /// The latest still of a track that a slot of the participant shows, and the way that stills have to it.
    pub fn still(&self, id: &str, track: TrackId) -> Option<(StoredStill, Arc<StillLink>)> {
        let member = self.participants.get(id).filter(|member| member.shows(track))?;
        Some((self.stills.latest(track)?.clone(), member.still_link.clone()))
    }

    pub fn has_participant(&self, id: &str) -> bool {
        self.participants.get(id).is_some_and(Participant::is_listed)
    }

    /// Whether `id` is a WHIP or WHEP session that `identity`'s token has opened.
    pub fn is_own_http_session(&self, id: &str, identity: &str) -> bool {
        let member = self.participants.get(id);
        member.is_some_and(|member| member.kind != Kind::Web && member.identity == identity)
    }

    /// Counts the ICE restarts over HTTP of a session, from 0.
    pub fn ice_generation(&self, id: &str) -> u32 {
        self.participants.get(id).map_or(0, |member| member.ice_generation)
    }

    pub fn on_ice_restarted(&mut self, id: &str) -> u32 {
        self.changes += 1;
        self.participants.get_mut(id).map_or(0, |member| {
            member.ice_generation = member.ice_generation.wrapping_add(1);
            member.ice_generation
        })
    }

    pub fn set_muted(&mut self, now: Instant, id: &str, track: TrackId, muted: bool) {
        self.set_second_muted(id, track, muted);
        let Some(member) = self.participants.get_mut(id) else {
            return;
        };
        let Some(known) = member.tracks.iter_mut().find(|known| known.id == track) else {
            return;
        };
        if known.muted != muted {
            known.muted = muted;
            member.on_mute(track, muted);
            self.on_tracks_changed(now, id);
        }
    }

    /// The answer to a new offer: all tracks of the participant and all its slots that show something.
    pub fn set_answered(&mut self, now: Instant, id: &str, tracks: Vec<TrackInfo>, slots: Vec<SlotState>) {
        let Some(member) = self.participants.get_mut(id) else {
            return;
        };
        let changed = member.replace_slots(slots);
        self.send_slots(id, changed);
        self.refresh_stills();
        let Some(member) = self.participants.get_mut(id) else {
            return;
        };
        if member.tracks != tracks {
            member.set_tracks(tracks);
            self.on_tracks_changed(now, id);
        }
    }

    /// The SFU gave the session up.
    pub fn on_media_closed(&mut self, now: Instant, id: &str, reason: CloseReason) {
        if self.outlives_media(now, id, reason) {
            return;
        }
        let reason = match reason {
            CloseReason::Shutdown => EndReason::ServerShutdown,
            CloseReason::IceTimeout | CloseReason::DtlsFailed | CloseReason::PeerClosed => EndReason::MediaTimeout,
        };
        self.remove(now, id, reason);
    }

    /// Slots that show another track than before.
    pub fn on_slots(&mut self, id: &str, slots: &[SlotState]) {
        if let Some(member) = self.participants.get_mut(id) {
            let changed = member.change_slots(slots);
            self.send_slots(id, changed);
            self.refresh_stills();
        }
    }

    /// Slots that stand still for want of bandwidth, or do so no longer.
    pub fn on_slots_paused(&mut self, id: &str, pauses: &[SlotPause]) {
        if let Some(member) = self.participants.get_mut(id) {
            let slots = member.set_paused(pauses);
            if !slots.is_empty() {
                self.send(id, ServerMessage::SlotsPaused { slots });
                self.refresh_stills();
            }
        }
    }

    pub fn on_codec_unsupported(&mut self, id: &str, slot: UnsupportedSlot) {
        if let Some(member) = self.participants.get_mut(id)
            && member.set_unsupported(&slot)
        {
            self.send(id, ServerMessage::CodecUnsupported(slot));
        }
    }

    /// What others can use of tracks of the participant.
    pub fn on_wanted(&mut self, id: &str, tracks: Vec<WantedTrack>) {
        if let Some(member) = self.participants.get_mut(id) {
            let tracks = member.set_wanted(tracks);
            if !tracks.is_empty() {
                self.send(id, ServerMessage::Wanted { tracks });
            }
        }
    }

    /// How well the link of a participant carries the meeting.
    pub fn on_quality(&mut self, now: Instant, id: &str, quality: LinkQuality) {
        let Some(member) = self.participants.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut member.quality, quality) != quality && member.is_listed() {
            self.quality_news.record(id);
            self.flush_quality(now);
        }
    }

    /// What the link of a participant has left beside media, while video of it is paused.
    pub fn on_spare(&mut self, id: &str, bits_per_second: u64) {
        if let Some(member) = self.participants.get(id) {
            member.still_link.set_spare(bits_per_second);
        }
    }

    pub fn on_speakers(&mut self, dominant: Option<ParticipantId>, speaking: Vec<ParticipantId>) {
        let speakers = Speakers { dominant, speaking };
        if self.speakers != speakers {
            self.speakers = speakers.clone();
            self.broadcast(ServerMessage::Speakers(speakers));
            self.refresh_stills();
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let window = self.limits.resume_window;
        let lost: Vec<ParticipantId> = self
            .participants
            .values()
            .filter(|member| member.detached_since().is_some_and(|since| now >= since + window))
            .map(|member| member.id.clone())
            .collect();
        for id in lost {
            self.leave(now, &id, EndReason::Left);
        }
        self.handle_move_timeouts(now);
        self.flush_roster(now);
        self.flush_quality(now);
        if self.idle_since.is_some_and(|since| now >= since + self.limits.ttl) {
            self.end(now, EndReason::MeetingEnded);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let detached = self.participants.values().filter_map(Participant::detached_since);
        let resume = detached.min().map(|since| since + self.limits.resume_window);
        let idle = self.idle_since.map(|since| since + self.limits.ttl);
        [
            resume,
            idle,
            self.roster.due(),
            self.quality_news.due(),
            self.moves.due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn over(&self) -> Refusal {
        match self.has_moved {
            true => Refusal::meeting_has_moved(),
            false => Refusal::new(ErrorCode::MeetingEnded, "the meeting has ended"),
        }
    }

    fn remove(&mut self, now: Instant, id: &str, reason: EndReason) {
        let Some(member) = self.participants.remove(id) else {
            return;
        };
        if member.phase == Phase::Attached {
            self.outputs.push_back(Output::End {
                participant: id.to_owned(),
                reason,
            });
        }
        self.relay_news.insert(id.to_owned());
        self.moves.remove(id);
        if let Some(moving) = &member.moving {
            self.outputs.push_back(moving.event_of(id, MoveEvent::GivenUp));
        }
        if member.connected && self.ended.is_none() {
            self.remember(now, member.identity.clone());
        }
        self.outputs.push_back(Output::Forget {
            participant: member.id.clone(),
            kind: member.kind,
        });
        if self.speakers.dominant.as_deref() == Some(id) {
            self.speakers.dominant = None;
        }
        self.speakers.speaking.retain(|speaker| speaker != id);
        self.quality_news.forget(id);
        self.refresh_stills();
        if self.participants.is_empty() {
            self.idle_since = Some(now);
        }
        if member.is_listed() && self.ended.is_none() {
            self.roster.record(id, Change::Left);
            self.flush_roster(now);
        }
    }

    /// Notes who was here; of too many the one who left first is forgotten.
    fn remember(&mut self, now: Instant, identity: String) {
        self.changes += 1;
        self.known.insert(identity, now);
        if self.known.len() > self.limits.max_participants.max(1) {
            let first = self.known.iter().min_by_key(|(_, left)| **left);
            if let Some(first) = first.map(|(identity, _)| identity.clone()) {
                self.known.remove(&first);
            }
        }
    }

    fn on_tracks_changed(&mut self, now: Instant, id: &str) {
        self.relay_news.insert(id.to_owned());
        self.refresh_stills();
        if self.participants.get(id).is_some_and(Participant::is_listed) {
            self.roster.record(id, Change::Tracks);
            self.flush_roster(now);
        }
    }

    /// What `id` must know; later changes reach it as messages.
    fn state_for(&mut self, id: &str) -> RoomState {
        let listed = self.participants.values().filter(|member| member.is_listed());
        let participants = listed.clone().map(Participant::to_wire).collect();
        let quality = listed.filter(|member| member.quality != LinkQuality::default());
        let quality = quality.map(Participant::quality_to_wire).collect();
        let (mut slots, mut paused, mut unsupported, mut wanted) = Default::default();
        if let Some(member) = self.participants.get_mut(id) {
            member.knows_roster_until = self.roster.latest();
            slots = member.slots();
            paused = member.paused();
            unsupported = member.unsupported();
            wanted = member.wanted();
        }
        RoomState {
            participants,
            slots,
            paused,
            unsupported,
            wanted,
            speakers: self.speakers.clone(),
            quality,
            stills_wanted: self.stills.wanted_of(id),
            stills: self.stills.shown_to(id),
            chat: self.chat.page(None),
        }
    }

    /// Tells everybody the changes of the list, if it is time.
    fn flush_roster(&mut self, now: Instant) {
        let Some(changes) = self.roster.take(now) else {
            return;
        };
        let mut veterans = Vec::new();
        let mut messages = Vec::new();
        for member in self
            .participants
            .values()
            .filter(|member| member.phase == Phase::Attached)
        {
            if member.knows_roster_until < changes.first() {
                veterans.push(member.id.clone());
                continue;
            }
            // Joined or resumed since the last time: knows a part of it already.
            let news = changes.since(member.knows_roster_until, &self.participants);
            messages.extend(news.into_iter().map(|message| (vec![member.id.clone()], message)));
        }
        if !veterans.is_empty() {
            let news = changes.since(0, &self.participants);
            messages.extend(news.into_iter().map(|message| (veterans.clone(), message)));
        }
        let messages = messages.into_iter().map(|(to, message)| Output::Send { to, message });
        self.outputs.extend(messages);
    }

    /// Tells everybody of links that have got better or worse, if it is time.
    fn flush_quality(&mut self, now: Instant) {
        let listed = |id: &str| self.participants.get(id).filter(|member| member.is_listed());
        let quality = |id: &str| listed(id).map(Participant::quality_to_wire);
        let changed: Vec<ParticipantQuality> = self.quality_news.take(now, quality);
        if !changed.is_empty() {
            self.broadcast(ServerMessage::Quality { changed });
        }
    }

    /// Asks for stills of videos that somebody lacks since now, and for those no longer that nobody lacks.
    fn refresh_stills(&mut self) {
        let speaker = self.speakers.dominant.as_deref();
        let news = self.stills.update(&self.limits.stills, &self.participants, speaker);
        self.tell_stills(news);
    }

    fn tell_stills(&mut self, news: StillNews) {
        for (owner, track, wanted) in news.wanted {
            self.send(&owner, ServerMessage::StillWanted { track, wanted });
        }
        for (viewer, still) in news.stills {
            self.send(&viewer, ServerMessage::Still(still));
        }
    }

    fn send_slots(&mut self, id: &str, slots: Vec<SlotState>) {
        if !slots.is_empty() {
            self.send(id, ServerMessage::Slots { slots });
        }
    }

    fn send(&mut self, id: &str, message: ServerMessage) {
        let attached = self
            .participants
            .get(id)
            .is_some_and(|member| member.phase == Phase::Attached);
        if attached {
            let to = vec![id.to_owned()];
            self.outputs.push_back(Output::Send { to, message });
        }
    }

    fn broadcast(&mut self, message: ServerMessage) {
        let attached = self
            .participants
            .values()
            .filter(|member| member.phase == Phase::Attached);
        let to: Vec<ParticipantId> = attached.map(|member| member.id.clone()).collect();
        if !to.is_empty() {
            self.outputs.push_back(Output::Send { to, message });
        }
    }
}

#[cfg(test)]
mod tests;

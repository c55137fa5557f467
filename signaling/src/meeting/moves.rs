//! Moves of participants to other nodes. The client opens a second session beside the one it has; the first ends once the
//! second carries its media, and until then nobody else notices anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tianqiao_protocol::control::{CloseReason, SfuEvent};
use tianqiao_protocol::fleet::NodeId;
use tianqiao_protocol::ws::{EndReason, ServerMessage};
use tianqiao_protocol::{
    ErrorCode, ParticipantId, ReceiveMode, SlotPause, SlotState, TrackId, TrackInfo, UnsupportedSlot,
};

use super::participant::{Media, Participant, Phase};
use super::{Change, Kind, Meeting, Output};
use crate::refusal::Refusal;

/// Beyond what it was given to begin within, a client has this long for its offer before it is asked again.
const OFFER_PATIENCE: Duration = Duration::from_secs(10);
/// The media server answers within this time, or the move has failed.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// The second session connects within this time, or the move has failed.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// A client that does not say that media flows is taken to have it this long after it connected.
const MOVED_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A participant whose node is lost and who gets no other within this time is gone.
const LOST_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveReason {
    /// The node drains.
    Drain,
    Lost,
    /// The node is too full.
    Rebalance,
}

impl MoveReason {
    pub fn label(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Lost => "lost",
            Self::Rebalance => "rebalance",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveEvent {
    Started,
    /// The client is asked once more.
    Retried,
    Done,
    /// The participant left meanwhile.
    GivenUp,
}

impl MoveEvent {
    pub fn label(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Retried => "retried",
            Self::Done => "done",
            Self::GivenUp => "given_up",
        }
    }
}

/// All moves of a meeting.
#[derive(Default)]
pub struct Moves {
    last_number: u32,
    /// When something must have come of each.
    due: BTreeMap<ParticipantId, Instant>,
}

impl Moves {
    pub(super) fn remove(&mut self, id: &str) {
        self.due.remove(id);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    fn next(&mut self) -> u32 {
        self.last_number = self.last_number.saturating_add(1);
        self.last_number
    }
}

/// One participant's.
pub struct Move {
    number: u32,
    reason: MoveReason,
    /// There is no media on the present node any longer.
    lost: bool,
    /// Where it had better go.
    to: Option<NodeId>,
    /// Where it failed last.
    avoid: Option<NodeId>,
    started_at: Instant,
    failures: u32,
    stage: Stage,
}

enum Stage {
    /// The client is to send its offer.
    Asked,
    /// It failed and is tried again after a while.
    Waiting,
    Second(Second),
}

/// The session on the other node.
struct Second {
    node: NodeId,
    answered: bool,
    connected: bool,
    /// The client says that media flows.
    moved: bool,
    media: Media,
}

impl Move {
    pub(super) fn event_of(&self, id: &str, event: MoveEvent) -> Output {
        Output::Moved {
            participant: id.to_owned(),
            reason: self.reason,
            event,
        }
    }

    fn second(&self) -> Option<&Second> {
        match &self.stage {
            Stage::Second(second) => Some(second),
            Stage::Asked | Stage::Waiting => None,
        }
    }

    fn second_mut(&mut self) -> Option<&mut Second> {
        match &mut self.stage {
            Stage::Second(second) => Some(second),
            Stage::Asked | Stage::Waiting => None,
        }
    }

    fn message(&self, within: Duration) -> ServerMessage {
        ServerMessage::Move {
            number: self.number,
            lost: self.lost,
            within: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
        }
    }

    fn retry_after(&self, first: Duration) -> Duration {
        let wait = first.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
        wait.min(LAST_RETRY)
    }
}

/// What the second session is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveTarget {
    pub identity: String,
    pub memo: String,
    /// Not there.
    pub but: Vec<NodeId>,
    /// Rather there than elsewhere.
    pub to: Option<NodeId>,
    /// To be ended first: a second session from an offer before.
    pub replaces: Option<NodeId>,
    pub mode: ReceiveMode,
}

/// Which of a participant's sessions a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Present,
    /// The one that it moves to.
    Second,
}

impl Participant {
    /// All nodes on which it has a session, those included that are being opened.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        let second = self.moving.as_ref().and_then(Move::second);
        let second = second.map(|second| &second.node);
        self.node
            .iter()
            .chain(second.filter(|node| self.node.as_ref() != Some(*node)))
    }

    fn is_movable(&self) -> bool {
        self.kind == Kind::Web && self.phase != Phase::Reserved && self.node.is_some()
    }
}

impl Meeting {
    /// Numbers of moves are above this from now on: those that another owner gave must be below.
    pub fn number_moves_from(&mut self, number: u32) {
        self.moves.last_number = self.moves.last_number.max(number);
    }

    /// Which session of the participant `node` has, if any.
    pub fn side(&self, id: &str, node: &str) -> Option<Side> {
        let member = self.participants.get(id)?;
        if member.node.as_deref() == Some(node) {
            return Some(Side::Present);
        }
        let second = member.moving.as_ref().and_then(Move::second)?;
        (second.node == node).then_some(Side::Second)
    }

    /// Where to send what changes a session: also to the node that it moves to, once it is there.
    pub fn nodes_of(&self, id: &str) -> Vec<NodeId> {
        let Some(member) = self.participants.get(id) else {
            return Vec::new();
        };
        let second = member.moving.as_ref().and_then(Move::second);
        let second = second
            .filter(|second| second.answered)
            .map(|second| second.node.clone());
        let lost = member.moving.as_ref().is_some_and(|moving| moving.lost);
        let present = member.node.clone().filter(|_| !lost);
        present.into_iter().chain(second).collect()
    }

    /// The track of the same source in that node's session of the participant.
    pub fn track_at(&self, id: &str, node: &str, track: TrackId) -> Option<TrackId> {
        let member = self.participants.get(id)?;
        let second = member.moving.as_ref().and_then(Move::second);
        let second_tracks = second.map_or(&[][..], |second| &second.media.tracks);
        let mut all = member.tracks.iter().chain(second_tracks);
        let source = all.find(|known| known.id == track)?.source;
        let tracks = match self.side(id, node)? {
            Side::Present => &member.tracks,
            Side::Second => second_tracks,
        };
        tracks.iter().find(|known| known.source == source).map(|known| known.id)
    }

    pub(super) fn set_second_muted(&mut self, id: &str, track: TrackId, muted: bool) {
        let moving = self.participants.get_mut(id).and_then(|member| member.moving.as_mut());
        let second = moving.and_then(Move::second_mut);
        let tracks = second.into_iter().flat_map(|second| &mut second.media.tracks);
        for known in tracks.filter(|known| known.id == track) {
            known.muted = muted;
        }
    }

    /// Sets it for the next node too.
    pub fn set_mode(&mut self, id: &str, mode: ReceiveMode) {
        if let Some(member) = self.participants.get_mut(id) {
            member.mode = mode;
        }
    }

    /// Asks a participant to move. False where it cannot, or does so already.
    pub fn start_move(
        &mut self,
        now: Instant,
        id: &str,
        reason: MoveReason,
        to: Option<NodeId>,
        within: Duration,
    ) -> bool {
        let Some(member) = self.participants.get_mut(id).filter(|member| member.is_movable()) else {
            return false;
        };
        let lost = reason == MoveReason::Lost;
        match &mut member.moving {
            Some(moving) if lost && !moving.lost => {
                moving.lost = true;
                moving.started_at = now;
                if let Some(second) = moving.second() {
                    let connected = second.connected;
                    self.relay_news.insert(id.to_owned());
                    if connected {
                        self.switch(now, id);
                    }
                    return true;
                }
                moving.number = self.moves.next();
                moving.stage = Stage::Asked;
            }
            Some(_) => return false,
            None => {
                let moving = Move {
                    number: self.moves.next(),
                    reason,
                    lost,
                    to,
                    avoid: None,
                    started_at: now,
                    failures: 0,
                    stage: Stage::Asked,
                };
                self.outputs.push_back(moving.event_of(id, MoveEvent::Started));
                member.moving = Some(moving);
            }
        }
        if lost {
            self.relay_news.insert(id.to_owned());
        }
        self.moves.due.insert(id.to_owned(), now + within + OFFER_PATIENCE);
        self.remind_of_move(id, within);
        true
    }

    /// Tells a participant of its move, as after a resume.
    pub fn remind_of_move(&mut self, id: &str, within: Duration) {
        let member = self.participants.get(id);
        if let Some(moving) = member.and_then(|member| member.moving.as_ref()) {
            let message = moving.message(within);
            self.send(id, message);
        }
    }

    /// Asks up to so many participants who have their media on `node` to leave it, and returns how many were asked. Those
    /// whose WebSocket is lost are asked when they are back.
    pub fn start_moves(
        &mut self,
        now: Instant,
        node: &str,
        most: usize,
        reason: MoveReason,
        to: Option<&NodeId>,
    ) -> usize {
        let ready = self.ready_to_move(node).take(most);
        let ids: Vec<ParticipantId> = ready.map(|member| member.id.clone()).collect();
        for id in &ids {
            self.start_move(now, id, reason, to.cloned(), Duration::ZERO);
        }
        ids.len()
    }

    /// Sessions that [`Self::start_moves`] would ask.
    pub fn movable(&self, node: &str) -> usize {
        self.ready_to_move(node).count()
    }

    fn ready_to_move(&self, node: &str) -> impl Iterator<Item = &Participant> {
        self.participants.values().filter(move |member| {
            member.is_movable()
                && member.node.as_deref() == Some(node)
                && member.moving.is_none()
                && member.phase == Phase::Attached
        })
    }

    /// Sessions on `node` that cannot move.
    pub fn unmovable(&self, node: &str) -> Vec<(ParticipantId, Kind)> {
        let on_node = self.participants.values().filter(|member| {
            member.kind != Kind::Web && member.phase != Phase::Reserved && member.node.as_deref() == Some(node)
        });
        on_node.map(|member| (member.id.clone(), member.kind)).collect()
    }

    /// A node is gone with all its sessions. Returns how many participants are asked to go elsewhere.
    pub fn on_node_lost(&mut self, now: Instant, node: &str, within: Duration) -> usize {
        let on_it = |member: &&Participant| member.nodes().any(|own| own == node);
        let ids: Vec<ParticipantId> = self
            .participants
            .values()
            .filter(on_it)
            .map(|member| member.id.clone())
            .collect();
        let mut asked = 0;
        for id in ids {
            let Some(member) = self.participants.get(&id) else {
                continue;
            };
            if member.phase == Phase::Reserved {
                // Whoever opens it learns by itself.
                continue;
            }
            match self.side(&id, node) {
                Some(Side::Second) => self.fail_move(now, &id),
                Some(Side::Present) if member.kind == Kind::Web => {
                    asked += usize::from(self.start_move(now, &id, MoveReason::Lost, None, within));
                    // It may be back one day, with the session; and with the same name it is as good a node as others.
                    let left = self
                        .participants
                        .get_mut(&id)
                        .filter(|member| member.node.as_deref() == Some(node));
                    if let Some(node) = left.and_then(|member| member.node.take()) {
                        self.close_media(&id, node);
                    }
                }
                Some(Side::Present) => self.remove(now, &id, EndReason::MediaTimeout),
                None => {}
            }
        }
        asked
    }

    /// The client's offer for a move is here.
    pub fn begin_move(&mut self, id: &str, number: u32) -> Result<MoveTarget, Refusal> {
        let member = self.participants.get_mut(id).ok_or_else(Refusal::session_unknown)?;
        let moving = member.moving.as_mut().filter(|moving| moving.number == number);
        let Some(moving) = moving else {
            return Err(Refusal::new(ErrorCode::BadMessage, "that move is not under way"));
        };
        let mut replaces = None;
        if let Some(second) = moving.second() {
            if !second.answered {
                return Err(Refusal::busy(
                    ErrorCode::Unavailable,
                    "an offer of that move waits for its answer",
                    FIRST_RETRY,
                ));
            }
            replaces = Some(second.node.clone());
        }
        Ok(MoveTarget {
            identity: member.identity.clone(),
            memo: member.memo.clone(),
            but: member.node.iter().chain(&moving.avoid).cloned().collect(),
            to: moving.to.take(),
            replaces,
            mode: member.mode,
        })
    }

    /// The second session is being opened there.
    pub fn open_second(&mut self, now: Instant, id: &str, number: u32, node: NodeId) -> bool {
        let Some(moving) = self.moving(id, number) else {
            return false;
        };
        moving.stage = Stage::Second(Second {
            node,
            answered: false,
            connected: false,
            moved: false,
            media: Media::default(),
        });
        self.moves.due.insert(id.to_owned(), now + ANSWER_PATIENCE);
        true
    }

    /// The second session is there. Otherwise nobody needs it any longer, and it is ended.
    pub fn on_second_answered(
        &mut self,
        now: Instant,
        id: &str,
        number: u32,
        node: &str,
        tracks: Vec<TrackInfo>,
        slots: Vec<SlotState>,
    ) -> Result<(), Refusal> {
        let second = self.moving(id, number).and_then(Move::second_mut);
        let Some(second) = second.filter(|second| second.node == node && !second.answered) else {
            if self.side(id, node).is_none() {
                self.close_media(id, node.to_owned());
            }
            return Err(Refusal::new(ErrorCode::Unavailable, "the move is over"));
        };
        second.answered = true;
        second.media.tracks = tracks;
        // Events that overtook the answer are newer than it.
        for slot in slots {
            second.media.slots.entry(slot.mid).or_insert(slot.track);
        }
        let wait = if second.connected {
            MOVED_PATIENCE
        } else {
            CONNECT_PATIENCE
        };
        self.moves.due.insert(id.to_owned(), now + wait);
        self.relay_news.insert(id.to_owned());
        self.switch_if_ready(now, id);
        Ok(())
    }

    /// The second session of that move could not be opened.
    pub fn on_second_failed(&mut self, now: Instant, id: &str, number: u32) {
        if self.moving(id, number).is_some() {
            self.fail_move(now, id);
        }
    }

    /// The client says that media flows over its second connection.
    pub fn on_moved(&mut self, now: Instant, id: &str, number: u32) -> Result<(), Refusal> {
        if number > self.moves.last_number {
            return Err(Refusal::new(ErrorCode::BadMessage, "you were not asked to move"));
        }
        if let Some(second) = self.moving(id, number).and_then(Move::second_mut) {
            second.moved = true;
            self.switch_if_ready(now, id);
        }
        Ok(())
    }

    /// What the node says to which a participant moves.
    pub fn on_second_event(&mut self, now: Instant, event: SfuEvent) {
        let session = match &event {
            SfuEvent::Connected { session }
            | SfuEvent::Closed { session, .. }
            | SfuEvent::Slots { session, .. }
            | SfuEvent::SlotsPaused { session, .. }
            | SfuEvent::Quality { session, .. }
            | SfuEvent::CodecUnsupported { session, .. }
            | SfuEvent::Wanted { session, .. } => session.clone(),
            SfuEvent::Spare { .. } | SfuEvent::Speakers { .. } | SfuEvent::Link { .. } => return,
        };
        let moving = self
            .participants
            .get_mut(&session)
            .and_then(|member| member.moving.as_mut());
        let Some(second) = moving.and_then(Move::second_mut) else {
            return;
        };
        let media = &mut second.media;
        match event {
            SfuEvent::Connected { .. } => {
                second.connected = true;
                self.moves.due.insert(session.clone(), now + MOVED_PATIENCE);
                self.switch_if_ready(now, &session);
            }
            SfuEvent::Closed { .. } => self.fail_move(now, &session),
            SfuEvent::Slots { slots, .. } => {
                for slot in slots {
                    media.unsupported.remove(&slot.mid);
                    media.slots.insert(slot.mid, slot.track);
                }
            }
            SfuEvent::SlotsPaused { slots, .. } => {
                for slot in slots {
                    if slot.paused {
                        media.paused.insert(slot.mid);
                    } else {
                        media.paused.remove(&slot.mid);
                    }
                }
            }
            SfuEvent::Quality { quality, .. } => media.quality = quality,
            SfuEvent::CodecUnsupported { slot, .. } => drop(media.unsupported.insert(slot.mid, slot.track)),
            SfuEvent::Wanted { tracks, .. } => {
                media
                    .wanted
                    .extend(tracks.into_iter().map(|wanted| (wanted.track, wanted)));
            }
            SfuEvent::Spare { .. } | SfuEvent::Speakers { .. } | SfuEvent::Link { .. } => {}
        }
    }

    /// The present session has ended while a move is under way; false where that ends the participant too.
    pub(super) fn outlives_media(&mut self, now: Instant, id: &str, reason: CloseReason) -> bool {
        let member = self.participants.get_mut(id);
        let Some(moving) = member.and_then(|member| member.moving.as_mut()) else {
            return false;
        };
        if moving.lost {
            return true;
        }
        // A client that has not begun, and whose media ends by itself, has gone.
        if moving.second().is_none() && reason != CloseReason::Shutdown {
            return false;
        }
        self.start_move(now, id, MoveReason::Lost, None, Duration::ZERO);
        true
    }

    pub(super) fn handle_move_timeouts(&mut self, now: Instant) {
        let due = self.moves.due.iter().filter(|(_, due)| **due <= now);
        let due: Vec<ParticipantId> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.on_move_due(now, &id);
        }
    }

    fn on_move_due(&mut self, now: Instant, id: &str) {
        self.moves.due.remove(id);
        let Some(member) = self.participants.get_mut(id) else {
            return;
        };
        let Some(moving) = &mut member.moving else {
            return;
        };
        if let Some(second) = moving.second() {
            match second.answered && second.connected {
                true => self.switch(now, id),
                false => self.fail_move(now, id),
            }
            return;
        }
        if moving.lost && now.saturating_duration_since(moving.started_at) >= LOST_LIMIT {
            return self.leave(now, id, EndReason::MediaTimeout);
        }
        if member.phase != Phase::Attached {
            self.moves.due.insert(id.to_owned(), now + OFFER_PATIENCE);
            return;
        }
        if matches!(moving.stage, Stage::Asked) {
            moving.failures += 1;
        }
        moving.number = self.moves.next();
        moving.stage = Stage::Asked;
        let patience = OFFER_PATIENCE.max(moving.retry_after(OFFER_PATIENCE));
        self.outputs.push_back(moving.event_of(id, MoveEvent::Retried));
        self.moves.due.insert(id.to_owned(), now + patience);
        self.remind_of_move(id, Duration::ZERO);
    }

    /// Ends the second session, if there is one, and tries again later.
    fn fail_move(&mut self, now: Instant, id: &str) {
        let member = self.participants.get_mut(id);
        let Some(moving) = member.and_then(|member| member.moving.as_mut()) else {
            return;
        };
        let before = std::mem::replace(&mut moving.stage, Stage::Waiting);
        moving.failures += 1;
        // Somebody without media does not wait long.
        let wait = match moving.lost {
            true => moving.retry_after(FIRST_RETRY / 2).min(FIRST_RETRY * 4),
            false => moving.retry_after(FIRST_RETRY),
        };
        let failed = match before {
            Stage::Second(second) => Some(second.node),
            Stage::Asked | Stage::Waiting => None,
        };
        if failed.is_some() {
            moving.avoid.clone_from(&failed);
        }
        self.moves.due.insert(id.to_owned(), now + wait);
        self.relay_news.insert(id.to_owned());
        if let Some(node) = failed {
            self.close_media(id, node);
        }
    }

    fn switch_if_ready(&mut self, now: Instant, id: &str) {
        let moving = self.participants.get(id).and_then(|member| member.moving.as_ref());
        let ready = moving.is_some_and(|moving| {
            let second = moving.second();
            second.is_some_and(|second| second.answered && second.connected && (second.moved || moving.lost))
        });
        if ready {
            self.switch(now, id);
        }
    }

    /// The second session is the participant's only one from now on.
    fn switch(&mut self, now: Instant, id: &str) {
        let Some(member) = self.participants.get_mut(id) else {
            return;
        };
        let Some(Move {
            reason,
            stage: Stage::Second(second),
            ..
        }) = member.moving.take()
        else {
            return;
        };
        self.moves.due.remove(id);
        let slots_before: Vec<String> = member.slots().into_iter().map(|slot| slot.mid).collect();
        let paused_before = member.paused();
        let quality_before = member.quality;
        let old = member.node.replace(second.node);
        member.connected = true;
        member.replace_media(second.media);
        // The client knows its new connection's slots by these messages only, so all of them are told.
        let mut slots = member.slots();
        let emptied = slots_before
            .into_iter()
            .filter(|mid| !slots.iter().any(|slot| slot.mid == *mid));
        let emptied: Vec<SlotState> = emptied.map(|mid| SlotState { mid, track: None }).collect();
        slots.extend(emptied);
        let paused = member.paused();
        let resumed = paused_before.into_iter().filter(|mid| !paused.contains(mid));
        let resumed: Vec<SlotPause> = resumed.map(|mid| SlotPause { mid, paused: false }).collect();
        let paused = paused.into_iter().map(|mid| SlotPause { mid, paused: true });
        let pauses: Vec<SlotPause> = paused.chain(resumed).collect();
        let unsupported: Vec<UnsupportedSlot> = member.unsupported();
        let wanted = member.wanted();
        let worsened = member.quality != quality_before && member.is_listed();
        self.outputs.push_back(Output::Moved {
            participant: id.to_owned(),
            reason,
            event: MoveEvent::Done,
        });
        if let Some(node) = old {
            self.close_media(id, node);
        }
        self.send_slots(id, slots);
        if !pauses.is_empty() {
            self.send(id, ServerMessage::SlotsPaused { slots: pauses });
        }
        for slot in unsupported {
            self.send(id, ServerMessage::CodecUnsupported(slot));
        }
        if !wanted.is_empty() {
            self.send(id, ServerMessage::Wanted { tracks: wanted });
        }
        if worsened {
            self.quality_news.record(id);
            self.flush_quality(now);
        }
        self.relay_news.insert(id.to_owned());
        self.refresh_stills();
        if self.participants.get(id).is_some_and(Participant::is_listed) {
            self.roster.record(id, Change::Tracks);
            self.flush_roster(now);
        }
    }

    fn close_media(&mut self, id: &str, node: NodeId) {
        self.outputs.push_back(Output::CloseMedia {
            session: id.to_owned(),
            node,
        });
    }

    fn moving(&mut self, id: &str, number: u32) -> Option<&mut Move> {
        let moving = self.participants.get_mut(id)?.moving.as_mut()?;
        (moving.number == number).then_some(moving)
    }

    /// Participants of whom other nodes are to be told something new; none of them: it is nowhere.
    pub fn take_relay_news(&mut self) -> Vec<(ParticipantId, Option<Placed>)> {
        let ids = std::mem::take(&mut self.relay_news);
        let placed = |id: ParticipantId| {
            let placed = self.participants.get(&id).and_then(placed);
            (id, placed)
        };
        ids.into_iter().map(placed).collect()
    }
}

/// Where a participant is, and what others can have of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub node: NodeId,
    /// Where its second session is.
    pub also: Option<NodeId>,
    pub identity: String,
    pub tracks: Vec<TrackInfo>,
}

fn placed(member: &Participant) -> Option<Placed> {
    if member.phase == Phase::Reserved {
        return None;
    }
    let second = member.moving.as_ref().and_then(Move::second);
    let second = second.filter(|second| second.answered);
    let lost = member.moving.as_ref().is_some_and(|moving| moving.lost);
    if lost {
        let second = second?;
        return Some(Placed {
            node: second.node.clone(),
            also: None,
            identity: member.identity.clone(),
            tracks: second.media.tracks.clone(),
        });
    }
    Some(Placed {
        node: member.node.clone()?,
        also: second.map(|second| second.node.clone()),
        identity: member.identity.clone(),
        tracks: member.tracks.clone(),
    })
}

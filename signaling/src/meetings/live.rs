//! A meeting with its surroundings: the lock around the state machine, the queues to its
//! WebSockets, its timer and its SFU node. Locks are held for one call of the state machine.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tianqiao_bus::{BusError, NodeId, vital};
use tianqiao_protocol::control::{CloseReason, Owner, RoomRelays, SessionId, SfuError, SfuEvent, SfuReply, SfuRequest};
use tianqiao_protocol::ws::{ChatLine, EndReason, RoomState, ServerMessage};
use tianqiao_protocol::{ErrorCode, ParticipantId, ReceiveMode, SlotState, TrackId, TrackInfo};
use tokio::sync::Notify;

use super::topology::{Member, RelayReply, Topology};
use super::{ClaimedMeeting, Meetings, Notice, now};
use crate::auth::Passcode;
use crate::meeting::{Kind, Meeting, MeetingSnapshot, MoveReason, Newcomer, Output, Side, StillLink, StoredStill};
use crate::refusal::Refusal;
use crate::session::frame::Frame;
use crate::session::outbox::{self, Inbox, Outbox};

/// A node answers from memory; past this it hangs.
pub(super) const NODE_TIMEOUT: Duration = Duration::from_secs(10);

pub struct LiveMeeting {
    pub id: String,
    pub code: String,
    pub title: Option<String>,
    pub passcode: Option<Passcode>,
    /// This instance, and its claim of the meeting.
    pub(super) owner: Owner,
    pub(super) meetings: Arc<Meetings>,
    this: Weak<Self>,
    inner: Mutex<Inner>,
    /// The state machine's next timeout has changed.
    pub(super) timeout_changed: Notify,
    /// Somebody knows that its snapshot is out of date.
    pub(super) is_dirty: AtomicBool,
}

pub(super) struct Inner {
    pub(super) meeting: Meeting,
    pub(super) topology: Topology,
    pub(super) websockets: HashMap<ParticipantId, (u64, Outbox)>,
    next_attachment: u64,
    pub(super) over: bool,
    /// [`Meeting::changes`] as they were last told.
    told_changes: u64,
}

/// A WebSocket's hold on its session: dropped, the session waits to be resumed.
pub struct Attachment {
    pub live: Arc<LiveMeeting>,
    pub participant: ParticipantId,
    pub inbox: Inbox,
    number: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.live.detach(&self.participant, self.number);
    }
}

impl LiveMeeting {
    pub(super) fn new(
        meetings: Arc<Meetings>,
        claimed: ClaimedMeeting,
        snapshot: Option<&MeetingSnapshot>,
    ) -> Arc<Self> {
        let mut meeting = match snapshot {
            Some(snapshot) => Meeting::restore(meetings.limits, now(), snapshot),
            None => Meeting::new(meetings.limits, now()),
        };
        // Grows from owner to owner, as the numbers of moves must.
        meeting.number_moves_from((unix_millis() / 1000) as u32);
        let inner = Inner {
            meeting,
            topology: Topology::new(claimed.id.clone(), meetings.topology),
            websockets: HashMap::new(),
            next_attachment: 0,
            over: false,
            told_changes: 0,
        };
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            id: claimed.id,
            code: claimed.code,
            title: claimed.title,
            passcode: claimed.passcode,
            owner: Owner {
                instance: meetings.instance.clone(),
                epoch: claimed.epoch,
            },
            meetings,
            inner: Mutex::new(inner),
            timeout_changed: Notify::new(),
            is_dirty: AtomicBool::new(false),
        })
    }

    pub fn listed(&self) -> usize {
        self.lock().meeting.listed()
    }

    /// Whether that person is or lately was in it.
    pub fn knows(&self, identity: &str) -> bool {
        self.lock().meeting.knows(now(), identity)
    }

    pub fn identity(&self, id: &str) -> Option<String> {
        self.lock().meeting.identity(id).map(str::to_owned)
    }

    pub fn idle_since(&self) -> Option<Instant> {
        self.lock().meeting.idle_since()
    }

    pub fn chat_page(&self, before: Option<u32>) -> Vec<ChatLine> {
        self.lock().meeting.chat_page(before)
    }

    pub fn has_participant(&self, id: &str) -> bool {
        self.lock().meeting.has_participant(id)
    }

    pub fn has_track(&self, id: &str, track: TrackId) -> bool {
        self.lock().meeting.has_track(id, track)
    }

    pub fn is_own_http_session(&self, id: &str, identity: &str) -> bool {
        self.lock().meeting.is_own_http_session(id, identity)
    }

    pub(super) fn reserve(self: &Arc<Self>, newcomer: Newcomer) -> Result<(), Refusal> {
        let id = newcomer.id.clone();
        let kind = newcomer.kind;
        let now = now();
        let returns = self.knows(&newcomer.identity);
        let evicted = self.meetings.places().take(now, &id, newcomer.network, returns)?;
        // Before the lock of this meeting is taken: they may be of this one, or of another.
        self.meetings.end_sessions(evicted);
        let reserved = self.with(|meeting| {
            meeting.reserve(now, newcomer)?;
            self.meetings.sessions.insert(id.clone(), self.clone());
            self.meetings.metrics.sessions.with_label_values(&[kind.label()]).inc();
            Ok(())
        });
        if reserved.is_err() {
            self.meetings.places().free(&id);
        }
        reserved
    }

    pub(super) fn admit(
        self: &Arc<Self>,
        id: &str,
        tracks: Vec<TrackInfo>,
        slots: Vec<SlotState>,
        has_websocket: bool,
    ) -> Result<(RoomState, Option<Attachment>), Refusal> {
        let mut inner = self.lock();
        let state = inner.meeting.admit(now(), id, tracks, slots);
        self.deliver(&mut inner);
        let state = state?;
        let attachment = has_websocket.then(|| self.attach(&mut inner, id));
        if attachment.is_none() {
            inner.meeting.detach(now(), id);
            self.timeout_changed.notify_one();
        }
        Ok((state, attachment))
    }

    pub fn resume(self: &Arc<Self>, id: &str, secret: &str) -> Result<(RoomState, Attachment), Refusal> {
        let mut inner = self.lock();
        let state = inner.meeting.resume(id, secret);
        // Ends the WebSocket that is replaced before the new one takes its place.
        self.deliver(&mut inner);
        let state = state?;
        let attachment = self.attach(&mut inner, id);
        inner.meeting.remind_of_move(id, Duration::ZERO);
        self.deliver(&mut inner);
        Ok((state, attachment))
    }

    pub fn leave(&self, id: &str, reason: EndReason) {
        self.with(|meeting| meeting.leave(now(), id, reason));
    }

    pub fn end(&self, reason: EndReason) {
        self.with(|meeting| meeting.end(now(), reason));
    }

    pub fn send_chat(&self, id: &str, text: &str) -> Result<(), Refusal> {
        self.with(|meeting| meeting.send_chat(now(), id, text, unix_millis()))
    }

    pub fn is_session(&self, id: &str, secret: &str) -> bool {
        self.lock().meeting.is_session(id, secret)
    }

    pub fn put_still(&self, id: &str, track: TrackId, image: Bytes) -> Result<u32, Refusal> {
        self.with(|meeting| meeting.put_still(now(), id, track, image, unix_millis()))
    }

    pub fn still(&self, id: &str, track: TrackId) -> Option<(StoredStill, Arc<StillLink>)> {
        self.lock().meeting.still(id, track)
    }

    /// Counts the ICE restarts of a session, from 0.
    pub fn ice_generation(&self, id: &str) -> u32 {
        self.lock().meeting.ice_generation(id)
    }

    pub fn on_ice_restarted(&self, id: &str) -> u32 {
        self.with(|meeting| meeting.on_ice_restarted(id))
    }

    pub fn set_muted(&self, id: &str, track: TrackId, muted: bool) {
        self.with(|meeting| meeting.set_muted(now(), id, track, muted));
    }

    /// A new offer in a running session. Where the session has moved meanwhile, what the node said of it is old.
    pub async fn renegotiate(&self, id: &str, offer: SfuRequest) -> Result<(String, Vec<TrackInfo>), Refusal> {
        let node = self.node_of(id)?;
        let SfuReply::Answered { sdp, tracks, slots } = self.ask(&node, offer).await? else {
            return Err(Refusal::new(
                ErrorCode::Internal,
                "the media server answered something else",
            ));
        };
        self.with(|meeting| {
            if meeting.side(id, &node) == Some(Side::Present) {
                meeting.set_answered(now(), id, tracks.clone(), slots);
            }
        });
        Ok((sdp, tracks))
    }

    fn node_of(&self, session: &str) -> Result<NodeId, Refusal> {
        let node = self.lock().meeting.nodes_of(session).into_iter().next();
        node.ok_or_else(|| Refusal::new(ErrorCode::Unavailable, "the media server is gone"))
    }

    pub(super) fn on_sfu_event(&self, node: &NodeId, event: SfuEvent) {
        let mut inner = self.lock();
        match &event {
            SfuEvent::Speakers { .. } => {
                if inner.topology.home().is_some_and(|home| home != node) {
                    return;
                }
            }
            SfuEvent::Link { link, up, .. } => {
                return tracing::info!(room = self.id, %node, link, up, "a link between media servers has changed");
            }
            SfuEvent::Connected { session }
            | SfuEvent::Closed { session, .. }
            | SfuEvent::Slots { session, .. }
            | SfuEvent::SlotsPaused { session, .. }
            | SfuEvent::Quality { session, .. }
            | SfuEvent::Spare { session, .. }
            | SfuEvent::CodecUnsupported { session, .. }
            | SfuEvent::Wanted { session, .. } => match inner.meeting.side(session, node) {
                Some(Side::Present) => {}
                Some(Side::Second) => {
                    tracing::debug!(%session, room = self.id, %node, ?event, "of a session that is moved to");
                    inner.meeting.on_second_event(now(), event);
                    return self.deliver(&mut inner);
                }
                // A node that was cut off has it still, or the word is of before the move.
                None => return,
            },
        }
        self.on_present_event(&mut inner.meeting, node, event);
        self.deliver(&mut inner);
    }

    fn on_present_event(&self, meeting: &mut Meeting, node: &NodeId, event: SfuEvent) {
        match event {
            SfuEvent::Connected { session } => {
                tracing::debug!(%session, room = self.id, "media connected");
                meeting.on_connected(&session);
                self.meetings.places().on_connected(now(), &session);
                self.meetings.unused().remove(&self.id);
            }
            SfuEvent::Closed { session, reason } => {
                tracing::info!(%session, room = self.id, ?reason, "media closed");
                if reason == CloseReason::Shutdown && self.meetings.nodes.has_other(node) {
                    meeting.start_move(now(), &session, MoveReason::Lost, None, Duration::ZERO);
                }
                meeting.on_media_closed(now(), &session, reason);
            }
            SfuEvent::Slots { session, slots } => meeting.on_slots(&session, &slots),
            SfuEvent::SlotsPaused { session, slots } => meeting.on_slots_paused(&session, &slots),
            SfuEvent::Quality { session, quality } => meeting.on_quality(now(), &session, quality),
            SfuEvent::Spare {
                session,
                bits_per_second,
            } => meeting.on_spare(&session, bits_per_second),
            SfuEvent::CodecUnsupported { session, slot } => meeting.on_codec_unsupported(&session, slot),
            SfuEvent::Wanted { session, tracks } => meeting.on_wanted(&session, tracks),
            SfuEvent::Speakers { dominant, speaking, .. } => meeting.on_speakers(dominant, speaking),
            SfuEvent::Link { .. } => {}
        }
    }

    /// Asks the node that has the session.
    pub async fn request(&self, session: &str, request: SfuRequest) -> Result<SfuReply, Refusal> {
        self.ask(&self.node_of(session)?, request).await
    }

    pub(super) async fn ask(&self, node: &NodeId, request: SfuRequest) -> Result<SfuReply, Refusal> {
        Ok(self.try_ask(node, request).await?)
    }

    pub(super) async fn try_ask(&self, node: &NodeId, request: SfuRequest) -> Result<SfuReply, BusError> {
        let asked = self.meetings.bus.request(node, &self.owner, request);
        let Ok(answer) = tokio::time::timeout(NODE_TIMEOUT, asked).await else {
            tracing::error!(%node, room = self.id, "the media server does not answer");
            return Err(BusError::Refused(SfuError {
                code: ErrorCode::Unavailable,
                message: "the media server does not answer".to_owned(),
            }));
        };
        if let Err(BusError::NoNode(_) | BusError::Gone) = answer {
            self.meetings.nodes.suspect(node);
        }
        if let Err(error) = &answer {
            self.heed(error);
        }
        answer
    }

    /// What changes a session, told to all nodes that have it: while it moves there are two.
    pub async fn request_all(
        &self,
        session: &str,
        request: impl Fn(&NodeId) -> Option<SfuRequest>,
    ) -> Result<(), Refusal> {
        // None between a node that is lost and the next one, which is told by the offer.
        let nodes = self.lock().meeting.nodes_of(session);
        let asked = nodes.iter().filter_map(|node| Some(self.ask(node, request(node)?)));
        let mut results = futures_util::future::join_all(asked).await;
        // One of them may be about to go: what another one took is done.
        match results.iter().position(Result::is_ok) {
            Some(_) => Ok(()),
            None => results.pop().map_or(Ok(()), |result| result.map(|_| ())),
        }
    }

    /// Whoever takes the meeting over must know of the node before the session is there.
    pub(super) fn place(&self, id: &str, node: NodeId, memo: String) {
        let is_new = self.with(|meeting| {
            let before = meeting.nodes();
            meeting.place(id, node.clone(), memo);
            !before.contains_key(&node)
        });
        if is_new {
            self.mark_changed();
        }
    }

    /// The meeting's nodes with its sessions on each.
    pub(super) fn node_counts(&self) -> BTreeMap<NodeId, u32> {
        self.lock().meeting.nodes()
    }

    pub(super) fn has_session_on(&self, session: &str, node: &str) -> bool {
        self.lock().meeting.side(session, node).is_some()
    }

    /// The tracks of the same source, by the nodes that have a session of the participant.
    pub fn tracks_like(&self, id: &str, track: TrackId) -> Vec<(NodeId, TrackId)> {
        let inner = self.lock();
        let nodes = inner.meeting.nodes_of(id).into_iter();
        let track_at = |node: NodeId| {
            let track = inner.meeting.track_at(id, &node, track)?;
            Some((node, track))
        };
        nodes.filter_map(track_at).collect()
    }

    pub fn set_mode(&self, id: &str, mode: ReceiveMode) {
        self.with(|meeting| meeting.set_mode(id, mode));
    }

    pub fn on_moved(&self, id: &str, number: u32) -> Result<(), Refusal> {
        self.with(|meeting| meeting.on_moved(now(), id, number))
    }

    pub(super) fn with_meeting<R>(&self, act: impl FnOnce(&mut Meeting) -> R) -> R {
        self.with(act)
    }

    pub(super) fn start_moves(&self, node: &NodeId, most: usize, reason: MoveReason, to: Option<&NodeId>) -> usize {
        self.with(|meeting| meeting.start_moves(now(), node, most, reason, to))
    }

    pub(super) fn movable(&self, node: &NodeId) -> usize {
        self.lock().meeting.movable(node)
    }

    /// WHIP and WHEP sessions on a node, which cannot be moved away from it.
    pub fn unmovable(&self, node: &NodeId) -> Vec<(ParticipantId, Kind)> {
        self.lock().meeting.unmovable(node)
    }

    pub(super) fn end_unmovable(&self, node: &NodeId, reason: EndReason) {
        for (session, kind) in self.unmovable(node) {
            tracing::info!(session, room = self.id, %node, kind = kind.label(), "ends with its media server, since it cannot move");
            self.leave(&session, reason);
        }
    }

    pub(super) fn on_node_lost(&self, node: &NodeId, within: Duration) {
        let mut inner = self.lock();
        let asked = inner.meeting.on_node_lost(now(), node, within);
        inner.topology.on_node_lost(node);
        tracing::info!(room = self.id, %node, asked, "sessions of a lost media server are asked to go elsewhere");
        self.deliver(&mut inner);
    }

    /// A node may know of a later claim before this instance does.
    fn heed(&self, error: &BusError) {
        if matches!(error, BusError::Refused(error) if error.code == ErrorCode::NotOwner) {
            self.meetings.notify(Notice::Superseded(self.id.clone()));
        }
    }

    fn attach(self: &Arc<Self>, inner: &mut Inner, id: &str) -> Attachment {
        let (outbox, inbox) = outbox::channel(self.meetings.outbox);
        inner.next_attachment += 1;
        let number = inner.next_attachment;
        inner.websockets.insert(id.to_owned(), (number, outbox));
        Attachment {
            live: self.clone(),
            participant: id.to_owned(),
            inbox,
            number,
        }
    }

    fn detach(&self, id: &str, number: u64) {
        let mut inner = self.lock();
        // Another WebSocket may have taken over.
        if inner.websockets.get(id).is_some_and(|(current, _)| *current == number) {
            inner.websockets.remove(id);
            inner.meeting.detach(now(), id);
            self.deliver(&mut inner);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_timeout(&self) {
        let mut inner = self.lock();
        inner.meeting.handle_timeout(now());
        inner.topology.handle_timeout(now(), &mut rand::rng());
        self.deliver(&mut inner);
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Meeting) -> R) -> R {
        let mut inner = self.lock();
        let result = act(&mut inner.meeting);
        self.deliver(&mut inner);
        result
    }

    /// Carries out what the state machine put out.
    fn deliver(&self, inner: &mut Inner) {
        while let Some(output) = inner.meeting.poll_output() {
            match output {
                Output::Send { to, message } => self.send(inner, &to, &message),
                Output::End { participant, reason } => {
                    let frame = Arc::new(Frame::new(&ServerMessage::Ended { reason }));
                    if let Some((_, outbox)) = inner.websockets.remove(&participant)
                        && !outbox.try_send(frame)
                    {
                        outbox.cut();
                    }
                }
                Output::CloseMedia { session, node } => self.close_media(session, node),
                Output::CloseRoom(node) => self.tell_node(node, SfuRequest::CloseRoom { room: self.id.clone() }),
                Output::Moved {
                    participant,
                    reason,
                    event,
                } => {
                    let (reason, event) = (reason.label(), event.label());
                    tracing::info!(
                        session = participant,
                        room = self.id,
                        reason,
                        event,
                        "move to another media server"
                    );
                    self.meetings.metrics.moves.with_label_values(&[reason, event]).inc();
                }
                Output::Forget { participant, kind } => {
                    self.meetings.forget_session(&participant);
                    let sessions = &self.meetings.metrics.sessions;
                    sessions.with_label_values(&[kind.label()]).dec();
                }
                Output::Over => {
                    inner.over = true;
                    self.meetings.forget(self);
                    self.meetings.notify(Notice::Over {
                        id: self.id.clone(),
                        code: self.code.clone(),
                        epoch: self.owner.epoch,
                    });
                }
            }
        }
        self.relay(inner);
        if std::mem::replace(&mut inner.told_changes, inner.meeting.changes()) != inner.meeting.changes() {
            self.mark_changed();
        }
        self.timeout_changed.notify_one();
    }

    /// Tells the meeting's nodes of each other.
    fn relay(&self, inner: &mut Inner) {
        let Inner { meeting, topology, .. } = inner;
        let (now, rng) = (now(), &mut rand::rng());
        for (session, placed) in meeting.take_relay_news() {
            let member = placed.map(|placed| Member {
                node: placed.node,
                also: placed.also,
                identity: placed.identity,
                tracks: placed.tracks,
            });
            let counts = topology.set_member(now, rng, &session, member);
            if !counts.is_empty() {
                self.mark_changed();
            }
            for (node, more) in counts {
                self.meetings.nodes.count(&self.id, &node, more);
            }
        }
        while let Some((node, relays)) = topology.poll_request(now) {
            self.send_relays(node, relays);
        }
    }

    fn send_relays(&self, node: NodeId, relays: RoomRelays) {
        let Some(live) = self.this.upgrade() else {
            return;
        };
        tokio::spawn(async move {
            let version = relays.version;
            let asked = live.meetings.bus.request(&node, &live.owner, SfuRequest::Relay(relays));
            let answer = tokio::time::timeout(NODE_TIMEOUT, asked).await;
            let (reply, label) = match answer {
                Ok(Ok(SfuReply::Relayed { endpoints })) => (RelayReply::Relayed(endpoints), "relayed"),
                Ok(Ok(SfuReply::RelayBehind)) => (RelayReply::Behind, "behind"),
                Ok(Err(error)) => {
                    live.heed(&error);
                    tracing::debug!(%node, room = live.id, %error, "a media server was not told of the others");
                    if matches!(error, BusError::NoNode(_) | BusError::Gone) {
                        live.meetings.nodes.suspect(&node);
                    }
                    (RelayReply::Failed, "failed")
                }
                Ok(Ok(_)) | Err(_) => (RelayReply::Failed, "failed"),
            };
            live.meetings.metrics.relay_requests.with_label_values(&[label]).inc();
            let mut inner = live.lock();
            inner.topology.on_reply(now(), &node, version, reply);
            live.deliver(&mut inner);
        });
    }

    fn send(&self, inner: &mut Inner, to: &[ParticipantId], message: &ServerMessage) {
        let frame = Arc::new(Frame::new(message));
        for id in to {
            let sent = inner
                .websockets
                .get(id)
                .map(|(_, outbox)| outbox.try_send(frame.clone()));
            if sent == Some(false)
                && let Some((_, outbox)) = inner.websockets.remove(id)
            {
                tracing::info!(
                    session = id,
                    room = self.id,
                    "the WebSocket does not keep up and is cut"
                );
                self.meetings.metrics.slow_websockets.inc();
                outbox.cut();
                inner.meeting.detach(now(), id);
            }
        }
    }

    /// Ends a session at a node; at one that cannot be asked, when it is back.
    pub(super) fn close_media(&self, session: SessionId, node: NodeId) {
        self.tell_node(node, SfuRequest::Close { session });
    }

    /// Sends a request whose reply changes nothing here.
    fn tell_node(&self, node: NodeId, request: SfuRequest) {
        let (bus, nodes) = (self.meetings.bus.clone(), self.meetings.nodes.clone());
        let owner = self.owner.clone();
        let session = match &request {
            SfuRequest::Close { session } => Some(session.clone()),
            _ => None,
        };
        tokio::spawn(async move {
            let reply = tokio::time::timeout(NODE_TIMEOUT, bus.request(&node, &owner, request)).await;
            let unknown = match reply {
                Ok(Ok(_)) => false,
                Ok(Err(BusError::NoNode(_) | BusError::Gone | BusError::Away)) => true,
                Ok(Err(error)) => {
                    tracing::warn!(%node, %error, "the media server refused to close");
                    false
                }
                Err(_) => {
                    tracing::warn!(%node, "the media server does not answer");
                    true
                }
            };
            if let Some(session) = session.filter(|_| unknown) {
                nodes.close_later(&node, session);
            }
        });
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

/// Runs the meeting's timeouts until it is over.
pub(super) fn spawn_timer(live: &Arc<LiveMeeting>) {
    let live = live.clone();
    vital::spawn("meeting", async move {
        loop {
            let timeout = {
                let inner = live.lock();
                if inner.over {
                    return;
                }
                [inner.meeting.poll_timeout(), inner.topology.poll_timeout()]
                    .into_iter()
                    .flatten()
                    .min()
            };
            let sleep = async {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => live.handle_timeout(),
                () = live.timeout_changed.notified() => {}
            }
        }
    });
}

//! A meeting with its surroundings: the lock around the state machine, the queues to its
//! WebSockets, its timer and its SFU node. Locks are held for one call of the state machine.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand::seq::IndexedRandom;
use tianqiao_bus::{BusError, NodeId, vital};
use tianqiao_protocol::control::{Owner, SfuEvent, SfuReply, SfuRequest};
use tianqiao_protocol::ws::{ChatLine, EndReason, RoomState, ServerMessage};
use tianqiao_protocol::{ErrorCode, ParticipantId, SlotState, TrackId, TrackInfo};
use tokio::sync::Notify;

use super::{ClaimedMeeting, Meetings, Notice, now};
use crate::auth::Passcode;
use crate::meeting::{Meeting, MeetingSnapshot, Newcomer, Output, StillLink, StoredStill};
use crate::refusal::Refusal;
use crate::session::frame::Frame;
use crate::session::outbox::{self, Inbox, Outbox};

/// A node answers from memory; past this it hangs.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);

pub struct LiveMeeting {
    pub id: String,
    pub code: String,
    pub title: Option<String>,
    pub passcode: Option<Passcode>,
    /// This instance, and its claim of the meeting.
    pub(super) owner: Owner,
    pub(super) meetings: Arc<Meetings>,
    inner: Mutex<Inner>,
    /// The state machine's next timeout has changed.
    pub(super) timeout_changed: Notify,
    /// Where the meeting's sessions live, from its first one on.
    pub(super) node: Mutex<Option<NodeId>>,
    /// Somebody knows that its snapshot is out of date.
    pub(super) is_dirty: AtomicBool,
}

pub(super) struct Inner {
    pub(super) meeting: Meeting,
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
        let inner = Inner {
            meeting: match snapshot {
                Some(snapshot) => Meeting::restore(meetings.limits, now(), snapshot),
                None => Meeting::new(meetings.limits, now()),
            },
            websockets: HashMap::new(),
            next_attachment: 0,
            over: false,
            told_changes: 0,
        };
        Arc::new(Self {
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
            node: Mutex::default(),
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

    pub fn set_answered(&self, id: &str, tracks: Vec<TrackInfo>, slots: Vec<SlotState>) {
        self.with(|meeting| meeting.set_answered(now(), id, tracks, slots));
    }

    pub(super) fn on_sfu_event(&self, event: SfuEvent) {
        self.with(|meeting| match event {
            SfuEvent::Connected { session } => {
                tracing::debug!(%session, room = self.id, "media connected");
                meeting.on_connected(&session);
                self.meetings.places().on_connected(now(), &session);
                self.meetings.unused().remove(&self.id);
            }
            SfuEvent::Closed { session, reason } => {
                tracing::info!(%session, room = self.id, ?reason, "media closed");
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
        });
    }

    /// Asks the meeting's node, and picks one first where the meeting has none yet.
    pub async fn request(&self, request: SfuRequest) -> Result<SfuReply, Refusal> {
        let node = self.pick_node()?;
        self.request_at(&node, request).await
    }

    pub(super) async fn request_at(&self, node: &NodeId, request: SfuRequest) -> Result<SfuReply, Refusal> {
        match tokio::time::timeout(NODE_TIMEOUT, self.meetings.bus.request(node, &self.owner, request)).await {
            Ok(reply) => reply.map_err(|error| {
                self.heed(&error);
                error.into()
            }),
            Err(_) => {
                tracing::error!(%node, room = self.id, "the media server does not answer");
                Err(Refusal::new(ErrorCode::Unavailable, "the media server does not answer"))
            }
        }
    }

    /// A node may know of a later claim before this instance does.
    fn heed(&self, error: &BusError) {
        if matches!(error, BusError::Refused(error) if error.code == ErrorCode::NotOwner) {
            self.meetings.notify(Notice::Superseded(self.id.clone()));
        }
    }

    fn pick_node(&self) -> Result<NodeId, Refusal> {
        let nodes = self.meetings.bus.nodes();
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = node.as_ref().filter(|node| nodes.contains(node)) {
            return Ok(node.clone());
        }
        let chosen = nodes.choose(&mut rand::rng()).cloned();
        let chosen = chosen.ok_or_else(|| Refusal::new(ErrorCode::Unavailable, "there is no media server"))?;
        *node = Some(chosen.clone());
        drop(node);
        self.mark_changed();
        Ok(chosen)
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
                Output::CloseMedia(session) => self.tell_node(SfuRequest::Close { session }),
                Output::CloseRoom => self.tell_node(SfuRequest::CloseRoom { room: self.id.clone() }),
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
        if std::mem::replace(&mut inner.told_changes, inner.meeting.changes()) != inner.meeting.changes() {
            self.mark_changed();
        }
        self.timeout_changed.notify_one();
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

    /// Sends a request whose reply changes nothing here.
    fn tell_node(&self, request: SfuRequest) {
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(node) = node else {
            return;
        };
        let bus = self.meetings.bus.clone();
        let owner = self.owner.clone();
        tokio::spawn(async move {
            let reply = tokio::time::timeout(NODE_TIMEOUT, bus.request(&node, &owner, request)).await;
            match reply {
                Ok(Ok(_)) | Ok(Err(BusError::NoNode(_) | BusError::Gone)) => {}
                Ok(Err(error)) => tracing::warn!(%node, %error, "the media server refused to close"),
                Err(_) => tracing::warn!(%node, "the media server does not answer"),
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
                inner.meeting.poll_timeout()
            };
            let sleep = async {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => live.with(|meeting| meeting.handle_timeout(now())),
                () = live.timeout_changed.notified() => {}
            }
        }
    });
}

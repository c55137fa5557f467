//! All meetings of this process: found by id or code, told of the SFU's events.

mod admission;
mod adoption;
mod live;
mod moving;
mod nodes;
mod places;
mod topology;
mod unused;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rand::Rng;
use tianqiao_bus::{Bus, NodeEvent};
use tianqiao_protocol::control::{InstanceId, SessionId, SfuEvent};
use tianqiao_protocol::ws::EndReason;
use tianqiao_protocol::{ErrorCode, ParticipantId};
use tokio::sync::mpsc;

use crate::auth::{Claims, Passcode, random_id};
use crate::config::Config;
use crate::limits::Rate;
use crate::meeting::{ChatLimits, MeetingLimits, StillLimits};
use crate::metrics::Metrics;
use crate::network::Network;
use crate::refusal::Refusal;
use crate::session::outbox::OutboxLimits;
pub use admission::{Entry as MeetingEntry, Offered, check_slots};
pub use adoption::{Adoption, ClaimedMeeting, Notice};
pub use live::{Attachment, LiveMeeting};
use nodes::Nodes;
use places::{PlaceLimits, Places};
use topology::TopologyLimits;
use unused::Unused;

/// Ended meetings that are remembered, so that latecomers are told so.
const MAX_TOMBSTONES: usize = 10_000;
const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3600);
/// All meetings are looked through at most this often, when there is no space.
const SEEK_INTERVAL: Duration = Duration::from_secs(1);

pub struct Meetings {
    /// This signaling instance.
    instance: InstanceId,
    bus: Arc<dyn Bus>,
    nodes: Arc<Nodes>,
    topology: TopologyLimits,
    metrics: Arc<Metrics>,
    limits: MeetingLimits,
    max_meetings: usize,
    outbox: OutboxLimits,
    unused: Mutex<Unused>,
    places: Mutex<Places>,
    unused_grace: Duration,
    /// When the oldest empty meeting was last looked for.
    sought_at: Mutex<Option<Instant>>,
    by_id: DashMap<String, Arc<LiveMeeting>>,
    by_code: DashMap<String, Arc<LiveMeeting>>,
    sessions: DashMap<SessionId, Arc<LiveMeeting>>,
    /// Ids and codes of meetings that their hosts ended.
    tombstones: Mutex<HashMap<String, Instant>>,
    /// Where meetings are claimed and kept for others to go on with; in a fleet.
    notices: Option<mpsc::UnboundedSender<Notice>>,
}

impl Meetings {
    pub fn new(
        config: &Config,
        instance: &InstanceId,
        bus: Arc<dyn Bus>,
        metrics: Arc<Metrics>,
        notices: Option<mpsc::UnboundedSender<Notice>>,
    ) -> Arc<Self> {
        let limits = MeetingLimits {
            max_participants: config.max_participants,
            chat: ChatLimits {
                max_length: config.max_chat_length,
                max_lines: config.chat_history,
                max_bytes: config.chat_history_size.0,
                page_bytes: config.chat_page_size.0,
            },
            chat_rate: Rate::bytes(config.chat_rate.0, config.chat_burst.0),
            max_per_identity: config.max_sessions_per_identity,
            stills: StillLimits {
                max_bytes: config.max_still_size.0,
                bitrate: config.still_bitrate.0,
                max_tracks: config.max_still_tracks,
                rate: Rate::per_minute(config.still_rate, config.still_rate / 5),
            },
            unconnected_grace: config.unconnected_grace,
            roster_interval: config.roster_interval,
            resume_window: config.resume_window,
            ttl: config.meeting_ttl,
        };
        let places = PlaceLimits {
            max_sessions: config.max_sessions,
            reserve: config.max_sessions * config.reserve_percent as usize / 100,
            unconnected_per_network: config.unconnected_per_address,
            unconnected_grace: config.unconnected_grace,
        };
        Arc::new(Self {
            instance: instance.clone(),
            nodes: Nodes::new(config, instance, bus.clone(), metrics.clone()),
            bus,
            topology: TopologyLimits {
                fan_out: config.relay_fan_out,
                rotate: config.relay_key_rotation,
            },
            metrics,
            limits,
            max_meetings: config.max_meetings,
            outbox: OutboxLimits {
                messages: config.max_waiting_messages,
                bytes: config.max_waiting_size.0,
            },
            unused: Mutex::new(Unused::new(
                config.unused_meetings_per_address,
                config.unused_meeting_grace,
            )),
            places: Mutex::new(Places::new(places)),
            unused_grace: config.unused_meeting_grace,
            sought_at: Mutex::default(),
            by_id: DashMap::new(),
            by_code: DashMap::new(),
            sessions: DashMap::new(),
            tombstones: Mutex::default(),
            notices,
        })
    }

    /// Other instances may go on with its meetings.
    fn is_shared(&self) -> bool {
        self.notices.is_some()
    }

    fn notify(&self, notice: Notice) {
        if let Some(notices) = &self.notices {
            let _ = notices.send(notice);
        }
    }

    /// `from`: a stranger's network; none, with an API key.
    pub fn create(
        self: &Arc<Self>,
        title: Option<String>,
        passcode: Option<Passcode>,
        from: Option<Network>,
    ) -> Result<Arc<LiveMeeting>, Refusal> {
        self.make_space(from)?;
        let id = random_id::<16>();
        let live = loop {
            let code = rand::rng().random_range(100_000_000..1_000_000_000_u32).to_string();
            if let Entry::Vacant(vacant) = self.by_code.entry(code.clone()) {
                let claimed = ClaimedMeeting {
                    id: id.clone(),
                    code,
                    title,
                    passcode,
                    epoch: 1,
                };
                let live = LiveMeeting::new(self.clone(), claimed, None);
                vacant.insert(live.clone());
                break live;
            }
        };
        if let Some(network) = from {
            self.unused().add(now(), &id, network);
        }
        self.by_id.insert(id, live.clone());
        self.metrics.meetings.inc();
        live::spawn_timer(&live);
        Ok(live)
    }

    /// Ends meetings that make room for another.
    pub fn make_space(&self, from: Option<Network>) -> Result<(), Refusal> {
        let surplus = from.and_then(|network| self.unused().take_surplus(network));
        self.end_unused(surplus);
        if self.by_id.len() < self.max_meetings {
            return Ok(());
        }
        let dispensable = self.unused().take_dispensable(now());
        let dispensable = dispensable.or_else(|| self.longest_empty());
        if dispensable.is_none() {
            let refusal = "there are too many meetings";
            return Err(Refusal::busy(ErrorCode::Unavailable, refusal, SEEK_INTERVAL));
        }
        self.end_unused(dispensable);
        Ok(())
    }

    fn end_unused(&self, id: Option<String>) {
        let live = id.and_then(|id| self.by_id.get(&id).map(|live| live.clone()));
        if let Some(live) = live {
            tracing::info!(room = live.id, "an empty meeting makes room for another");
            live.end(EndReason::MeetingEnded);
        }
    }

    /// The meeting that has been empty for longest, and for long enough; looked for once in a while.
    fn longest_empty(&self) -> Option<String> {
        let now = now();
        {
            let mut sought_at = self.sought_at.lock().unwrap_or_else(PoisonError::into_inner);
            if sought_at.is_some_and(|at| now.saturating_duration_since(at) < SEEK_INTERVAL) {
                return None;
            }
            *sought_at = Some(now);
        }
        let all: Vec<Arc<LiveMeeting>> = self.by_id.iter().map(|live| live.clone()).collect();
        let empty = all.iter().filter_map(|live| Some((live.idle_since()?, live)));
        let (since, live) = empty.min_by_key(|(since, _)| *since)?;
        (now.saturating_duration_since(since) >= self.unused_grace).then(|| live.id.clone())
    }

    fn unused(&self) -> MutexGuard<'_, Unused> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends sessions that make room for another.
    fn end_sessions(&self, sessions: Vec<ParticipantId>) {
        for session in sessions {
            if let Some(live) = self.find_session(&session) {
                tracing::info!(session, room = live.id, "an unconnected session makes room for another");
                live.leave(&session, EndReason::MediaTimeout);
            }
        }
    }

    /// Forgets addresses from which nobody is here.
    pub fn sweep(&self, now: Instant) {
        self.places().sweep(now);
    }

    /// By id, or by code with or without spaces and dashes.
    pub fn find(&self, id_or_code: &str) -> Result<Arc<LiveMeeting>, Refusal> {
        let digits: String = id_or_code.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let live = self.by_id.get(id_or_code).or_else(|| self.by_code.get(&digits));
        if let Some(live) = live {
            return Ok(live.clone());
        }
        let tombstones = self.tombstones.lock().unwrap_or_else(PoisonError::into_inner);
        if tombstones.contains_key(id_or_code) || tombstones.contains_key(&digits) {
            return Err(Refusal::new(ErrorCode::MeetingEnded, "the meeting has ended"));
        }
        Err(Refusal::meeting_not_found())
    }

    /// The meeting that a token is for, if the path names it too: nothing is told of others.
    pub fn find_for(&self, claims: &Claims, id_or_code: &str) -> Result<Arc<LiveMeeting>, Refusal> {
        let live = self.find(&claims.meeting)?;
        let digits: String = id_or_code.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if id_or_code != live.id && digits != live.code {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token is for another meeting"));
        }
        Ok(live)
    }

    pub fn find_session(&self, session: &str) -> Option<Arc<LiveMeeting>> {
        self.sessions.get(session).map(|live| live.clone())
    }

    /// Ends a meeting for everybody, as its host asks.
    pub fn end(&self, live: &LiveMeeting) {
        self.remember_ended([live.id.clone(), live.code.clone()]);
        live.end(EndReason::MeetingEnded);
    }

    fn remember_ended<const N: usize>(&self, names: [String; N]) {
        let now = now();
        let mut tombstones = self.tombstones.lock().unwrap_or_else(PoisonError::into_inner);
        if tombstones.len() >= MAX_TOMBSTONES {
            tombstones.retain(|_, ended| now.saturating_duration_since(*ended) < TOMBSTONE_TTL);
        }
        if tombstones.len() < MAX_TOMBSTONES {
            tombstones.extend(names.map(|name| (name, now)));
        }
    }

    /// Ends everything because the server stops.
    pub fn shut_down(&self) {
        let all: Vec<Arc<LiveMeeting>> = self.by_id.iter().map(|live| live.clone()).collect();
        for live in all {
            live.end(EndReason::ServerShutdown);
        }
    }

    /// Carries the SFU's events to their meetings, until the bus closes.
    pub async fn run_events(self: Arc<Self>, mut events: mpsc::UnboundedReceiver<NodeEvent>) {
        while let Some(NodeEvent { node, event }) = events.recv().await {
            let live = match &event {
                SfuEvent::Connected { session }
                | SfuEvent::Closed { session, .. }
                | SfuEvent::Slots { session, .. }
                | SfuEvent::SlotsPaused { session, .. }
                | SfuEvent::CodecUnsupported { session, .. }
                | SfuEvent::Quality { session, .. }
                | SfuEvent::Spare { session, .. }
                | SfuEvent::Wanted { session, .. } => self.find_session(session),
                SfuEvent::Speakers { room, .. } | SfuEvent::Link { room, .. } => {
                    self.by_id.get(room).map(|live| live.clone())
                }
            };
            if let Some(live) = live {
                live.on_sfu_event(&node, event);
            }
        }
    }

    /// Looks after the nodes that have sessions of these meetings, for as long as the server runs.
    pub async fn run_nodes(self: Arc<Self>) {
        nodes::run(self).await;
    }

    fn find_room(&self, id: &str) -> Option<Arc<LiveMeeting>> {
        self.by_id.get(id).map(|live| live.clone())
    }

    pub fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    /// A node that can take sessions is there.
    pub fn has_node(&self) -> bool {
        !self.bus.nodes().is_empty()
    }

    fn forget(&self, live: &LiveMeeting) {
        // By a later claim it may be here again.
        let is_it = |_: &String, known: &Arc<LiveMeeting>| std::ptr::eq(&**known, live);
        self.by_code.remove_if(&live.code, is_it);
        if self.by_id.remove_if(&live.id, is_it).is_some() {
            self.unused().remove(&live.id);
            self.metrics.meetings.dec();
        }
    }

    fn forget_session(&self, session: &ParticipantId) {
        self.sessions.remove(session);
        self.places().free(session);
    }
}

/// The clock of timers and limits.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

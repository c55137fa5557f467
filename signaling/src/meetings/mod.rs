//! All meetings of this process: found by id or code, told of the SFU's events.

mod admission;
mod live;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rand::Rng;
use tianqiao_bus::{Bus, NodeEvent};
use tianqiao_protocol::control::{SessionId, SfuEvent};
use tianqiao_protocol::ws::EndReason;
use tianqiao_protocol::{ErrorCode, ParticipantId};
use tokio::sync::mpsc;

use crate::auth::{Passcode, random_id};
use crate::config::Config;
use crate::meeting::MeetingLimits;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
pub use admission::{Entry as MeetingEntry, Offered, check_slots};
pub use live::{Attachment, LiveMeeting};

/// Ended meetings that are remembered, so that latecomers are told so.
const MAX_TOMBSTONES: usize = 10_000;
const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3600);

pub struct Meetings {
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    limits: MeetingLimits,
    max_meetings: usize,
    max_waiting_messages: usize,
    by_id: DashMap<String, Arc<LiveMeeting>>,
    by_code: DashMap<String, Arc<LiveMeeting>>,
    sessions: DashMap<SessionId, Arc<LiveMeeting>>,
    /// Ids and codes of meetings that their hosts ended.
    tombstones: Mutex<HashMap<String, Instant>>,
}

impl Meetings {
    pub fn new(config: &Config, bus: Arc<dyn Bus>, metrics: Arc<Metrics>) -> Arc<Self> {
        let limits = MeetingLimits {
            max_participants: config.max_participants,
            max_chat_length: config.max_chat_length,
            chat_history: config.chat_history,
            roster_interval: config.roster_interval,
            resume_window: config.resume_window,
            ttl: config.meeting_ttl,
        };
        Arc::new(Self {
            bus,
            metrics,
            limits,
            max_meetings: config.max_meetings,
            max_waiting_messages: config.max_waiting_messages,
            by_id: DashMap::new(),
            by_code: DashMap::new(),
            sessions: DashMap::new(),
            tombstones: Mutex::default(),
        })
    }

    pub fn create(
        self: &Arc<Self>,
        title: Option<String>,
        passcode: Option<Passcode>,
    ) -> Result<Arc<LiveMeeting>, Refusal> {
        if self.by_id.len() >= self.max_meetings {
            return Err(Refusal::new(ErrorCode::Unavailable, "there are too many meetings"));
        }
        let id = random_id::<16>();
        let live = loop {
            let code = rand::rng().random_range(100_000_000..1_000_000_000_u32).to_string();
            if let Entry::Vacant(vacant) = self.by_code.entry(code.clone()) {
                let live = LiveMeeting::new(self.clone(), id.clone(), code, title, passcode);
                vacant.insert(live.clone());
                break live;
            }
        };
        self.by_id.insert(id, live.clone());
        self.metrics.meetings.inc();
        live::spawn_timer(&live);
        Ok(live)
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

    pub fn find_session(&self, session: &str) -> Option<Arc<LiveMeeting>> {
        self.sessions.get(session).map(|live| live.clone())
    }

    /// Ends a meeting for everybody, as its host asks.
    pub fn end(&self, live: &LiveMeeting) {
        let now = now();
        let mut tombstones = self.tombstones.lock().unwrap_or_else(PoisonError::into_inner);
        if tombstones.len() >= MAX_TOMBSTONES {
            tombstones.retain(|_, ended| now.saturating_duration_since(*ended) < TOMBSTONE_TTL);
        }
        if tombstones.len() < MAX_TOMBSTONES {
            tombstones.extend([(live.id.clone(), now), (live.code.clone(), now)]);
        }
        drop(tombstones);
        live.end(EndReason::MeetingEnded);
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
        while let Some(NodeEvent { event, .. }) = events.recv().await {
            let live = match &event {
                SfuEvent::Connected { session }
                | SfuEvent::Closed { session, .. }
                | SfuEvent::Slots { session, .. } => self.find_session(session),
                SfuEvent::Speakers { room, .. } => self.by_id.get(room).map(|live| live.clone()),
            };
            if let Some(live) = live {
                live.on_sfu_event(event);
            }
        }
    }

    /// A node that can take sessions is there.
    pub fn has_node(&self) -> bool {
        !self.bus.nodes().is_empty()
    }

    fn forget(&self, live: &LiveMeeting) {
        self.by_code.remove(&live.code);
        if self.by_id.remove(&live.id).is_some() {
            self.metrics.meetings.dec();
        }
    }

    fn forget_session(&self, session: &ParticipantId) {
        self.sessions.remove(session);
    }
}

/// The clock of timers and limits.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

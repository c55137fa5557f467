//! Who is connected over HTTP: how long each may go on as it does, and who goes first when there are too many.
//!
//! What counts against an address is what is unproven: connections that idle, send a request or wait for `join`. One that
//! carries a joined WebSocket counts for nobody and is given up only for a request that never ends. At a limit the oldest idle connection makes room,
//! so that a newcomer is heard; a browser that finds its idle connection closed opens another.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounterVec;
use tokio::sync::Notify;

use super::link::Link;
use crate::meetings::now;
use crate::network::Network;

/// A connection that was told to end has this long to do so.
const LEAVE_GRACE: Duration = Duration::from_secs(5);
/// WebSockets that one HTTP/2 connection carries (RFC 8441): a page's, and the one that takes its place.
const MAX_WEBSOCKETS: u32 = 2;

#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub total: usize,
    /// Unproven ones of one address.
    pub per_address: usize,
    /// WebSockets before `join` of one address.
    pub waiting_per_address: usize,
    /// From the connection or the first byte of a request to the end of its header.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// From the end of a header until the client has taken the whole answer.
    pub request: Duration,
    /// From the upgrade to `join`.
    pub waiting: Duration,
}

/// What a connection does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing yet, or a part of a header.
    Opening,
    Idle,
    /// Requests are being read or answered.
    Busy,
    /// It carries a WebSocket before `join`.
    Waiting,
    /// It carries a WebSocket that has joined.
    Joined,
    /// Told to end.
    Leaving,
}

/// Unproven connections in the order in which they are given up.
const CLASSES: usize = 4;

impl Phase {
    fn class(self) -> Option<usize> {
        match self {
            Self::Idle | Self::Leaving => Some(0),
            Self::Opening => Some(1),
            Self::Waiting => Some(2),
            Self::Busy => Some(3),
            Self::Joined => None,
        }
    }
}

/// Why the server closed a connection; a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Header,
    Idle,
    Request,
    Waiting,
    /// It made room for another of its address.
    AddressFull,
    /// It made room for another.
    Full,
    /// There was nothing to make room with.
    Refused,
    Handshake,
}

impl Closed {
    pub fn label(self) -> &'static str {
        match self {
            Self::Header => "header_timeout",
            Self::Idle => "idle_timeout",
            Self::Request => "request_timeout",
            Self::Waiting => "join_timeout",
            Self::AddressFull => "address_full",
            Self::Full => "full",
            Self::Refused => "refused",
            Self::Handshake => "tls_handshake",
        }
    }
}

struct Entry {
    /// `None`: a proxy's connection, behind which are many.
    address: Option<Network>,
    phase: Phase,
    since: Instant,
    /// The place in the ranks.
    rank: u64,
    /// When each of its open requests began.
    requests: BTreeMap<u64, Instant>,
    /// WebSockets before and after `join`.
    waiting: u32,
    joined: u32,
    http1: bool,
    link: Arc<Link>,
}

/// Ids by age, one list for each class.
type Ranks = [BTreeMap<u64, u64>; CLASSES];

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    all: Ranks,
    by_address: HashMap<Network, Ranks>,
    /// Numbers connections, ranks and requests.
    next: u64,
}

pub struct Connections {
    limits: ConnectionLimits,
    table: Mutex<Table>,
    closed: IntCounterVec,
    emptied: Notify,
}

/// One connection's place in the table, for as long as its socket is open.
pub struct Connection {
    id: u64,
    all: Arc<Connections>,
    pub link: Arc<Link>,
}

/// What came of a newcomer.
pub struct Opened {
    /// `None`: all others are in meetings.
    pub connection: Option<Arc<Connection>>,
    /// The total is reached.
    pub full: bool,
}

impl Connections {
    /// `closed` counts by [`Closed::label`].
    pub fn new(limits: ConnectionLimits, closed: IntCounterVec) -> Arc<Self> {
        Arc::new(Self {
            limits,
            table: Mutex::default(),
            closed,
            emptied: Notify::new(),
        })
    }

    pub fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// A newcomer; `address` is `None` for a trusted proxy.
    pub fn open(self: &Arc<Self>, address: Option<Network>, now: Instant) -> Opened {
        let mut table = self.lock();
        if let Some(address) = address
            && table.count(address) >= self.limits.per_address
        {
            self.evict_of(&mut table, address, 0..CLASSES);
        }
        let full = table.entries.len() >= self.limits.total;
        if full && !self.evict_any(&mut table) {
            self.count(Closed::Refused);
            return Opened { connection: None, full };
        }
        let id = table.number();
        let link = Arc::new(Link::default());
        table.insert(id, address, link.clone(), now);
        let connection = Connection {
            id,
            all: self.clone(),
            link,
        };
        Opened {
            connection: Some(Arc::new(connection)),
            full,
        }
    }

    /// Closes the one that is missed least, because files run out; false where there is none.
    pub fn evict(&self) -> bool {
        self.evict_any(&mut self.lock())
    }

    /// Closes the WebSocket that has waited longest for `join`.
    pub fn evict_waiting(&self) -> bool {
        let mut table = self.lock();
        let class = Phase::Waiting.class().expect("it is unproven");
        let oldest = table.all[class].values().next().copied();
        oldest.is_some_and(|id| self.close(&mut table, id, Closed::Full))
    }

    /// Closes all that are past their time.
    pub fn handle_timeout(&self, now: Instant) {
        let mut table = self.lock();
        let late: Vec<_> = table
            .entries
            .iter()
            .filter_map(|(id, entry)| Some((*id, entry.late(now, &self.limits)?)))
            .collect();
        for (id, reason) in late {
            if reason == Closed::Idle && table.entries.get(&id).is_some_and(|entry| entry.phase == Phase::Idle) {
                table.leave(id, now);
                self.count(reason);
            } else {
                self.close(&mut table, id, reason);
            }
        }
    }

    /// Asks all to end after what they are at.
    pub fn leave_all(&self) {
        for entry in self.lock().entries.values() {
            entry.link.leave();
        }
    }

    pub fn close_all(&self) {
        for (_, entry) in self.lock().entries.drain() {
            entry.link.close();
        }
    }

    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Resolves once nobody is connected.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub fn count(&self, reason: Closed) {
        self.closed.with_label_values(&[reason.label()]).inc();
    }

    fn evict_any(&self, table: &mut Table) -> bool {
        let oldest = table.all.iter().find_map(|ranks| ranks.values().next().copied());
        oldest.is_some_and(|id| self.close(table, id, Closed::Full))
    }

    fn evict_of(&self, table: &mut Table, address: Network, classes: std::ops::Range<usize>) {
        let ranks = table.by_address.get(&address);
        let oldest = ranks.and_then(|ranks| ranks[classes].iter().find_map(|ranks| ranks.values().next().copied()));
        if let Some(id) = oldest {
            self.close(table, id, Closed::AddressFull);
        }
    }

    fn close(&self, table: &mut Table, id: u64, reason: Closed) -> bool {
        let Some(entry) = table.remove(id) else {
            return false;
        };
        self.count(reason);
        entry.link.close();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// The TLS handshake is done.
    pub fn on_secured(&self, now: Instant) {
        self.all.lock().set_phase(self.id, Phase::Opening, now);
    }

    /// Bytes came over HTTP/1 while it was idle: a header has begun. In HTTP/2 bytes need not belong to a request.
    pub fn on_bytes(&self, now: Instant) {
        let mut table = self.all.lock();
        let idle = |entry: &Entry| entry.http1 && entry.phase == Phase::Idle;
        if table.entries.get(&self.id).is_some_and(idle) {
            table.set_phase(self.id, Phase::Opening, now);
        }
    }

    /// A header was read; the number is that of [`Self::on_answered`].
    pub fn on_request(&self, http1: bool, now: Instant) -> u64 {
        let mut table = self.all.lock();
        let number = table.number();
        if let Some(entry) = table.entries.get_mut(&self.id) {
            entry.http1 = http1;
            entry.requests.insert(number, now);
            if matches!(entry.phase, Phase::Opening | Phase::Idle | Phase::Leaving) {
                table.set_phase(self.id, Phase::Busy, now);
            }
        }
        number
    }

    /// The answer is handed over whole, or nobody wants it any more.
    pub fn on_answered(&self, number: u64, now: Instant) {
        let mut table = self.all.lock();
        if let Some(entry) = table.entries.get_mut(&self.id) {
            entry.requests.remove(&number);
            if entry.requests.is_empty() && entry.phase == Phase::Busy {
                table.set_phase(self.id, Phase::Idle, now);
            }
        }
    }

    /// It carries a WebSocket of `address`, which a proxy may have named; `None`: it has enough of them.
    pub fn on_upgraded(self: &Arc<Self>, address: Network, now: Instant) -> Option<Carried> {
        let mut table = self.all.lock();
        let entry = table.entries.get(&self.id)?;
        // Many clients share a proxy's HTTP/2 connection, which must not suffer for one of them.
        let shared = entry.address.is_none() && !entry.http1;
        if !shared && entry.waiting + entry.joined >= MAX_WEBSOCKETS {
            return None;
        }
        let is_new = entry.waiting + entry.joined == 0;
        if !shared && is_new {
            self.wait(&mut table, address, now);
        } else if !shared && let Some(entry) = table.entries.get_mut(&self.id) {
            entry.waiting += 1;
        }
        Some(Carried {
            connection: self.clone(),
            shared,
            has_joined: false,
        })
    }

    fn wait(&self, table: &mut Table, address: Network, now: Instant) {
        let class = Phase::Waiting.class().expect("it is unproven");
        let ranks = table.by_address.get(&address);
        if ranks.is_some_and(|ranks| ranks[class].len() >= self.all.limits.waiting_per_address) {
            self.all.evict_of(table, address, class..class + 1);
        }
        table.unrank(self.id);
        if let Some(entry) = table.entries.get_mut(&self.id) {
            entry.address = Some(address);
            entry.waiting += 1;
        }
        table.set_phase(self.id, Phase::Waiting, now);
    }

    pub fn count(&self, reason: Closed) {
        self.all.count(reason);
    }
}

/// A WebSocket's place on its connection, for as long as it lasts.
pub struct Carried {
    connection: Arc<Connection>,
    shared: bool,
    has_joined: bool,
}

impl Carried {
    pub fn on_joined(&mut self, now: Instant) {
        if self.shared || std::mem::replace(&mut self.has_joined, true) {
            return;
        }
        let mut table = self.connection.all.lock();
        if let Some(entry) = table.entries.get_mut(&self.connection.id) {
            entry.waiting -= 1;
            entry.joined += 1;
            table.set_phase(self.connection.id, Phase::Joined, now);
        }
    }

    /// Bytes that the peer has sent or has shown to have taken, as a count that only grows.
    pub fn progress(&self) -> u64 {
        self.connection.link.progress()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if self.shared {
            return;
        }
        let mut table = self.connection.all.lock();
        let Some(entry) = table.entries.get_mut(&self.connection.id) else {
            return;
        };
        match self.has_joined {
            true => entry.joined -= 1,
            false => entry.waiting -= 1,
        }
        let phase = match (entry.joined, entry.waiting, entry.requests.is_empty()) {
            (1.., ..) => Phase::Joined,
            (0, 1.., _) => Phase::Waiting,
            (0, 0, false) => Phase::Busy,
            (0, 0, true) => Phase::Idle,
        };
        if phase != entry.phase {
            table.set_phase(self.connection.id, phase, now());
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.all.lock();
        table.remove(self.id);
        if table.entries.is_empty() {
            self.all.emptied.notify_waiters();
        }
    }
}

impl Entry {
    /// Why it has to go, if it has.
    fn late(&self, now: Instant, limits: &ConnectionLimits) -> Option<Closed> {
        let (since, time, reason) = match self.phase {
            Phase::Opening => (self.since, limits.header, Closed::Header),
            Phase::Idle => (self.since, limits.idle, Closed::Idle),
            Phase::Leaving => (self.since, LEAVE_GRACE, Closed::Idle),
            Phase::Busy | Phase::Joined => (*self.requests.values().next()?, limits.request, Closed::Request),
            Phase::Waiting => (self.since, limits.waiting, Closed::Waiting),
        };
        (now.saturating_duration_since(since) >= time).then_some(reason)
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Unproven ones.
    fn count(&self, address: Network) -> usize {
        let ranks = self.by_address.get(&address);
        ranks.map_or(0, |ranks| ranks.iter().map(BTreeMap::len).sum())
    }

    fn insert(&mut self, id: u64, address: Option<Network>, link: Arc<Link>, now: Instant) {
        let entry = Entry {
            address,
            phase: Phase::Opening,
            since: now,
            rank: 0,
            requests: BTreeMap::new(),
            waiting: 0,
            joined: 0,
            http1: true,
            link,
        };
        self.entries.insert(id, entry);
        self.rank(id);
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        self.unrank(id);
        self.entries.remove(&id)
    }

    fn set_phase(&mut self, id: u64, phase: Phase, now: Instant) {
        self.unrank(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = phase;
            entry.since = now;
            entry.link.set_idle(phase == Phase::Idle && entry.http1);
        }
        self.rank(id);
    }

    fn leave(&mut self, id: u64, now: Instant) {
        self.set_phase(id, Phase::Leaving, now);
        if let Some(entry) = self.entries.get(&id) {
            entry.link.leave();
        }
    }

    fn rank(&mut self, id: u64) {
        let rank = self.number();
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.rank = rank;
        let Some(class) = entry.phase.class() else {
            return;
        };
        self.all[class].insert(rank, id);
        if let Some(address) = entry.address {
            self.by_address.entry(address).or_default()[class].insert(rank, id);
        }
    }

    fn unrank(&mut self, id: u64) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        let Some(class) = entry.phase.class() else {
            return;
        };
        self.all[class].remove(&entry.rank);
        let Some(address) = entry.address else {
            return;
        };
        if let Some(ranks) = self.by_address.get_mut(&address) {
            ranks[class].remove(&entry.rank);
            if ranks.iter().all(BTreeMap::is_empty) {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;

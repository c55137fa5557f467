//! One worker without its thread and sockets: its connections, its tracks and the way of a packet
//! through them. The shell feeds it datagrams, commands and mail, and sends what it leaves.

mod adapt;
mod control;
mod forward;
#[doc(hidden)]
pub mod fuzz_bodies;
mod links;
mod quality;
mod receive;
mod rtcp;
mod timers;
mod voice;
mod wants;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::connection::Connection;
use crate::counters::Counters;
use crate::drop_reason::DropReason;
use crate::mail::Mail;
use crate::ntp::NtpClock;
use crate::path::Path;
use crate::pool::PacketPool;
use crate::rate::{Ceilings, RateLimits, RateMeter, Ticks};
use crate::router::Router;
use crate::send_batch::SendBatch;
use crate::transport::Certificate;
use crate::transport::{TransportEvent, TransportOutput, ice_lite};
use crate::units::{ConnectionId, WorkerIndex};
use crate::worker_api::{CloseReason, WorkerEvent};

use links::Links;
use wants::Wanting;

/// Takes the packets of a batch; called whenever the slab is full, and at the end of a flush.
pub trait PacketSink {
    fn send(&mut self, batch: &SendBatch);
}

#[derive(Clone, Debug)]
pub struct WorkerConfig {
    pub worker: WorkerIndex,
    /// Of the whole node.
    pub certificate: Certificate,
    /// Which wall-clock time an instant was, for sender reports.
    pub ntp: NtpClock,
    /// Packet buffers of each size (up to 1.7 kB) that are kept for reuse.
    pub pool_packets: usize,
    /// Bytes of outgoing packets that are gathered before they are handed to the kernel.
    pub batch_bytes: usize,
    pub rates: RateLimits,
    pub speech: SpeechConfig,
}

/// What is done for speech over weak links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeechConfig {
    /// Speakers are asked for a second, low voice while somebody behind a weak link listens.
    pub low_voices: bool,
    /// Earlier frames that a packet of voice repeats at most (RFC 2198), 0–3.
    pub redundancy: u8,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self {
            low_voices: true,
            redundancy: 3,
        }
    }
}

impl WorkerConfig {
    pub fn new(worker: WorkerIndex, certificate: Certificate, ntp: NtpClock) -> Self {
        Self {
            worker,
            certificate,
            ntp,
            pool_packets: 32_768,
            // Of a few subscribers' frames: what is written must still be in the cache when the kernel copies it.
            batch_bytes: 64 * 1024,
            rates: RateLimits::default(),
            speech: SpeechConfig::default(),
        }
    }
}

/// Room for a packet of nothing but padding, which has at most 255 bytes.
const PADDING_ROOM: usize = 400;

/// Least time between two looks at feedback and requests for key frames.
const TICK: Duration = Duration::from_millis(10);

pub struct WorkerCore {
    config: WorkerConfig,
    connections: Slab<Connection>,
    /// When the transport of each connection wants its timeout handled.
    deadlines: Vec<Option<Instant>>,
    /// Connections that publish, or may.
    publishers: Vec<usize>,
    ids: FxHashMap<ConnectionId, usize>,
    /// Only addresses that have passed a STUN check; of each connection those that its transport remembers.
    paths: FxHashMap<Path, usize>,
    last_path: Option<(Path, usize)>,
    router: Router,
    pool: PacketPool,
    batch: SendBatch,
    events: VecDeque<WorkerEvent>,
    mails: VecDeque<(WorkerIndex, Mail)>,
    /// Connections with feedback that does not wait for the next tick.
    urgent: Vec<usize>,
    /// Connections with packets that wait for their time.
    pacing: Vec<usize>,
    next_pace: Instant,
    /// Connections whose link is estimated.
    adaptive: Vec<usize>,
    /// Those of them that a probe goes out to.
    probing: Vec<usize>,
    /// Slots whose layer changes; empty between two turns.
    retargets: Vec<usize>,
    /// RTP padding of each packet of the track that is being routed.
    paddings: Vec<u8>,
    /// Audio tracks heard since the last report of levels.
    heard: Vec<usize>,
    counters: Counters,
    ceilings: Ceilings,
    speech: SpeechConfig,
    /// Of all media that the worker sends.
    egress: RateMeter,
    /// Where [`Ticks`] count from.
    epoch: Instant,
    last_flush: Instant,
    /// The earliest of `deadlines`, or before it.
    next_deadline: Instant,
    /// Feedback and requests for key frames are looked at no more often than [`TICK`] …
    next_tick: Instant,
    /// … and at the tick after something came that may want them, or when this is due.
    has_news: bool,
    next_feedback: Instant,
    next_reports: Instant,
    next_levels: Instant,
    next_quality: Instant,
    /// Frames of a voice wait until then for others, or longer.
    next_voice: Option<Instant>,
    /// What subscribers want of tracks, as the control side knows it.
    wanting: Wanting,
    links: Links,
}

impl WorkerCore {
    pub fn new(config: WorkerConfig, now: Instant) -> Self {
        Self {
            pool: PacketPool::new(config.pool_packets),
            batch: SendBatch::with_capacity(config.batch_bytes),
            ceilings: Ceilings::new(&config.rates),
            speech: config.speech,
            egress: RateMeter::default(),
            epoch: now,
            last_flush: now,
            config,
            connections: Slab::new(),
            deadlines: Vec::new(),
            publishers: Vec::new(),
            ids: FxHashMap::default(),
            paths: FxHashMap::default(),
            last_path: None,
            router: Router::default(),
            events: VecDeque::new(),
            mails: VecDeque::new(),
            urgent: Vec::new(),
            pacing: Vec::new(),
            next_pace: now,
            adaptive: Vec::new(),
            probing: Vec::new(),
            retargets: Vec::new(),
            paddings: Vec::new(),
            heard: Vec::new(),
            counters: Counters::default(),
            next_deadline: now,
            next_tick: now,
            has_news: false,
            next_feedback: now,
            next_reports: now,
            next_levels: now,
            next_quality: now,
            next_voice: None,
            wanting: Wanting::new(now),
            links: Links::default(),
        }
    }

    fn ticks(&self, now: Instant) -> Ticks {
        Ticks::since(self.epoch, now)
    }

    pub fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }

    pub fn poll_mail(&mut self) -> Option<(WorkerIndex, Mail)> {
        self.mails.pop_front()
    }

    /// The other worker's queue had no room.
    pub fn on_mailbox_full(&mut self, _to: WorkerIndex) {
        self.counters.drops.count(DropReason::MailboxFull);
    }

    /// Counts a drop that the shell has made.
    pub fn on_drop(&mut self, reason: DropReason) {
        self.counters.drops.count(reason);
    }

    /// No connections and no tracks.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
            && self.ids.is_empty()
            && self.paths.is_empty()
            && self.router.is_empty()
            && self.wanting.is_empty()
            && self.links.is_empty()
    }

    /// What a peer can make this worker keep is within bounds that it cannot move.
    ///
    /// # Panics
    /// Where it is not.
    #[doc(hidden)]
    pub fn check_bounds(&self) {
        let most = self.connections.len() * ice_lite::MAX_PATHS;
        assert!(self.paths.len() <= most, "{} paths", self.paths.len());
        assert!(self.deadlines.len() <= self.connections.capacity());
        assert!(self.publishers.len() <= self.connections.len());
        self.links.check_bounds();
        for (_, connection) in &self.connections {
            connection.check_bounds();
        }
        for (_, track) in self.router.iter() {
            assert!(track.pending.is_empty(), "the batch is sent");
            for layer in &track.layers {
                layer.ring.check_bounds();
            }
        }
        // What the last turn left.
        assert!(self.urgent.is_empty() && self.mails.is_empty() && self.events.is_empty());
        assert!(self.batch.is_empty());
        assert!(
            self.heard.len() <= 2 * self.router.slots(),
            "{} heard",
            self.heard.len()
        );
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A TCP stream ended.
    pub fn handle_path_closed(&mut self, now: Instant, path: Path) {
        self.last_path = None;
        if let Some(index) = self.paths.remove(&path) {
            if let Some(connection) = self.connections.get_mut(index) {
                connection.transport.handle_path_closed(now, path);
            }
            self.drain_transport(now, index);
        }
    }

    /// No connection uses the path: none has had a valid STUN check over it, or it is gone.
    pub fn is_closed_path(&self, path: Path) -> bool {
        !self.paths.contains_key(&path)
    }

    /// Says good-bye to every client (DTLS close_notify); flush once more to send it.
    pub fn close_all(&mut self, now: Instant) {
        let all: Vec<usize> = self.connections.iter().map(|(index, _)| index).collect();
        for index in all {
            self.close(now, index);
        }
    }

    /// After every input of a transport: queues what it wants to send and acts on what it tells.
    fn drain_transport(&mut self, now: Instant, index: usize) {
        if let Some(connection) = self.connections.get(index) {
            let due = connection.transport.poll_timeout();
            self.deadlines[index] = due;
            self.next_deadline = due.map_or(self.next_deadline, |due| due.min(self.next_deadline));
        }
        while let Some(connection) = self.connections.get_mut(index)
            && let Some(output) = connection.transport.poll_output()
        {
            let connection = connection.id;
            match output {
                TransportOutput::Transmit { path, data } => {
                    if !self.batch.push(path, &data) {
                        self.counters.drops.count(DropReason::SendBufferFull);
                    }
                }
                TransportOutput::Event(TransportEvent::Connected) => {
                    self.events.push_back(WorkerEvent::Connected { connection });
                    self.start_slots(now, index);
                }
                TransportOutput::Event(TransportEvent::PathChanged(_)) => {}
                TransportOutput::Event(TransportEvent::Resumed) => self.resume_slots(now, index),
                TransportOutput::Event(TransportEvent::Failed(reason)) => self.give_up(now, index, reason),
                TransportOutput::Event(TransportEvent::PeerClosed) => {
                    self.give_up(now, index, CloseReason::PeerClosed);
                }
            }
        }
    }

    /// Ends a connection of our own accord and tells the control side.
    fn give_up(&mut self, now: Instant, index: usize, reason: CloseReason) {
        if let Some(connection) = self.connections.get(index) {
            self.events.push_back(WorkerEvent::Closed {
                connection: connection.id,
                reason,
            });
            self.close(now, index);
        }
    }
}

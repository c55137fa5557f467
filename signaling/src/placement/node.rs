//! One SFU node as placement sees it: its last report, and what was placed on it since.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tianqiao_protocol::fleet::{NodeCapacity, NodeId, NodeLoad, NodeReport};

use super::PlacementLimits;

/// Bits per second that a session is taken for where nothing is known of the node's others.
const EGRESS_PER_SESSION: u64 = 1_500_000;
/// Sessions from which on what they have cost so far tells what another will cost.
const ENOUGH_SESSIONS: u32 = 10;
/// Sessions that are opened within this time are counted together.
const BUCKET: Duration = Duration::from_millis(100);

/// How full a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Open,
    /// Over the soft threshold.
    Warm,
    /// Its workers are busy over the hard threshold; what is counted is not at it.
    Hot,
}

impl Tier {
    pub const COUNT: usize = 3;
}

#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Sessions and egress, whichever is worse.
    pub counted: f64,
    pub busy: f64,
}

impl Load {
    pub fn worst(self) -> f64 {
        self.counted.max(self.busy)
    }
}

pub struct Node {
    pub id: NodeId,
    pub region: String,
    pub present: bool,
    /// Found to be gone, whatever the bus lists: only a report says that it is back, or the bus after it missed it too.
    pub dead: bool,
    pub draining: bool,
    pub reported_at: Option<Instant>,
    /// Places held for sessions that are being opened.
    pub pending: u32,
    /// Its list of the region, and the place in it.
    pub listed: Option<(Tier, u32)>,
    incarnation: u64,
    capacity: NodeCapacity,
    load: NodeLoad,
    /// Sessions that were opened, which the next reports may not show yet.
    opened: VecDeque<(Instant, u32)>,
    /// All of `opened`.
    unseen: u32,
}

impl Node {
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            region: String::new(),
            present: false,
            dead: false,
            draining: false,
            reported_at: None,
            pending: 0,
            listed: None,
            incarnation: 0,
            capacity: NodeCapacity::default(),
            load: NodeLoad::default(),
            opened: VecDeque::new(),
            unseen: 0,
        }
    }

    /// Returns whether it was started again since its last report.
    pub fn on_report(&mut self, now: Instant, report: &NodeReport, settle: Duration) -> bool {
        let restarted = self.reported_at.is_some() && self.incarnation != report.incarnation;
        if self.region != report.region {
            self.region.clone_from(&report.region);
        }
        self.present = true;
        self.dead = false;
        self.draining = report.draining;
        self.reported_at = Some(now);
        self.incarnation = report.incarnation;
        self.capacity = report.capacity;
        self.load = report.load;
        while let Some(&(at, count)) = self.opened.front()
            && (restarted || now.saturating_duration_since(at) >= settle)
        {
            self.opened.pop_front();
            self.unseen -= count;
        }
        restarted
    }

    pub fn on_opened(&mut self, now: Instant) {
        self.pending = self.pending.saturating_sub(1);
        self.unseen += 1;
        match self.opened.back_mut() {
            Some((at, count)) if now.saturating_duration_since(*at) < BUCKET => *count += 1,
            _ => self.opened.push_back((now, 1)),
        }
        // Without reports nothing takes them off; what is older than any report may be is as good as one.
        const MAX_BUCKETS: usize = 600;
        if self.opened.len() > MAX_BUCKETS
            && let Some((_, count)) = self.opened.pop_front()
        {
            self.unseen -= count;
        }
    }

    pub fn on_lost(&mut self) {
        self.present = false;
        self.dead = true;
        self.opened.clear();
        self.unseen = 0;
    }

    pub fn takes(&self) -> bool {
        self.present && !self.draining
    }

    /// With what is placed on it and not reported yet, and `more`.
    pub fn load(&self, more: u32) -> Load {
        let coming = self.pending + self.unseen + more;
        let of = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let sessions = of(
            f64::from(self.load.sessions + coming),
            f64::from(self.capacity.sessions),
        );
        let each = match self.load.sessions {
            0 => EGRESS_PER_SESSION,
            some => (self.load.egress / u64::from(some)).max(EGRESS_PER_SESSION / 10),
        };
        let egress = self.load.egress + each * u64::from(coming);
        let egress = of(egress as f64, self.capacity.egress as f64);
        let mut busy = f64::from(self.load.busy) / 1000.0;
        if self.load.sessions >= ENOUGH_SESSIONS {
            busy *= 1.0 + f64::from(coming) / f64::from(self.load.sessions);
        }
        Load {
            counted: sessions.max(egress),
            busy,
        }
    }

    /// None: it takes nothing.
    pub fn tier(&self, limits: &PlacementLimits) -> Option<Tier> {
        let load = self.load(1);
        if !self.takes() || load.counted > limits.hard {
            return None;
        }
        Some(if load.busy > limits.hard {
            Tier::Hot
        } else if load.worst() > limits.soft {
            Tier::Warm
        } else {
            Tier::Open
        })
    }

    /// Sessions that are on it, as far as is known.
    pub fn sessions(&self) -> u32 {
        self.load.sessions + self.pending + self.unseen
    }

    /// Sessions that it can have up to that part of its capacity.
    pub fn fits(&self, part: f64) -> u32 {
        match self.capacity.sessions {
            0 => u32::MAX,
            sessions => (f64::from(sessions) * part) as u32,
        }
    }
}

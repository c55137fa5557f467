//! What a link carries, and which layers stay behind where that is too little. Between nodes that is rare, so nothing is
//! held back before the estimator has seen queues or losses; then voices pass, and of the pictures the smallest first.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::bwe::{Config, PacketKind, SendSideBwe, SentPacket};
use crate::packet::rtcp::transport_feedback::TransportFeedback;
use crate::units::{Bitrate, TrackId};

/// How often layers are weighed against the estimate.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// Without queues for so long, and with room for all, the link counts as free again.
const CLEAR_AFTER: Duration = Duration::from_secs(5);
/// A queue that is none of the estimator's making.
const QUEUE: Duration = Duration::from_millis(60);
/// Of the estimate goes to what is admitted; the rest is for repairs and swings.
const FILL: f64 = 0.85;
/// Losses without queues are repaired up to this share; an estimator would take a layer away for less, of which nobody
/// sees anything then.
const BORNE_LOSS: f64 = 0.2;
/// How fast the share follows, by [`INTERVAL`]: a few lost in a row are no share.
const LOSS_SMOOTHING: f64 = 0.05;
/// Datagrams that a share is taken of, at least.
const MIN_SENT: f64 = 50.0;
/// UDP and IP around a datagram.
const OUTER: usize = 28;
/// How fast the measured rates follow.
const SMOOTHING: f64 = 0.3;
const MAX_LAYERS_KEPT: usize = 16_384;

#[derive(Debug, Default)]
struct Offered {
    bytes: u64,
    rate: f64,
    is_refused: bool,
}

#[derive(Debug, Default)]
struct Counted<T> {
    sent: T,
    lost: T,
}

pub(super) struct Congestion {
    bwe: SendSideBwe,
    layers: FxHashMap<(TrackId, u8), Offered>,
    other_bytes: u64,
    other_rate: f64,
    /// Datagrams since the layers were weighed last, and smoothed.
    counted: Counted<u32>,
    smoothed: Counted<f64>,
    weighed: Instant,
    /// When queues or losses were seen last; none: never, or long ago.
    congested: Option<Instant>,
    has_refused: bool,
}

impl Congestion {
    pub fn new(now: Instant) -> Self {
        let config = Config {
            start: Bitrate::kbps(20_000),
            min: Bitrate::kbps(300),
            max: Bitrate::kbps(2_500_000),
            has_transport_feedback: true,
        };
        Self {
            bwe: SendSideBwe::new(config),
            layers: FxHashMap::default(),
            other_bytes: 0,
            other_rate: 0.0,
            counted: Counted::default(),
            smoothed: Counted::default(),
            weighed: now,
            congested: None,
            has_refused: false,
        }
    }

    /// A datagram goes out; its number is one more than that of the one before.
    pub fn on_sent(&mut self, now: Instant, len: usize, kind: PacketKind) {
        let bytes = len + OUTER;
        self.counted.sent += 1;
        self.bwe.on_sent(
            now,
            SentPacket {
                bytes,
                kind,
                probe: None,
            },
        );
        if kind != PacketKind::Video {
            self.other_bytes += bytes as u64;
        }
    }

    /// A packet of a video is to go out; false where its layer stays behind. All are measured.
    pub fn admits(&mut self, layer: (TrackId, u8), len: usize) -> bool {
        if self.layers.len() >= MAX_LAYERS_KEPT && !self.layers.contains_key(&layer) {
            return !self.has_refused;
        }
        let offered = self.layers.entry(layer).or_default();
        offered.bytes += (len + OUTER) as u64;
        !offered.is_refused
    }

    /// A layer that stays behind is not sent again either.
    pub fn leaves_behind(&self, layer: (TrackId, u8)) -> bool {
        self.layers.get(&layer).is_some_and(|offered| offered.is_refused)
    }

    pub fn on_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        let lost = self.bwe.on_transport_feedback(now, feedback).len();
        self.counted.lost += lost as u32;
        let stats = self.bwe.stats();
        let loses = lost > 0
            && self.loses_much()
            && stats
                .loss_based
                .is_some_and(|loss_based| loss_based < stats.delay_based);
        if stats.is_overused || stats.queue > QUEUE || loses {
            self.congested = Some(now);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.bwe.handle_timeout(now);
        let span = now.saturating_duration_since(self.weighed);
        if span >= INTERVAL {
            self.weighed = now;
            self.weigh(now, span);
        }
    }

    fn loses_much(&self) -> bool {
        let Counted { sent, lost } = self.smoothed;
        sent > MIN_SENT * LOSS_SMOOTHING && lost > sent * BORNE_LOSS
    }

    fn weigh(&mut self, now: Instant, span: Duration) {
        let Counted { sent, lost } = std::mem::take(&mut self.counted);
        self.smoothed.sent += LOSS_SMOOTHING * (f64::from(sent) - self.smoothed.sent);
        self.smoothed.lost += LOSS_SMOOTHING * (f64::from(lost) - self.smoothed.lost);
        let rate = |bytes: u64| bytes as f64 * 8.0 / span.as_secs_f64();
        let smooth = |old: f64, new: f64| old + SMOOTHING * (new - old);
        self.other_rate = smooth(self.other_rate, rate(std::mem::take(&mut self.other_bytes)));
        for offered in self.layers.values_mut() {
            offered.rate = smooth(offered.rate, rate(std::mem::take(&mut offered.bytes)));
        }
        self.layers.retain(|_, offered| offered.rate > 1_000.0);
        let Some(congested) = self.congested else { return };
        let mut left = self.bwe.estimate().0 as f64 * FILL - self.other_rate;
        let mut order: Vec<((TrackId, u8), f64)> = self
            .layers
            .iter()
            .map(|(&layer, offered)| (layer, offered.rate))
            .collect();
        order.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
        let mut refused = 0;
        for (layer, rate) in order {
            left -= rate;
            if let Some(offered) = self.layers.get_mut(&layer) {
                offered.is_refused = left < 0.0;
                refused += usize::from(offered.is_refused);
            }
        }
        self.has_refused = refused > 0;
        if refused == 0 && now.saturating_duration_since(congested) > CLEAR_AFTER {
            self.congested = None;
        }
    }

    pub fn estimate(&self) -> Bitrate {
        self.bwe.estimate()
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.bwe.round_trip()
    }

    /// When to call [`Self::handle_timeout`], while anything is offered.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let busy = !self.layers.is_empty() || self.congested.is_some();
        busy.then(|| self.weighed + INTERVAL)
    }

    pub fn layers_kept(&self) -> usize {
        self.layers.len()
    }
}

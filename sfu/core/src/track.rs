//! A published track as one worker routes it: on the publisher's own worker, and on every other
//! worker that has subscribers of it, where the packets arrive by mail.

pub mod meter;
pub mod spatial;
pub mod uplink;
pub mod view;

use std::time::{Duration, Instant};

use crate::negotiated::{Codec, MAX_LAYERS, MediaKind};
use crate::pool::PacketRef;
use crate::units::{TrackId, WorkerIndex};
use crate::uptrack::keyframe_throttle::KeyframeThrottle;
use crate::uptrack::retransmission_ring::{RetransmissionRing, RingLimits};

use meter::LayerMeter;
use spatial::Spatial;
use uplink::Uplink;

/// A layer that lags this far behind the newest one has been switched off by its publisher.
const LAYER_SILENCE: Duration = Duration::from_millis(700);
/// The same of a voice: in silence Opus sends a packet every 400 ms, and one of them may be lost.
const VOICE_SILENCE: Duration = Duration::from_millis(1_000);

/// Where the track's packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The slab index of the publisher's connection on this worker.
    Local {
        connection: usize,
    },
    Remote(WorkerIndex),
    /// Another node's: the slab index of the link on this worker.
    Link {
        link: usize,
    },
    /// A subscriber was there before the publisher.
    Unknown,
}

/// A sender report brought onto this machine's clock: at `at`, the media clock read `rtp`.
/// All tracks of one publisher are mapped by the same offset, so audio and video stay in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedReport {
    pub at: Instant,
    pub rtp: u32,
}

impl MappedReport {
    /// What the media clock of `clock_rate` Hz reads at `now`.
    pub fn rtp_at(&self, now: Instant, clock_rate: u32) -> u32 {
        let (sign, elapsed) = match now.checked_duration_since(self.at) {
            Some(elapsed) => (1, elapsed),
            None => (-1, self.at.duration_since(now)),
        };
        let ticks = sign * (elapsed.as_secs_f64() * f64::from(clock_rate)).round() as i64;
        self.rtp.wrapping_add(ticks as u32)
    }
}

/// One stream of a track: a simulcast layer, or all layers of an SVC encoder.
#[derive(Debug)]
pub struct Layer {
    /// Of its latest packet.
    pub codec: Option<Codec>,
    pub spatial: Spatial,
    pub meter: LayerMeter,
    pub ring: RetransmissionRing,
    /// Width and height in pixels of its latest key frame.
    pub resolution: Option<(u16, u16)>,
    pub last_packet: Option<Instant>,
    pub last_keyframe: Option<Instant>,
    pub report: Option<MappedReport>,
    pub keyframes: KeyframeThrottle,
}

/// A downtrack on this worker: slab index of the connection and index of the slot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    pub connection: usize,
    pub slot: usize,
}

/// Another node that wants packets of a track: slab index of the link on this worker, and a bit for each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSubscriber {
    pub link: usize,
    pub layers: u8,
}

/// Which layers of another node's track somebody on this node has a use for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// On other workers of this node.
    pub by_worker: Vec<(WorkerIndex, u8)>,
    /// What its side was told, the other node's or the home worker's.
    pub told: u8,
    /// When layers that nobody has a use for any longer are given up.
    pub give_up: Option<Instant>,
}

#[derive(Debug)]
pub struct Track {
    pub id: TrackId,
    pub kind: MediaKind,
    pub home: Home,
    pub muted: bool,
    /// Place among the voices of its room that are heard; 0 is the most important.
    pub voice_order: u8,
    pub layers: [Layer; MAX_LAYERS],
    pub uplink: Uplink,
    pub subscribers: Vec<Subscriber>,
    /// Bit i: worker i has subscribers. Only at home.
    pub interested: u64,
    /// Other nodes that want it. Only on the worker of the link.
    pub links: Vec<LinkSubscriber>,
    /// Its packets come over a link, to this worker or to the home one: only what somebody has a use for.
    pub is_relayed: bool,
    pub asks: Asks,
    /// Arrived in this batch and not routed yet.
    pub pending: Vec<PacketRef>,
    /// How many of them, the first, have been mailed to other workers.
    pub mailed: usize,
    /// A layer came up or changed its size: subscribers choose anew.
    pub layers_changed: bool,
    /// So do their allocators, at the next look at the layers.
    pub wants_allocation: bool,
    /// The loudest level in −dBov and the voice bit since the last report to the control side.
    pub heard: Option<(u8, bool)>,
    /// When its voice bit was set last (RFC 6464).
    pub spoke: Option<Instant>,
}

impl Track {
    pub fn new(id: TrackId, kind: MediaKind, home: Home) -> Self {
        Self {
            id,
            kind,
            home,
            muted: false,
            voice_order: 0,
            layers: std::array::from_fn(|_| Layer {
                codec: None,
                spatial: Spatial::default(),
                meter: LayerMeter::default(),
                ring: RetransmissionRing::new(RingLimits::of(kind)),
                resolution: None,
                last_packet: None,
                last_keyframe: None,
                report: None,
                keyframes: KeyframeThrottle::default(),
            }),
            uplink: Uplink::default(),
            subscribers: Vec::new(),
            interested: 0,
            links: Vec::new(),
            is_relayed: false,
            asks: Asks::default(),
            pending: Vec::new(),
            mailed: 0,
            layers_changed: false,
            wants_allocation: false,
            heard: None,
            spoke: None,
        }
    }

    /// Its packets come from elsewhere now, where nothing is known yet of what is wanted here.
    pub fn set_home(&mut self, home: Home) {
        if self.home != home {
            self.home = home;
            (self.asks.told, self.asks.give_up) = (0, None);
        }
    }

    pub fn spoke_within(&self, now: Instant, time: Duration) -> bool {
        self.spoke.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    /// The other workers that want its packets.
    pub fn interested_workers(&self) -> impl Iterator<Item = WorkerIndex> + use<> {
        let mut workers = self.interested;
        std::iter::from_fn(move || {
            let lowest = workers.trailing_zeros();
            workers &= workers.checked_sub(1)?;
            Some(WorkerIndex(lowest as u8))
        })
    }

    /// Nobody publishes it here and nobody is interested: it may be forgotten.
    pub fn is_orphan(&self) -> bool {
        let is_published = matches!(self.home, Home::Local { .. } | Home::Link { .. });
        !is_published && self.subscribers.is_empty() && self.interested == 0 && self.links.is_empty()
    }

    /// Takes a packet in: to be routed at the end of the batch, and kept for retransmission.
    pub fn on_packet(&mut self, packet: PacketRef) {
        let newest = self.newest_packet();
        let Some(layer) = self.layers.get_mut(usize::from(packet.layer)) else {
            return;
        };
        if newest
            .zip(layer.last_packet)
            .is_some_and(|(newest, last)| newest.saturating_duration_since(last) > LAYER_SILENCE)
        {
            // It was off while others were sent: what it took before says nothing of what it takes now.
            layer.meter = LayerMeter::default();
        }
        let silent = layer
            .last_packet
            .is_none_or(|last| packet.arrival.saturating_duration_since(last) > LAYER_SILENCE);
        self.layers_changed |= silent | (layer.codec != Some(packet.codec));
        layer.codec = Some(packet.codec);
        layer.last_packet = Some(packet.arrival);
        if self.kind == MediaKind::Video {
            layer.meter.on_packet(&packet);
            self.layers_changed |= layer.spatial.on_packet(&packet, LAYER_SILENCE);
        }
        if packet.frame.keyframe {
            if packet.frame.resolution.is_some() && layer.resolution != packet.frame.resolution {
                layer.resolution = packet.frame.resolution;
                self.layers_changed = true;
            }
            layer.last_keyframe = Some(packet.arrival);
            layer.keyframes.on_keyframe();
        }
        layer.ring.insert(packet.clone());
        self.pending.push(packet);
    }

    fn newest_packet(&self) -> Option<Instant> {
        self.layers.iter().filter_map(|layer| layer.last_packet).max()
    }

    /// The layer of a voice for who wants `wanted`: another one where that is not being sent.
    pub fn voice_layer(&self, wanted: u8) -> u8 {
        let mut first = None;
        for layer in self.active_layers() {
            if layer == wanted {
                return wanted;
            }
            first = first.or(Some(layer));
        }
        first.unwrap_or(0)
    }

    /// A low voice is or was sent beside the full one.
    pub fn has_low_voice(&self) -> bool {
        self.kind == MediaKind::Audio && self.layers[1..].iter().any(|layer| layer.last_packet.is_some())
    }

    /// Call about every 100 ms.
    pub fn update_meters(&mut self, now: Instant) {
        for layer in &mut self.layers {
            if layer.last_packet.is_some() {
                layer.meter.update(now, layer.spatial.needs());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(now: Instant, heights: [Option<u16>; 3]) -> Track {
        let mut track = Track::new(TrackId(1), MediaKind::Video, Home::Unknown);
        for (layer, height) in track.layers.iter_mut().zip(heights) {
            layer.resolution = height.map(|height| (height * 16 / 9, height));
            layer.last_packet = height.map(|_| now);
        }
        track
    }

    #[test]
    fn the_smallest_layer_that_is_high_enough_is_chosen_in_whatever_order_the_layers_come() {
        let now = Instant::now();
        for (heights, wanted, expected) in [
            ([Some(180), Some(360), Some(720)], 100, Some(0)),
            ([Some(180), Some(360), Some(720)], 180, Some(0)),
            ([Some(180), Some(360), Some(720)], 200, Some(1)),
            ([Some(180), Some(360), Some(720)], 720, Some(2)),
            ([Some(180), Some(360), Some(720)], 1080, Some(2)),
            ([Some(720), Some(360), Some(180)], 100, Some(2)),
            ([Some(720), None, None], 100, Some(0)),
            ([None, None, None], 100, None),
        ] {
            assert_eq!(
                track(now, heights).layer_for_height(wanted, |_| true),
                expected,
                "{heights:?} {wanted}"
            );
        }
    }

    #[test]
    fn a_layer_that_its_publisher_stopped_is_not_chosen() {
        let now = Instant::now();
        let mut track = track(now, [Some(180), Some(360), Some(720)]);
        for layer in &mut track.layers[..2] {
            layer.last_packet = Some(now + Duration::from_secs(2));
        }
        assert_eq!(track.layer_for_height(720, |_| true), Some(1));
    }

    #[test]
    fn interested_workers_are_the_bits_that_are_set() {
        for (bits, workers) in [(0, &[][..]), (1, &[0]), (0b1010, &[1, 3]), (1 << 63, &[63])] {
            let track = Track {
                interested: bits,
                ..Track::new(TrackId(1), MediaKind::Video, Home::Unknown)
            };
            let found: Vec<u8> = track.interested_workers().map(|worker| worker.0).collect();
            assert_eq!(found, workers, "{bits:b}");
        }
    }

    #[test]
    fn a_report_extrapolates_both_ways() {
        let now = Instant::now();
        let report = MappedReport {
            at: now + Duration::from_secs(1),
            rtp: 1000,
        };
        assert_eq!(report.rtp_at(now + Duration::from_secs(2), 90_000), 91_000);
        assert_eq!(report.rtp_at(now, 90_000), 1000u32.wrapping_sub(90_000));
    }
}

//! Bit rates of a stream by spatial and temporal layer, measured by adding a number per packet.

use std::time::{Duration, Instant};

use crate::allocator::{MAX_TEMPORAL, MeasuredRate};
use crate::negotiated::MAX_LAYERS;
use crate::pool::Packet;
use crate::units::Bitrate;

/// Headers of RTP with a CSRC and of its extensions, SRTP's tag, UDP and IPv4: what a packet is larger on the wire
/// than its payload and descriptor.
const WIRE_OVERHEAD: usize = 16 + 8 + 16 + 8 + 20;

/// The mean goes so far back: long enough for the frames of a key frame interval to even out, short enough to follow
/// an encoder's new target.
const SMOOTHING: Duration = Duration::from_secs(1);

/// The peak is that of this time and of the one before it.
const PEAK_SPAN: Duration = Duration::from_secs(5);

/// A time shorter than this says little: at 10 frames a second nothing may have come.
const MIN_INTERVAL: Duration = Duration::from_millis(95);

/// By spatial layer, and in it by temporal layer.
type Cells<T> = [[T; MAX_TEMPORAL]; MAX_LAYERS];

#[derive(Clone, Debug, Default)]
pub struct LayerMeter {
    /// Since the last look.
    bytes: Cells<u32>,
    looked: Option<Instant>,
    /// In bit/s.
    smoothed: Cells<f32>,
    /// How much of the mean has been seen, 0 to 1: less than one only in the first seconds.
    weight: f32,
    peaks: Cells<f32>,
    peaks_before: Cells<f32>,
    peaks_since: Option<Instant>,
    /// Temporal layers seen, by spatial layer.
    temporal_layers: [u8; MAX_LAYERS],
}

impl LayerMeter {
    pub fn on_packet(&mut self, packet: &Packet) {
        let spatial = usize::from(packet.frame.spatial_id).min(MAX_LAYERS - 1);
        let temporal = usize::from(packet.frame.temporal_id).min(MAX_TEMPORAL - 1);
        let bytes = packet.payload().len() + packet.dependency_descriptor().len() + WIRE_OVERHEAD;
        let cell = &mut self.bytes[spatial][temporal];
        *cell = cell.saturating_add(bytes as u32);
        self.temporal_layers[spatial] = self.temporal_layers[spatial].max(temporal as u8 + 1);
    }

    /// Call about every 100 ms. `needs` tells which spatial layers a subscriber gets with each: bit s of entry u.
    pub fn update(&mut self, now: Instant, needs: [u8; MAX_LAYERS]) {
        let Some(looked) = self.looked else {
            self.looked = Some(now);
            self.bytes = Cells::default();
            return;
        };
        let elapsed = now.saturating_duration_since(looked);
        if elapsed < MIN_INTERVAL {
            return;
        }
        self.looked = Some(now);
        let keep = (-elapsed.as_secs_f32() / SMOOTHING.as_secs_f32()).exp();
        let per_second = 8.0 / elapsed.as_secs_f32();
        for (smoothed, bytes) in self.smoothed.iter_mut().flatten().zip(self.bytes.iter().flatten()) {
            *smoothed = *smoothed * keep + *bytes as f32 * per_second * (1.0 - keep);
        }
        self.bytes = Cells::default();
        self.weight = self.weight * keep + (1.0 - keep);
        self.update_peaks(now, needs);
    }

    fn update_peaks(&mut self, now: Instant, needs: [u8; MAX_LAYERS]) {
        let since = *self.peaks_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= PEAK_SPAN {
            self.peaks_before = std::mem::take(&mut self.peaks);
            self.peaks_since = Some(now);
        }
        for spatial in 0..MAX_LAYERS {
            for temporal in 0..MAX_TEMPORAL {
                let rate = self.sum(spatial, temporal, needs);
                let peak = &mut self.peaks[spatial][temporal];
                *peak = peak.max(rate);
            }
        }
    }

    /// What a subscriber of `spatial` gets with the temporal layers up to `temporal`, in bit/s.
    fn sum(&self, spatial: usize, temporal: usize, needs: [u8; MAX_LAYERS]) -> f32 {
        let parts = (0..MAX_LAYERS).filter(|part| needs[spatial] >> part & 1 == 1);
        let sum: f32 = parts
            .map(|part| self.smoothed[part][..=temporal].iter().sum::<f32>())
            .sum();
        if self.weight > 0.0 { sum / self.weight } else { 0.0 }
    }

    /// By temporal layer, each with those below it and with the spatial layers that `needs` says.
    pub fn rates(&self, spatial: usize, needs: [u8; MAX_LAYERS]) -> [MeasuredRate; MAX_TEMPORAL] {
        std::array::from_fn(|temporal| {
            let peak = self.peaks[spatial][temporal].max(self.peaks_before[spatial][temporal]);
            MeasuredRate {
                smoothed: Bitrate(self.sum(spatial, temporal, needs) as u64),
                peak: Bitrate(peak as u64),
            }
        })
    }

    /// How many temporal layers a spatial layer has, at least 1.
    pub fn temporal_layers(&self, spatial: usize) -> u8 {
        self.temporal_layers[spatial].max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::PacketPool;
    use crate::pool::test_util::info;

    const TICK: Duration = Duration::from_millis(100);

    /// `seconds` of 30 packets a second of `bytes` each on the wire, temporal layers 0 2 1 2, spatial layers 0 and 1.
    fn feed(meter: &mut LayerMeter, now: &mut Instant, seconds: u32, bytes: usize, needs: [u8; MAX_LAYERS]) {
        let mut pool = PacketPool::new(4);
        for tick in 0..seconds * 10 {
            for frame in 0..3 {
                for spatial_id in 0..2 {
                    let mut info = info(0, *now);
                    info.frame.spatial_id = spatial_id;
                    info.frame.temporal_id = [0, 2, 1, 2][(tick as usize * 3 + frame) % 4];
                    let payload = vec![0; bytes - WIRE_OVERHEAD];
                    meter.on_packet(&pool.fill(info, &payload, &[]).expect("fits"));
                }
            }
            *now += TICK;
            meter.update(*now, needs);
        }
    }

    fn kbps(rates: [MeasuredRate; MAX_TEMPORAL]) -> [u64; MAX_TEMPORAL] {
        rates.map(|rate| (rate.smoothed.0 + 500) / 1_000)
    }

    #[test]
    fn rates_are_those_of_what_a_subscriber_gets() {
        let (mut now, mut meter) = (Instant::now(), LayerMeter::default());
        meter.update(now, [1, 3, 7]);
        feed(&mut meter, &mut now, 8, 1_000, [1, 3, 7]);
        // 30 frames a second of 8 kbit each: 60, 60 and 120 kbit/s in the temporal layers.
        for (needs, expected) in [([1, 3, 7], [120, 240, 480]), ([1, 2, 4], [60, 120, 240])] {
            for (rate, expected) in kbps(meter.rates(1, needs)).into_iter().zip(expected) {
                assert!(rate.abs_diff(expected) <= expected / 10, "{rate} of {expected}");
            }
        }
        assert_eq!((meter.temporal_layers(0), meter.temporal_layers(2)), (3, 1));
    }

    #[test]
    fn it_follows_within_seconds_and_remembers_the_peak() {
        let (mut now, mut meter) = (Instant::now(), LayerMeter::default());
        let needs = [1, 3, 7];
        meter.update(now, needs);
        // Half a second is enough for a first figure.
        feed(&mut meter, &mut now, 1, 1_000, needs);
        let first = meter.rates(0, needs)[2].smoothed.0;
        assert!((200_000..280_000).contains(&first), "{first}");
        feed(&mut meter, &mut now, 3, 1_000, needs);
        feed(&mut meter, &mut now, 4, 100, needs);
        let rate = meter.rates(0, needs)[2];
        assert!(rate.smoothed.0 < 40_000 && rate.peak.0 > 200_000, "{rate:?}");
        feed(&mut meter, &mut now, 11, 100, needs);
        assert!(meter.rates(0, needs)[2].peak.0 < 40_000);
    }
}

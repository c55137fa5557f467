//! What a publisher is to send of one video: the layers that somebody wants, each at a bit rate that those who
//! watch it can take.
//!
//! The idea is that of GSO-Simulcast (Lin et al., SIGCOMM 2022), which has a publisher's layers follow its
//! subscribers' links. There the slowest of a layer's subscribers sets its rate; here it is set for the good of
//! all, and who cannot take it falls back to the layer below, so that no single bad link lowers the others.

use arrayvec::ArrayVec;

use super::VoiceLayer;
use super::arithmetic::times;
use super::ladder::{ExpectedRate, expected_rate};
use crate::negotiated::MAX_LAYERS;
use crate::units::Bitrate;

/// Rates are told apart in steps of an eighth of an octave (9 %) from 24 kbit/s up to 5.6 Mbit/s.
const BUCKETS: usize = 64;
const LOWEST: f64 = 24_000.0;
const STEPS_PER_OCTAVE: f64 = 8.0;

/// A layer takes this much of what a subscriber can give to it; the rest is the margin with which it is granted
/// (15 %) and the swings of an encoder. So 250 kbit/s carry a layer of 200.
const FILL: f64 = 0.8;

/// A new ceiling that differs by less is not worth a message.
const WORTH_TELLING: f64 = 0.1;

/// The layers that a publisher could send: the height of each in pixels, 0 where there is no such layer.
pub type Heights = [u16; MAX_LAYERS];

/// What the subscribers of one track want. Kept by each worker and node for its own, and added up on the way to
/// the publisher; its size does not depend on their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Subscribers by the highest layer that their slot's height asks for (0 the smallest), and by what they can give
    /// to it.
    video: [[u16; BUCKETS]; MAX_LAYERS],
    pub full_voice: bool,
    pub low_voice: bool,
}

impl Default for Wants {
    fn default() -> Self {
        Self {
            video: [[0; BUCKETS]; MAX_LAYERS],
            full_voice: false,
            low_voice: false,
        }
    }
}

/// What a publisher is to send of one video, by layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UplinkPlan {
    /// The layer's ceiling; `None`: nobody needs it.
    pub layers: [Option<Bitrate>; MAX_LAYERS],
}

impl Wants {
    /// A slot that shows the track: `highest` is the layer that its height asks for (see
    /// [`highest_wanted`]), `affordable` that of [`super::SlotAllocation`].
    pub fn add_video(&mut self, highest: u8, affordable: Bitrate) {
        let highest = usize::from(highest).min(MAX_LAYERS - 1);
        let count = &mut self.video[highest][bucket(affordable)];
        *count = count.saturating_add(1);
    }

    /// A slot that carries the voice: `layer` is its [`super::Wish`].
    pub fn add_voice(&mut self, layer: VoiceLayer) {
        match layer {
            VoiceLayer::Full => self.full_voice = true,
            VoiceLayer::Low => self.low_voice = true,
        }
    }

    /// Adds those of another worker or node.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.video.as_flattened_mut().iter_mut().zip(other.video.as_flattened()) {
            *own = own.saturating_add(*other);
        }
        self.full_voice |= other.full_voice;
        self.low_voice |= other.low_voice;
    }

    /// Subscribers of videos by a number for layer and rate, those of which there are any; for another node.
    pub fn counts(&self) -> impl Iterator<Item = (u8, u16)> + Clone {
        let counts = self.video.as_flattened().iter().enumerate();
        counts
            .filter(|&(_, &count)| count > 0)
            .map(|(place, &count)| (place as u8, count))
    }

    /// Takes over one of [`Self::counts`]; a number that there is not is passed over.
    pub fn set_count(&mut self, place: u8, count: u16) {
        if let Some(own) = self.video.as_flattened_mut().get_mut(usize::from(place)) {
            *own = count;
        }
    }

    pub fn wants_video(&self) -> bool {
        self.video.as_flattened().iter().any(|&count| count > 0)
    }

    pub fn is_empty(&self) -> bool {
        !self.wants_video() && !self.full_voice && !self.low_voice
    }

    /// Which layers somebody needs; of [`Self::plan`] the part that costs little.
    pub fn layers_needed(&self, heights: &Heights) -> [bool; MAX_LAYERS] {
        let mut needed = [false; MAX_LAYERS];
        if self.wants_video() {
            let viewers = self.viewers_by_layer(heights);
            for (place, index) in ascending(heights).into_iter().enumerate() {
                needed[index] = is_needed(place, &viewers[index]);
            }
        }
        needed
    }

    /// What to ask of a publisher that could send these layers.
    pub fn plan(&self, heights: &Heights) -> UplinkPlan {
        let mut plan = UplinkPlan::default();
        if !self.wants_video() {
            return plan;
        }
        let viewers = self.viewers_by_layer(heights);
        let mut below = None;
        for (place, index) in ascending(heights).into_iter().enumerate() {
            if is_needed(place, &viewers[index]) {
                let rate = best_ceiling(&viewers[index], &expected_rate(heights[index]), below);
                plan.layers[index] = Some(rate);
                below = Some(rate);
            }
        }
        plan
    }

    /// Each subscriber at the highest layer that its slot asks for and its link carries at all.
    fn viewers_by_layer(&self, heights: &Heights) -> [[u32; BUCKETS]; MAX_LAYERS] {
        let mut viewers = [[0; BUCKETS]; MAX_LAYERS];
        let order = ascending(heights);
        for (highest, counts) in self.video.iter().enumerate() {
            for (bucket, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
                let carries = |&&index: &&usize| fill(bucket) >= expected_rate(heights[index]).least;
                let fitting = order.iter().take(highest + 1).rev().find(carries);
                if let Some(&layer) = fitting.or(order.first()) {
                    viewers[layer][bucket] += u32::from(count);
                }
            }
        }
        viewers
    }
}

/// The smallest goes on as long as anybody watches: who cannot take more any longer falls back to it without a
/// freeze. `place`: 0 is the smallest.
fn is_needed(place: usize, viewers: &[u32; BUCKETS]) -> bool {
    place == 0 || viewers.iter().any(|&count| count > 0)
}

impl UplinkPlan {
    /// It asks for a layer that is off by `told`.
    pub fn wakes(&self, told: &Self) -> bool {
        let mut layers = self.layers.iter().zip(&told.layers);
        layers.any(|(new, old)| new.is_some() && old.is_none())
    }

    /// Does it differ enough from what the publisher was told last?
    pub fn is_news(&self, told: &Self) -> bool {
        self.layers.iter().zip(&told.layers).any(|(new, old)| match (new, old) {
            (Some(new), Some(old)) => new.0.abs_diff(old.0) as f64 > old.0 as f64 * WORTH_TELLING,
            (new, old) => new.is_some() != old.is_some(),
        })
    }
}

/// The layer that a slot shown `height` pixels high asks for: the smallest at least as high, of those that the
/// publisher could send. 0 is the smallest of them.
pub fn highest_wanted(heights: &Heights, height: u16) -> Option<u8> {
    let order = ascending(heights);
    let enough = order.iter().position(|&index| heights[index] >= height);
    let place = enough.or(order.len().checked_sub(1))?;
    Some(place as u8)
}

/// Indices of the layers that there are, the smallest first.
fn ascending(heights: &Heights) -> ArrayVec<usize, MAX_LAYERS> {
    let mut order: ArrayVec<usize, MAX_LAYERS> = (0..MAX_LAYERS).filter(|&index| heights[index] > 0).collect();
    order.sort_by_key(|&index| heights[index]);
    order
}

fn bucket(rate: Bitrate) -> usize {
    let steps = (rate.0 as f64 / LOWEST).log2() * STEPS_PER_OCTAVE;
    // A rate that is a step's own, but for rounding, belongs to it.
    ((steps + 1e-9).max(0.0) as usize).min(BUCKETS - 1)
}

/// The part of a bucket's rate that a layer may take.
fn fill(bucket: usize) -> Bitrate {
    // The middle of the step, for the estimates in it.
    let rate = LOWEST * ((bucket as f64 + 0.5) / STEPS_PER_OCTAVE).exp2();
    times(Bitrate(rate as u64), FILL)
}

/// The ceiling of a layer with these viewers that does them the most good on the whole. Who cannot take it gets
/// the layer `below`, or of the smallest layer the base of its frames.
fn best_ceiling(viewers: &[u32; BUCKETS], expected: &ExpectedRate, below: Option<Bitrate>) -> Bitrate {
    if viewers.iter().all(|&count| count == 0) {
        return expected.target;
    }
    let fills: [Bitrate; BUCKETS] = std::array::from_fn(fill);
    let watched = || viewers.iter().zip(&fills).filter(|&(&count, _)| count > 0);
    // Between what two of them can take there is nothing to gain.
    let candidates = watched()
        .map(|(_, fill)| (*fill).clamp(expected.least, expected.most))
        .filter(|&rate| below.is_none_or(|below| rate > below));
    let mut best = (f64::MIN, expected.least);
    for rate in candidates {
        let good: f64 = watched()
            .map(|(&count, &fill)| f64::from(count) * benefit(fill, rate, below))
            .sum();
        if good > best.0 {
            best = (good, rate);
        }
    }
    best.1
}

/// What a layer of `rate` is to somebody who can give `affordable` to it: each doubling of the bit rate is worth
/// the same, as with the signal-to-noise ratio of an encoder.
fn benefit(affordable: Bitrate, rate: Bitrate, below: Option<Bitrate>) -> f64 {
    let worth = |rate: Bitrate| (rate.0.max(1) as f64).log2();
    if affordable >= rate {
        return worth(rate);
    }
    match below {
        Some(below) => worth(below.min(affordable)),
        None => {
            let base = times(rate, BASE_SHARE);
            if affordable >= base { worth(base) } else { 0.0 }
        }
    }
}

/// The base temporal layer of three (see `TEMPORAL_SHARES` of the ladder).
const BASE_SHARE: f64 = 0.4;

#[cfg(test)]
mod tests {
    use super::super::test_util::kbps;
    use super::*;

    const HEIGHTS: Heights = [180, 360, 720];

    fn plan(viewers: &[(usize, u8, u64)]) -> [Option<u64>; MAX_LAYERS] {
        let mut wants = Wants::default();
        for &(count, highest, kbit) in viewers {
            for _ in 0..count {
                wants.add_video(highest, kbps(kbit));
            }
        }
        let plan = wants.plan(&HEIGHTS);
        assert_eq!(wants.layers_needed(&HEIGHTS), plan.layers.map(|rate| rate.is_some()));
        plan.layers.map(|rate| Some(rate?.0 / 1_000))
    }

    fn about(kbit: Option<u64>, expected: u64) -> bool {
        kbit.is_some_and(|kbit| kbit.abs_diff(expected) * 100 <= expected * 8)
    }

    #[test]
    fn what_nobody_watches_is_off() {
        assert_eq!(plan(&[]), [None, None, None]);
        let [small, middle, large] = plan(&[(5, 0, 900)]);
        assert!(about(small, 200), "{small:?}");
        assert_eq!((middle, large), (None, None));
        // The smallest stays for who falls back.
        let [small, middle, large] = plan(&[(3, 2, 5_000)]);
        assert!(
            small.is_some() && middle.is_none() && about(large, 2_500),
            "{small:?} {middle:?} {large:?}"
        );
    }

    #[test]
    fn a_layer_is_as_large_as_most_of_its_viewers_can_take() {
        // Nine watch at 250 kbit/s, one at 900: 200 instead of 500 for all.
        let [_, middle, large] = plan(&[(9, 1, 250), (1, 1, 900)]);
        assert!(about(middle, 200), "{middle:?}");
        assert_eq!(large, None);
        // Bad links among good ones lower nobody: they have the smallest layer.
        let [small, middle, _] = plan(&[(2, 1, 200), (3, 1, 1_500)]);
        assert!(about(middle, 700), "{middle:?}");
        assert!(small.is_some());
        // Each to its own layer.
        let [small, middle, large] = plan(&[(3, 2, 100), (3, 2, 400), (3, 2, 4_000)]);
        assert!(
            about(small, 80) && about(middle, 320) && about(large, 2_500),
            "{small:?} {middle:?} {large:?}"
        );
    }

    #[test]
    fn a_village_gets_a_picture_slow_enough_for_it() {
        let [small, ..] = plan(&[(1, 2, 40)]);
        assert!(small.is_some_and(|kbit| (30..=40).contains(&kbit)), "{small:?}");
    }

    #[test]
    fn wants_of_workers_add_up_to_those_of_all() {
        let (mut one, mut other, mut all) = (Wants::default(), Wants::default(), Wants::default());
        for (at, kbit) in [30, 90, 250, 700, 700, 9_000].into_iter().enumerate() {
            let part = if at % 2 == 0 { &mut one } else { &mut other };
            part.add_video((at % 3) as u8, kbps(kbit));
            all.add_video((at % 3) as u8, kbps(kbit));
        }
        other.add_voice(VoiceLayer::Low);
        all.add_voice(VoiceLayer::Low);
        one.merge(&other);
        assert_eq!(one, all);
    }

    #[test]
    fn small_changes_are_not_told() {
        let told = UplinkPlan {
            layers: [Some(kbps(100)), Some(kbps(500)), None],
        };
        for (layers, news) in [
            ([Some(kbps(109)), Some(kbps(460)), None], false),
            ([Some(kbps(111)), Some(kbps(500)), None], true),
            ([Some(kbps(100)), None, None], true),
            ([Some(kbps(100)), Some(kbps(500)), Some(kbps(900))], true),
        ] {
            assert_eq!(UplinkPlan { layers }.is_news(&told), news, "{layers:?}");
        }
    }

    #[test]
    fn a_rate_lies_in_its_step_and_the_highest_layer_is_that_of_the_height() {
        for (rate, expected) in [(0, 0), (24_000, 0), (48_000, 8), (250_000, 27), (u64::MAX, BUCKETS - 1)] {
            assert_eq!(bucket(Bitrate(rate)), expected, "{rate}");
        }
        for (heights, height, expected) in [
            (HEIGHTS, 90, Some(0)),
            (HEIGHTS, 180, Some(0)),
            (HEIGHTS, 181, Some(1)),
            (HEIGHTS, 720, Some(2)),
            (HEIGHTS, 1_080, Some(2)),
            // The largest first, and one that there is not.
            ([720, 360, 180], 300, Some(1)),
            ([180, 0, 720], 300, Some(1)),
            ([0, 0, 0], 720, None),
        ] {
            assert_eq!(highest_wanted(&heights, height), expected, "{heights:?} {height}");
        }
    }

    #[test]
    fn layers_may_come_in_any_order() {
        let mut wants = Wants::default();
        wants.add_video(0, kbps(900));
        wants.add_video(2, kbps(300));
        let [large, middle, small] = wants.plan(&[720, 360, 180]).layers;
        assert!(large.is_none() && middle.is_some() && small.is_some());
    }
}

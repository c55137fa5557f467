//! The steps that one video can be sent in, from the slowest small picture up to what its slot shows.

use arrayvec::ArrayVec;

use super::arithmetic::times;
use super::{Layer, LayerState, MAX_TEMPORAL, VideoDemand, VideoLayer, VideoSource};
use crate::negotiated::MAX_LAYERS;
use crate::units::Bitrate;

const MAX_RUNGS: usize = MAX_LAYERS * MAX_TEMPORAL;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rung {
    pub layer: Layer,
    pub is_active: bool,
    /// In pixels.
    pub height: u16,
    /// What it takes now: held against the estimate where it is being sent already.
    pub now: Bitrate,
    /// What it may take when the picture moves: held against the estimate before it is sent.
    pub peak: Bitrate,
    /// What it would take if subscribers' links did not limit it.
    pub desired: Bitrate,
    /// Where the link has less room than this it is not begun, however little it takes now.
    pub least: Bitrate,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ladder(ArrayVec<Rung, MAX_RUNGS>);

impl Ladder {
    /// Empty where nothing can be had. It ends with the smallest layer that is at least as high as the slot
    /// shows, or with the highest there is.
    pub fn new(demand: &VideoDemand) -> Self {
        let layers = layers_for(demand);
        let mut rungs = ArrayVec::new();
        for (place, &index) in layers.iter().enumerate() {
            let layer = &demand.layers[index];
            let temporal = temporal_layers(layer);
            let is_last = place + 1 == layers.len();
            // Of a screen a sharp picture that moves seldom is worth more than a small one that moves well: its
            // frame rate grows on the last layer only. Jitsi chooses likewise (SingleSourceAllocation).
            let range = match demand.source {
                VideoSource::Screen if is_last => 0..temporal,
                VideoSource::Screen => 0..1,
                // A quarter of 30 frames a second is for who would get nothing else: not in a larger picture.
                VideoSource::Camera if place > 0 && temporal == MAX_TEMPORAL => 1..temporal,
                VideoSource::Camera => 0..temporal,
            };
            rungs.extend(range.map(|temporal| rung(demand.source, index, layer, temporal)));
        }
        Self(rungs)
    }

    pub fn rungs(&self) -> &[Rung] {
        &self.0
    }

    pub fn top(&self) -> Option<usize> {
        self.0.len().checked_sub(1)
    }

    /// The place of `layer`, or of the best rung that is below it in both senses.
    pub fn position(&self, layer: Layer) -> Option<usize> {
        let height = |spatial| {
            self.0
                .iter()
                .find(|rung| rung.layer.spatial == spatial)
                .map(|rung| rung.height)
        };
        let limit = height(layer.spatial);
        self.0.iter().rposition(|rung| {
            let is_lower = limit.map_or(rung.layer.spatial < layer.spatial, |limit| rung.height <= limit);
            is_lower && rung.layer.temporal <= layer.temporal
        })
    }

    /// The rung before that of `layer`; `None`: there is none, or it is not known which.
    pub fn under(&self, layer: Option<Layer>) -> Option<usize> {
        self.position(layer?)?.checked_sub(1)
    }

    /// Where a video goes on that piled up. A screen that moved goes on sharp and slow, for which it needs no key frame;
    /// else the best rung of the next smaller picture, and of the smallest picture the slowest.
    pub fn below(&self, at: usize, source: VideoSource) -> usize {
        let spatial = self.0[at].layer.spatial;
        let slowest = self
            .0
            .iter()
            .position(|rung| rung.layer.spatial == spatial)
            .unwrap_or(at);
        if source == VideoSource::Screen && slowest < at {
            return slowest;
        }
        self.0[..at]
            .iter()
            .rposition(|rung| rung.layer.spatial != spatial)
            .unwrap_or(0)
    }

    /// Where a picture that people look at begins to be of use: a camera's smallest layer in full motion; a
    /// screen at half the height at which it is shown, where text can still be read.
    pub fn comfort(&self, demand: &VideoDemand) -> Option<usize> {
        match demand.source {
            VideoSource::Camera => {
                let smallest = self.0.first()?.layer.spatial;
                self.0.iter().rposition(|rung| rung.layer.spatial == smallest)
            }
            VideoSource::Screen => self
                .0
                .iter()
                .position(|rung| is_readable(rung.height, demand.height))
                .or(self.top()),
        }
    }

    /// What is sent while the rung `at` has to be asked for: the best below it that is being sent.
    pub fn active_below(&self, at: usize) -> Option<&Rung> {
        self.0[..=at].iter().rfind(|rung| rung.is_active)
    }
}

/// Can text be read in a picture of `height` that is shown `shown` pixels high?
pub(super) fn is_readable(height: u16, shown: u16) -> bool {
    u32::from(height) * 2 >= u32::from(shown)
}

/// Indices of the layers to choose from, lowest first.
fn layers_for(demand: &VideoDemand) -> ArrayVec<usize, MAX_LAYERS> {
    let mut layers: ArrayVec<usize, MAX_LAYERS> = (0..MAX_LAYERS)
        .filter(|&index| demand.layers[index].state != LayerState::Absent)
        .collect();
    layers.sort_by_key(|&index| (height(index, &demand.layers[index]), index));
    let enough = layers
        .iter()
        .position(|&index| demand.layers[index].height >= demand.height);
    if let Some(enough) = enough {
        layers.truncate(enough + 1);
    }
    layers
}

/// A height to go by where none is known yet: browsers halve it from layer to layer.
fn height(index: usize, layer: &VideoLayer) -> u16 {
    match layer.height {
        0 => 180 << index,
        height => height,
    }
}

fn temporal_layers(layer: &VideoLayer) -> usize {
    usize::from(layer.temporal_layers).clamp(1, MAX_TEMPORAL)
}

/// A camera's encoder holds its bit rate but for key frames, which the pacer spreads: its peaks count up to this.
/// A screen's do not end: it goes from nothing to all that it may take.
const CAMERA_SWING: f64 = 1.2;

/// A slide that stands takes nothing, and the next one a key frame of 100 kB or so: on a link that needs more than some
/// four seconds for it a still picture is there sooner. A third of what moving pictures need at least is about that.
const SLIDE_SHARE: f64 = 1.0 / 3.0;

fn rung(source: VideoSource, index: usize, layer: &VideoLayer, temporal: usize) -> Rung {
    let count = temporal_layers(layer);
    let measured = layer.rates[temporal];
    let whole = layer.rates[count - 1];
    let (now, peak) = if measured.smoothed.0 > 0 {
        (measured.smoothed, measured.peak)
    } else if whole.smoothed.0 > 0 {
        let share = TEMPORAL_SHARES[count - 1][temporal];
        (times(whole.smoothed, share), times(whole.peak, share))
    } else {
        let share = TEMPORAL_SHARES[count - 1][temporal];
        let guess = times(expected_rate(height(index, layer)).target, share);
        (guess, guess)
    };
    let (peak, least) = match source {
        VideoSource::Camera => (peak.min(times(now, CAMERA_SWING)), Bitrate(0)),
        VideoSource::Screen => {
            let least = times(expected_rate(height(index, layer)).least, SLIDE_SHARE);
            (peak, least)
        }
    };
    let peak = peak.max(now);
    let target = expected_rate(height(index, layer)).target;
    let desired = match layer.ceiling {
        Some(ceiling) if ceiling < target => peak.max(times(target, TEMPORAL_SHARES[count - 1][temporal])),
        _ => peak,
    };
    Rung {
        layer: Layer {
            spatial: index as u8,
            temporal: temporal as u8,
        },
        is_active: layer.state == LayerState::Active,
        height: height(index, layer),
        now,
        peak,
        desired,
        least,
    }
}

/// The share of a layer's bit rate that its temporal layers up to each take, by their number: what libwebrtc
/// gives them (`kLayerRateAllocation` in simulcast_rate_allocator.cc).
const TEMPORAL_SHARES: [[f64; MAX_TEMPORAL]; MAX_TEMPORAL] = [[1.0, 1.0, 1.0], [0.6, 1.0, 1.0], [0.4, 0.6, 1.0]];

/// What browsers send of a height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ExpectedRate {
    /// Below this the picture is not worth its size.
    pub least: Bitrate,
    /// With a higher layer beside it.
    pub target: Bitrate,
    /// As the highest layer.
    pub most: Bitrate,
}

/// Height and kbit/s at least, as target, at most: `kSimulcastFormatsVP8` in libwebrtc's simulcast.cc, which
/// leaves open what is beyond 1080.
const EXPECTED: [(u16, [u32; 3]); 8] = [
    (90, [30, 40, 50]),
    (180, [30, 150, 200]),
    (270, [150, 350, 450]),
    (360, [150, 500, 700]),
    (540, [350, 1_200, 1_200]),
    (720, [600, 2_500, 2_500]),
    (1_080, [800, 4_000, 5_000]),
    (2_160, [2_400, 12_000, 15_000]),
];

/// Between two heights of the table in proportion; beyond its ends as at them.
pub(super) fn expected_rate(height: u16) -> ExpectedRate {
    let above = EXPECTED
        .iter()
        .position(|&(known, _)| known >= height)
        .unwrap_or(EXPECTED.len() - 1);
    let (high, high_rates) = EXPECTED[above];
    let (low, low_rates) = EXPECTED[above.saturating_sub(1)];
    let height = height.clamp(low, high);
    let part = if high > low {
        f64::from(height - low) / f64::from(high - low)
    } else {
        1.0
    };
    let at = |which: usize| {
        let (low, high) = (f64::from(low_rates[which]), f64::from(high_rates[which]));
        Bitrate(((low + (high - low) * part) * 1_000.0) as u64)
    };
    ExpectedRate {
        least: at(0),
        target: at(1),
        most: at(2),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_util::{camera, kbps, layer, screen};
    use super::*;

    fn names(ladder: &Ladder) -> Vec<(u8, u8)> {
        ladder
            .rungs()
            .iter()
            .map(|rung| (rung.layer.spatial, rung.layer.temporal))
            .collect()
    }

    #[test]
    fn a_ladder_ends_at_the_smallest_layer_that_is_high_enough() {
        for (shown, expected) in [
            (90, &[(0, 0), (0, 1), (0, 2)][..]),
            (180, &[(0, 0), (0, 1), (0, 2)]),
            (181, &[(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]),
            (2_000, &[(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]),
        ] {
            assert_eq!(names(&Ladder::new(&camera(shown))), expected, "{shown}");
        }
    }

    #[test]
    fn a_screen_grows_before_it_moves() {
        let ladder = Ladder::new(&screen(720));
        assert_eq!(names(&ladder), [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]);
        let readable = ladder.comfort(&screen(720)).map(|at| ladder.rungs()[at].height);
        assert_eq!(readable, Some(360));
    }

    #[test]
    fn absent_layers_are_left_out_and_layers_in_any_order_are_sorted() {
        let mut demand = camera(720);
        demand.layers[1].state = LayerState::Absent;
        assert_eq!(names(&Ladder::new(&demand)), [(0, 0), (0, 1), (0, 2), (2, 1), (2, 2)]);
        demand.layers.swap(0, 2);
        assert_eq!(names(&Ladder::new(&demand)), [(2, 0), (2, 1), (2, 2), (0, 1), (0, 2)]);
    }

    #[test]
    fn what_was_not_measured_is_guessed_by_height() {
        let mut demand = camera(180);
        demand.layers = [layer(180, 3, [0, 0, 0]); 3];
        let rates: Vec<Bitrate> = Ladder::new(&demand).rungs().iter().map(|rung| rung.now).collect();
        assert_eq!(rates, [kbps(60), kbps(90), kbps(150)]);
        // Only the whole layer has been measured.
        demand.layers = [layer(180, 3, [0, 0, 100]); 3];
        let rates: Vec<Bitrate> = Ladder::new(&demand).rungs().iter().map(|rung| rung.now).collect();
        assert_eq!(rates, [kbps(40), kbps(60), kbps(100)]);
        for (height, kbit) in [(0, 40), (90, 40), (225, 250), (720, 2_500), (4_000, 12_000)] {
            assert_eq!(expected_rate(height).target, kbps(kbit), "{height}");
        }
    }

    #[test]
    fn of_what_was_limited_more_is_desired() {
        let mut demand = camera(720);
        let tops = |demand: &VideoDemand| Ladder::new(demand).rungs().last().map(|rung| (rung.peak, rung.desired));
        assert_eq!(tops(&demand), Some((kbps(1_500), kbps(1_500))));
        demand.layers[2].ceiling = Some(kbps(2_500));
        assert_eq!(tops(&demand), Some((kbps(1_500), kbps(1_500))));
        demand.layers[2].ceiling = Some(kbps(1_500));
        assert_eq!(tops(&demand), Some((kbps(1_500), kbps(2_500))));
    }

    #[test]
    fn a_layer_is_found_again_in_another_ladder() {
        let at = |demand: &VideoDemand, spatial, temporal| {
            let ladder = Ladder::new(demand);
            let at = ladder.position(Layer { spatial, temporal })?;
            Some((ladder.rungs()[at].layer.spatial, ladder.rungs()[at].layer.temporal))
        };
        assert_eq!(at(&camera(720), 1, 2), Some((1, 2)));
        // The slot has become smaller.
        assert_eq!(at(&camera(180), 1, 2), Some((0, 2)));
        // A screen's window has become larger: full motion of the middle layer is not on its ladder any longer.
        assert_eq!(at(&screen(720), 1, 2), Some((1, 0)));
        let mut lost = camera(720);
        lost.layers[1].state = LayerState::Absent;
        assert_eq!(at(&lost, 1, 2), Some((0, 2)));
        lost.layers[0].state = LayerState::Absent;
        assert_eq!(at(&lost, 1, 2), None);
    }
}

//! What a track's publisher could send, and what it was told to.

use std::time::{Duration, Instant};

use super::{LAYER_SILENCE, Track};
use crate::allocator::LayerState;
use crate::allocator::uplink::{Heights, UplinkPlan};
use crate::negotiated::{MAX_LAYERS, MediaKind};
use crate::units::Bitrate;

/// A layer that was asked for and has not come in this time does not come: its publisher's own link does not carry it.
const ASKED_IN_VAIN: Duration = Duration::from_secs(5);

/// The height of the only stream of a track, until it is known; the usual camera's.
const USUAL_HEIGHT: u16 = 720;

/// Of the smallest of several.
const SMALLEST_HEIGHT: u16 = 180;

#[derive(Clone, Copy, Debug, Default)]
pub struct Uplink {
    /// Simulcast layers that were negotiated; 0: not known.
    pub streams: u8,
    /// What the publisher was told to send, and since when it is asked for each layer; nothing before it was told.
    told: Option<(UplinkPlan, [Option<Instant>; MAX_LAYERS])>,
}

impl Uplink {
    pub fn set_plan(&mut self, now: Instant, plan: UplinkPlan) {
        let before = self.told.map(|(_, asked)| asked).unwrap_or_default();
        let asked = std::array::from_fn(|layer| plan.layers[layer].map(|_| before[layer].unwrap_or(now)));
        self.told = Some((plan, asked));
    }

    /// What may be expected of a layer that is not being sent.
    pub fn silent_layer(&self, now: Instant, layer: usize) -> LayerState {
        let Some((_, asked)) = &self.told else {
            return LayerState::Absent;
        };
        match asked[layer] {
            Some(since) if now.saturating_duration_since(since) >= ASKED_IN_VAIN => LayerState::Absent,
            _ => LayerState::OnRequest,
        }
    }

    /// Has the publisher been asked for any layer for so long? Before it is told anything, it is to send all.
    pub fn is_asked_for(&self, now: Instant, time: Duration) -> bool {
        self.told.as_ref().is_none_or(|(_, asked)| {
            let mut since = asked.iter().flatten();
            since.any(|&since| now.saturating_duration_since(since) >= time)
        })
    }

    /// The most that the publisher sends of a layer, where it was told.
    pub fn ceiling(&self, layer: usize) -> Option<Bitrate> {
        self.told.as_ref().and_then(|(plan, _)| plan.layers[layer])
    }
}

impl Track {
    /// Its publisher was told that nobody needs the layer, and has stopped it. Told of all layers, this is all that tells:
    /// there is none that goes on.
    pub fn is_switched_off(&self, now: Instant, layer: usize) -> bool {
        let stream = usize::from(self.source_of(layer as u8).stream);
        let last = self.layers.get(stream).and_then(|layer| layer.last_packet);
        let is_silent = last.is_none_or(|last| now.saturating_duration_since(last) > LAYER_SILENCE);
        is_silent && self.uplink.told.is_some_and(|(_, asked)| asked[layer].is_none())
    }

    /// The layers that its publisher could send, as high as they are or are likely to be.
    pub fn heights(&self) -> Heights {
        let mut heights = Heights::default();
        if self.kind == MediaKind::Audio {
            return heights;
        }
        let known = |index: usize| self.layer_height(index as u8).filter(|&height| height > 0);
        if self.is_svc() {
            for (index, height) in heights.iter_mut().enumerate() {
                *height = known(index).unwrap_or(0);
            }
            return heights;
        }
        let sent = self.layers.iter().rposition(|layer| layer.last_packet.is_some());
        let count = usize::from(self.uplink.streams).max(sent.map_or(1, |highest| highest + 1));
        let anchor = (0..count).find_map(|index| Some((index, known(index)?)));
        let guess = |index: usize| match anchor {
            // Browsers halve it from layer to layer.
            Some((at, height)) if index > at => height.saturating_mul(1 << (index - at)),
            Some((at, height)) => (height >> (at - index)).max(1),
            None if count == 1 => USUAL_HEIGHT,
            None => SMALLEST_HEIGHT << index,
        };
        for (index, height) in heights.iter_mut().enumerate().take(count) {
            *height = known(index).unwrap_or_else(|| guess(index));
        }
        heights
    }
}

#[cfg(test)]
mod tests {
    use super::super::Home;
    use super::*;
    use crate::units::TrackId;

    #[test]
    fn heights_that_are_not_known_are_guessed_from_those_that_are() {
        for (streams, known, expected) in [
            (3, [None, None, None], [180, 360, 720]),
            (3, [Some(90), None, None], [90, 180, 360]),
            (3, [None, Some(360), None], [180, 360, 720]),
            (3, [Some(180), None, Some(720)], [180, 360, 720]),
            (2, [Some(180), None, None], [180, 360, 0]),
            (1, [None, None, None], [720, 0, 0]),
            (1, [Some(1_080), None, None], [1_080, 0, 0]),
            (0, [None, None, None], [720, 0, 0]),
            (0, [Some(180), Some(360), None], [180, 360, 0]),
        ] {
            let mut track = Track::new(TrackId(1), MediaKind::Video, Home::Unknown);
            track.uplink.streams = streams;
            for (layer, height) in track.layers.iter_mut().zip(known) {
                layer.resolution = height.map(|height| (height, height));
                layer.last_packet = height.map(|_| Instant::now());
            }
            assert_eq!(track.heights(), expected, "{streams} {known:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_waited_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut uplink = Uplink::default();
        let rate = Some(Bitrate::kbps(500));
        assert_eq!(uplink.silent_layer(start, 0), LayerState::Absent);
        uplink.set_plan(
            start,
            UplinkPlan {
                layers: [rate, None, None],
            },
        );
        uplink.set_plan(
            at(3),
            UplinkPlan {
                layers: [rate, rate, None],
            },
        );
        for (seconds, expected) in [
            (4, [LayerState::OnRequest, LayerState::OnRequest, LayerState::OnRequest]),
            (5, [LayerState::Absent, LayerState::OnRequest, LayerState::OnRequest]),
            (8, [LayerState::Absent, LayerState::Absent, LayerState::OnRequest]),
        ] {
            let states = [0, 1, 2].map(|layer| uplink.silent_layer(at(seconds), layer));
            assert_eq!(states, expected, "{seconds}");
        }
    }
}

//! A track's layers as whoever chooses among them sees them, the same for simulcast (a stream for each layer) and
//! SVC (one stream with all of them).

use arrayvec::ArrayVec;

use super::{LAYER_SILENCE, Track, VOICE_SILENCE};
use crate::allocator::{self, MAX_TEMPORAL, MeasuredRate};
use crate::negotiated::{Codec, MAX_LAYERS, MediaKind};

/// A choice: the index of a spatial layer where one stream has several, else of a simulcast stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTarget {
    pub spatial_or_simulcast: u8,
    /// The highest temporal layer.
    pub temporal: u8,
}

impl From<allocator::Layer> for LayerTarget {
    fn from(layer: allocator::Layer) -> Self {
        Self {
            spatial_or_simulcast: layer.spatial,
            temporal: layer.temporal,
        }
    }
}

/// One layer of [`Track::layers_view`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerView {
    pub index: u8,
    /// It is being sent.
    pub active: bool,
    /// In pixels.
    pub height: Option<u16>,
    pub temporal_layers: u8,
    /// What a subscriber gets that is sent this layer and its temporal layers up to each.
    pub rates: [MeasuredRate; MAX_TEMPORAL],
}

/// All spatial layers of a stream.
pub const TOP: u8 = u8::MAX;

/// Where a layer is found: which stream, and up to which spatial layer of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub stream: u8,
    pub spatial: u8,
}

impl Track {
    /// The one stream of an SVC track.
    fn svc_stream(&self) -> Option<usize> {
        let mut streams = self
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.last_packet.is_some());
        let (stream, layer) = streams.next()?;
        (streams.next().is_none() && layer.spatial.count() > 1).then_some(stream)
    }

    pub fn is_svc(&self) -> bool {
        self.svc_stream().is_some()
    }

    pub fn source_of(&self, index: u8) -> Source {
        match self.svc_stream() {
            Some(stream) => Source {
                stream: stream as u8,
                spatial: index,
            },
            None => Source {
                stream: index,
                spatial: TOP,
            },
        }
    }

    pub fn layers_view(&self) -> ArrayVec<LayerView, MAX_LAYERS> {
        let active: ArrayVec<u8, MAX_LAYERS> = self.active_layers().collect();
        let mut view = ArrayVec::new();
        for index in 0..MAX_LAYERS as u8 {
            let Source { stream, spatial } = self.source_of(index);
            let layer = &self.layers[usize::from(stream)];
            let part = if spatial == TOP {
                layer.spatial.count() - 1
            } else {
                usize::from(spatial)
            };
            let height = self.layer_height(index);
            if layer.last_packet.is_none() || (height.is_none() && !active.contains(&index)) {
                continue;
            }
            view.push(LayerView {
                index,
                active: active.contains(&index),
                height,
                temporal_layers: layer.meter.temporal_layers(part),
                rates: layer.meter.rates(part, layer.spatial.needs()),
            });
        }
        view
    }

    pub fn codec_of(&self, index: u8) -> Option<Codec> {
        self.layers.get(usize::from(self.source_of(index).stream))?.codec
    }

    /// In pixels, where known.
    pub fn layer_height(&self, index: u8) -> Option<u16> {
        let Source { stream, spatial } = self.source_of(index);
        let layer = self.layers.get(usize::from(stream))?;
        if spatial == TOP {
            return layer.resolution.map(|(_, height)| height);
        }
        layer.spatial.height(spatial.into())
    }

    /// The layers that are being sent now, lowest resolution first.
    pub fn active_layers(&self) -> impl Iterator<Item = u8> + '_ {
        let newest = self.newest_packet();
        let silence = match self.kind {
            MediaKind::Audio => VOICE_SILENCE,
            MediaKind::Video => LAYER_SILENCE,
        };
        let svc = self.svc_stream();
        let is_active = move |index: usize| match (svc, newest) {
            (_, None) => false,
            (Some(stream), Some(newest)) => self.layers[stream].spatial.is_active(index, newest, silence),
            (None, Some(newest)) => {
                let last = self.layers[index].last_packet;
                last.is_some_and(|last| newest.duration_since(last) < silence)
            }
        };
        let mut active: ArrayVec<u8, MAX_LAYERS> = (0..MAX_LAYERS)
            .filter(|&index| is_active(index))
            .map(|index| index as u8)
            .collect();
        if svc.is_none() {
            active.sort_by_key(|&index| self.layer_height(index));
        }
        active.into_iter()
    }

    /// The layer for a slot shown `height` pixels high, among those whose codec it `takes`: the smallest that is at
    /// least as high, else the highest. `None` where nothing that it takes is being sent.
    pub fn layer_for_height(&self, height: u16, takes: impl Fn(Codec) -> bool) -> Option<u8> {
        let mut highest = None;
        for index in self.takeable(&takes) {
            highest = Some(index);
            if self.layer_height(index).is_some_and(|own| own >= height) {
                break;
            }
        }
        highest
    }

    /// The best layer that is sent and not above `wanted`, else the lowest that is sent.
    pub fn layer_at_most(&self, wanted: u8, takes: impl Fn(Codec) -> bool) -> Option<u8> {
        let active: ArrayVec<u8, MAX_LAYERS> = self.takeable(&takes).collect();
        if active.contains(&wanted) {
            return Some(wanted);
        }
        let limit = self.layer_height(wanted);
        let below = active
            .iter()
            .rev()
            .find(|&&index| match (self.layer_height(index), limit) {
                (Some(height), Some(limit)) => height <= limit,
                _ => index < wanted,
            });
        below.or(active.first()).copied()
    }

    fn takeable<'a>(&'a self, takes: &'a impl Fn(Codec) -> bool) -> impl Iterator<Item = u8> + 'a {
        self.active_layers()
            .filter(move |&index| self.codec_of(index).is_none_or(takes))
    }
}

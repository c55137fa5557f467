//! Demands of the usual kinds, for tests.

use std::time::Duration;

use super::*;
use crate::units::{Bitrate, TrackId};

pub(super) fn kbps(kbit: u64) -> Bitrate {
    Bitrate(kbit * 1_000)
}

/// An active layer; `rates` are those of its temporal layers in kbit/s.
pub(super) fn layer(height: u16, temporal_layers: u8, rates: [u64; MAX_TEMPORAL]) -> VideoLayer {
    VideoLayer {
        state: LayerState::Active,
        height,
        temporal_layers,
        ceiling: None,
        rates: rates.map(|rate| MeasuredRate {
            smoothed: kbps(rate),
            peak: kbps(rate),
        }),
    }
}

/// Three simulcast layers of three temporal layers, shown `height` pixels high.
pub(super) fn camera(height: u16) -> VideoDemand {
    VideoDemand {
        track: TrackId(1),
        source: VideoSource::Camera,
        is_active_speaker: false,
        order: 0,
        height,
        layers: [
            layer(180, 3, [60, 90, 150]),
            layer(360, 3, [200, 300, 500]),
            layer(720, 3, [600, 1_000, 1_500]),
        ],
    }
}

pub(super) fn screen(height: u16) -> VideoDemand {
    VideoDemand {
        source: VideoSource::Screen,
        ..camera(height)
    }
}

/// Chromium's voice, 61 kbit/s on the wire.
pub(super) fn voice(order: u8) -> AudioDemand {
    AudioDemand {
        track: TrackId(100 + u32::from(order)),
        order,
        is_flowing: true,
        full: VoiceRate {
            payload: kbps(32),
            interval: Duration::from_millis(20),
        },
        low: None,
    }
}

/// The same with a low layer, 12 kbit/s at 60 ms.
pub(super) fn voice_with_low(order: u8) -> AudioDemand {
    AudioDemand {
        low: Some(LowVoice {
            rate: VoiceRate {
                payload: kbps(12),
                interval: Duration::from_millis(60),
            },
            state: LayerState::Active,
        }),
        ..voice(order)
    }
}

/// A link without loss that takes RED.
pub(super) fn link(kbit: u64) -> Link {
    Link {
        estimate: kbps(kbit),
        undrained: kbps(kbit),
        lossless: kbps(kbit),
        loss: 0.0,
        loss_burst: 1.0,
        round_trip: Duration::from_millis(100),
        reserved: Bitrate(0),
        red: Some(3),
        resends: false,
        is_probed: true,
        mode: Mode::Normal,
    }
}

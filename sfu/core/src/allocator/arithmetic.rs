//! Sums of bit rates that neither wrap nor go below zero.

use crate::units::Bitrate;

pub(super) fn plus(a: Bitrate, b: Bitrate) -> Bitrate {
    Bitrate(a.0.saturating_add(b.0))
}

pub(super) fn minus(a: Bitrate, b: Bitrate) -> Bitrate {
    Bitrate(a.0.saturating_sub(b.0))
}

pub(super) fn times(rate: Bitrate, factor: f64) -> Bitrate {
    Bitrate((rate.0 as f64 * factor).round() as u64)
}

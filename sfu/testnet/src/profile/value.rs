//! Values with their units, as they are written in a profile.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Bits per second, written `100kbps` or `2Mbps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u64);

/// A share of packets, 0–1, written `5%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// Above this, what a link moves in its longest time no longer fits the arithmetic.
const MAX_RATE: f64 = 1e12;

impl BitRate {
    fn parse(text: &str) -> Option<Self> {
        let number_end = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let unit = match text[number_end..].trim() {
            "bps" => 1.0,
            "kbps" => 1e3,
            "Mbps" => 1e6,
            "Gbps" => 1e9,
            _ => return None,
        };
        let rate = text[..number_end].parse::<f64>().ok()? * unit;
        (0.0..=MAX_RATE).contains(&rate).then_some(Self(rate.round() as u64))
    }
}

impl Share {
    fn parse(text: &str) -> Option<Self> {
        let share = text.strip_suffix('%')?.trim().parse::<f64>().ok()? / 100.0;
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }
}

impl<'de> Deserialize<'de> for BitRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("expected a bit rate such as 100kbps, found {text:?}")))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("expected a share such as 5%, found {text:?}")))
    }
}

/// Written `300ms` or `2s`, at most a day.
pub mod duration {
    use super::*;

    /// Far from where sums of times no longer fit.
    const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = humantime::parse_duration(&text).ok();
        parsed
            .filter(|time| *time <= MAX)
            .ok_or_else(|| de::Error::custom(format!("expected a time such as 300ms, found {text:?}")))
    }
}

/// As [`duration`], where it may be missing.
pub mod optional_duration {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

//! Who is loud, by smoothed levels alone.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::units::TrackId;

/// A voice this loud (in −dBov) counts as speech.
const SPEECH_LEVEL: u8 = 50;
/// Pauses between words are shorter.
const HOLD: Duration = Duration::from_millis(600);
/// Another speaker becomes dominant after being the louder one for so long.
const TAKEOVER: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Meter {
    /// Exponentially smoothed loudness, 0 (silence) to 127.
    loudness: f32,
    heard: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct LevelMeter {
    meters: FxHashMap<TrackId, Meter>,
    dominant: Option<TrackId>,
    rival: Option<(TrackId, Instant)>,
    /// Loudest first.
    speaking: Vec<TrackId>,
}

impl LevelMeter {
    pub(super) fn on_level(&mut self, now: Instant, track: TrackId, level: u8, voice: bool) {
        let meter = self.meters.entry(track).or_insert(Meter {
            loudness: 0.0,
            heard: None,
        });
        meter.loudness += 0.3 * (f32::from(127 - level.min(127)) - meter.loudness);
        if voice && level <= SPEECH_LEVEL {
            meter.heard = Some(now);
        }
    }

    pub(super) fn remove(&mut self, track: TrackId) {
        self.meters.remove(&track);
        self.speaking.retain(|&speaker| speaker != track);
        self.dominant = self.dominant.filter(|&dominant| dominant != track);
        self.rival = self.rival.filter(|&(rival, _)| rival != track);
    }

    pub(super) fn update(&mut self, now: Instant) {
        self.speaking.clear();
        let heard = |meter: &Meter| meter.heard.is_some_and(|at| now.saturating_duration_since(at) < HOLD);
        self.speaking.extend(
            self.meters
                .iter()
                .filter(|(_, meter)| heard(meter))
                .map(|(&track, _)| track),
        );
        let meters = &self.meters;
        self.speaking
            .sort_by(|a, b| meters[b].loudness.total_cmp(&meters[a].loudness).then(a.cmp(b)));
        let Some(&loudest) = self.speaking.first() else {
            self.rival = None;
            return;
        };
        match (self.dominant, self.rival) {
            (Some(dominant), _) if dominant == loudest => self.rival = None,
            (Some(dominant), Some((rival, since))) if rival == loudest => {
                if now.saturating_duration_since(since) >= TAKEOVER || !self.speaking.contains(&dominant) {
                    self.dominant = Some(loudest);
                    self.rival = None;
                }
            }
            (Some(dominant), _) if self.speaking.contains(&dominant) => self.rival = Some((loudest, now)),
            _ => self.dominant = Some(loudest),
        }
    }

    /// Stays when it falls silent, until another speaks.
    pub(super) fn dominant(&self) -> Option<TrackId> {
        self.dominant
    }

    pub(super) fn speaking(&self) -> &[TrackId] {
        &self.speaking
    }
}

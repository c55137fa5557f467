//! One speaker's recent past, and what it says of speech: the immediate, medium and long activity
//! scores of Volfin & Cohen, "Dominant speaker identification for multipoint videoconferencing"
//! (2012), with the parameters of Jitsi's and mediasoup's implementations, which sample every 20 ms
//! where we do every 50 ms.

/// Loudness is 127 − level: 0 is silence.
pub(super) const MAX_LOUDNESS: u8 = 127;
/// Softer sound is no speech: −52 dBov, between Jitsi's −47 and what quiet talkers have.
const MIN_SPEECH: u8 = 75;
/// Speech is that much above steady noise (one sub-band of Jitsi's).
const FLOOR_MARGIN: u8 = 10;
/// From −37 dBov on sound counts, however steady.
const MAX_THRESHOLD: u8 = 90;
/// The noise floor is the softest sample of so many: 15 s, as in Jitsi's.
const FLOOR_WINDOW: u16 = 300;
/// So many slots without a sample are silence to the noise floor, not loss.
const FLOOR_RESET: u64 = 20;

/// Steps towards a louder and a softer sample: the onset of speech shows within two slots, a
/// pause between words does not.
const ATTACK: f32 = 0.5;
const RELEASE: f32 = 0.1;

/// Sub-bands of the immediate score and their width in dB.
const N1: u32 = 13;
const SUB_BAND: u8 = 10;
/// Slots of the medium score: 250 ms.
const N2: u32 = 5;
/// Blocks of the long score: 1 s in all.
const N3: u32 = 5;
const BLOCK_SLOTS: u32 = 4;
/// Slots with speech that make a block one of speech.
const BLOCK_THRESHOLD: u32 = 3;
const LAMBDA_IMMEDIATE: f32 = 0.78;
const LAMBDA_MEDIUM: f32 = 24.0;
const LAMBDA_LONG: f32 = 47.0;
const MIN_SCORE: f32 = 1e-10;

/// Someone is said to speak up to that many slots after a sample of speech: 600 ms bridge the
/// pauses between words.
const SPEAKING_SLOTS: u64 = 12;

/// Samples of half a second.
const HALF_WINDOW: u32 = 10;
/// Different heights, in steps of 2 dB, within the last half to whole second. The levels of speech within a second
/// lie 15 dB and more apart; a level that stands still has one, one that is switched two.
const LIVELY_HEIGHTS: u32 = 4;
/// Nobody speaks for 15 s without a pause for breath of 150 ms.
const MAX_UNBROKEN: u64 = 300;
const PAUSE_SLOTS: u64 = 3;
/// Of a slot: what was said half a minute ago counts for a third.
const AIRTIME_FADE: f32 = 1.0 - 1.0 / 600.0;

#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    /// The slot of the newest sample, which is bit 0 of `speech`.
    newest: u64,
    /// Slots with speech, newest first.
    speech: u32,
    loudness_now: u8,
    loudness: f32,
    floor: u8,
    window_min: u8,
    window_len: u16,
    /// The sender's voice-activity bit means something: it was set before.
    knows_voice: bool,
    /// Loudness of the latest audible samples, a bit for each 2 dB: of this half second and of the one before.
    heights: [u64; 2],
    /// Audible ones.
    samples: u32,
    /// Since when there has been no pause.
    unbroken_since: u64,
    /// Slots of speech of late; what is older fades.
    airtime: f32,
    /// Whose track it is.
    pub(super) group: Option<u64>,
}

/// How likely it is that this is speech, over three spans of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scores {
    pub immediate: f32,
    pub medium: f32,
    pub long: f32,
}

impl Activity {
    pub(super) fn new(slot: u64) -> Self {
        Self {
            newest: slot,
            window_min: MAX_LOUDNESS,
            unbroken_since: slot,
            ..Self::default()
        }
    }

    pub(super) fn on_sample(&mut self, slot: u64, loudness: u8, voice: bool) {
        let elapsed = slot.saturating_sub(self.newest);
        self.update_floor(elapsed, loudness);
        self.knows_voice |= voice;
        let threshold = (self.floor + FLOOR_MARGIN).clamp(MIN_SPEECH, MAX_THRESHOLD);
        let is_speech = loudness >= threshold && (voice || !self.knows_voice);
        // Samples come a little early or late, so one slot in between may stay empty.
        let bridge = elapsed == 2 && is_speech && self.speech & 1 == 1;
        self.speech = shift(self.speech, elapsed) | u32::from(is_speech) | u32::from(bridge) << 1;
        self.loudness = self.loudness_at(slot);
        let step = if f32::from(loudness) > self.loudness {
            ATTACK
        } else {
            RELEASE
        };
        self.loudness += step * (f32::from(loudness) - self.loudness);
        self.loudness_now = match elapsed {
            0 => self.loudness_now.max(loudness),
            _ => loudness,
        };
        self.note_nature(slot, elapsed, loudness, is_speech);
        self.newest = self.newest.max(slot);
    }

    fn note_nature(&mut self, slot: u64, elapsed: u64, loudness: u8, is_speech: bool) {
        // What is softer than speech does not count: dropping out now and then makes no tone lively, and a pause
        // for thought no speaker dull.
        if loudness >= MIN_SPEECH {
            self.samples = self.samples.wrapping_add(1);
            if self.samples.is_multiple_of(HALF_WINDOW) {
                self.heights = [0, self.heights[0]];
            }
            self.heights[0] |= 1 << (loudness / 2);
        }
        if elapsed >= PAUSE_SLOTS || self.speech & mask(PAUSE_SLOTS as u32) == 0 {
            self.unbroken_since = slot;
        }
        self.airtime *= AIRTIME_FADE.powi(elapsed.min(100_000) as i32);
        self.airtime += f32::from(u8::from(is_speech && elapsed > 0));
    }

    /// It rises, falls and pauses as speech and music do.
    pub(super) fn is_lively(&self, slot: u64) -> bool {
        let distinct = (self.heights[0] | self.heights[1]).count_ones();
        distinct >= LIVELY_HEIGHTS && slot.saturating_sub(self.unbroken_since) < MAX_UNBROKEN
    }

    /// It has been heard for long enough to tell, and does not. So is a machine, or a level that its sender made up.
    pub(super) fn is_dull(&self, slot: u64) -> bool {
        self.samples >= 2 * HALF_WINDOW && !self.is_lively(slot)
    }

    /// Slots of speech in about the last half minute.
    pub(super) fn airtime_at(&self, slot: u64) -> f32 {
        self.airtime * AIRTIME_FADE.powi(self.idle_slots(slot).min(100_000) as i32)
    }

    fn update_floor(&mut self, elapsed: u64, loudness: u8) {
        if elapsed >= FLOOR_RESET {
            self.floor = 0;
            self.window_len = 0;
            self.window_min = MAX_LOUDNESS;
        }
        self.window_min = self.window_min.min(loudness);
        self.window_len += 1;
        self.floor = self.floor.min(loudness);
        if self.window_len >= FLOOR_WINDOW {
            self.floor = self.window_min;
            self.window_len = 0;
            self.window_min = MAX_LOUDNESS;
        }
    }

    /// Smoothed, 0 to 127.
    pub(super) fn loudness_at(&self, slot: u64) -> f32 {
        let silent = slot.saturating_sub(self.newest).min(1_000);
        self.loudness * (1.0 - RELEASE).powi(silent as i32)
    }

    pub(super) fn is_speaking(&self, slot: u64) -> bool {
        self.silent_slots(slot) < SPEAKING_SLOTS
    }

    /// Since the last sample of speech; `u64::MAX` where none is known.
    pub(super) fn silent_slots(&self, slot: u64) -> u64 {
        match self.speech {
            0 => u64::MAX,
            speech => slot.saturating_sub(self.newest) + u64::from(speech.trailing_zeros()),
        }
    }

    /// Since the last sample at all.
    pub(super) fn idle_slots(&self, slot: u64) -> u64 {
        slot.saturating_sub(self.newest)
    }

    pub(super) fn scores(&self, slot: u64) -> Scores {
        let speech = self.speech_at(slot);
        let is_now = self.idle_slots(slot) <= 1 && self.speech & 1 == 1;
        let bands = if is_now { self.loudness_now / SUB_BAND } else { 0 };
        Scores {
            immediate: score(bands.into(), N1, LAMBDA_IMMEDIATE),
            medium: score((speech & mask(N2)).count_ones(), N2, LAMBDA_MEDIUM),
            long: score(blocks(speech), N3, LAMBDA_LONG),
        }
    }

    /// Blocks of speech in the last second, at most [`Self::MAX_BLOCKS`].
    pub(super) fn blocks(&self, slot: u64) -> u32 {
        blocks(self.speech_at(slot))
    }

    pub(super) const MAX_BLOCKS: u32 = N3;

    /// The current slot's sample may still be to come: then it does not count as silent.
    fn speech_at(&self, slot: u64) -> u32 {
        shift(self.speech, self.idle_slots(slot).saturating_sub(1))
    }
}

fn shift(bits: u32, by: u64) -> u32 {
    u32::try_from(by).ok().and_then(|by| bits.checked_shl(by)).unwrap_or(0)
}

fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

fn blocks(speech: u32) -> u32 {
    let block = |index: u32| speech >> (index * BLOCK_SLOTS) & mask(BLOCK_SLOTS);
    (0..N3)
        .filter(|&index| block(index).count_ones() >= BLOCK_THRESHOLD)
        .count() as u32
}

/// The paper's log-likelihood ratio of `active` sub-units out of `of`: binomial under speech (with
/// p = ½), exponential with `lambda` under silence.
fn score(active: u32, of: u32, lambda: f32) -> f32 {
    let combinations = (0..active).fold(1.0, |product, index| product * (of - index) as f32 / (index + 1) as f32);
    let ratio = f32::ln(combinations) + of as f32 * f32::ln(0.5) - f32::ln(lambda) + lambda * active as f32;
    ratio.max(MIN_SCORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_grow_with_activity() {
        for (of, lambda) in [(N2, LAMBDA_MEDIUM), (N3, LAMBDA_LONG)] {
            let scores: Vec<_> = (0..=of).map(|active| score(active, of, lambda)).collect();
            assert!(scores.is_sorted(), "{scores:?}");
            assert_eq!(scores[0], MIN_SCORE);
        }
    }

    #[test]
    fn steady_noise_stops_being_speech_and_loud_sound_does_not() {
        for (loudness, at_first, later) in [(60, false, false), (78, true, false), (100, true, true)] {
            let mut activity = Activity::new(0);
            activity.on_sample(0, loudness, false);
            assert_eq!(activity.is_speaking(0), at_first, "{loudness}");
            for slot in 1..1_000 {
                activity.on_sample(slot, loudness, false);
            }
            assert_eq!(activity.is_speaking(999), later, "{loudness}");
            // Speech over it is told from it.
            activity.on_sample(1_000, 95, false);
            assert!(activity.is_speaking(1_000));
        }
    }

    #[test]
    fn the_voice_bit_counts_once_it_was_seen() {
        let mut activity = Activity::new(0);
        activity.on_sample(0, 90, false);
        assert!(activity.is_speaking(0));
        activity.on_sample(100, 90, true);
        activity.on_sample(150, 90, false);
        assert!(!activity.is_speaking(150));
    }

    #[test]
    fn speech_is_told_from_levels_that_are_made_up() {
        type Levels = fn(u64) -> u8;
        let table: [(&str, Levels, bool); 6] = [
            ("one level", |_| 127, false),
            (
                "two in turn",
                |slot| if slot.is_multiple_of(2) { 127 } else { 90 },
                false,
            ),
            ("on and off", |slot| if slot / 5 % 2 == 0 { 127 } else { 0 }, false),
            ("steady noise", |slot| 100 + (slot * 7 % 3) as u8, false),
            ("up and down without breath", |slot| 85 + (slot * 7 % 40) as u8, false),
            (
                "words",
                |slot| if slot % 20 < 15 { 80 + (slot * 7 % 25) as u8 } else { 20 },
                true,
            ),
        ];
        for (name, levels, is_speech) in table {
            let mut activity = Activity::new(0);
            for slot in 0..400 {
                activity.on_sample(slot, levels(slot), true);
            }
            assert_eq!(activity.is_lively(399), is_speech, "{name}");
            assert_eq!(activity.is_dull(399), !is_speech, "{name}");
        }
        // Nothing is said of who has just begun.
        let mut activity = Activity::new(0);
        activity.on_sample(0, 127, true);
        assert!(!activity.is_dull(0) && !activity.is_lively(0));
    }

    #[test]
    fn a_late_sample_leaves_no_hole() {
        let mut activity = Activity::new(0);
        for slot in [0, 1, 3, 4, 4, 6, 7] {
            activity.on_sample(slot, 90, true);
        }
        assert_eq!(activity.speech & mask(8), mask(8));
        activity.on_sample(10, 90, true);
        assert_eq!(activity.speech & mask(4), 0b1001);
        activity.on_sample(1_000_000, 0, true);
        assert_eq!(activity.speech, 0);
    }
}

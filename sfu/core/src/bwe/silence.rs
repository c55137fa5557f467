//! Whether feedback that should have come has not: the link halts, or is gone.

use super::time::Micros;

/// Feedback that is so much too late is missed: libwebrtc's receivers send it every 50 to 250 ms, …
const MISSED: Micros = Micros::millis(500);
/// … and one or two in a row may be lost without a meaning. In usual distances of feedback.
const MISSED_DISTANCES: i64 = 4;
/// What was sent before and not after says nothing.
const SENDING: Micros = Micros::millis(200);
/// Feedback is never further apart than this while something is sent, without being missed.
const MAX_DISTANCE: Micros = Micros::secs(1);
/// Weight of a new distance.
const GAIN: i64 = 8;

#[derive(Clone, Debug, Default)]
pub struct Silence {
    last_feedback: Option<Micros>,
    /// Smoothed.
    distance: Micros,
}

/// The packets that wait for feedback.
#[derive(Clone, Copy, Debug)]
pub struct Unanswered {
    pub first_sent: Micros,
    pub last_sent: Micros,
    pub round_trip: Micros,
}

impl Silence {
    pub fn on_feedback(&mut self, now: Micros) {
        if let Some(last) = self.last_feedback.replace(now) {
            let distance = (now - last).min(MAX_DISTANCE);
            self.distance = Micros(self.distance.0 + (distance.0 - self.distance.0) / GAIN);
        }
    }

    pub fn last_feedback(&self) -> Option<Micros> {
        self.last_feedback
    }

    /// Whether feedback is missed.
    pub fn is_silent(&self, now: Micros, unanswered: Unanswered) -> bool {
        let Some(due) = self.due(unanswered) else { return false };
        let missed = Micros(self.distance.0 * MISSED_DISTANCES).max(MISSED);
        now - due > missed && self.sent_into(unanswered) > SENDING
    }

    /// For how long packets have been sent since feedback was due. Not of use before the first feedback.
    pub fn sent_into(&self, unanswered: Unanswered) -> Micros {
        match self.due(unanswered) {
            Some(due) => unanswered.last_sent + unanswered.round_trip - due,
            None => Micros::ZERO,
        }
    }

    /// When the first packet's feedback could have come.
    fn due(&self, unanswered: Unanswered) -> Option<Micros> {
        let could_come = unanswered.first_sent + unanswered.round_trip;
        self.last_feedback.map(|last| last.max(could_come))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_link_that_halts_from_one_that_has_nothing_to_tell() {
        // (ms between feedback, the last of which came at 10,000; first and last sent; now; silent)
        for (distance, first, last, now, silent) in [
            (100, 9_950, 10_400, 10_450, false),
            (100, 9_950, 10_510, 10_560, true),
            // Feedback comes seldom anyhow.
            (250, 9_950, 10_900, 10_950, false),
            (250, 9_950, 11_050, 11_060, true),
            // Nothing was sent for long, then something: its feedback cannot be here yet.
            (100, 15_000, 15_250, 15_300, false),
            (100, 15_000, 15_700, 15_750, true),
            // One packet, perhaps lost, and nothing after it.
            (100, 15_000, 15_015, 19_000, false),
        ] {
            let mut silence = Silence::default();
            for n in (0..50).rev() {
                silence.on_feedback(Micros::millis(10_000 - n * distance));
            }
            let unanswered = Unanswered {
                first_sent: Micros::millis(first),
                last_sent: Micros::millis(last),
                round_trip: Micros::millis(100),
            };
            let is_silent = silence.is_silent(Micros::millis(now), unanswered);
            assert_eq!(is_silent, silent, "{distance} {first} {last} {now}");
        }
    }
}

//! How well a participant's connection carries the meeting, and what it fails in, for the page and for metrics.

use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// Worse is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    #[default]
    Good,
    Fair,
    Poor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What the participant is to be sent does not fit.
    Downlink,
    /// What the participant sends does not fit.
    Uplink,
    Loss,
    Delay,
}

/// A grade with its cause; `None` only where it is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    pub grade: Grade,
    pub cause: Option<Cause>,
}

/// One way of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Way {
    /// What it carries, as far as is known.
    pub estimate: Bitrate,
    /// What it is to carry; 0: nothing.
    pub desired: Bitrate,
    /// Share of the packets that are lost, 0 to 1.
    pub loss: f32,
    /// The estimate is what it is because of losses.
    pub is_bound_by_loss: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Towards the participant.
    pub downlink: Way,
    /// From the participant.
    pub uplink: Way,
    pub round_trip: Duration,
}

/// Where a measure begins to be fair and to be poor. All measures grow for the worse.
struct Limits {
    fair: f32,
    poor: f32,
}

impl Limits {
    fn grade(&self, value: f32, slack: f32) -> Grade {
        if value >= self.poor * slack {
            Grade::Poor
        } else if value >= self.fair * slack {
            Grade::Fair
        } else {
            Grade::Good
        }
    }
}

/// The part of what is to be carried that is not. At a fifth a layer here and there is lower than asked for; at
/// six tenths most pictures are, or stand still.
const MISSING: Limits = Limits { fair: 0.2, poor: 0.6 };

/// Speech without redundancy suffers audibly from 3 %; at 10 % pictures freeze between repairs (ITU-T G.1010
/// names 3 % for conversational voice).
const LOSS: Limits = Limits { fair: 0.03, poor: 0.1 };

/// In seconds, there and back. ITU-T G.114: up to 150 ms one way is not felt, above 400 ms is unacceptable.
const ROUND_TRIP: Limits = Limits { fair: 0.3, poor: 0.8 };

/// To become better again a measure must be this far below its limit.
const SLACK: f32 = 0.8;

/// A grade that is worse shows after this: a single bad second is no bad connection.
const WORSE_AFTER: Duration = Duration::from_secs(2);
/// One that is better: people take it for a promise.
const BETTER_AFTER: Duration = Duration::from_secs(6);

/// The grade of one sample, each limit multiplied by `slack`. Of equal grades the first cause counts: what is
/// lost or late on a link that is too small is so because it is too small.
fn rate(sample: &Sample, slack: f32) -> Quality {
    let downlink = match sample.downlink.is_bound_by_loss && LOSS.grade(sample.downlink.loss, slack) > Grade::Good {
        true => Cause::Loss,
        false => Cause::Downlink,
    };
    let measures = [
        (downlink, MISSING.grade(missing(&sample.downlink), slack)),
        (Cause::Uplink, MISSING.grade(missing(&sample.uplink), slack)),
        (
            Cause::Loss,
            LOSS.grade(sample.downlink.loss.max(sample.uplink.loss), slack),
        ),
        (Cause::Delay, ROUND_TRIP.grade(sample.round_trip.as_secs_f32(), slack)),
    ];
    let mut worst = Quality::default();
    for (cause, grade) in measures {
        if grade > worst.grade {
            worst = Quality {
                grade,
                cause: Some(cause),
            };
        }
    }
    worst
}

fn missing(way: &Way) -> f32 {
    if way.desired.0 == 0 {
        return 0.0;
    }
    1.0 - (way.estimate.0 as f32 / way.desired.0 as f32).min(1.0)
}

/// The quality of one participant over time.
#[derive(Clone, Copy, Debug, Default)]
pub struct QualityMeter {
    shown: Quality,
    /// Another grade, and since when it has been seen without a break.
    other: Option<(Grade, Instant)>,
}

impl QualityMeter {
    pub fn quality(&self) -> Quality {
        self.shown
    }

    /// Takes a sample, about one a second; `Some` is a new quality to be told.
    pub fn update(&mut self, now: Instant, sample: &Sample) -> Option<Quality> {
        let strict = rate(sample, 1.0);
        let lenient = rate(sample, SLACK);
        let seen = if strict.grade >= self.shown.grade {
            strict
        } else {
            lenient
        };
        if seen.grade == self.shown.grade {
            self.other = None;
            // The same grade for another cause is told at once.
            return self.show(seen);
        }
        let is_worse = seen.grade > self.shown.grade;
        let since = match self.other {
            // On the way down, what is worse still does not begin anew.
            Some((grade, since)) if (grade > self.shown.grade) == is_worse => since,
            _ => now,
        };
        self.other = Some((seen.grade, since));
        let wait = if is_worse { WORSE_AFTER } else { BETTER_AFTER };
        if now.saturating_duration_since(since) < wait {
            return None;
        }
        self.other = None;
        self.show(seen)
    }

    fn show(&mut self, quality: Quality) -> Option<Quality> {
        (std::mem::replace(&mut self.shown, quality) != quality).then_some(quality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(estimate: u64, uplink: u64, loss: f32, round_trip: u64) -> Sample {
        let way = |estimate| Way {
            estimate: Bitrate(estimate * 1_000),
            desired: Bitrate(1_000_000),
            loss,
            is_bound_by_loss: false,
        };
        Sample {
            downlink: way(estimate),
            uplink: way(uplink),
            round_trip: Duration::from_millis(round_trip),
        }
    }

    #[test]
    fn the_worst_measure_makes_the_grade_and_names_the_cause() {
        use Cause::{Delay, Downlink, Loss, Uplink};
        use Grade::{Fair, Good, Poor};
        for (sample, grade, cause) in [
            (sample(2_000, 2_000, 0.0, 50), Good, None),
            (sample(850, 2_000, 0.02, 290), Good, None),
            (sample(700, 2_000, 0.0, 50), Fair, Some(Downlink)),
            (sample(300, 2_000, 0.05, 500), Poor, Some(Downlink)),
            (sample(2_000, 300, 0.0, 50), Poor, Some(Uplink)),
            (sample(2_000, 2_000, 0.05, 50), Fair, Some(Loss)),
            (sample(700, 2_000, 0.2, 50), Poor, Some(Loss)),
            (sample(2_000, 2_000, 0.0, 400), Fair, Some(Delay)),
            (sample(2_000, 2_000, 0.0, 900), Poor, Some(Delay)),
            (Sample::default(), Good, None),
        ] {
            assert_eq!(rate(&sample, 1.0), Quality { grade, cause }, "{sample:?}");
        }
    }

    #[test]
    fn what_does_not_fit_because_it_is_lost_is_put_down_to_loss() {
        let mut sample = sample(300, 2_000, 0.08, 50);
        sample.downlink.is_bound_by_loss = true;
        let cause = Some(Cause::Loss);
        assert_eq!(
            rate(&sample, 1.0),
            Quality {
                grade: Grade::Poor,
                cause
            }
        );
    }

    #[test]
    fn it_gets_worse_after_two_seconds_and_better_after_six() {
        let start = Instant::now();
        let mut meter = QualityMeter::default();
        let (good, poor) = (sample(2_000, 2_000, 0.0, 50), sample(100, 2_000, 0.0, 50));
        let fair = sample(700, 2_000, 0.0, 50);
        for (at, sample, told) in [
            (0, good, None),
            (1, poor, None),
            (2, good, None),
            (3, poor, None),
            (4, fair, None),
            (5, poor, Some(Grade::Poor)),
            (6, good, None),
            (11, good, None),
            (12, good, Some(Grade::Good)),
        ] {
            let now = start + Duration::from_secs(at);
            assert_eq!(meter.update(now, &sample).map(|quality| quality.grade), told, "{at}");
        }
    }

    #[test]
    fn a_measure_that_swings_about_its_limit_does_not_swing_the_grade() {
        let start = Instant::now();
        let mut meter = QualityMeter::default();
        let mut told = 0;
        for second in 0..300 {
            let loss = if second / 7 % 2 == 1 { 0.032 } else { 0.027 };
            let now = start + Duration::from_secs(second);
            told += usize::from(meter.update(now, &sample(2_000, 2_000, loss, 50)).is_some());
        }
        assert_eq!(told, 1);
    }
}

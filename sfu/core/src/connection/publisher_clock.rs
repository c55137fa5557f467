//! Brings a publisher's NTP time onto this machine's clock.

use std::time::{Duration, Instant};

use crate::track::MappedReport;

/// How fast two computers' clocks may drift apart; the estimate follows by it.
const DRIFT_PPM: u64 = 200;

/// One offset for all tracks of a publisher, from the sender report that travelled fastest: so
/// audio and video keep their distance whatever each one's delay was.
#[derive(Debug, Default)]
pub struct PublisherClock {
    /// Publisher's NTP time in µs at `base`, as the fastest report implies; and when that was.
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    arrival: Instant,
    ntp_us: u64,
}

impl PublisherClock {
    /// A sender report arrived: `ntp` in NTP's 64 bits is the same moment as `rtp`.
    pub fn on_report(&mut self, arrival: Instant, ntp: u64, rtp: u32) -> MappedReport {
        let ntp_us = ntp_micros(ntp);
        let estimate = match self.estimate {
            Some(estimate) => {
                let elapsed = arrival.saturating_duration_since(estimate.arrival).as_micros() as u64;
                // Where the publisher's clock should be by now; a report behind it was delayed on its way.
                let expected = estimate.ntp_us + elapsed;
                let slack = elapsed * DRIFT_PPM / 1_000_000;
                if ntp_us.abs_diff(expected) > CLOCK_STEP_US {
                    Estimate { arrival, ntp_us }
                } else {
                    Estimate {
                        arrival,
                        ntp_us: ntp_us.max(expected.saturating_sub(slack)),
                    }
                }
            }
            None => Estimate { arrival, ntp_us },
        };
        self.estimate = Some(estimate);
        let age = Duration::from_micros(estimate.ntp_us.saturating_sub(ntp_us));
        MappedReport {
            at: arrival.checked_sub(age).unwrap_or(arrival),
            rtp,
        }
    }
}

/// A publisher whose clock moves by this much at once has set it.
const CLOCK_STEP_US: u64 = 5_000_000;

fn ntp_micros(ntp: u64) -> u64 {
    (ntp >> 32) * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ntp(ms: u64) -> u64 {
        ((3_900_000_000 + ms / 1000) << 32) | (((ms % 1000) << 32) / 1000)
    }

    #[test]
    fn audio_and_video_reports_keep_their_distance_however_late_one_comes() {
        let now = Instant::now();
        let mut clock = PublisherClock::default();
        let audio = clock.on_report(now, ntp(0), 0);
        // Captured 500 ms later, but 80 ms late on its way.
        let video = clock.on_report(now + 580 * MS, ntp(500), 0);
        let distance = video.at.duration_since(audio.at);
        assert!(distance.abs_diff(500 * MS) < MS, "{distance:?}");
    }

    #[test]
    fn a_faster_report_corrects_the_estimate_and_a_set_clock_starts_over() {
        let now = Instant::now();
        let mut clock = PublisherClock::default();
        clock.on_report(now + 100 * MS, ntp(0), 0);
        let fast = clock.on_report(now + 1010 * MS, ntp(1000), 0);
        assert_eq!(fast.at, now + 1010 * MS);
        let set = clock.on_report(now + 2000 * MS, ntp(90_000_000), 0);
        assert_eq!(set.at, now + 2000 * MS);
    }
}

//! Ceilings of bit rates, in integers and without a timer: a bucket is one number, the time at which it will
//! have drained. To ask it is a comparison, to charge it a multiplication and an addition.
//!
//! This is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A), which lets
//! the same packets pass as a token bucket does.

use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// Ticks of a nanosecond: what a byte takes at 10 Gbit/s is still told to within two percent, and 64 bits
/// last for nine years.
const TICKS_PER_NANO: u64 = 32;

/// A moment, counted from when the worker began. Made once per packet or batch, and used for every bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(u64);

impl Ticks {
    pub fn since(epoch: Instant, now: Instant) -> Self {
        Self(ticks(now.saturating_duration_since(epoch)))
    }
}

impl Ticks {
    /// How long it is from `earlier` until then; nothing where `earlier` is later.
    pub fn after(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0) / TICKS_PER_NANO)
    }
}

fn ticks(duration: Duration) -> u64 {
    (duration.as_nanos() as u64).saturating_mul(TICKS_PER_NANO)
}

/// A ceiling: so much on the whole, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What a byte takes.
    per_byte: u64,
    /// What may be waiting to drain.
    burst: u64,
}

impl RateLimit {
    pub const UNLIMITED: Self = Self {
        per_byte: 0,
        burst: u64::MAX / 2,
    };

    /// `rate` on the whole and what it carries in `burst` at once; a rate of 0 is no limit.
    pub fn new(rate: Bitrate, burst: Duration) -> Self {
        if rate.0 == 0 {
            return Self::UNLIMITED;
        }
        Self {
            per_byte: (8_000_000_000 * TICKS_PER_NANO / rate.0).max(1),
            burst: ticks(burst),
        }
    }

    /// For things that are counted, not measured: `burst` at once and one in each `interval` after that.
    pub fn events(burst: u64, interval: Duration) -> Self {
        Self {
            per_byte: ticks(interval),
            // A bucket takes one more while it is not above its brim.
            burst: ticks(interval).saturating_mul(burst - 1),
        }
    }
}

/// A bucket that drains at the rate of a [`RateLimit`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RateMeter {
    /// When all that was charged will have drained.
    empty_at: u64,
}

impl RateMeter {
    /// The bucket is full: what comes now is above the ceiling.
    pub fn is_over(&self, limit: &RateLimit, now: Ticks) -> bool {
        self.empty_at.saturating_sub(now.0) > limit.burst
    }

    /// From when on [`Self::is_over`] is false.
    pub fn ready_at(&self, limit: &RateLimit) -> Ticks {
        Ticks(self.empty_at.saturating_sub(limit.burst))
    }

    pub fn is_empty(&self, now: Ticks) -> bool {
        self.empty_at <= now.0
    }

    /// Less than a quarter of the burst is free. Who has been cut off begins again above that, so that what
    /// he begins with, a key frame, gets through.
    pub fn is_tight(&self, limit: &RateLimit, now: Ticks) -> bool {
        self.empty_at.saturating_sub(now.0) > limit.burst / 4 * 3
    }

    /// These bytes went through.
    pub fn charge(&mut self, limit: &RateLimit, now: Ticks, bytes: usize) {
        let cost = limit.per_byte.saturating_mul(bytes as u64);
        self.empty_at = self.empty_at.max(now.0).saturating_add(cost);
    }

    /// What was charged drains within `most` from now on.
    pub fn forgive(&mut self, now: Ticks, most: Duration) {
        self.empty_at = self.empty_at.min(now.0.saturating_add(ticks(most)));
    }

    /// Charges the bytes unless the bucket is full; false: they are above the ceiling.
    pub fn admit(&mut self, limit: &RateLimit, now: Ticks, bytes: usize) -> bool {
        if self.is_over(limit, now) {
            return false;
        }
        self.charge(limit, now, bytes);
        true
    }
}

/// The ceilings of a worker; a rate of 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Each simulcast layer of a camera.
    pub video_layer: Bitrate,
    /// Each layer of a shared screen.
    pub screen_layer: Bitrate,
    pub audio_track: Bitrate,
    /// All that one connection publishes.
    pub publisher: Bitrate,
    /// RTCP from one connection.
    pub rtcp: Bitrate,
    /// All that is sent to one connection.
    pub session: Bitrate,
    /// All that the worker sends.
    pub worker: Bitrate,
    /// A subscriber's requests for key frames of one source, after the first few.
    pub keyframe_interval: Duration,
    /// What a subscriber may have sent again in a second, of what it was sent in the one before.
    pub retransmission_percent: u32,
}

impl RateLimits {
    /// No ceiling, as where time stands still.
    pub const UNLIMITED: Self = Self {
        video_layer: Bitrate(0),
        screen_layer: Bitrate(0),
        audio_track: Bitrate(0),
        publisher: Bitrate(0),
        rtcp: Bitrate(0),
        session: Bitrate(0),
        worker: Bitrate(0),
        keyframe_interval: Duration::ZERO,
        retransmission_percent: 1_000,
    };
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            // Three times what browsers send of 1080p.
            video_layer: Bitrate(8_000_000),
            // Text in motion at 4K and 30 frames a second.
            screen_layer: Bitrate(20_000_000),
            // Opus ends at 510 kbit/s.
            audio_track: Bitrate(512_000),
            // A screen and three layers of a camera.
            publisher: Bitrate(25_000_000),
            // 49 streams that ask for lost packets every 20 ms.
            rtcp: Bitrate(2_000_000),
            // Four times a grid of nine at 2.5 Mbit/s.
            session: Bitrate(100_000_000),
            worker: Bitrate(0),
            keyframe_interval: Duration::from_secs(3),
            // Losses of a third need half as much again (0.33 ÷ 0.67); beyond that video is past repair.
            retransmission_percent: 50,
        }
    }
}

/// What may come at once: a publisher's probes and key frames are several times his rate, but short.
const BURST: Duration = Duration::from_secs(1);

/// Requests for key frames of one source at once: a receiver asks again every 200 ms until a key frame is
/// whole, so two losses in a row are covered.
const KEYFRAME_REQUESTS: u64 = 4;

/// [`RateLimits`] as the buckets want them.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    pub video_layer: RateLimit,
    pub screen_layer: RateLimit,
    pub audio_track: RateLimit,
    pub publisher: RateLimit,
    pub rtcp: RateLimit,
    pub session: RateLimit,
    pub worker: RateLimit,
    /// Of one source.
    pub keyframe_requests: RateLimit,
    pub retransmission_percent: u32,
}

impl Ceilings {
    pub fn new(limits: &RateLimits) -> Self {
        let of = |rate| RateLimit::new(rate, BURST);
        Self {
            video_layer: of(limits.video_layer),
            screen_layer: of(limits.screen_layer),
            audio_track: of(limits.audio_track),
            publisher: of(limits.publisher),
            rtcp: of(limits.rtcp),
            session: of(limits.session),
            worker: of(limits.worker),
            keyframe_requests: RateLimit::events(KEYFRAME_REQUESTS, limits.keyframe_interval),
            retransmission_percent: limits.retransmission_percent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of packets of 1,000 bytes every `gap`, for ten seconds: how many pass, in kbit/s.
    fn passed(rate: u64, gap: Duration) -> u64 {
        let epoch = Instant::now();
        let limit = RateLimit::new(Bitrate(rate), Duration::from_secs(1));
        let (mut meter, mut now, mut packets) = (RateMeter::default(), epoch, 0);
        while now - epoch < Duration::from_secs(10) {
            packets += u64::from(meter.admit(&limit, Ticks::since(epoch, now), 1_000));
            now += gap;
        }
        packets * 8 / 10
    }

    #[test]
    fn what_is_below_passes_and_what_is_above_is_cut_to_the_ceiling_and_a_burst() {
        // (ceiling in bit/s, microseconds between packets, least and most kbit/s that pass)
        for (rate, gap, least, most) in [
            (8_000_000, 2_000, 4_000, 4_000),
            (8_000_000, 1_000, 8_000, 8_000),
            (8_000_000, 4, 8_700, 8_900),
            (512_000, 20_000, 400, 400),
            (512_000, 100, 560, 570),
            (100_000_000, 10, 109_000, 111_000),
            (0, 10, 800_000, 800_000),
        ] {
            let passed = passed(rate, Duration::from_micros(gap));
            assert!((least..=most).contains(&passed), "{rate} every {gap} µs: {passed}");
        }
    }

    #[test]
    fn a_bucket_that_was_full_is_tight_until_a_quarter_has_drained() {
        let epoch = Instant::now();
        let limit = RateLimit::new(Bitrate(8_000_000), Duration::from_secs(1));
        let at = |ms| Ticks::since(epoch, epoch + Duration::from_millis(ms));
        let mut meter = RateMeter::default();
        meter.charge(&limit, at(0), 1_000_001);
        for (ms, over, tight) in [
            (0, true, true),
            (1, false, true),
            (249, false, true),
            (252, false, false),
        ] {
            assert_eq!(
                (meter.is_over(&limit, at(ms)), meter.is_tight(&limit, at(ms))),
                (over, tight),
                "{ms}"
            );
        }
    }
}

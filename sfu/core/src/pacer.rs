//! Spreads what is sent to one client over time, so that a key frame fills no queue on its way
//! (draft-ietf-rmcat-gcc-02, section 4). Frames that fit are sent in one go, which is what UDP GSO wants.

use std::collections::VecDeque;
use std::time::Duration;

use crate::rate::{RateLimit, RateMeter, Ticks};
use crate::units::Bitrate;

/// What is sent at once: bursts of that length at the pacing rate. libwebrtc allows 40 ms; half of it still holds a frame
/// of the layer that fits the estimate, and makes half the queue.
pub const BURST: Duration = Duration::from_millis(20);
/// What goes out of turn (what is sent again, probes, sound) holds up what waits for so long at most. After a link has
/// fallen there may be seconds of it, and video would stand still for as long.
const MAX_DEBT: Duration = Duration::from_millis(250);
/// Packets that wait at most, whatever their size: a key frame of 1080p has 200.
const MAX_QUEUE: usize = 512;

/// Items that wait, each with its bytes, and the meter that lets them go.
#[derive(Debug)]
pub struct Pacer<T> {
    rate: Bitrate,
    limit: RateLimit,
    meter: RateMeter,
    queue: VecDeque<(T, usize)>,
    queued_bytes: usize,
}

impl<T> Pacer<T> {
    /// Lets everything pass until there is a rate.
    pub fn unlimited() -> Self {
        Self {
            rate: Bitrate(0),
            limit: RateLimit::UNLIMITED,
            meter: RateMeter::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
        }
    }

    pub fn set_rate(&mut self, rate: Bitrate) {
        if rate != self.rate {
            self.rate = rate;
            self.limit = RateLimit::new(rate, BURST);
        }
    }

    /// A packet may be sent at once.
    pub fn is_open(&self, now: Ticks) -> bool {
        self.queue.is_empty() && !self.meter.is_over(&self.limit, now)
    }

    /// These bytes were sent, whether they waited or, as audio, did not.
    pub fn charge(&mut self, now: Ticks, bytes: usize) {
        self.meter.charge(&self.limit, now, bytes);
        self.meter.forgive(now, MAX_DEBT);
    }

    /// Puts a packet at the end of the queue; false where that is full.
    pub fn push(&mut self, item: T, bytes: usize) -> bool {
        if self.queue.len() >= MAX_QUEUE {
            return false;
        }
        self.queue.push_back((item, bytes));
        self.queued_bytes += bytes;
        true
    }

    /// The next packet whose time has come; charge what is sent of it.
    pub fn pop(&mut self, now: Ticks) -> Option<T> {
        if self.meter.is_over(&self.limit, now) {
            return None;
        }
        let (item, bytes) = self.queue.pop_front()?;
        self.queued_bytes -= bytes;
        Some(item)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// How long the last of the queue waits.
    pub fn delay(&self) -> Duration {
        match self.rate.0 {
            0 => Duration::ZERO,
            rate => Duration::from_nanos((self.queued_bytes as u64).saturating_mul(8_000_000_000) / rate),
        }
    }

    /// In how long the next packet may go; `None` while none waits.
    pub fn ready_in(&self, now: Ticks) -> Option<Duration> {
        (!self.queue.is_empty()).then(|| self.meter.ready_at(&self.limit).after(now))
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_goes_out_of_turn_holds_up_the_rest_for_a_quarter_of_a_second() {
        let epoch = Instant::now();
        let at = |ms: u32| Ticks::since(epoch, epoch + MS * ms);
        let mut pacer = Pacer::unlimited();
        pacer.set_rate(Bitrate(100_000));
        // Eight seconds of it.
        for _ in 0..100 {
            pacer.charge(at(0), 1_000);
        }
        assert!(pacer.push("frame", 1_000));
        assert_eq!(pacer.pop(at(229)), None);
        assert_eq!(pacer.pop(at(230)), Some("frame"));
    }

    #[test]
    fn a_key_frame_is_spread_and_a_frame_that_fits_is_not() {
        let epoch = Instant::now();
        let at = |ms: u32| Ticks::since(epoch, epoch + MS * ms);
        let mut pacer = Pacer::unlimited();
        // 1,000 bytes every 8 ms.
        pacer.set_rate(Bitrate(1_000_000));
        // 20 ms are two packets and what exceeds them.
        let mut sent = 0;
        while pacer.is_open(at(0)) {
            pacer.charge(at(0), 1_000);
            sent += 1;
        }
        assert_eq!(sent, 3);
        for packet in 0..20 {
            assert!(pacer.push(packet, 1_000));
        }
        assert_eq!(pacer.delay(), 160 * MS);
        let mut left = Vec::new();
        for ms in 0..200 {
            while let Some(packet) = pacer.pop(at(ms)) {
                pacer.charge(at(ms), 1_000);
                left.push((packet, ms));
            }
        }
        assert_eq!(left.len(), 20);
        assert!(
            left.iter()
                .enumerate()
                .all(|(index, &(packet, _))| packet == index as u32)
        );
        assert!((150..=165).contains(&left[19].1), "{left:?}");
        assert!(left.windows(2).all(|pair| pair[1].1 - pair[0].1 <= 9), "{left:?}");
        assert!(pacer.is_empty() && pacer.delay() == Duration::ZERO);
    }

    #[test]
    fn it_tells_when_it_is_ready_and_is_open_without_a_rate() {
        let epoch = Instant::now();
        let at = |ms: u32| Ticks::since(epoch, epoch + MS * ms);
        let mut pacer = Pacer::unlimited();
        for _ in 0..1_000 {
            assert!(pacer.is_open(at(0)));
            pacer.charge(at(0), 1_500);
        }
        pacer.set_rate(Bitrate(80_000));
        assert_eq!(pacer.ready_in(at(0)), None);
        pacer.charge(at(0), 1_000);
        assert!(pacer.push((), 1_000));
        // 100 ms for 1,000 bytes, less the burst of 20.
        assert_eq!(pacer.ready_in(at(30)), Some(50 * MS));
        assert_eq!(pacer.pop(at(79)), None);
        assert_eq!(pacer.pop(at(81)), Some(()));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut pacer = Pacer::unlimited();
        let taken = (0..10_000).filter(|&item| pacer.push(item, 1)).count();
        assert_eq!((taken, pacer.len()), (MAX_QUEUE, MAX_QUEUE));
        pacer.clear();
        assert!(pacer.is_empty());
    }
}

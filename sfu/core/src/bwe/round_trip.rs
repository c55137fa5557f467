//! Round trip and standing queue, as feedback shows them.

use super::feedback::Acked;
use super::time::Micros;

/// The smallest one-way delay of this long ago still counts as that of empty queues; clocks that drift by
/// 100 ppm change it by 4 ms in two of these.
const BASE_SPAN: Micros = Micros::secs(20);
/// Weight of a new sample in the smoothed round trip (RFC 6298, section 2).
const GAIN: i64 = 8;

#[derive(Clone, Debug, Default)]
pub struct RoundTrip {
    smoothed: Option<Micros>,
    base: WindowedMin,
    queue: Micros,
    queue_range: (Micros, Micros),
}

/// The least value of the last one to two [`BASE_SPAN`]s.
#[derive(Clone, Debug, Default)]
struct WindowedMin {
    since: Micros,
    current: Option<Micros>,
    previous: Option<Micros>,
}

impl WindowedMin {
    fn update(&mut self, now: Micros, value: Micros, holds: bool) -> Micros {
        if now - self.since > BASE_SPAN && !holds {
            self.since = now;
            self.previous = self.current.take();
        }
        let current = self.current.map_or(value, |current| current.min(value));
        self.current = Some(current);
        self.previous.map_or(current, |previous| previous.min(current))
    }
}

impl RoundTrip {
    /// Packets that feedback told of at `now`, by time of arrival. Takes off what packets waited at the receiver.
    /// With `queue_stands` queues are known to have been filled all the time, and what was before holds.
    pub fn on_feedback(&mut self, now: Micros, acked: &[Acked], queue_stands: bool) {
        let Some(last) = acked.last() else { return };
        let fresh = acked.iter().filter(|packet| !packet.was_lost);
        let sample = fresh
            .map(|packet| now - packet.sent - (last.arrived - packet.arrived))
            .min();
        if let Some(sample) = sample.filter(|sample| *sample >= Micros::ZERO) {
            let smoothed = self.smoothed.unwrap_or(sample);
            self.smoothed = Some(Micros(smoothed.0 + (sample.0 - smoothed.0) / GAIN));
        }
        let (mut least, mut most) = (Micros::NEVER, Micros(i64::MIN));
        for packet in acked {
            let delay = packet.arrived - packet.sent;
            (least, most) = (least.min(delay), most.max(delay));
        }
        let base = self.base.update(now, least, queue_stands);
        self.queue = last.arrived - last.sent - base;
        self.queue_range = (least - base, most - base);
    }

    pub fn smoothed(&self) -> Option<Micros> {
        self.smoothed
    }

    /// The least and the most that a packet of the last feedback waited.
    pub fn queue_range(&self) -> (Micros, Micros) {
        self.queue_range
    }

    /// How long the last packet waited in queues, as far as they were ever empty in the last half minute.
    pub fn queue(&self) -> Micros {
        self.queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ExtendedSeq;

    /// Sent and arrived in ms.
    fn acked(sent: i64, arrived: i64) -> Acked {
        Acked {
            seq: ExtendedSeq(0),
            sent: Micros::millis(sent),
            arrived: Micros::millis(arrived),
            bytes: 100,
            probe: None,
            unreported: 0,
            was_lost: false,
        }
    }

    #[test]
    fn takes_off_what_packets_waited_for_feedback() {
        let mut round_trip = RoundTrip::default();
        // The clock of the receiver is a minute ahead, the way 30 ms, and feedback takes 20 ms back.
        round_trip.on_feedback(Micros::millis(150), &[acked(0, 60_030), acked(100, 60_130)], false);
        assert_eq!(round_trip.smoothed(), Some(Micros::millis(50)));
        round_trip.on_feedback(Micros::millis(330), &[acked(200, 60_310)], false);
        assert_eq!(round_trip.smoothed(), Some(Micros::millis(60)));
    }

    #[test]
    fn a_queue_is_what_exceeds_the_least_delay_of_late() {
        let mut round_trip = RoundTrip::default();
        let mut queue = |at: i64, delays: [i64; 2], stands| {
            let packets = delays.map(|delay| acked(at, at + delay));
            round_trip.on_feedback(Micros::millis(at + 500), &packets, stands);
            (round_trip.queue().0 / 1_000, round_trip.queue_range().0.0 / 1_000)
        };
        assert_eq!(queue(0, [30, 40], false), (10, 0));
        assert_eq!(queue(1_000, [130, 150], false), (120, 100));
        assert_eq!(queue(25_000, [130, 150], false), (120, 100));
        // A longer way is no queue in the end, unless it is known to be one.
        assert_eq!(queue(50_000, [130, 150], true), (120, 100));
        assert_eq!(queue(50_100, [130, 150], false), (20, 0));
    }
}

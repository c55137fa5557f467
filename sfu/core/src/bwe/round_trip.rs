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
}

/// The least value of the last one to two [`BASE_SPAN`]s.
#[derive(Clone, Debug, Default)]
struct WindowedMin {
    since: Micros,
    current: Option<Micros>,
    previous: Option<Micros>,
}

impl WindowedMin {
    fn update(&mut self, now: Micros, value: Micros) -> Micros {
        if now - self.since > BASE_SPAN {
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
    pub fn on_feedback(&mut self, now: Micros, acked: &[Acked]) {
        let Some(last) = acked.last() else { return };
        let fresh = acked.iter().filter(|packet| !packet.was_lost);
        let sample = fresh
            .map(|packet| now - packet.sent - (last.arrived - packet.arrived))
            .min();
        if let Some(sample) = sample.filter(|sample| *sample >= Micros::ZERO) {
            let smoothed = self.smoothed.unwrap_or(sample);
            self.smoothed = Some(Micros(smoothed.0 + (sample.0 - smoothed.0) / GAIN));
        }
        let mut least = Micros::NEVER;
        for packet in acked {
            least = least.min(packet.arrived - packet.sent);
        }
        let base = self.base.update(now, least);
        let last_delay = last.arrived - last.sent;
        self.queue = last_delay - base;
    }

    pub fn smoothed(&self) -> Option<Micros> {
        self.smoothed
    }

    /// How long the last packet waited in queues, as far as they were ever empty in the last half minute.
    pub fn queue(&self) -> Micros {
        self.queue
    }
}

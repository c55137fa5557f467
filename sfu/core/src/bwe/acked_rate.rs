//! What arrives at the receiver (libwebrtc: `goog_cc/robust_throughput_estimator.cc`).

use std::collections::VecDeque;

use super::feedback::Acked;
use super::time::Micros;
use crate::units::Bitrate;

/// A window of a second, longer where it holds fewer packets than [`WINDOW_PACKETS`].
const MIN_WINDOW: Micros = Micros::secs(1);
const MAX_WINDOW: Micros = Micros::secs(5);
const WINDOW_PACKETS: usize = 20;
const MAX_PACKETS: usize = 500;
/// Fewer say nothing.
const REQUIRED_PACKETS: usize = 10;
/// A packet that arrived so long before the last one: the receiver's clock was set anew.
const MAX_REORDERING: Micros = Micros::secs(1);
/// What a link under overuse carries is seen in this window: a second would still hold what it carried before
/// it became slower. Two frames at 10 a second.
const RECENT_WINDOW: Micros = Micros::millis(250);
const RECENT_PACKETS: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Packet {
    arrived: Micros,
    sent: Micros,
    bytes: u16,
}

#[derive(Clone, Debug, Default)]
pub struct AckedRate {
    /// By time of arrival.
    window: VecDeque<Packet>,
    /// When the youngest packet that has left the window was sent.
    discarded_sent: Option<Micros>,
}

/// What arrives, where enough has arrived to say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Over a second.
    pub steady: Option<Bitrate>,
    /// Over the last quarter of a second.
    pub recent: Option<Bitrate>,
}

impl Throughput {
    /// What had to be sent for this to arrive over a link that loses this share whatever is sent.
    pub fn before_loss(self, share: f64) -> Self {
        let sent = |rate: Bitrate| rate.times(1.0 / (1.0 - share));
        Self {
            steady: self.steady.map(sent),
            recent: self.recent.map(sent),
        }
    }
}

impl AckedRate {
    pub fn throughput(&self) -> Throughput {
        Throughput {
            steady: self.steady(),
            recent: self.recent(),
        }
    }

    /// A packet arrived.
    pub fn on_packet(&mut self, packet: &Acked) {
        let arrived = packet.arrived;
        if self
            .window
            .back()
            .is_some_and(|last| last.arrived - arrived > MAX_REORDERING)
        {
            self.window.clear();
            self.discarded_sent = None;
        }
        let later = self
            .window
            .iter()
            .rev()
            .take_while(|packet| packet.arrived > arrived)
            .count();
        let packet = Packet {
            arrived,
            sent: packet.sent,
            bytes: packet.bytes,
        };
        self.window.insert(self.window.len() - later, packet);
        while self.is_first_too_old() {
            let first = self.window.pop_front();
            self.discarded_sent = self.discarded_sent.max(first.map(|first| first.sent));
        }
    }

    fn is_first_too_old(&self) -> bool {
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else {
            return false;
        };
        let span = last.arrived - first.arrived;
        self.window.len() > MAX_PACKETS
            || span > MAX_WINDOW
            || (self.window.len() > WINDOW_PACKETS && span > MIN_WINDOW)
    }

    fn steady(&self) -> Option<Bitrate> {
        if self.window.len() < REQUIRED_PACKETS {
            return None;
        }
        let (first, last) = (self.window.front()?, self.window.back()?);
        let received: u64 = self.window.iter().map(|packet| u64::from(packet.bytes)).sum();
        let span = last.arrived - first.arrived - self.excess_gap();
        // N packets are N - 1 gaps apart: the first one's bytes do not count.
        let receive_rate = span.max(Micros::millis(1)).rate_of(received - u64::from(first.bytes));
        Some(match self.send_rate() {
            Some(send_rate) => receive_rate.min(send_rate),
            None => receive_rate,
        })
    }

    /// By how much the longest pause exceeds the second longest. A network that stops once and then
    /// delivers all at once has not become slower; that nothing arrives faster than it was sent bounds the error.
    fn excess_gap(&self) -> Micros {
        let (mut largest, mut second) = (Micros::ZERO, Micros::ZERO);
        let mut previous = None;
        for packet in &self.window {
            let gap = previous.map_or(Micros::ZERO, |previous| packet.arrived - previous);
            previous = Some(packet.arrived);
            if gap > largest {
                (largest, second) = (gap, largest);
            } else if gap > second {
                second = gap;
            }
        }
        largest - second
    }

    fn send_rate(&self) -> Option<Bitrate> {
        let (mut first, mut last, mut last_bytes) = (Micros::NEVER, Micros(i64::MIN), 0);
        let (mut bytes, mut packets) = (0, 0);
        for packet in &self.window {
            // Sent before what the window has dropped: the network changed their order.
            if self.discarded_sent.is_some_and(|discarded| packet.sent < discarded) {
                continue;
            }
            if packet.sent > last {
                (last, last_bytes) = (packet.sent, u64::from(packet.bytes));
            }
            first = first.min(packet.sent);
            bytes += u64::from(packet.bytes);
            packets += 1;
        }
        // The last one's bytes were sent after the span.
        (packets >= REQUIRED_PACKETS).then(|| (last - first).max(Micros::millis(1)).rate_of(bytes - last_bytes))
    }

    fn recent(&self) -> Option<Bitrate> {
        let last = self.window.back()?.arrived;
        let (mut bytes, mut packets, mut first) = (0, 0, last);
        let mut first_bytes = 0;
        for packet in self.window.iter().rev() {
            if last - packet.arrived > RECENT_WINDOW && packets >= RECENT_PACKETS {
                break;
            }
            first = packet.arrived;
            first_bytes = u64::from(packet.bytes);
            bytes += first_bytes;
            packets += 1;
        }
        let span = last - first;
        (packets >= RECENT_PACKETS && span.0 > RECENT_WINDOW.0 / 2).then(|| span.rate_of(bytes - first_bytes))
    }
}

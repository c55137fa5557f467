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
/// Longer than the fastest of the window took: it waited behind another.
const WAITED: Micros = Micros::millis(2);
/// Shorter than this tells of a burst.
const MIN_BUSY: Micros = Micros::millis(30);

/// Twelve bytes, as a connection may keep five hundred.
#[derive(Clone, Copy, Debug)]
struct Packet {
    arrived: ShortTime,
    sent: ShortTime,
    bytes: u32,
}

/// The low 32 bits of a time: tells moments within 35 minutes apart.
#[derive(Clone, Copy, Debug)]
struct ShortTime(u32);

impl ShortTime {
    fn new(time: Micros) -> Self {
        Self(time.0 as u32)
    }

    fn since(self, earlier: Self) -> Micros {
        Micros(i64::from(self.0.wrapping_sub(earlier.0) as i32))
    }
}

#[derive(Clone, Debug, Default)]
pub struct AckedRate {
    /// By time of arrival.
    window: VecDeque<Packet>,
    /// When the youngest packet that has left the window was sent.
    discarded_sent: Option<ShortTime>,
}

/// What arrives, where enough has arrived to say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Over a second.
    pub steady: Option<Bitrate>,
    /// Over the last quarter of a second.
    pub recent: Option<Bitrate>,
    /// While the last packets waited for each other.
    pub busy: Option<Bitrate>,
}

impl Throughput {
    /// What had to be sent for this to arrive over a link that loses this share whatever is sent.
    pub fn before_loss(self, share: f64) -> Self {
        let sent = |rate: Bitrate| rate.times(1.0 / (1.0 - share));
        Self {
            steady: self.steady.map(sent),
            recent: self.recent.map(sent),
            busy: self.busy.map(sent),
        }
    }
}

impl AckedRate {
    pub fn throughput(&self) -> Throughput {
        Throughput {
            steady: self.steady(),
            recent: self.recent(),
            busy: self.busy(),
        }
    }

    /// A packet arrived.
    pub fn on_packet(&mut self, packet: &Acked) {
        let packet = Packet {
            arrived: ShortTime::new(packet.arrived),
            sent: ShortTime::new(packet.sent),
            bytes: u32::from(packet.bytes) + packet.unreported,
        };
        let before = |last: &Packet| last.arrived.since(packet.arrived);
        if self.window.back().is_some_and(|last| before(last) > MAX_REORDERING) {
            self.window.clear();
            self.discarded_sent = None;
        }
        let later = self.window.iter().rev().take_while(|last| before(last) > Micros::ZERO);
        let place = self.window.len() - later.count();
        self.window.insert(place, packet);
        while self.is_first_too_old() {
            self.discard_first();
        }
    }

    fn discard_first(&mut self) {
        let Some(first) = self.window.pop_front() else { return };
        if self
            .discarded_sent
            .is_none_or(|last| first.sent.since(last) > Micros::ZERO)
        {
            self.discarded_sent = Some(first.sent);
        }
    }

    fn is_first_too_old(&self) -> bool {
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else {
            return false;
        };
        let span = last.arrived.since(first.arrived);
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
        let span = last.arrived.since(first.arrived) - self.excess_gap();
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
            let gap = previous.map_or(Micros::ZERO, |previous| packet.arrived.since(previous));
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
        let reference = self.window.front()?.sent;
        let (mut first, mut last, mut last_bytes) = (Micros::NEVER, Micros(i64::MIN), 0);
        let (mut bytes, mut packets) = (0, 0);
        for packet in &self.window {
            // Sent before what the window has dropped: the network changed their order.
            let is_late = |discarded| packet.sent.since(discarded) < Micros::ZERO;
            if self.discarded_sent.is_some_and(is_late) {
                continue;
            }
            let sent = packet.sent.since(reference);
            if sent > last {
                (last, last_bytes) = (sent, u64::from(packet.bytes));
            }
            first = first.min(sent);
            bytes += u64::from(packet.bytes);
            packets += 1;
        }
        // The last one's bytes were sent after the span.
        (packets >= REQUIRED_PACKETS).then(|| (last - first).max(Micros::millis(1)).rate_of(bytes - last_bytes))
    }

    /// Packets that all waited in a queue left it one after the other, as fast as the link carries them.
    fn busy(&self) -> Option<Bitrate> {
        let reference = self.window.front()?;
        let delay = |packet: &Packet| packet.arrived.since(reference.arrived) - packet.sent.since(reference.sent);
        let least = self.window.iter().map(delay).min()?;
        let waited = |packet: &&Packet| delay(packet) - least > WAITED;
        let last = self.window.back()?;
        let (mut bytes, mut packets, mut first) = (0, 0, last);
        for packet in self.window.iter().rev().take_while(waited) {
            first = packet;
            bytes += u64::from(packet.bytes);
            packets += 1;
        }
        let span = last.arrived.since(first.arrived);
        (packets >= RECENT_PACKETS && span > MIN_BUSY).then(|| span.rate_of(bytes - u64::from(first.bytes)))
    }

    fn recent(&self) -> Option<Bitrate> {
        let last = self.window.back()?.arrived;
        let (mut bytes, mut packets, mut first) = (0, 0, last);
        let mut first_bytes = 0;
        for packet in self.window.iter().rev() {
            if last.since(packet.arrived) > RECENT_WINDOW && packets >= RECENT_PACKETS {
                break;
            }
            first = packet.arrived;
            first_bytes = u64::from(packet.bytes);
            bytes += first_bytes;
            packets += 1;
        }
        let span = last.since(first);
        (packets >= RECENT_PACKETS && span.0 > RECENT_WINDOW.0 / 2).then(|| span.rate_of(bytes - first_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ExtendedSeq;

    #[derive(Default)]
    struct Run {
        rate: AckedRate,
        sent: i64,
    }

    impl Run {
        /// Packets of 1,000 bytes sent `gap` ms apart, each arriving by `arrival` of its time of sending.
        fn send(&mut self, packets: u32, gap: i64, arrival: impl Fn(i64) -> i64) {
            for _ in 0..packets {
                self.sent += gap;
                self.rate.on_packet(&Acked {
                    seq: ExtendedSeq(0),
                    sent: Micros::millis(self.sent),
                    arrived: Micros::millis(arrival(self.sent)),
                    bytes: 1_000,
                    probe: None,
                    unreported: 0,
                    was_lost: false,
                });
            }
        }

        fn kbps(&self) -> Option<u64> {
            self.rate.throughput().steady.map(|rate| (rate.0 + 500) / 1_000)
        }
    }

    /// libwebrtc: `goog_cc/robust_throughput_estimator_unittest.cc`, named as there.
    #[test]
    fn steady_rate() {
        let mut run = Run::default();
        run.send(9, 10, |sent| sent + 100);
        assert_eq!(run.kbps(), None, "InitialEstimate");
        run.send(11, 10, |sent| sent + 100);
        assert_eq!(run.kbps(), Some(800), "EstimateAdapts");
        run.send(150, 5, |sent| sent + 100);
        run.send(150, 20, |sent| sent + 100);
        assert_eq!(run.kbps(), Some(400), "EstimateAdapts");
    }

    #[test]
    fn what_arrives_at_once_after_a_pause_is_no_more_than_was_sent() {
        let mut run = Run::default();
        run.send(100, 10, |sent| sent + 100);
        // DelaySpike: half a second late, then all of it at once.
        run.send(50, 10, |sent| (sent + 100).max(1_600) + sent / 1_000);
        run.send(20, 10, |sent| sent + 100);
        assert!((750..=800).contains(&run.kbps().unwrap()), "{:?}", run.kbps());
    }

    #[test]
    fn a_link_that_is_slower_than_the_sender_is_seen_by_what_arrives() {
        let mut run = Run::default();
        run.send(200, 10, |sent| sent * 2);
        assert_eq!(run.kbps(), Some(400), "CappedByReceiveRate");
    }

    #[test]
    fn the_recent_rate_is_there_first() {
        let mut run = Run::default();
        run.send(100, 10, |sent| sent + 100);
        run.send(20, 10, |sent| 1_100 + (sent - 1_000) * 4);
        let throughput = run.rate.throughput();
        assert_eq!(throughput.recent, Some(Bitrate(200_000)));
        assert!(throughput.steady > Some(Bitrate(300_000)), "{throughput:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_begins_a_new_window_and_order_does_not_matter() {
        let mut run = Run::default();
        run.send(50, 10, |sent| sent + 10_000);
        run.send(9, 10, |sent| sent);
        assert_eq!(run.kbps(), None);
        let mut run = Run::default();
        // Pairs swapped.
        run.send(100, 10, |sent| if sent % 20 == 0 { sent + 85 } else { sent + 100 });
        assert_eq!(run.kbps(), Some(800));
    }

    #[test]
    fn the_window_is_bounded() {
        let mut run = Run::default();
        run.send(5_000, 0, |sent| sent);
        assert!(run.rate.window.len() <= MAX_PACKETS + 1);
    }
}

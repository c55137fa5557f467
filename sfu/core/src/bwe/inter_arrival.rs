//! Groups packets into bursts and tells by how much two bursts drew apart on their way
//! (libwebrtc: `goog_cc/inter_arrival_delta.cc`).

use super::time::Micros;

/// Packets sent within this belong together: pacers send in bursts of this length.
const GROUP_LENGTH: Micros = Micros::millis(5);
/// Packets that arrive closer than they were sent were held up together, and count as one burst …
const BURST_GAP: Micros = Micros::millis(5);
/// … of at most this.
const MAX_BURST: Micros = Micros::millis(100);
/// An arrival clock that runs away from ours by this was set anew.
const CLOCK_JUMP: Micros = Micros::secs(3);
/// So many groups that arrive before their predecessor, one after the other: the clock was set back.
const MAX_REORDERED: u32 = 3;

/// How one burst differs from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupDelta {
    pub send: Micros,
    pub arrival: Micros,
}

#[derive(Clone, Debug, Default)]
pub struct InterArrival {
    current: Option<Group>,
    previous: Option<Group>,
    reordered: u32,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: Micros,
    last_sent: Micros,
    first_arrived: Micros,
    last_arrived: Micros,
    /// When feedback told of its last packet, by our clock.
    told: Micros,
}

impl InterArrival {
    /// A packet arrived; a delta where this begins a new burst and two are complete.
    pub fn on_packet(&mut self, sent: Micros, arrived: Micros, now: Micros) -> Option<GroupDelta> {
        let first = Group {
            first_sent: sent,
            last_sent: sent,
            first_arrived: arrived,
            last_arrived: arrived,
            told: now,
        };
        let Some(current) = &mut self.current else {
            self.current = Some(first);
            return None;
        };
        if sent < current.first_sent {
            return None;
        }
        if !current.is_left_by(sent, arrived) {
            current.last_sent = current.last_sent.max(sent);
            current.last_arrived = arrived;
            current.told = now;
            return None;
        }
        let complete = *current;
        let delta = match self.previous {
            Some(previous) => Some(self.delta(previous, complete)?),
            None => None,
        };
        self.previous = Some(complete);
        self.current = Some(first);
        delta
    }

    /// `None` where clocks or order are broken.
    fn delta(&mut self, previous: Group, current: Group) -> Option<GroupDelta> {
        let arrival = current.last_arrived - previous.last_arrived;
        if arrival - (current.told - previous.told) >= CLOCK_JUMP {
            *self = Self::default();
            return None;
        }
        if arrival < Micros::ZERO {
            self.reordered += 1;
            if self.reordered >= MAX_REORDERED {
                *self = Self::default();
            }
            return None;
        }
        self.reordered = 0;
        Some(GroupDelta {
            send: current.last_sent - previous.last_sent,
            arrival,
        })
    }
}

impl Group {
    fn is_left_by(&self, sent: Micros, arrived: Micros) -> bool {
        let send_gap = sent - self.last_sent;
        let arrival_gap = arrived - self.last_arrived;
        let held_up_together = send_gap == Micros::ZERO
            || (arrival_gap < send_gap && arrival_gap <= BURST_GAP && arrived - self.first_arrived < MAX_BURST);
        !held_up_together && sent - self.first_sent > GROUP_LENGTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets as (sent, arrived, told) in ms; the deltas as (send, arrival).
    fn deltas(packets: &[(i64, i64, i64)]) -> Vec<(i64, i64)> {
        let mut inter_arrival = InterArrival::default();
        let ms = Micros::millis;
        let deltas = packets
            .iter()
            .filter_map(|&(sent, arrived, told)| inter_arrival.on_packet(ms(sent), ms(arrived), ms(told)));
        deltas
            .map(|delta| (delta.send.0 / 1_000, delta.arrival.0 / 1_000))
            .collect()
    }

    /// After libwebrtc's `remote_bitrate_estimator/inter_arrival_unittest.cc`.
    #[test]
    fn groups_bursts_and_compares_them() {
        for (name, packets, expected) in [
            (
                "a group each, told with the third",
                &[(0, 100, 110), (20, 125, 130), (40, 145, 150), (60, 165, 170)][..],
                &[(20, 25), (20, 20)][..],
            ),
            (
                "packets within 5 ms are one group, from last to last",
                &[
                    (0, 100, 110),
                    (4, 106, 110),
                    (20, 130, 140),
                    (24, 137, 140),
                    (40, 150, 160),
                ],
                &[(20, 31)],
            ),
            (
                "what was held up together is one group though it was sent apart",
                &[
                    (0, 100, 110),
                    (20, 150, 160),
                    (40, 151, 160),
                    (60, 152, 160),
                    (80, 180, 190),
                    (100, 200, 210),
                ],
                &[(60, 52), (20, 28)],
            ),
            (
                "a packet sent before the group is not of it",
                &[(0, 100, 110), (20, 120, 130), (10, 121, 130), (40, 140, 150)],
                &[(20, 20)],
            ),
            (
                "an arrival clock that jumps starts anew",
                &[
                    (0, 100, 110),
                    (20, 5_000, 130),
                    (40, 5_020, 150),
                    (60, 5_040, 170),
                    (80, 5_060, 190),
                ],
                &[],
            ),
        ] {
            assert_eq!(deltas(packets), expected, "{name}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_starts_anew_after_three_groups() {
        let mut packets = vec![(0, 10_000, 10_010), (20, 10_020, 10_030)];
        packets.extend((2..12).map(|n| (n * 20, 1_000 + n * 20, 10_030 + n * 20)));
        assert_eq!(deltas(&packets).last(), Some(&(20, 20)));
    }
}

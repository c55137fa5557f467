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

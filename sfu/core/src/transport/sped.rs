//! DTLS inside STUN (draft-hancke-webrtc-sped; libwebrtc's `WebRTC-IceHandshakeDtls`): datagrams of the handshake ride on the
//! client's checks and our answers, which saves it the round trips before DTLS, and repeats what is lost as often as it checks.
//! Whether a client does so its first check says.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::stun::{Embedded, MAX_ACKS, crc32};

/// Datagrams of one flight that may ride. The usual one is alone.
const MAX_PENDING: usize = 4;
/// XOR-MAPPED-ADDRESS of IPv6, four acknowledgements and the attribute's own header, in front of the datagram.
const OVERHEAD: usize = 24 + 20 + 4 + 3;
/// Longer datagrams go by themselves.
const MAX_DATAGRAM: usize = super::stun::MAX_BODY - OVERHEAD;
/// A datagram rides again if the client checks and so much time has passed, where the round trip is not known.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(150);
/// Acknowledgements go on so long after the handshake, unless media comes: the client may still need the last.
const LINGER: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No check has come.
    Unknown,
    On,
    Off,
}

struct Pending {
    datagram: Vec<u8>,
    crc: u32,
    said_at: Option<Instant>,
}

pub(super) struct Sped {
    state: State,
    /// Of the latest datagrams that came.
    received: ArrayVec<u32, MAX_ACKS>,
    pending: Vec<Pending>,
    keys_at: Option<Instant>,
}

impl Sped {
    pub fn new() -> Self {
        Self {
            state: State::Unknown,
            received: ArrayVec::new(),
            pending: Vec::new(),
            keys_at: None,
        }
    }

    /// What an authentic check, or the answer to one of ours, brought.
    pub fn on_message(&mut self, now: Instant, embedded: &Embedded<'_>) {
        if self.state == State::Unknown {
            self.state = match (embedded.dtls, &embedded.acks) {
                (None, None) => State::Off,
                _ => State::On,
            };
        }
        if self.keys_at.is_some_and(|at| now >= at + LINGER) {
            self.end();
        }
        if let Some(acks) = &embedded.acks {
            self.pending.retain(|pending| !acks.contains(&pending.crc));
        }
    }

    /// A datagram came, inside STUN or by itself.
    pub fn on_datagram(&mut self, datagram: &[u8]) {
        let crc = crc32(datagram);
        if self.state != State::On || self.received.contains(&crc) {
            return;
        }
        if self.received.is_full() {
            self.received.remove(0);
        }
        self.received.push(crc);
    }

    /// A new flight: what is left of the one before nobody needs any more.
    pub fn begin_flight(&mut self) {
        self.pending.clear();
    }

    pub fn push(&mut self, datagram: &[u8]) {
        if self.state == State::On && datagram.len() <= MAX_DATAGRAM && self.pending.len() < MAX_PENDING {
            self.pending.push(Pending {
                datagram: datagram.to_vec(),
                crc: crc32(datagram),
                said_at: None,
            });
        }
    }

    /// `None`: nothing is said of it.
    pub fn acks(&self) -> Option<ArrayVec<u32, MAX_ACKS>> {
        (self.state == State::On).then(|| self.received.clone())
    }

    /// The datagram that the next answer may carry: the one said longest ago, if that is a round trip ago.
    pub fn due(&self, now: Instant, round_trip: Option<Duration>) -> Option<&[u8]> {
        let pause = round_trip.map_or(UNKNOWN_ROUND_TRIP, |round_trip| round_trip * 5 / 4);
        let next = self.pending.iter().min_by_key(|pending| pending.said_at)?;
        let is_due = next.said_at.is_none_or(|at| now >= at + pause);
        is_due.then_some(next.datagram.as_slice())
    }

    /// It went, inside an answer or by itself.
    pub fn on_said(&mut self, now: Instant, datagram: &[u8]) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.datagram == datagram) {
            pending.said_at = Some(now);
        }
    }

    pub fn on_keys(&mut self, now: Instant) {
        self.keys_at.get_or_insert(now);
    }

    /// Both sides have keys, or one has given up.
    pub fn end(&mut self) {
        self.state = State::Off;
        self.received.clear();
        self.pending = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn embedded(acks: Option<&[u32]>) -> Embedded<'static> {
        Embedded {
            dtls: None,
            acks: acks.map(|acks| acks.iter().copied().collect()),
        }
    }

    #[test]
    fn the_first_message_decides() {
        let now = Instant::now();
        for (first, on) in [
            (embedded(None), false),
            (embedded(Some(&[])), true),
            (
                Embedded {
                    dtls: Some(&[22]),
                    acks: None,
                },
                true,
            ),
        ] {
            let mut sped = Sped::new();
            assert_eq!(sped.acks(), None);
            sped.on_message(now, &first);
            sped.on_message(now, &embedded(Some(&[])));
            assert_eq!(sped.acks().is_some(), on, "{first:?}");
        }
    }

    #[test]
    fn datagrams_ride_by_turns_until_they_are_acknowledged() {
        let now = Instant::now();
        let mut sped = Sped::new();
        sped.on_message(now, &embedded(Some(&[])));
        let flight = [[22; 600], [23; 600]];
        for datagram in &flight {
            sped.push(datagram);
        }
        sped.push(&[22; MAX_DATAGRAM + 1]);
        let mut ride = |ms: u32| {
            let at = now + ms * MS;
            let due = sped.due(at, Some(100 * MS)).map(<[u8]>::to_vec);
            if let Some(due) = &due {
                sped.on_said(at, due);
            }
            due.map(|due| due[0])
        };
        assert_eq!(
            [0, 10, 20, 125, 126, 135].map(&mut ride),
            [Some(22), Some(23), None, Some(22), None, Some(23)]
        );
        sped.on_message(now, &embedded(Some(&[7, crc32(&flight[0])])));
        assert_eq!(sped.due(now + 500 * MS, None), Some(&flight[1][..]));
        sped.begin_flight();
        assert_eq!(sped.due(now + 500 * MS, None), None);
    }

    #[test]
    fn the_latest_four_are_acknowledged_once_each_and_for_a_while() {
        let now = Instant::now();
        let mut sped = Sped::new();
        sped.on_datagram(&[0]);
        sped.on_message(now, &embedded(Some(&[])));
        for number in [1, 2, 3, 3, 4, 5] {
            sped.on_datagram(&[number]);
        }
        let expected: ArrayVec<u32, MAX_ACKS> = (2..=5).map(|number| crc32(&[number])).collect();
        assert_eq!(sped.acks(), Some(expected));
        sped.on_keys(now);
        sped.on_message(now + LINGER - MS, &embedded(Some(&[])));
        assert!(sped.acks().is_some());
        sped.on_message(now + LINGER, &embedded(Some(&[])));
        assert_eq!(sped.acks(), None);
    }
}

//! The last flight of a DTLS 1.2 server, which nothing acknowledges: where it is lost, the client repeats its own after
//! times that double, and gets it again no sooner (RFC 6347, section 4.2.4). So it is sent again until media shows that the
//! client has keys: the same datagrams, which whoever got them drops as replayed (section 4.1.2.6).

use std::time::Instant;

use super::retransmission::Retransmission;

/// Of these datagrams; there is one of 75 bytes.
const MAX_DATAGRAMS: usize = 4;
/// After so many it comes through over a link that loses every third packet, or never.
const MAX_TRIES: u8 = 8;

#[derive(Default)]
pub(super) struct FinalFlight {
    state: State,
    datagrams: Vec<Vec<u8>>,
    /// What is still to be polled of the current try.
    waiting: usize,
    tries: u8,
    due: Option<Instant>,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    /// What is sent may be of the last flight.
    #[default]
    Open,
    Whole,
    /// Nobody needs it.
    Done,
}

impl FinalFlight {
    /// A datagram was sent.
    pub fn on_sent(&mut self, datagram: &[u8]) {
        if self.state == State::Open && self.datagrams.len() < MAX_DATAGRAMS {
            self.datagrams.push(datagram.to_vec());
        }
    }

    /// What was sent so far was of an earlier flight.
    pub fn on_received(&mut self) {
        if self.state == State::Open {
            self.datagrams.clear();
        }
    }

    /// What was sent since [`Self::on_received`] is the last flight. Only the first call counts.
    pub fn begin(&mut self, now: Instant, timer: &Retransmission) {
        if self.state == State::Open {
            self.state = State::Whole;
            self.due = Some(now + timer.interval(0));
        }
    }

    /// The client has keys, or needs none of this.
    pub fn end(&mut self) {
        *self = Self {
            state: State::Done,
            ..Self::default()
        };
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub fn handle_timeout(&mut self, now: Instant, timer: &Retransmission) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.tries += 1;
        self.waiting = self.datagrams.len();
        self.due = (self.tries < MAX_TRIES).then(|| now + timer.interval(u32::from(self.tries)));
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.waiting = self.waiting.checked_sub(1)?;
        let at = self.datagrams.len() - 1 - self.waiting;
        self.datagrams.get(at).cloned()
    }
}

//! What a downtrack has sent lately: enough to send the same packet again.

use std::time::{Duration, Instant};

use crate::units::ExtendedSeq;

/// A packet is not sent again twice within this time: the second NACK crossed the first answer.
const RESEND_INTERVAL: Duration = Duration::from_millis(25);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub out: ExtendedSeq,
    pub source: ExtendedSeq,
    pub layer: u8,
    /// Which source the slot had; packets of an earlier one are no longer at hand.
    pub generation: u8,
    pub timestamp: u32,
    pub vp8_picture_id: u16,
    pub vp8_tl0_pic_idx: u8,
    /// Bytes of RTP padding; a plain retransmission must be equal to the bit (it reuses the SRTP nonce).
    pub padding: u8,
    resent: Option<Instant>,
}

impl Sent {
    pub fn new(out: ExtendedSeq, source: ExtendedSeq, layer: u8, generation: u8, timestamp: u32) -> Self {
        Self {
            out,
            source,
            layer,
            generation,
            timestamp,
            vp8_picture_id: 0,
            vp8_tl0_pic_idx: 0,
            padding: 0,
            resent: None,
        }
    }
}

/// A ring by outgoing sequence number; allocated with the first packet.
#[derive(Debug)]
pub struct History {
    entries: Vec<Option<Sent>>,
    capacity: usize,
}

impl History {
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            capacity: capacity.next_power_of_two(),
        }
    }

    pub fn insert(&mut self, sent: Sent) {
        if self.entries.is_empty() {
            self.entries.resize(self.capacity, None);
        }
        let index = sent.out.0 as usize & (self.capacity - 1);
        self.entries[index] = Some(sent);
    }

    /// The packet that a NACK of `seq` means, near `latest`; `None` where it is forgotten or was
    /// resent just now.
    pub fn resend(&mut self, now: Instant, latest: ExtendedSeq, seq: u16) -> Option<Sent> {
        let out = latest.nearest(seq);
        let index = out.0 as usize & (self.capacity - 1);
        let sent = self.entries.get_mut(index)?.as_mut().filter(|sent| sent.out == out)?;
        if sent
            .resent
            .is_some_and(|last| now.saturating_duration_since(last) < RESEND_INTERVAL)
        {
            return None;
        }
        sent.resent = Some(now);
        Some(*sent)
    }

    pub fn clear(&mut self) {
        self.entries = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_was_sent_across_a_wrap_and_not_twice_at_once() {
        let now = Instant::now();
        let mut history = History::new(16);
        for out in 65_530..65_542 {
            history.insert(Sent::new(ExtendedSeq(out), ExtendedSeq(out + 7), 0, 0, 1));
        }
        let latest = ExtendedSeq(65_541);
        assert_eq!(
            history.resend(now, latest, 2).map(|sent| sent.source),
            Some(ExtendedSeq(65_545))
        );
        assert_eq!(
            history.resend(now, latest, 65_531).map(|sent| sent.source),
            Some(ExtendedSeq(65_538))
        );
        assert_eq!(history.resend(now, latest, 65_531), None);
        assert!(history.resend(now + RESEND_INTERVAL, latest, 65_531).is_some());
        assert_eq!(history.resend(now, latest, 7), None);
        assert_eq!(history.resend(now, latest, 65_500), None);
    }
}

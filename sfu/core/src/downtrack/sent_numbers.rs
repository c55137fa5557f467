//! From RTP sequence numbers of a slot, by which feedback of RFC 8888 goes, to the numbers of packets among all that the
//! client is sent, by which the estimator goes.

use super::SlotFormat;
use super::stamp::Stamp;
use crate::negotiated::MediaKind;

/// A second of 10 Mbit/s, a second of voice and more, and the padding of a probe. Powers of two.
const VIDEO: usize = 1_024;
const AUDIO: usize = 128;
const RETRANSMISSIONS: usize = 512;

/// Of a stream and of its retransmissions.
#[derive(Debug)]
pub(super) struct SentNumbers {
    media: Ring,
    rtx: Ring,
}

impl SentNumbers {
    /// `None` where feedback goes by something else.
    pub fn of(format: &SlotFormat, kind: MediaKind) -> Option<Box<Self>> {
        let media = match kind {
            MediaKind::Audio => AUDIO,
            MediaKind::Video => VIDEO,
        };
        let rtx = if format.rtx().is_some() { RETRANSMISSIONS } else { 1 };
        let is_needed = format.feedback() == Some(Stamp::Rtp);
        is_needed.then(|| {
            Box::new(Self {
                media: Ring::new(media),
                rtx: Ring::new(rtx),
            })
        })
    }

    pub fn insert(&mut self, is_rtx: bool, seq: u16, number: u16) {
        let ring = if is_rtx { &mut self.rtx } else { &mut self.media };
        ring.insert(seq, number);
    }

    /// `None` of what was never sent or is forgotten.
    pub fn find(&self, is_rtx: bool, seq: u16) -> Option<u16> {
        let ring = if is_rtx { &self.rtx } else { &self.media };
        ring.find(seq)
    }
}

/// The latest packets, each at the place that its sequence number tells.
#[derive(Debug)]
struct Ring(Box<[Option<Sent>]>);

#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: u16,
    number: u16,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self(vec![None; capacity].into_boxed_slice())
    }

    fn place(&self, seq: u16) -> usize {
        usize::from(seq) & (self.0.len() - 1)
    }

    fn insert(&mut self, seq: u16, number: u16) {
        let place = self.place(seq);
        self.0[place] = Some(Sent { seq, number });
    }

    fn find(&self, seq: u16) -> Option<u16> {
        let sent = self.0[self.place(seq)].filter(|sent| sent.seq == seq)?;
        Some(sent.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest_across_wraps() {
        let mut ring = Ring::new(16);
        for sent in 0..70_000_u32 {
            ring.insert(sent as u16, (sent * 3) as u16);
        }
        for (seq, known) in [(69_983_u32, false), (69_984, true), (69_999, true), (70_000, false)] {
            let expected = known.then_some((seq * 3) as u16);
            assert_eq!(ring.find(seq as u16), expected, "{seq}");
        }
        assert_eq!(Ring::new(1).find(0), None);
    }
}

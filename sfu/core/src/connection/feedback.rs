//! RTCP that a connection sends: reports, NACKs, key frame requests and transport-wide feedback to
//! the publisher in it, sender reports to the subscriber in it.

use std::time::{Duration, Instant};

use super::Connection;
use crate::counters::Counters;
use crate::negotiated::MediaKind;
use crate::packet::rtcp::{ReportBlock, write};
use crate::track::Track;
use crate::units::Ssrc;

/// Reports go about once a second, as browsers send theirs.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often missing packets are looked for while any is missing.
pub(super) const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// Room for a compound packet that still fits a 1,200-byte MTU with SRTCP's trailer.
pub(super) const RTCP_CAPACITY: usize = 1_100;
/// Round-trip time assumed for NACK retries: publishers get no sender reports that would tell it.
const ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(100);

/// Appends packets to a buffer for as long as they fit.
struct Compound<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Compound<'_> {
    fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        match write(&mut self.buffer[self.len..]) {
            Some(len) => {
                self.len += len;
                true
            }
            None => false,
        }
    }
}

impl Connection {
    /// Writes the RTCP that is due into `buffer`; its length, 0 if none is.
    pub(crate) fn poll_feedback(&mut self, now: Instant, buffer: &mut [u8], counters: &mut Counters) -> usize {
        let capacity = buffer.len().min(RTCP_CAPACITY);
        let mut compound = Compound {
            buffer: &mut buffer[..capacity],
            len: 0,
        };
        let report_due = !self.uptracks.is_empty() && self.next_report.is_none_or(|next| next <= now);
        if report_due {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.push_receiver_reports(now, &mut compound);
        }
        let before = compound.len;
        self.push_nacks(now, &mut compound, counters);
        self.push_keyframe_requests(&mut compound);
        self.push_transport_feedback(now, &mut compound);
        if compound.len > before && before == 0 && !self.reduced_size_rtcp {
            // Without reduced-size RTCP (RFC 5506) a compound begins with a report.
            let len = compound.len;
            let head = 8 + self.sdes_len();
            if len + head <= capacity {
                compound.buffer.copy_within(..len, head);
                let mut start = Compound {
                    buffer: &mut compound.buffer[..head],
                    len: 0,
                };
                let ssrc = self.rtcp_ssrc;
                start.push(|out| write::receiver_report(ssrc, &[], out));
                start.push(|out| write::sdes_cname(ssrc, CNAME, out));
                return len + head;
            }
        }
        compound.len
    }

    /// When [`Self::poll_feedback`] has something to send, as things stand.
    pub(crate) fn feedback_timeout(&self) -> Option<Instant> {
        let layers = self.uptracks.iter().flat_map(|uptrack| &uptrack.layers);
        let nack = layers.filter_map(|layer| layer.nack.poll_timeout()).min();
        // Not before the time at which missing packets are looked at again.
        let nack = nack.map(|due| self.next_nack.map_or(due, |next| next.max(due)));
        let times = [nack, self.twcc.poll_timeout(), self.next_report];
        times.into_iter().flatten().min()
    }

    fn sdes_len(&self) -> usize {
        // Header, SSRC, item head, text, at least one zero; a multiple of four.
        (4 + 4 + 2 + CNAME.len() + 1).next_multiple_of(4)
    }

    fn push_receiver_reports(&mut self, now: Instant, compound: &mut Compound<'_>) {
        let ssrc = self.rtcp_ssrc;
        let mut blocks: arrayvec::ArrayVec<ReportBlock, { write::MAX_BLOCKS }> = arrayvec::ArrayVec::new();
        for layer in self.uptracks.iter_mut().flat_map(|uptrack| &mut uptrack.layers) {
            if !blocks.is_full()
                && let Some(block) = layer.stream.as_mut().and_then(|stream| stream.report_block(now))
            {
                blocks.push(block);
            }
        }
        compound.push(|out| write::receiver_report(ssrc, &blocks, out));
        compound.push(|out| write::sdes_cname(ssrc, CNAME, out));
    }

    fn push_nacks(&mut self, now: Instant, compound: &mut Compound<'_>, counters: &mut Counters) {
        if self.next_nack.is_some_and(|next| now < next) {
            return;
        }
        self.next_nack = Some(now + NACK_INTERVAL);
        let sender = self.rtcp_ssrc;
        for uptrack in &mut self.uptracks {
            if !uptrack.feedback().nack {
                continue;
            }
            for (index, layer) in (0u8..).zip(&mut uptrack.layers) {
                let Some(media) = layer.ssrc else { continue };
                let batch = layer.nack.poll(now, ASSUMED_ROUND_TRIP);
                if !batch.is_empty() && compound.push(|out| write::nack(sender, media, batch.iter().copied(), out)) {
                    counters.nacked_packets_sent += batch.len() as u64;
                }
                if uptrack.kind == MediaKind::Video && layer.nack.needs_keyframe() {
                    self.lost_keyframes.push((uptrack.track, index));
                }
            }
        }
    }

    fn push_keyframe_requests(&mut self, compound: &mut Compound<'_>) {
        let sender = self.rtcp_ssrc;
        for (media, pli) in self.keyframe_requests.drain(..) {
            self.fir_seq = self.fir_seq.wrapping_add(u8::from(!pli));
            let seq = self.fir_seq;
            compound.push(|out| match pli {
                true => write::pli(sender, media, out),
                false => write::fir(sender, media, seq, out),
            });
        }
    }

    fn push_transport_feedback(&mut self, now: Instant, compound: &mut Compound<'_>) {
        let mut layers = self.uptracks.iter().flat_map(|uptrack| &uptrack.layers);
        let Some(media) = layers.find_map(|layer| layer.ssrc) else {
            return;
        };
        let sender = self.rtcp_ssrc;
        let twcc = &mut self.twcc;
        // What does not fit stays due for the next tick.
        while compound.push(|out| twcc.poll(now, out, sender, media)) {}
    }

    /// Asks the publisher for a key frame of one layer; goes out with the next feedback. False
    /// where the layer has not been heard of yet or takes no such requests.
    pub(crate) fn request_keyframe(&mut self, uptrack: usize, layer: u8) -> bool {
        let Some(uptrack) = self.uptracks.get(uptrack) else {
            return false;
        };
        let feedback = uptrack.feedback();
        let Some(ssrc) = uptrack.layers.get(usize::from(layer)).and_then(|layer| layer.ssrc) else {
            return false;
        };
        if !(feedback.pli || feedback.fir) {
            return false;
        }
        if !self.keyframe_requests.iter().any(|&(pending, _)| pending == ssrc) {
            let _ = self.keyframe_requests.try_push((ssrc, feedback.pli));
        }
        true
    }

    /// Writes the sender report of a slot, if it is due, with its CNAME.
    pub(crate) fn poll_sender_report(
        &mut self,
        now: Instant,
        slot: usize,
        track: &Track,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let ntp = self.ntp.at(now);
        let slot = self.slots.get_mut(slot)?;
        let info = slot.poll_report(now, ntp, track)?;
        let mut compound = Compound { buffer, len: 0 };
        compound.push(|out| write::sender_report(slot.ssrc, &info, &[], out));
        compound.push(|out| write::sdes_cname(slot.ssrc, CNAME, out));
        Some(compound.len)
    }
}

/// One canonical name for all that this server sends (RFC 3550, section 6.5.1).
pub const CNAME: &str = "tianqiao";

/// SSRC under which a connection sends feedback without sending media; browsers accept any.
pub(super) fn feedback_ssrc(id: crate::units::ConnectionId) -> Ssrc {
    Ssrc(id.0 | 1)
}

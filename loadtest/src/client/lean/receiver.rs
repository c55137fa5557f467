//! The received streams: what the sink is shown of them, what reports and feedback say of them.

use std::time::{Duration, Instant};

use tianqiao_protocol::MediaKind;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::negotiated::ExtensionIds;
use tianqiao_sfu_core::packet::extensions::ExtensionValues;
use tianqiao_sfu_core::packet::rtcp::{ReportBlock, SenderInfo};
use tianqiao_sfu_core::packet::rtp::RtpHeader;
use tianqiao_sfu_core::packet::rtx;
use tianqiao_sfu_core::twcc::FeedbackGenerator;
use tianqiao_sfu_core::units::Ssrc;

use super::stream::{Arrival, ReceiveStream};
use crate::client::peer::{MediaSink, ReceivedRtp};

/// Streams that are kept track of, whatever the server sends.
const MAX_STREAMS: usize = 256;

/// What a payload type carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Payload {
    #[default]
    Unknown,
    Media(MediaKind),
    /// Retransmissions of the payload type.
    Rtx(u8),
}

/// What the server should be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Keyframe { ssrc: u32 },
    Packets { ssrc: u32, seqs: Vec<u16> },
}

pub(super) struct Receiver {
    payloads: [Payload; 128],
    /// SSRCs of RTX streams and of what they repair.
    repairs: Vec<(u32, u32)>,
    streams: Vec<ReceiveStream>,
    /// Where the last packet's stream is: mostly where the next one's is.
    last: usize,
    repair: bool,
    /// Not later than the first wish.
    next_wish: Option<Instant>,
    /// Where a packet's transport-wide sequence number is; nowhere unless that was negotiated.
    extensions: Option<ExtensionIds>,
    arrivals: FeedbackGenerator,
}

impl Receiver {
    /// `repair`: asks for lost packets.
    pub fn new(repair: bool) -> Self {
        Self {
            payloads: [Payload::Unknown; 128],
            repairs: Vec::new(),
            streams: Vec::new(),
            last: 0,
            repair,
            next_wish: None,
            extensions: None,
            arrivals: FeedbackGenerator::new(),
        }
    }

    /// `id` of the header extension.
    pub fn set_transport_cc(&mut self, id: Option<u8>) {
        self.extensions = id.map(|id| ExtensionIds {
            transport_cc: Some(id),
            ..Default::default()
        });
    }

    pub fn set_payload(&mut self, payload_type: u8, payload: Payload) {
        self.payloads[usize::from(payload_type & 0x7f)] = payload;
    }

    pub fn add_repairs(&mut self, repairs: &[(u32, u32)]) {
        for (ssrc, rtx) in repairs {
            if !self.repairs.contains(&(*rtx, *ssrc)) && self.repairs.len() < MAX_STREAMS {
                self.repairs.push((*rtx, *ssrc));
            }
        }
    }

    /// Takes a decrypted packet.
    ///
    /// # Errors
    /// Why the sink was not shown it.
    pub fn on_rtp(&mut self, at: Instant, packet: &[u8], sink: &mut dyn MediaSink) -> Result<(), DropReason> {
        let header = RtpHeader::parse(packet)?;
        if let Some(ids) = &self.extensions
            && let Some(seq) = ExtensionValues::parse(ids, &header, packet).transport_cc
        {
            self.arrivals.on_packet(at, seq);
        }
        let mut payload = header.payload_range(packet)?;
        let (mut ssrc, mut seq, mut payload_type) = (header.ssrc.0, header.seq, header.payload_type);
        let mut is_repair = false;
        if let Payload::Rtx(apt) = self.payload(payload_type) {
            (seq, payload) = rtx::read_payload(packet, payload)?;
            ssrc = self.repaired(ssrc)?;
            payload_type = apt;
            is_repair = true;
        }
        let Payload::Media(kind) = self.payload(payload_type) else {
            return Err(DropReason::RtpUnknownPayloadType);
        };
        let repair = self.repair;
        let arrival = Arrival {
            at,
            seq,
            timestamp: header.timestamp,
            is_repair,
        };
        let stream = self.stream(ssrc, kind, repair, &arrival)?;
        let wish = stream.on_packet(&arrival, &packet[payload.clone()]);
        if let Some(due) = wish {
            self.next_wish = Some(self.next_wish.map_or(due, |next| next.min(due)));
        }
        if payload.is_empty() {
            return Err(DropReason::RtpPadding);
        }
        sink.on_rtp(ReceivedRtp {
            at,
            ssrc,
            csrc: header.csrcs(packet).next().map(|csrc| csrc.0),
            payload_type,
            sequence_number: seq,
            timestamp: header.timestamp,
            marker: header.marker,
            payload: &packet[payload],
        });
        Ok(())
    }

    fn payload(&self, payload_type: u8) -> Payload {
        self.payloads[usize::from(payload_type & 0x7f)]
    }

    fn repaired(&self, rtx: u32) -> Result<u32, DropReason> {
        let repair = self.repairs.iter().find(|(ssrc, _)| *ssrc == rtx);
        repair.map(|(_, ssrc)| *ssrc).ok_or(DropReason::RtpUnknownSsrc)
    }

    fn stream(
        &mut self,
        ssrc: u32,
        kind: MediaKind,
        repair: bool,
        arrival: &Arrival,
    ) -> Result<&mut ReceiveStream, DropReason> {
        if self.streams.get(self.last).is_none_or(|stream| stream.ssrc() != ssrc) {
            let known = self.streams.iter().position(|stream| stream.ssrc() == ssrc);
            self.last = match known {
                Some(index) => index,
                None if self.streams.len() < MAX_STREAMS => {
                    self.streams.push(ReceiveStream::new(ssrc, kind, repair, arrival));
                    self.streams.len() - 1
                }
                None => return Err(DropReason::LimitReached),
            };
        }
        Ok(&mut self.streams[self.last])
    }

    pub fn on_sender_report(&mut self, now: Instant, ssrc: Ssrc, info: &SenderInfo) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc() == ssrc.0) {
            stream.on_sender_report(now, info);
        }
    }

    /// A block for each stream that was heard since the last call.
    pub fn report(&mut self, now: Instant) -> impl Iterator<Item = ReportBlock> {
        self.streams.iter_mut().filter_map(move |stream| stream.report(now))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_wish.into_iter().chain(self.arrivals.poll_timeout()).min()
    }

    /// Which packets came when, if it is time to say so; its length in `buffer`.
    pub fn poll_arrivals(&mut self, now: Instant, buffer: &mut [u8], sender: Ssrc) -> Option<usize> {
        self.arrivals.poll(now, buffer, sender, Ssrc(0))
    }

    /// What is due.
    pub fn poll_wishes(&mut self, now: Instant, rtt: Duration, mut ask: impl FnMut(Wish)) {
        if self.next_wish.is_none_or(|due| due > now) {
            return;
        }
        self.next_wish = None;
        for stream in &mut self.streams {
            let next = stream.poll_wishes(now, rtt, &mut ask);
            self.next_wish = self.next_wish.into_iter().chain(next).min();
        }
    }
}

#[cfg(test)]
mod tests {
    use tianqiao_sfu_core::packet::extensions::ExtensionWriter;
    use tianqiao_sfu_core::packet::rtcp::{RtcpPacket, RtcpPackets};
    use tianqiao_sfu_core::packet::rtp::{FIXED_HEADER_LEN, set_extension_bit};

    use super::*;
    use crate::client::NoSink;

    const TRANSPORT_CC: u8 = 3;
    const AUDIO: u8 = 111;

    fn packet(seq: u16) -> Vec<u8> {
        let mut packet = vec![0; FIXED_HEADER_LEN + 32];
        packet[..4].copy_from_slice(&[0x80, AUDIO, (seq >> 8) as u8, seq as u8]);
        let mut extensions = ExtensionWriter::new(&mut packet[FIXED_HEADER_LEN..]);
        extensions.push(TRANSPORT_CC, &seq.to_be_bytes());
        let len = extensions.finish();
        set_extension_bit(&mut packet);
        packet.truncate(FIXED_HEADER_LEN + len);
        packet.push(0xaa);
        packet
    }

    /// The transport-wide numbers that are told of when 7, 8 and 10 have come.
    fn told(receiver: &mut Receiver) -> Vec<u16> {
        let start = Instant::now();
        receiver.set_payload(AUDIO, Payload::Media(MediaKind::Audio));
        for seq in [7, 8, 10] {
            receiver.on_rtp(start, &packet(seq), &mut NoSink).unwrap();
        }
        let mut buffer = [0; 1200];
        let Some(due) = receiver.poll_timeout() else {
            return vec![];
        };
        let len = receiver.poll_arrivals(due, &mut buffer, Ssrc(1)).unwrap();
        let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = RtcpPackets::new(&buffer[..len]).next() else {
            panic!("not a transport feedback");
        };
        feedback.received().map(|arrival| arrival.seq).collect()
    }

    #[test]
    fn arrivals_are_told_where_that_was_negotiated() {
        let mut receiver = Receiver::new(false);
        receiver.set_transport_cc(Some(TRANSPORT_CC));
        assert_eq!(told(&mut receiver), [7, 8, 10]);
        assert!(told(&mut Receiver::new(false)).is_empty());
    }
}

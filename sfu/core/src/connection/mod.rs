//! One client: orders its transport, the tracks that it publishes and the slots that it receives.

mod feedback;
mod publisher_clock;
mod streams;

use std::ops::Range;
use std::time::Instant;

use arrayvec::ArrayVec;

use crate::downtrack::{Downtrack, Retired, SlotFormat};
use crate::drop_reason::DropReason;
use crate::negotiated::{ExtensionIds, Negotiated};
use crate::ntp::NtpClock;
use crate::packet::extensions::ExtensionValues;
use crate::packet::payload;
use crate::packet::rtcp::SenderInfo;
use crate::packet::rtp::RtpHeader;
use crate::packet::rtx;
use crate::pool::PacketInfo;
use crate::track::MappedReport;
use crate::transport::Transport;
use crate::twcc::FeedbackGenerator;
use crate::units::{ConnectionId, Mid, Ssrc, TrackId};
use crate::uptrack::Uptrack;
use crate::worker_api::PublishedTrack;

use publisher_clock::PublisherClock;
use streams::Streams;

/// Retransmissions a second that a subscriber may ask for; beyond it, it is flooding us.
const RETRANSMISSION_BUDGET: u32 = 2_000;

/// SSRCs of slots that ended: the answerer gives none that is new while one is free, so there are no more
/// than two answers have slots. Past it no slot begins under an SSRC that is new.
const MAX_RETIRED: usize = 1_024;

/// Key frame requests that wait for the next feedback.
const MAX_KEYFRAME_REQUESTS: usize = 32;

pub struct Connection {
    pub id: ConnectionId,
    pub transport: Transport,
    pub uptracks: Vec<Uptrack>,
    pub slots: Vec<Downtrack>,
    /// Streams of slots that are gone: their numbers must not be used again under the same keys.
    retired: Vec<Retired>,
    streams: Streams,
    extensions: ExtensionIds,
    reduced_size_rtcp: bool,
    rtcp_ssrc: Ssrc,
    ntp: NtpClock,
    clock: PublisherClock,
    twcc: FeedbackGenerator,
    next_report: Option<Instant>,
    next_nack: Option<Instant>,
    fir_seq: u8,
    keyframe_requests: ArrayVec<(Ssrc, bool), MAX_KEYFRAME_REQUESTS>,
    /// Layers that lost more than NACK can repair, until the worker has asked for key frames.
    pub(crate) lost_keyframes: Vec<(TrackId, u8)>,
    retransmission_budget: u32,
    budget_since: Instant,
}

/// A decrypted media packet, its fields read; `payload` and `descriptor` are ranges of the datagram.
#[derive(Clone, Debug)]
pub struct Received {
    /// Index of the track in the worker's router.
    pub route: usize,
    pub info: PacketInfo,
    pub payload: Range<usize>,
    pub descriptor: Range<usize>,
}

impl Connection {
    pub fn new(
        id: ConnectionId,
        transport: Transport,
        negotiated: &Negotiated,
        tracks: &[PublishedTrack],
        ntp: NtpClock,
        now: Instant,
    ) -> Self {
        let mut connection = Self {
            id,
            transport,
            uptracks: Vec::new(),
            slots: Vec::new(),
            retired: Vec::new(),
            streams: Streams::default(),
            extensions: ExtensionIds::default(),
            reduced_size_rtcp: true,
            rtcp_ssrc: feedback::feedback_ssrc(id),
            ntp,
            clock: PublisherClock::default(),
            twcc: FeedbackGenerator::new(),
            next_report: None,
            next_nack: None,
            fir_seq: 0,
            keyframe_requests: ArrayVec::new(),
            lost_keyframes: Vec::new(),
            retransmission_budget: RETRANSMISSION_BUDGET,
            budget_since: now,
        };
        connection.apply(negotiated, tracks);
        connection
    }

    /// Brings uptracks and slots in line with an answer: kept where the mid is in both.
    pub fn apply(&mut self, negotiated: &Negotiated, tracks: &[PublishedTrack]) {
        self.extensions = merged_extensions(negotiated);
        self.reduced_size_rtcp = negotiated.media.iter().all(|media| media.reduced_size_rtcp);
        let keeps = |mid: Mid, track: TrackId| {
            tracks.contains(&PublishedTrack { mid, track })
                && negotiated
                    .media
                    .iter()
                    .any(|media| media.mid == mid && media.receive.is_some())
        };
        for index in (0..self.uptracks.len()).rev() {
            if !keeps(self.uptracks[index].mid, self.uptracks[index].track) {
                self.uptracks.remove(index);
                self.streams.remove_uptrack(index);
            }
        }
        let retired = &mut self.retired;
        self.slots.retain(|slot| {
            let stays = negotiated
                .media
                .iter()
                .any(|media| media.mid == slot.mid && media.send.is_some());
            if !stays {
                retired.retain(|other| other.ssrc != slot.ssrc);
                retired.push(slot.retire());
            }
            stays
        });
        for media in &negotiated.media {
            if let Some(uptrack) = self.uptracks.iter_mut().find(|uptrack| uptrack.mid == media.mid) {
                uptrack.renegotiate(media);
            } else if let Some(published) = tracks.iter().find(|published| published.mid == media.mid)
                && let Some(uptrack) = Uptrack::new(media, published.track)
            {
                self.uptracks.push(uptrack);
                let index = self.uptracks.len() - 1;
                self.streams.declare(&mut self.uptracks, index, media);
            }
            let format = SlotFormat::shared(media, self.slots.iter().map(Downtrack::format));
            if let Some(slot) = self.slots.iter_mut().find(|slot| slot.mid == media.mid) {
                slot.renegotiate(format);
            } else if let Some(send) = media.send {
                let retired = self.retired.iter().find(|retired| retired.ssrc == send.ssrc);
                self.slots.push(match retired {
                    Some(retired) => Downtrack::resume(media, send, format, *retired),
                    // To forget a number would be to use it again.
                    None if self.retired.len() + self.slots.len() >= MAX_RETIRED => continue,
                    None => Downtrack::new(media, send, format, rand::random()),
                });
            }
        }
    }

    pub fn slot(&self, mid: Mid) -> Option<usize> {
        self.slots.iter().position(|slot| slot.mid == mid)
    }

    /// Decrypts an RTP packet in place and finds its track and layer.
    pub fn unprotect(&mut self, now: Instant, packet: &mut [u8]) -> Result<Received, DropReason> {
        let len = self.transport.unprotect_rtp(packet)?;
        let packet = packet.get(..len).ok_or(DropReason::RtpMalformed)?;
        let header = RtpHeader::parse(packet)?;
        let values = ExtensionValues::parse(&self.extensions, &header, packet);
        if let Some(seq) = values.transport_cc {
            self.twcc.on_packet(now, seq);
        }
        let stream = match self.streams.find(header.ssrc) {
            Some(stream) => stream,
            None => self
                .streams
                .learn(&mut self.uptracks, header.ssrc, header.payload_type, &values)?,
        };
        let uptrack = self
            .uptracks
            .get_mut(stream.uptrack)
            .ok_or(DropReason::RtpUnknownSsrc)?;
        let mut payload = header.payload_range(packet)?;
        let mut seq = header.seq;
        if stream.rtx {
            (seq, payload) = rtx::read_payload(packet, payload)?;
        }
        let accepted = uptrack.on_packet(
            now,
            stream.layer,
            header.payload_type,
            seq,
            header.timestamp,
            stream.rtx,
        )?;
        let frame = payload::describe(accepted.codec, &packet[payload.clone()]);
        if frame.keyframe && frame.start_of_frame {
            uptrack.on_keyframe(stream.layer, accepted.seq);
        }
        Ok(Received {
            route: uptrack.route,
            info: PacketInfo {
                seq: accepted.seq,
                timestamp: header.timestamp,
                marker: header.marker,
                codec: accepted.codec,
                layer: stream.layer,
                arrival: now,
                frame,
                audio_level: values
                    .audio_level
                    .map(|value| value.level | if value.voice { 0x80 } else { 0 }),
                video_orientation: values.video_orientation,
                recovered: accepted.recovered,
            },
            payload,
            descriptor: values.dependency_descriptor.unwrap_or(0..0),
        })
    }

    /// A sender report of one of its streams: the track, layer and the report on our clock.
    pub fn on_sender_report(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        info: &SenderInfo,
    ) -> Option<(TrackId, u8, MappedReport)> {
        let stream = self.streams.find(ssrc).filter(|stream| !stream.rtx)?;
        let uptrack = self.uptracks.get_mut(stream.uptrack)?;
        let layer = uptrack.layers.get_mut(usize::from(stream.layer))?;
        layer.stream.as_mut()?.on_sender_report(now, info.ntp);
        let report = self.clock.on_report(now, info.ntp, info.rtp);
        Some((uptrack.track, stream.layer, report))
    }

    #[doc(hidden)]
    pub(crate) fn check_bounds(&self) {
        self.streams.check_bounds(self.uptracks.len());
        assert!(self.retired.len() <= MAX_RETIRED, "{} retired", self.retired.len());
        assert!(self.lost_keyframes.len() <= 3 * self.uptracks.len());
        for layer in self.uptracks.iter().flat_map(|uptrack| &uptrack.layers) {
            layer.nack.check_bounds();
        }
    }

    /// One more retransmission within the subscriber's budget?
    pub fn take_retransmission(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.budget_since).as_secs() >= 1 {
            self.budget_since = now;
            self.retransmission_budget = RETRANSMISSION_BUDGET;
        }
        let left = self.retransmission_budget.checked_sub(1);
        self.retransmission_budget = left.unwrap_or(0);
        left.is_some()
    }
}

/// BUNDLE gives one id one meaning in all sections (RFC 8843, section 9.2).
fn merged_extensions(negotiated: &Negotiated) -> ExtensionIds {
    let mut merged = ExtensionIds::default();
    for media in &negotiated.media {
        let ids = &media.extensions;
        for (to, from) in [
            (&mut merged.mid, ids.mid),
            (&mut merged.rid, ids.rid),
            (&mut merged.repaired_rid, ids.repaired_rid),
            (&mut merged.audio_level, ids.audio_level),
            (&mut merged.abs_send_time, ids.abs_send_time),
            (&mut merged.transport_cc, ids.transport_cc),
            (&mut merged.video_orientation, ids.video_orientation),
            (&mut merged.dependency_descriptor, ids.dependency_descriptor),
        ] {
            *to = to.or(from);
        }
    }
    merged
}

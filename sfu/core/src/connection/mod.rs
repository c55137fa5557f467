//! One client: orders its transport, the tracks that it publishes and the slots that it receives.

mod adaptation;
mod feedback;
mod keyframe_budget;
mod link_quality;
mod publisher_clock;
mod reported_loss;
mod retransmission_budget;
mod sending;
mod streams;

use std::ops::Range;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::allocator::Choice;
use crate::bwe;
use crate::downtrack::stamp::Stamp;
use crate::downtrack::voice::AudioFormat;
use crate::downtrack::{Downtrack, Retired, SlotFormat};
use crate::drop_reason::DropReason;
use crate::negotiated::{Codec, ExtensionIds, MAX_LAYERS, MediaKind, Negotiated};
use crate::ntp::NtpClock;
use crate::packet::extensions::ExtensionValues;
use crate::packet::red;
use crate::packet::rtcp::{ReportBlock, SenderInfo};
use crate::packet::rtp::RtpHeader;
use crate::packet::rtx;
use crate::pool::PacketInfo;
use crate::rate::{Ceilings, RateMeter, Ticks};
use crate::track::MappedReport;
use crate::transport::Transport;
use crate::twcc::FeedbackGenerator;
use crate::units::{Bitrate, ConnectionId, Mid, Ssrc, TrackId};
use crate::uptrack::{Policed, Uptrack};
use crate::worker_api::{MAX_SLOT_SSRCS, PublishedTrack};

use adaptation::Adaptation;
pub(crate) use keyframe_budget::{Cause, KeyframeBudget};
use link_quality::LinkQuality;
use publisher_clock::PublisherClock;
pub(crate) use retransmission_budget::RetransmissionBudget;
pub(crate) use sending::{Probe, Sending, Waiting};
use streams::Streams;

/// Sender reports of one layer are taken at most that often: each is mail to all workers with subscribers.
const MIN_REPORT_INTERVAL: Duration = Duration::from_millis(50);
/// A round trip that nobody has measured yet, and the longest that is believed.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(50);
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);

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
    /// Of all RTP that it publishes.
    pub(crate) published: RateMeter,
    pub(crate) rtcp: RateMeter,
    /// Of all media that is sent to it.
    pub(crate) egress: RateMeter,
    pub(crate) sending: Sending,
    pub(crate) retransmissions: RetransmissionBudget,
    pub(crate) keyframes: KeyframeBudget,
    link_quality: LinkQuality,
    /// As the client's latest report tells it.
    pub(crate) round_trip: Duration,
}

/// A decrypted media packet, its fields read; `payload` and `descriptor` are ranges of the datagram.
#[derive(Clone, Debug)]
pub struct Received {
    /// Index of the track in the worker's router.
    pub route: usize,
    /// Index among the connection's uptracks.
    pub uptrack: usize,
    pub info: PacketInfo,
    pub payload: Range<usize>,
    /// The whole of a RED payload, of which `payload` is the newest frame; empty without.
    pub red: Range<usize>,
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
            published: RateMeter::default(),
            rtcp: RateMeter::default(),
            egress: RateMeter::default(),
            sending: Sending::new(),
            retransmissions: RetransmissionBudget::new(now),
            keyframes: KeyframeBudget::default(),
            link_quality: LinkQuality::default(),
            round_trip: INITIAL_ROUND_TRIP,
        };
        connection.apply(negotiated, tracks);
        connection
    }

    /// Brings uptracks and slots in line with an answer: kept where the mid is in both.
    pub fn apply(&mut self, negotiated: &Negotiated, tracks: &[PublishedTrack]) {
        self.extensions = merged_extensions(negotiated);
        self.reduced_size_rtcp = negotiated.media.iter().all(|media| media.reduced_size_rtcp);
        let keeps = |mid: Mid, track: TrackId| {
            tracks
                .iter()
                .any(|published| (published.mid, published.track) == (mid, track))
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
        for published in tracks {
            let own = self
                .uptracks
                .iter_mut()
                .find(|uptrack| (uptrack.mid, uptrack.track) == (published.mid, published.track));
            if let Some(own) = own {
                own.screen = published.screen;
                own.voice_layer = voice_layer(own.kind, published);
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
                && let Some(mut uptrack) = Uptrack::new(media, published.track)
            {
                uptrack.screen = published.screen;
                uptrack.voice_layer = voice_layer(media.kind, published);
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
                    // To forget a number would be to use it again. The control side has refused such an offer.
                    None if self.retired.len() + self.slots.len() >= MAX_SLOT_SSRCS => continue,
                    None => Downtrack::new(media, send, format, rand::random()),
                });
            }
        }
        self.adapt_to_slots();
    }

    /// Its link is estimated while the client tells how packets of a slot fare.
    fn adapt_to_slots(&mut self) {
        let config = self.estimator_config();
        for slot in &mut self.slots {
            slot.set_adaptive(config.is_some());
        }
        if let Some(config) = config {
            let adaptation = &mut self.sending.adaptation;
            let goes_on = adaptation
                .as_ref()
                .is_some_and(|adaptation| adaptation.bwe.has_transport_feedback() == config.has_transport_feedback);
            if !goes_on {
                *adaptation = Some(Box::new(Adaptation::new(config)));
            }
            return;
        }
        self.sending.adaptation = None;
        self.sending.pacer.set_rate(Bitrate(0));
        for slot in &mut self.slots {
            slot.apply(Choice::Empty);
            // Of a link that nothing is known of a packet now and then is lost.
            slot.set_audio(AudioFormat {
                redundancy: slot.takes_red().into(),
                ..AudioFormat::default()
            });
        }
    }

    fn estimator_config(&self) -> Option<bwe::Config> {
        let by_remb = |stamp: Stamp| matches!(stamp, Stamp::AbsSendTime(_));
        let stamps = self.slots.iter().filter_map(|slot| slot.format().feedback());
        Some(match stamps.map(by_remb).reduce(|all, one| all && one)? {
            true => bwe::Config::without_transport_feedback(),
            false => bwe::Config::default(),
        })
    }

    pub fn slot(&self, mid: Mid) -> Option<usize> {
        self.slots.iter().position(|slot| slot.mid == mid)
    }

    /// Decrypts an RTP packet in place and finds its track and layer; `ticks` is `now`.
    ///
    /// What is above the publisher's ceiling is not even decrypted. SRTP's rollover counter is estimated right
    /// all the same: as the bucket drains, packets get through again, thousands of times within the 2^15 packets
    /// of one SSRC that may be missing (RFC 3711, section 3.3.1). Only authentic packets are charged, or a forger
    /// could use a publisher's ceiling up.
    pub fn unprotect(
        &mut self,
        now: Instant,
        ticks: Ticks,
        ceilings: &Ceilings,
        packet: &mut [u8],
    ) -> Result<Received, DropReason> {
        if self.published.is_over(&ceilings.publisher, ticks) {
            return Err(DropReason::OverPublisherRate);
        }
        let bytes = packet.len();
        let len = self.transport.unprotect_rtp(packet)?;
        self.published.charge(&ceilings.publisher, ticks, bytes);
        let packet = packet.get(..len).ok_or(DropReason::RtpMalformed)?;
        let header = RtpHeader::parse(packet)?;
        let values = ExtensionValues::parse(&self.extensions, &header, packet);
        let stream = match self.streams.find(header.ssrc) {
            Some(stream) => Ok(stream),
            None => self
                .streams
                .learn(&mut self.uptracks, header.ssrc, header.payload_type, &values),
        };
        let policed = stream.map_or(Policed::Below, |stream| match self.uptracks.get_mut(stream.uptrack) {
            Some(uptrack) => uptrack.police(ceilings, ticks, stream.layer, bytes, stream.rtx),
            None => Policed::Below,
        });
        // To the publisher's bandwidth estimation what is above the ceiling is lost, so that it comes down.
        if let Some(seq) = values.transport_cc
            && policed != Policed::Above
        {
            self.twcc.on_packet(now, seq);
        }
        let stream = stream?;
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
        if policed == Policed::Above {
            if !stream.rtx && uptrack.cut(stream.layer) && !self.lost_keyframes.contains(&(uptrack.track, stream.layer))
            {
                self.lost_keyframes.push((uptrack.track, stream.layer));
            }
            return Err(DropReason::OverTrackRate);
        }
        let mut red = 0..0;
        let mut codec = accepted.codec;
        if codec == Codec::Red {
            let primary = red::primary(&packet[payload.clone()])?;
            if uptrack.opus() != Some(primary.payload_type) {
                return Err(DropReason::RtpUnknownPayloadType);
            }
            red = payload.clone();
            payload = red.start + primary.range.start..red.start + primary.range.end;
            codec = Codec::Opus;
        }
        if codec == Codec::Opus {
            uptrack.on_voice(&packet[payload.clone()]);
        }
        let descriptor = values.dependency_descriptor.unwrap_or(0..0);
        let frame = uptrack.describe(
            stream.layer,
            codec,
            &packet[payload.clone()],
            &packet[descriptor.clone()],
        );
        let starts = frame.keyframe && frame.start_of_frame;
        if policed == Policed::AwaitsKeyframe {
            if !starts {
                return Err(DropReason::OverTrackRate);
            }
            uptrack.resume(ceilings, ticks, stream.layer, bytes);
        }
        if starts {
            uptrack.on_keyframe(stream.layer, accepted.seq);
        }
        Ok(Received {
            route: uptrack.route,
            uptrack: stream.uptrack,
            info: PacketInfo {
                seq: accepted.seq,
                timestamp: header.timestamp,
                marker: header.marker,
                codec,
                layer: uptrack.layer_in_track(stream.layer),
                arrival: now,
                frame,
                audio_level: values
                    .audio_level
                    .map(|value| value.level | if value.voice { 0x80 } else { 0 }),
                video_orientation: values.video_orientation,
                recovered: accepted.recovered,
            },
            payload,
            red,
            descriptor,
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
        if !layer
            .stream
            .as_mut()?
            .on_sender_report(now, info.ntp, MIN_REPORT_INTERVAL)
        {
            return None;
        }
        let rtp = info.rtp.wrapping_add(uptrack.report_lag());
        let report = self.clock.on_report(now, info.ntp, rtp);
        Some((uptrack.track, uptrack.layer_in_track(stream.layer), report))
    }

    #[doc(hidden)]
    pub(crate) fn check_bounds(&self) {
        self.streams.check_bounds(self.uptracks.len());
        let ssrcs = self.retired.len() + self.slots.len();
        assert!(ssrcs <= MAX_SLOT_SSRCS, "{ssrcs} SSRCs of slots");
        assert!(self.keyframe_requests.len() <= MAX_KEYFRAME_REQUESTS);
        assert!(self.lost_keyframes.len() <= 3 * self.uptracks.len());
        for layer in self.uptracks.iter().flat_map(|uptrack| &uptrack.layers) {
            layer.nack.check_bounds();
        }
    }

    /// A report on one of its slots: how long the way there and back is (RFC 3550, section 6.4.1), and what was lost.
    pub(crate) fn on_report_block(&mut self, now: Instant, block: &ReportBlock) {
        let Some(slot) = self.slots.iter().position(|slot| slot.ssrc == block.ssrc) else {
            return;
        };
        let round_trip = (block.last_sr > 0).then(|| self.round_trip_by(now, block));
        self.round_trip = round_trip.unwrap_or(self.round_trip);
        if let Some(adaptation) = &mut self.sending.adaptation {
            adaptation.on_report_block(now, slot, block, round_trip);
        }
    }

    fn round_trip_by(&self, now: Instant, block: &ReportBlock) -> Duration {
        let middle = (self.ntp.at(now) >> 16) as u32;
        let round_trip = middle
            .wrapping_sub(block.last_sr)
            .wrapping_sub(block.delay_since_last_sr);
        // Clocks that tick a little apart make it negative where the way is short.
        let round_trip = u64::from(u32::try_from((round_trip as i32).max(0)).unwrap_or(0));
        Duration::from_micros((round_trip * 1_000_000) >> 16).min(MAX_ROUND_TRIP)
    }
}

/// Only a voice has its layers on sections of their own.
fn voice_layer(kind: MediaKind, published: &PublishedTrack) -> u8 {
    match kind {
        MediaKind::Audio => published.voice_layer.min(MAX_LAYERS as u8 - 1),
        MediaKind::Video => 0,
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

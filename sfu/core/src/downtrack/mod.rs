//! A subscriber's slot: rewriting, choice of layer, retransmission, sender reports.

#[doc(hidden)]
pub mod fuzz_bodies;
pub mod history;
pub mod layers;
mod sent_numbers;
pub mod seq_map;
pub mod stamp;
pub mod timeline;
pub mod voice;
pub mod vp8_continuity;
pub mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::allocator::{Choice, PauseCause};
use crate::negotiated::{
    Codec, ExtensionIds, Feedback, MAX_CODECS, MAX_LAYERS, MediaKind, NegotiatedCodec, NegotiatedMedia, SendMedia,
};
use crate::packet::rtcp::SenderInfo;
use crate::pool::Packet;
use crate::track::Track;
use crate::track::view::{LayerTarget, Source};
use crate::units::{ExtendedSeq, Mid, PayloadType, Ssrc, TrackId};
use crate::uptrack::retransmission_ring::RingLimits;
use crate::worker_api::SlotRank;

use history::{History, RESEND_INTERVAL, Sent, Stretch};
use layers::{DescriptorEdit, FrameNumbers, LayerSelector, LayerStretch, Limit, Verdict};
use sent_numbers::SentNumbers;
use seq_map::SeqMap;
use stamp::Stamp;
use timeline::Timeline;
use voice::{AudioFormat, Voice};
use vp8_continuity::Vp8Continuity;
use write::{Outgoing, Written, write};

/// RFC 3550 section 6.2 asks for five seconds on the whole; browsers send about every second, and
/// lip-sync starts with the first.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Before the allocator has chosen, no larger picture begins: its key frame could take a second.
const MAX_FIRST_HEIGHT: u16 = 270;

fn is_small(packet: &Packet) -> bool {
    packet
        .frame
        .resolution
        .is_some_and(|(_, height)| height <= MAX_FIRST_HEIGHT)
}

/// What to do with one packet of the slot's source, from [`Downtrack::rewrite`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub seq: ExtendedSeq,
    pub timestamp: u32,
    pub payload_type: PayloadType,
    /// New VP8 picture id and TL0PICIDX.
    pub vp8: Option<(u16, u8)>,
    /// Written as RED with the earlier frames that the slot's voice has chosen.
    pub red: bool,
    pub padding: u8,
    /// The last packet of its picture, without the layers that are left out.
    pub marker: bool,
    pub descriptor: DescriptorEdit,
    /// What the client's feedback on the packet goes by, if anything.
    pub stamp: Option<Stamp>,
}

/// What the packets of a slot are written with; slots that negotiated the same share one.
#[derive(Debug, PartialEq, Eq)]
pub struct SlotFormat {
    codecs: ArrayVec<NegotiatedCodec, MAX_CODECS>,
    extensions: ExtensionIds,
}

impl SlotFormat {
    /// That of `media`; one of `known` if it is the same.
    pub fn shared<'a>(media: &NegotiatedMedia, known: impl IntoIterator<Item = &'a Arc<Self>>) -> Arc<Self> {
        let same = |format: &&Arc<Self>| format.codecs == media.codecs && format.extensions == media.extensions;
        match known.into_iter().find(same) {
            Some(format) => Arc::clone(format),
            None => Arc::new(Self {
                codecs: media.codecs.clone(),
                extensions: media.extensions,
            }),
        }
    }

    fn outgoing(&self, codec: Codec) -> Option<OutgoingCodec> {
        let found = self.codecs.iter().find(|negotiated| negotiated.codec == codec)?;
        // What is sent again without RTX is equal to the bit, as SRTP forbids two packets under one index; so it
        // cannot have a new number or time each time.
        let may_differ = found.rtx.is_some() || !found.feedback.nack;
        Some(OutgoingCodec {
            codec,
            payload_type: found.payload_type,
            rtx: found.rtx,
            stamp: self.stamp(&found.feedback).filter(|_| may_differ),
        })
    }

    fn stamp(&self, feedback: &Feedback) -> Option<Stamp> {
        let number = self.extensions.transport_cc.filter(|_| feedback.transport_cc);
        let time = self.extensions.abs_send_time.filter(|_| feedback.remb);
        let rtp = feedback.ccfb.then_some(Stamp::Rtp);
        rtp.or(number.map(Stamp::TransportCc)).or(time.map(Stamp::AbsSendTime))
    }

    /// What the client's feedback on the slot goes by, if anything.
    pub fn feedback(&self) -> Option<Stamp> {
        self.codecs.iter().find_map(|codec| self.stamp(&codec.feedback))
    }

    /// Payload type of a retransmission stream, which carries padding too.
    fn rtx(&self) -> Option<PayloadType> {
        self.codecs.iter().find_map(|codec| codec.rtx)
    }
}

/// How the subscriber gets packets of `codec`.
#[derive(Clone, Copy, Debug)]
struct OutgoingCodec {
    codec: Codec,
    payload_type: PayloadType,
    rtx: Option<PayloadType>,
    stamp: Option<Stamp>,
}

/// Where a slot's streams ended. SRTP forbids to use a packet index of an SSRC twice with one key
/// (RFC 3711, section 9.1; with GCM it would give the plaintext away).
#[derive(Clone, Copy, Debug)]
pub struct Retired {
    pub ssrc: Ssrc,
    latest: ExtendedSeq,
    rtx_seq: ExtendedSeq,
}

#[derive(Debug)]
enum Flow {
    /// No source, or shown at height 0.
    Paused,
    /// Until `target` sends a packet that decoding can start at.
    Waiting { target: Option<u8> },
    Forwarding {
        /// The stream that is forwarded, and the one that should be.
        layer: u8,
        target: u8,
        /// Within the stream.
        limit: Limit,
        selector: LayerSelector,
        map: SeqMap,
        /// A packet of the picture with this RTP timestamp and spatial layer was just left out.
        left_out: Option<(u32, u8)>,
    },
}

impl Flow {
    /// A stream without layers of its own.
    fn whole(layer: u8, target: u8, map: SeqMap) -> Self {
        Self::Forwarding {
            layer,
            target,
            limit: Limit::ALL,
            selector: LayerSelector::Whole,
            map,
            left_out: None,
        }
    }
}

/// The stream that a slot is to get, and which layers of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    stream: u8,
    limit: Limit,
}

#[derive(Debug)]
pub struct Downtrack {
    pub mid: Mid,
    pub kind: MediaKind,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    format: Arc<SlotFormat>,
    /// Of the latest packet, looked up anew where the next one has another.
    codec: Option<OutgoingCodec>,
    source: Option<TrackId>,
    generation: u8,
    height: u16,
    pub rank: SlotRank,
    is_held: bool,
    /// An allocator chooses its layers.
    is_adaptive: bool,
    /// Set by the allocator; without it the height alone decides.
    layers: Option<LayerTarget>,
    flow: Flow,
    /// The latest sequence number sent, also from before a pause.
    latest: ExtendedSeq,
    rtx_seq: ExtendedSeq,
    timeline: Timeline,
    vp8: Vp8Continuity,
    frame_numbers: FrameNumbers,
    stretch: LayerStretch,
    /// The source sends only this codec, which the subscriber does not take; and whether that was told.
    unsupported: Option<(Codec, bool)>,
    history: History,
    /// Where feedback goes by sequence number.
    numbers: Option<Box<SentNumbers>>,
    /// Of a slot whose voice is sent otherwise than as it comes.
    voice: Option<Box<Voice>>,
    packets: u32,
    octets: u32,
    next_report: Option<Instant>,
    /// The subscriber asked for a key frame then, and was over its budget.
    owed_keyframe: Option<Instant>,
}

impl Downtrack {
    /// `first_seq` should be random (RFC 3550, section 5.1); it is taken below 2^15, so that a
    /// subscriber that misses the first packets guesses SRTP's rollover counter right.
    pub fn new(media: &NegotiatedMedia, send: SendMedia, format: Arc<SlotFormat>, first_seq: u16) -> Self {
        let numbers = SentNumbers::of(&format, media.kind);
        Self {
            numbers,
            mid: media.mid,
            kind: media.kind,
            ssrc: send.ssrc,
            rtx_ssrc: send.rtx_ssrc,
            format,
            codec: None,
            source: None,
            generation: 0,
            height: 0,
            rank: SlotRank::default(),
            is_held: false,
            is_adaptive: false,
            layers: None,
            flow: Flow::Paused,
            latest: ExtendedSeq(u64::from(first_seq & 0x7fff)),
            rtx_seq: ExtendedSeq(u64::from(first_seq & 0x7fff)),
            timeline: Timeline::new(media.kind.clock_rate()),
            vp8: Vp8Continuity::default(),
            frame_numbers: FrameNumbers::default(),
            stretch: LayerStretch::default(),
            unsupported: None,
            history: History::new(RingLimits::of(media.kind)),
            voice: None,
            packets: 0,
            octets: 0,
            next_report: None,
            owed_keyframe: None,
        }
    }

    /// A slot under SSRCs that another one had before it.
    pub fn resume(media: &NegotiatedMedia, send: SendMedia, format: Arc<SlotFormat>, retired: Retired) -> Self {
        Self {
            latest: retired.latest,
            rtx_seq: retired.rtx_seq,
            ..Self::new(media, send, format, 0)
        }
    }

    pub fn retire(&self) -> Retired {
        Retired {
            ssrc: self.ssrc,
            latest: self.latest,
            rtx_seq: self.rtx_seq,
        }
    }

    /// Takes over codecs and header extensions of a new answer.
    pub fn renegotiate(&mut self, format: Arc<SlotFormat>) {
        if self.format != format {
            // A packet sent again without RTX would differ from the one that had its SRTP nonce.
            self.history.clear();
            self.codec = None;
            self.unsupported = None;
            self.numbers = SentNumbers::of(&format, self.kind);
            self.format = format;
            self.renegotiate_voice();
        }
    }

    pub fn format(&self) -> &Arc<SlotFormat> {
        &self.format
    }

    pub fn height(&self) -> u16 {
        self.height
    }

    pub fn source(&self) -> Option<TrackId> {
        self.source
    }

    /// Puts another source into the slot, or changes the height at which it is shown.
    pub fn set_source(&mut self, source: Option<TrackId>, height: u16) {
        self.height = height;
        if self.source != source {
            self.source = source;
            self.generation = self.generation.wrapping_add(1);
            self.flow = Flow::Paused;
            self.layers = None;
            self.unsupported = None;
            self.owed_keyframe = None;
            self.end_voice();
            if source.is_none() {
                self.history.clear();
            }
        }
        self.update_flow();
    }

    /// An allocator chooses its layers from now on, or does no longer.
    pub fn set_adaptive(&mut self, is_adaptive: bool) {
        self.is_adaptive = is_adaptive;
    }

    /// The subscriber's link does not carry it: nothing is sent until it does.
    pub fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
        self.update_flow();
    }

    fn update_flow(&mut self) {
        let is_shown = self.source.is_some() && (self.kind == MediaKind::Audio || self.height > 0);
        match (is_shown && !self.is_held, &self.flow) {
            (false, _) => self.flow = Flow::Paused,
            (true, Flow::Paused) => self.flow = Flow::Waiting { target: None },
            (true, _) => {}
        }
    }

    /// Up to which layers the slot is sent from now on; `None`: by its height, and all temporal layers. Call
    /// [`Self::retarget`] after it. Holds until the slot gets another source.
    pub fn set_target(&mut self, layers: Option<LayerTarget>) {
        self.layers = layers;
    }

    /// Takes over what the allocator chose; true where that is something else than before, and the layer has to be
    /// chosen anew.
    pub fn apply(&mut self, choice: Choice) -> bool {
        let (layers, voice, is_held) = match choice {
            Choice::Empty | Choice::Paused(PauseCause::NotShown) => (None, None, false),
            Choice::Paused(PauseCause::NoBandwidth | PauseCause::Unwanted) => (None, None, true),
            Choice::Video(layer) => (Some(LayerTarget::from(layer)), None, false),
            Choice::Audio(voice) => {
                let resend = self.audio_format().resend;
                (
                    None,
                    Some(AudioFormat {
                        resend,
                        ..AudioFormat::from(voice)
                    }),
                    false,
                )
            }
        };
        let voice = voice.unwrap_or_else(|| self.audio_format());
        if (self.layers, self.is_held, self.audio_format()) == (layers, is_held, voice) {
            return false;
        }
        self.set_target(layers);
        self.set_held(is_held);
        self.set_audio(voice);
        true
    }

    pub fn takes_red(&self) -> bool {
        self.format.codecs.iter().any(|codec| codec.codec == Codec::Red)
    }

    /// The subscriber decodes the codec; of one that is not known yet nothing says that it does not.
    pub fn takes(&self, codec: Option<Codec>) -> bool {
        codec.is_none_or(|codec| self.format.outgoing(codec).is_some())
    }

    /// It has a stream for padding, and feedback tells of it.
    pub fn takes_padding(&self) -> bool {
        self.format.rtx().is_some() && self.format.feedback().is_some()
    }

    /// What a video slot is to get of `track`; `None` where it is sent nothing that the subscriber takes.
    fn wanted(&self, track: &Track) -> Option<Wanted> {
        let takes = |codec| self.format.outgoing(codec).is_some();
        let (index, temporal) = match self.layers {
            Some(target) => (
                track.layer_at_most(target.spatial_or_simulcast, takes)?,
                target.temporal,
            ),
            None if self.is_adaptive => return None,
            None => (track.layer_for_height(self.height, takes)?, u8::MAX),
        };
        let Source { stream, spatial } = track.source_of(index);
        Some(Wanted {
            stream,
            limit: Limit { spatial, temporal },
        })
    }

    /// Chooses the layers anew; `Some` is a stream of which a key frame is needed now.
    pub fn retarget(&mut self, track: &Track) -> Option<u8> {
        if self.kind == MediaKind::Audio {
            return self.retarget_voice(track);
        }
        let wanted = self.wanted(track);
        self.note_codec(track, wanted.is_some());
        match &mut self.flow {
            Flow::Paused => None,
            Flow::Waiting { target } => {
                *target = wanted.map(|wanted| wanted.stream);
                *target
            }
            Flow::Forwarding {
                layer,
                target,
                limit,
                selector,
                ..
            } => {
                let wanted = wanted?;
                (*target, *limit) = (wanted.stream, wanted.limit);
                let stream = track.layers.get(usize::from(*layer))?;
                (*target != *layer || selector.needs_keyframe(*limit, stream)).then_some(*target)
            }
        }
    }

    fn note_codec(&mut self, track: &Track, is_served: bool) {
        if is_served || matches!(self.flow, Flow::Paused) {
            self.unsupported = None;
        } else if self.unsupported.is_none() {
            let takes = |codec| self.format.outgoing(codec).is_some();
            let sent = track.active_layers().filter_map(|index| track.codec_of(index));
            self.unsupported = sent.filter(|&codec| !takes(codec)).last().map(|codec| (codec, false));
        }
    }

    /// The source's codec, once, where the subscriber takes none that it sends.
    pub fn poll_unsupported(&mut self) -> Option<Codec> {
        let (codec, is_told) = self.unsupported.as_mut()?;
        (!std::mem::replace(is_told, true)).then_some(*codec)
    }

    /// The streams that the slot has a use for, a bit for each: the one that it is sent and the one that it waits for. Of
    /// voices all there are.
    pub fn streams(&self) -> u8 {
        let bit = |stream: u8| 1_u8.checked_shl(stream.into()).unwrap_or(0);
        match (&self.flow, self.kind) {
            (Flow::Paused, _) => 0,
            (_, MediaKind::Audio) => u8::MAX >> (8 - MAX_LAYERS),
            (Flow::Waiting { target }, _) => target.map_or(0, bit),
            (Flow::Forwarding { layer, target, .. }, _) => bit(*layer) | bit(*target),
        }
    }

    /// The layer whose key frame the subscriber asks for by PLI or FIR.
    pub fn keyframe_layer(&self) -> Option<u8> {
        match self.flow {
            Flow::Paused => None,
            Flow::Waiting { target } => target,
            Flow::Forwarding { layer, .. } => Some(layer),
        }
    }

    /// A key frame was asked for at `now` and is not to be requested yet.
    pub fn owe_keyframe(&mut self, now: Instant) {
        self.owed_keyframe.get_or_insert(now);
    }

    /// The layer of which a key frame is owed still: none has come since it was asked for.
    pub fn owed_keyframe(&mut self, track: &Track) -> Option<u8> {
        let since = self.owed_keyframe?;
        let layer = self.keyframe_layer()?;
        let latest = track.layers.get(usize::from(layer))?.last_keyframe;
        if latest.is_some_and(|latest| latest > since) {
            self.owed_keyframe = None;
            return None;
        }
        Some(layer)
    }

    /// It was requested.
    pub fn settle_keyframe(&mut self) {
        self.owed_keyframe = None;
    }

    /// Nothing more is sent until decoding can start anew. True where something was being sent.
    pub fn interrupt(&mut self) -> bool {
        let Flow::Forwarding { target, .. } = self.flow else {
            return false;
        };
        self.flow = Flow::Waiting { target: Some(target) };
        true
    }

    pub fn is_forwarding(&self) -> bool {
        matches!(self.flow, Flow::Forwarding { .. })
    }

    /// Decides about one packet of the source. `None`: it is not for this subscriber.
    // Inlined, the decision stays in registers.
    #[inline]
    pub fn rewrite(&mut self, packet: &Packet, track: &Track, padding: u8) -> Option<Decision> {
        if self.starts_at(packet, track) {
            self.switch_to(packet, track);
        } else if packet.frame.keyframe && self.kind == MediaKind::Video {
            self.refresh_limit(packet, track);
        }
        let Flow::Forwarding {
            layer,
            limit,
            selector,
            map,
            left_out,
            ..
        } = &mut self.flow
        else {
            return None;
        };
        if packet.layer != *layer {
            return None;
        }
        if map.is_restart(packet.seq) {
            self.flow = Flow::Waiting {
                target: Some(packet.layer),
            };
            return None;
        }
        if packet.payload().is_empty() {
            map.skip(packet.seq, false);
            return None;
        }
        let codec = match self.codec {
            Some(codec) if codec.codec == packet.codec => codec,
            _ => *self.codec.insert(self.format.outgoing(packet.codec)?),
        };
        let stream = track.layers.get(usize::from(*layer))?;
        if selector.select(packet, *limit, stream) == Verdict::Drop {
            let frame = (packet.timestamp, packet.frame.spatial_id);
            map.skip(packet.seq, left_out.replace(frame) == Some(frame));
            if packet.frame.vp8.is_some_and(|fields| self.vp8.skip(&fields)) {
                self.history.end_stretch();
            }
            return None;
        };
        *left_out = None;
        let mut stretch = selector.stretch();
        // Without the descriptor libwebrtc does not find the frames of an AV1 picture together.
        stretch.splits_pictures =
            matches!(packet.codec, Codec::Av1 { .. }) && self.format.extensions.dependency_descriptor.is_none();
        if self.stretch != stretch {
            self.stretch = stretch;
            self.history.end_stretch();
        }
        let seq = map.map(packet.seq)?;
        let timestamp = self.timeline.map(packet.timestamp);
        self.timeline.on_sent(packet.arrival, timestamp);
        let starts = seq > self.latest;
        self.latest = self.latest.max(seq);
        let vp8 = packet.frame.vp8.map(|fields| self.vp8.map(&fields, starts));
        if let Some(frame) = &packet.frame.described {
            self.frame_numbers.on_sent(frame.number);
        }
        let descriptor = DescriptorEdit {
            number_offset: self.frame_numbers.offset(),
            mask: stretch.mask,
        };
        self.history.insert(packet.arrival, seq, packet.seq, || Stretch {
            layer: packet.layer,
            generation: self.generation,
            timestamp_offset: self.timeline.offset(),
            vp8: self.vp8.stretch(),
            frame_offset: descriptor.number_offset,
            layers: stretch,
        });
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload().len() as u32);
        Some(Decision {
            seq,
            timestamp,
            payload_type: codec.payload_type,
            vp8,
            red: false,
            // Without RTX it is sent again under its SRTP nonce, so equal to the bit: padding is not remembered.
            padding: if codec.rtx.is_some() { padding } else { 0 },
            marker: stretch.marker(packet),
            descriptor,
            stamp: codec.stamp,
        })
    }

    /// Writes what [`Self::rewrite`] decided; `stamp` is the value of its stamp, for those that have one.
    pub fn write(
        &self,
        out: &mut [u8],
        packet: &Packet,
        decision: &Decision,
        csrc: TrackId,
        stamp: u32,
    ) -> Option<Written> {
        let outgoing = Outgoing {
            ssrc: self.ssrc,
            payload_type: decision.payload_type,
            marker: decision.marker,
            audio_level: packet.audio_level,
            seq: decision.seq.truncate(),
            timestamp: decision.timestamp,
            csrc,
            extensions: &self.format.extensions,
            padding: decision.padding,
            original_seq: None,
            vp8: decision.vp8,
            descriptor: decision.descriptor,
            stamp: decision.stamp.map(|kind| (kind, stamp)),
        };
        match decision.red {
            true => self.voice.as_ref()?.write(out, packet, &outgoing),
            false => write(out, packet, &outgoing),
        }
    }

    /// A packet of the slot was sent as the client's `number`-th, with `seq` of its stream or of the retransmission's.
    #[inline]
    pub fn on_sent(&mut self, is_rtx: bool, seq: ExtendedSeq, number: u16) {
        if let Some(numbers) = &mut self.numbers {
            numbers.insert(is_rtx, seq.truncate(), number);
        }
    }

    /// The number of a packet of `ssrc`, one of the slot's two.
    pub fn number_of(&self, ssrc: Ssrc, seq: u16) -> Option<u16> {
        self.numbers.as_ref()?.find(ssrc == self.rtx_ssrc, seq)
    }

    /// What a NACK of `seq` asks for; `None` where it was never sent, is forgotten, or went out just now.
    /// No packet is sent again more than twice in a `round_trip`.
    pub fn retransmit(&mut self, now: Instant, seq: u16, round_trip: Duration) -> Option<Sent> {
        let generation = self.generation;
        self.history
            .resend(now, seq, RESEND_INTERVAL.max(round_trip / 2))
            .filter(|sent| sent.stretch.generation == generation)
    }

    /// Writes a packet again: over RTX (RFC 4588) where the codec has it, else as it was. Gives
    /// the extended sequence number that it was written with, and whether it has a `stamp`.
    pub fn write_again(
        &mut self,
        out: &mut [u8],
        packet: &Packet,
        sent: &Sent,
        csrc: TrackId,
        stamp: u32,
    ) -> Option<(Written, ExtendedSeq, bool)> {
        let codec = self.format.outgoing(packet.codec)?;
        let stretch = &sent.stretch;
        let vp8 = match &packet.frame.vp8 {
            Some(fields) => Some(self.vp8.again(fields, stretch.vp8)?),
            None => None,
        };
        let seq = match codec.rtx {
            Some(_) => {
                self.rtx_seq.0 += 1;
                self.rtx_seq
            }
            None => sent.out,
        };
        let outgoing = Outgoing {
            ssrc: if codec.rtx.is_some() { self.rtx_ssrc } else { self.ssrc },
            payload_type: codec.rtx.unwrap_or(codec.payload_type),
            seq: seq.truncate(),
            timestamp: packet.timestamp.wrapping_add(stretch.timestamp_offset),
            csrc,
            extensions: &self.format.extensions,
            padding: 0,
            original_seq: codec.rtx.map(|_| sent.out.truncate()),
            vp8,
            marker: stretch.layers.marker(packet),
            audio_level: packet.audio_level,
            descriptor: DescriptorEdit {
                number_offset: stretch.frame_offset,
                mask: stretch.layers.mask,
            },
            stamp: codec.stamp.map(|kind| (kind, stamp)),
        };
        Some((write(out, packet, &outgoing)?, seq, codec.stamp.is_some()))
    }

    /// Writes a packet of nothing but padding, `padding` bytes of it, on the retransmission stream, where it disturbs
    /// no decoder (as libwebrtc's probes). `None` where the slot has no such stream or no feedback.
    pub fn write_padding(&mut self, out: &mut [u8], padding: u8, stamp: u32) -> Option<(Written, ExtendedSeq)> {
        let payload_type = self.format.rtx()?;
        let kind = self.format.feedback()?;
        let seq = ExtendedSeq(self.rtx_seq.0 + 1);
        let timestamp = self.timeline.latest();
        let written = write::padding(
            out,
            self.rtx_ssrc,
            payload_type,
            seq.truncate(),
            timestamp,
            (kind, stamp),
            padding,
        )?;
        self.rtx_seq = seq;
        Some((written, seq))
    }

    /// The sender report that is due, if any (RFC 3550, section 6.4.1). `ntp` is `now` in NTP's 64 bits.
    pub fn poll_report(&mut self, now: Instant, ntp: u64, track: &Track) -> Option<SenderInfo> {
        let Flow::Forwarding { layer, .. } = &self.flow else {
            return None;
        };
        if self.next_report.is_some_and(|next| now < next) {
            return None;
        }
        let report = track.layers.get(usize::from(*layer))?.report?;
        self.next_report = Some(now + REPORT_INTERVAL);
        Some(SenderInfo {
            ntp,
            rtp: self.timeline.map(report.rtp_at(now, self.kind.clock_rate())),
            packets: self.packets,
            octets: self.octets,
        })
    }

    /// Can the flow begin, or change its layer, at this packet?
    fn starts_at(&self, packet: &Packet, track: &Track) -> bool {
        let target = match self.flow {
            Flow::Paused => return false,
            Flow::Waiting { target } => target,
            // A voice changes its layer in its own way.
            Flow::Forwarding { layer, target, .. } if layer != target && self.kind == MediaKind::Video => Some(target),
            // A layer that was asked for comes back, and nobody knew before its first packet.
            Flow::Forwarding { layer, .. } if layer != packet.layer && self.awaits(packet, track) => Some(packet.layer),
            Flow::Forwarding { .. } => return false,
        };
        let decodable = self.kind == MediaKind::Audio || (packet.frame.keyframe && packet.frame.start_of_frame);
        let fits = match target {
            Some(target) if self.kind == MediaKind::Audio => packet.layer == target,
            Some(target) => packet.layer == target || self.may_begin_with(packet.layer, target, track),
            None => !self.is_adaptive || self.kind == MediaKind::Audio || is_small(packet),
        };
        decodable
            && fits
            && !packet.recovered
            && !packet.payload().is_empty()
            && self.format.outgoing(packet.codec).is_some()
    }

    fn awaits(&self, packet: &Packet, track: &Track) -> bool {
        let is_wanted = || self.wanted(track).is_some_and(|wanted| wanted.stream == packet.layer);
        self.kind == MediaKind::Video && packet.frame.keyframe && packet.frame.start_of_frame && is_wanted()
    }

    /// While nothing at all is shown any layer is better than none; the right one follows. But one that the link does
    /// not carry would hold up the one that it does.
    fn may_begin_with(&self, layer: u8, target: u8, track: &Track) -> bool {
        let height = |layer: u8| track.layers.get(usize::from(layer)).and_then(|layer| layer.resolution);
        let is_smaller = || {
            height(layer)
                .zip(height(target))
                .is_some_and(|(own, target)| own.1 <= target.1)
        };
        matches!(self.flow, Flow::Waiting { .. }) && (self.layers.is_none() || is_smaller())
    }

    /// A key frame may bring layers that were not there when the limit was set.
    fn refresh_limit(&mut self, packet: &Packet, track: &Track) {
        let wanted = self.wanted(track);
        if let (Flow::Forwarding { limit, .. }, Some(wanted)) = (&mut self.flow, wanted)
            && wanted.stream == packet.layer
        {
            *limit = wanted.limit;
        }
    }

    fn switch_to(&mut self, packet: &Packet, track: &Track) {
        let report = |layer: u8| track.layers.get(usize::from(layer)).and_then(|layer| layer.report);
        let (reports, target) = match self.flow {
            Flow::Forwarding { layer, target, .. } => (report(layer).zip(report(packet.layer)), target),
            Flow::Waiting { target } => (None, target.unwrap_or(packet.layer)),
            Flow::Paused => return,
        };
        self.timeline.switch(packet.arrival, packet.timestamp, reports);
        self.vp8.switch();
        if let Some(frame) = &packet.frame.described {
            self.frame_numbers.switch(frame.number);
        }
        self.history.end_stretch();
        let map = SeqMap::starting(packet.seq, ExtendedSeq(self.latest.0 + 1));
        // What the stream consists of may be known only since this packet.
        let wanted = self.wanted(track);
        let Some(stream) = track.layers.get(usize::from(packet.layer)) else {
            return;
        };
        self.flow = Flow::Forwarding {
            layer: packet.layer,
            target: wanted.map_or(target, |wanted| wanted.stream),
            limit: wanted.map_or(Limit::ALL, |wanted| wanted.limit),
            selector: LayerSelector::starting(packet, stream),
            map,
            left_out: None,
        };
        // The media clock was moved: tell the receiver the new relation soon.
        self.next_report = None;
    }
}

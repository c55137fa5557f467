//! A published track as its publisher's connection receives it: which SSRC is which layer, what was
//! lost of each, and what is told to the publisher about it.

pub mod keyframe_throttle;
pub mod nack_generator;
pub mod receive_stream;
pub mod red_recovery;
pub mod retransmission_ring;

use std::time::Instant;

use arrayvec::ArrayVec;

use crate::drop_reason::DropReason;
use crate::negotiated::{Codec, Feedback, MAX_CODECS, MAX_LAYERS, MediaKind, NegotiatedCodec, NegotiatedMedia};
use crate::packet::described_frame::DescriptorReader;
use crate::packet::opus;
use crate::packet::payload::{self, FrameInfo};
use crate::rate::{Ceilings, RateLimit, RateMeter, Ticks};
use crate::units::{ExtendedSeq, Mid, PayloadType, Rid, Ssrc, TrackId};

use nack_generator::{NackGenerator, NackLimits};
use receive_stream::ReceiveStream;

/// A restarted layer goes on this far behind its old numbers, so that nobody takes old for new.
const RESTART_GAP: u64 = 1 << 17;

/// What browsers send in a packet where nothing is asked of them: 20 ms.
const FULL_VOICE_FRAME: u32 = 960;

/// One simulcast layer (or the only one).
#[derive(Debug)]
pub struct ReceiveLayer {
    pub rid: Option<Rid>,
    pub ssrc: Option<Ssrc>,
    /// From the first packet on.
    pub stream: Option<ReceiveStream>,
    pub nack: NackGenerator,
    /// Added to the stream's own extended numbers; grows when the publisher restarts it.
    base: u64,
    highest: u64,
    meter: RateMeter,
    /// A packet was above the ceiling: what follows cannot be decoded until a key frame.
    is_cut: bool,
    descriptors: DescriptorReader,
}

/// How a packet stands to the ceiling of its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policed {
    Below,
    /// Let through only if decoding can start at it; then call [`Uptrack::resume`].
    AwaitsKeyframe,
    Above,
}

/// What an RTP packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub seq: ExtendedSeq,
    pub codec: Codec,
    pub recovered: bool,
}

#[derive(Debug)]
pub struct Uptrack {
    pub track: TrackId,
    /// The track's index in the worker's router.
    pub route: usize,
    pub mid: Mid,
    pub kind: MediaKind,
    /// A shared screen.
    pub screen: bool,
    /// Which layer of its track its only one is: the low voice is published on a section of its own.
    pub voice_layer: u8,
    /// Sound in its latest packet, in clock units; only of a low voice.
    frame_duration: u32,
    codecs: ArrayVec<NegotiatedCodec, MAX_CODECS>,
    pub layers: ArrayVec<ReceiveLayer, MAX_LAYERS>,
}

impl Uptrack {
    /// `None` where the client does not send on this section.
    pub fn new(media: &NegotiatedMedia, track: TrackId) -> Option<Self> {
        let receive = media.receive.as_ref()?;
        let layer = |rid: Option<Rid>| ReceiveLayer {
            rid,
            ssrc: None,
            stream: None,
            nack: NackGenerator::new(nack_limits(media.kind)),
            base: 0,
            highest: 0,
            meter: RateMeter::default(),
            is_cut: false,
            descriptors: DescriptorReader::default(),
        };
        let mut layers: ArrayVec<_, MAX_LAYERS> = receive.rids.iter().map(|&rid| layer(Some(rid))).collect();
        if layers.is_empty() {
            layers.push(layer(None));
        }
        Some(Self {
            track,
            route: usize::MAX,
            mid: media.mid,
            kind: media.kind,
            screen: false,
            voice_layer: 0,
            frame_duration: 0,
            codecs: media.codecs.clone(),
            layers,
        })
    }

    /// Takes over the codecs of a new answer.
    pub fn renegotiate(&mut self, media: &NegotiatedMedia) {
        self.codecs = media.codecs.clone();
    }

    pub fn layer_of_rid(&self, rid: &str) -> Option<u8> {
        self.layers
            .iter()
            .position(|layer| layer.rid.is_some_and(|own| own.as_str() == rid))
            .map(|index| index as u8)
    }

    /// Is `payload_type` one of this section's, and if so, is it RTX?
    pub fn payload_kind(&self, payload_type: PayloadType) -> Option<PayloadKind> {
        self.codecs.iter().find_map(|codec| {
            if codec.payload_type == payload_type {
                Some(PayloadKind::Media(codec.codec))
            } else if codec.rtx == Some(payload_type) {
                Some(PayloadKind::Rtx(codec.codec))
            } else {
                None
            }
        })
    }

    /// What the payload type of Opus is.
    pub fn opus(&self) -> Option<PayloadType> {
        let opus = self.codecs.iter().find(|codec| codec.codec == Codec::Opus);
        opus.map(|codec| codec.payload_type)
    }

    /// The number in its track of one of its layers.
    pub fn layer_in_track(&self, layer: u8) -> u8 {
        self.voice_layer + layer
    }

    /// A frame of `layer`, numbered as in its track, came as redundancy in a later packet. False: it is here already.
    pub fn on_redundant(&mut self, now: Instant, layer: u8, seq: ExtendedSeq) -> bool {
        let nack = self.feedback().nack;
        let Some(layer) = layer.checked_sub(self.voice_layer) else {
            return false;
        };
        let Some(layer) = self.layers.get_mut(usize::from(layer)) else {
            return false;
        };
        let (Some(stream), Some(own)) = (&mut layer.stream, seq.0.checked_sub(layer.base)) else {
            return false;
        };
        let own = ExtendedSeq(own);
        if stream.on_recovered(own.truncate()) != Some(own) {
            return false;
        }
        if nack {
            layer.nack.on_packet(now, own);
        }
        true
    }

    /// A packet of a voice came.
    pub fn on_voice(&mut self, payload: &[u8]) {
        if self.voice_layer > 0 {
            self.frame_duration = opus::duration(payload).unwrap_or(self.frame_duration);
        }
    }

    /// How far the RTP time of its sender reports lags behind those of the full voice. libwebrtc says that a packet's
    /// first sample was recorded when the packet was sent, which is a packet's length too late.
    pub fn report_lag(&self) -> u32 {
        self.frame_duration.saturating_sub(FULL_VOICE_FRAME)
    }

    /// Feedback that all codecs of the section share in practice; that of the first.
    pub fn feedback(&self) -> Feedback {
        self.codecs.first().map(|codec| codec.feedback).unwrap_or_default()
    }

    /// The publisher sends `layer` under another SSRC from now on.
    pub fn bind(&mut self, layer: u8, ssrc: Ssrc) {
        let clock_rate = self.kind.clock_rate();
        let limits = nack_limits(self.kind);
        let Some(layer) = self.layers.get_mut(usize::from(layer)) else {
            return;
        };
        layer.stream = Some(ReceiveStream::new(ssrc, clock_rate));
        if layer.ssrc.replace(ssrc).is_some() {
            layer.base = layer.highest + RESTART_GAP;
            layer.nack = NackGenerator::new(limits);
            layer.descriptors = DescriptorReader::default();
        }
    }

    /// What a packet of `codec` tells of its frame, by its payload and by its dependency descriptor, which is empty
    /// where it has none.
    pub fn describe(&mut self, layer: u8, codec: Codec, payload: &[u8], descriptor: &[u8]) -> FrameInfo {
        let mut frame = payload::describe(codec, payload);
        if !descriptor.is_empty()
            && let Some(layer) = self.layers.get_mut(usize::from(layer))
            && let Some(described) = layer.descriptors.read(descriptor)
        {
            frame.describe(described);
        }
        frame
    }

    /// Decoding can start at the packet that [`Self::on_packet`] has just accepted: what is missing before it no longer matters.
    pub fn on_keyframe(&mut self, layer: u8, accepted: ExtendedSeq) {
        if let Some(layer) = self.layers.get_mut(usize::from(layer)) {
            layer.nack.on_keyframe(ExtendedSeq(accepted.0 - layer.base));
        }
    }

    fn ceiling<'a>(&self, ceilings: &'a Ceilings) -> &'a RateLimit {
        match self.kind {
            MediaKind::Audio => &ceilings.audio_track,
            MediaKind::Video if self.screen => &ceilings.screen_layer,
            MediaKind::Video => &ceilings.video_layer,
        }
    }

    /// Holds a packet of `bytes` against the ceiling of its layer. RTX that is above it is not taken, but cuts
    /// nothing: mostly it brings what is here already.
    pub fn police(&mut self, ceilings: &Ceilings, now: Ticks, layer: u8, bytes: usize, rtx: bool) -> Policed {
        let ceiling = self.ceiling(ceilings);
        let Some(layer) = self.layers.get_mut(usize::from(layer)) else {
            return Policed::Below;
        };
        if layer.is_cut {
            return match rtx || layer.meter.is_tight(ceiling, now) {
                true => Policed::Above,
                false => Policed::AwaitsKeyframe,
            };
        }
        match layer.meter.admit(ceiling, now, bytes) {
            true => Policed::Below,
            false => Policed::Above,
        }
    }

    /// A packet was left out. True: a key frame is to be asked for.
    pub fn cut(&mut self, layer: u8) -> bool {
        let layer = self.layers.get_mut(usize::from(layer));
        self.kind == MediaKind::Video && layer.is_some_and(|layer| !std::mem::replace(&mut layer.is_cut, true))
    }

    /// A key frame came and is let through.
    pub fn resume(&mut self, ceilings: &Ceilings, now: Ticks, layer: u8, bytes: usize) {
        let ceiling = self.ceiling(ceilings);
        if let Some(layer) = self.layers.get_mut(usize::from(layer)) {
            layer.is_cut = false;
            layer.meter.charge(ceiling, now, bytes);
        }
    }

    /// Counts a media packet, `recovered` if RTX brought it.
    pub fn on_packet(
        &mut self,
        now: Instant,
        layer: u8,
        payload_type: PayloadType,
        seq: u16,
        timestamp: u32,
        recovered: bool,
    ) -> Result<Accepted, DropReason> {
        let codec = match self.payload_kind(payload_type) {
            Some(PayloadKind::Media(codec)) if !recovered => codec,
            Some(PayloadKind::Rtx(codec)) if recovered => codec,
            _ => return Err(DropReason::RtpUnknownPayloadType),
        };
        let feedback = self.feedback();
        let layer = self
            .layers
            .get_mut(usize::from(layer))
            .ok_or(DropReason::RtpUnknownSsrc)?;
        let stream = layer.stream.as_mut().ok_or(DropReason::RtpUnknownSsrc)?;
        let seq = if recovered {
            stream.on_recovered(seq)
        } else {
            stream.on_packet(now, seq, timestamp)
        };
        let seq = seq.ok_or(match recovered {
            true => DropReason::RtxDuplicate,
            false => DropReason::RtpDuplicate,
        })?;
        if feedback.nack {
            layer.nack.on_packet(now, seq);
        }
        let seq = ExtendedSeq(layer.base + seq.0);
        layer.highest = layer.highest.max(seq.0);
        Ok(Accepted { seq, codec, recovered })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    Media(Codec),
    /// RTX of that codec (RFC 4588).
    Rtx(Codec),
}

fn nack_limits(kind: MediaKind) -> NackLimits {
    match kind {
        MediaKind::Audio => NackLimits::AUDIO,
        MediaKind::Video => NackLimits::VIDEO,
    }
}

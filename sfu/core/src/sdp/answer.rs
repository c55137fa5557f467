use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use rustc_hash::FxHashSet;

use super::candidate::Candidate;
use super::extensions::{self, Basis, Extension, OfferedExtension};
use super::offer::{AcceptedSection, Offer};
use super::streams::Direction;
use super::transport::Setup;
use super::{SdpError, write};
use crate::negotiated::{
    Codec, DtlsRole, ExtensionIds, Feedback, Fingerprint, IceCredentials, MAX_CODECS, MediaKind, Negotiated,
    NegotiatedMedia, ReceiveMedia, SendMedia,
};
use crate::units::{Mid, Ssrc};

/// What the server brings to an answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerParams<'a> {
    pub local_ice: &'a IceCredentials,
    /// Of the server's certificate.
    pub fingerprint: &'a Fingerprint,
    /// The most preferred of each protocol first.
    pub candidates: &'a [Candidate],
    /// Of the `o=` line: stays the same in a session. The uppermost bit is not used (RFC 9429, section 5.2.1).
    pub session_id: u64,
    /// Of the `o=` line: grows with each answer of a session.
    pub version: u64,
    /// A session's slots have their SSRCs from here on, four for each audio slot and video slot of the
    /// same index, RTX included. Stays the same in a session.
    pub first_ssrc: u32,
    pub preferences: &'a CodecPreferences,
    /// Sections on which the client sends a second, low voice of its microphone.
    pub low_voices: &'a [Mid],
    /// Slots of a client that offers it get feedback by RFC 8888 in place of transport-wide numbers.
    pub rfc8888: bool,
}

/// Which codecs clients are asked to send. For slots, and for audio, the client's order stands: one
/// that prefers RED to Opus sends RED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecPreferences {
    /// The first that a client knows is what it sends. Those not named come last, in the client's order.
    pub video: Vec<VideoCodec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    Vp8,
    H264,
    Vp9,
    Av1,
}

impl Default for CodecPreferences {
    fn default() -> Self {
        Self {
            // VP8 is what every browser sends as simulcast with temporal layers.
            video: vec![VideoCodec::Vp8, VideoCodec::H264, VideoCodec::Vp9, VideoCodec::Av1],
        }
    }
}

impl CodecPreferences {
    /// Smaller is more preferred.
    fn rank(&self, codec: Codec) -> usize {
        let wanted = match codec {
            Codec::Opus | Codec::Red => return 0,
            Codec::Vp8 => VideoCodec::Vp8,
            Codec::Vp9 { .. } => VideoCodec::Vp9,
            Codec::H264 { .. } => VideoCodec::H264,
            Codec::Av1 { .. } => VideoCodec::Av1,
        };
        self.video
            .iter()
            .position(|&codec| codec == wanted)
            .unwrap_or(self.video.len())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub sdp: String,
    pub negotiated: Negotiated,
}

/// Answers `offer`. `previous` is what the session's last answer negotiated: its slots keep their SSRCs
/// by mid, and new ones get SSRCs that no live slot has.
///
/// # Errors
/// [`SdpError::Unsupported`] where a running session would change its certificate or DTLS role, which would
/// need a new DTLS association; [`SdpError::Invalid`] where a mid changes its kind.
pub fn answer(offer: &Offer, params: &AnswerParams<'_>, previous: Option<&Negotiated>) -> Result<Answered, SdpError> {
    let dtls_role = dtls_role(offer, previous)?;
    let mut ssrcs = SsrcAllocator::new(params.first_ssrc, previous);
    let running = previous.map_or(&[][..], |previous| &previous.media);
    let running: BTreeMap<_, _> = running.iter().map(|media| (media.mid, media)).collect();
    let mut sections = Vec::with_capacity(offer.sections.len());
    let basis = basis(offer, params.rfc8888);
    for offered in offer.sections.iter().filter_map(|section| section.accepted.as_ref()) {
        let previous = previous_media(offered, &running)?;
        let send = match (offered.direction.receives(), previous.and_then(|media| media.send)) {
            (false, _) => None,
            (true, Some(send)) => Some(send),
            (true, None) => Some(ssrcs.next(offered.kind)),
        };
        let slot = send.map(|send| slot_index(params.first_ssrc, send));
        let low_voice = params.low_voices.contains(&offered.mid);
        sections.push(AnsweredSection::new(
            offered,
            send,
            slot,
            params.preferences,
            low_voice,
            basis,
        ));
    }
    let sdp = write::answer(offer, params, dtls_role, &sections);
    let mut media: Vec<_> = sections.into_iter().map(|section| section.media).collect();
    // It lies where the larger sections did, and is kept for as long as the session lives.
    media.shrink_to_fit();
    Ok(Answered {
        sdp,
        negotiated: Negotiated {
            remote_ice: offer.transport.ice.clone(),
            remote_fingerprint: offer.transport.fingerprint.clone(),
            dtls_role,
            media,
        },
    })
}

/// One estimate is made for all slots, so by one kind of feedback: RFC 8888 where all take it and it is wanted, else by
/// transport-wide numbers where any takes them, else the client's own.
fn basis(offer: &Offer, rfc8888: bool) -> Basis {
    let accepted = offer.sections.iter().filter_map(|section| section.accepted.as_ref());
    let slots = || accepted.clone().filter(|offered| offered.direction.receives());
    let agrees_to = |offered: &AcceptedSection, feedback: fn(&Feedback) -> bool| {
        offered.codecs.iter().any(|codec| feedback(&codec.negotiated.feedback))
    };
    // Where the client sends too, it would expect such feedback from this server.
    let takes_ccfb =
        |offered: &AcceptedSection| !offered.direction.sends() && agrees_to(offered, |feedback| feedback.ccfb);
    let takes_numbers = |offered: &AcceptedSection| {
        agrees_to(offered, |feedback| feedback.transport_cc)
            && extensions::may_send(&offered.extensions, offered.direction, Extension::TransportCc)
    };
    if rfc8888 && slots().next().is_some() && slots().all(takes_ccfb) {
        Basis::Ccfb
    } else if slots().any(takes_numbers) {
        Basis::TransportCc
    } else {
        Basis::Remb
    }
}

/// The server's role: DTLS server unless the client insists on being it, and kept for the session.
fn dtls_role(offer: &Offer, previous: Option<&Negotiated>) -> Result<DtlsRole, SdpError> {
    let Some(previous) = previous else {
        return Ok(match offer.transport.setup {
            Setup::ActPass | Setup::Active => DtlsRole::Passive,
            Setup::Passive => DtlsRole::Active,
        });
    };
    if previous.remote_fingerprint != offer.transport.fingerprint {
        return Err(SdpError::Unsupported("another fingerprint in a running session"));
    }
    match (offer.transport.setup, previous.dtls_role) {
        (Setup::ActPass, role) => Ok(role),
        (Setup::Active, DtlsRole::Passive) => Ok(DtlsRole::Passive),
        (Setup::Passive, DtlsRole::Active) => Ok(DtlsRole::Active),
        _ => Err(SdpError::Unsupported("another DTLS role in a running session")),
    }
}

fn previous_media<'a>(
    offered: &AcceptedSection,
    running: &BTreeMap<Mid, &'a NegotiatedMedia>,
) -> Result<Option<&'a NegotiatedMedia>, SdpError> {
    match running.get(&offered.mid).copied() {
        Some(media) if media.kind != offered.kind => Err(SdpError::Invalid("a mid changes its kind of media")),
        media => Ok(media),
    }
}

/// Gives slots their pairs of SSRCs: `first + 4k` to the k-th audio slot, `first + 4k + 2` to the k-th
/// video slot. So a slot's SSRC tells its index, which stays while other slots come and go.
struct SsrcAllocator {
    first: u32,
    audio: Indices,
    video: Indices,
}

/// The `k` of a slot.
fn slot_index(first_ssrc: u32, send: SendMedia) -> u32 {
    send.ssrc.0.wrapping_sub(first_ssrc) / 4
}

/// Indices that no live slot has, the smallest first.
#[derive(Default)]
struct Indices {
    live: FxHashSet<u32>,
    next: u32,
}

impl Indices {
    fn next(&mut self) -> u32 {
        while self.live.contains(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }
}

impl SsrcAllocator {
    /// No SSRC of a slot of `previous` is given again, also where it ends with this very offer. One that
    /// ended before is, and its numbers go on: a session whose mids are ever new ones has no more SSRCs than
    /// two answers have slots.
    fn new(first: u32, previous: Option<&Negotiated>) -> Self {
        let indices = |kind| {
            let media = previous.into_iter().flat_map(|previous| &previous.media);
            let slots = media.filter(|media| media.kind == kind).filter_map(|media| media.send);
            Indices {
                live: slots.map(|send| slot_index(first, send)).collect(),
                next: 0,
            }
        };
        Self {
            first,
            audio: indices(MediaKind::Audio),
            video: indices(MediaKind::Video),
        }
    }

    fn next(&mut self, kind: MediaKind) -> SendMedia {
        let (index, offset) = match kind {
            MediaKind::Audio => (self.audio.next(), 0),
            MediaKind::Video => (self.video.next(), 2),
        };
        let ssrc = self.first.wrapping_add(index.wrapping_mul(4)).wrapping_add(offset);
        SendMedia {
            ssrc: Ssrc(ssrc),
            rtx_ssrc: Ssrc(ssrc.wrapping_add(1)),
        }
    }
}

/// What a low voice is asked to be (RFC 7587, section 6.1): speech at 14 kbit/s, wideband still, without in-band FEC, which
/// would follow the sender's own losses and not those of who listens, and silent in pauses. Chromium obeys by section.
const LOW_VOICE_FMTP: &str = "minptime=10;useinbandfec=0;usedtx=1;stereo=0;maxaveragebitrate=14000";
/// 60 ms: 17 packets a second, whose headers would else outweigh the voice.
const LOW_VOICE_PTIME: u8 = 60;

/// A section of the answer: what was negotiated and what only its text needs.
pub(super) struct AnsweredSection {
    pub media: NegotiatedMedia,
    /// Index among the slots of its kind, with `media.send`.
    pub slot: Option<u32>,
    /// The server's.
    pub direction: Direction,
    /// `a=fmtp` of each codec of `media`.
    pub fmtps: ArrayVec<Option<String>, MAX_CODECS>,
    /// ms of sound in a packet that the client is asked for.
    pub ptime: Option<u8>,
    pub extensions: Vec<OfferedExtension>,
    pub allow_mixed: bool,
}

impl AnsweredSection {
    fn new(
        offered: &AcceptedSection,
        send: Option<SendMedia>,
        slot: Option<u32>,
        preferences: &CodecPreferences,
        low_voice: bool,
        basis: Basis,
    ) -> Self {
        let client_sends = offered.direction.sends();
        let low_voice = low_voice && client_sends && offered.kind == MediaKind::Audio;
        let offers_remb = offered.codecs.iter().any(|codec| codec.negotiated.feedback.remb);
        let basis = match basis {
            Basis::Remb if !offers_remb => Basis::TransportCc,
            basis => basis,
        };
        let is_simulcast = !offered.rids.is_empty();
        let extensions: Vec<_> =
            extensions::accept(&offered.extensions, offered.direction, is_simulcast, basis).collect();
        let mut ids = ExtensionIds::default();
        for accepted in &extensions {
            *accepted.extension.id_in(&mut ids) = Some(accepted.id);
        }

        let sends_time = basis == Basis::Remb
            && extensions::may_send(&offered.extensions, offered.direction, Extension::AbsSendTime);
        let mut codecs = offered.codecs.clone();
        if client_sends {
            codecs.sort_by_key(|codec| preferences.rank(codec.negotiated.codec));
        }
        for codec in &mut codecs {
            let feedback = &mut codec.negotiated.feedback;
            feedback.transport_cc &= ids.transport_cc.is_some();
            feedback.remb &= sends_time;
            feedback.ccfb &= basis == Basis::Ccfb && send.is_some();
        }
        Self {
            media: NegotiatedMedia {
                mid: offered.mid,
                kind: offered.kind,
                codecs: codecs.iter().map(|codec| codec.negotiated).collect(),
                extensions: ids,
                receive: client_sends.then(|| ReceiveMedia {
                    ssrcs: offered.ssrcs.clone(),
                    rids: offered.rids.clone(),
                }),
                send,
                reduced_size_rtcp: offered.reduced_size_rtcp,
            },
            slot,
            direction: offered.direction.reversed(),
            fmtps: codecs
                .into_iter()
                .map(|codec| match codec.negotiated.codec {
                    Codec::Opus if low_voice => Some(LOW_VOICE_FMTP.to_owned()),
                    _ => codec.fmtp,
                })
                .collect(),
            ptime: low_voice.then_some(LOW_VOICE_PTIME),
            extensions,
            allow_mixed: offered.allow_mixed,
        }
    }

    pub fn mid(&self) -> Mid {
        self.media.mid
    }
}

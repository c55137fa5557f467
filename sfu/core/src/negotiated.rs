//! What an offer and its answer agreed on: plain values from `sdp`, read by the connection.
//! `receive` and `send` are from the server's point of view.

use arrayvec::ArrayVec;

use crate::units::{Mid, PayloadType, Rid, Ssrc};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
}

impl MediaKind {
    /// RTP clock rate in Hz, the same for all codecs of a kind that are negotiated.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Audio => 48_000,
            Self::Video => 90_000,
        }
    }
}

/// A codec with the parameters that must be equal on both sides of a forwarded stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    Opus,
    /// Redundant audio (RFC 2198) around Opus.
    Red,
    Vp8,
    Vp9 {
        profile: u8,
    },
    /// `profile` is the profile_idc and profile-iop of `profile-level-id`; packetization-mode 1 only.
    H264 {
        profile: u16,
    },
    Av1 {
        profile: u8,
    },
}

impl Codec {
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        self.kind().clock_rate()
    }
}

/// Feedback that was negotiated for a payload type (`a=rtcp-fb`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    pub transport_cc: bool,
    /// The client's own estimate (draft-alvestrand-rmcat-remb), agreed on only for slots of a session without
    /// `transport_cc` ones; their packets then carry the time of sending.
    pub remb: bool,
    /// Of slots: congestion control feedback by SSRC and sequence number (RFC 8888), in place of both.
    pub ccfb: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiatedCodec {
    pub codec: Codec,
    pub payload_type: PayloadType,
    /// Payload type of its RTX stream (RFC 4588).
    pub rtx: Option<PayloadType>,
    pub feedback: Feedback,
}

/// Ids of header extensions (RFC 8285) of one media section, 1–14; 0 is never a valid id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub audio_level: Option<u8>,
    pub abs_send_time: Option<u8>,
    pub transport_cc: Option<u8>,
    pub video_orientation: Option<u8>,
    pub dependency_descriptor: Option<u8>,
}

pub const MAX_CODECS: usize = 12;
pub const MAX_LAYERS: usize = 3;

/// A media section on which the client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveMedia {
    /// Primary SSRC and its RTX SSRC where the offer declares them with `a=ssrc`; else they are
    /// learnt from mid and rid.
    pub ssrcs: ArrayVec<(Ssrc, Option<Ssrc>), MAX_LAYERS>,
    /// Simulcast layers in the order of `a=simulcast:send`; empty without simulcast.
    pub rids: ArrayVec<Rid, MAX_LAYERS>,
}

/// A media section on which the server sends: a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendMedia {
    pub ssrc: Ssrc,
    /// Also where no codec has RTX negotiated; then it is not used.
    pub rtx_ssrc: Ssrc,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedMedia {
    pub mid: Mid,
    pub kind: MediaKind,
    /// In the order of the answer: the first is the one a client sends.
    pub codecs: ArrayVec<NegotiatedCodec, MAX_CODECS>,
    pub extensions: ExtensionIds,
    /// The client sends on it.
    pub receive: Option<ReceiveMedia>,
    /// The server sends on it.
    pub send: Option<SendMedia>,
    /// The peer agreed to reduced-size RTCP (RFC 5506).
    pub reduced_size_rtcp: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

/// `a=fingerprint`, SHA-256, 384 or 512 (RFC 8122).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub algorithm: FingerprintAlgorithm,
    pub digest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FingerprintAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

/// The server's DTLS role (RFC 5763, section 5): `Passive` is the DTLS server, taken for `actpass` offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    Active,
    Passive,
}

/// All media sections of a session and the transport that BUNDLE joins them on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    pub remote_ice: IceCredentials,
    pub remote_fingerprint: Fingerprint,
    pub dtls_role: DtlsRole,
    /// In the order of the m-lines; rejected sections are left out.
    pub media: Vec<NegotiatedMedia>,
}

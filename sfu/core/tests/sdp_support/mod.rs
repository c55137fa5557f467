//! Fixtures and a one-line view of what was negotiated.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod worst;

use std::fmt::Write as _;
use std::io::Write as _;

use tianqiao_sfu_core::negotiated::*;
use tianqiao_sfu_core::sdp::*;

pub const FIXTURES: [&str; 8] = [
    "chromium_meeting_trimmed",
    "chromium_plain",
    "chromium_sendrecv_data",
    "chromium_whep",
    "firefox_meeting",
    "firefox_sendrecv_data",
    "safari_sendrecv_data",
    "webrtc_crate",
];

pub const LOCAL_UFRAG: &str = "0000000001abcdef";

/// The offer as the browser makes it, with lines that end in CRLF.
pub fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/sdp/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().replace('\n', "\r\n")
}

/// What [`AnswerParams`] borrows.
pub struct Local {
    ice: IceCredentials,
    fingerprint: Fingerprint,
    candidates: [Candidate; 2],
    preferences: CodecPreferences,
}

impl Local {
    pub fn new() -> Self {
        let addr = ([192, 0, 2, 1], 5000).into();
        Self {
            ice: IceCredentials {
                ufrag: LOCAL_UFRAG.to_owned(),
                pwd: "abcdefghijklmnopqrstuvwx".to_owned(),
            },
            fingerprint: Fingerprint {
                algorithm: FingerprintAlgorithm::Sha256,
                digest: vec![0xab; 32],
            },
            candidates: [Protocol::Udp, Protocol::TcpPassive].map(|protocol| Candidate { protocol, addr }),
            preferences: CodecPreferences::default(),
        }
    }
}

pub fn params(local: &Local) -> AnswerParams<'_> {
    AnswerParams {
        local_ice: &local.ice,
        fingerprint: &local.fingerprint,
        candidates: &local.candidates,
        session_id: 42,
        version: 1,
        first_ssrc: 1000,
        preferences: &local.preferences,
        low_voices: &[],
        rfc8888: false,
    }
}

pub fn answer_to(offer: &str) -> Result<Answered, SdpError> {
    let offer = Offer::parse(offer, &SdpLimits::default())?;
    answer(&offer, &params(&Local::new()), None)
}

pub fn negotiated(offer: &str) -> Negotiated {
    answer_to(offer).unwrap().negotiated
}

/// A line per section.
pub fn summary(negotiated: &Negotiated) -> String {
    let mut out = String::new();
    for media in &negotiated.media {
        let kind = format!("{:?}", media.kind).to_lowercase();
        let _ = write!(out, "{} {kind}", media.mid);
        if let Some(receive) = &media.receive {
            let ssrcs = receive.ssrcs.iter().map(|(ssrc, rtx)| match rtx {
                Some(rtx) => format!("{}/{}", ssrc.0, rtx.0),
                None => ssrc.0.to_string(),
            });
            let streams: Vec<String> = ssrcs.chain(receive.rids.iter().map(|rid| rid.to_string())).collect();
            let _ = write!(out, " receive {}", streams.join(";"));
        }
        if let Some(send) = media.send {
            let _ = write!(out, " slot {}", send.ssrc.0);
        }
        let ids = &media.extensions;
        let extensions: String = [
            ("mid", ids.mid),
            ("rid", ids.rid),
            ("rrid", ids.repaired_rid),
            ("level", ids.audio_level),
            ("time", ids.abs_send_time),
            ("twcc", ids.transport_cc),
            ("rotation", ids.video_orientation),
            ("dd", ids.dependency_descriptor),
        ]
        .into_iter()
        .filter_map(|(name, id)| id.map(|id| format!(" {name}{id}")))
        .collect();
        let _ = writeln!(out, " | {} |{extensions}", codecs(media));
    }
    out
}

pub fn codecs(media: &NegotiatedMedia) -> String {
    let codecs = media.codecs.iter().map(|negotiated| {
        let rtx = negotiated.rtx.map(|rtx| format!("/{rtx}")).unwrap_or_default();
        let codec = match negotiated.codec {
            Codec::Vp9 { profile } => format!("Vp9 {profile}"),
            Codec::Av1 { profile } => format!("Av1 {profile}"),
            Codec::H264 { profile } => format!("H264 {profile:04x}"),
            other => format!("{other:?}"),
        };
        format!("{}{rtx} {codec}", negotiated.payload_type)
    });
    codecs.collect::<Vec<_>>().join(", ")
}

/// Bytes of `text` as a raw DEFLATE stream.
pub fn deflated_len(text: &str) -> usize {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().len()
}

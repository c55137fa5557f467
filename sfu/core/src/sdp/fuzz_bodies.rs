//! What the fuzz target runs: it takes any bytes and must neither panic nor grow without bound.

use std::io::Cursor;

use rtc_sdp::SessionDescription;

use super::{AnswerParams, Candidate, CodecPreferences, Offer, Protocol, SdpLimits, answer, fragment};
use crate::negotiated::{Fingerprint, FingerprintAlgorithm, IceCredentials};
use crate::units::Mid;

/// `data` as a trickle fragment and as an offer, whose answer must be SDP with as many media sections,
/// and the same again when the session goes on.
pub fn fuzz_sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = fragment::parse(&text);
    let Ok(offer) = Offer::parse(&text, &SdpLimits::default()) else {
        return;
    };
    let params = AnswerParams {
        local_ice: &IceCredentials {
            ufrag: "0000000001abcdef".to_owned(),
            pwd: "abcdefghijklmnopqrstuvwx".to_owned(),
        },
        fingerprint: &Fingerprint {
            algorithm: FingerprintAlgorithm::Sha256,
            digest: vec![0xab; 32],
        },
        candidates: &[Candidate {
            protocol: Protocol::Udp,
            addr: ([192, 0, 2, 1], 5000).into(),
        }],
        session_id: 1,
        version: 1,
        first_ssrc: 1000,
        preferences: &CodecPreferences::default(),
        low_voices: &[Mid::from("0").expect("short")],
        rfc8888: true,
    };
    let first = answer(&offer, &params, None).expect("a first offer that parses is answered");
    let sections = |sdp: &str| sdp.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(sections(&first.sdp), sections(&text));
    SessionDescription::unmarshal(&mut Cursor::new(first.sdp.as_bytes())).expect("what we answer is SDP");
    let again = answer(&offer, &params, Some(&first.negotiated)).expect("the same offer again");
    assert_eq!(again, first);
}

//! Trickle fragments (RFC 8840, `application/trickle-ice-sdpfrag`) as WHIP's and WHEP's PATCH carry
//! them (RFC 9725, section 4.3).

use super::candidate::{Candidate, write_candidates};
use super::transport::credentials;
use super::{SdpError, SdpLimits, lines};
use crate::negotiated::{IceCredentials, MediaKind, Negotiated};
use std::fmt::Write;

/// The client's ICE credentials: new ones restart ICE, those of the session only bring candidates, which an
/// ICE-lite server has no use for.
///
/// # Errors
/// [`SdpError::Invalid`] for fragments without credentials or with malformed ones, [`SdpError::TooLarge`] past the
/// default [`SdpLimits`].
pub fn parse(text: &str) -> Result<IceCredentials, SdpError> {
    let (mut ufrag, mut pwd) = (None, None);
    for line in lines(text, &SdpLimits::default())? {
        let line = line?;
        ufrag = ufrag.or(line.strip_prefix("a=ice-ufrag:"));
        pwd = pwd.or(line.strip_prefix("a=ice-pwd:"));
    }
    match (ufrag, pwd) {
        (Some(ufrag), Some(pwd)) => credentials(ufrag.trim(), pwd.trim()),
        _ => Err(SdpError::Invalid("no ice-ufrag and ice-pwd")),
    }
}

/// The server's new credentials and its candidates, for the reply to an ICE restart.
pub fn write(local_ice: &IceCredentials, candidates: &[Candidate], negotiated: &Negotiated) -> String {
    let mids: Vec<&str> = negotiated.media.iter().map(|media| media.mid.as_str()).collect();
    let kind = match negotiated.media.first().map(|media| media.kind) {
        Some(MediaKind::Video) => "video",
        _ => "audio",
    };
    let mut out = String::with_capacity(256 + 96 * candidates.len());
    let _ = write!(
        out,
        "a=ice-lite\r\na=group:BUNDLE {}\r\nm={kind} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{}\r\n\
         a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        mids.join(" "),
        mids.first().unwrap_or(&""),
        local_ice.ufrag,
        local_ice.pwd
    );
    write_candidates(&mut out, candidates);
    out
}

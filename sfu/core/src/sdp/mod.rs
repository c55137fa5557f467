//! Offer → answer. SDP text stays in here; out come plain values ([`crate::negotiated`]).
//!
//! The server only answers, so one pass does: [`Offer::parse`] reads the offer into the few things
//! that matter, [`answer`] decides and writes. What the answer says is kept short, and every media
//! section of one kind has the same shape, since it goes deflated over thin links.

mod answer;
mod candidate;
mod codecs;
mod extensions;
pub mod fragment;
#[doc(hidden)]
pub mod fuzz_bodies;
mod offer;
mod reader;
mod streams;
mod transport;
mod write;

use thiserror::Error;

pub use answer::{AnswerParams, Answered, CodecPreferences, VideoCodec, answer};
pub use candidate::{Candidate, Protocol};
pub use offer::Offer;

/// Why an offer gets no answer. The reasons are fixed sentences: nothing of the offer is in them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SdpError {
    /// Not SDP, or it contradicts the RFCs (`sdp_invalid`).
    #[error("invalid SDP: {0}")]
    Invalid(&'static str),
    /// Past a limit of [`SdpLimits`] (`too_large`).
    #[error("the SDP is too large: {0}")]
    TooLarge(&'static str),
    /// Asks for something that this server does not do (`sdp_unsupported`).
    #[error("unsupported SDP: {0}")]
    Unsupported(&'static str),
}

/// What an offer may cost. All of it is counted while its lines are read for the first time, before anything
/// is looked up in them, so that the work for the worst offer grows with its length and no faster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpLimits {
    pub max_bytes: usize,
    pub max_lines: usize,
    /// Bytes of one line.
    pub max_line: usize,
    /// m-lines, the stopped ones included; as many mids in the BUNDLE group.
    pub max_sections: usize,
    /// `a=` lines of one section, or of the session.
    pub max_attributes: usize,
    /// Formats of an m-line; as many `a=rtpmap` and as many `a=fmtp` below it.
    pub max_codecs: usize,
    /// `a=extmap` of a section, or of the session.
    pub max_extensions: usize,
    /// `a=rid` of a section; as many alternatives in its `a=simulcast`.
    pub max_rids: usize,
    /// `a=ssrc` of a section; as many `a=ssrc-group`.
    pub max_ssrcs: usize,
    /// `a=candidate` of a section.
    pub max_candidates: usize,
}

impl Default for SdpLimits {
    /// Chromium 156's video sections have 168 lines untrimmed: 34 formats and 13 extensions; 3 rids, and without rids
    /// up to 24 lines about SSRCs.
    fn default() -> Self {
        Self {
            max_bytes: 128 * 1024,
            max_lines: 20_000,
            max_line: 4_096,
            max_sections: 128,
            max_attributes: 512,
            // All payload types that there are.
            max_codecs: 128,
            max_extensions: 64,
            max_rids: 16,
            max_ssrcs: 64,
            max_candidates: 128,
        }
    }
}

/// The lines of `text`, which end in CRLF or LF, within the limits that know nothing of their meaning.
fn lines<'a>(
    text: &'a str,
    limits: &SdpLimits,
) -> Result<impl Iterator<Item = Result<&'a str, SdpError>> + use<'a>, SdpError> {
    if text.len() > limits.max_bytes {
        return Err(SdpError::TooLarge("too many bytes"));
    }
    let (max_lines, max_line) = (limits.max_lines, limits.max_line);
    Ok(text.lines().enumerate().map(move |(index, line)| {
        if index >= max_lines {
            return Err(SdpError::TooLarge("too many lines"));
        }
        if line.len() > max_line {
            return Err(SdpError::TooLarge("a line is too long"));
        }
        // A bare CR or NUL would let a value that is echoed begin a new line.
        if line.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return Err(SdpError::Invalid("a control character"));
        }
        Ok(line)
    }))
}

/// `token` of RFC 8866, section 9: what mids, rids and protocol names are made of.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~'))
}

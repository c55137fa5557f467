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
    /// Asks for something that this server does not do (`sdp_unsupported`).
    #[error("unsupported SDP: {0}")]
    Unsupported(&'static str),
}

/// What an offer may cost; checked before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpLimits {
    pub max_bytes: usize,
    pub max_lines: usize,
    /// Bytes of one line.
    pub max_line: usize,
    /// m-lines, the stopped ones included.
    pub max_sections: usize,
}

impl Default for SdpLimits {
    fn default() -> Self {
        Self {
            // Chromium 156's plain offer with 15 media sections is 55 kB.
            max_bytes: 200_000,
            max_lines: 10_000,
            max_line: 4_096,
            max_sections: 64,
        }
    }
}

impl SdpLimits {
    fn check(&self, text: &str) -> Result<(), SdpError> {
        if text.len() > self.max_bytes {
            return Err(SdpError::Invalid("too many bytes"));
        }
        let (mut lines, mut sections) = (0, 0);
        for line in text.lines() {
            lines += 1;
            sections += usize::from(line.starts_with("m="));
            if line.len() > self.max_line {
                return Err(SdpError::Invalid("a line is too long"));
            }
            // A bare CR or NUL would let a value that is echoed begin a new line.
            if line.bytes().any(|byte| byte < b' ' && byte != b'\t') {
                return Err(SdpError::Invalid("a control character"));
            }
        }
        if lines > self.max_lines {
            return Err(SdpError::Invalid("too many lines"));
        }
        if sections > self.max_sections {
            return Err(SdpError::Invalid("too many media sections"));
        }
        Ok(())
    }
}

/// `token` of RFC 8866, section 9: what mids, rids and protocol names are made of.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~'))
}

//! Compressed frames: a binary WebSocket message is the JSON text as a raw DEFLATE stream
//! (RFC 1951), as `CompressionStream("deflate-raw")` makes it.

use std::io::{Read, Write};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use thiserror::Error;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum InflateError {
    #[error("not a raw DEFLATE stream of UTF-8 text")]
    Malformed,
    #[error("more than {limit} bytes when inflated")]
    TooLarge { limit: usize },
}

/// Inflates `data`; memory stays within `limit` bytes whatever the stream claims.
pub fn inflate(data: &[u8], limit: usize) -> Result<String, InflateError> {
    let mut text = Vec::new();
    DeflateDecoder::new(data)
        .take(limit as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|_| InflateError::Malformed)?;
    if text.len() > limit {
        return Err(InflateError::TooLarge { limit });
    }
    String::from_utf8(text).map_err(|_| InflateError::Malformed)
}

/// Deflates `text`.
pub fn deflate(text: &str) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(text.len() / 4), Compression::best());
    encoder.write_all(text.as_bytes()).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back() {
        let text = "{\"type\":\"ping\",\"t\":1}".repeat(50);
        assert_eq!(inflate(&deflate(&text), 4096), Ok(text));
    }

    #[test]
    fn a_bomb_is_cut_at_the_limit() {
        let bomb = deflate(&"a".repeat(1 << 20));
        assert_eq!(inflate(&bomb, 1000), Err(InflateError::TooLarge { limit: 1000 }));
    }

    #[test]
    fn garbage_is_an_error() {
        assert_eq!(inflate(&[0xff; 16], 1000), Err(InflateError::Malformed));
    }
}

//! Compressed frames: a binary WebSocket message is the JSON text as a raw DEFLATE stream
//! (RFC 1951), as `CompressionStream("deflate-raw")` makes it. Over HTTP it is gzip, which has a content coding.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use thiserror::Error;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum InflateError {
    #[error("not a compressed stream of UTF-8 text")]
    Malformed,
    #[error("more than {limit} bytes when inflated")]
    TooLarge { limit: usize },
}

/// Inflates `data`; memory stays within `limit` bytes whatever the stream claims.
pub fn inflate(data: &[u8], limit: usize) -> Result<String, InflateError> {
    read_text(DeflateDecoder::new(data), limit)
}

/// As [`inflate`], of a gzip stream (RFC 1952), as `CompressionStream("gzip")` makes it.
pub fn inflate_gzip(data: &[u8], limit: usize) -> Result<String, InflateError> {
    read_text(GzDecoder::new(data), limit)
}

fn read_text(stream: impl Read, limit: usize) -> Result<String, InflateError> {
    let mut text = Vec::new();
    let read = stream.take(limit as u64 + 1).read_to_end(&mut text);
    read.map_err(|_| InflateError::Malformed)?;
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

/// Deflates `text` into a gzip stream.
pub fn deflate_as_gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::best());
    encoder.write_all(text.as_bytes()).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back() {
        let text = "{\"type\":\"ping\",\"t\":1}".repeat(50);
        assert_eq!(inflate_gzip(&deflate_as_gzip(&text), 4096).as_ref(), Ok(&text));
        assert_eq!(inflate(&deflate(&text), 4096), Ok(text));
    }

    #[test]
    fn a_bomb_is_cut_at_the_limit() {
        let bomb = deflate(&"a".repeat(1 << 20));
        assert_eq!(inflate(&bomb, 1000), Err(InflateError::TooLarge { limit: 1000 }));
        let bomb = deflate_as_gzip(&"a".repeat(1 << 20));
        assert_eq!(inflate_gzip(&bomb, 1000), Err(InflateError::TooLarge { limit: 1000 }));
    }

    #[test]
    fn garbage_is_an_error() {
        assert_eq!(inflate(&[0xff; 16], 1000), Err(InflateError::Malformed));
        assert_eq!(inflate_gzip(&[0xff; 16], 1000), Err(InflateError::Malformed));
    }
}

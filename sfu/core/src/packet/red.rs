//! Redundant audio (RFC 2198): older frames in front of the primary one.

use std::ops::Range;

use super::bytes::{u16_at, u32_at};
use crate::drop_reason::DropReason;
use crate::units::PayloadType;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub payload_type: PayloadType,
    /// How much older than the packet's timestamp, in clock units; 0 for the primary.
    pub timestamp_offset: u16,
    /// Where its data lies in the payload.
    pub range: Range<usize>,
}

/// The blocks of a payload in their order; the last is the primary one.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    payload: &'a [u8],
    /// Of the next block header.
    header: usize,
    /// Of the next block's data.
    data: usize,
}

/// # Errors
/// [`DropReason::RtpMalformed`] where headers or blocks are longer than the payload.
pub fn blocks(payload: &[u8]) -> Result<Blocks<'_>, DropReason> {
    let mut headers = 0;
    let mut data: usize = 0;
    while payload.get(headers).ok_or(DropReason::RtpMalformed)? & 0x80 != 0 {
        data += usize::from(u16_at(payload, headers + 2).ok_or(DropReason::RtpMalformed)? & 0x3ff);
        headers += 4;
    }
    headers += 1;
    if headers + data > payload.len() {
        return Err(DropReason::RtpMalformed);
    }
    Ok(Blocks {
        payload,
        header: 0,
        data: headers,
    })
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        // Behind the primary block's header only data follows.
        if self.header == usize::MAX {
            return None;
        }
        let first = *self.payload.get(self.header)?;
        let payload_type = first & 0x7f;
        if first & 0x80 == 0 {
            self.header = usize::MAX;
            return Some(Block {
                payload_type,
                timestamp_offset: 0,
                range: self.data..self.payload.len(),
            });
        }
        let fields = u32_at(self.payload, self.header)?;
        let start = self.data;
        self.header += 4;
        self.data += (fields & 0x3ff) as usize;
        Some(Block {
            payload_type,
            timestamp_offset: (fields >> 10 & 0x3fff) as u16,
            range: start..self.data,
        })
    }
}

/// The newest frame alone: what is left where a receiver has no RED.
///
/// # Errors
/// As [`blocks`].
pub fn primary(payload: &[u8]) -> Result<Block, DropReason> {
    blocks(payload)?.last().ok_or(DropReason::RtpMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chrome's: one older frame of 20 ms (960 units) and 3 bytes, then the primary.
    const CHROME: &[u8] = &[0x80 | 111, 0x0f, 0x00, 0x03, 111, 1, 2, 3, 4, 5];

    #[test]
    fn blocks_of_chrome() {
        let read: Vec<_> = blocks(CHROME)
            .unwrap()
            .map(|block| (block.payload_type, block.timestamp_offset, &CHROME[block.range]))
            .collect();
        assert_eq!(read, [(111, 960, &[1, 2, 3][..]), (111, 0, &[4, 5])]);
        assert_eq!(primary(CHROME).unwrap().range, 8..10);
    }

    #[test]
    fn primaries() {
        for (name, payload, expected) in [
            ("alone", &[111, 7, 8][..], Ok((111, 1..3))),
            ("alone and empty", &[111], Ok((111, 1..1))),
            (
                "two older",
                &[0xef, 0x1e, 0, 1, 0xef, 0x0f, 0, 1, 63, 1, 2, 3],
                Ok((63, 11..12)),
            ),
            ("empty", &[], Err(DropReason::RtpMalformed)),
            ("header cut off", &[0xef, 0x0f, 0], Err(DropReason::RtpMalformed)),
            ("no primary", &[0xef, 0x0f, 0, 0], Err(DropReason::RtpMalformed)),
            (
                "block cut off",
                &[0xef, 0x0f, 0, 2, 111, 1],
                Err(DropReason::RtpMalformed),
            ),
        ] {
            let read = primary(payload).map(|block| (block.payload_type, block.range));
            assert_eq!(read, expected, "{name}");
        }
    }
}

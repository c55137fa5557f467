//! Writes a packet with earlier frames (RFC 2198, section 3): a header for each block, then the blocks, the newest
//! frame last.

use super::super::write::{Outgoing, Written, write_header};
use crate::pool::Packet;
use crate::units::PayloadType;

/// `blocks` are payload and timestamp offset of each earlier frame, the oldest first; lengths and offsets fit their
/// fields. `None` where `out` is too small.
pub fn write<'a>(
    out: &mut [u8],
    packet: &Packet,
    outgoing: &Outgoing<'_>,
    opus: PayloadType,
    blocks: impl Iterator<Item = (&'a [u8], u16)> + Clone,
) -> Option<Written> {
    let header_len = write_header(out, packet, outgoing)?;
    let mut at = header_len;
    for (frame, offset) in blocks.clone() {
        debug_assert!(frame.len() < 1 << 10 && offset < 1 << 14);
        let fields = 0x8000_0000 | u32::from(opus) << 24 | u32::from(offset) << 10 | frame.len() as u32;
        push(out, &mut at, &fields.to_be_bytes())?;
    }
    push(out, &mut at, &[opus])?;
    for (frame, _) in blocks {
        push(out, &mut at, frame)?;
    }
    push(out, &mut at, packet.payload())?;
    Some(Written { header_len, len: at })
}

fn push(out: &mut [u8], at: &mut usize, bytes: &[u8]) -> Option<()> {
    let end = *at + bytes.len();
    out.get_mut(*at..end)?.copy_from_slice(bytes);
    *at = end;
    Some(())
}

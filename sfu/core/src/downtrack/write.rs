//! Writes a forwarded packet: a new header (with the track as CSRC, RFC 3550 section 5.1) and header
//! extensions as the subscriber numbered them, then the payload with its few rewritten bytes.

use super::layers::{DescriptorEdit, MAX_GROWTH};
use super::stamp::Stamp;
use crate::negotiated::ExtensionIds;
use crate::packet::extensions::ExtensionWriter;
use crate::packet::rtp::{append_padding, set_extension_bit};
use crate::packet::rtx::{self, OSN_LEN};
use crate::pool::{MAX_DESCRIPTOR, Packet};
use crate::units::{PayloadType, Ssrc, TrackId};

/// Most bytes that a header, its extensions and padding add to a payload.
pub const MAX_HEADER: usize = 16 + 4 + 12 + MAX_DESCRIPTOR + MAX_GROWTH + 4 + 64;

/// Everything in which a forwarded packet differs from the publisher's.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub ssrc: Ssrc,
    pub payload_type: PayloadType,
    pub seq: u16,
    pub timestamp: u32,
    pub csrc: TrackId,
    pub extensions: &'a ExtensionIds,
    /// Bytes of RTP padding to append.
    pub padding: u8,
    /// The original sequence number of a retransmission (RFC 4588, section 4).
    pub original_seq: Option<u16>,
    /// New VP8 picture id and TL0PICIDX.
    pub vp8: Option<(u16, u8)>,
    /// The last packet of its picture.
    pub marker: bool,
    /// The RFC 6464 byte.
    pub audio_level: Option<u8>,
    pub descriptor: DescriptorEdit,
    /// What the client's feedback goes by, and its value.
    pub stamp: Option<(Stamp, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub header_len: usize,
    pub len: usize,
}

/// `None` where `out` is too small.
pub fn write(out: &mut [u8], packet: &Packet, outgoing: &Outgoing<'_>) -> Option<Written> {
    let payload = packet.payload();
    let header_len = write_header(out, packet, outgoing)?;
    let osn_len = outgoing.original_seq.map_or(0, |_| OSN_LEN);
    let start = header_len + osn_len;
    let end = start + payload.len();
    match outgoing.original_seq {
        Some(seq) => {
            rtx::write_payload(seq, payload, &mut out[header_len..])?;
        }
        None => out.get_mut(start..end)?.copy_from_slice(payload),
    }
    if let Some((fields, (picture_id, tl0_pic_idx))) = packet.frame.vp8.zip(outgoing.vp8) {
        fields.rewrite(&mut out[start..end], picture_id, tl0_pic_idx);
    }
    let len = match outgoing.padding {
        0 => end,
        padding => append_padding(out, end, padding)?,
    };
    Some(Written { header_len, len })
}

/// A packet of nothing but padding (RFC 3550, section 5.1), for feedback on it.
pub fn padding(
    out: &mut [u8],
    ssrc: Ssrc,
    payload_type: PayloadType,
    seq: u16,
    timestamp: u32,
    (stamp, value): (Stamp, u32),
    padding: u8,
) -> Option<Written> {
    let fixed = out.first_chunk_mut::<12>()?;
    fixed[0] = 0x80;
    fixed[1] = payload_type;
    fixed[2..4].copy_from_slice(&seq.to_be_bytes());
    fixed[4..8].copy_from_slice(&timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
    let mut extensions = ExtensionWriter::new(&mut out[12..]);
    stamp.write(value, &mut extensions);
    let extension_len = extensions.finish();
    let header_len = 12 + extension_len;
    if extension_len > 0 {
        set_extension_bit(out);
    }
    let len = append_padding(out, header_len, padding)?;
    Some(Written { header_len, len })
}

/// The header with its extensions; its length.
pub(super) fn write_header(out: &mut [u8], packet: &Packet, outgoing: &Outgoing<'_>) -> Option<usize> {
    let fixed = out.first_chunk_mut::<16>()?;
    // Version 2, one CSRC.
    fixed[0] = 0x81;
    fixed[1] = outgoing.payload_type | if outgoing.marker { 0x80 } else { 0 };
    fixed[2..4].copy_from_slice(&outgoing.seq.to_be_bytes());
    fixed[4..8].copy_from_slice(&outgoing.timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&outgoing.ssrc.0.to_be_bytes());
    fixed[12..16].copy_from_slice(&outgoing.csrc.0.to_be_bytes());
    let extension_len = write_extensions(&mut out[16..], packet, outgoing);
    if extension_len > 0 {
        set_extension_bit(out);
    }
    Some(16 + extension_len)
}

/// Length of the extension block, 0 without any. One that does not fit is left out.
fn write_extensions(out: &mut [u8], packet: &Packet, outgoing: &Outgoing<'_>) -> usize {
    let (ids, edit) = (outgoing.extensions, outgoing.descriptor);
    let mut extensions = ExtensionWriter::new(out);
    if let Some((stamp, value)) = outgoing.stamp {
        stamp.write(value, &mut extensions);
    }
    if let Some((level, id)) = outgoing.audio_level.zip(ids.audio_level) {
        extensions.push(id, &[level]);
    }
    if let Some((orientation, id)) = packet.video_orientation.zip(ids.video_orientation) {
        extensions.push(id, &[orientation]);
    }
    if let Some(id) = ids
        .dependency_descriptor
        .filter(|_| !packet.dependency_descriptor().is_empty())
    {
        let descriptor = packet.dependency_descriptor();
        match &packet.frame.described {
            Some(frame) if edit != DescriptorEdit::default() => {
                let mut edited = [0; MAX_DESCRIPTOR + MAX_GROWTH];
                let len = edit.apply(descriptor, frame, &mut edited);
                extensions.push(id, &edited[..len]);
            }
            _ => {
                extensions.push(id, descriptor);
            }
        }
    }
    extensions.finish()
}

//! Bodies of datagrams: numbers in network order, kinds and flags in bytes. What a later version adds is a kind of its
//! own, which this one passes over.

use std::ops::Range;
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::negotiated::{Codec, MAX_LAYERS};
use crate::packet::dependency_descriptor::Dtis;
use crate::packet::described_frame::{DescribedFrame, MAX_CHAINS};
use crate::packet::payload::{FrameInfo, Vp9Layer};
use crate::packet::vp8::{PictureId, Vp8Descriptor};
use crate::pool::{MAX_DESCRIPTOR, PACKET_CAPACITY, Packet, PacketInfo};
use crate::units::{ExtendedSeq, TrackId};

/// What a body is.
pub(super) mod kind {
    pub const MEDIA: u8 = 1;
    /// Media that was missing: the number of the datagram that had it comes first.
    pub const REPAIR: u8 = 2;
    pub const CONTROL: u8 = 3;
    pub const SIGNAL: u8 = 4;
    /// Of the peer's datagrams: which arrived when.
    pub const FEEDBACK: u8 = 5;
    /// Of the peer's datagrams: which are missing.
    pub const NACK: u8 = 6;
    /// Only to be heard.
    pub const ALIVE: u8 = 7;
}

/// Longest encoding of kind, repaired number and [`PacketInfo`].
pub(super) const MAX_INFO: usize = 96;

/// Writes into a slice; what does not fit makes it fail at the end.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    is_full: bool,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            at: 0,
            is_full: false,
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.at..self.at + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.is_full = true,
        }
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Bytes that were written; `None` where something did not fit.
    pub fn finish(self) -> Option<usize> {
        (!self.is_full).then_some(self.at)
    }
}

/// Reads from a slice; `None` past its end.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// A byte with a bit for each of `bits`, the first lowest.
fn flags<const N: usize>(bits: [bool; N]) -> u8 {
    bits.iter().rev().fold(0, |flags, &bit| flags << 1 | u8::from(bit))
}

fn bit(flags: u8, place: u8) -> bool {
    flags >> place & 1 == 1
}

pub(super) fn write_codec(writer: &mut Writer<'_>, codec: Codec) {
    let (tag, profile) = match codec {
        Codec::Opus => (0, 0),
        Codec::Red => (1, 0),
        Codec::Vp8 => (2, 0),
        Codec::Vp9 { profile } => (3, profile.into()),
        Codec::H264 { profile } => (4, profile),
        Codec::Av1 { profile } => (5, profile.into()),
    };
    writer.u8(tag);
    writer.u16(profile);
}

pub(super) fn read_codec(reader: &mut Reader<'_>) -> Option<Codec> {
    let (tag, profile) = (reader.u8()?, reader.u16()?);
    let short = || u8::try_from(profile).ok();
    Some(match tag {
        0 => Codec::Opus,
        1 => Codec::Red,
        2 => Codec::Vp8,
        3 => Codec::Vp9 { profile: short()? },
        4 => Codec::H264 { profile },
        5 => Codec::Av1 { profile: short()? },
        _ => return None,
    })
}

/// Writes a media body into `out`; its length.
/// `padding` bytes behind it make it as long as its neighbours.
pub(super) fn write_media(
    out: &mut [u8],
    track: TrackId,
    packet: &Packet,
    repairs: Option<u64>,
    padding: u8,
) -> Option<usize> {
    let mut writer = Writer::new(out);
    match repairs {
        Some(number) => {
            writer.u8(kind::REPAIR);
            writer.u64(number);
        }
        None => writer.u8(kind::MEDIA),
    }
    writer.u32(track.0);
    write_info(&mut writer, packet);
    let descriptor = packet.dependency_descriptor();
    writer.u8(descriptor.len() as u8);
    writer.u16(packet.payload().len() as u16);
    writer.bytes(descriptor);
    writer.bytes(packet.payload());
    writer.bytes(&[0; u8::MAX as usize][..padding.into()]);
    writer.finish()
}

fn write_info(writer: &mut Writer<'_>, info: &PacketInfo) {
    let frame = &info.frame;
    writer.u8(info.layer);
    writer.u8(flags([
        info.marker,
        info.recovered,
        info.audio_level.is_some(),
        info.video_orientation.is_some(),
        frame.keyframe,
        frame.start_of_frame,
        frame.end_of_frame,
        frame.layer_sync,
    ]));
    writer.u8(flags([
        frame.resolution.is_some(),
        frame.vp8.is_some(),
        frame.vp9.is_some(),
        frame.described.is_some(),
    ]));
    write_codec(writer, info.codec);
    writer.u64(info.seq.0);
    writer.u32(info.timestamp);
    writer.u8(frame.spatial_id << 4 | frame.temporal_id & 0x0f);
    for byte in info.audio_level.iter().chain(&info.video_orientation) {
        writer.u8(*byte);
    }
    if let Some((width, height)) = frame.resolution {
        writer.u16(width);
        writer.u16(height);
    }
    if let Some(vp8) = &frame.vp8 {
        write_vp8(writer, vp8);
    }
    if let Some(vp9) = &frame.vp9 {
        writer.u8(flags([vp9.inter_picture_predicted, vp9.not_spatial_reference]));
        writer.u8(vp9.spatial_layers);
        vp9.heights.iter().for_each(|&height| writer.u16(height));
    }
    if let Some(described) = &frame.described {
        write_described(writer, described);
    }
}

fn write_vp8(writer: &mut Writer<'_>, vp8: &Vp8Descriptor) {
    let is_long = vp8.picture_id.is_some_and(|id| id.has_15_bits);
    writer.u8(flags([
        vp8.picture_id.is_some(),
        is_long,
        vp8.tl0_pic_idx.is_some(),
        vp8.key_idx.is_some(),
        vp8.layer_sync,
        vp8.non_reference,
        vp8.start_of_frame,
        vp8.keyframe,
    ]));
    writer.u8(vp8.temporal_id);
    writer.u8(vp8.len);
    if let Some(id) = vp8.picture_id {
        writer.u16(id.value);
        writer.u8(id.at);
    }
    for (value, at) in vp8.tl0_pic_idx.iter().chain(&vp8.key_idx) {
        writer.u8(*value);
        writer.u8(*at);
    }
    let (width, height) = vp8.resolution.unwrap_or_default();
    writer.u16(width);
    writer.u16(height);
}

fn write_described(writer: &mut Writer<'_>, described: &DescribedFrame) {
    writer.u16(described.number);
    writer.u64(described.dtis.bits());
    writer.bytes(&described.chain_diffs);
    writer.u8(flags([
        described.has_structure,
        described.active.is_some(),
        described.has_mask,
    ]));
    writer.u32(described.active.unwrap_or(0));
    writer.u16(described.mask_at);
    writer.u8(described.target_count);
}

/// A media body: what it has, and where payload and descriptor lie in it.
pub(super) struct MediaBody {
    pub repairs: Option<u64>,
    pub track: TrackId,
    pub info: PacketInfo,
    pub payload: Range<usize>,
    pub descriptor: Range<usize>,
}

/// Reads a body of [`kind::MEDIA`] or [`kind::REPAIR`], which came at `now`.
pub(super) fn read_media(body: &[u8], now: Instant) -> Result<MediaBody, DropReason> {
    parse_media(body, now).ok_or(DropReason::LinkMalformed)
}

fn parse_media(body: &[u8], now: Instant) -> Option<MediaBody> {
    let mut reader = Reader::new(body);
    let repairs = match reader.u8()? {
        kind::REPAIR => Some(reader.u64()?),
        _ => None,
    };
    let track = TrackId(reader.u32()?);
    let mut info = read_info(&mut reader, now)?;
    info.recovered |= repairs.is_some();
    let descriptor_len = usize::from(reader.u8()?);
    let payload_len = usize::from(reader.u16()?);
    let start = reader.position();
    let descriptor = start..start + reader.bytes(descriptor_len)?.len();
    let payload = descriptor.end..descriptor.end + reader.bytes(payload_len)?.len();
    let fits = payload.len() <= PACKET_CAPACITY && descriptor_len <= MAX_DESCRIPTOR;
    (fits && is_sound(&info, payload.len(), descriptor_len)).then_some(MediaBody {
        repairs,
        track,
        info,
        payload,
        descriptor,
    })
}

/// What is rewritten in place lies within the packet.
fn is_sound(info: &PacketInfo, payload: usize, descriptor: usize) -> bool {
    let within = |at: u8, len: usize| usize::from(at) + len <= payload;
    let vp8 = info.frame.vp8.is_none_or(|vp8| {
        vp8.picture_id
            .is_none_or(|id| within(id.at, if id.has_15_bits { 2 } else { 1 }))
            && vp8.tl0_pic_idx.is_none_or(|(_, at)| within(at, 1))
            && vp8.key_idx.is_none_or(|(_, at)| within(at, 1))
            && within(vp8.len, 0)
    });
    let mask = info.frame.described.is_none_or(|described| {
        let end = usize::from(described.mask_at) + usize::from(described.target_count);
        !described.has_mask || end <= descriptor * 8
    });
    usize::from(info.layer) < MAX_LAYERS && info.codec != Codec::Red && vp8 && mask
}

fn read_info(reader: &mut Reader<'_>, now: Instant) -> Option<PacketInfo> {
    let layer = reader.u8()?;
    let (first, second) = (reader.u8()?, reader.u8()?);
    let codec = read_codec(reader)?;
    let seq = ExtendedSeq(reader.u64()?);
    let timestamp = reader.u32()?;
    let ids = reader.u8()?;
    let audio_level = if bit(first, 2) { Some(reader.u8()?) } else { None };
    let video_orientation = if bit(first, 3) { Some(reader.u8()?) } else { None };
    let mut frame = FrameInfo {
        keyframe: bit(first, 4),
        start_of_frame: bit(first, 5),
        end_of_frame: bit(first, 6),
        layer_sync: bit(first, 7),
        temporal_id: ids & 0x0f,
        spatial_id: ids >> 4,
        ..FrameInfo::default()
    };
    if bit(second, 0) {
        frame.resolution = Some((reader.u16()?, reader.u16()?));
    }
    if bit(second, 1) {
        frame.vp8 = Some(read_vp8(reader)?);
    }
    if bit(second, 2) {
        frame.vp9 = Some(read_vp9(reader)?);
    }
    if bit(second, 3) {
        frame.described = Some(read_described(reader)?);
    }
    Some(PacketInfo {
        seq,
        timestamp,
        marker: bit(first, 0),
        codec,
        layer,
        arrival: now,
        frame,
        audio_level,
        video_orientation,
        recovered: bit(first, 1),
    })
}

fn read_vp8(reader: &mut Reader<'_>) -> Option<Vp8Descriptor> {
    let flags = reader.u8()?;
    let (temporal_id, len) = (reader.u8()?, reader.u8()?);
    let mut vp8 = Vp8Descriptor {
        temporal_id,
        len,
        layer_sync: bit(flags, 4),
        non_reference: bit(flags, 5),
        start_of_frame: bit(flags, 6),
        keyframe: bit(flags, 7),
        ..Vp8Descriptor::default()
    };
    if bit(flags, 0) {
        vp8.picture_id = Some(PictureId {
            value: reader.u16()?,
            at: reader.u8()?,
            has_15_bits: bit(flags, 1),
        });
    }
    if bit(flags, 2) {
        vp8.tl0_pic_idx = Some((reader.u8()?, reader.u8()?));
    }
    if bit(flags, 3) {
        vp8.key_idx = Some((reader.u8()?, reader.u8()?));
    }
    let resolution = (reader.u16()?, reader.u16()?);
    vp8.resolution = (resolution != (0, 0)).then_some(resolution);
    Some(vp8)
}

fn read_vp9(reader: &mut Reader<'_>) -> Option<Vp9Layer> {
    let flags = reader.u8()?;
    let spatial_layers = reader.u8()?;
    let mut heights = [0; MAX_LAYERS];
    for height in &mut heights {
        *height = reader.u16()?;
    }
    Some(Vp9Layer {
        inter_picture_predicted: bit(flags, 0),
        not_spatial_reference: bit(flags, 1),
        spatial_layers,
        heights,
    })
}

fn read_described(reader: &mut Reader<'_>) -> Option<DescribedFrame> {
    let number = reader.u16()?;
    let dtis = Dtis::from_bits(reader.u64()?);
    let chain_diffs = reader.bytes(MAX_CHAINS)?.try_into().ok()?;
    let flags = reader.u8()?;
    let active = reader.u32()?;
    Some(DescribedFrame {
        number,
        dtis,
        chain_diffs,
        has_structure: bit(flags, 0),
        active: bit(flags, 1).then_some(active),
        has_mask: bit(flags, 2),
        mask_at: reader.u16()?,
        target_count: reader.u8()?,
    })
}

//! What two nodes say to each other of their tracks besides media.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::clock::PeerClock;
use super::wire::{Reader, Writer, read_codec, write_codec};
use crate::allocator::uplink::{Heights, UplinkPlan, Wants};
use crate::mail::LayerState;
use crate::negotiated::MAX_LAYERS;
use crate::track::MappedReport;
use crate::units::{Bitrate, TrackId};

/// Speakers that are named in one message.
pub const MAX_SPEAKING: usize = 8;
/// In [`LinkMessage::Want`].
pub const WATCHED: u8 = 0x40;
/// Longest name of a session.
const MAX_NAME: usize = 64;

/// Arrives once and in order; a later one of the same kind and track takes the place of one that has not gone out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkMessage {
    /// The layers of a track that this side wants, a bit for each, and [`WATCHED`] as long as it wants to know which there
    /// are; 0: no longer.
    Want { track: TrackId, layers: u8 },
    /// What the subscribers behind this side can use of a track, for the planning of its publisher.
    Wants {
        track: TrackId,
        wants: Box<Wants>,
        heights: Heights,
    },
    /// From the track's side: what is known of its layers.
    Layers {
        track: TrackId,
        layers: ArrayVec<LayerState, MAX_LAYERS>,
        streams: u8,
    },
    /// From the track's side: what its publisher was told to send.
    Plan { track: TrackId, plan: UplinkPlan },
    /// From the side of the node that decides it: who has the floor and who speaks, by their sessions' names.
    Speakers {
        dominant: Option<Arc<str>>,
        speaking: ArrayVec<Arc<str>, MAX_SPEAKING>,
    },
}

/// May be lost; the next one of its kind and track says all that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkSignal {
    Keyframe {
        track: TrackId,
        layer: u8,
    },
    Report {
        track: TrackId,
        layer: u8,
        report: MappedReport,
    },
    /// Layers that its publisher sends and that this link does not carry, a bit for each.
    Flowing {
        track: TrackId,
        layers: u8,
    },
}

mod tag {
    pub const WANT: u8 = 1;
    pub const WANTS: u8 = 2;
    pub const LAYERS: u8 = 3;
    pub const PLAN: u8 = 4;
    pub const SPEAKERS: u8 = 5;

    pub const KEYFRAME: u8 = 1;
    pub const REPORT: u8 = 2;
    pub const FLOWING: u8 = 3;
}

/// Two of the same key: the later one says it all.
pub(super) type Key = (u8, TrackId);

impl LinkMessage {
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Want { track, .. } => (tag::WANT, *track),
            Self::Wants { track, .. } => (tag::WANTS, *track),
            Self::Layers { track, .. } => (tag::LAYERS, *track),
            Self::Plan { track, .. } => (tag::PLAN, *track),
            Self::Speakers { .. } => (tag::SPEAKERS, TrackId(0)),
        }
    }

    pub(super) fn write(&self, clock: &PeerClock, writer: &mut Writer<'_>) {
        let (tag, track) = self.key();
        writer.u8(tag);
        writer.u32(track.0);
        match self {
            Self::Want { layers, .. } => writer.u8(*layers),
            Self::Wants { wants, heights, .. } => {
                heights.iter().for_each(|&height| writer.u16(height));
                write_wants(writer, wants);
            }
            Self::Layers { layers, streams, .. } => {
                writer.u8(*streams);
                writer.u8(layers.len() as u8);
                layers.iter().for_each(|layer| write_layer(writer, clock, layer));
            }
            Self::Plan { plan, .. } => {
                for layer in &plan.layers {
                    writer.u64(layer.map_or(u64::MAX, |rate| rate.0.min(u64::MAX - 1)));
                }
            }
            Self::Speakers { dominant, speaking } => {
                write_name(writer, dominant.as_deref().unwrap_or_default());
                writer.u8(speaking.len() as u8);
                speaking.iter().for_each(|name| write_name(writer, name));
            }
        }
    }

    /// `None`: not of this version, or malformed.
    pub(super) fn read(clock: &PeerClock, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let tag = reader.u8()?;
        let track = TrackId(reader.u32()?);
        Some(match tag {
            tag::WANT => Self::Want {
                track,
                layers: reader.u8()?,
            },
            tag::WANTS => {
                let mut heights = Heights::default();
                for height in &mut heights {
                    *height = reader.u16()?;
                }
                let wants = Box::new(read_wants(reader)?);
                Self::Wants { track, wants, heights }
            }
            tag::LAYERS => {
                let (streams, count) = (reader.u8()?, usize::from(reader.u8()?));
                let mut layers = ArrayVec::new();
                for _ in 0..count.min(MAX_LAYERS) {
                    layers.push(read_layer(reader, clock)?);
                }
                Self::Layers { track, layers, streams }
            }
            tag::PLAN => {
                let mut plan = UplinkPlan::default();
                for layer in &mut plan.layers {
                    *layer = Some(reader.u64()?).filter(|&rate| rate != u64::MAX).map(Bitrate);
                }
                Self::Plan { track, plan }
            }
            tag::SPEAKERS => {
                let dominant = Some(read_name(reader)?).filter(|name| !name.is_empty());
                let count = usize::from(reader.u8()?);
                let mut speaking = ArrayVec::new();
                for _ in 0..count.min(MAX_SPEAKING) {
                    speaking.push(read_name(reader)?);
                }
                Self::Speakers { dominant, speaking }
            }
            _ => return None,
        })
    }
}

impl LinkSignal {
    /// Two of the same key: the later one says it all.
    pub(super) fn key(&self) -> (u8, TrackId, u8) {
        match self {
            Self::Keyframe { track, layer } => (tag::KEYFRAME, *track, *layer),
            Self::Report { track, layer, .. } => (tag::REPORT, *track, *layer),
            Self::Flowing { track, .. } => (tag::FLOWING, *track, 0),
        }
    }

    pub(super) fn write(&self, clock: &PeerClock, writer: &mut Writer<'_>) {
        match self {
            Self::Keyframe { track, layer } => {
                writer.u8(tag::KEYFRAME);
                writer.u32(track.0);
                writer.u8(*layer);
            }
            Self::Report { track, layer, report } => {
                writer.u8(tag::REPORT);
                writer.u32(track.0);
                writer.u8(*layer);
                write_report(writer, clock, report);
            }
            Self::Flowing { track, layers } => {
                writer.u8(tag::FLOWING);
                writer.u32(track.0);
                writer.u8(*layers);
            }
        }
    }

    pub(super) fn read(clock: &PeerClock, reader: &mut Reader<'_>) -> Option<Self> {
        let tag = reader.u8()?;
        let (track, layer) = (TrackId(reader.u32()?), reader.u8()?);
        match tag {
            tag::KEYFRAME => Some(Self::Keyframe { track, layer }),
            tag::FLOWING => Some(Self::Flowing { track, layers: layer }),
            tag::REPORT => {
                let report = read_report(reader, clock)?;
                Some(Self::Report { track, layer, report })
            }
            _ => None,
        }
    }
}

fn write_wants(writer: &mut Writer<'_>, wants: &Wants) {
    writer.u8(u8::from(wants.full_voice) | u8::from(wants.low_voice) << 1);
    let counts = wants.counts();
    writer.u8(counts.clone().count().min(usize::from(u8::MAX)) as u8);
    for (place, count) in counts.take(usize::from(u8::MAX)) {
        writer.u8(place);
        writer.u16(count);
    }
}

fn read_wants(reader: &mut Reader<'_>) -> Option<Wants> {
    let voices = reader.u8()?;
    let mut wants = Wants::default();
    wants.full_voice = voices & 1 != 0;
    wants.low_voice = voices & 2 != 0;
    for _ in 0..reader.u8()? {
        let (place, count) = (reader.u8()?, reader.u16()?);
        wants.set_count(place, count);
    }
    Some(wants)
}

fn write_report(writer: &mut Writer<'_>, clock: &PeerClock, report: &MappedReport) {
    writer.u64(clock.write(report.at) as u64);
    writer.u32(report.rtp);
}

fn read_report(reader: &mut Reader<'_>, clock: &PeerClock) -> Option<MappedReport> {
    let (at, rtp) = (reader.u64()? as i64, reader.u32()?);
    Some(MappedReport {
        at: clock.read(at)?,
        rtp,
    })
}

fn write_layer(writer: &mut Writer<'_>, clock: &PeerClock, layer: &LayerState) {
    writer.u8(u8::from(layer.codec.is_some())
        | u8::from(layer.resolution.is_some()) << 1
        | u8::from(layer.last_packet.is_some()) << 2
        | u8::from(layer.report.is_some()) << 3);
    if let Some(codec) = layer.codec {
        write_codec(writer, codec);
    }
    if let Some((width, height)) = layer.resolution {
        writer.u16(width);
        writer.u16(height);
    }
    if let Some(at) = layer.last_packet {
        writer.u64(clock.write(at) as u64);
    }
    if let Some(report) = &layer.report {
        write_report(writer, clock, report);
    }
}

fn read_layer(reader: &mut Reader<'_>, clock: &PeerClock) -> Option<LayerState> {
    let flags = reader.u8()?;
    let has = |place: u8| flags >> place & 1 == 1;
    Some(LayerState {
        codec: if has(0) { Some(read_codec(reader)?) } else { None },
        resolution: if has(1) {
            Some((reader.u16()?, reader.u16()?))
        } else {
            None
        },
        last_packet: if has(2) { clock.read(reader.u64()? as i64) } else { None },
        report: if has(3) { read_report(reader, clock) } else { None },
    })
}

fn write_name(writer: &mut Writer<'_>, name: &str) {
    let bytes = &name.as_bytes()[..name.len().min(MAX_NAME)];
    writer.u8(bytes.len() as u8);
    writer.bytes(bytes);
}

fn read_name(reader: &mut Reader<'_>) -> Option<Arc<str>> {
    let len = usize::from(reader.u8()?);
    std::str::from_utf8(reader.bytes(len)?).ok().map(Arc::from)
}

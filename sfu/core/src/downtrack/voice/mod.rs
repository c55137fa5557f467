//! A slot's voice, sent so that it survives its way: with earlier frames as redundancy (RFC 2198), several frames
//! in a packet, in its low layer, and with what was sent at hand for sending it again.
//!
//! Frames come as the publisher made them, each by itself. What is made of them is decided here for one subscriber.

mod cutover;
mod format;
mod frames;
mod red_writer;
mod resend_ring;
mod slot;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::{Outgoing, Written};
use crate::packet::opus;
use crate::pool::Packet;
use crate::units::ExtendedSeq;

pub use format::AudioFormat;
pub use resend_ring::{Resend, ResendRing};

use cutover::{Cutover, LatestSound};
use format::RedFormat;
use frames::{Blocks, Frames};

/// A packet of libwebrtc's Opus, 20 ms: taken where the packet does not tell.
const FRAME: u32 = 960;
/// No packet holds back more sound than that; Opus' longest frame.
const MAX_BUNDLE: u32 = 2_880;
/// Frames that may wait for the packet that carries them: a bundle's, or those that a publisher's RED brought.
const MAX_HELD: usize = 5;
/// A larger frame goes alone: next to it a header weighs little. 128 kbit/s at 20 ms.
const MAX_HELD_FRAME: usize = 320;
/// A frame waits no longer for the next ones than they take, and this for the publisher's jitter.
const HOLD_SLACK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Voice {
    format: AudioFormat,
    /// `None`: the subscriber has no RED.
    red: Option<RedFormat>,
    frames: Frames,
    /// Of the next packet.
    number: u32,
    /// Source numbers of the frames that wait for the next packet, and until when.
    held: ArrayVec<ExtendedSeq, MAX_HELD>,
    due: Option<Instant>,
    /// The newest source number of the layer.
    newest: Option<ExtendedSeq>,
    /// What was taken in last.
    latest: Option<LatestSound>,
    cutover: Cutover,
    /// What the packet that is decided on carries besides its own frame.
    blocks: Blocks,
    resend: Option<ResendRing>,
}

impl Voice {
    fn new(red: Option<RedFormat>, latest: Option<LatestSound>) -> Self {
        Self {
            format: AudioFormat::default(),
            red,
            frames: Frames::default(),
            number: 0,
            held: ArrayVec::new(),
            due: None,
            newest: None,
            latest,
            cutover: Cutover::default(),
            blocks: Blocks::default(),
            resend: None,
        }
    }

    fn set_format(&mut self, format: AudioFormat) {
        self.format = format;
        match format.resend {
            true => drop(self.resend.get_or_insert_default()),
            false => self.resend = None,
        }
        if !self.keeps_frames() && self.held.is_empty() {
            self.frames.clear();
        }
    }

    fn keeps_frames(&self) -> bool {
        self.red.is_some() && (self.format.redundancy > 0 || self.format.frames_per_packet > 1)
    }

    /// Another source, or the same one from anew: nothing of before goes with it.
    fn end(&mut self) {
        self.frames.clear();
        self.let_go();
        self.newest = None;
        self.cutover = Cutover::default();
    }

    /// Nothing waits for the next packet any longer.
    fn let_go(&mut self) {
        self.held.clear();
        self.due = None;
    }

    /// Does this frame wait for the next packet? What ends a talk does not.
    fn holds(&self, packet: &Packet, timestamp: u32, duration: u32) -> bool {
        let len = packet.payload().len();
        if !self.keeps_frames() || self.held.is_full() || len > MAX_HELD_FRAME || len <= opus::MAX_DTX {
            return false;
        }
        if packet.recovered {
            // The packet that brought it is next.
            return true;
        }
        let first = if self.held.is_empty() {
            timestamp
        } else {
            self.frames.first_of(self.number).unwrap_or(timestamp)
        };
        let sound = timestamp.wrapping_add(duration).wrapping_sub(first);
        self.held.len() + 1 < usize::from(self.format.frames_per_packet) && sound < MAX_BUNDLE
    }

    fn hold(&mut self, packet: &Packet) {
        self.held.push(packet.seq);
        let frames = u32::from(self.format.frames_per_packet);
        self.due
            .get_or_insert(packet.arrival + Duration::from_millis(20) * frames + HOLD_SLACK);
    }

    /// Writes the packet that was decided on.
    pub(super) fn write(&self, out: &mut [u8], packet: &Packet, outgoing: &Outgoing<'_>) -> Option<Written> {
        let outgoing = Outgoing {
            marker: self.blocks.marker,
            audio_level: self.blocks.audio_level,
            ..*outgoing
        };
        let blocks = self.frames.blocks(&self.blocks);
        red_writer::write(out, packet, &outgoing, self.red?.opus, blocks)
    }
}

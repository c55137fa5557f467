//! What a browser sends: a camera in three simulcast layers, and speech.

#[path = "../rtp_support/mod.rs"]
mod rtp_support;

use std::collections::VecDeque;
use std::time::Duration;

use tianqiao_sfu_core::units::ExtendedSeq;

use rtp_support::{extend, header};

pub const VP8: u8 = 96;
pub const OPUS: u8 = 111;
pub const RIDS: [&str; 3] = ["q", "h", "f"];

/// Height and kbit/s of each layer.
pub const LAYERS: [(u16, usize); 3] = [(180, 150), (360, 500), (720, 1_700)];
/// A key frame of a talking head against a frame between.
const KEYFRAME: usize = 7;
const MTU: usize = 1_100;
/// Packets that may be asked for again.
const REMEMBERED: usize = 400;

pub type Outgoing = (Vec<u8>, usize, ExtendedSeq);

/// How an encoder's rate moves about its mean.
pub type Swing = fn(frame: u64) -> f64;

struct Layer {
    seq: u64,
    picture: u16,
    tl0: u8,
    wants_keyframe: bool,
    /// Bytes of a key frame that the frames after it save again.
    debt: usize,
    /// kbit/s at most; `None`: it is off.
    ceiling: Option<usize>,
    sent: VecDeque<Outgoing>,
}

/// 30 frames a second in three temporal layers; each layer begins with a key frame and sends another when asked.
pub struct Camera {
    mid: &'static str,
    pub ssrc: u32,
    began: Duration,
    frame: u64,
    swing: Swing,
    layers: Vec<Layer>,
}

impl Camera {
    pub fn new(mid: &'static str, ssrc: u32, layers: usize, now: Duration, swing: Swing) -> Self {
        let layer = |_| Layer {
            seq: 65_000,
            picture: 0x7ff0,
            tl0: 0,
            wants_keyframe: true,
            debt: 0,
            ceiling: Some(usize::MAX),
            sent: VecDeque::new(),
        };
        Self {
            mid,
            ssrc,
            began: now,
            frame: 0,
            swing,
            layers: (0..layers).map(layer).collect(),
        }
    }

    fn layer(&mut self, ssrc: u32) -> Option<&mut Layer> {
        self.layers.get_mut(ssrc.checked_sub(self.ssrc)? as usize)
    }

    pub fn on_pli(&mut self, ssrc: u32) {
        if let Some(layer) = self.layer(ssrc) {
            layer.wants_keyframe = true;
        }
    }

    /// As a browser does `setParameters`: a layer that comes back begins with a key frame.
    pub fn set_ceilings(&mut self, ceilings: [Option<usize>; 3]) {
        for (layer, ceiling) in self.layers.iter_mut().zip(ceilings) {
            layer.wants_keyframe |= layer.ceiling.is_none() && ceiling.is_some();
            layer.ceiling = ceiling;
        }
    }

    pub fn on_nack(&mut self, ssrc: u32, seq: u16) -> Option<Outgoing> {
        let sent = &self.layer(ssrc)?.sent;
        sent.iter().find(|packet| packet.2.truncate() == seq).cloned()
    }

    pub fn poll(&mut self, now: Duration) -> Vec<Outgoing> {
        let mut out = Vec::new();
        while now >= self.began + Duration::from_micros(self.frame * 100_000 / 3) {
            for index in 0..self.layers.len() {
                self.encode(index, &mut out);
            }
            self.frame += 1;
        }
        out
    }

    fn encode(&mut self, index: usize, out: &mut Vec<Outgoing>) {
        let (height, kbit) = LAYERS[index];
        let Some(ceiling) = self.layers[index].ceiling else {
            return;
        };
        let kbit = kbit.min(ceiling);
        let mean = ((kbit * 1_000 / 8 / 30) as f64 * (self.swing)(self.frame)) as usize;
        let ssrc = self.ssrc + index as u32;
        let timestamp = self.frame as u32 * 3_000 + 12_345;
        let layer = &mut self.layers[index];
        let is_key = std::mem::take(&mut layer.wants_keyframe);
        let is_base = self.frame.is_multiple_of(4) || is_key;
        // As libwebrtc shares a bit rate out: 40, 20 and 40 %.
        let mut size = if is_base { mean * 8 / 5 } else { mean * 4 / 5 };
        if is_key {
            size = mean * KEYFRAME;
            layer.debt += size - mean;
        } else if layer.debt > 0 {
            let saved = (size / 4).min(layer.debt);
            layer.debt -= saved;
            size -= saved;
        }
        layer.picture = (layer.picture + 1) & 0x7fff;
        layer.tl0 = layer.tl0.wrapping_add(u8::from(is_base));
        let packets = size.div_ceil(MTU).max(1);
        for at in 0..packets {
            layer.seq += 1;
            let last = at + 1 == packets;
            let mut packet = header(VP8, last, layer.seq as u16, timestamp, ssrc);
            extend(&mut packet, &[(1, self.mid.as_bytes()), (2, RIDS[index].as_bytes())]);
            let header_len = packet.len();
            let [high, low] = layer.picture.to_be_bytes();
            // TID and Y, by libwebrtc's pattern of four frames.
            let temporal = match self.frame % 4 {
                _ if is_base => 0x20,
                1 => 0xa0,
                2 => 0x60,
                _ => 0x80,
            };
            packet.extend([
                0x80 | u8::from(at == 0) << 4,
                0xe0,
                0x80 | high,
                low,
                layer.tl0,
                temporal,
            ]);
            if at == 0 && is_key {
                let ([wl, wh], [hl, hh]) = ((height * 16 / 9).to_le_bytes(), height.to_le_bytes());
                packet.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a, wl, wh, hl, hh]);
            } else {
                packet.push(0x11);
            }
            packet.resize(header_len + (size / packets).max(20), 0);
            let packet = (packet, header_len, ExtendedSeq(layer.seq));
            layer.sent.push_back(packet.clone());
            out.push(packet);
        }
        let excess = layer.sent.len().saturating_sub(REMEMBERED);
        layer.sent.drain(..excess);
    }
}

/// Speech of 32 kbit/s in frames of 20 ms, or of 14 kbit/s in frames of 60.
pub struct Speech {
    ssrc: u32,
    began: Duration,
    next: u64,
    is_low: bool,
}

impl Speech {
    pub fn new(ssrc: u32, is_low: bool, now: Duration) -> Self {
        Self {
            ssrc,
            began: now,
            next: 0,
            is_low,
        }
    }

    pub fn poll(&mut self, now: Duration) -> Vec<Outgoing> {
        let (ticks, len, toc) = if self.is_low { (3, 105, 0x18) } else { (1, 80, 0x48) };
        let mut out = Vec::new();
        while now >= self.began + Duration::from_millis(20) * (self.next as u32 + 1) * ticks {
            let seq = 1_000 + self.next;
            let timestamp = self.next as u32 * 960 * ticks;
            let mut packet = header(OPUS, false, seq as u16, timestamp, self.ssrc);
            extend(&mut packet, &[(3, &[0x80 | 20])]);
            let header_len = packet.len();
            packet.push(toc);
            packet.resize(header_len + len, self.next as u8);
            out.push((packet, header_len, ExtendedSeq(seq)));
            self.next += 1;
        }
        out
    }
}

//! What a sender has to send: audio, and video in frames.

use std::time::Duration;

use tianqiao_sfu_core::bwe::PacketKind;
use tianqiao_sfu_core::units::Bitrate;

/// 32 kbit/s of Opus with the headers and tag of every packet.
const AUDIO_PACKET: usize = 152;
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
/// 61 kbit/s.
pub const AUDIO_RATE: Bitrate = Bitrate(AUDIO_PACKET as u64 * 8 * 50);
const FRAME_INTERVAL: Duration = Duration::from_millis(40);
const MAX_PACKET: usize = 1_200;

/// How video picks its rate below the estimate.
#[derive(Clone, Debug)]
pub enum Video {
    None,
    /// An encoder that takes all it may.
    Follows,
    /// Layers of these rates: the highest that fits beside the audio.
    Layers(Vec<Bitrate>),
}

#[derive(Clone, Debug)]
pub struct Source {
    pub video: Video,
    pub audio: bool,
    /// What would be sent at most.
    pub desired: Bitrate,
    /// A frame's size varies by this share up and down, and over seconds once more.
    pub variation: f64,
    pub is_paused: bool,
    next_audio: Duration,
    next_frame: Duration,
    dice: u64,
}

/// A packet to be sent: bytes on the wire and what it carries.
pub type Media = (usize, PacketKind);

impl Source {
    pub fn new(video: Video, desired: Bitrate, seed: u64) -> Self {
        Self {
            video,
            audio: true,
            desired,
            variation: 0.3,
            is_paused: false,
            next_audio: Duration::ZERO,
            next_frame: Duration::ZERO,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Even in −1 to 1 (xorshift64).
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn video_rate(&self, estimate: Bitrate) -> Bitrate {
        let audio = if self.audio { AUDIO_RATE.0 } else { 0 };
        let room = Bitrate(estimate.min(self.desired).0.saturating_sub(audio));
        match &self.video {
            Video::None => Bitrate(0),
            Video::Follows => room,
            Video::Layers(rates) => {
                let fitting = rates.iter().copied().filter(|rate| *rate <= room);
                fitting.max().unwrap_or(Bitrate(0))
            }
        }
    }

    /// What is due by `now`.
    pub fn poll(&mut self, now: Duration, estimate: Bitrate, out: &mut Vec<Media>) {
        // Who begins late has not been waiting.
        self.next_audio = self.next_audio.max(now.saturating_sub(AUDIO_INTERVAL));
        self.next_frame = self.next_frame.max(now.saturating_sub(FRAME_INTERVAL));
        while self.next_audio <= now {
            self.next_audio += AUDIO_INTERVAL;
            if self.audio && !self.is_paused {
                out.push((AUDIO_PACKET, PacketKind::Audio));
            }
        }
        while self.next_frame <= now {
            // A slow wave of twelve seconds: a still scene and a lively one.
            let wave = (self.next_frame.as_secs_f64() / 12.0 * std::f64::consts::TAU).sin();
            self.next_frame += FRAME_INTERVAL;
            let factor = (1.0 + self.variation * self.roll()) * (1.0 + self.variation / 2.0 * wave);
            let bytes = self.video_rate(estimate).times(factor).bytes_in(FRAME_INTERVAL) as usize;
            if bytes == 0 || self.is_paused {
                continue;
            }
            let packets = bytes.div_ceil(MAX_PACKET);
            for _ in 0..packets {
                out.push(((bytes / packets).max(100), PacketKind::Video));
            }
        }
    }
}

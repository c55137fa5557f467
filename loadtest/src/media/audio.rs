//! Audio that an SFU takes for Opus (RFC 7587): 50 packets a second of one loudness.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tianqiao_protocol::MediaKind;

use super::{Mark, MediaSource, Stamp, TrackWindow, nanos_since_epoch};
use crate::client::peer::{OutgoingRtp, SendStream};

const PACKET: Duration = Duration::from_millis(20);
const TICKS: u32 = 960;
/// CELT, full band, 20 ms, mono, one frame (RFC 6716, section 3.1).
const TOC: u8 = 0xf8;
/// About 40 kbit/s.
const PAYLOAD: usize = 100;
/// Decibels between the loud and the low parts of speech.
const SWING: u8 = 12;
/// See `VideoSource`.
const MAX_BACKLOG: Duration = Duration::from_millis(500);

pub struct AudioSource {
    /// RFC 6464 level in −dBov.
    level: u8,
    /// How much the level goes up and down.
    swing: u8,
    window: Arc<TrackWindow>,
    next_packet: Instant,
    seq: u64,
    first_sequence_number: u16,
    first_timestamp: u32,
    payload: [u8; PAYLOAD],
}

impl AudioSource {
    /// `level`: −dBov, 0 is loudest and 127 silence.
    pub fn new(level: u8, window: Arc<TrackWindow>, start: Instant) -> Self {
        Self {
            level: level.min(127),
            swing: 0,
            window,
            next_packet: start,
            seq: 0,
            first_sequence_number: rand::random(),
            first_timestamp: rand::random(),
            payload: unstamped(),
        }
    }

    /// As [`Self::new`], with a level that goes up and down as a voice's does.
    pub fn speech(level: u8, window: Arc<TrackWindow>, start: Instant) -> Self {
        Self {
            swing: SWING,
            ..Self::new(level, window, start)
        }
    }

    /// Of the packet `seq`: the swing takes 16 packets, a syllable or two.
    fn level(&self) -> u8 {
        let step = self.seq % 16;
        let height = step.min(16 - step) as u8;
        (self.level + self.swing * height / 8).min(127)
    }

    fn stamp(&mut self, now: Instant) {
        let stamp = Stamp {
            track: self.window.track,
            seq: self.seq,
            sent: nanos_since_epoch(now),
        };
        stamp.write(&mut self.payload);
    }
}

/// A packet but for its stamp.
fn unstamped() -> [u8; PAYLOAD] {
    let mut payload = [0x55; PAYLOAD];
    payload[0] = TOC;
    payload
}

impl MediaSource for AudioSource {
    fn kind(&self) -> MediaKind {
        MediaKind::Audio
    }

    fn poll_timeout(&self) -> Instant {
        self.next_packet
    }

    fn handle_timeout(&mut self, now: Instant, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>)) {
        if now.saturating_duration_since(self.next_packet) > MAX_BACKLOG {
            self.next_packet = now;
        }
        while self.next_packet <= now {
            self.stamp(now);
            send(OutgoingRtp {
                stream,
                sequence_number: self.first_sequence_number.wrapping_add(self.seq as u16),
                timestamp: self.first_timestamp.wrapping_add((self.seq as u32).wrapping_mul(TICKS)),
                marker: self.seq == 0,
                audio_level: Some(self.level()),
                payload: &self.payload,
            });
            self.seq += 1;
            self.next_packet += PACKET;
        }
    }

    fn on_keyframe_request(&mut self) {}

    fn mark(&mut self, mark: Mark) {
        self.window.mark(mark, self.seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_goes_up_and_down() {
        let mut source = AudioSource::speech(20, TrackWindow::new(1, MediaKind::Audio), Instant::now());
        let levels: Vec<_> = (0..17)
            .map(|seq| {
                source.seq = seq;
                source.level()
            })
            .collect();
        assert_eq!((levels[0], levels[8], levels[16]), (20, 32, 20));
    }

    #[test]
    fn fifty_packets_a_second() {
        let start = Instant::now();
        let mut source = AudioSource::new(30, TrackWindow::new(1, MediaKind::Audio), start);
        let stream = SendStream {
            kind: MediaKind::Audio,
            ssrc: 1,
            payload_type: 111,
        };
        let mut packets = Vec::new();
        for due in 0..50 {
            source.handle_timeout(start + PACKET * due, stream, &mut |packet| {
                assert_eq!(packet.audio_level, Some(30));
                packets.push((packet.timestamp, Stamp::read(packet.payload).unwrap().seq));
            });
        }
        assert_eq!(packets.len(), 50);
        assert_eq!(packets[49].0.wrapping_sub(packets[0].0), 49 * TICKS);
        assert_eq!(packets[49].1, 49);
    }
}

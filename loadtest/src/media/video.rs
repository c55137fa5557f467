//! Video that an SFU takes for VP8 (RFC 7741): frames of several packets of equal size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tianqiao_protocol::MediaKind;

use super::{Mark, MediaSource, STAMP_LEN, Stamp, TrackWindow, nanos_since_epoch};
use crate::client::peer::{OutgoingRtp, SendStream};

/// Largest payload, so that a packet stays within 1,200 bytes with headers, SRTP and RTX.
const MAX_PAYLOAD: usize = 1100;
/// Descriptor with a 15-bit picture id, TL0PICIDX and TID.
const DESCRIPTOR_LEN: usize = 6;
const KEYFRAME_HEADER_LEN: usize = 10;
const FILLING: u8 = 0xaa;
const MIN_PAYLOAD: usize = DESCRIPTOR_LEN + KEYFRAME_HEADER_LEN + STAMP_LEN;
/// A source that is later than this begins anew instead of sending the backlog at once.
const MAX_BACKLOG: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub struct VideoFormat {
    pub kbps: u32,
    pub frames_per_second: u32,
    pub width: u16,
    pub height: u16,
}

impl Default for VideoFormat {
    fn default() -> Self {
        Self {
            kbps: 2500,
            frames_per_second: 30,
            width: 1280,
            height: 720,
        }
    }
}

impl VideoFormat {
    /// Packets of a frame and bytes of each payload.
    fn packets(self) -> (usize, usize) {
        let frame = (self.kbps as usize * 1000 / 8) / self.frames_per_second as usize;
        let count = frame.div_ceil(MAX_PAYLOAD).max(1);
        (count, frame.div_ceil(count).max(MIN_PAYLOAD))
    }
}

pub struct VideoSource {
    format: VideoFormat,
    window: Arc<TrackWindow>,
    next_frame: Instant,
    frame: u64,
    seq: u64,
    keyframe_due: bool,
    tl0_pic_idx: u8,
    first_sequence_number: u16,
    first_timestamp: u32,
    /// The packet that is being made; its filling stays.
    payload: Vec<u8>,
}

impl VideoSource {
    /// Begins with a key frame at `start`.
    pub fn new(format: VideoFormat, window: Arc<TrackWindow>, start: Instant) -> Self {
        Self {
            format,
            window,
            next_frame: start,
            frame: 0,
            seq: 0,
            keyframe_due: true,
            tl0_pic_idx: 0,
            first_sequence_number: rand::random(),
            first_timestamp: rand::random(),
            payload: vec![FILLING; format.packets().1],
        }
    }

    fn write_payload(&mut self, now: Instant, keyframe: bool, first: bool) {
        let [high, low] = (0x8000 | (self.frame as u16)).to_be_bytes();
        let descriptor = [if first { 0x90 } else { 0x80 }, 0xe0, high, low, self.tl0_pic_idx, 0];
        let header = match first {
            true => frame_header(keyframe, self.format.width, self.format.height),
            false => [FILLING; KEYFRAME_HEADER_LEN],
        };
        self.payload[..DESCRIPTOR_LEN].copy_from_slice(&descriptor);
        self.payload[DESCRIPTOR_LEN..][..KEYFRAME_HEADER_LEN].copy_from_slice(&header);
        let stamp = Stamp {
            track: self.window.track,
            seq: self.seq,
            sent: nanos_since_epoch(now),
        };
        stamp.write(&mut self.payload);
    }
}

impl MediaSource for VideoSource {
    fn kind(&self) -> MediaKind {
        MediaKind::Video
    }

    fn poll_timeout(&self) -> Instant {
        self.next_frame
    }

    fn handle_timeout(&mut self, now: Instant, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>)) {
        let interval = Duration::from_secs(1) / self.format.frames_per_second;
        let (count, _) = self.format.packets();
        if now.saturating_duration_since(self.next_frame) > MAX_BACKLOG {
            self.next_frame = now;
        }
        while self.next_frame <= now {
            let keyframe = std::mem::take(&mut self.keyframe_due);
            self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(1);
            let ticks = self.frame * 90_000 / u64::from(self.format.frames_per_second);
            for index in 0..count {
                self.write_payload(now, keyframe, index == 0);
                send(OutgoingRtp {
                    stream,
                    sequence_number: self.first_sequence_number.wrapping_add(self.seq as u16),
                    timestamp: self.first_timestamp.wrapping_add(ticks as u32),
                    marker: index + 1 == count,
                    audio_level: None,
                    payload: &self.payload,
                });
                self.seq += 1;
            }
            self.frame += 1;
            self.next_frame += interval;
        }
    }

    fn on_keyframe_request(&mut self) {
        self.keyframe_due = true;
    }

    fn mark(&mut self, mark: Mark) {
        self.window.mark(mark, self.seq);
    }
}

/// Frame tag and, in a key frame, start code and dimensions (RFC 6386, section 9.1); padded to one
/// length so that all packets are of equal size.
fn frame_header(keyframe: bool, width: u16, height: u16) -> [u8; KEYFRAME_HEADER_LEN] {
    let mut header = [FILLING; KEYFRAME_HEADER_LEN];
    header[0] = if keyframe { 0x10 } else { 0x11 };
    if keyframe {
        header[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
        header[6..8].copy_from_slice(&width.to_le_bytes());
        header[8..10].copy_from_slice(&height.to_le_bytes());
    }
    header
}

/// Whether a payload of a [`VideoSource`] begins a key frame.
pub fn is_keyframe_start(payload: &[u8]) -> bool {
    payload.len() > DESCRIPTOR_LEN && payload[0] & 0x10 != 0 && payload[DESCRIPTOR_LEN] & 1 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: SendStream = SendStream {
        kind: MediaKind::Video,
        ssrc: 1,
        payload_type: 96,
    };

    #[test]
    fn a_frame_is_of_equal_packets_at_the_bitrate() {
        for (kbps, count) in [(100, 1), (2500, 10), (8000, 31)] {
            let (packets, size) = VideoFormat {
                kbps,
                ..Default::default()
            }
            .packets();
            assert_eq!(packets, count);
            assert!(size <= MAX_PAYLOAD);
            let rate = (packets * size * 30 * 8) as f64 / 1000.0;
            assert!((rate / f64::from(kbps) - 1.0).abs() < 0.01, "{kbps}: {rate}");
        }
    }

    /// Timestamp, marker and payload of what is due.
    fn due(source: &mut VideoSource, now: Instant) -> Vec<(u32, bool, Vec<u8>)> {
        let mut packets = Vec::new();
        source.handle_timeout(now, STREAM, &mut |packet| {
            packets.push((packet.timestamp, packet.marker, packet.payload.to_vec()));
        });
        packets
    }

    #[test]
    fn frames_come_by_the_clock_and_begin_with_a_key_frame() {
        let start = Instant::now();
        let window = TrackWindow::new(3, MediaKind::Video);
        let mut source = VideoSource::new(VideoFormat::default(), window, start);
        let packets = due(&mut source, start + Duration::from_millis(100));
        assert_eq!(packets.len(), 40);
        let keys: Vec<_> = packets.iter().map(|(.., payload)| is_keyframe_start(payload)).collect();
        assert_eq!(keys.iter().position(|key| *key), Some(0));
        assert_eq!(keys.iter().filter(|key| **key).count(), 1);
        assert_eq!(packets.iter().filter(|(_, marker, _)| *marker).count(), 4);
        assert_eq!(packets[10].0.wrapping_sub(packets[0].0), 3000);
        assert!(packets.iter().all(|(.., payload)| payload.len() == packets[0].2.len()));
        let last = Stamp::read(&packets[39].2).unwrap();
        assert_eq!((last.track, last.seq), (3, 39));
        assert_eq!(source.poll_timeout(), start + Duration::from_secs(1) / 30 * 4);
    }

    #[test]
    fn a_keyframe_request_is_answered_by_the_next_frame() {
        let start = Instant::now();
        let mut source = VideoSource::new(VideoFormat::default(), TrackWindow::new(0, MediaKind::Video), start);
        due(&mut source, start);
        source.on_keyframe_request();
        let next = source.poll_timeout();
        assert!(is_keyframe_start(&due(&mut source, next)[0].2));
    }
}

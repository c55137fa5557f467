//! Media that a browser's encoders made: it can be decoded, unlike that of the other sources.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tianqiao_protocol::MediaKind;

use super::{Mark, MediaSource};
use crate::client::peer::{OutgoingRtp, SendStream};

/// As libwebrtc's packets: 1,200 bytes with headers, SRTP and RTX.
const MAX_PAYLOAD: usize = 1100;
const VIDEO_CLOCK: u32 = 90_000;
const AUDIO_CLOCK: u32 = 48_000;
/// See `VideoSource`.
const MAX_BACKLOG: Duration = Duration::from_millis(500);

/// Encoded frames, as web-client/tests/weak-network/record.ts writes them.
#[derive(Debug)]
pub struct Recording {
    /// Of the RTP clock, a frame.
    ticks: u32,
    frames: Vec<Frame>,
    /// Of VP8, the highest temporal layer.
    top_layer: u8,
}

#[derive(Debug)]
struct Frame {
    /// Of VP8: bit 0 a key frame, above it the temporal layer. Of Opus: its level in −dBov.
    note: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn is_key(&self) -> bool {
        self.note & 1 == 1
    }

    fn temporal_layer(&self) -> u8 {
        self.note >> 1
    }
}

impl Recording {
    /// # Errors
    /// Where there is no such file, or not a whole one.
    pub fn load(path: &Path) -> Result<Arc<Self>> {
        let file = std::fs::read(path).with_context(|| format!("no recording at {}", path.display()))?;
        let recording = Self::parse(&file).with_context(|| format!("{} is no recording", path.display()))?;
        ensure!(!recording.frames.is_empty(), "{} is empty", path.display());
        Ok(Arc::new(recording))
    }

    fn parse(file: &[u8]) -> Option<Self> {
        let (ticks, mut rest) = file.split_first_chunk()?;
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (len, after) = rest.split_first_chunk()?;
            let (note, after) = after.split_first()?;
            let (payload, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            let payload = payload.to_vec();
            frames.push(Frame { note: *note, payload });
            rest = after;
        }
        let ticks = u32::from_be_bytes(*ticks);
        let top_layer = frames.iter().map(Frame::temporal_layer).max().unwrap_or_default();
        Some(Self {
            ticks,
            frames,
            top_layer,
        })
    }

    /// Of a frame of VP8, in patterns such as 0 1 and 0 2 1 2: what follows a frame of a middle layer depends on that too.
    fn dependence(&self, frame: usize) -> Dependence {
        let layer = |frame: usize| self.frames[frame].temporal_layer();
        let before = frame.checked_sub(1).map_or(0, layer);
        let temporal_layer = layer(frame);
        Dependence {
            temporal_layer,
            is_sync: temporal_layer > 0 && (before == 0 || before > temporal_layer),
            is_discardable: temporal_layer > 0 && temporal_layer == self.top_layer,
        }
    }

    /// Of all frames.
    pub fn length(&self, kind: MediaKind) -> Duration {
        interval(self.ticks, kind) * self.frames.len() as u32
    }
}

fn interval(ticks: u32, kind: MediaKind) -> Duration {
    let clock = match kind {
        MediaKind::Audio => AUDIO_CLOCK,
        MediaKind::Video => VIDEO_CLOCK,
    };
    Duration::from_secs(1) * ticks / clock
}

/// A recording in a loop, in time. Asked for a key frame, it goes on at the next one of the recording.
pub struct ReplaySource {
    kind: MediaKind,
    recording: Arc<Recording>,
    /// Of the recording.
    next: usize,
    due: Instant,
    sent_frames: u32,
    sequence_number: u16,
    first_timestamp: u32,
    tl0_pic_idx: u8,
    payload: Vec<u8>,
}

impl ReplaySource {
    /// The first frame is due at `start`; of layers with one start, timestamps differ by a constant.
    pub fn new(kind: MediaKind, recording: Arc<Recording>, start: Instant) -> Self {
        Self {
            kind,
            recording,
            next: 0,
            due: start,
            sent_frames: 0,
            sequence_number: rand::random(),
            first_timestamp: rand::random(),
            tl0_pic_idx: rand::random(),
            payload: Vec::with_capacity(MAX_PAYLOAD),
        }
    }

    fn timestamp(&self) -> u32 {
        let ticks = self.recording.ticks.wrapping_mul(self.sent_frames);
        self.first_timestamp.wrapping_add(ticks)
    }

    fn send_opus(&mut self, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>)) {
        let frame = &self.recording.frames[self.next];
        send(OutgoingRtp {
            stream,
            sequence_number: self.sequence_number,
            timestamp: self.timestamp(),
            marker: self.sent_frames == 0,
            audio_level: Some(frame.note),
            payload: &frame.payload,
        });
        self.sequence_number = self.sequence_number.wrapping_add(1);
    }

    fn send_vp8(&mut self, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>)) {
        let recording = Arc::clone(&self.recording);
        let frame = &recording.frames[self.next];
        let dependence = recording.dependence(self.next);
        if dependence.temporal_layer == 0 {
            self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(1);
        }
        let timestamp = self.timestamp();
        let count = frame.payload.len().div_ceil(MAX_PAYLOAD).max(1);
        let size = frame.payload.len().div_ceil(count).max(1);
        for (index, part) in frame.payload.chunks(size).enumerate() {
            self.payload.clear();
            self.payload.extend(descriptor(
                index == 0,
                self.sent_frames as u16,
                self.tl0_pic_idx,
                dependence,
            ));
            self.payload.extend_from_slice(part);
            send(OutgoingRtp {
                stream,
                sequence_number: self.sequence_number,
                timestamp,
                marker: index + 1 == count,
                audio_level: None,
                payload: &self.payload,
            });
            self.sequence_number = self.sequence_number.wrapping_add(1);
        }
    }
}

/// What a frame of VP8 depends on, and what on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dependence {
    temporal_layer: u8,
    /// Of an upper layer, it depends on nothing but the lowest.
    is_sync: bool,
    /// Nothing depends on it.
    is_discardable: bool,
}

/// RFC 7741, section 4.2: picture id of 15 bits, TL0PICIDX, TID and Y.
fn descriptor(is_start: bool, picture: u16, tl0_pic_idx: u8, dependence: Dependence) -> [u8; 6] {
    let first = 0x80 | u8::from(dependence.is_discardable) << 5 | u8::from(is_start) << 4;
    let [high, low] = (0x8000 | picture).to_be_bytes();
    let tid = dependence.temporal_layer << 6 | u8::from(dependence.is_sync) << 5;
    [first, 0xe0, high, low, tl0_pic_idx, tid]
}

impl MediaSource for ReplaySource {
    fn kind(&self) -> MediaKind {
        self.kind
    }

    fn poll_timeout(&self) -> Instant {
        self.due
    }

    fn handle_timeout(&mut self, now: Instant, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>)) {
        let interval = interval(self.recording.ticks, self.kind);
        if now.saturating_duration_since(self.due) > MAX_BACKLOG {
            // What was not sent in time is not sent at all, but its time has passed.
            let missed = now.saturating_duration_since(self.due).div_duration_f64(interval) as u32;
            self.due += interval * missed;
            self.sent_frames = self.sent_frames.wrapping_add(missed);
        }
        while self.due <= now {
            match self.kind {
                MediaKind::Audio => self.send_opus(stream, send),
                MediaKind::Video => self.send_vp8(stream, send),
            }
            self.next = (self.next + 1) % self.recording.frames.len();
            self.sent_frames = self.sent_frames.wrapping_add(1);
            self.due += interval;
        }
    }

    fn on_keyframe_request(&mut self) {
        if self.kind == MediaKind::Video {
            let frames = &self.recording.frames;
            let next = (self.next..frames.len()).find(|index| frames[*index].is_key());
            // It begins with one.
            self.next = next.unwrap_or(0);
        }
    }

    fn mark(&mut self, _mark: Mark) {}
}

#[cfg(test)]
mod tests {
    use tianqiao_sfu_core::negotiated::Codec;
    use tianqiao_sfu_core::packet::payload::describe;

    use super::*;

    fn stream(kind: MediaKind) -> SendStream {
        SendStream {
            kind,
            ssrc: 1,
            payload_type: 96,
        }
    }

    /// A key frame of three packets, an upper frame, and a lower one.
    fn film() -> Arc<Recording> {
        let mut file = 3000u32.to_be_bytes().to_vec();
        let mut key = vec![0x10, 0, 0, 0x9d, 0x01, 0x2a];
        key.resize(2500, 0);
        for (note, payload) in [(1, key), (2, vec![0x11; 10]), (0, vec![0x11; 10])] {
            file.extend((payload.len() as u32).to_be_bytes());
            file.push(note);
            file.extend(payload);
        }
        Arc::new(Recording::parse(&file).unwrap())
    }

    /// Timestamp and payload of each packet that is due.
    fn due(source: &mut ReplaySource, now: Instant) -> Vec<(u32, bool, Vec<u8>)> {
        let mut packets = Vec::new();
        source.handle_timeout(now, stream(source.kind()), &mut |packet| {
            packets.push((packet.timestamp, packet.marker, packet.payload.to_vec()));
        });
        packets
    }

    #[test]
    fn frames_become_packets_that_an_sfu_understands() {
        let start = Instant::now();
        let mut source = ReplaySource::new(MediaKind::Video, film(), start);
        let packets = due(&mut source, start + Duration::from_millis(67));
        assert_eq!(packets.len(), 5);
        let of = |index: usize| describe(Codec::Vp8, &packets[index].2);
        assert!(of(0).keyframe);
        let layers: Vec<_> = [2, 3, 4].map(|index| of(index).temporal_id).to_vec();
        assert_eq!(layers, [0, 1, 0]);
        let markers: Vec<_> = packets.iter().map(|(_, marker, _)| *marker).collect();
        assert_eq!(markers, [false, false, true, true, true]);
        assert_eq!(packets[3].0.wrapping_sub(packets[0].0), 3000);
        let whole: usize = packets[..3].iter().map(|(.., payload)| payload.len() - 6).sum();
        assert_eq!(whole, 2500);
    }

    #[test]
    fn a_keyframe_request_goes_on_at_a_key_frame_without_a_step_in_time() {
        let start = Instant::now();
        let mut source = ReplaySource::new(MediaKind::Video, film(), start);
        let before = due(&mut source, start + Duration::from_millis(34));
        source.on_keyframe_request();
        let next = source.poll_timeout();
        let after = due(&mut source, next);
        assert!(describe(Codec::Vp8, &after[0].2).keyframe);
        assert_eq!(after[0].0.wrapping_sub(before[0].0), 6000);
    }

    #[test]
    fn what_was_missed_is_not_sent_late() {
        let start = Instant::now();
        let mut source = ReplaySource::new(MediaKind::Video, film(), start);
        let first = due(&mut source, start)[0].0;
        let late = due(&mut source, start + Duration::from_secs(2));
        assert!(late.len() <= 6, "{}", late.len());
        assert!(late[0].0.wrapping_sub(first) >= 59 * 3000);
    }

    #[test]
    fn what_follows_a_middle_layer_is_no_layer_sync() {
        let frame = |layer: u8| Frame {
            note: layer << 1,
            payload: vec![0x11],
        };
        let recording = Recording {
            ticks: 3000,
            frames: [0, 2, 1, 2, 0].map(frame).into(),
            top_layer: 2,
        };
        let seen: Vec<_> = (0..5)
            .map(|at| recording.dependence(at))
            .map(|of| (of.temporal_layer, of.is_sync, of.is_discardable))
            .collect();
        let expected = [
            (0, false, false),
            (2, true, true),
            (1, true, false),
            (2, false, true),
            (0, false, false),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn half_a_file_is_an_error() {
        assert!(Recording::parse(&[0, 0, 3]).is_none());
        assert!(Recording::parse(&[0, 0, 3, 192, 0, 0, 0, 9, 30, 1, 2]).is_none());
    }
}

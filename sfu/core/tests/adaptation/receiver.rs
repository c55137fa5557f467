//! What a subscriber makes of a slot's packets: pictures that can be decoded, and sound.

use std::collections::BTreeMap;
use std::time::Duration;

use tianqiao_sfu_core::packet::{opus, red};

/// What is missing is asked for again so often, every [`NACK_INTERVAL`].
const NACK_TRIES: u8 = 10;
const NACK_INTERVAL: Duration = Duration::from_millis(200);
/// A picture that does not come for so long is given up for a key frame, as libwebrtc does it.
const STUCK: Duration = Duration::from_millis(1_000);

struct Packet {
    marker: bool,
    /// VP8's start of a frame, and the height of a key frame.
    starts: bool,
    key: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
pub struct Picture {
    pub at: Duration,
    pub height: u16,
}

#[derive(Default)]
pub struct Viewer {
    packets: BTreeMap<u64, Packet>,
    highest: Option<u64>,
    /// The first packet of the picture that is decoded next.
    next: Option<u64>,
    height: u16,
    asked: BTreeMap<u64, (Duration, u8)>,
    progress: Duration,
    last_pli: Duration,
    pub pictures: Vec<Picture>,
}

pub enum Wish {
    Nack(Vec<u16>),
    Pli,
}

impl Viewer {
    /// `payload` is VP8's, descriptor included; empty of padding.
    pub fn on_packet(&mut self, now: Duration, seq: u16, marker: bool, payload: &[u8]) {
        let highest = *self.highest.get_or_insert(1 << 16 | u64::from(seq));
        let seq = highest.wrapping_add_signed(i64::from(seq.wrapping_sub(highest as u16) as i16));
        self.highest = Some(highest.max(seq));
        self.asked.remove(&seq);
        if payload.is_empty() || self.next.is_some_and(|next| seq < next) {
            return;
        }
        let starts = payload[0] & 0x10 != 0;
        let is_key = starts && payload[6] & 1 == 0;
        let key = is_key.then(|| u16::from_le_bytes([payload[14], payload[15]]) & 0x3fff);
        self.packets.insert(seq, Packet { marker, starts, key });
        while self.decode(now) {}
    }

    /// The end of the picture that begins at `first`, if it is complete.
    fn end(&self, first: u64) -> Option<u64> {
        (first..)
            .map_while(|seq| Some((seq, self.packets.get(&seq)?)))
            .find(|(_, packet)| packet.marker)
            .map(|(seq, _)| seq)
    }

    fn decode(&mut self, now: Duration) -> bool {
        let next = self
            .next
            .filter(|next| self.packets.get(next).is_some_and(|packet| packet.starts));
        let found = next.and_then(|next| Some((next, self.end(next)?)));
        // A later key frame does not wait for what is missing before it.
        let found = found.or_else(|| {
            let keys = self.packets.iter().filter(|(_, packet)| packet.key.is_some());
            keys.filter_map(|(&first, _)| Some((first, self.end(first)?)))
                .next_back()
        });
        let Some((first, last)) = found else { return false };
        let key = self.packets[&first].key;
        self.height = key.unwrap_or(self.height);
        self.pictures.push(Picture {
            at: now,
            height: self.height,
        });
        self.next = Some(last + 1);
        self.packets = self.packets.split_off(&(last + 1));
        self.asked = self.asked.split_off(&(last + 1));
        self.progress = now;
        true
    }

    pub fn poll(&mut self, now: Duration) -> Option<Wish> {
        let highest = self.highest?;
        if self.packets.is_empty() {
            self.progress = now;
        }
        let Some(next) = self.next else {
            return self.ask_keyframe(now);
        };
        if now >= self.progress + STUCK {
            return self.ask_keyframe(now);
        }
        let mut seqs = Vec::new();
        for seq in next..highest {
            if self.packets.contains_key(&seq) {
                continue;
            }
            let (last, tries) = self.asked.entry(seq).or_insert((Duration::ZERO, 0));
            if *tries < NACK_TRIES && now >= *last + NACK_INTERVAL {
                (*last, *tries) = (now, *tries + 1);
                seqs.push(seq as u16);
            }
        }
        (!seqs.is_empty()).then_some(Wish::Nack(seqs))
    }

    fn ask_keyframe(&mut self, now: Duration) -> Option<Wish> {
        if self.packets.is_empty() || now < self.last_pli + STUCK {
            return None;
        }
        self.last_pli = now;
        Some(Wish::Pli)
    }

    pub fn since(&self, from: Duration) -> impl Iterator<Item = &Picture> {
        self.pictures.iter().filter(move |picture| picture.at >= from)
    }

    /// Of what is shown at `at`.
    pub fn height_at(&self, at: Duration) -> u16 {
        self.pictures
            .iter()
            .rfind(|picture| picture.at <= at)
            .map_or(0, |picture| picture.height)
    }

    /// How often the height changes from `from` on.
    pub fn changes(&self, from: Duration) -> usize {
        let heights: Vec<u16> = self.since(from).map(|picture| picture.height).collect();
        heights.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// The longest time without a picture between.
    pub fn longest_freeze(&self, from: Duration, to: Duration) -> Duration {
        let times = self.since(from).map(|picture| picture.at).filter(|&at| at < to);
        let times: Vec<Duration> = std::iter::once(from).chain(times).chain([to]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// When each 20 ms of sound came first.
#[derive(Default)]
pub struct Listener {
    first: Option<u32>,
    came: BTreeMap<i64, Duration>,
    pub packets: usize,
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Shares of the frames.
    pub lost: f64,
    pub late: f64,
    /// Beyond the shortest way of any frame, of 95 %.
    pub most: Duration,
}

impl Listener {
    pub fn on_packet(&mut self, now: Duration, timestamp: u32, is_red: bool, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        self.packets += 1;
        self.bytes += payload.len();
        let first = *self.first.get_or_insert(timestamp);
        let mut put = |timestamp: u32, frame: &[u8]| {
            let begins = i64::from(timestamp.wrapping_sub(first) as i32);
            let frames = i64::from(opus::duration(frame).unwrap_or(960)) / 960;
            for tick in 0..frames {
                let tick = (begins as f64 / 960.0).round() as i64 + tick;
                self.came.entry(tick).or_insert(now);
            }
        };
        match is_red {
            false => put(timestamp, payload),
            true => {
                for block in red::blocks(payload).expect("well-formed") {
                    put(
                        timestamp.wrapping_sub(block.timestamp_offset.into()),
                        &payload[block.range],
                    );
                }
            }
        }
    }

    /// Of what was said between; late is what comes more than `patience` behind the fastest.
    pub fn heard(&self, from: Duration, to: Duration, patience: Duration) -> Heard {
        const FRAME: i64 = 20_000;
        let delay = |(&tick, &at): (&i64, &Duration)| at.as_micros() as i64 - tick * FRAME;
        let shortest = self.came.iter().map(delay).min().unwrap_or(0);
        let tick = |at: Duration| (at.as_micros() as i64 - shortest) / FRAME;
        let ticks = tick(from)..tick(to);
        let all = (ticks.end - ticks.start) as f64;
        let mut delays: Vec<i64> = self.came.range(ticks).map(|came| delay(came) - shortest).collect();
        delays.sort_unstable();
        let late = delays
            .iter()
            .filter(|&&delay| delay > patience.as_micros() as i64)
            .count();
        let time = |at: usize| Duration::from_micros(delays.get(at).copied().unwrap_or(0) as u64);
        Heard {
            lost: 1.0 - delays.len() as f64 / all,
            late: late as f64 / all,
            most: time(delays.len() * 95 / 100),
        }
    }
}

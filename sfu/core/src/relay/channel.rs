//! Messages that arrive once and in order over datagrams that may not. Each has a number; the other side tells the next
//! one that it lacks, and what it does not tell of in time is sent again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::message::Key;
use super::wire::{Reader, Writer};

/// Messages that are on their way at a time.
const WINDOW: usize = 256;
/// Messages go out again after so long at least, and after so many round trips.
const MIN_TIMEOUT: Duration = Duration::from_millis(50);
const MAX_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest message.
pub(super) const MAX_MESSAGE: usize = 1_000;
/// Number and length before each.
const OVERHEAD: usize = 6;

#[derive(Debug)]
struct Sent {
    key: Key,
    bytes: Vec<u8>,
    /// When it went out last, and how often it has.
    at: Option<Instant>,
    times: u32,
}

#[derive(Debug, Default)]
pub(super) struct Channel {
    /// The number of the first of `queue`.
    first: u32,
    /// What the peer has not told of.
    queue: VecDeque<Sent>,
    /// The number of the next message that is to be given out.
    expected: u32,
    /// Those behind one that is missing.
    early: BTreeMap<u32, Vec<u8>>,
    /// The peer is to be told what has arrived.
    owes_ack: bool,
}

impl Channel {
    /// Queues a message. One of the same key that has never gone out gives way: its place is taken by the new one.
    pub fn push(&mut self, key: Key, bytes: Vec<u8>) {
        let waiting = self.queue.iter_mut().rev().take_while(|sent| sent.times == 0);
        match waiting.into_iter().find(|sent| sent.key == key) {
            Some(old) => old.bytes = bytes,
            None => self.queue.push_back(Sent {
                key,
                bytes,
                at: None,
                times: 0,
            }),
        }
    }

    /// Writes what is due behind an acknowledgement: false where there is nothing to say.
    pub fn write(&mut self, now: Instant, round_trip: Option<Duration>, room: usize, writer: &mut Writer<'_>) -> bool {
        let timeout = timeout(round_trip);
        let is_due = |sent: &Sent| sent.due(timeout).is_none_or(|due| due <= now);
        let has_due = self.queue.iter().take(WINDOW).any(is_due);
        if !has_due && !self.owes_ack {
            return false;
        }
        self.owes_ack = false;
        writer.u32(self.expected);
        let mut left = room.saturating_sub(4);
        for (number, sent) in (self.first..).zip(self.queue.iter_mut()).take(WINDOW) {
            if sent.due(timeout).is_some_and(|due| due > now) {
                continue;
            }
            let Some(rest) = left.checked_sub(sent.bytes.len() + OVERHEAD) else {
                break;
            };
            left = rest;
            writer.u32(number);
            writer.u16(sent.bytes.len() as u16);
            writer.bytes(&sent.bytes);
            sent.at = Some(now);
            sent.times += 1;
        }
        true
    }

    /// Takes what [`Self::write`] of the peer has written; gives out what is next in order. `None`: malformed.
    pub fn read(&mut self, reader: &mut Reader<'_>, mut give: impl FnMut(&[u8])) -> Option<()> {
        let told = reader.u32()?;
        let arrived = told.wrapping_sub(self.first) as usize;
        // What was never sent cannot have arrived.
        if arrived <= self.queue.iter().take_while(|sent| sent.times > 0).count() {
            self.queue.drain(..arrived);
            self.first = told;
        }
        while !reader.is_empty() {
            let number = reader.u32()?;
            let len = usize::from(reader.u16()?);
            let bytes = reader.bytes(len)?;
            self.owes_ack = true;
            if (number.wrapping_sub(self.expected) as usize) < WINDOW {
                self.early.entry(number).or_insert_with(|| bytes.to_vec());
            }
            while let Some(bytes) = self.early.remove(&self.expected) {
                self.expected = self.expected.wrapping_add(1);
                give(&bytes);
            }
        }
        Some(())
    }

    /// When [`Self::write`] has something to say.
    pub fn poll_timeout(&self, now: Instant, round_trip: Option<Duration>) -> Option<Instant> {
        if self.owes_ack {
            return Some(now);
        }
        let timeout = timeout(round_trip);
        let window = self.queue.iter().take(WINDOW);
        window.map(|sent| sent.due(timeout).unwrap_or(now)).min()
    }

    pub fn waiting(&self) -> usize {
        self.queue.len() + self.early.len()
    }
}

impl Sent {
    /// `None`: at once.
    fn due(&self, timeout: Duration) -> Option<Instant> {
        let backoff = 1 << self.times.saturating_sub(1).min(5);
        Some(self.at? + (timeout * backoff).min(MAX_TIMEOUT))
    }
}

fn timeout(round_trip: Option<Duration>) -> Duration {
    round_trip.map_or(MIN_TIMEOUT * 2, |time| (time * 2).clamp(MIN_TIMEOUT, MAX_TIMEOUT))
}

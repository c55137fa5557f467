//! Media packets that may be asked for again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::pool::PacketRef;
use crate::units::TrackId;

/// Later than that nobody has a use for a packet.
const MAX_AGE: Duration = Duration::from_secs(1);
/// 300 Mbit/s for a tenth of a second.
const MAX_KEPT: usize = 4_096;

#[derive(Clone)]
pub(super) struct Kept {
    pub track: TrackId,
    pub packet: PacketRef,
    sent: Instant,
}

/// The last datagrams that were sent, by number; those that carried no media are empty places.
#[derive(Default)]
pub(super) struct SentRing {
    first: u64,
    sent: VecDeque<Option<Kept>>,
}

impl SentRing {
    pub fn push(&mut self, now: Instant, number: u64, media: Option<(TrackId, &PacketRef)>) {
        // Numbers follow each other; one that was left out is an empty place.
        if self.sent.is_empty() {
            self.first = number;
        }
        while self.first + (self.sent.len() as u64) < number && self.sent.len() < MAX_KEPT {
            self.sent.push_back(None);
        }
        self.sent.push_back(media.map(|(track, packet)| Kept {
            track,
            packet: packet.clone(),
            sent: now,
        }));
        while self.sent.len() > MAX_KEPT {
            self.sent.pop_front();
            self.first += 1;
        }
    }

    /// Lets go of what is too old, so that a link that falls silent keeps no packets.
    pub fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.sent.front()
            && oldest
                .as_ref()
                .is_none_or(|kept| now.saturating_duration_since(kept.sent) > MAX_AGE)
        {
            self.sent.pop_front();
            self.first += 1;
        }
    }

    pub fn find(&self, now: Instant, number: u64) -> Option<&Kept> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let kept = self.sent.get(index)?.as_ref()?;
        (now.saturating_duration_since(kept.sent) <= MAX_AGE).then_some(kept)
    }

    pub fn len(&self) -> usize {
        self.sent.len()
    }
}

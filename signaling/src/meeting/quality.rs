//! News of participants' links, gathered: a bad minute of a network that many share is one message, not many.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tianqiao_protocol::ParticipantId;
use tianqiao_protocol::ws::ParticipantQuality;

/// Messages are at least so far apart.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Participants of one message; the others wait for the next. Some 3 kB before compression.
pub const MAX_CHANGES: usize = 50;

#[derive(Default)]
pub struct QualityNews {
    sent_at: Option<Instant>,
    waiting: BTreeSet<ParticipantId>,
}

impl QualityNews {
    pub fn record(&mut self, participant: &str) {
        self.waiting.insert(participant.to_owned());
    }

    pub fn forget(&mut self, participant: &str) {
        self.waiting.remove(participant);
    }

    /// When [`Self::take`] will give what waits. `None`: nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let sent_at = self.sent_at?;
        (!self.waiting.is_empty()).then(|| sent_at + INTERVAL)
    }

    /// What is to be told now, as it is by now; empty before its time.
    pub fn take(
        &mut self,
        now: Instant,
        quality: impl Fn(&str) -> Option<ParticipantQuality>,
    ) -> Vec<ParticipantQuality> {
        if self.waiting.is_empty() || self.due().is_some_and(|due| now < due) {
            return Vec::new();
        }
        self.sent_at = Some(now);
        let mut taken = Vec::new();
        while taken.len() < MAX_CHANGES
            && let Some(participant) = self.waiting.pop_first()
        {
            taken.extend(quality(&participant));
        }
        taken
    }
}

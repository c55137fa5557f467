//! How well each client's link carries the meeting, and what it has left.

use std::time::{Duration, Instant};

use super::WorkerCore;
use crate::quality::Grade;
use crate::worker_api::WorkerEvent;

/// As often as [`crate::quality::QualityMeter`] wants samples.
const INTERVAL: Duration = Duration::from_secs(1);

impl WorkerCore {
    pub(super) fn grade_links(&mut self, now: Instant) {
        self.next_quality = now + INTERVAL;
        let (mut fair, mut poor) = ([0; 4], [0; 4]);
        for (_, connection) in &mut self.connections {
            if let Some(quality) = connection.poll_quality(now, &self.router) {
                let connection = connection.id;
                self.events.push_back(WorkerEvent::Quality { connection, quality });
            }
            if let Some(adaptation) = &mut connection.sending.adaptation
                && let Some(spare) = adaptation.poll_spare()
            {
                let connection = connection.id;
                self.events.push_back(WorkerEvent::Spare { connection, spare });
            }
            let quality = connection.quality();
            let Some(cause) = quality.cause else { continue };
            match quality.grade {
                Grade::Good => {}
                Grade::Fair => fair[cause as usize] += 1,
                Grade::Poor => poor[cause as usize] += 1,
            }
        }
        (self.counters.fair_connections, self.counters.poor_connections) = (fair, poor);
    }
}

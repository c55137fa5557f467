//! How well a connection's link carries the meeting: gathers the samples that [`crate::quality`] grades.

use std::time::{Duration, Instant};

use super::Connection;
use crate::negotiated::MediaKind;
use crate::quality::{Quality, QualityMeter, Sample, Way};
use crate::router::Router;
use crate::units::Bitrate;
use crate::uptrack::Uptrack;

/// What was counted weighs less by this from sample to sample, so that a loss is one of some five seconds.
const FADE: f32 = 0.8;
/// Fewer packets say nothing of a share that is lost: in silence two or three come a second.
const MIN_PACKETS: f32 = 20.0;
/// A camera that is on and of which nothing has come for so long has been stopped for want of bandwidth.
const STOPPED: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(crate) struct LinkQuality {
    meter: QualityMeter,
    losses: UplinkLoss,
}

/// Loss on the way from the client, of all streams together.
#[derive(Debug, Default)]
struct UplinkLoss {
    /// Packets expected and come, when they were counted last.
    before: (u64, u64),
    expected: f32,
    lost: f32,
}

impl UplinkLoss {
    /// Takes the counts of all streams since they began; they fall where streams begin anew or end.
    fn update(&mut self, (expected, came): (u64, u64)) -> f32 {
        let before = std::mem::replace(&mut self.before, (expected, came));
        if let Some(expected) = expected.checked_sub(before.0)
            && let Some(came) = came.checked_sub(before.1)
        {
            self.expected = self.expected * FADE + expected as f32;
            self.lost = self.lost * FADE + expected.saturating_sub(came) as f32;
        }
        match self.expected >= MIN_PACKETS {
            true => (self.lost / self.expected).min(1.0),
            false => 0.0,
        }
    }
}

impl Connection {
    pub(crate) fn quality(&self) -> Quality {
        self.link_quality.meter.quality()
    }

    /// Grades the link as it is now, about once a second; `Some` is news.
    pub(crate) fn poll_quality(&mut self, now: Instant, router: &Router) -> Option<Quality> {
        self.transport.media_path()?;
        let adaptation = self.sending.adaptation.as_ref();
        let streams = self.uptracks.iter().flat_map(|uptrack| &uptrack.layers);
        let counts = streams.filter_map(|layer| Some(layer.stream.as_ref()?.counts()));
        let counts = counts.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
        let is_stopped = |uptrack: &Uptrack| is_stopped(now, uptrack, router);
        let sample = Sample {
            downlink: adaptation.map_or(Way::default(), |adaptation| adaptation.way(now)),
            uplink: Way {
                estimate: Bitrate(0),
                desired: Bitrate(self.uptracks.iter().any(is_stopped).into()),
                loss: self.link_quality.losses.update(counts),
                is_bound_by_loss: false,
            },
            round_trip: adaptation
                .and_then(|adaptation| adaptation.bwe.round_trip())
                .unwrap_or_default(),
        };
        self.link_quality.meter.update(now, &sample)
    }
}

/// Somebody wants to see it, and its publisher, whose camera is on, sends nothing any more.
fn is_stopped(now: Instant, uptrack: &Uptrack, router: &Router) -> bool {
    let Some(track) = router.track(uptrack.route) else {
        return false;
    };
    let is_wanted = !(track.subscribers.is_empty() && track.interested == 0);
    let last = track.layers.iter().filter_map(|layer| layer.last_packet).max();
    uptrack.kind == MediaKind::Video
        && !uptrack.screen
        && !track.muted
        && is_wanted
        && track.uplink.is_asked_for(now, STOPPED)
        && last.is_some_and(|last| now.saturating_duration_since(last) >= STOPPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_those_of_the_last_seconds_and_none_are_made_up() {
        let mut losses = UplinkLoss::default();
        for (counts, expected) in [
            ((100, 100), 0.0..=0.0),
            ((200, 180), 0.1..=0.12),
            // Streams that begin anew count from then on.
            ((10, 10), 0.1..=0.12),
            ((110, 110), 0.05..=0.08),
            ((110, 110), 0.05..=0.08),
        ] {
            let loss = losses.update(counts);
            assert!(expected.contains(&loss), "{counts:?}: {loss}");
        }
        let mut silent = UplinkLoss::default();
        assert_eq!(silent.update((3, 1)), 0.0);
    }
}

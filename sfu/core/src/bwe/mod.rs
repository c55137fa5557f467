//! Bandwidth estimation towards one subscriber: what his link carries, from feedback on what was sent to him.
//!
//! Google congestion control as libwebrtc has it today, by delay (`delay_based`) and by loss (`loss_based`)
//! from transport-wide feedback, with probes (`probe_controller`). The estimate of peers without it follows
//! REMB and receiver reports. Whoever owns a [`SendSideBwe`] numbers and tells what he sends, hands in feedback,
//! sends the probes that it asks for, and asks for the estimate.

mod acked_rate;
mod aimd;
mod alr;
mod competition;
mod delay_based;
mod drain;
mod estimator;
mod feedback;
mod history;
mod inherent_loss;
mod inter_arrival;
mod link_capacity;
mod loss_based;
mod loss_model;
mod loss_pattern;
mod probe_controller;
mod probe_estimator;
mod remb;
mod report_loss;
mod round_trip;
mod silence;
mod time;
mod trendline;

use std::time::{Duration, Instant};

use crate::packet::rtcp::congestion_feedback::PacketFate;
use crate::packet::rtcp::transport_feedback::TransportFeedback;
use crate::units::Bitrate;

use estimator::Estimator;
pub use feedback::{FeedbackStats, LostPacket};
pub use history::{Fate, PacketKind, ProbeId, SentPacket};
pub use loss_pattern::Loss;
pub use probe_controller::ProbeCluster;

/// How an estimator begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Before anything is known: what a village link carries, since a first probe tells better links apart
    /// within a round trip.
    pub start: Bitrate,
    pub min: Bitrate,
    pub max: Bitrate,
    /// The peer sends transport-wide feedback. Without it REMB is followed, and receiver reports where none comes.
    pub has_transport_feedback: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: Bitrate::kbps(100),
            // libwebrtc: kCongestionControllerMinBitrate.
            min: Bitrate::kbps(5),
            max: Bitrate::kbps(100_000),
            has_transport_feedback: true,
        }
    }
}

impl Config {
    /// For peers that estimate themselves. Little is found out at the start without probes, so it is higher:
    /// libwebrtc's own.
    pub fn without_transport_feedback() -> Self {
        Self {
            start: Bitrate::kbps(300),
            has_transport_feedback: false,
            ..Self::default()
        }
    }
}

/// What an estimator knows, for metrics and `getStats`-like reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BweStats {
    pub estimate: Bitrate,
    pub delay_based: Bitrate,
    /// `None` while loss says nothing.
    pub loss_based: Option<Bitrate>,
    /// What arrives.
    pub acknowledged: Option<Bitrate>,
    /// Share of packets that the link loses by itself.
    pub inherent_loss: f64,
    /// How long packets wait in queues.
    pub queue: Duration,
    pub is_overused: bool,
    pub is_application_limited: bool,
    /// Another flow fills the link's queue, and queues are not taken for our own.
    pub competes: bool,
    pub probes_sent: u64,
    pub probes_measured: u64,
    pub feedback: FeedbackStats,
}

/// The estimate of one connection. Takes a few words until something is sent.
#[derive(Debug)]
pub struct SendSideBwe {
    config: Config,
    estimator: Option<Box<Estimator>>,
}

impl SendSideBwe {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            estimator: None,
        }
    }

    fn estimator(&mut self, now: Instant) -> &mut Estimator {
        self.estimator
            .get_or_insert_with(|| Box::new(Estimator::new(self.config, now)))
    }

    /// As it was configured; without it there is no need to tell what is sent.
    #[inline]
    pub fn has_transport_feedback(&self) -> bool {
        self.config.has_transport_feedback
    }

    /// The transport-wide sequence number that the next packet carries.
    pub fn next_seq(&self) -> u16 {
        self.estimator.as_ref().map_or(0, |estimator| estimator.next_seq())
    }

    /// A packet is being sent; returns its transport-wide sequence number, which is [`Self::next_seq`] as it was.
    /// Numbers are given here, at sending: what a publisher lost on his way to us has none.
    #[inline]
    pub fn on_sent(&mut self, now: Instant, packet: SentPacket) -> u16 {
        match &mut self.estimator {
            Some(estimator) => estimator.on_sent(now, packet),
            None => self.estimator(now).on_sent(now, packet),
        }
    }

    /// What feedback has said of the packet with this number, and how long ago it was sent; `None` where it is forgotten.
    pub fn fate(&self, now: Instant, number: u16) -> Option<(Fate, Duration)> {
        self.estimator.as_ref()?.fate(now, number)
    }

    /// The packet with this number was sent again as it was, so that its arrival is no measure of the link.
    pub fn on_resent(&mut self, number: u16) {
        if let Some(estimator) = &mut self.estimator {
            estimator.on_resent(number);
        }
    }

    /// Feedback came; returns the packets that are now known to be lost, each once, by number.
    pub fn on_transport_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) -> &[LostPacket] {
        match &mut self.estimator {
            Some(estimator) => estimator.on_transport_feedback(now, feedback),
            // Of what was never sent.
            None => &[],
        }
    }

    /// The same by RFC 8888: what became of `packets` by the numbers that [`Self::on_sent`] gave, in a message that was
    /// made at `timestamp` (the middle 32 bits of the receiver's NTP time).
    pub fn on_congestion_feedback(
        &mut self,
        now: Instant,
        timestamp: u32,
        packets: impl Iterator<Item = (u16, PacketFate)>,
    ) -> &[LostPacket] {
        match &mut self.estimator {
            Some(estimator) => estimator.on_congestion_feedback(now, timestamp, packets),
            None => &[],
        }
    }

    /// The receiver's own estimate (draft-alvestrand-rmcat-remb): a cap where there is better, else the estimate.
    /// Holds for five seconds.
    pub fn on_remb(&mut self, now: Instant, remb: Bitrate) {
        self.estimator(now).on_remb(now, remb);
    }

    /// A receiver report: of `packets` expected since the one before, `lost` did not arrive. Used only while
    /// there is no transport-wide feedback.
    pub fn on_report_loss(&mut self, now: Instant, packets: u32, lost: u32) {
        self.estimator(now).on_report_loss(now, packets, lost);
    }

    /// A round trip by a receiver report. Used only for peers without transport-wide feedback.
    pub fn on_report_round_trip(&mut self, now: Instant, round_trip: Duration) {
        self.estimator(now).on_report_round_trip(round_trip);
    }

    /// What would be sent if the link carried it; bounds probes. While it is zero nothing is probed.
    pub fn set_desired(&mut self, now: Instant, desired: Bitrate) {
        if desired.0 > 0 || self.estimator.is_some() {
            self.estimator(now).set_desired(now, desired);
        }
    }

    /// What the link carries, headers included.
    pub fn estimate(&self) -> Bitrate {
        self.estimator
            .as_ref()
            .map_or(self.config.start, |estimator| estimator.estimate())
    }

    /// Feedback is back after an outage: all that was sent meanwhile is lost. True once.
    pub fn take_resumed(&mut self) -> bool {
        self.estimator
            .as_mut()
            .is_some_and(|estimator| estimator.take_resumed())
    }

    /// The estimate as it will be when a queue that is being drained is empty: at most a second or two later.
    pub fn undrained(&self) -> Bitrate {
        self.estimator
            .as_ref()
            .map_or(self.config.start, |estimator| estimator.undrained())
    }

    /// How fast a pacer sends what waits.
    pub fn pacing_rate(&self) -> Bitrate {
        self.estimator
            .as_ref()
            .map_or(self.config.start, |estimator| estimator.pacing_rate())
    }

    /// The next probe cluster to send. Ask after feedback, after [`Self::set_desired`] and after
    /// [`Self::handle_timeout`]; one that is not sent at once measures nothing.
    pub fn poll_probe(&mut self, now: Instant) -> Option<ProbeCluster> {
        self.estimator.as_mut()?.poll_probe(now)
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.estimator.as_ref().map(|estimator| estimator.next_timeout())
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(estimator) = &mut self.estimator {
            estimator.handle_timeout(now);
        }
    }

    /// Loss of the last seconds, for the choice of redundancy.
    pub fn loss(&self) -> Loss {
        self.estimator
            .as_ref()
            .map_or(Loss::default(), |estimator| estimator.loss())
    }

    /// Smoothed, without what feedback waits for at the receiver; `None` before the first feedback.
    pub fn round_trip(&self) -> Option<Duration> {
        self.estimator.as_ref()?.round_trip()
    }

    /// How long packets wait in queues.
    pub fn queue(&self) -> Duration {
        self.estimator
            .as_ref()
            .map_or(Duration::ZERO, |estimator| estimator.queue())
    }

    pub fn stats(&self) -> BweStats {
        self.estimator
            .as_ref()
            .map_or(BweStats::default(), |estimator| estimator.stats())
    }
}

#[cfg(test)]
mod tests;

//! What is sent to one client on the whole: numbered for its feedback, estimated and paced.

use std::time::{Duration, Instant};

use super::adaptation::Adaptation;
use crate::bwe::{PacketKind, ProbeCluster, SentPacket};
use crate::downtrack::Decision;
use crate::pacer::Pacer;
use crate::packet::extensions::abs_send_time;
use crate::path::Path;
use crate::pool::PacketRef;
use crate::rate::Ticks;
use crate::units::{Bitrate, Ssrc, TrackId};

/// What may wait for its time …
const MAX_QUEUE: Duration = Duration::from_millis(200);
/// … and with a key frame or a new slide, which at the rate of their layer take about a second, so long after it. The
/// queue is the pacer's own, which speech does not wait in.
const MAX_BURST_QUEUE: Duration = Duration::from_secs(1);
const BURST_TIME: Duration = Duration::from_secs(2);
/// So much more where a picture has just been interrupted, or this one is what people look at: one at a time, and the others
/// only where that is not enough.
const MORE_QUEUE: Duration = Duration::from_millis(50);
/// By then it shows whether it was.
const RELIEF: Duration = Duration::from_millis(300);
/// A share that makes second losses of the same packet frequent.
const LOSSY: f64 = 0.05;
/// A probe is sent in steps of that, as the worker looks at it.
const PROBE_AHEAD: Duration = Duration::from_millis(5);
/// RTP, extensions, SRTP tag, UDP and IP around a payload, about.
const HEADERS: usize = 72;

/// A packet that waits for its time, with what its slot decided about it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub packet: PacketRef,
    pub decision: Decision,
    pub slot: usize,
    /// Tells whether the slot is still the one that it was.
    pub ssrc: Ssrc,
    pub track: TrackId,
}

impl Waiting {
    pub fn new(packet: &PacketRef, decision: Decision, slot: usize, ssrc: Ssrc, track: TrackId) -> Self {
        let packet = packet.clone();
        Self {
            packet,
            decision,
            slot,
            ssrc,
            track,
        }
    }
}

pub(crate) struct Sending {
    /// Where the client tells how slots' packets fare.
    pub adaptation: Option<Box<Adaptation>>,
    pub pacer: Pacer<Waiting>,
    /// When a part of a key frame or of a screen had to wait last.
    burst: Option<Instant>,
    /// When a picture was interrupted last, and how many were, one soon after the other.
    interrupted: Option<(Instant, u32)>,
    /// The cluster that goes out now.
    pub probe: Option<Probe>,
    /// The worker has it on its list of those with packets that wait.
    pub is_listed: bool,
}

impl Sending {
    pub fn new() -> Self {
        Self {
            adaptation: None,
            pacer: Pacer::unlimited(),
            burst: None,
            interrupted: None,
            probe: None,
            is_listed: false,
        }
    }

    /// More waits than may: video has to come down, or to pause. `is_prominent`: it is what people look at.
    pub fn is_congested(&self, now: Instant, is_prominent: bool) -> bool {
        !self.pacer.is_empty() && self.pacer.delay() > self.max_queue(now, is_prominent)
    }

    fn max_queue(&self, now: Instant, is_prominent: bool) -> Duration {
        let has_burst = self
            .burst
            .is_some_and(|at| now.saturating_duration_since(at) < BURST_TIME);
        let limit = if has_burst { MAX_BURST_QUEUE } else { MAX_QUEUE };
        let more = self.just_interrupted(now) + u32::from(is_prominent);
        limit + MORE_QUEUE * more
    }

    /// The picture in `slot` is interrupted because more waits than may.
    pub fn on_interrupted(&mut self, now: Instant, slot: usize) {
        self.interrupted = Some((now, self.just_interrupted(now) + 1));
        if let Some(adaptation) = &mut self.adaptation {
            adaptation.on_congestion(now, slot);
        }
    }

    fn just_interrupted(&self, now: Instant) -> u32 {
        match self.interrupted {
            Some((at, count)) if now.saturating_duration_since(at) < RELIEF => count,
            _ => 0,
        }
    }

    /// Puts a packet at the end of those that wait; false where there is no room.
    pub fn hold(&mut self, now: Instant, waiting: Waiting, is_screen: bool) -> bool {
        if waiting.packet.frame.keyframe || is_screen {
            self.burst = Some(now);
        }
        let bytes = waiting.packet.payload().len() + HEADERS;
        self.pacer.push(waiting, bytes)
    }

    /// Something waits, and the worker does not know yet; after this it does.
    pub fn must_be_listed(&mut self) -> bool {
        let must = !self.pacer.is_empty() && !self.is_listed;
        self.is_listed |= must;
        must
    }

    /// Something waits still.
    pub fn stays_listed(&mut self) -> bool {
        self.is_listed = !self.pacer.is_empty();
        self.is_listed
    }

    /// Forgets what waits, as while there is no path.
    pub fn clear(&mut self) {
        self.pacer.clear();
        self.is_listed = false;
    }

    /// What the link carries, where it is estimated.
    pub fn estimate(&self) -> Option<Bitrate> {
        Some(self.adaptation.as_ref()?.bwe.estimate())
    }

    /// Much of what is sent does not arrive.
    pub fn is_lossy(&self) -> bool {
        let adaptation = self.adaptation.as_ref();
        adaptation.is_some_and(|adaptation| adaptation.bwe.loss().share >= LOSSY)
    }

    /// What a packet that is sent now takes to be answered for, behind a queue as long as the last one was.
    pub fn response_time(&self) -> Option<Duration> {
        let bwe = &self.adaptation.as_ref()?.bwe;
        Some(bwe.round_trip()? + bwe.queue())
    }

    /// Of the next packet that feedback will tell of.
    pub fn next_number(&self) -> u16 {
        self.adaptation
            .as_ref()
            .map_or(0, |adaptation| adaptation.bwe.next_seq())
    }

    /// The value of the next packet's stamp, where it has one.
    pub fn next_stamp(&self, ticks: Ticks) -> u32 {
        match &self.adaptation {
            Some(adaptation) if adaptation.bwe.has_transport_feedback() => adaptation.bwe.next_seq().into(),
            Some(_) => abs_send_time(ticks.after(Ticks::default())),
            None => 0,
        }
    }

    /// A packet of `len` bytes, SRTP included, went out; returns its number, where it has one.
    pub fn on_sent(
        &mut self,
        now: Instant,
        ticks: Ticks,
        path: Path,
        len: usize,
        kind: PacketKind,
        is_stamped: bool,
    ) -> Option<u16> {
        let bytes = len + overhead(path);
        self.pacer.charge(ticks, bytes);
        let adaptation = self.adaptation.as_mut().filter(|_| is_stamped)?;
        let probe = self.probe.as_mut().map(|probe| {
            probe.on_sent(bytes);
            probe.cluster.id
        });
        let is_numbered = adaptation.bwe.has_transport_feedback();
        is_numbered.then(|| adaptation.bwe.on_sent(now, SentPacket { bytes, kind, probe }))
    }

    /// A packet went out again as it was, with its number.
    pub fn on_resent(&mut self, ticks: Ticks, path: Path, len: usize, number: u16) {
        self.pacer.charge(ticks, len + overhead(path));
        if let Some(adaptation) = &mut self.adaptation {
            adaptation.bwe.on_resent(number);
        }
    }

    /// Begins the cluster that the estimator asks for, where none goes out.
    pub fn begin_probe(&mut self, now: Instant) {
        if let Some(adaptation) = self.adaptation.as_mut().filter(|_| self.probe.is_none()) {
            let cluster = adaptation.bwe.poll_probe(now);
            self.probe = cluster.map(|cluster| Probe::new(now, cluster));
        }
    }

    /// Ends a cluster that is complete, or has not got to its end in time; true where it goes on.
    pub fn continue_probe(&mut self, now: Instant) -> bool {
        self.probe = self.probe.take().filter(|probe| !probe.is_over(now));
        self.probe.is_some()
    }
}

/// A probe cluster on its way out. Media that is sent meanwhile counts.
#[derive(Debug)]
pub(crate) struct Probe {
    pub cluster: ProbeCluster,
    began: Instant,
    bytes: u64,
    packets: u32,
}

impl Probe {
    /// Of each packet: the most that a byte can tell (RFC 3550, section 5.1).
    pub const PADDING: u8 = 255;

    fn new(now: Instant, cluster: ProbeCluster) -> Self {
        Self {
            cluster,
            began: now,
            bytes: 0,
            packets: 0,
        }
    }

    fn on_sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.packets += 1;
    }

    fn is_complete(&self) -> bool {
        self.bytes >= self.cluster.min_bytes && self.packets >= self.cluster.min_packets
    }

    /// One more packet has to go for the cluster to be as fast as it should.
    pub fn is_due(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.began) + PROBE_AHEAD;
        let due = elapsed.as_micros() as u64 * self.cluster.rate.0 / 8_000_000;
        !self.is_complete() && self.bytes < due
    }

    fn is_over(&self, now: Instant) -> bool {
        self.is_complete() || now.saturating_duration_since(self.began) > self.cluster.duration * 4
    }
}

/// Bytes of IP and UDP headers, or of IP, TCP and framing (RFC 4571): links carry them too.
pub(crate) fn overhead(path: Path) -> usize {
    let ip = if path.remote().is_ipv4() { 20 } else { 40 };
    match path {
        Path::Udp { .. } => ip + 8,
        Path::Tcp { .. } => ip + 20 + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_interrupted_one_at_a_time_and_what_people_look_at_last() {
        const MS: Duration = Duration::from_millis(1);
        let mut sending = Sending::new();
        let now = Instant::now();
        let most =
            |sending: &Sending, at: u32| [false, true].map(|is| sending.max_queue(now + MS * at, is).as_millis());
        assert_eq!(most(&sending, 0), [200, 250]);
        sending.on_interrupted(now, 0);
        assert_eq!(most(&sending, 10), [250, 300]);
        sending.on_interrupted(now + MS * 20, 0);
        assert_eq!(most(&sending, 319), [300, 350]);
        assert_eq!(most(&sending, 320), [200, 250]);
        sending.on_interrupted(now + MS * 400, 0);
        assert_eq!(most(&sending, 400), [250, 300]);
    }
}

//! One subscriber's connection: source, pacer and probes in front of the estimator, and the receiver's feedback.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tianqiao_sfu_core::bwe::{Config, PacketKind, ProbeCluster, SendSideBwe, SentPacket};
use tianqiao_sfu_core::packet::rtcp::{RtcpPacket, RtcpPackets};
use tianqiao_sfu_core::twcc::FeedbackGenerator;
use tianqiao_sfu_core::units::{Bitrate, Ssrc};

use crate::source::{Media, Source};

/// RTP allows 255 bytes of padding; with all headers.
const MAX_PADDING_PACKET: u64 = 300;

pub struct Sender {
    pub bwe: SendSideBwe,
    pub source: Source,
    epoch: Instant,
    queue: VecDeque<Media>,
    queued_bytes: usize,
    /// What the pacer may send, in bits; negative after a burst.
    budget: f64,
    probe: Option<ActiveProbe>,
    last: Duration,
    pub sent_bytes: u64,
    pub probe_bytes: u64,
    pub lost_told: u64,
    /// Share of the media, in percent, that never came from the publisher.
    pub uplink_loss: u32,
    from_publisher: u32,
    /// How many that were.
    pub missing: u64,
}

struct ActiveProbe {
    cluster: ProbeCluster,
    next: Duration,
    packets: u64,
    bytes: u64,
}

/// What goes into the link.
#[derive(Clone, Copy, Debug)]
pub struct OnTheWire {
    pub seq: u16,
    pub bytes: usize,
}

impl Sender {
    pub fn new(epoch: Instant, config: Config, source: Source) -> Self {
        let mut bwe = SendSideBwe::new(config);
        bwe.set_desired(epoch, source.desired);
        Self {
            bwe,
            source,
            epoch,
            queue: VecDeque::new(),
            queued_bytes: 0,
            budget: 0.0,
            probe: None,
            last: Duration::ZERO,
            sent_bytes: 0,
            probe_bytes: 0,
            lost_told: 0,
            uplink_loss: 0,
            from_publisher: 0,
            missing: 0,
        }
    }

    pub fn set_desired(&mut self, now: Duration, desired: Bitrate) {
        self.source.desired = desired;
        self.bwe.set_desired(self.epoch + now, desired);
    }

    /// What is sent by `now`.
    pub fn poll(&mut self, now: Duration, out: &mut Vec<OnTheWire>) {
        let instant = self.epoch + now;
        if self.bwe.poll_timeout().is_some_and(|at| at <= instant) {
            self.bwe.handle_timeout(instant);
        }
        if let Some(cluster) = self.bwe.poll_probe(instant) {
            self.probe = Some(ActiveProbe {
                cluster,
                next: now,
                packets: 0,
                bytes: 0,
            });
        }
        self.poll_probe_packets(now, out);
        self.pace(now, out);
    }

    fn send(&mut self, now: Duration, packet: SentPacket, out: &mut Vec<OnTheWire>) {
        let seq = self.bwe.on_sent(self.epoch + now, packet);
        self.sent_bytes += packet.bytes as u64;
        out.push(OnTheWire {
            seq,
            bytes: packet.bytes,
        });
    }

    fn poll_probe_packets(&mut self, now: Duration, out: &mut Vec<OnTheWire>) {
        let Some(mut probe) = self.probe.take() else { return };
        let cluster = probe.cluster;
        let bytes = (cluster.min_bytes.div_ceil(u64::from(cluster.min_packets))).min(MAX_PADDING_PACKET);
        while probe.next <= now {
            let packet = SentPacket {
                bytes: bytes as usize,
                kind: PacketKind::Padding,
                probe: Some(cluster.id),
            };
            self.send(now, packet, out);
            self.probe_bytes += bytes;
            probe.packets += 1;
            probe.bytes += bytes;
            if probe.bytes >= cluster.min_bytes && probe.packets >= u64::from(cluster.min_packets) {
                return;
            }
            probe.next += Duration::from_micros(bytes * 8_000_000 / cluster.rate.0.max(1));
        }
        self.probe = Some(probe);
    }

    fn pace(&mut self, now: Duration, out: &mut Vec<OnTheWire>) {
        let mut media = Vec::new();
        self.source.poll(now, self.bwe.estimate(), &mut media);
        let rate = self.bwe.pacing_rate().0 as f64;
        // A burst of 5 ms at most.
        self.budget = (self.budget + rate * (now - self.last).as_secs_f64()).min(rate * 0.005);
        self.last = now;
        for (bytes, kind) in media {
            self.from_publisher += 1;
            if self.from_publisher * 37 % 100 < self.uplink_loss {
                self.missing += 1;
                continue;
            }
            // Audio passes.
            if kind == PacketKind::Audio {
                self.budget -= bytes as f64 * 8.0;
                let probe = None;
                self.send(now, SentPacket { bytes, kind, probe }, out);
            } else {
                self.queued_bytes += bytes;
                self.queue.push_back((bytes, kind));
            }
        }
        while self.budget > 0.0
            && let Some((bytes, kind)) = self.queue.pop_front()
        {
            self.queued_bytes -= bytes;
            self.budget -= bytes as f64 * 8.0;
            let probe = None;
            self.send(now, SentPacket { bytes, kind, probe }, out);
        }
        let delay = Duration::from_secs_f64(self.queued_bytes as f64 * 8.0 / rate);
        // A lower layer would be sent by now.
        if delay > Duration::from_millis(250) {
            self.queue.clear();
            self.queued_bytes = 0;
        }
    }

    pub fn on_feedback(&mut self, now: Duration, datagram: &[u8]) {
        for packet in RtcpPackets::new(datagram) {
            if let Ok(RtcpPacket::TransportFeedback(feedback)) = packet {
                let lost = self.bwe.on_transport_feedback(self.epoch + now, &feedback);
                self.lost_told += lost.len() as u64;
            }
        }
    }
}

/// The subscriber's side.
pub struct Receiver {
    epoch: Instant,
    generator: FeedbackGenerator,
    pub received_bytes: u64,
}

impl Receiver {
    pub fn new(epoch: Instant) -> Self {
        Self {
            // A clock of its own.
            epoch: epoch + Duration::from_secs(1_000),
            generator: FeedbackGenerator::new(),
            received_bytes: 0,
        }
    }

    pub fn on_packet(&mut self, at: Duration, packet: OnTheWire) {
        self.received_bytes += packet.bytes as u64;
        self.generator.on_packet(self.epoch + at, packet.seq);
    }

    pub fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        let due = self.generator.poll_timeout()?;
        if due > self.epoch + now {
            return None;
        }
        let mut buffer = [0; 1_200];
        let len = self.generator.poll(self.epoch + now, &mut buffer, Ssrc(1), Ssrc(2))?;
        Some(buffer[..len].to_vec())
    }
}

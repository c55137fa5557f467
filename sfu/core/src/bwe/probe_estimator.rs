//! What a probe cluster measured (libwebrtc: `goog_cc/probe_bitrate_estimator.cc`).
//!
//! Unlike there, all that was sent between a cluster's packets is part of its load: media, and what the link lost anyhow.

use arrayvec::ArrayVec;

use super::feedback::Acked;
use super::history::{History, ProbeId};
use super::probe_controller::ProbeCluster;
use super::time::Micros;
use crate::units::{Bitrate, ExtendedSeq};

/// Share of a cluster's packets and bytes that must arrive, of those that are not lost anyhow.
const MIN_RECEIVED: f64 = 0.8;
/// Packets that arrive at more than this times the rate of sending were held up and let go together.
const MAX_RATIO: f64 = 2.0;
/// Below this share of the rate of sending the link was full: what arrived is its capacity …
const UNSATURATED: f64 = 0.9;
/// … of which this much is used.
const UTILISATION: f64 = 0.95;
/// A cluster that takes longer measured something else.
const MAX_INTERVAL: Micros = Micros::secs(1);
/// Clusters that may be under way at once.
const CLUSTERS: usize = 4;

#[derive(Clone, Debug, Default)]
pub struct ProbeEstimator {
    clusters: ArrayVec<Cluster, CLUSTERS>,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    id: ProbeId,
    min_packets: u32,
    min_bytes: u32,
    packets: u32,
    bytes: u32,
    first: ExtendedSeq,
    last: ExtendedSeq,
    first_sent: Micros,
    last_sent: Micros,
    first_arrived: Micros,
    last_arrived: Micros,
}

impl ProbeEstimator {
    /// A cluster is about to be sent over a link that loses this share.
    pub fn on_cluster(&mut self, cluster: &ProbeCluster, loss: f64) {
        let expected = MIN_RECEIVED * (1.0 - loss);
        if self.clusters.is_full() {
            self.clusters.remove(0);
        }
        self.clusters.push(Cluster {
            id: cluster.id,
            min_packets: (f64::from(cluster.min_packets) * expected) as u32,
            min_bytes: (cluster.min_bytes as f64 * expected) as u32,
            packets: 0,
            bytes: 0,
            first: ExtendedSeq(u64::MAX),
            last: ExtendedSeq(0),
            first_sent: Micros::NEVER,
            last_sent: Micros(i64::MIN),
            first_arrived: Micros::NEVER,
            last_arrived: Micros(i64::MIN),
        });
    }

    /// Takes a packet that arrived; the rate where it completes the measurement of a cluster. `share`: what the link
    /// loses whatever is sent.
    pub fn on_packet(&mut self, packet: &Acked, history: &History, share: f64) -> Option<Bitrate> {
        let id = packet.probe?;
        let cluster = self.clusters.iter_mut().find(|cluster| cluster.id.0 == id)?;
        cluster.add(packet);
        cluster.rate(history, share)
    }
}

impl Cluster {
    fn add(&mut self, packet: &Acked) {
        self.first = self.first.min(packet.seq);
        self.last = self.last.max(packet.seq);
        self.first_sent = self.first_sent.min(packet.sent);
        self.last_sent = self.last_sent.max(packet.sent);
        self.first_arrived = self.first_arrived.min(packet.arrived);
        self.last_arrived = self.last_arrived.max(packet.arrived);
        self.bytes += u32::from(packet.bytes);
        self.packets += 1;
    }

    fn rate(&self, history: &History, share: f64) -> Option<Bitrate> {
        if self.packets < self.min_packets || self.bytes < self.min_bytes {
            return None;
        }
        let valid = Micros(1)..=MAX_INTERVAL;
        let (send, receive) = (self.last_sent - self.first_sent, self.last_arrived - self.first_arrived);
        if !valid.contains(&send) || !valid.contains(&receive) {
            return None;
        }
        let after = |number: ExtendedSeq| ExtendedSeq(number.0 + 1);
        let (all, lost) = history.bytes_of(self.first..after(self.last));
        // What is lost takes its time of the link as well, except for what a full queue drops.
        let carried = ((all - lost) as f64 / (1.0 - share)).min(all as f64) as u64;
        // The last packet's bytes were sent after the one interval, the first one's arrived before the other.
        let sent = send.rate_of(history.bytes_of(self.first..self.last).0);
        let (first, _) = history.bytes_of(self.first..after(self.first));
        let received = receive.rate_of(carried.saturating_sub(first));
        if received > sent.times(MAX_RATIO) {
            return None;
        }
        if received < sent.times(UNSATURATED) {
            return Some(received.times(UTILISATION));
        }
        Some(sent.min(received))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;
    use std::time::Duration;

    use super::super::history::{Fate, PacketKind, SentPacket};
    use super::*;

    fn id(id: u8) -> ProbeId {
        ProbeId(NonZeroU8::new(id).unwrap())
    }

    fn estimator(min_packets: u32, min_bytes: u64) -> ProbeEstimator {
        let mut estimator = ProbeEstimator::default();
        for number in 1..=2 {
            let cluster = ProbeCluster {
                id: id(number),
                rate: Bitrate(1),
                min_bytes,
                min_packets,
                duration: Duration::ZERO,
            };
            estimator.on_cluster(&cluster, 0.0);
        }
        estimator
    }

    /// (cluster or 0, bytes, sent and arrived in ms; 0: lost)
    type Packet = (u8, u16, i64, i64);

    /// Name, least packets and bytes, packets, bits per second.
    type Case<'a> = (&'a str, u32, u64, &'a [Packet], Option<u64>);

    /// All of them over a link that loses a fifth anyhow where any is lost.
    fn run(estimator: &mut ProbeEstimator, packets: &[Packet]) -> Option<Bitrate> {
        let mut history = History::default();
        let mut acked = Vec::new();
        for &(cluster, bytes, sent, arrived) in packets {
            let probe = NonZeroU8::new(cluster);
            let packet = SentPacket {
                bytes: bytes.into(),
                kind: PacketKind::Padding,
                probe: probe.map(ProbeId),
            };
            let seq = history.next_seq();
            history.push(Micros::millis(sent), packet);
            let is_lost = arrived == 0;
            let fate = if is_lost { Fate::Lost } else { Fate::Arrived };
            history.entry_mut(seq).expect("just sent").set_fate(fate);
            if !is_lost {
                acked.push(Acked {
                    seq,
                    sent: Micros::millis(sent),
                    arrived: Micros::millis(arrived),
                    bytes,
                    probe,
                    unreported: 0,
                    was_lost: false,
                });
            }
        }
        let share = if acked.len() < packets.len() { 0.2 } else { 0.0 };
        let rates = acked.iter().map(|packet| estimator.on_packet(packet, &history, share));
        rates.last().flatten()
    }

    /// libwebrtc: `goog_cc/probe_bitrate_estimator_unittest.cc`, named as there.
    #[test]
    fn measures_what_a_cluster_shows() {
        let cases: &[Case] = &[
            (
                "OneCluster",
                5,
                5_000,
                &[
                    (1, 1_000, 0, 10),
                    (1, 1_000, 10, 20),
                    (1, 1_000, 20, 30),
                    (1, 1_000, 30, 40),
                ],
                Some(800_000),
            ),
            (
                "OneClusterTooFewProbes",
                5,
                5_000,
                &[(1, 2_000, 0, 10), (1, 2_000, 10, 20), (1, 2_000, 20, 30)],
                None,
            ),
            (
                "OneClusterTooFewBytes",
                5,
                6_000,
                &[
                    (1, 800, 0, 10),
                    (1, 800, 10, 20),
                    (1, 800, 20, 30),
                    (1, 800, 30, 40),
                    (1, 800, 40, 50),
                ],
                None,
            ),
            (
                "SmallCluster",
                5,
                1_000,
                &[
                    (1, 150, 0, 10),
                    (1, 150, 10, 20),
                    (1, 150, 20, 30),
                    (1, 150, 30, 40),
                    (1, 150, 40, 50),
                    (1, 150, 50, 60),
                ],
                Some(120_000),
            ),
            (
                "FastReceive",
                5,
                5_000,
                &[
                    (1, 1_000, 0, 15),
                    (1, 1_000, 10, 30),
                    (1, 1_000, 20, 35),
                    (1, 1_000, 30, 40),
                ],
                Some(800_000),
            ),
            (
                "TooFastReceive",
                5,
                5_000,
                &[
                    (1, 1_000, 0, 19),
                    (1, 1_000, 10, 22),
                    (1, 1_000, 20, 25),
                    (1, 1_000, 40, 27),
                ],
                None,
            ),
            (
                "SlowReceive",
                5,
                5_000,
                &[
                    (1, 1_000, 0, 10),
                    (1, 1_000, 10, 40),
                    (1, 1_000, 20, 70),
                    (1, 1_000, 30, 85),
                ],
                Some(320_000 * 95 / 100),
            ),
            (
                "BurstReceive",
                5,
                5_000,
                &[
                    (1, 1_000, 0, 50),
                    (1, 1_000, 10, 50),
                    (1, 1_000, 20, 50),
                    (1, 1_000, 40, 50),
                ],
                None,
            ),
            (
                "IgnoreSizeLastSendPacket",
                5,
                5_000,
                &[
                    (1, 1_000, 0, 10),
                    (1, 1_000, 10, 20),
                    (1, 1_000, 20, 30),
                    (1, 1_000, 30, 40),
                    (1, 1_500, 40, 50),
                ],
                Some(800_000),
            ),
            (
                "IgnoreSizeFirstReceivePacket",
                5,
                5_000,
                &[
                    (1, 1_500, 0, 10),
                    (1, 1_000, 10, 20),
                    (1, 1_000, 20, 30),
                    (1, 1_000, 30, 40),
                ],
                Some(800_000 * 95 / 100),
            ),
            (
                "media between a cluster's packets is part of its load, before and behind it is not",
                5,
                4_000,
                &[
                    (0, 9_000, 0, 5),
                    (1, 1_000, 0, 10),
                    (0, 1_000, 10, 20),
                    (1, 1_000, 20, 30),
                    (1, 1_000, 30, 40),
                    (0, 9_000, 35, 45),
                ],
                None,
            ),
            (
                "what the link loses anyhow has taken its time as well",
                4,
                4_000,
                &[
                    (1, 1_000, 0, 10),
                    (1, 1_000, 10, 20),
                    (1, 1_000, 20, 0),
                    (1, 1_000, 30, 40),
                    (1, 1_000, 40, 50),
                ],
                Some(800_000),
            ),
            (
                "more losses than that are those of a full queue",
                3,
                3_000,
                &[
                    (1, 1_000, 0, 10),
                    (1, 1_000, 10, 20),
                    (1, 1_000, 20, 0),
                    (1, 1_000, 30, 0),
                    (1, 1_000, 40, 50),
                ],
                Some(550_000 * 95 / 100),
            ),
        ];
        for (name, min_packets, min_bytes, packets, expected) in cases {
            let rate = run(&mut estimator(*min_packets, *min_bytes), packets);
            let near = match (rate, expected) {
                (Some(rate), Some(expected)) => rate.0.abs_diff(*expected) <= 10,
                (rate, expected) => rate.is_none() && expected.is_none(),
            };
            assert!(near, "{name}: {rate:?}");
        }
    }

    /// As there: MultipleClusters. Packets of media between them take part.
    #[test]
    fn tells_clusters_apart() {
        let mut estimator = estimator(4, 4_000);
        let first = [
            (1, 1_000, 0, 10),
            (1, 1_000, 10, 20),
            (0, 1_000, 20, 30),
            (1, 1_000, 30, 40),
            (1, 1_000, 40, 50),
        ];
        assert_eq!(run(&mut estimator, &first), Some(Bitrate(800_000)));
        let second = [
            (2, 1_000, 60, 70),
            (2, 1_000, 65, 77),
            (2, 1_000, 70, 84),
            (2, 1_000, 75, 90),
        ];
        assert_eq!(run(&mut estimator, &second), Some(Bitrate(1_200_000 * 95 / 100)));
        assert_eq!(run(&mut estimator, &[(3, 1_000, 80, 95)]), None);
    }

    /// Three of five arrive of a cluster that a link that loses 30 % carries.
    #[test]
    fn counts_on_what_a_link_loses_anyhow() {
        for (loss, measures) in [(0.3, true), (0.0, false)] {
            let mut estimator = ProbeEstimator::default();
            let cluster = ProbeCluster {
                id: id(1),
                rate: Bitrate(1),
                min_bytes: 5_000,
                min_packets: 5,
                duration: Duration::ZERO,
            };
            estimator.on_cluster(&cluster, loss);
            let packets = [(1, 1_000, 0, 10), (1, 1_500, 10, 20), (1, 1_000, 30, 40)];
            assert_eq!(run(&mut estimator, &packets).is_some(), measures, "{loss}");
        }
    }
}

//! What a probe cluster measured (libwebrtc: `goog_cc/probe_bitrate_estimator.cc`).

use arrayvec::ArrayVec;

use super::feedback::Acked;
use super::history::ProbeId;
use super::probe_controller::ProbeCluster;
use super::time::Micros;
use crate::units::Bitrate;

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
    /// Other packets that arrived since the last one of a probe: if another one follows, they were part of the load.
    between: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    id: ProbeId,
    min_packets: f64,
    min_bytes: f64,
    packets: u32,
    bytes: u64,
    first_sent: Micros,
    last_sent: Micros,
    last_sent_bytes: u64,
    first_arrived: Micros,
    first_arrived_bytes: u64,
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
            min_packets: f64::from(cluster.min_packets) * expected,
            min_bytes: cluster.min_bytes as f64 * expected,
            packets: 0,
            bytes: 0,
            first_sent: Micros::NEVER,
            last_sent: Micros(i64::MIN),
            last_sent_bytes: 0,
            first_arrived: Micros::NEVER,
            first_arrived_bytes: 0,
            last_arrived: Micros(i64::MIN),
        });
    }

    /// Takes packets in the order of their arrival; the rate where one completes the measurement of a cluster.
    pub fn on_packet(&mut self, packet: &Acked) -> Option<Bitrate> {
        let bytes = u64::from(packet.bytes);
        let Some(id) = packet.probe else {
            self.between += bytes;
            return None;
        };
        let between = std::mem::take(&mut self.between);
        let cluster = self.clusters.iter_mut().find(|cluster| cluster.id.0 == id)?;
        if cluster.packets > 0 {
            cluster.bytes += between;
        }
        cluster.add(packet, bytes);
        cluster.rate()
    }
}

impl Cluster {
    fn add(&mut self, packet: &Acked, bytes: u64) {
        self.first_sent = self.first_sent.min(packet.sent);
        if packet.sent > self.last_sent {
            self.last_sent = packet.sent;
            self.last_sent_bytes = bytes;
        }
        if packet.arrived < self.first_arrived {
            self.first_arrived = packet.arrived;
            self.first_arrived_bytes = bytes;
        }
        self.last_arrived = self.last_arrived.max(packet.arrived);
        self.bytes += bytes;
        self.packets += 1;
    }

    fn rate(&self) -> Option<Bitrate> {
        if f64::from(self.packets) < self.min_packets.floor() || (self.bytes as f64) < self.min_bytes {
            return None;
        }
        let valid = Micros(1)..=MAX_INTERVAL;
        let (send, receive) = (self.last_sent - self.first_sent, self.last_arrived - self.first_arrived);
        if !valid.contains(&send) || !valid.contains(&receive) {
            return None;
        }
        // The last packet's bytes were sent after the one interval, the first one's arrived before the other.
        let sent = send.rate_of(self.bytes - self.last_sent_bytes);
        let received = receive.rate_of(self.bytes - self.first_arrived_bytes);
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

    use super::*;
    use crate::units::ExtendedSeq;

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

    /// (cluster or 0, bytes, sent and arrived in ms)
    type Packet = (u8, u16, i64, i64);

    /// Name, least packets and bytes, packets, bits per second.
    type Case<'a> = (&'a str, u32, u64, &'a [Packet], Option<u64>);

    fn run(estimator: &mut ProbeEstimator, packets: &[Packet]) -> Option<Bitrate> {
        let mut last = None;
        for &(cluster, bytes, sent, arrived) in packets {
            last = estimator.on_packet(&Acked {
                seq: ExtendedSeq(0),
                sent: Micros::millis(sent),
                arrived: Micros::millis(arrived),
                bytes,
                probe: NonZeroU8::new(cluster),
                unreported: 0,
                was_lost: false,
            });
        }
        last
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

//! What a probe cluster measured (libwebrtc: `goog_cc/probe_bitrate_estimator.cc`).

use arrayvec::ArrayVec;

use super::feedback::Acked;
use super::history::ProbeId;
use super::probe_controller::ProbeCluster;
use super::time::Micros;
use crate::units::Bitrate;

/// Share of a cluster's packets and bytes that must arrive.
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
    /// A cluster is about to be sent.
    pub fn on_cluster(&mut self, cluster: &ProbeCluster) {
        if self.clusters.is_full() {
            self.clusters.remove(0);
        }
        self.clusters.push(Cluster {
            id: cluster.id,
            min_packets: f64::from(cluster.min_packets) * MIN_RECEIVED,
            min_bytes: cluster.min_bytes as f64 * MIN_RECEIVED,
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

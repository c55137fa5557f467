//! Results of `memory`.

use serde::Serialize;

use super::{Table, mebibytes, or_unknown, percent};

/// Result of `memory`; parts that were left out are `None`. Each is of a server process of its own.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemoryReport {
    /// Kind of the synthetic clients.
    pub client: &'static str,
    pub idle: Option<IdleMemory>,
    pub subscribers: Option<SubscriberMemory>,
    pub publishers: Option<PublisherMemory>,
}

/// Connected sessions with 9 video and 3 audio slots, and nobody who publishes.
#[derive(Clone, Debug, Serialize)]
pub struct IdleMemory {
    pub sessions: usize,
    /// That the sessions are spread over.
    pub meetings: usize,
    /// Media connections that are up at the end.
    pub still_connected: usize,
    /// Until the last session had its media connection.
    pub join_seconds: f64,
    /// Without any session.
    pub server_rss_before_bytes: u64,
    /// As the sessions grew in number.
    pub stages: Vec<IdleStage>,
    /// Length of the window in which all sessions idled.
    pub idle_seconds: u64,
    /// CPU time in that window as a share of all the machine's cores, 0 to 1.
    pub server_cpu_share: Option<f64>,
    /// At the end of that window.
    pub server_rss_idle_bytes: u64,
}

/// Resident memory as soon as all of `sessions` were connected.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleStage {
    pub sessions: usize,
    pub server_rss_bytes: u64,
    /// What has been added since before the first session, by session.
    pub bytes_per_session: f64,
}

/// Connections that receive on 9 video and 3 audio slots.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SubscriberMemory {
    pub subscribers: usize,
    pub publishers: usize,
    /// Of each publisher's camera.
    pub kbps: u32,
    /// Packets of each video stream between the last first packet of a subscriber and the look at memory.
    pub settle_packets: u64,
    /// With half of the subscribers.
    pub server_rss_half_bytes: u64,
    /// With all of them.
    pub server_rss_bytes: u64,
    /// What the second half has added, by subscriber.
    pub bytes_per_subscriber: f64,
}

/// Publishers of three simulcast layers that nobody watches.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PublisherMemory {
    pub publishers: usize,
    /// Of the layers, the smallest first.
    pub kbps: [u32; 3],
    /// Packets of each layer between the last publisher's join and the look at memory.
    pub settle_packets: u64,
    /// With one publisher.
    pub server_rss_one_bytes: u64,
    /// With all of them.
    pub server_rss_bytes: u64,
    /// What the others have added, by publisher.
    pub bytes_per_publisher: f64,
}

impl Table for MemoryReport {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![("clients", self.client.to_owned())];
        rows.extend(self.idle.iter().flat_map(IdleMemory::rows));
        rows.extend(self.subscribers.iter().flat_map(SubscriberMemory::rows));
        rows.extend(self.publishers.iter().flat_map(PublisherMemory::rows));
        rows
    }
}

impl IdleMemory {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            (
                "idle sessions",
                format!(
                    "{} in {} meetings, joined in {:.1} s; {} connected at the end",
                    self.sessions, self.meetings, self.join_seconds, self.still_connected
                ),
            ),
            ("server memory before", mebibytes(self.server_rss_before_bytes)),
        ];
        rows.extend(self.stages.iter().map(|stage| {
            let (resident, each) = (mebibytes(stage.server_rss_bytes), kilobytes(stage.bytes_per_session));
            let text = format!("{resident} with {}, {each} per session", stage.sessions);
            ("server memory", text)
        }));
        let cpu = or_unknown(self.server_cpu_share, percent);
        rows.push((
            "while they idle",
            format!(
                "server CPU {cpu}, {} after {} s",
                mebibytes(self.server_rss_idle_bytes),
                self.idle_seconds
            ),
        ));
        rows
    }
}

impl SubscriberMemory {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let (half, all) = (mebibytes(self.server_rss_half_bytes), mebibytes(self.server_rss_bytes));
        vec![
            (
                "subscribers",
                format!(
                    "{} of {} publishers of {} kbit/s: from {half} to {all}",
                    self.subscribers, self.publishers, self.kbps
                ),
            ),
            ("memory per subscriber", kilobytes(self.bytes_per_subscriber)),
        ]
    }
}

impl PublisherMemory {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let (one, all) = (mebibytes(self.server_rss_one_bytes), mebibytes(self.server_rss_bytes));
        let [low, middle, high] = self.kbps;
        vec![
            (
                "simulcast publishers",
                format!(
                    "{} of {low}/{middle}/{high} kbit/s: from {one} to {all}",
                    self.publishers
                ),
            ),
            ("memory per publisher", kilobytes(self.bytes_per_publisher)),
        ]
    }
}

/// 1 kB is 1,000 bytes.
fn kilobytes(bytes: f64) -> String {
    format!("{:.1} kB", bytes / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_was_left_out_has_no_row() {
        let mut report = MemoryReport {
            client: "lean",
            ..Default::default()
        };
        assert_eq!(report.table(), "clients  lean\n");
        report.publishers = Some(PublisherMemory {
            publishers: 5,
            kbps: [150, 500, 1700],
            settle_packets: 512,
            server_rss_one_bytes: 20 << 20,
            server_rss_bytes: 24 << 20,
            bytes_per_publisher: 1_048_576.0,
        });
        let table = report.table();
        assert!(table.contains("from 20.0 MiB to 24.0 MiB\n"), "{table}");
        assert!(table.contains("memory per publisher  1048.6 kB\n"), "{table}");
    }
}

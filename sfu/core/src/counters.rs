//! What a worker counts. Plain integers, read by the shell and exported as metrics.

use crate::drop_reason::DropCounters;
use crate::relay::LinkStats;

#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Connections that exist now.
    pub connections: u64,
    /// Slots that a source is put into now.
    pub downtracks: u64,
    /// Tracks published here now.
    pub uptracks: u64,
    pub rtp_packets_in: u64,
    pub rtp_bytes_in: u64,
    pub rtcp_packets_in: u64,
    /// Media packets forwarded to subscribers, retransmissions not included.
    pub rtp_packets_out: u64,
    pub rtp_bytes_out: u64,
    pub rtcp_packets_out: u64,
    /// Padding that was sent to find out what a link carries.
    pub probe_packets_out: u64,
    /// Packets that were missing from publishers and asked for.
    pub nacked_packets_sent: u64,
    /// Packets that subscribers asked for again.
    pub nacked_packets_received: u64,
    /// Answers to them, over RTX or plain.
    pub retransmissions_sent: u64,
    /// Asked for, but no longer (or never) in the ring.
    pub retransmissions_missed: u64,
    /// Packets recovered by a publisher's RTX.
    pub rtx_packets_in: u64,
    /// Frames of voices that were lost and came as redundancy in a later packet of their publisher.
    pub red_frames_recovered: u64,
    pub keyframe_requests_received: u64,
    pub keyframe_requests_sent: u64,
    /// Past a subscriber's budget: answered by the next key frame, or asked for when there is budget again.
    pub keyframe_requests_deferred: u64,
    /// Connections whose quality is fair now, and poor, by [`crate::quality::Cause`].
    pub fair_connections: [u64; 4],
    pub poor_connections: [u64; 4],
    /// Links to other nodes that are up now.
    pub links_up: u64,
    /// What went over links to other nodes.
    pub relayed: LinkStats,
    pub drops: DropCounters,
}

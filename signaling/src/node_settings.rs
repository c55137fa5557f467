//! What the settings mean for the media server of the same process.

use tianqiao::Config;
use tianqiao::file_limit::{self, FileUse};
use tianqiao_sfu::config::{Bitrate, QueueLimits, RateLimits, SdpLimits, SfuConfig, SpeechConfig};

/// Takes all the files that the system lets us have open, and lowers the limits that they are too few for.
pub fn fit_to_files(config: &mut Config, sfu: &mut SfuConfig) {
    let files = match file_limit::raise() {
        Ok(files) => files,
        Err(error) => return tracing::warn!(%error, "the limit of open files cannot be raised"),
    };
    let wanted = FileUse {
        connections: config.max_connections,
        websockets: config.max_websockets as usize,
        streams_per_worker: sfu.tcp.max_streams,
    };
    let workers = sfu.worker_count().unwrap_or(u8::MAX).into();
    let given = wanted.within(files, workers);
    if given == wanted {
        return;
    }
    tracing::warn!(
        files,
        max_connections = given.connections,
        max_websockets = given.websockets,
        tcp_streams_per_worker = given.streams_per_worker,
        "limits are lowered to fit the hard limit of open files (ulimit -Hn)"
    );
    config.max_connections = given.connections;
    config.max_websockets = u32::try_from(given.websockets).unwrap_or(u32::MAX);
    sfu.tcp.max_streams = given.streams_per_worker;
    sfu.tcp.max_streams_per_address = sfu.tcp.max_streams_per_address.min(given.streams_per_worker);
    sfu.tcp.max_unproven_per_address = sfu
        .tcp
        .max_unproven_per_address
        .min(given.streams_per_worker.div_ceil(2));
}

fn rate_limits(config: &Config) -> RateLimits {
    RateLimits {
        video_layer: Bitrate(config.max_video_bitrate.0),
        screen_layer: Bitrate(config.max_screen_bitrate.0),
        audio_track: Bitrate(config.max_audio_bitrate.0),
        publisher: Bitrate(config.max_publisher_bitrate.0),
        rtcp: Bitrate(config.max_feedback_bitrate.0),
        session: Bitrate(config.max_session_bitrate.0),
        keyframe_interval: config.keyframe_request_interval,
        retransmission_percent: config.retransmission_percent,
        ..RateLimits::default()
    }
}

pub fn sfu_config(config: &Config) -> SfuConfig {
    let mut sfu = SfuConfig {
        workers: config.workers,
        pin_workers: config.pin_workers,
        media_addrs: config.media_addr.clone(),
        media_port: config.media_port,
        region: config.region.clone(),
        ..SfuConfig::default()
    };
    sfu.media_bind = config.media_bind.unwrap_or(sfu.media_bind);
    // Signaling keeps the limits; a session that makes room for another may end at the node a little after it.
    sfu.limits.sessions = with_slack(config.max_sessions, 64);
    sfu.limits.sessions_per_room = with_slack(config.max_participants, 16);
    sfu.limits.tracks_per_session = config.max_tracks;
    sfu.limits.slots_per_session = config.max_slots;
    sfu.tcp.max_streams = config.max_tcp_streams;
    sfu.tcp.max_streams_per_address = config.max_tcp_streams_per_address;
    sfu.tcp.max_unproven_per_address = config.max_unproven_tcp_streams_per_address;
    sfu.tcp.grace = config.tcp_grace;
    sfu.sdp = SdpLimits {
        max_bytes: config.max_sdp_size.0,
        max_lines: config.max_sdp_lines,
        max_line: config.max_sdp_line.0,
        max_sections: config.max_sdp_sections,
        max_attributes: config.max_sdp_attributes,
        max_codecs: config.max_sdp_codecs,
        max_extensions: config.max_sdp_extensions,
        max_rids: config.max_sdp_rids,
        max_ssrcs: config.max_sdp_ssrcs,
        max_candidates: config.max_sdp_candidates,
    };
    sfu.intake.parsers = config.sdp_parsers;
    sfu.intake.queue = QueueLimits {
        bytes: config.max_waiting_sdp.0,
        bytes_per_origin: config.max_waiting_sdp_per_address.0,
        quantum: config.max_sdp_size.0,
    };
    sfu.rates = rate_limits(config);
    sfu.speech = SpeechConfig {
        low_voices: config.low_voices,
        redundancy: u8::try_from(config.voice_redundancy).unwrap_or(u8::MAX),
    };
    sfu.rfc8888 = config.rfc8888;
    sfu.max_bitrate = Bitrate(config.max_node_bitrate.0);
    sfu
}

/// A twentieth more, and a few.
fn with_slack(limit: usize, few: usize) -> usize {
    limit.saturating_add(limit / 20).saturating_add(few)
}

//! Sessions that are connected and neither send nor receive media.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;

use super::{AUDIO_SLOTS, MemoryOptions, VIDEO_SLOTS, bytes_each, join_all, leave_all, resident_bytes};
use crate::client::{NoSink, PeerConfig};
use crate::cpus::CpuList;
use crate::report::{IdleMemory, IdleStage};
use crate::target::{MemberConfig, Target};

/// Numbers of sessions at which memory is looked at, beside all of them.
const STAGES: [usize; 3] = [100, 500, 1000];

pub async fn run(target: &Target, options: &MemoryOptions) -> Result<IdleMemory> {
    let meetings = options.sessions.div_ceil(options.meeting_size);
    let meetings = try_join_all((0..meetings).map(|_| target.meeting())).await?;
    let config = MemberConfig {
        clients: options.clients.clone(),
        peer: PeerConfig {
            audio_slots: AUDIO_SLOTS,
            video_slots: VIDEO_SLOTS,
            ..Default::default()
        },
        ..Default::default()
    };
    let before = resident_bytes(target)?;
    let begin = Instant::now();
    let mut members = Vec::new();
    let mut stages = Vec::new();
    let reached = STAGES.into_iter().filter(|stage| *stage < options.sessions);
    for sessions in reached.chain([options.sessions]) {
        let meeting = |index: usize| &meetings[index / options.meeting_size];
        let indices = members.len()..sessions;
        members.extend(join_all(meeting, "Listener", indices, &config, || Box::new(NoSink)).await?);
        let resident = resident_bytes(target)?;
        stages.push(IdleStage {
            sessions,
            server_rss_bytes: resident,
            bytes_per_session: bytes_each(before, resident, sessions),
        });
    }
    let join_seconds = begin.elapsed().as_secs_f64();
    let server_cpu_share = cpu_share(target, Duration::from_secs(options.idle_seconds)).await?;
    let after = resident_bytes(target)?;
    let connected = members.iter().filter(|member| member.participant.media.is_connected());
    let report = IdleMemory {
        sessions: options.sessions,
        meetings: meetings.len(),
        still_connected: connected.count(),
        join_seconds,
        server_rss_before_bytes: before,
        stages,
        idle_seconds: options.idle_seconds,
        server_cpu_share,
        server_rss_idle_bytes: after,
    };
    leave_all(members).await;
    Ok(report)
}

/// The server's, of all cores, in a window from now on.
async fn cpu_share(target: &Target, window: Duration) -> Result<Option<f64>> {
    let (begin, before) = (Instant::now(), target.cpu()?);
    tokio::time::sleep(window).await;
    let after = target.cpu()?;
    let available = begin.elapsed().as_secs_f64() * CpuList::online()?.count() as f64;
    Ok(after
        .zip(before)
        .map(|(after, before)| after.since(&before).as_secs_f64() / available))
}

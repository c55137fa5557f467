//! `forward`: some publish, the others receive; packets, losses, one-way latency and the server's cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use tianqiao_protocol::MediaKind;

use crate::client::{Clients, MediaSink, NoSink, PeerConfig};
use crate::cpus::CpuList;
use crate::media::{AudioSource, Mark, MediaSource, TrackWindow, VideoFormat, VideoSource};
use crate::meter::{Meters, Subscription};
use crate::process_stats::CpuSnapshot;
use crate::report::{ForwardReport, KindCounts, Latency};
use crate::target::{Member, MemberConfig, Room, Target};

/// Joins that are under way at once.
const PARALLEL_JOINS: usize = 8;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Until every subscriber must have received something of every track.
const WARM_UP_LIMIT: Duration = Duration::from_secs(60);
/// What late packets are given after the window.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// As many speakers as a server forwards at once; with more publishers audio is not counted.
const AUDIO_SLOTS: usize = 3;
/// Of video of 2,500 kbit/s: what a client's cost is told for.
const PACKETS_PER_SECOND: f64 = 300.0;
/// Well above silence, −dBov.
const SPEECH: u8 = 30;

#[derive(Clone, Debug)]
pub struct ForwardOptions {
    pub clients: Clients,
    /// Where the generator's threads are kept, and the server's.
    pub generator_cpus: Option<CpuList>,
    pub server_cpus: Option<CpuList>,
    pub publishers: usize,
    pub subscribers: usize,
    pub video_kbps: u32,
    pub seconds: u64,
    pub audio: bool,
}

pub async fn run(target: &Target, options: &ForwardOptions) -> Result<ForwardReport> {
    if options.publishers == 0 || options.subscribers == 0 || options.seconds == 0 {
        bail!("publishers, subscribers and seconds must be at least 1");
    }
    let video: Vec<_> = windows(MediaKind::Video, 0, options.publishers);
    let audio = if options.audio {
        windows(MediaKind::Audio, options.publishers, options.publishers)
    } else {
        vec![]
    };
    let meters = Meters::new(video.iter().chain(&audio).cloned().collect());

    let room = target.room().await?;
    let publishers = join_publishers(&room, options).await?;
    publish(&publishers, options, &video, &audio)?;
    let subscribers = join_subscribers(&room, options, &publishers, &meters).await?;
    meters.all_hear(WARM_UP_LIMIT).await?;

    let generator = std::process::id();
    mark(&publishers, Mark::Start).await?;
    let begin = (Instant::now(), target.cpu()?, CpuSnapshot::take(generator)?);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let end = (Instant::now(), target.cpu()?, CpuSnapshot::take(generator)?);
    let resident = target.resident_bytes()?;
    mark(&publishers, Mark::End).await?;
    meters.drained(DRAIN_LIMIT).await;

    let seconds = (end.0 - begin.0).as_secs_f64();
    let server_cpu = end
        .1
        .as_ref()
        .zip(begin.1.as_ref())
        .map(|(end, begin)| end.since(begin));
    let generator_cpu = end.2.since(&begin.2);
    let joins: Vec<_> = subscribers.iter().map(Member::answered).collect();
    stream::iter(publishers.into_iter().chain(subscribers))
        .for_each_concurrent(None, Member::leave)
        .await;
    room.close().await;

    let counts = |kind| {
        let counts = meters.counts(kind);
        KindCounts {
            published: counts.published,
            expected: counts.expected,
            received: counts.received,
            unjudged: counts.unjudged,
        }
    };
    let (video, audio) = (counts(MediaKind::Video), counts(MediaKind::Audio));
    let received = video.received + audio.received;
    let expected = video.expected + audio.expected;
    let forwarded = received + video.unjudged + audio.unjudged;
    let machine = CpuList::online()?.count() as f64;
    let generator_cpus = options
        .generator_cpus
        .as_ref()
        .map_or(machine, |cpus| cpus.count() as f64);
    let per_packet = |cpu: Duration| cpu.as_secs_f64() * 1e6 / forwarded.max(1) as f64;
    let share = |cpu: Duration, cpus: f64| cpu.as_secs_f64() / (seconds * cpus);
    Ok(ForwardReport {
        client: options.clients.name(),
        generator_cpus: options.generator_cpus.clone(),
        server_cpus: options.server_cpus.clone(),
        publishers: options.publishers,
        subscribers: options.subscribers,
        video_kbps: options.video_kbps,
        seconds,
        published: video.published + audio.published,
        expected,
        received,
        lost: expected.saturating_sub(received),
        forwarded,
        latency_ms: Latency::of(&meters.latency()),
        server_cpu_us_per_packet: server_cpu.map(per_packet),
        server_rss_bytes: resident,
        server_cpu_share: server_cpu.map(|cpu| share(cpu, machine)),
        generator_cpu_share: share(generator_cpu, machine),
        generator_core_share: share(generator_cpu, generator_cpus),
        generator_cpu_us_per_packet: per_packet(generator_cpu),
        generator_core_percent_per_client: per_packet(generator_cpu) * PACKETS_PER_SECOND * 1e-4,
        video,
        audio,
        join_ms: Latency::of_durations(&joins),
    })
}

fn windows(kind: MediaKind, first: usize, count: usize) -> Vec<Arc<TrackWindow>> {
    (first..first + count)
        .map(|index| TrackWindow::new(index as u16, kind))
        .collect()
}

async fn join_publishers(room: &Room, options: &ForwardOptions) -> Result<Vec<Member>> {
    let peer = PeerConfig {
        camera: true,
        microphone: options.audio,
        repair: true,
        ..Default::default()
    };
    let config = MemberConfig {
        clients: options.clients.clone(),
        peer,
        ..Default::default()
    };
    join_all(room, "Publisher", options.publishers, &config, || Box::new(NoSink)).await
}

async fn join_subscribers(
    room: &Room,
    options: &ForwardOptions,
    publishers: &[Member],
    meters: &Arc<Meters>,
) -> Result<Vec<Member>> {
    let peer = PeerConfig {
        audio_slots: if options.audio { AUDIO_SLOTS } else { 0 },
        video_slots: publishers.len(),
        ..Default::default()
    };
    let count = publishers.len() as u16;
    let mut subscription = Subscription {
        expected: (0..count).collect(),
        unjudged: vec![],
    };
    match publishers.len() {
        _ if !options.audio => {}
        0..=AUDIO_SLOTS => subscription.expected.extend(count..2 * count),
        _ => subscription.unjudged.extend(count..2 * count),
    }
    let config = MemberConfig {
        clients: options.clients.clone(),
        peer,
        watch: publishers.iter().filter_map(Member::feed).cloned().collect(),
        height: VideoFormat::default().height,
    };
    join_all(room, "Subscriber", options.subscribers, &config, || {
        meters.sink(&subscription)
    })
    .await
}

/// Joins `count` participants, some at a time, and waits for their media connections.
async fn join_all(
    room: &Room,
    name: &str,
    count: usize,
    config: &MemberConfig,
    sink: impl Fn() -> Box<dyn MediaSink>,
) -> Result<Vec<Member>> {
    stream::iter(0..count)
        .map(|index| {
            let sink = sink();
            async move {
                let name = format!("{name} {index}");
                let member = room.join(&name, config, sink).await?;
                member.connected(CONNECT_LIMIT).await?;
                anyhow::Ok(member)
            }
        })
        .buffered(PARALLEL_JOINS)
        .try_collect()
        .await
        .with_context(|| format!("a {} could not join", name.to_lowercase()))
}

/// Starts the sources, the publishers' frames spread over a frame's time as they are in life.
fn publish(
    publishers: &[Member],
    options: &ForwardOptions,
    video: &[Arc<TrackWindow>],
    audio: &[Arc<TrackWindow>],
) -> Result<()> {
    let format = VideoFormat {
        kbps: options.video_kbps,
        ..Default::default()
    };
    let step = Duration::from_secs(1) / format.frames_per_second / publishers.len() as u32;
    let begin = Instant::now();
    for (index, publisher) in publishers.iter().enumerate() {
        let start = begin + step * index as u32;
        let mut sources: Vec<Box<dyn MediaSource>> = Vec::new();
        if let Some(window) = audio.get(index) {
            sources.push(Box::new(AudioSource::new(SPEECH, window.clone(), start)));
        }
        sources.push(Box::new(VideoSource::new(format, video[index].clone(), start)));
        publisher.publish(sources)?;
    }
    Ok(())
}

async fn mark(publishers: &[Member], mark: Mark) -> Result<()> {
    for publisher in publishers {
        publisher.mark(mark).await.context("a publisher was lost")?;
    }
    Ok(())
}

//! `forward`: some publish, the others receive; packets, losses, one-way latency and the server's cost.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tianqiao_protocol::MediaKind;

use crate::client::{Clients, MediaSink, NoSink, PeerConfig};
use crate::cpus::CpuList;
use crate::media::{AudioSource, Mark, MediaSource, TrackWindow, VideoFormat, VideoSource};
use crate::meter::{Meters, Subscription};
use crate::process_stats::CpuSnapshot;
use crate::report::{ForwardReport, KindCounts, Latency};
use crate::server_limits::Crowd;
use crate::target::{Feed, Member, MemberConfig, Room, Target};

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
    pub shape: Shape,
    /// Meetings of that shape.
    pub rooms: usize,
    pub video_kbps: u32,
    pub seconds: u64,
    pub audio: bool,
    /// Receivers tell when each packet came (transport-wide feedback), as browsers do.
    pub feedback: bool,
}

impl ForwardOptions {
    pub fn crowd(&self) -> Crowd {
        Crowd::of_meetings(self.rooms, self.shape.members())
    }
}

/// Who sends to whom in a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Shape {
    /// Subscribers receive every publisher and send nothing.
    Fan { publishers: usize, subscribers: usize },
    /// Everybody publishes and receives all others.
    Mesh { participants: usize },
}

impl Shape {
    pub fn publishers(self) -> usize {
        match self {
            Self::Fan { publishers, .. } => publishers,
            Self::Mesh { participants } => participants,
        }
    }

    fn members(self) -> usize {
        match self {
            Self::Fan {
                publishers,
                subscribers,
            } => publishers + subscribers,
            Self::Mesh { participants } => participants,
        }
    }

    fn is_empty(self) -> bool {
        match self {
            Self::Fan {
                publishers,
                subscribers,
            } => publishers == 0 || subscribers == 0,
            Self::Mesh { participants } => participants < 2,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fan {
                publishers,
                subscribers,
            } => write!(f, "{publishers} → {subscribers}"),
            Self::Mesh { participants } => write!(f, "{participants} ↔ {participants}"),
        }
    }
}

pub async fn run(target: &Target, options: &ForwardOptions) -> Result<ForwardReport> {
    ensure!(
        !options.shape.is_empty() && options.rooms > 0 && options.seconds > 0,
        "there must be rooms, somebody who sends, somebody who receives, and time"
    );
    let publishers = options.rooms * options.shape.publishers();
    ensure!(
        2 * publishers <= usize::from(u16::MAX),
        "tracks are told apart by 16 bits"
    );
    let tracks = Tracks {
        video: windows(MediaKind::Video, 0, publishers),
        audio: windows(MediaKind::Audio, publishers, if options.audio { publishers } else { 0 }),
    };
    let meters = Meters::new(tracks.video.iter().chain(&tracks.audio).cloned().collect());

    let begin = Instant::now();
    let mut parties = Vec::new();
    for index in 0..options.rooms {
        let party = Party::gather(target, options, index, &tracks, &meters, begin);
        parties.push(party.await?);
    }
    meters.all_hear(WARM_UP_LIMIT).await?;

    let generator = std::process::id();
    mark(&parties, Mark::Start).await?;
    let begin = (Instant::now(), target.cpu()?, CpuSnapshot::take(generator)?);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let end = (Instant::now(), target.cpu()?, CpuSnapshot::take(generator)?);
    let resident = target.resident_bytes()?;
    mark(&parties, Mark::End).await?;
    meters.drained(DRAIN_LIMIT).await;

    let seconds = (end.0 - begin.0).as_secs_f64();
    let server = end.1.as_ref().zip(begin.1.as_ref());
    let server_cpu = server.map(|(end, begin)| end.since(begin));
    let busiest = server.map(|(end, begin)| end.busiest_since(begin));
    let generator_cpu = end.2.since(&begin.2);
    let joins: Vec<_> = parties
        .iter()
        .flat_map(Party::receivers)
        .map(Member::answered)
        .collect();
    stream::iter(parties).for_each_concurrent(None, Party::leave).await;

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
        shape: options.shape,
        rooms: options.rooms,
        video_kbps: options.video_kbps,
        seconds,
        published: video.published + audio.published,
        expected,
        received,
        lost: expected.saturating_sub(received),
        forwarded,
        latency_ms: Latency::of(&meters.latency()),
        server_cpu_us_per_packet: server_cpu.map(per_packet),
        server_busiest_thread_us_per_packet: busiest.map(per_packet),
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

/// Windows of all rooms' tracks, room by room.
struct Tracks {
    video: Vec<Arc<TrackWindow>>,
    audio: Vec<Arc<TrackWindow>>,
}

impl Tracks {
    /// Of the publishers `of`, as the subscribers of a room with `publishers` should get them.
    fn subscription(&self, of: impl Iterator<Item = usize>, publishers: usize) -> Subscription {
        let mut subscription = Subscription::default();
        for publisher in of {
            subscription.expected.push(self.video[publisher].track);
            let audio = self.audio.get(publisher).map(|window| window.track);
            match publishers <= AUDIO_SLOTS {
                true => subscription.expected.extend(audio),
                false => subscription.unjudged.extend(audio),
            }
        }
        subscription
    }
}

/// The members of one room.
struct Party {
    room: Room,
    publishers: Vec<Member>,
    /// Those who only subscribe; none in a mesh, where the publishers do.
    subscribers: Vec<Member>,
}

impl Party {
    /// Joins the members of room `index` and lets them send; `begin` is when the first frame of the run is due.
    async fn gather(
        target: &Target,
        options: &ForwardOptions,
        index: usize,
        tracks: &Tracks,
        meters: &Arc<Meters>,
        begin: Instant,
    ) -> Result<Self> {
        let room = target.room().await?;
        let count = options.shape.publishers();
        let all = index * count..(index + 1) * count;
        let sending = MemberConfig {
            clients: options.clients.clone(),
            peer: PeerConfig {
                camera: true,
                microphone: options.audio,
                repair: true,
                ..Default::default()
            },
            height: VideoFormat::default().height,
            ..Default::default()
        };
        let receiving = |config: MemberConfig, slots| MemberConfig {
            peer: PeerConfig {
                audio_slots: if options.audio { AUDIO_SLOTS } else { 0 },
                video_slots: slots,
                arrival_feedback: options.feedback,
                ..config.peer
            },
            ..config
        };
        let config = match options.shape {
            Shape::Fan { .. } => sending,
            Shape::Mesh { participants } => receiving(sending, participants - 1),
        };
        let mut publishers = join_all(&room, "Publisher", count, &config, |publisher| match options.shape {
            Shape::Fan { .. } => Box::new(NoSink) as Box<dyn MediaSink>,
            Shape::Mesh { .. } => {
                let others = all.clone().filter(|other| *other != all.start + publisher);
                meters.sink(&tracks.subscription(others, count))
            }
        })
        .await?;
        publish(&publishers, options, tracks, all.start, begin)?;
        let feeds: Vec<Feed> = publishers.iter().filter_map(Member::feed).cloned().collect();
        let subscribers = match options.shape {
            Shape::Mesh { .. } => {
                for (own, publisher) in publishers.iter_mut().enumerate() {
                    let mut others = feeds.clone();
                    others.remove(own);
                    publisher.watch(&others).await?;
                    publisher.connected(CONNECT_LIMIT).await?;
                }
                vec![]
            }
            Shape::Fan { subscribers, .. } => {
                let config = MemberConfig {
                    peer: PeerConfig::default(),
                    watch: feeds,
                    ..config
                };
                let subscription = tracks.subscription(all, count);
                join_all(&room, "Subscriber", subscribers, &receiving(config, count), |_| {
                    meters.sink(&subscription)
                })
                .await?
            }
        };
        Ok(Self {
            room,
            publishers,
            subscribers,
        })
    }

    fn receivers(&self) -> &[Member] {
        match self.subscribers.as_slice() {
            [] => &self.publishers,
            subscribers => subscribers,
        }
    }

    async fn leave(self) {
        stream::iter(self.publishers.into_iter().chain(self.subscribers))
            .for_each_concurrent(None, Member::leave)
            .await;
        self.room.close().await;
    }
}

/// Joins `count` participants, some at a time, and waits for their media connections.
async fn join_all(
    room: &Room,
    name: &str,
    count: usize,
    config: &MemberConfig,
    sink: impl Fn(usize) -> Box<dyn MediaSink>,
) -> Result<Vec<Member>> {
    stream::iter(0..count)
        .map(|index| {
            let sink = sink(index);
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

/// Starts the sources of a room's publishers, of whom the first is number `first` of the run. The frames of
/// all publishers are spread over a frame's time as they are in life.
fn publish(
    publishers: &[Member],
    options: &ForwardOptions,
    tracks: &Tracks,
    first: usize,
    begin: Instant,
) -> Result<()> {
    let format = VideoFormat {
        kbps: options.video_kbps,
        ..Default::default()
    };
    let frame = Duration::from_secs(1) / format.frames_per_second;
    let step = frame / tracks.video.len() as u32;
    // At a whole number of frames after the first room's.
    let begin = begin + frame * begin.elapsed().div_duration_f64(frame).ceil() as u32;
    for (index, publisher) in (first..).zip(publishers) {
        let start = begin + step * index as u32;
        let mut sources: Vec<Box<dyn MediaSource>> = Vec::new();
        if let Some(window) = tracks.audio.get(index) {
            sources.push(Box::new(AudioSource::new(SPEECH, window.clone(), start)));
        }
        sources.push(Box::new(VideoSource::new(format, tracks.video[index].clone(), start)));
        publisher.publish(sources)?;
    }
    Ok(())
}

async fn mark(parties: &[Party], mark: Mark) -> Result<()> {
    for publisher in parties.iter().flat_map(|party| &party.publishers) {
        publisher.mark(mark).await.context("a publisher was lost")?;
    }
    Ok(())
}

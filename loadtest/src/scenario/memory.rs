//! `memory`: what participants cost the server in resident memory. Each part has a server process of its
//! own, so that what the allocator kept of one does not help the next.

mod idle;
mod publishers;
mod subscribers;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{Clients, MediaSink};
use crate::file_limit;
use crate::media::{CountedSource, MediaSource};
use crate::report::MemoryReport;
use crate::server_limits::{Crowd, fitting};
use crate::target::tianqiao::MeetingMember;
use crate::target::{Meeting, MemberConfig, Target, TargetKind, TargetOptions};

/// Joins that are under way at once.
const PARALLEL_JOINS: usize = 16;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Until every subscriber must have received something of every track.
const HEAR_LIMIT: Duration = Duration::from_secs(60);
/// As the web client shows them on one page.
const AUDIO_SLOTS: usize = 3;
const VIDEO_SLOTS: usize = 9;
/// The least that a video source sends in a second.
const PACKETS_PER_SECOND: u64 = 30;
/// Files of this process beside those of its participants, which have a WebSocket and a UDP socket each.
const OTHER_FILES: u64 = 200;

#[derive(Clone, Debug)]
pub struct MemoryOptions {
    pub clients: Clients,
    /// Idle sessions; 0 leaves the part out.
    pub sessions: usize,
    /// Idle sessions of one meeting.
    pub meeting_size: usize,
    /// Length of the window in which all sessions idle and the server's CPU time is looked at.
    pub idle_seconds: u64,
    /// Subscribers that receive; 0 leaves the part out.
    pub subscribers: usize,
    /// Simulcast publishers; 0 leaves the part out.
    pub publishers: usize,
    /// Of each camera that a subscriber receives.
    pub camera_kbps: u32,
    /// What every video stream sends before memory is looked at.
    pub settle_packets: u64,
}

impl MemoryOptions {
    /// Of the largest part; each part has its own server.
    fn crowd(&self) -> Crowd {
        let sessions = self.sessions.max(self.subscribers).max(self.publishers);
        Crowd {
            meetings: self.sessions.div_ceil(self.meeting_size.max(1)),
            per_meeting: self.meeting_size.max(self.subscribers).max(self.publishers),
            sessions,
            joins: sessions,
        }
    }
}

pub async fn run(target: &TargetOptions, options: &MemoryOptions) -> Result<MemoryReport> {
    check(target, options)?;
    let most = options.sessions.max(options.subscribers).max(options.publishers);
    file_limit::raise(2 * most as u64 + OTHER_FILES)?;
    let target = &fitting(target, &options.crowd());
    let mut report = MemoryReport {
        client: options.clients.name(),
        ..Default::default()
    };
    if options.sessions > 0 {
        report.idle = Some(on_own_server(target, async |target| idle::run(target, options).await).await?);
    }
    if options.subscribers > 0 {
        let slope = on_own_server(target, async |target| subscribers::run(target, options).await).await?;
        report.subscribers = Some(slope);
    }
    if options.publishers > 0 {
        let slope = on_own_server(target, async |target| publishers::run(target, options).await).await?;
        report.publishers = Some(slope);
    }
    Ok(report)
}

fn check(target: &TargetOptions, options: &MemoryOptions) -> Result<()> {
    if target.kind != TargetKind::Tianqiao {
        bail!("this scenario needs --target tianqiao");
    }
    if target.url.is_some() {
        bail!("memory needs a fresh server for each part and starts them itself: leave --url out");
    }
    if options.meeting_size == 0 || options.idle_seconds == 0 {
        bail!("meeting size and idle seconds must be at least 1");
    }
    if options.subscribers == 1 || options.publishers == 1 {
        bail!("a slope needs at least two subscribers and two publishers (0 leaves the part out)");
    }
    Ok(())
}

async fn on_own_server<R>(options: &TargetOptions, part: impl AsyncFnOnce(&Target) -> Result<R>) -> Result<R> {
    let target = Target::open(options).await?;
    let result = part(&target).await;
    let log = target.server_log().unwrap_or_default();
    target.close().await?;
    result.with_context(|| format!("the server's last words:\n{log}"))
}

fn resident_bytes(target: &Target) -> Result<u64> {
    target.resident_bytes()?.context("the server's process is unknown")
}

/// Bytes by participant, of which there were `more` more at `after` than at `before`.
fn bytes_each(before: u64, after: u64, more: usize) -> f64 {
    (after as f64 - before as f64) / more.max(1) as f64
}

/// Joins some at a time, and waits for the media connections.
async fn join_all<'a>(
    meeting: impl Fn(usize) -> &'a Meeting,
    name: &str,
    indices: std::ops::Range<usize>,
    config: &MemberConfig,
    sink: impl Fn() -> Box<dyn MediaSink>,
) -> Result<Vec<MeetingMember>> {
    let joins = indices.map(|index| {
        let (meeting, sink) = (meeting(index), sink());
        async move {
            let member = meeting.join(&format!("{name} {index}"), config, sink).await?;
            member.participant.media.connected(CONNECT_LIMIT).await?;
            anyhow::Ok(member)
        }
    });
    let joined: Result<Vec<_>> = buffered(stream::iter(joins)).try_collect().await;
    joined.with_context(|| format!("a {} could not join", name.to_lowercase()))
}

fn buffered<F: Future>(futures: impl Stream<Item = F>) -> impl Stream<Item = F::Output> {
    futures.buffered(PARALLEL_JOINS)
}

async fn leave_all(members: impl IntoIterator<Item = MeetingMember>) {
    stream::iter(members)
        .for_each_concurrent(None, |member| member.participant.leave())
        .await;
}

/// How much the video streams of a run have sent.
#[derive(Default)]
struct Sent(Vec<watch::Receiver<u64>>);

impl Sent {
    /// `source`, counted.
    fn counted(&mut self, source: impl MediaSource + 'static) -> Box<dyn MediaSource> {
        let (source, sent) = CountedSource::new(source);
        self.0.push(sent);
        Box::new(source)
    }

    /// Waits until every stream has sent `packets` more.
    async fn settled(&self, packets: u64) -> Result<()> {
        let limit = Duration::from_secs(10 + 2 * packets / PACKETS_PER_SECOND);
        let all = async {
            // From now on for all of them, also for those that are waited for last.
            let goals: Vec<_> = self.0.iter().map(|sent| *sent.borrow() + packets).collect();
            for (sent, goal) in self.0.iter().zip(goals) {
                let mut sent = sent.clone();
                sent.wait_for(|sent| *sent >= goal)
                    .await
                    .context("a publisher was lost")?;
            }
            anyhow::Ok(())
        };
        timeout(limit, all)
            .await
            .with_context(|| format!("not every stream has sent {packets} packets within {limit:?}"))?
    }
}

//! `join`: a room fills; what a join takes as the room grows, and what one more costs the others.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use tianqiao_protocol::MediaKind;
use tianqiao_protocol::ws::ServerMessage;
use tokio::time::timeout;

use crate::client::{Clients, JoinConfig, NoSink, Participant, PeerConfig};
use crate::media::{AudioSource, MediaSource, TrackWindow, VideoFormat, VideoSource};
use crate::report::{FurtherJoin, JoinReport, JoinSize, Latency};
use crate::server_limits::Crowd;
use crate::target::{Meeting, Target};

const PARALLEL_JOINS: usize = 8;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Until a participant must have been told of all others.
const ROSTER_LIMIT: Duration = Duration::from_secs(30);
/// As the web client offers them.
const AUDIO_SLOTS: usize = 4;
const VIDEO_SLOTS: usize = 9;
const SPEECH: u8 = 30;
/// Video of those who publish; the listeners' slots are paused.
const VIDEO_KBPS: u32 = 300;

#[derive(Clone, Debug)]
pub struct JoinOptions {
    pub clients: Clients,
    pub participants: usize,
    /// How many of them publish a camera; the first of them also speaks, as in a lecture.
    pub publishers: usize,
}

impl JoinOptions {
    pub fn crowd(&self) -> Crowd {
        Crowd::of_meetings(1, self.participants)
    }
}

pub async fn run(target: &Target, options: &JoinOptions) -> Result<JoinReport> {
    if options.participants == 0 || options.publishers > options.participants {
        bail!("there must be at least one participant and no more publishers than participants");
    }
    let meeting = &target.meeting().await?;
    let (begin, cpu) = (Instant::now(), target.cpu()?);
    let joined: Vec<(Participant, Duration)> = stream::iter(0..options.participants)
        .map(|index| join(meeting, &options.clients, index, index < options.publishers))
        .buffered(PARALLEL_JOINS)
        .try_collect()
        .await?;
    let seconds = begin.elapsed().as_secs_f64();
    let spent = target
        .cpu()?
        .zip(cpu)
        .map(|(end, begin)| end.since(&begin).as_secs_f64() * 1e3);
    let (mut participants, connected): (Vec<_>, Vec<_>) = joined.into_iter().unzip();

    let everyone: HashSet<String> = participants
        .iter()
        .map(|participant| participant.id().to_owned())
        .collect();
    try_join_all(
        participants
            .iter_mut()
            .map(|participant| told_of(participant, &everyone)),
    )
    .await?;
    let (further, further_join) = join_further(meeting, options, &mut participants).await?;
    let sizes = sizes(&participants);
    let resident = target.resident_bytes()?;
    let answered: Vec<_> = participants
        .iter()
        .map(|participant| participant.cost.answered)
        .collect();
    participants.push(further);
    stream::iter(participants)
        .for_each_concurrent(None, Participant::leave)
        .await;
    Ok(JoinReport {
        participants: options.participants,
        publishers: options.publishers,
        seconds,
        answered_ms: Latency::of_durations(&answered),
        connected_ms: Latency::of_durations(&connected),
        joins: sizes,
        further_join,
        server_rss_bytes: resident,
        server_cpu_ms_per_join: spent.map(|millis| millis / options.participants as f64),
    })
}

async fn join(meeting: &Meeting, clients: &Clients, index: usize, publishes: bool) -> Result<(Participant, Duration)> {
    let peer = PeerConfig {
        microphone: publishes,
        camera: publishes,
        audio_slots: AUDIO_SLOTS,
        video_slots: VIDEO_SLOTS,
        ..Default::default()
    };
    let config = JoinConfig {
        clients: clients.clone(),
        peer,
        ..Default::default()
    };
    let token = meeting.token(&format!("Participant {index}")).await?;
    let begin = Instant::now();
    let participant = Participant::join(&meeting.server, &token, &config, Box::new(NoSink))
        .await
        .with_context(|| format!("participant {index} could not join"))?;
    participant.media.connected(CONNECT_LIMIT).await?;
    let connected = begin.elapsed();
    if publishes {
        participant.media.publish(sources(index));
    }
    Ok((participant, connected))
}

fn sources(index: usize) -> Vec<Box<dyn MediaSource>> {
    let format = VideoFormat {
        kbps: VIDEO_KBPS,
        ..Default::default()
    };
    let video = TrackWindow::new(index as u16, MediaKind::Video);
    let mut sources: Vec<Box<dyn MediaSource>> = vec![Box::new(VideoSource::new(format, video, Instant::now()))];
    if index == 0 {
        let audio = TrackWindow::new(index as u16, MediaKind::Audio);
        sources.push(Box::new(AudioSource::new(SPEECH, audio, Instant::now())));
    }
    sources
}

/// Reads messages until the participant knows of all in `wanted`; how many told something else, and
/// how many of them were answers.
async fn told_of(participant: &mut Participant, wanted: &HashSet<String>) -> Result<FurtherJoin> {
    let mut missing = wanted.clone();
    for known in &participant.joined.state.participants {
        missing.remove(&known.id);
    }
    let mut told = FurtherJoin::default();
    let listen = async {
        while !missing.is_empty() {
            match participant
                .messages
                .recv()
                .await
                .context("a participant's WebSocket was closed")?
            {
                ServerMessage::Roster { joined, .. } => {
                    for other in joined {
                        missing.remove(&other.id);
                    }
                    told.told = 1;
                }
                ServerMessage::Answer(_) => told.renegotiations += 1,
                _ => told.other_messages += 1,
            }
        }
        anyhow::Ok(())
    };
    timeout(ROSTER_LIMIT, listen)
        .await
        .context("a participant was not told of all others")??;
    Ok(told)
}

/// One more joins; what everyone else is told meanwhile.
async fn join_further(
    meeting: &Meeting,
    options: &JoinOptions,
    participants: &mut [Participant],
) -> Result<(Participant, FurtherJoin)> {
    let (further, _) = join(meeting, &options.clients, options.participants, false).await?;
    let wanted = HashSet::from([further.id().to_owned()]);
    let told = try_join_all(participants.iter_mut().map(|participant| told_of(participant, &wanted))).await?;
    let sum = told.into_iter().fold(FurtherJoin::default(), |sum, told| FurtherJoin {
        told: sum.told + told.told,
        renegotiations: sum.renegotiations + told.renegotiations,
        other_messages: sum.other_messages + told.other_messages,
    });
    Ok((further, sum))
}

/// The sizes of the joins no. 1, 2, 10, 100 and so on, and of the last.
fn sizes(participants: &[Participant]) -> Vec<JoinSize> {
    let count = participants.len();
    let mut picked = vec![1, 2];
    picked.extend(std::iter::successors(Some(10), |nth| Some(nth * 10)).take_while(|nth| *nth < count));
    picked.push(count);
    picked.retain(|nth| *nth <= count);
    picked.dedup();
    let size = |nth: usize| {
        let cost = &participants[nth - 1].cost;
        JoinSize {
            nth,
            offer_bytes: cost.offer_bytes,
            answer_bytes: cost.answer_bytes,
            websocket_sent_bytes: cost.websocket_sent,
            websocket_received_bytes: cost.websocket_received,
        }
    };
    picked.into_iter().map(size).collect()
}

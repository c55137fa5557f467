//! `churn`: participants come and go; the server's memory must stay where it was.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use tianqiao_protocol::ws::ServerMessage;
use tianqiao_protocol::{MediaKind, SlotTarget, TrackSource};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::{Clients, JoinConfig, MediaSink, NoSink, Participant, PeerConfig, ReceivedRtp};
use crate::media::{MediaSource, TrackWindow, VideoFormat, VideoSource};
use crate::report::{ChurnReport, Latency};
use crate::server_limits::Crowd;
use crate::target::{Meeting, Target};

const STEP_LIMIT: Duration = Duration::from_secs(30);
const VIDEO_KBPS: u32 = 300;
const AUDIO_SLOTS: usize = 4;
const VIDEO_SLOTS: usize = 9;

#[derive(Clone, Debug)]
pub struct ChurnOptions {
    pub clients: Clients,
    pub cycles: usize,
    /// Cycles under way at once.
    pub parallel: usize,
}

impl ChurnOptions {
    /// Who leaves may still be counted while the next come.
    pub fn crowd(&self) -> Crowd {
        Crowd {
            meetings: 1,
            per_meeting: 2 * self.parallel,
            sessions: 2 * self.parallel,
            joins: self.cycles + self.warm_up_cycles(),
        }
    }

    fn warm_up_cycles(&self) -> usize {
        (self.cycles / 5).max(4 * self.parallel)
    }
}

/// Each cycle joins, receives the resident publisher's video and leaves.
pub async fn run(target: &Target, options: &ChurnOptions) -> Result<ChurnReport> {
    if options.cycles == 0 || options.parallel == 0 {
        bail!("cycles and parallel must be at least 1");
    }
    let meeting = &target.meeting().await?;
    let mut resident = join_resident(meeting, &options.clients).await?;
    let warm_up_cycles = options.warm_up_cycles();
    run_cycles(meeting, &resident, options, warm_up_cycles).await?;
    all_left(&mut resident, warm_up_cycles).await?;
    let before = target.resident_bytes()?;
    let begin = Instant::now();
    let durations = run_cycles(meeting, &resident, options, options.cycles).await?;
    let seconds = begin.elapsed().as_secs_f64();
    all_left(&mut resident, options.cycles).await?;
    let after = target.resident_bytes()?;
    resident.leave().await;
    let growth = before
        .zip(after)
        .map(|(before, after)| (after as f64 - before as f64) / options.cycles as f64);
    Ok(ChurnReport {
        cycles: options.cycles,
        warm_up_cycles,
        seconds,
        server_rss_before_bytes: before,
        server_rss_after_bytes: after,
        growth_per_cycle_bytes: growth,
        cycle_ms: Latency::of_durations(&durations),
    })
}

async fn join_resident(meeting: &Meeting, clients: &Clients) -> Result<Participant> {
    let config = JoinConfig {
        clients: clients.clone(),
        peer: PeerConfig {
            camera: true,
            ..Default::default()
        },
        ..Default::default()
    };
    let token = meeting.token("Resident").await?;
    let resident = Participant::join(&meeting.server, &token, &config, Box::new(NoSink)).await?;
    resident.media.connected(STEP_LIMIT).await?;
    let format = VideoFormat {
        kbps: VIDEO_KBPS,
        ..Default::default()
    };
    let window = TrackWindow::new(0, MediaKind::Video);
    let source: Box<dyn MediaSource> = Box::new(VideoSource::new(format, window, Instant::now()));
    resident.media.publish(vec![source]);
    Ok(resident)
}

async fn run_cycles(
    meeting: &Meeting,
    resident: &Participant,
    options: &ChurnOptions,
    cycles: usize,
) -> Result<Vec<Duration>> {
    let next = AtomicUsize::new(0);
    let lane = || async {
        let mut durations = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= cycles {
                return anyhow::Ok(durations);
            }
            let begin = Instant::now();
            cycle(meeting, &options.clients, resident, index)
                .await
                .with_context(|| format!("cycle {index}"))?;
            durations.push(begin.elapsed());
        }
    };
    Ok(try_join_all((0..options.parallel).map(|_| lane())).await?.concat())
}

async fn cycle(meeting: &Meeting, clients: &Clients, resident: &Participant, index: usize) -> Result<()> {
    let camera = SlotTarget::Source {
        participant: resident.id().to_owned(),
        source: TrackSource::Camera,
    };
    let peer = PeerConfig {
        audio_slots: AUDIO_SLOTS,
        video_slots: VIDEO_SLOTS,
        ..Default::default()
    };
    let config = JoinConfig {
        clients: clients.clone(),
        peer,
        targets: vec![camera],
        height: 720,
        ..Default::default()
    };
    let token = meeting.token(&format!("Passer-by {index}")).await?;
    let (sink, mut received) = first_packet();
    let participant = Participant::join(&meeting.server, &token, &config, sink).await?;
    participant.media.connected(STEP_LIMIT).await?;
    timeout(STEP_LIMIT, received.recv())
        .await
        .context("no video was received")?;
    participant.leave().await;
    Ok(())
}

/// Waits until the resident has been told that all passers-by are gone.
async fn all_left(resident: &mut Participant, cycles: usize) -> Result<()> {
    let mut gone = 0;
    let listen = async {
        while gone < cycles {
            if let ServerMessage::Roster { left, .. } = resident
                .messages
                .recv()
                .await
                .context("the resident's WebSocket was closed")?
            {
                gone += left.len();
            }
        }
        anyhow::Ok(())
    };
    timeout(STEP_LIMIT, listen)
        .await
        .context("not all who left were seen leaving")?
}

/// Tells of the first packet.
struct FirstPacket(Option<mpsc::UnboundedSender<()>>);

fn first_packet() -> (Box<dyn MediaSink>, mpsc::UnboundedReceiver<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Box::new(FirstPacket(Some(sender))), receiver)
}

impl MediaSink for FirstPacket {
    fn on_rtp(&mut self, _packet: ReceivedRtp<'_>) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

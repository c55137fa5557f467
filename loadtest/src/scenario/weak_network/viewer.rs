//! A real browser in the meeting, run by web-client/tests/weak-network/viewer.ts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tianqiao_testnet::netns::Netns;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// For Node and Chromium to start on a busy machine.
const LAUNCH_LIMIT: Duration = Duration::from_secs(90);
const PUBLISH_LIMIT: Duration = Duration::from_secs(20);
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Who the browser is to the meeting.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ViewerOptions {
    pub name: String,
    pub microphone: bool,
    pub camera: bool,
    /// The camera films a drawn person instead of a test picture.
    pub film: bool,
    /// A .wav file that the microphone hears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech: Option<String>,
    /// A .wav file for what the page plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<PathBuf>,
    /// The server's, in PEM: the browser takes it for one of an authority, as it keeps nothing of a page whose certificate is
    /// bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Has slides to share.
    pub slides: bool,
    /// Receivers hold no more than the browser thinks, whatever the page says.
    #[serde(rename = "smallBuffer")]
    pub small_buffer: bool,
    /// Between two reports of its figures; left out: 200.
    #[serde(rename = "everyMs", skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u32>,
}

/// What is published over WHIP.
#[derive(Clone, Debug, Serialize)]
pub struct Whip<'a> {
    pub endpoint: String,
    pub token: String,
    /// Such as `video/AV1`.
    pub codec: &'a str,
    /// Such as `L3T3_KEY`.
    pub mode: &'a str,
}

/// A line of the viewer. Times are in milliseconds since the epoch, as all browsers and this tool have one clock.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Report {
    Launched,
    /// A navigation began.
    Opened {
        at: f64,
    },
    /// The join page can be used.
    Ready {
        at: f64,
    },
    Joined,
    /// The service worker has what a later visit needs.
    Kept,
    Sample(Sample),
    /// A WebSocket of the page.
    Socket {
        open: bool,
    },
    Error {
        message: String,
    },
    /// A camera over WHIP.
    Published,
    /// The screen with the slides.
    Shared,
    /// Another slide is on it.
    Slide {
        at: f64,
    },
}

/// What the page's RTCPeerConnection says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Sample {
    pub at: f64,
    /// RTCPeerConnections that the page has made since it was opened.
    pub connections: usize,
    /// What the page says that is wrong.
    pub trouble: String,
    pub audio: Vec<AudioStats>,
    pub video: Vec<VideoStats>,
    pub sent_audio: f64,
    pub sent_video: f64,
    /// The slide of the still picture that the page shows.
    pub slide: Option<u32>,
    /// Bytes of the still that came last.
    pub still_bytes: f64,
}

/// Totals of one audio slot, in samples of 48 kHz.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AudioStats {
    pub mid: String,
    pub packets: f64,
    pub samples: f64,
    pub concealed: f64,
    pub silent_concealed: f64,
    pub energy: f64,
    /// Seconds in the jitter buffer, summed over `emitted` samples.
    pub delay: f64,
    pub emitted: f64,
}

/// Totals of one video slot.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct VideoStats {
    pub mid: String,
    /// Whose picture the page shows in it.
    pub name: String,
    pub frames: f64,
    pub height: u32,
    pub freezes: f64,
    pub freeze_seconds: f64,
    pub plis: f64,
}

pub struct Viewer {
    /// Of Node, which ends Chromium at its own end.
    child: Child,
    input: ChildStdin,
    reports: Arc<Mutex<Vec<Report>>>,
    count: watch::Receiver<usize>,
}

pub fn now_ms() -> f64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_secs_f64() * 1e3
}

impl Viewer {
    /// Starts a browser in `netns`, or where this process is, and waits until it can be told what to do.
    pub async fn launch(web_client: &Path, netns: Option<&Netns>, options: &ViewerOptions) -> Result<Self> {
        let arguments = ["--import", "tsx", "tests/weak-network/viewer.ts"];
        let mut command = match netns {
            // It becomes Node by `exec`.
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns.name(), "node"]);
                command
            }
            None => Command::new("node"),
        };
        command
            .args(arguments)
            .arg(serde_json::to_string(options)?)
            .current_dir(web_client)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("Node does not start")?;
        let input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        let reports = Arc::default();
        let (counted, count) = watch::channel(0);
        tokio::spawn(read(output, Arc::clone(&reports), counted));
        let viewer = Self {
            child,
            input,
            reports,
            count,
        };
        let launched = |report: &Report| matches!(report, Report::Launched).then_some(());
        viewer.find(0, LAUNCH_LIMIT, launched).await.context("no browser")?;
        Ok(viewer)
    }

    async fn tell(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    /// Goes to the meeting, joins it as soon as it can; the visit's reports begin at the returned place.
    pub async fn visit(&mut self, url: &str) -> Result<usize> {
        let place = self.count();
        self.tell(&format!("visit {url}")).await?;
        Ok(place)
    }

    /// Leaves the page, and with it the meeting. What the browser has cached stays.
    pub async fn leave(&mut self) -> Result<()> {
        self.tell("close").await
    }

    /// Puts the picture of `name` on the stage, or takes it off.
    pub async fn pin(&mut self, name: &str) -> Result<()> {
        self.tell(&format!("pin {name}")).await
    }

    /// Makes the page larger or smaller.
    pub async fn resize(&mut self, [width, height]: [u32; 2]) -> Result<()> {
        self.tell(&format!("size {width} {height}")).await
    }

    /// Publishes a camera from the page of `origin`, in one stream of several layers.
    pub async fn publish(&mut self, origin: &str, whip: &Whip<'_>) -> Result<()> {
        let place = self.count();
        self.tell(&format!("visit {origin}")).await?;
        let opened = |report: &Report| matches!(report, Report::Opened { .. }).then_some(());
        self.find(place, PUBLISH_LIMIT, opened).await?;
        self.tell(&format!("whip {}", serde_json::to_string(whip)?)).await?;
        let published = |report: &Report| matches!(report, Report::Published).then_some(());
        self.find(place, PUBLISH_LIMIT, published).await
    }

    /// Shares the screen with the slides.
    pub async fn share(&mut self) -> Result<()> {
        let place = self.count();
        self.tell("share").await?;
        let shared = |report: &Report| matches!(report, Report::Shared).then_some(());
        self.find(place, PUBLISH_LIMIT, shared).await
    }

    /// Puts a slide (0 to 7) on the shared screen; returns when.
    pub async fn show_slide(&mut self, number: u32) -> Result<f64> {
        let place = self.count();
        self.tell(&format!("slide {number}")).await?;
        let shown = |report: &Report| match report {
            Report::Slide { at } => Some(*at),
            _ => None,
        };
        self.find(place, PUBLISH_LIMIT, shown).await
    }

    /// Reports so far.
    pub fn count(&self) -> usize {
        self.reports.lock().expect("no panic while it is held").len()
    }

    /// The reports from `place` on.
    pub fn since(&self, place: usize) -> Vec<Report> {
        self.reports.lock().expect("no panic while it is held")[place..].to_vec()
    }

    /// Waits for the first report from `place` on that `pick` takes.
    pub async fn find<T>(&self, mut place: usize, limit: Duration, pick: impl Fn(&Report) -> Option<T>) -> Result<T> {
        let mut count = self.count.clone();
        let search = async {
            loop {
                let reports = self.since(place);
                if let Some(found) = reports.iter().find_map(&pick) {
                    return Ok(found);
                }
                place += reports.len();
                if count.wait_for(|count| *count > place).await.is_err() {
                    bail!("the browser is gone");
                }
            }
        };
        match timeout(limit, search).await {
            Ok(found) => found,
            Err(_) => bail!("not within {limit:?}"),
        }
    }

    pub async fn close(mut self) {
        drop(self.input);
        if timeout(CLOSE_LIMIT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

async fn read(output: ChildStdout, reports: Arc<Mutex<Vec<Report>>>, counted: watch::Sender<usize>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Report::Error { message }) => tracing::warn!(message, "the viewer's page"),
            Ok(report) => {
                let mut reports = reports.lock().expect("no panic while it is held");
                reports.push(report);
                counted.send_replace(reports.len());
            }
            Err(error) => tracing::warn!(%error, line, "the viewer says something strange"),
        }
    }
}

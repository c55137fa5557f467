//! One process of a fleet.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

const START_LIMIT: Duration = Duration::from_secs(30);
/// For an end that was asked for.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Between looks for the file in which NATS tells its port.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nats,
    Signaling,
    Node,
}

/// What a process says when it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// A URL, or `node NAME`.
    pub ready: String,
    /// Where metrics, health and drains are served; empty for NATS.
    pub metrics: String,
}

/// A process that can be ended in any way and started again; it is killed when this is dropped.
pub struct FleetProcess {
    kind: Kind,
    name: String,
    program: PathBuf,
    args: Vec<String>,
    folder: PathBuf,
    said: Announcement,
    child: Option<Child>,
}

impl FleetProcess {
    /// Starts it with a folder of its own in `parent` and waits until it is ready. `args` come after those that every
    /// process of its kind gets.
    pub async fn start(kind: Kind, name: &str, program: PathBuf, args: Vec<String>, parent: &Path) -> Result<Self> {
        let mut process = Self {
            kind,
            name: name.to_owned(),
            program,
            args,
            folder: parent.join(name),
            said: Announcement::default(),
            child: None,
        };
        fs::create_dir_all(&process.folder)?;
        process.restart().await?;
        Ok(process)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of NATS or signaling.
    pub fn url(&self) -> &str {
        &self.said.ready
    }

    pub fn metrics_url(&self) -> &str {
        &self.said.metrics
    }

    /// `None` once it is known to have ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Where signaling listens.
    pub fn address(&self) -> Result<SocketAddr> {
        let authority = self.said.ready.split_once("://").map(|(_, rest)| rest);
        authority
            .and_then(|authority| authority.trim_end_matches('/').parse().ok())
            .with_context(|| format!("{} says no address: {}", self.name, self.said.ready))
    }

    /// Ends it as a crash would.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Sends a signal, where it still runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            kill_process(pid, signal).with_context(|| format!("{} cannot be told", self.name))?;
        }
        Ok(())
    }

    /// Awaits its end; never comes back for one that was ended by [`Self::kill`] or [`Self::end`].
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        match &mut self.child {
            Some(child) => {
                let status = child.wait().await?;
                self.child = None;
                Ok(status)
            }
            None => std::future::pending().await,
        }
    }

    /// Ends it at once, but in order: it may say goodbye.
    pub async fn end(&mut self) {
        // Whoever has ended already needs no signal.
        let _ = self.signal(Signal::INT);
        if let Some(mut child) = self.child.take()
            && timeout(END_LIMIT, child.wait()).await.is_err()
        {
            tracing::warn!(name = self.name, "it does not end and is killed");
            let _ = child.kill().await;
        }
    }

    /// Starts it, after an end as by a crash where it runs, with the same name, arguments and folder. Ports are kept by
    /// NATS alone: that is where the others look for it.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut command = self.command()?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            // A terminal's Ctrl-C is for the tool, which ends the others in their order.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        let stdout = child.stdout.take().context("the process has no standard output")?;
        let said = match self.kind {
            Kind::Nats => timeout(START_LIMIT, self.nats_url(&mut child)).await,
            Kind::Signaling | Kind::Node => timeout(START_LIMIT, announcement(stdout, log)).await,
        };
        self.said = match said {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => return Err(error.context(format!("{} says:\n{}", self.name, self.log_tail()))),
            Err(_) => bail!(
                "{} is not ready after {START_LIMIT:?}; it says:\n{}",
                self.name,
                self.log_tail()
            ),
        };
        self.child = Some(child);
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Nats => {
                let ports = self.ports();
                let _ = fs::remove_dir_all(&ports);
                fs::create_dir_all(&ports)?;
                let port = self.said.ready.rsplit(':').next().filter(|port| !port.is_empty());
                command
                    .args(["--addr", "127.0.0.1", "--port", port.unwrap_or("-1"), "--jetstream"])
                    .arg("--store_dir")
                    .arg(self.folder.join("store"))
                    .arg("--ports_file_dir")
                    .arg(ports);
            }
            Kind::Signaling => {
                command
                    .args(["signaling", "--listen", "127.0.0.1:0", "--plain-http"])
                    .args(["--metrics-listen", "127.0.0.1:0", "--data-dir"])
                    .arg(self.folder.join("data"));
            }
            Kind::Node => {
                command
                    .args(["sfu", "--node", &self.name, "--metrics-listen", "127.0.0.1:0"])
                    .args(["--media-addr", "127.0.0.1", "--media-bind", "127.0.0.1"])
                    .args(["--media-port", "0"]);
            }
        }
        command.args(&self.args);
        Ok(command)
    }

    /// From the file that NATS writes once it listens.
    async fn nats_url(&self, child: &mut Child) -> Result<Announcement> {
        loop {
            if let Some(ready) = url_in(&self.ports()) {
                return Ok(Announcement {
                    ready,
                    metrics: String::new(),
                });
            }
            if let Some(status) = child.try_wait()? {
                bail!("nats-server has ended: {status}");
            }
            sleep(LOOK).await;
        }
    }

    fn ports(&self) -> PathBuf {
        self.folder.join("ports")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The end of what it has written.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn url_in(ports: &Path) -> Option<String> {
    let file = fs::read_dir(ports).ok()?.next()?.ok()?.path();
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    Some(ports["nats"].get(0)?.as_str()?.to_owned())
}

/// Both lines that a process of ours prints once it is ready, in any order.
async fn announcement(stdout: ChildStdout, mut log: File) -> Result<Announcement> {
    let mut lines = BufReader::new(stdout).lines();
    let (mut ready, mut metrics) = (None, None);
    while let Some(line) = lines.next_line().await? {
        writeln!(log, "{line}")?;
        if let Some(said) = line.strip_prefix("ready: ") {
            ready = Some(said.trim().to_owned());
        } else if let Some(said) = line.strip_prefix("metrics: ") {
            metrics = Some(said.trim().to_owned());
        }
        if let (Some(ready), Some(metrics)) = (&ready, &metrics) {
            let said = Announcement {
                ready: ready.clone(),
                metrics: metrics.clone(),
            };
            // Whatever else it prints is read, so that it never waits for us.
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    let _ = writeln!(log, "{line}");
                }
            });
            return Ok(said);
        }
    }
    bail!("the process ended before it was ready")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::server_process::TempFolder;

    async fn script(folder: &TempFolder, text: &str) -> Result<FleetProcess> {
        let program = folder.0.join("program");
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        FleetProcess::start(Kind::Signaling, "signaling-1", program, Vec::new(), &folder.0).await
    }

    #[tokio::test]
    async fn both_lines_make_it_ready_and_it_comes_back_after_a_crash() {
        let folder = TempFolder::create().unwrap();
        let text = "echo ready: http://127.0.0.1:81; echo metrics: http://127.0.0.1:82; exec sleep 60";
        let mut process = script(&folder, text).await.unwrap();
        assert_eq!(process.address().unwrap().port(), 81);
        assert_eq!(process.metrics_url(), "http://127.0.0.1:82");
        let first = process.pid().unwrap();
        process.restart().await.unwrap();
        assert_ne!(process.pid().unwrap(), first);
        process.signal(Signal::TERM).unwrap();
        assert!(!process.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn an_end_before_it_is_ready_is_an_error_with_its_words() {
        let folder = TempFolder::create().unwrap();
        let error = script(&folder, "echo no bus >&2; exit 1").await.err().unwrap();
        assert!(format!("{error:#}").contains("no bus"), "{error:#}");
    }
}

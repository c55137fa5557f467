//! A server of the tool's own: `tianqiao serve` as a child process with a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const START_LIMIT: Duration = Duration::from_secs(30);

/// How the server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Default: `tianqiao` beside this tool's own executable.
    pub binary: Option<PathBuf>,
    /// Media workers; default: the server's own.
    pub workers: Option<usize>,
    /// Further arguments of `tianqiao serve`.
    pub arguments: Vec<String>,
}

/// A running server; it is killed and its data folder removed when this is dropped.
pub struct ServerProcess {
    pub url: String,
    pub pid: u32,
    child: Child,
    folder: TempFolder,
}

impl ServerProcess {
    /// Starts a server on free ports of 127.0.0.1 and waits until it is ready.
    pub async fn start(options: &ServerOptions) -> Result<Self> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => binary_beside(&std::env::current_exe()?)?,
        };
        let folder = TempFolder::create()?;
        let log = std::fs::File::create(folder.log())?;
        let mut command = Command::new(&binary);
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--media-addr",
            "127.0.0.1",
            "--media-port",
            "0",
        ]);
        command.arg("--data-dir").arg(folder.0.join("data"));
        if let Some(workers) = options.workers {
            command.arg("--workers").arg(workers.to_string());
        }
        command.args(&options.arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let pid = child.id().context("the server has ended already")?;
        let stdout = child.stdout.take().context("the server has no standard output")?;
        let url = match timeout(START_LIMIT, ready_url(stdout)).await {
            Ok(Ok(url)) => url,
            Ok(Err(error)) => return Err(error.context(format!("the server says:\n{}", folder.log_tail()))),
            Err(_) => bail!(
                "the server is not ready after {START_LIMIT:?}; it says:\n{}",
                folder.log_tail()
            ),
        };
        Ok(Self {
            url,
            pid,
            child,
            folder,
        })
    }

    /// Kills the server and waits for its end.
    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("the server cannot be killed")
    }

    /// The end of what the server has written to standard error.
    pub fn log_tail(&self) -> String {
        self.folder.log_tail()
    }
}

async fn ready_url(stdout: ChildStdout) -> Result<String> {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(url) = line.strip_prefix("ready: ") {
            let url = url.trim().to_owned();
            // Whatever else it prints is read, so that it never waits for us.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(url);
        }
    }
    bail!("the server ended before it was ready")
}

/// `tianqiao` in the folder of `executable`, or in the folder above for a test in `deps`.
fn binary_beside(executable: &Path) -> Result<PathBuf> {
    let folders = executable.ancestors().skip(1).take(2);
    let mut candidates = folders.map(|folder| folder.join("tianqiao"));
    candidates.find(|candidate| candidate.is_file()).with_context(|| {
        format!(
            "no `tianqiao` beside {}; build it or use --server-bin",
            executable.display()
        )
    })
}

struct TempFolder(PathBuf);

impl TempFolder {
    fn create() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tianqiao-loadtest-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self(folder))
    }

    fn log(&self) -> PathBuf {
        self.0.join("server.log")
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(folder: &TempFolder, text: &str) -> ServerOptions {
        let binary = folder.0.join("server");
        std::fs::write(&binary, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        ServerOptions {
            binary: Some(binary),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_ready_line_gives_the_url_and_stop_kills() {
        let folder = TempFolder::create().unwrap();
        let options = script(&folder, "echo hello; echo ready: http://127.0.0.1:1; exec sleep 60");
        let server = ServerProcess::start(&options).await.unwrap();
        assert_eq!(server.url, "http://127.0.0.1:1");
        let pid = server.pid;
        server.stop().await.unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_server_that_ends_is_an_error_with_its_words() {
        let folder = TempFolder::create().unwrap();
        let error = ServerProcess::start(&script(&folder, "echo no port >&2; exit 1"))
            .await
            .err()
            .unwrap();
        assert!(format!("{error:#}").contains("no port"), "{error:#}");
    }
}

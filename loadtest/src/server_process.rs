//! A server of the tool's own: `tianqiao serve` or Janus as a child process with a folder of its own.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::cpus::CpuList;
use crate::file_limit;
use crate::target::janus;

const START_LIMIT: Duration = Duration::from_secs(30);

/// How the server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Default: `tianqiao` beside this tool's own executable.
    pub binary: Option<PathBuf>,
    /// Media workers; default: the server's own.
    pub workers: Option<usize>,
    /// Further arguments of the server.
    pub arguments: Vec<String>,
    /// Where it listens; default: 127.0.0.1, for Janus the machine's first address.
    pub addr: Option<IpAddr>,
    /// What it tells clients to send media to; default: `addr`.
    pub media_addr: Option<IpAddr>,
    /// Network namespace to run in (`ip netns`); needs root.
    pub netns: Option<String>,
    /// Default: those of this thread.
    pub cpus: Option<CpuList>,
    /// Open files that it may have unless it asks for more; default: as many as this process.
    pub files: Option<u64>,
}

impl ServerOptions {
    fn command(&self, binary: &Path) -> Command {
        match &self.netns {
            Some(netns) => {
                // It becomes the server by `exec`, so the process id is the server's.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns]).arg(binary);
                command
            }
            None => Command::new(binary),
        }
    }
}

/// A running server; it is killed and its data folder removed when this is dropped.
pub struct ServerProcess {
    pub url: String,
    pub pid: u32,
    child: Child,
    folder: TempFolder,
}

impl ServerProcess {
    /// Starts `tianqiao serve` on free ports of its address and waits until it is ready.
    pub async fn start(options: &ServerOptions) -> Result<Self> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => default_binary()?,
        };
        let folder = TempFolder::create()?;
        let addr = options.addr.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let mut command = options.command(&binary);
        command.args(["serve", "--listen", &SocketAddr::new(addr, 0).to_string()]);
        let media_addr = options.media_addr.unwrap_or(addr);
        command.args(["--media-addr", &media_addr.to_string(), "--media-port", "0"]);
        command.arg("--data-dir").arg(folder.0.join("data"));
        if let Some(workers) = options.workers {
            command.arg("--workers").arg(workers.to_string());
        }
        Self::run(command, options, folder, |line| {
            line.strip_prefix("ready: ").map(|url| url.trim().to_owned())
        })
        .await
    }

    /// Starts Janus with a configuration of its own and waits until it takes WebSockets.
    pub async fn start_janus(options: &ServerOptions) -> Result<Self> {
        let folder = TempFolder::create()?;
        let addr = match options.addr {
            Some(addr) => addr,
            None => first_address()?,
        };
        let port = free_port()?;
        let (binary, arguments) = janus::command(options.binary.as_deref(), &folder.0, addr, port)?;
        let mut command = options.command(&binary);
        command.args(arguments);
        let url = format!("ws://{}", SocketAddr::new(addr, port));
        Self::run(command, options, folder, move |line| {
            janus::is_ready(line).then(|| url.clone())
        })
        .await
    }

    /// `ready` makes the URL of the line that says that the server is ready.
    async fn run(
        mut command: Command,
        options: &ServerOptions,
        folder: TempFolder,
        ready: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let log = std::fs::File::create(folder.log())?;
        command
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        let mut spawn = || match &options.cpus {
            Some(cpus) => cpus.pinned(|| command.spawn()),
            None => Ok(command.spawn()),
        };
        let child = match options.files {
            Some(files) => file_limit::with(files, spawn)??,
            None => spawn()?,
        };
        let mut child = child.with_context(|| format!("{} does not start", program.display()))?;
        let pid = child.id().context("the server has ended already")?;
        let stdout = child.stdout.take().context("the server has no standard output")?;
        let url = match timeout(START_LIMIT, ready_url(stdout, log, ready)).await {
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

    /// The end of what the server has written.
    pub fn log_tail(&self) -> String {
        self.folder.log_tail()
    }

    /// The certificate that it has made for itself, in PEM; `None` where it speaks plain HTTP.
    pub fn certificate(&self) -> Option<PathBuf> {
        Some(self.folder.0.join("data/self-signed.pem")).filter(|path| path.exists())
    }
}

async fn ready_url(stdout: ChildStdout, mut log: File, ready: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        writeln!(log, "{line}")?;
        if let Some(url) = ready(&line) {
            // Whatever else it prints is read, so that it never waits for us.
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    let _ = writeln!(log, "{line}");
                }
            });
            return Ok(url);
        }
    }
    bail!("the server ended before it was ready")
}

/// The first IPv4 address of this machine that is not loopback, where Janus makes no candidates.
fn first_address() -> Result<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().context("the machine's addresses are unknown")?;
    interfaces
        .iter()
        .filter(|interface| !interface.is_loopback())
        .map(if_addrs::Interface::ip)
        .find(IpAddr::is_ipv4)
        .context("Janus needs an address that is not loopback: see `bench peers` or --server-addr")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}

/// `tianqiao` beside this tool.
pub fn default_binary() -> Result<PathBuf> {
    binary_beside(&std::env::current_exe()?)
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

pub(crate) struct TempFolder(pub(crate) PathBuf);

impl TempFolder {
    pub(crate) fn create() -> Result<Self> {
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

//! A NATS server for tests, on a port and with a store of its own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Killed, and its store removed, when it is dropped.
pub struct NatsServer {
    dir: PathBuf,
    port: u16,
    args: Vec<String>,
    process: Option<Child>,
}

impl NatsServer {
    /// # Panics
    /// Where `nats-server` is not installed or does not start: the test cannot run.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more arguments for it, such as `--user`.
    pub fn start_with(args: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!(
            "tianqiao-nats-{}-{:016x}",
            std::process::id(),
            rand::random::<u64>()
        ));
        std::fs::create_dir_all(&dir).expect("a directory for the store");
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let process = None;
        let mut server = Self {
            dir,
            port: 0,
            args,
            process,
        };
        server.restart();
        server
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it, after an end where it runs, with the same port and store.
    pub fn restart(&mut self) {
        self.kill();
        let ports = self.dir.join("ports");
        let _ = std::fs::remove_dir_all(&ports);
        std::fs::create_dir_all(&ports).expect("a directory");
        let log = std::fs::File::create(self.dir.join("log")).expect("a file");
        let port = match self.port {
            0 => "-1".to_owned(),
            port => port.to_string(),
        };
        let process = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &port, "--jetstream"])
            .arg("--store_dir")
            .arg(self.dir.join("store"))
            .arg("--ports_file_dir")
            .arg(&ports)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server runs; `make setup-tests` installs it");
        self.process = Some(process);
        self.wait(&ports);
    }

    fn wait(&mut self, ports: &Path) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(port) = port_in(ports)
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
            {
                self.port = port;
                return;
            }
            let ended = self.process.as_mut().map(Child::try_wait);
            if let Some(Ok(Some(status))) = ended {
                panic!("nats-server has ended: {status}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nats-server does not listen\n{}", self.log());
    }

    /// What it has said since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The client port, from the file that the server writes once it listens.
fn port_in(dir: &Path) -> Option<u16> {
    let file = std::fs::read_dir(dir).ok()?.next()?.ok()?.path();
    let text = std::fs::read_to_string(file).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let url = ports["nats"].get(0)?.as_str()?;
    url.rsplit(':').next()?.parse().ok()
}

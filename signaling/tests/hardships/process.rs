//! A server of the test's own, started by a shell that sets the scene.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tianqiao_loadtest::client::{Clients, Engine, JoinConfig, MediaSink, Participant, PeerConfig, ReceivedRtp, Server};
use tianqiao_protocol::rest::{CreateMeeting, CreateToken, CreatedMeeting};
use tianqiao_protocol::ws::{ClientMessage, ServerMessage};
use tokio::time::timeout;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Process {
    pub url: String,
    pub metrics_url: String,
    pub folder: PathBuf,
    child: Child,
}

impl Process {
    /// `scene` are shell commands before the server; its data and log are in [`Self::folder`].
    pub fn start(scene: &str, arguments: &[&str]) -> Self {
        Self::start_in("sh", scene, arguments)
    }

    /// Where it takes HTTP.
    pub fn address(&self) -> SocketAddr {
        let address = self.url.strip_prefix("http://").and_then(|url| url.parse().ok());
        address.expect("an address")
    }

    pub fn start_in(shell: &str, scene: &str, arguments: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("tianqiao-hardship-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("a folder");
        let log = File::create(folder.join("log")).expect("a log");
        let mut child = Command::new(shell)
            .args([
                "-c",
                &format!("{scene}\nexec \"$@\""),
                "sh",
                env!("CARGO_BIN_EXE_tianqiao"),
            ])
            .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
            .args(["--media-port", "0", "--media-addr", "127.0.0.1", "--workers", "1"])
            .args(arguments)
            .env("TIANQIAO_DATA_DIR", folder.join("data"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut line = |start: &str| {
            let line = lines.next().and_then(Result::ok).unwrap_or_default();
            let url = line.strip_prefix(start).map(str::to_owned);
            url.unwrap_or_else(|| panic!("{line:?} is not {start:?}"))
        };
        let (url, metrics_url) = (line("ready: "), line("metrics: "));
        Self {
            url,
            metrics_url,
            folder,
            child,
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub async fn metrics(&self) -> String {
        let response = reqwest::get(format!("{}/metrics", self.metrics_url)).await;
        response.expect("an answer").text().await.expect("text")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Ends it as an operator would, and says whether that went well.
    pub fn stop(&mut self) -> bool {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").arg(pid).status().expect("kill runs");
        told.success() && self.child.wait().expect("it ends").success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A meeting on it, with participants that have media.
pub struct Meeting {
    pub server: Server,
    pub created: CreatedMeeting,
    pub clients: Clients,
}

impl Meeting {
    pub async fn open(process: &Process) -> Self {
        let server = Server::new(&process.url, false).expect("a URL");
        let created = server
            .create_meeting(&CreateMeeting::default())
            .await
            .expect("a meeting");
        Self {
            server,
            created,
            clients: Clients::Lean(Engine::start(1).expect("a thread")),
        }
    }

    pub async fn token(&self, name: &str) -> String {
        let request = CreateToken {
            name: name.to_owned(),
            passcode: None,
        };
        self.server
            .join_token(&self.created.id, &request)
            .await
            .expect("a token")
    }

    pub async fn join(&self, name: &str) -> Participant {
        let config = JoinConfig {
            clients: self.clients.clone(),
            peer: publisher(),
            targets: vec![],
            height: 720,
            relay: None,
        };
        let token = self.token(name).await;
        let joined = Participant::join(&self.server, &token, &config, Box::new(NoSink));
        let participant = timeout(PATIENCE, joined).await.expect("in time").expect("a join");
        participant.media.connected(PATIENCE).await.expect("media");
        participant
    }
}

pub fn publisher() -> PeerConfig {
    PeerConfig {
        microphone: true,
        ..Default::default()
    }
}

/// The WebSocket is answered, both ways.
pub async fn expect_alive(participant: &mut Participant) {
    participant.send(ClientMessage::Ping { t: 4711 });
    let pong = async {
        loop {
            let message = participant.messages.recv().await.expect("the WebSocket is open");
            if matches!(message, ServerMessage::Pong { t: 4711 }) {
                return;
            }
        }
    };
    timeout(PATIENCE, pong).await.expect("a pong");
    assert!(participant.media.is_connected());
}

pub struct NoSink;

impl MediaSink for NoSink {
    fn on_rtp(&mut self, _: ReceivedRtp<'_>) {}

    fn on_keyframe_request(&mut self, _: u32) {}
}

//! What the binary can be, a file for each.

pub mod operator;
pub mod serve;
pub mod sfu;
pub mod signaling;

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use tianqiao::{Config, Server};
use tianqiao_bus::nats::{Credentials, NatsBus, NatsConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends a process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// True: in an orderly way, by SIGTERM.
    pub async fn is_orderly(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => false,
            _ = self.hangup.recv() => false,
        }
    }
}

/// The fleet's bus, which comes up when NATS does.
pub async fn connect(config: &Config, name: &str) -> anyhow::Result<Arc<NatsBus>> {
    anyhow::ensure!(!config.bus.is_empty(), "`bus` is needed: the NATS servers of the fleet");
    // Fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let credentials = match &config.bus_credentials {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the credentials for NATS in {} cannot be read", path.display()))?;
            // An nkey seed is one word that begins with SU.
            let seed = text.trim();
            Some(match seed.starts_with("SU") && !seed.contains(char::is_whitespace) {
                true => Credentials::Nkey(seed.to_owned()),
                false => Credentials::File(path.clone()),
            })
        }
        None => None,
    };
    let config = NatsConfig {
        servers: config.bus.clone(),
        credentials,
        ca: config.bus_ca.clone(),
        prefix: config.bus_prefix.clone(),
        name: name.to_owned(),
        replicas: config.bus_replicas,
        ..NatsConfig::default()
    };
    Ok(NatsBus::connect(config).await?)
}

/// Nobody may be listening, or the disk behind standard output be full: no reason not to serve.
pub fn announce(ready: &str, metrics: Option<&str>) {
    let mut lines = format!("ready: {ready}\n");
    if let Some(url) = metrics {
        lines += &format!("metrics: {url}\n");
    }
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = written {
        tracing::warn!(%error, url = ready, "standard output cannot be written; the server is ready");
    }
}

pub fn announce_server(server: &Server) {
    announce(server.url(), server.metrics_url());
}

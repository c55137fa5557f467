//! The servers that scenarios run against: ours, and others for comparison.

pub mod janus;
mod media;
pub mod room;
mod shared_sink;
pub mod tianqiao;
pub mod whip;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use self::janus::Janus;
use self::whip::{Whip, WhipOptions};
use crate::client::Server;
use crate::process_stats::{CpuSnapshot, resident_bytes};
use crate::server_process::{ServerOptions, ServerProcess};

pub use self::room::{Feed, Member, MemberConfig, Room};
pub use self::tianqiao::Meeting;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    #[default]
    Tianqiao,
    /// Janus' videoroom over its WebSocket API.
    Janus,
    /// Any server of WHIP and WHEP.
    Whip,
}

#[derive(Clone, Debug, Default)]
pub struct TargetOptions {
    pub kind: TargetKind,
    /// Base URL of a running server, for Janus that of its WebSocket; without it one is started.
    pub url: Option<String>,
    /// A join token that all participants use; without it a meeting is created. For WHIP and WHEP the
    /// bearer token.
    pub token: Option<String>,
    /// Process of the server behind `url`.
    pub server_pid: Option<u32>,
    /// Accept every certificate.
    pub insecure: bool,
    pub whip: WhipOptions,
    pub server: ServerOptions,
}

pub struct Target {
    access: Access,
    pid: Option<u32>,
    process: Option<ServerProcess>,
}

enum Access {
    Tianqiao { server: Server, token: Option<String> },
    Janus(Janus),
    Whip(Whip),
}

impl Target {
    pub async fn open(options: &TargetOptions) -> Result<Self> {
        if options.kind == TargetKind::Whip {
            let whip = Whip::new(&options.whip, options.token.clone(), options.insecure)?;
            return Ok(Self {
                access: Access::Whip(whip),
                pid: options.server_pid,
                process: None,
            });
        }
        let (process, url, pid) = match &options.url {
            Some(url) => (None, url.clone(), options.server_pid),
            None => {
                let process = match options.kind {
                    TargetKind::Janus => ServerProcess::start_janus(&options.server).await?,
                    _ => ServerProcess::start(&options.server).await?,
                };
                let (url, pid) = (process.url.clone(), process.pid);
                (Some(process), url, Some(pid))
            }
        };
        let access = match options.kind {
            TargetKind::Janus => Access::Janus(Janus { url }),
            _ => Access::Tianqiao {
                // A server of our own has but a self-signed certificate where it is not on loopback.
                server: Server::new(&url, options.insecure || process.is_some())?,
                token: options.token.clone(),
            },
        };
        Ok(Self { access, pid, process })
    }

    /// A new meeting, or the one of the token.
    pub async fn room(&self) -> Result<Room> {
        Ok(match &self.access {
            Access::Tianqiao { .. } => Room::Tianqiao(self.meeting().await?),
            Access::Janus(janus) => Room::Janus(janus.room().await.context("no room could be created")?),
            Access::Whip(whip) => Room::Whip(whip.room()),
        })
    }

    /// For scenarios that only our own server can be asked for.
    pub async fn meeting(&self) -> Result<Meeting> {
        match &self.access {
            Access::Tianqiao { server, token } => Meeting::open(server.clone(), token.clone()).await,
            _ => bail!("this scenario needs --target tianqiao"),
        }
    }

    pub fn cpu(&self) -> Result<Option<CpuSnapshot>> {
        self.pid.map(CpuSnapshot::take).transpose()
    }

    pub fn resident_bytes(&self) -> Result<Option<u64>> {
        self.pid.map(resident_bytes).transpose()
    }

    /// What the server that this tool started has written of late.
    pub fn server_log(&self) -> Option<String> {
        self.process.as_ref().map(ServerProcess::log_tail)
    }

    /// Stops the server if this tool started it.
    pub async fn close(self) -> Result<()> {
        match self.process {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }
}

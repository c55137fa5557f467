//! The server that a scenario runs against and the meeting in it.

use anyhow::{Context, Result};
use tianqiao_protocol::rest::{CreateMeeting, CreateToken, CreatedMeeting};

use crate::client::Server;
use crate::process_stats::{CpuSnapshot, resident_bytes};
use crate::server_process::{ServerOptions, ServerProcess};

#[derive(Clone, Debug, Default)]
pub struct TargetOptions {
    /// Base URL of a running server; without it one is started.
    pub url: Option<String>,
    /// A join token that all participants use; without it a meeting is created.
    pub token: Option<String>,
    /// Process of the server behind `url`.
    pub server_pid: Option<u32>,
    /// Accept every certificate.
    pub insecure: bool,
    pub server: ServerOptions,
}

pub struct Target {
    pub server: Server,
    pid: Option<u32>,
    access: Access,
    process: Option<ServerProcess>,
}

enum Access {
    Token(String),
    Meeting(CreatedMeeting),
}

impl Target {
    pub async fn open(options: &TargetOptions) -> Result<Self> {
        let (process, url, pid) = match &options.url {
            Some(url) => (None, url.clone(), options.server_pid),
            None => {
                let process = ServerProcess::start(&options.server).await?;
                let (url, pid) = (process.url.clone(), process.pid);
                (Some(process), url, Some(pid))
            }
        };
        let server = Server::new(&url, options.insecure)?;
        let access = match &options.token {
            Some(token) => Access::Token(token.clone()),
            None => {
                let request = CreateMeeting {
                    title: Some("Load test".to_owned()),
                    passcode: None,
                };
                Access::Meeting(
                    server
                        .create_meeting(&request)
                        .await
                        .context("no meeting could be created")?,
                )
            }
        };
        Ok(Self {
            server,
            pid,
            access,
            process,
        })
    }

    /// A token for one more participant.
    pub async fn token(&self, name: &str) -> Result<String> {
        match &self.access {
            Access::Token(token) => Ok(token.clone()),
            Access::Meeting(meeting) => {
                let request = CreateToken {
                    name: name.to_owned(),
                    passcode: None,
                };
                self.server.join_token(&meeting.id, &request).await
            }
        }
    }

    /// Participants in the meeting now; `None` where only a token is known.
    pub async fn participants(&self) -> Result<Option<u32>> {
        match &self.access {
            Access::Token(_) => Ok(None),
            Access::Meeting(meeting) => Ok(Some(self.server.meeting(&meeting.id).await?.participants)),
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

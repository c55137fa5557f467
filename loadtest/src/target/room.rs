//! A meeting on whichever server, and its members.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::janus::{JanusMember, JanusRoom};
use super::tianqiao::{Meeting, MeetingMember};
use super::whip::{WhipMember, WhipRoom};
use crate::client::{Clients, MediaSession, MediaSink, PeerConfig};
use crate::media::{Mark, MediaSource};

/// What names a publisher to those who watch it, in the words of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed(pub String);

/// What a member sends and receives.
#[derive(Clone, Debug, Default)]
pub struct MemberConfig {
    pub clients: Clients,
    /// Slots are for the servers that have them; elsewhere a member receives what it watches.
    pub peer: PeerConfig,
    /// Whom it receives from the start.
    pub watch: Vec<Feed>,
    /// Height in pixels at which pictures are shown.
    pub height: u16,
    /// Where media is sent instead of to the server; only for our own.
    pub relay: Option<SocketAddr>,
}

impl MemberConfig {
    /// Only what is sent, for servers with a connection for each direction.
    pub fn sending(&self) -> PeerConfig {
        PeerConfig {
            audio_slots: 0,
            video_slots: 0,
            ..self.peer.clone()
        }
    }
}

pub enum Room {
    Tianqiao(Meeting),
    Janus(JanusRoom),
    Whip(WhipRoom),
}

pub enum Member {
    Tianqiao(Box<MeetingMember>),
    Janus(Box<JanusMember>),
    Whip(Box<WhipMember>),
}

impl Room {
    /// Joins without waiting for the media connection: see [`Member::connected`].
    pub async fn join(&self, name: &str, config: &MemberConfig, sink: Box<dyn MediaSink>) -> Result<Member> {
        Ok(match self {
            Self::Tianqiao(room) => Member::Tianqiao(Box::new(room.join(name, config, sink).await?)),
            Self::Janus(room) => Member::Janus(Box::new(room.join(name, config, sink).await?)),
            Self::Whip(room) => Member::Whip(Box::new(room.join(name, config, sink).await?)),
        })
    }

    pub async fn close(self) {
        if let Self::Janus(room) = self {
            room.close().await;
        }
    }
}

impl Member {
    /// `None` for one who does not publish.
    pub fn feed(&self) -> Option<&Feed> {
        match self {
            Self::Tianqiao(member) => Some(&member.feed),
            Self::Janus(member) => member.feed(),
            Self::Whip(member) => member.feed(),
        }
    }

    /// From the begin of signaling to the last answer.
    pub fn answered(&self) -> Duration {
        match self {
            Self::Tianqiao(member) => member.participant.cost.answered,
            Self::Janus(member) => member.answered,
            Self::Whip(member) => member.answered,
        }
    }

    /// Receives `feeds`, for members that did not know them at their join.
    pub async fn watch(&mut self, feeds: &[Feed]) -> Result<()> {
        match self {
            Self::Tianqiao(member) => member.watch(feeds),
            Self::Janus(member) => member.watch(feeds).await?,
            Self::Whip(member) => member.watch(feeds).await?,
        }
        Ok(())
    }

    /// Waits until all media connections are up.
    pub async fn connected(&self, limit: Duration) -> Result<()> {
        match self {
            Self::Tianqiao(member) => member.participant.media.connected(limit).await,
            Self::Janus(member) => member.connected(limit).await,
            Self::Whip(member) => member.connected(limit).await,
        }
    }

    /// Begins to send; see [`MediaSession::publish`].
    pub fn publish(&self, sources: Vec<Box<dyn MediaSource>>) -> Result<()> {
        self.publishing()?.publish(sources);
        Ok(())
    }

    /// Begins or ends the measured window; see [`MediaSession::mark`].
    pub async fn mark(&self, mark: Mark) -> Result<()> {
        self.publishing()?.mark(mark).await
    }

    pub async fn leave(self) {
        match self {
            Self::Tianqiao(member) => member.participant.leave().await,
            Self::Janus(member) => member.leave().await,
            Self::Whip(member) => member.leave().await,
        }
    }

    fn publishing(&self) -> Result<&MediaSession> {
        match self {
            Self::Tianqiao(member) => Some(&member.participant.media),
            Self::Janus(member) => member.publishing(),
            Self::Whip(member) => member.publishing(),
        }
        .context("the member does not publish")
    }
}

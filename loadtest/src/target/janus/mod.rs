//! Janus' videoroom plugin: publishers offer, subscribers are offered one connection with the
//! streams of all whom they watch.

mod message;
mod process;
mod session;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::message::{Jsep, JsepKind};
use self::session::Session;
use super::media;
use super::room::{Feed, MemberConfig};
use crate::client::{Clients, MediaSession, MediaSink, NoSink};

pub use self::message::JanusError;
pub use self::process::{BINARY, command, is_ready};

const PLUGIN: &str = "janus.plugin.videoroom";

/// A Janus by the URL of its WebSocket.
#[derive(Clone, Debug)]
pub struct Janus {
    pub url: String,
}

impl Janus {
    /// Makes a room that is gone with its `keeper`.
    pub async fn room(&self) -> Result<JanusRoom> {
        let keeper = Session::connect(&self.url).await?;
        let handle = keeper.attach(PLUGIN).await?;
        let created = keeper.message(handle, create_request(), None).await?;
        let id = created.data["room"].as_u64().context("Janus names no room")?;
        Ok(JanusRoom {
            url: self.url.clone(),
            id,
            keeper,
            handle,
        })
    }
}

/// A room without caps: of the extensions only what forwarding needs, and nothing recorded.
fn create_request() -> Value {
    json!({
        "request": "create",
        "description": "Load test",
        "is_private": true,
        "permanent": false,
        "publishers": 1000,
        "bitrate": 0,
        "fir_freq": 0,
        "audiocodec": "opus",
        "videocodec": "vp8",
        "audiolevel_ext": false,
        "audiolevel_event": false,
        "videoorient_ext": false,
        "playoutdelay_ext": false,
        "transport_wide_cc_ext": false,
        "notify_joining": false,
        "record": false,
    })
}

pub struct JanusRoom {
    url: String,
    id: u64,
    keeper: Session,
    handle: u64,
}

impl JanusRoom {
    pub async fn join(&self, name: &str, config: &MemberConfig, sink: Box<dyn MediaSink>) -> Result<JanusMember> {
        let begin = Instant::now();
        let mut member = JanusMember {
            session: Session::connect(&self.url).await?,
            room: self.id,
            feed: None,
            publishing: None,
            watching: None,
            clients: config.clients.clone(),
            sink: Some(sink),
            answered: Duration::ZERO,
        };
        if config.peer.camera || config.peer.microphone {
            member.begin_to_publish(name, config).await?;
        }
        if !config.watch.is_empty() {
            member.watch(&config.watch).await?;
        }
        member.answered = begin.elapsed();
        Ok(member)
    }

    pub async fn close(self) {
        let destroy = json!({"request": "destroy", "room": self.id});
        if let Err(error) = self.keeper.message(self.handle, destroy, None).await {
            tracing::warn!(%error, "the room is left behind");
        }
        self.keeper.close().await;
    }
}

pub struct JanusMember {
    session: Session,
    room: u64,
    feed: Option<Feed>,
    publishing: Option<Connection>,
    watching: Option<Connection>,
    clients: Clients,
    /// Until there is a connection to watch on.
    sink: Option<Box<dyn MediaSink>>,
    pub answered: Duration,
}

struct Connection {
    handle: u64,
    media: MediaSession,
}

impl JanusMember {
    pub fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// The connection that sends.
    pub fn publishing(&self) -> Option<&MediaSession> {
        self.publishing.as_ref().map(|connection| &connection.media)
    }

    async fn begin_to_publish(&mut self, name: &str, config: &MemberConfig) -> Result<()> {
        let handle = self.session.attach(PLUGIN).await?;
        let join = json!({
            "request": "joinandconfigure", "ptype": "publisher", "room": self.room, "display": name,
            "audio": config.peer.microphone, "video": config.peer.camera, "bitrate": 0,
        });
        let offering = media::offer(&config.clients, &config.sending())?;
        let jsep = Jsep {
            kind: JsepKind::Offer,
            sdp: offering.offer().to_owned(),
        };
        let joined = self.session.message(handle, join, Some(jsep)).await?;
        let id = joined.data["id"].as_u64().context("Janus names no feed")?;
        let answer = joined.jsep.context("Janus does not answer the offer")?;
        self.session.trickle_completed(handle).await?;
        let media = offering.connect(&answer.sdp, Box::new(NoSink))?;
        self.feed = Some(Feed(id.to_string()));
        self.publishing = Some(Connection { handle, media });
        Ok(())
    }

    /// Receives all streams of `feeds` on a connection of its own; once in a member's life.
    pub async fn watch(&mut self, feeds: &[Feed]) -> Result<()> {
        let handle = self.session.attach(PLUGIN).await?;
        let streams = feeds
            .iter()
            .map(|Feed(id)| Ok(json!({"feed": id.parse::<u64>()?})))
            .collect::<Result<Vec<_>>>()
            .context("a feed is not of Janus")?;
        let join = json!({"request": "join", "ptype": "subscriber", "room": self.room, "streams": streams});
        let attached = self.session.message(handle, join, None).await?;
        let offer = attached.jsep.context("Janus makes a subscriber no offer")?;
        let sink = self.sink.take().context("a member of Janus watches once")?;
        let (media, sdp) = media::accept(&self.clients, &offer.sdp, sink)?;
        let answer = Jsep {
            kind: JsepKind::Answer,
            sdp,
        };
        self.session
            .message(handle, json!({"request": "start"}), Some(answer))
            .await?;
        self.session.trickle_completed(handle).await?;
        self.watching = Some(Connection { handle, media });
        Ok(())
    }

    /// Waits until both ends have ICE and DTLS up: Janus gives out a feed only then.
    pub async fn connected(&self, limit: Duration) -> Result<()> {
        for connection in self.publishing.iter().chain(&self.watching) {
            connection.media.connected(limit).await?;
            self.session.webrtc_up(connection.handle, limit).await?;
        }
        Ok(())
    }

    pub async fn leave(self) {
        for connection in self.publishing.into_iter().chain(self.watching) {
            connection.media.close().await;
        }
        self.session.close().await;
    }
}

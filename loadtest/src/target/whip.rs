//! Any server of WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) by its URLs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::{Client, Response, StatusCode, header};
use url::Url;

use super::media;
use super::room::{Feed, MemberConfig};
use super::shared_sink::SharedSink;
use crate::client::{Clients, MediaSession, MediaSink, NoSink, PeerConfig, tls};

#[derive(Args, Clone, Debug, Default)]
pub struct WhipOptions {
    /// WHIP endpoint; {room} and {publisher} in it become their numbers, from 0.
    #[arg(long, requires = "whep_url")]
    pub whip_url: Option<String>,
    /// WHEP endpoint of a publisher, with the same placeholders.
    #[arg(long, requires = "whip_url")]
    pub whep_url: Option<String>,
}

/// The endpoints of a server.
pub struct Whip {
    http: Client,
    whip_url: String,
    whep_url: String,
    token: Option<String>,
    rooms: AtomicUsize,
}

impl Whip {
    /// `insecure` accepts every certificate.
    pub fn new(options: &WhipOptions, token: Option<String>, insecure: bool) -> Result<Self> {
        let (Some(whip_url), Some(whep_url)) = (&options.whip_url, &options.whep_url) else {
            bail!("--target whip needs --whip-url and --whep-url");
        };
        tls::install_provider();
        Ok(Self {
            http: Client::builder()
                .no_proxy()
                .danger_accept_invalid_certs(insecure)
                .build()?,
            whip_url: whip_url.clone(),
            whep_url: whep_url.clone(),
            token,
            rooms: AtomicUsize::new(0),
        })
    }

    pub fn room(&self) -> WhipRoom {
        let room = self.rooms.fetch_add(1, Ordering::Relaxed);
        WhipRoom {
            endpoints: Endpoints {
                http: self.http.clone(),
                whip_url: self.whip_url.clone(),
                whep_url: self.whep_url.clone(),
                token: self.token.clone(),
                room,
            },
            publishers: AtomicUsize::new(0),
        }
    }
}

pub struct WhipRoom {
    endpoints: Endpoints,
    publishers: AtomicUsize,
}

#[derive(Clone)]
struct Endpoints {
    http: Client,
    whip_url: String,
    whep_url: String,
    token: Option<String>,
    room: usize,
}

impl WhipRoom {
    /// `_name` is not told: WHIP has no place for it.
    pub async fn join(&self, _name: &str, config: &MemberConfig, sink: Box<dyn MediaSink>) -> Result<WhipMember> {
        let begin = Instant::now();
        let mut member = WhipMember {
            endpoints: self.endpoints.clone(),
            clients: config.clients.clone(),
            sink: SharedSink::new(sink),
            receives_audio: config.peer.audio_slots > 0,
            feed: None,
            publishing: None,
            watching: Vec::new(),
            answered: Duration::ZERO,
        };
        if config.peer.camera || config.peer.microphone {
            let feed = Feed(self.publishers.fetch_add(1, Ordering::Relaxed).to_string());
            let url = fill(&self.endpoints.whip_url, self.endpoints.room, &feed)?;
            let session = self
                .endpoints
                .open(url, &config.clients, &config.sending(), Box::new(NoSink))
                .await?;
            member.publishing = Some(session);
            member.feed = Some(feed);
        }
        member.watch(&config.watch).await?;
        member.answered = begin.elapsed();
        Ok(member)
    }
}

pub struct WhipMember {
    endpoints: Endpoints,
    clients: Clients,
    sink: SharedSink,
    receives_audio: bool,
    feed: Option<Feed>,
    publishing: Option<Session>,
    watching: Vec<Session>,
    pub answered: Duration,
}

impl WhipMember {
    pub fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    pub fn publishing(&self) -> Option<&MediaSession> {
        self.publishing.as_ref().map(|session| &session.media)
    }

    /// A WHEP session for each of `feeds`.
    pub async fn watch(&mut self, feeds: &[Feed]) -> Result<()> {
        let peer = PeerConfig {
            audio_slots: usize::from(self.receives_audio),
            video_slots: 1,
            ..Default::default()
        };
        for feed in feeds {
            let url = fill(&self.endpoints.whep_url, self.endpoints.room, feed)?;
            let session = self
                .endpoints
                .open(url, &self.clients, &peer, Box::new(self.sink.clone()))
                .await?;
            self.watching.push(session);
        }
        Ok(())
    }

    pub async fn connected(&self, limit: Duration) -> Result<()> {
        for session in self.publishing.iter().chain(&self.watching) {
            session.media.connected(limit).await?;
        }
        Ok(())
    }

    pub async fn leave(self) {
        for session in self.publishing.into_iter().chain(self.watching) {
            self.endpoints.close(session).await;
        }
    }
}

struct Session {
    media: MediaSession,
    /// To be deleted at the end.
    location: Url,
}

impl Endpoints {
    async fn open(&self, url: Url, clients: &Clients, peer: &PeerConfig, sink: Box<dyn MediaSink>) -> Result<Session> {
        let offering = media::offer(clients, peer)?;
        let mut request = self
            .http
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/sdp")
            .body(offering.offer().to_owned());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let location = location(&response);
        let (status, answer) = (response.status(), response.text().await?);
        if status != StatusCode::CREATED {
            bail!("{url} answers with {status}: {answer}");
        }
        let location = location.with_context(|| format!("{url} names no Location of the session"))?;
        let media = offering.connect(&answer, sink)?;
        Ok(Session { media, location })
    }

    async fn close(&self, session: Session) {
        let mut request = self.http.delete(session.location);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Err(error) = request.send().await.and_then(Response::error_for_status) {
            tracing::warn!(%error, "a session was not deleted");
        }
        session.media.close().await;
    }
}

/// `Location` may be relative to the request (RFC 9110, section 10.2.2).
fn location(response: &Response) -> Option<Url> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    response.url().join(location).ok()
}

fn fill(template: &str, room: usize, Feed(publisher): &Feed) -> Result<Url> {
    let url = template
        .replace("{room}", &room.to_string())
        .replace("{publisher}", publisher);
    Url::parse(&url).with_context(|| format!("{url} is no URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_numbers() {
        let url = fill("https://h/{room}/whep?stream={publisher}", 2, &Feed("7".to_owned())).unwrap();
        assert_eq!(url.as_str(), "https://h/2/whep?stream=7");
        assert!(fill("/whip", 0, &Feed(String::new())).is_err());
    }
}

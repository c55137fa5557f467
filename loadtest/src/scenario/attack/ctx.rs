//! What an attack knows of its victim, and what attackers have in common.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use serde::Serialize;
use tianqiao_protocol::rest::{CreateMeeting, CreateToken, CreatedMeeting};
use tokio::time::timeout_at;

use super::isolation::Sources;
use crate::client::{Clients, JoinConfig, MediaSink, NoSink, Participant, PeerConfig, Server};

/// Loopback addresses of attackers.
pub const ADDRESSES: usize = 200;
/// What connections over IPv6 are counted by.
pub const OVER_IPV6: &str = "connections over IPv6";
/// What attackers' own failures are counted by.
const FAILED: &str = "failed";
/// After something failed, so that a refusal is not asked for in a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(5);

/// Cheap to clone: a handle of what all attackers share.
#[derive(Clone)]
pub struct Ctx(Arc<Shared>);

pub struct Shared {
    /// The server's HTTP port over IPv4, and over IPv6 where it listens there.
    pub http: SocketAddr,
    pub http6: Option<SocketAddr>,
    /// A worker's media port, UDP and TCP.
    pub media: SocketAddr,
    pub sources: Sources,
    /// The meeting of the honest participants; some attackers know its passcode.
    pub meeting: CreatedMeeting,
    pub passcode: String,
    /// Ids of the honest participants; the first one speaks.
    pub honest: Vec<String>,
    /// What runs the attackers' media.
    pub clients: Clients,
    /// When the attack has to be over.
    pub end: Instant,
    pub tally: Tally,
    pub servers: Mutex<HashMap<usize, Server>>,
}

impl std::ops::Deref for Ctx {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Ctx {
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Waits for the attack's end.
    pub async fn over(&self) {
        tokio::time::sleep_until(self.end.into()).await;
    }

    pub fn count(&self, what: &'static str, number: u64) {
        self.tally.add(what, number);
    }

    /// An address of an attacker, and the server's as it is reached from there: all of IPv4 first, then those of IPv6.
    pub fn source(&self, index: usize) -> (IpAddr, SocketAddr) {
        let index = index % (ADDRESSES + self.sources.v6().len());
        match (index.checked_sub(ADDRESSES), self.http6) {
            (Some(index), Some(http6)) => (self.sources.v6()[index].into(), http6),
            _ => (
                Ipv4Addr::new(127, 0, 1, (index % ADDRESSES) as u8 + 1).into(),
                self.http,
            ),
        }
    }

    /// An address of IPv4, for whoever needs media.
    pub fn source_v4(&self, index: usize) -> IpAddr {
        Ipv4Addr::new(127, 0, 1, (index % ADDRESSES) as u8 + 1).into()
    }

    /// The server as the attacker of that index sees it, over IPv4.
    pub fn server(&self, index: usize) -> Result<Server> {
        let mut servers = self.servers.lock().expect("no making of a client panics");
        if let Some(server) = servers.get(&index) {
            return Ok(server.clone());
        }
        let from = Some(self.source_v4(index));
        let server = Server::seen_from(&format!("http://{}", self.http), false, from)?;
        servers.insert(index, server.clone());
        Ok(server)
    }

    /// The server as somebody sees it who does no harm.
    pub fn honest_server(&self) -> Result<Server> {
        let from = Some(Ipv4Addr::new(127, 0, 0, 30).into());
        Server::seen_from(&format!("http://{}", self.http), false, from)
    }

    /// A meeting of the attacker's own.
    pub async fn own_meeting(&self, server: &Server) -> Result<CreatedMeeting> {
        let request = CreateMeeting {
            title: Some("mine".to_owned()),
            passcode: None,
        };
        server.create_meeting(&request).await
    }

    /// A token for the meeting of the honest participants.
    pub async fn member_token(&self, server: &Server, name: &str) -> Result<String> {
        let request = CreateToken {
            name: name.to_owned(),
            passcode: Some(self.passcode.clone()),
        };
        server.join_token(&self.meeting.id, &request).await
    }

    /// An attacker in the meeting of the honest participants.
    pub async fn member(&self, index: usize, peer: PeerConfig) -> Result<Participant> {
        self.member_with(index, peer, Box::new(NoSink)).await
    }

    pub async fn member_with(&self, index: usize, peer: PeerConfig, sink: Box<dyn MediaSink>) -> Result<Participant> {
        let server = self.server(index)?;
        let token = self.member_token(&server, &format!("Mallory {index}")).await?;
        self.join(&server, &token, peer, sink).await
    }

    /// Joins with a token and waits for the media.
    pub async fn join(
        &self,
        server: &Server,
        token: &str,
        peer: PeerConfig,
        sink: Box<dyn MediaSink>,
    ) -> Result<Participant> {
        let config = JoinConfig {
            clients: self.clients.clone(),
            peer,
            ..Default::default()
        };
        let participant = Participant::join(server, token, &config, sink).await?;
        let left = self.end.saturating_duration_since(Instant::now());
        participant.media.connected(left).await?;
        Ok(participant)
    }

    /// Lets `width` attackers take `step` again and again until the attack's end.
    pub async fn swarm<F, S>(&self, width: usize, step: F)
    where
        F: Fn(Self, usize) -> S,
        S: Future<Output = Result<()>>,
    {
        let attackers = (0..width).map(|index| {
            let step = &step;
            async move {
                while !self.is_over() {
                    if let Err(error) = step(self.clone(), index).await {
                        self.tally.fail(&error);
                        tokio::time::sleep(AFTER_FAILURE).await;
                    }
                }
            }
        });
        // What hangs in the middle of a step is let go at the end.
        let _ = timeout_at(self.end.into(), join_all(attackers)).await;
    }

    /// Does `step` once for each of `width` attackers at the same time, within the attack's time.
    pub async fn once<F, S>(&self, width: usize, step: F)
    where
        F: Fn(Self, usize) -> S,
        S: Future<Output = Result<()>>,
    {
        let attackers = (0..width).map(|index| {
            let step = &step;
            async move {
                if let Err(error) = step(self.clone(), index).await {
                    self.tally.fail(&error);
                }
            }
        });
        let _ = timeout_at(self.end.into(), join_all(attackers)).await;
    }
}

/// What an attack has reached so far, by the attack's own words.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    reached: BTreeMap<&'static str, u64>,
    last_failure: Option<String>,
}

impl Tally {
    pub fn add(&self, what: &'static str, number: u64) {
        let mut counts = self.0.lock().expect("no counting panics");
        *counts.reached.entry(what).or_default() += number;
    }

    /// Keeps the largest `number`.
    pub fn at_most(&self, what: &'static str, number: u64) {
        let mut counts = self.0.lock().expect("no counting panics");
        let kept = counts.reached.entry(what).or_default();
        *kept = number.max(*kept);
    }

    pub fn of(&self, what: &str) -> u64 {
        let counts = self.0.lock().expect("no counting panics");
        counts.reached.get(what).copied().unwrap_or_default()
    }

    fn fail(&self, error: &anyhow::Error) {
        let mut counts = self.0.lock().expect("no counting panics");
        *counts.reached.entry(FAILED).or_default() += 1;
        counts.last_failure = Some(format!("{error:#}"));
    }

    pub fn reached(&self) -> Reached {
        let counts = self.0.lock().expect("no counting panics");
        Reached {
            counts: counts
                .reached
                .iter()
                .map(|(what, number)| ((*what).to_owned(), *number))
                .collect(),
            last_failure: counts.last_failure.clone(),
        }
    }
}

/// What an attack reached.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reached {
    pub counts: BTreeMap<String, u64>,
    /// The last thing that the server refused an attacker or the system did.
    pub last_failure: Option<String>,
}

impl Reached {
    /// The server has not even refused anything.
    pub fn is_nothing(&self) -> bool {
        let at_the_server = |(what, &number): (&String, &u64)| number > 0 && what != OVER_IPV6 && what != FAILED;
        !self.counts.iter().any(at_the_server)
    }
}

/// A TCP connection from the attacker's address of that index.
pub async fn connect(ctx: &Ctx, index: usize) -> Result<tokio::net::TcpStream> {
    let (from, to) = ctx.source(index);
    let connecting = crate::client::signaling::connect_from(Some(from), to);
    let limit = ctx.end.min(Instant::now() + Duration::from_secs(5));
    let stream = timeout_at(limit.into(), connecting)
        .await
        .context("no connection within five seconds")?
        .context("no connection")?;
    if from.is_ipv6() {
        ctx.count(OVER_IPV6, 1);
    }
    Ok(stream)
}

/// What a web page offers that only listens.
pub fn listener() -> PeerConfig {
    PeerConfig {
        audio_slots: 4,
        video_slots: 9,
        ..Default::default()
    }
}

/// What a web page offers that sends too.
pub fn talker() -> PeerConfig {
    PeerConfig {
        microphone: true,
        camera: true,
        ..listener()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_that_never_got_to_the_server_reached_nothing() {
        for (counts, is_nothing) in [
            (&[][..], true),
            (&[(FAILED, 9), (OVER_IPV6, 3)], true),
            (&[("offers", 0)], true),
            (&[(FAILED, 9), ("refused", 1)], false),
        ] {
            let tally = Tally::default();
            for &(what, number) in counts {
                tally.add(what, number);
            }
            assert_eq!(tally.reached().is_nothing(), is_nothing, "{counts:?}");
        }
    }
}

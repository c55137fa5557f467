//! A fourth who joins the meeting of the honest ones again and again: page, token, WebSocket, ICE, DTLS, something
//! to see or hear, and an offer for one slot more.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tianqiao_protocol::SlotTarget;
use tianqiao_protocol::rest::CreateToken;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::honest::PASSCODE;
use crate::client::{Clients, JoinConfig, MediaSink, Participant, PeerConfig, ReceivedRtp, Server};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// A join that takes longer has failed.
const GIVE_UP: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_millis(200);
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// The joins of a window.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Joins {
    pub joins: u64,
    /// Refused by a typed error, or not done in 15 s.
    pub failed: u64,
    pub slowest_ms: f64,
    pub median_ms: f64,
    pub last_failure: Option<String>,
}

struct FirstPacket(watch::Sender<bool>);

impl MediaSink for FirstPacket {
    fn on_rtp(&mut self, _packet: ReceivedRtp<'_>) {
        if !*self.0.borrow() {
            self.0.send_replace(true);
        }
    }
}

/// Joins until `stop` says so; the join under way then is finished.
pub async fn run(url: String, meeting: String, clients: Clients, stop: watch::Receiver<bool>) -> Joins {
    let mut joins = Joins::default();
    let mut times = Vec::new();
    while !*stop.borrow() {
        let begin = Instant::now();
        let result = match timeout(GIVE_UP, join(&url, &meeting, &clients)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("not in after {GIVE_UP:?}")),
        };
        joins.joins += 1;
        match result {
            Ok(participant) => {
                times.push(begin.elapsed().as_secs_f64() * 1e3);
                let _ = timeout(LEAVE_LIMIT, participant.leave()).await;
            }
            Err(error) => {
                joins.failed += 1;
                joins.last_failure = Some(format!("after {:.1} s: {error:#}", begin.elapsed().as_secs_f64()));
            }
        }
        sleep(BETWEEN).await;
    }
    times.sort_by(f64::total_cmp);
    joins.slowest_ms = times.last().copied().unwrap_or_default();
    joins.median_ms = times.get(times.len() / 2).copied().unwrap_or_default();
    joins
}

async fn join(url: &str, meeting: &str, clients: &Clients) -> Result<Participant> {
    let server = Server::seen_from(url, false, Some(ADDRESS))?;
    server.text("/").await.context("no page")?;
    let request = CreateToken {
        name: "Dan".to_owned(),
        passcode: Some(PASSCODE.to_owned()),
    };
    let token = server.join_token(meeting, &request).await.context("no token")?;
    let config = JoinConfig {
        clients: clients.clone(),
        peer: PeerConfig {
            audio_slots: 4,
            video_slots: 1,
            ..Default::default()
        },
        targets: vec![SlotTarget::ActiveSpeaker],
        height: 720,
        ..Default::default()
    };
    let (sender, mut first) = watch::channel(false);
    let sink = Box::new(FirstPacket(sender));
    let mut participant = Participant::join(&server, &token, &config, sink)
        .await
        .context("no join")?;
    participant.media.connected(GIVE_UP).await?;
    first.wait_for(|first| *first).await.context("no media")?;
    participant.renegotiate(1, false).await.context("no second answer")?;
    Ok(participant)
}

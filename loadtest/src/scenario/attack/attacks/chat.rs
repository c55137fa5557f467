//! Members who let little in become much out.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tianqiao_protocol::ws::{ClientMessage, Join, ServerMessage};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::super::ctx::{Ctx, listener};
use super::super::limits::CHAT_PAGE_BYTES;
use crate::client::{Participant, WebSocket};

const MEMBERS: usize = 8;
/// Above the rate of messages that a session is allowed.
const BETWEEN: Duration = Duration::from_millis(20);

/// Bytes a second: 8 Mbit/s.
const VILLAGE: f64 = 1e6;
/// Of a meeting's state without its chat: some ten participants and what they publish.
const STATE_BYTES: f64 = 32_768.0;

/// As long as a line may be, and good to compress.
fn line() -> ClientMessage {
    ClientMessage::Chat {
        text: "天".repeat(2000),
    }
}

/// Says `message` until the end; joins again once it is thrown out.
async fn repeat(ctx: &Ctx, index: usize, message: &ClientMessage, between: Duration) -> Result<()> {
    let mut member = ctx.member(index, listener()).await?;
    loop {
        member.send(message.clone());
        ctx.count("sent", 1);
        sleep(between).await;
        loop {
            match member.messages.try_recv() {
                Ok(ServerMessage::Chat(_)) => ctx.count("lines received", 1),
                Ok(ServerMessage::Error(_)) => ctx.count("refused", 1),
                Ok(_) => {}
                Err(tokio::sync::mpsc::error::TryRecvError::Empty) => break,
                Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => {
                    ctx.count("thrown out", 1);
                    return Ok(());
                }
            }
        }
    }
}

pub async fn flood(ctx: Ctx) -> Result<()> {
    let (village, ()) = tokio::join!(
        village(&ctx),
        ctx.swarm(MEMBERS, |ctx, index| async move {
            repeat(&ctx, index, &line(), BETWEEN).await
        })
    );
    village.context("an honest participant with 8 Mbit/s")
}

/// An honest participant at a link of its own speed, who takes answers uncompressed; an error if it is cut.
async fn village(ctx: &Ctx) -> Result<()> {
    let server = ctx.honest_server()?;
    let token = ctx.member_token(&server, "Village").await?;
    let sdp = ctx.clients.peer(&listener())?.offer(Instant::now())?;
    let mut websocket = WebSocket::connect(&server).await?;
    let join = ClientMessage::Join(Join {
        token,
        sdp,
        tracks: vec![],
        slots: vec![],
    });
    websocket
        .send_raw(Message::Text(serde_json::to_string(&join)?.into()))
        .await?;
    let begin = Instant::now();
    while let Ok(message) = timeout_at(ctx.end.into(), websocket.recv()).await {
        match message? {
            None | Some(ServerMessage::Ended { .. }) => bail!("was cut after {:.1} s", begin.elapsed().as_secs_f64()),
            Some(_) => {}
        }
        let received = websocket.bytes().received.load(Ordering::Relaxed);
        ctx.tally.at_most("bytes to a village", received);
        sleep_until((begin + Duration::from_secs_f64(received as f64 / VILLAGE)).into()).await;
    }
    Ok(())
}

pub async fn pings(ctx: Ctx) -> Result<()> {
    ctx.swarm(MEMBERS, |ctx, index| async move {
        if index % 2 == 0 {
            return repeat(&ctx, index, &ClientMessage::Ping { t: 1 }, Duration::from_millis(1)).await;
        }
        // Pings of the WebSocket protocol (RFC 6455, section 5.5.2), joined or not.
        let mut websocket = WebSocket::connect(&ctx.server(index)?).await?;
        loop {
            websocket.send_raw(Message::Ping(vec![0; 125].into())).await?;
            ctx.count("sent", 1);
        }
    })
    .await;
    Ok(())
}

pub async fn resumes(ctx: Ctx) -> Result<()> {
    let member = ctx.member(0, listener()).await?;
    // A history worth asking for.
    for _ in 0..100 {
        member.send(line());
        sleep(Duration::from_millis(5)).await;
    }
    ctx.swarm(1, |ctx, _| {
        let member = &member;
        async move {
            loop {
                let received = resume(&ctx, member).await?;
                ctx.count("resumed", 1);
                ctx.count("bytes received", received);
                ctx.tally.at_most("bytes of the largest answer", received);
            }
        }
    })
    .await;
    drop(member);
    let largest = ctx.tally.of("bytes of the largest answer");
    let allowed = CHAT_PAGE_BYTES + STATE_BYTES;
    ensure!(
        largest as f64 <= allowed,
        "a resume is answered by {largest} bytes, {allowed:.0} allowed"
    );
    Ok(())
}

async fn resume(ctx: &Ctx, member: &Participant) -> Result<u64> {
    let mut websocket = WebSocket::connect(&ctx.server(0)?).await?;
    let session = member.joined.session.clone();
    // As text, for the answer to be text.
    let resume = ClientMessage::Resume(tianqiao_protocol::ws::Resume { session });
    websocket
        .send_raw(Message::Text(serde_json::to_string(&resume)?.into()))
        .await?;
    match timeout(Duration::from_secs(5), websocket.recv()).await?? {
        Some(ServerMessage::Resumed(_)) => {}
        other => anyhow::bail!("not resumed: {other:?}"),
    }
    Ok(websocket.bytes().received.load(Ordering::Relaxed))
}

pub async fn slow_readers(ctx: Ctx) -> Result<()> {
    ctx.swarm(MEMBERS, |ctx, index| async move {
        let server = ctx.server(index)?;
        let token = ctx.member_token(&server, "Slow").await?;
        let peer = ctx.clients.peer(&listener())?.offer(Instant::now())?;
        let mut websocket = WebSocket::connect(&server).await?;
        let join = ClientMessage::Join(Join {
            token,
            sdp: peer,
            tracks: vec![],
            slots: vec![],
        });
        websocket.ask(&join).await.context("no join")?;
        ctx.count("joined", 1);
        loop {
            websocket.send(&line()).await?;
            ctx.count("sent", 1);
            sleep(BETWEEN * 2).await;
        }
    })
    .await;
    Ok(())
}

//! Connections that take a file and give nothing back.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tianqiao_sfu_core::transport::stun::{BindingRequest, IceRole, IntegrityKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::super::ctx::{Ctx, connect, listener};
use super::super::http::{Connection, post, request};
use super::redirect::check_of;
use crate::client::signaling::connect_from;
use crate::client::{NoSink, WebSocket};

/// More than the files of a process by default, 1,024.
const CONNECTIONS: usize = 3000;
const WEBSOCKETS: usize = 2500;
const STREAMS: usize = 5000;
/// Connections of attackers that are opened at a time.
const OPENING: usize = 64;
/// For somebody with a session, at a media port.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Within the largest message that is taken.
const UNFINISHED: usize = 150 << 10;

pub async fn idle(ctx: Ctx) -> Result<()> {
    let opening = Arc::new(Semaphore::new(OPENING));
    ctx.once(CONNECTIONS, |ctx, index| {
        let opening = opening.clone();
        async move {
            let permit = opening.acquire().await?;
            let mut connection = Connection::open(&ctx, index).await?;
            match index % 5 {
                0 => {}
                1 => drop(connection.ask(&request(&ctx, "GET", "/healthz", "", "")).await?),
                2 => connection.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-half").await?,
                3 => {
                    let whole = post(&ctx, "/api/v1/meetings", &serde_json::json!({"title": "half a body"}));
                    connection.send(&whole[..whole.len() - 5]).await?;
                }
                // Preface and empty SETTINGS of HTTP/2 (RFC 9113, section 3.4).
                _ => {
                    connection
                        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                        .await?
                }
            }
            drop(permit);
            ctx.count("opened", 1);
            connection.closed().await;
            ctx.count("closed by the server", 1);
            Ok(())
        }
    })
    .await;
    Ok(())
}

pub async fn slow_readers(ctx: Ctx) -> Result<()> {
    ctx.once(CONNECTIONS / 4, |ctx, index| async move {
        let mut stream = connect(&ctx, index).await?;
        let page = request(&ctx, "GET", "/", "", "").repeat(200);
        let sent = timeout_at(ctx.end.into(), stream.write_all(&page)).await;
        ctx.count("opened", 1);
        if let Ok(Ok(())) = sent {
            ctx.count("asked for 200 pages", 1);
        }
        ctx.over().await;
        Ok(())
    })
    .await;
    Ok(())
}

pub async fn ice_tcp(ctx: Ctx) -> Result<()> {
    let ports = [ctx.media.port(), ctx.media.port()];
    let streams: Vec<TcpStream> = stream::iter(0..STREAMS)
        .map(|index| open_stream(&ctx, index, SocketAddr::new(ctx.media.ip(), ports[index % 2])))
        .buffer_unordered(OPENING)
        .filter_map(|opened| std::future::ready(opened.ok()))
        .take_until(ctx.over())
        .collect()
        .await;
    let held = streams.into_iter().map(|mut stream| async move {
        let mut buffer = [0; 512];
        while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
    });
    let held = held.map(|closed| async {
        if timeout_at(ctx.end.into(), closed).await.is_ok() {
            ctx.count("closed by the server", 1);
        }
    });
    let (_, newcomer) = tokio::join!(join_all(held), newcomer(&ctx));
    newcomer
}

/// Somebody with a session of its own who has but TCP must be answered.
async fn newcomer(ctx: &Ctx) -> Result<()> {
    let server = ctx.honest_server()?;
    let token = ctx.member_token(&server, "No UDP").await?;
    let member = ctx.join(&server, &token, listener(), Box::new(NoSink)).await?;
    let check = check_of(&member.offer, &member.joined.sdp)?;
    let from = server.from_address();
    while !ctx.is_over() {
        let answered = timeout(ANSWER_LIMIT, ask_over_tcp(from, ctx.media, &check)).await;
        answered
            .ok()
            .and_then(Result::ok)
            .context("a check over TCP is not answered")?;
        ctx.count("checks over TCP answered", 1);
        sleep(Duration::from_millis(200)).await;
    }
    member.leave().await;
    Ok(())
}

async fn ask_over_tcp(from: Option<IpAddr>, to: SocketAddr, check: &[u8]) -> Result<()> {
    let mut stream = connect_from(from, to).await?;
    stream.write_all(&(check.len() as u16).to_be_bytes()).await?;
    stream.write_all(check).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    // A success (RFC 8489, section 5), not an error.
    ensure!(head[2..] == [1, 1], "no success");
    Ok(())
}

async fn open_stream(ctx: &Ctx, index: usize, to: SocketAddr) -> Result<TcpStream> {
    let connecting = connect_from(Some(ctx.source_v4(index)), to);
    let mut stream = match timeout_at(ctx.end.into(), connecting).await? {
        Ok(stream) => stream,
        Err(error) => {
            ctx.count("not opened", 1);
            return Err(error.into());
        }
    };
    ctx.count("opened", 1);
    match index % 3 {
        0 => {}
        // RFC 4571: a length, and less than that.
        1 => stream.write_all(&[0, 200, 0, 1, 0]).await?,
        _ => {
            let check = strange_check();
            stream.write_all(&(check.len() as u16).to_be_bytes()).await?;
            stream.write_all(&check).await?;
        }
    }
    Ok(stream)
}

/// A check by somebody whom the server does not know.
pub fn strange_check() -> Vec<u8> {
    let name = format!("{:08x}:{:08x}", rand::random::<u32>(), rand::random::<u32>());
    let request = BindingRequest {
        transaction: rand::random(),
        username: &name,
        priority: 1,
        role: IceRole::Controlling(rand::random()),
        use_candidate: true,
    };
    request.write(&IntegrityKey::new("nobody knows this password"))
}

pub async fn silent_websockets(ctx: Ctx) -> Result<()> {
    let opening = Arc::new(Semaphore::new(OPENING));
    ctx.once(WEBSOCKETS, |ctx, index| {
        let opening = opening.clone();
        async move {
            let permit = opening.acquire().await?;
            let mut websocket = WebSocket::connect(&ctx.server(index)?).await?;
            drop(permit);
            ctx.count("opened", 1);
            while let Ok(Some(_)) = websocket.recv().await {}
            ctx.count("closed by the server", 1);
            Ok(())
        }
    })
    .await;
    Ok(())
}

pub async fn unfinished_messages(ctx: Ctx) -> Result<()> {
    let opening = Arc::new(Semaphore::new(OPENING));
    ctx.once(WEBSOCKETS / 2, |ctx, index| {
        let opening = opening.clone();
        async move {
            let permit = opening.acquire().await?;
            let mut websocket = WebSocket::connect(&ctx.server(index)?).await?;
            let first = tokio_tungstenite::tungstenite::protocol::frame::Frame::message(
                vec![b'x'; UNFINISHED],
                tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode::Data(
                    tokio_tungstenite::tungstenite::protocol::frame::coding::Data::Text,
                ),
                false,
            );
            let sent = websocket.send_raw(Message::Frame(first)).await;
            drop(permit);
            sent?;
            ctx.count("opened", 1);
            while let Ok(Some(_)) = websocket.recv().await {}
            ctx.count("closed by the server", 1);
            Ok(())
        }
    })
    .await;

    Ok(())
}

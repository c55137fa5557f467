//! What is no protocol at all, and what bends one.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;
use rand::RngCore;
use serde_json::json;
use tianqiao_protocol::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::super::ctx::{Ctx, connect};
use super::super::http::{Connection, post, tally};
use super::sockets::strange_check;
use crate::client::WebSocket;

const SENDERS: usize = 50;
/// Datagrams of a sender between two pauses: some tens of thousands a second of all of them.
const BURST: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

pub async fn udp(ctx: Ctx) -> Result<()> {
    ctx.swarm(SENDERS, |ctx, index| async move {
        let socket = UdpSocket::bind((ctx.source_v4(index), 0))?;
        socket.set_nonblocking(true)?;
        let mut noise = [0; 1200];
        while !ctx.is_over() {
            for kind in 0..BURST {
                rand::rng().fill_bytes(&mut noise);
                let len = usize::from(noise[1]) * 4 + 1;
                // By the first byte, RFC 7983: STUN, DTLS, RTP and RTCP, and whatever comes.
                let datagram: &[u8] = match kind % 5 {
                    0 => &strange_check(),
                    1 => {
                        // A handshake record with a ClientHello in it.
                        noise[..14].copy_from_slice(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1]);
                        &noise
                    }
                    2 => {
                        noise[0] = 0x80;
                        &noise[..len]
                    }
                    3 => {
                        noise[..2].copy_from_slice(&[0x81, 200]);
                        &noise[..len]
                    }
                    _ => &noise[..len],
                };
                ctx.count("datagrams", u64::from(socket.send_to(datagram, ctx.media).is_ok()));
            }
            while let Ok(len) = socket.recv(&mut noise) {
                ctx.count("bytes received", len as u64);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    })
    .await;
    Ok(())
}

/// Preface, SETTINGS, then streams that are opened and reset (RFC 9113, sections 3.4, 6.2 and 6.4).
pub async fn rapid_reset(ctx: Ctx) -> Result<()> {
    ctx.swarm(16, |ctx, index| async move {
        let mut stream = connect(&ctx, index).await?;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await?;
        let mut next: u32 = 1;
        loop {
            let mut frames = Vec::new();
            for _ in 0..100 {
                let id = next.to_be_bytes();
                // GET, http, /, and an authority of one byte, all by the static table.
                frames.extend([0, 0, 6, 1, 5]);
                frames.extend(id);
                frames.extend([0x82, 0x86, 0x84, 0x41, 1, b'a']);
                frames.extend([0, 0, 4, 3, 0]);
                frames.extend(id);
                frames.extend([0, 0, 0, 8]);
                next += 2;
            }
            stream.write_all(&frames).await?;
            ctx.count("streams", 100);
            let mut buffer = [0; 16 << 10];
            if let Ok(Ok(0)) = timeout(Duration::from_millis(1), stream.read(&mut buffer)).await {
                ctx.count("connections closed by the server", 1);
                return Ok(());
            }
        }
    })
    .await;
    Ok(())
}

pub async fn bombs(ctx: Ctx) -> Result<()> {
    // 64 MiB in 64 kB.
    let bomb = frame::deflate(&format!("{{\"type\":\"{}\"}}", "x".repeat(64 << 20)));
    let deep = "[".repeat(100_000);
    ctx.swarm(16, |ctx, index| {
        let (bomb, deep) = (&bomb, &deep);
        async move {
            let server = ctx.server(index)?;
            for turn in 0.. {
                if turn % 3 == 2 {
                    let mut connection = Connection::open(&ctx, index).await?;
                    tally(
                        &ctx,
                        &connection.ask(&post(&ctx, "/api/v1/meetings", &json!(deep))).await?,
                    );
                    let text = format!("{{\"title\":{deep}");
                    let raw = super::super::http::request(
                        &ctx,
                        "POST",
                        "/api/v1/meetings",
                        "content-type: application/json\r\n",
                        &text,
                    );
                    tally(&ctx, &connection.ask(&raw).await?);
                    continue;
                }
                let mut websocket = WebSocket::connect(&server).await?;
                let message = match turn % 3 {
                    0 => Message::Binary(bomb.clone().into()),
                    _ => Message::Text(deep.as_str().into()),
                };
                websocket.send_raw(message).await?;
                ctx.count("bombs", 1);
                let _ = timeout(Duration::from_secs(2), websocket.recv()).await;
            }
            Ok(())
        }
    })
    .await;
    Ok(())
}

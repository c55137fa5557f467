//! What is for operators, and names of somebody else.

use anyhow::{Result, ensure};

use super::super::ctx::Ctx;
use super::super::http::{Connection, request, tally};

const ATTACKERS: usize = 16;

pub async fn metrics(ctx: Ctx) -> Result<()> {
    ctx.swarm(ATTACKERS, |ctx, index| async move {
        let mut connection = Connection::open(&ctx, index).await?;
        loop {
            let answer = connection.ask(&request(&ctx, "GET", "/metrics", "", "")).await?;
            if answer.status == 200 {
                ctx.count("metrics told", 1);
                ctx.count("bytes received", answer.body.len() as u64);
            }
            tally(&ctx, &answer);
        }
    })
    .await;
    let told = ctx.tally.of("metrics told");
    ensure!(told == 0, "strangers are told the metrics");
    Ok(())
}

pub async fn readyz(ctx: Ctx) -> Result<()> {
    ctx.swarm(ATTACKERS * 2, |ctx, index| async move {
        let mut connection = Connection::open(&ctx, index).await?;
        loop {
            for path in ["/readyz", "/healthz"] {
                tally(&ctx, &connection.ask(&request(&ctx, "GET", path, "", "")).await?);
            }
        }
    })
    .await;
    Ok(())
}

/// Requests that a browser sends for a page of somebody else's.
pub async fn foreign_hosts(ctx: Ctx) -> Result<()> {
    let host = ctx.http.to_string();
    let cases = [
        (
            "GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(),
            "a page under another name",
        ),
        (
            "POST /api/v1/meetings HTTP/1.1\r\nhost: evil.example\r\ncontent-type: application/json\r\n\
             content-length: 2\r\n\r\n{}"
                .to_owned(),
            "a meeting under another name",
        ),
        (
            format!(
                "GET /api/v1/ws HTTP/1.1\r\nhost: {host}\r\norigin: https://evil.example\r\nupgrade: websocket\r\n\
                 connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 sec-websocket-protocol: tianqiao.v1\r\n\r\n"
            ),
            "a WebSocket of another page",
        ),
    ];
    let mut served = Vec::new();
    for (index, (text, what)) in cases.iter().enumerate() {
        let answer = Connection::open(&ctx, index).await?.ask(text.as_bytes()).await?;
        tally(&ctx, &answer);
        if answer.status < 400 {
            served.push(*what);
        }
    }
    ensure!(served.is_empty(), "served: {}", served.join(", "));
    Ok(())
}

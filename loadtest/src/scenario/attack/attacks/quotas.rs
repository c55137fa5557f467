//! Quotas that all share, filled by one.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tianqiao_protocol::rest::CreateToken;
use tokio::time::sleep;

use super::super::ctx::{ADDRESSES, Ctx, listener};
use super::super::http::{Connection, post, request, tally};

const ATTACKERS: usize = 16;
const AFTER_REFUSAL: Duration = Duration::from_millis(20);

pub async fn meetings(ctx: Ctx) -> Result<()> {
    let addresses = ADDRESSES + ctx.sources.v6().len();
    ctx.swarm(addresses, |ctx, index| async move {
        let mut connection = Connection::open(&ctx, index).await?;
        loop {
            let body = json!({"title": "M".repeat(60), "passcode": "12345678"});
            let answer = connection.ask(&post(&ctx, "/api/v1/meetings", &body)).await?;
            tally(&ctx, &answer);
            if answer.status >= 300 {
                sleep(AFTER_REFUSAL).await;
            }
        }
    })
    .await;
    let honest = ctx.own_meeting(&ctx.honest_server()?).await;
    honest.context("nobody else gets a meeting").map(drop)
}

fn offer(ctx: &Ctx) -> Result<String> {
    let peer = listener();
    ctx.clients.peer(&peer)?.offer(std::time::Instant::now())
}

/// WHEP sessions without a packet, as fast as they go.
async fn watch(ctx: &Ctx, index: usize, meeting: &str, token: &str) -> Result<()> {
    let headers = format!("content-type: application/sdp\r\nauthorization: Bearer {token}\r\n");
    let whep = request(ctx, "POST", &format!("/whep/{meeting}"), &headers, &offer(ctx)?);
    let mut connection = Connection::open(ctx, index).await?;
    loop {
        let answer = connection.ask(&whep).await?;
        tally(ctx, &answer);
        if answer.status >= 300 {
            sleep(AFTER_REFUSAL).await;
        }
    }
}

pub async fn whep(ctx: Ctx) -> Result<()> {
    let token = ctx.member_token(&ctx.server(0)?, "Viewer").await?;
    ctx.swarm(ATTACKERS, |ctx, index| {
        let token = &token;
        async move { watch(&ctx, index, &ctx.meeting.id, token).await }
    })
    .await;
    Ok(())
}

pub async fn ghosts(ctx: Ctx) -> Result<()> {
    ctx.swarm(ATTACKERS, |ctx, index| async move {
        let server = ctx.server(index)?;
        let meeting = ctx.own_meeting(&server).await?;
        for number in 0.. {
            let name = format!("Ghost {number}");
            let token = server
                .join_token(&meeting.id, &CreateToken { name, passcode: None })
                .await?;
            let headers = format!("content-type: application/sdp\r\nauthorization: Bearer {token}\r\n");
            let offer = offer(&ctx)?;
            let mut connection = Connection::open(&ctx, index).await?;
            for path in ["whip", "whep"] {
                let path = format!("/{path}/{}", meeting.id);
                let answer = connection.ask(&request(&ctx, "POST", &path, &headers, &offer)).await?;
                tally(&ctx, &answer);
            }
        }
        Ok(())
    })
    .await;
    Ok(())
}

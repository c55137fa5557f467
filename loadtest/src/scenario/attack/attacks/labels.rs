//! What a server might keep for ever by a name that a client invents.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::super::ctx::{Ctx, listener};
use super::super::http::{Connection, request, tally};
use crate::client::{NoSink, PeerConfig};

const ATTACKERS: usize = 32;
const SESSIONS: usize = 20;
/// Within the rate of messages that a session is allowed.
const BETWEEN_OFFERS: Duration = Duration::from_millis(40);

pub async fn methods(ctx: Ctx) -> Result<()> {
    ctx.swarm(ATTACKERS, |ctx, index| async move {
        let mut connection = Connection::open(&ctx, index).await?;
        let long = "X".repeat(4000);
        loop {
            let method = format!("{long}{:016X}", rand::random::<u64>());
            let answer = connection.ask(&request(&ctx, &method, "/healthz", "", "")).await?;
            tally(&ctx, &answer);
        }
    })
    .await;
    Ok(())
}

pub async fn paths(ctx: Ctx) -> Result<()> {
    ctx.swarm(ATTACKERS, |ctx, index| async move {
        let mut connection = Connection::open(&ctx, index).await?;
        let long = "x".repeat(3000);
        loop {
            let name = rand::random::<u64>();
            for path in [
                format!("/{name:x}"),
                format!("/assets/{name:x}{long}.js"),
                format!("/m/{long}{name:x}"),
                format!("/whip/{name:x}/{long}"),
            ] {
                tally(&ctx, &connection.ask(&request(&ctx, "GET", &path, "", "")).await?);
            }
        }
    })
    .await;
    Ok(())
}

pub async fn mids(ctx: Ctx) -> Result<()> {
    ctx.swarm(SESSIONS, |ctx, index| async move {
        let server = ctx.server(index)?;
        let meeting = ctx.own_meeting(&server).await?;
        let request = tianqiao_protocol::rest::CreateToken {
            name: "M".to_owned(),
            passcode: None,
        };
        let token = server.join_token(&meeting.id, &request).await?;
        let peer = PeerConfig {
            video_slots: 50,
            ..listener()
        };
        let mut participant = ctx.join(&server, &token, peer, Box::new(NoSink)).await?;
        let offer = participant.offer.clone();
        while !ctx.is_over() {
            let name: u32 = rand::random();
            let renamed = rename(&offer, |mid| format!("{name:x}{mid}"));
            match participant.offer_raw(renamed).await {
                Ok(_) => ctx.count("answered", 1),
                Err(error) if error.to_string().contains("refused") => ctx.count("refused", 1),
                Err(error) => return Err(error),
            }
            sleep(BETWEEN_OFFERS).await;
        }
        participant.leave().await;
        Ok(())
    })
    .await;
    Ok(())
}

/// The offer with other names for its sections.
fn rename(offer: &str, name: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(offer.len() * 2);
    for line in offer.lines() {
        if let Some(mid) = line.strip_prefix("a=mid:") {
            text += &format!("a=mid:{}", name(mid));
        } else if let Some(mids) = line.strip_prefix("a=group:BUNDLE ") {
            let mids: Vec<_> = mids.split(' ').map(&name).collect();
            text += &format!("a=group:BUNDLE {}", mids.join(" "));
        } else {
            text += line;
        }
        text += "\r\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sections_get_new_names() {
        let offer = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio\r\na=mid:0\r\nm=video\r\na=mid:1\r\n";
        assert_eq!(
            rename(offer, |mid| format!("x{mid}")),
            "v=0\r\na=group:BUNDLE x0 x1\r\nm=audio\r\na=mid:x0\r\nm=video\r\na=mid:x1\r\n"
        );
    }
}

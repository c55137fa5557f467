//! Words that are not what they look like.

use std::time::Duration;

use anyhow::{Result, ensure};
use tianqiao_protocol::rest::{CreateMeeting, CreateToken};
use tianqiao_protocol::ws::{ClientMessage, ServerMessage};
use tokio::time::{sleep, timeout_at};

use super::super::ctx::{Ctx, listener};
use super::super::text::{FOUL, is_foul};
use crate::client::NoSink;

pub async fn foul_words(ctx: Ctx) -> Result<()> {
    let server = ctx.server(0)?;
    for (index, text) in FOUL.iter().enumerate() {
        // Refused, or made clean.
        let token = match ctx.member_token(&server, text).await {
            Ok(token) => token,
            Err(_) => {
                ctx.count("refused", 1);
                ctx.member_token(&server, &format!("Mallory {index}")).await?
            }
        };
        let mut member = ctx.join(&server, &token, listener(), Box::new(NoSink)).await?;
        let foul = member
            .joined
            .state
            .participants
            .iter()
            .filter(|other| is_foul(&other.name));
        ctx.count("foul names", foul.count() as u64);
        for text in FOUL {
            member.send(ClientMessage::Chat { text: text.to_owned() });
            ctx.count("said", 1);
        }
        // Everybody, the sender too, is sent what is said.
        let answered = async {
            let mut answers = 0;
            while answers < FOUL.len() {
                match member.messages.recv().await {
                    Some(ServerMessage::Chat(line)) => {
                        answers += 1;
                        ctx.count("foul lines", is_foul(&line.text).into());
                        ctx.count("foul names", is_foul(&line.name).into());
                    }
                    Some(ServerMessage::Error(_)) => answers += 1,
                    Some(_) => {}
                    None => break,
                }
            }
        };
        let _ = timeout_at(ctx.end.into(), answered).await;
        member.leave().await;
        sleep(Duration::from_millis(20)).await;
    }
    titles(&ctx).await?;
    let foul = ctx.tally.of("foul names") + ctx.tally.of("foul lines");
    ensure!(
        foul == 0,
        "{foul} names and lines come out with characters that turn or hide"
    );
    Ok(())
}

async fn titles(ctx: &Ctx) -> Result<()> {
    let server = ctx.server(1)?;
    for text in FOUL {
        let request = CreateMeeting {
            title: Some(text.to_owned()),
            passcode: None,
        };
        let Ok(meeting) = server.create_meeting(&request).await else {
            ctx.count("refused", 1);
            continue;
        };
        let request = CreateToken {
            name: "M".to_owned(),
            passcode: None,
        };
        let token = server.join_token(&meeting.id, &request).await?;
        let member = ctx.join(&server, &token, listener(), Box::new(NoSink)).await?;
        let title = member.joined.meeting.title.clone().unwrap_or_default();
        ctx.count("foul names", is_foul(&title).into());
        member.leave().await;
    }
    Ok(())
}

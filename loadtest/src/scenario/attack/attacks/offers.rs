//! Offers whose parsing costs most.

use std::fmt::Write;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use tianqiao_protocol::frame;
use tianqiao_protocol::ws::{ClientMessage, Join};
use tokio_tungstenite::tungstenite::Message;

use super::super::ctx::{Ctx, listener};
use super::super::http::{Connection, request, tally};
use crate::client::{PeerConfig, WebSocket};

/// Just below the largest offer that is taken.
const SIZE: usize = 131_000;
/// Beside those of a good offer, just below as many as are read.
const LINES: usize = 9_600;
const ATTACKERS: usize = 40;

/// A good offer, which the worst are made of.
fn plain(ctx: &Ctx) -> Result<String> {
    let config = PeerConfig {
        microphone: true,
        camera: true,
        audio_slots: 4,
        video_slots: 9,
        ..Default::default()
    };
    ctx.clients.peer(&config)?.offer(Instant::now())
}

/// `offer` filled up to [`SIZE`] with what `line` makes of a number, in the section of the camera; `head` comes first.
fn filled(offer: &str, head: &str, line: impl Fn(usize) -> String) -> String {
    let at = offer
        .find("m=video")
        .and_then(|at| Some(at + offer[at..].find("\r\n")? + 2));
    let (before, after) = offer.split_at(at.unwrap_or(offer.len()));
    let mut text = String::with_capacity(SIZE);
    text += before;
    text += head;
    for index in 0..LINES {
        let next = line(index);
        if text.len() + next.len() + after.len() > SIZE {
            break;
        }
        text += &next;
    }
    text + after
}

/// Alternatives of a simulcast description times rids: the product of two lists, where none of the one is in the other. A
/// line has at most 4,096 bytes.
fn simulcast(offer: &str) -> String {
    let extension = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    let head = format!("{extension}\r\na=simulcast:send {}\r\n", ["z"; 2030].join(";"));
    filled(offer, &head, |index| format!("a=rid:{:x} r\r\n", index % 16))
}

/// Every list that an offer may have, as long as it gets.
fn worst(ctx: &Ctx) -> Result<Vec<String>> {
    Ok(shapes(&plain(ctx)?))
}

fn shapes(offer: &str) -> Vec<String> {
    let formats: String = (0..1000).fold(String::new(), |mut text, index| {
        let _ = write!(text, " {}", index % 128);
        text
    });
    vec![
        simulcast(offer),
        filled(offer, "", |index| format!("a=rtpmap:{} VP8/90000\r\n", index % 128)),
        filled(offer, "", |index| format!("a=rtcp-fb:* nack x{index}\r\n")),
        filled(offer, "", |index| {
            format!("a=extmap:{} urn:x:{index}\r\n", index % 256 + 1)
        }),
        filled(offer, "", |index| {
            format!("a=ssrc:{index} cname:a\r\na=ssrc-group:FID {index} {}\r\n", index + 1)
        }),
        filled(offer, "", |index| {
            format!("a=candidate:{index} 1 udp 1 10.0.0.1 9 typ host\r\n")
        }),
        filled(offer, "", |index| {
            format!("a=fmtp:{} apt={}\r\n", index % 128, (index + 1) % 128)
        }),
        filled(&offer.replace(" 96 97", &formats), "", |index| {
            format!("a=x{index:x}\r\n")
        }),
        filled(offer, "a=mid:first\r\n", |index| match index % 200 {
            199 => format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:m{index}\r\na=rtpmap:96 VP8/90000\r\n"),
            _ => format!("a=ssrc:{index} c:\r\n"),
        }),
    ]
}

/// A token for a meeting of the attacker's own.
async fn own_token(ctx: &Ctx, index: usize) -> Result<(crate::client::Server, String, String)> {
    let server = ctx.server(index)?;
    let meeting = ctx.own_meeting(&server).await?;
    let request = tianqiao_protocol::rest::CreateToken {
        name: "M".to_owned(),
        passcode: None,
    };
    let token = server.join_token(&meeting.id, &request).await?;
    Ok((server, meeting.id, token))
}

pub async fn join(ctx: Ctx) -> Result<()> {
    let offers = worst(&ctx)?;
    ctx.swarm(ATTACKERS, |ctx, index| {
        let offers = &offers;
        async move {
            let (server, _, token) = own_token(&ctx, index).await?;
            let message = |offer: &String| -> Result<Bytes> {
                let join = ClientMessage::Join(Join {
                    token: token.clone(),
                    sdp: offer.clone(),
                    tracks: vec![],
                    slots: vec![],
                });
                Ok(frame::deflate(&serde_json::to_string(&join)?).into())
            };
            // The first of them is the worst; each sends one other as well.
            let messages = [message(&offers[0])?, message(&offers[index % offers.len()])?];
            for message in messages.iter().cycle() {
                let mut websocket = WebSocket::connect(&server).await?;
                websocket.send_raw(Message::Binary(message.clone())).await?;
                ctx.count("offers", 1);
                if ctx.is_over() {
                    return Ok(());
                }
            }
            Ok(())
        }
    })
    .await;
    Ok(())
}

pub async fn whip(ctx: Ctx) -> Result<()> {
    let offers = worst(&ctx)?;
    ctx.swarm(ATTACKERS, |ctx, index| {
        let offers = &offers;
        async move {
            let (_, meeting, token) = own_token(&ctx, index).await?;
            let headers = format!("content-type: application/sdp\r\nauthorization: Bearer {token}\r\n");
            for turn in 0.. {
                let path = format!("/{}/{meeting}", ["whip", "whep"][turn % 2]);
                let offer = &offers[turn % offers.len()];
                let mut connection = Connection::open(&ctx, index).await?;
                let post = request(&ctx, "POST", &path, &headers, offer);
                // Every other one waits for its answer.
                if turn % 4 < 2 {
                    connection.send(&post).await?;
                    ctx.count("offers", 1);
                } else {
                    tally(&ctx, &connection.ask(&post).await?);
                }
                if ctx.is_over() {
                    break;
                }
            }
            Ok(())
        }
    })
    .await;
    Ok(())
}

pub async fn again(ctx: Ctx) -> Result<()> {
    let offers = worst(&ctx)?;
    ctx.swarm(ATTACKERS, |ctx, index| {
        let offers = &offers;
        async move {
            let (server, _, token) = own_token(&ctx, index).await?;
            let mut participant = ctx
                .join(&server, &token, listener(), Box::new(crate::client::NoSink))
                .await?;
            for offer in offers.iter().cycle() {
                ctx.count("offers", 1);
                match participant.offer_raw(offer.clone()).await {
                    Ok(_) => ctx.count("answered", 1),
                    Err(error) if error.to_string().contains("refused") => ctx.count("refused", 1),
                    Err(error) => return Err(error),
                }
                if ctx.is_over() {
                    break;
                }
            }
            participant.leave().await;
            Ok(())
        }
    })
    .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{LeanPeer, Peer};

    /// What is refused for its form at once costs nothing.
    #[test]
    fn the_worst_offers_have_the_form_of_good_ones() {
        let config = PeerConfig {
            camera: true,
            ..listener()
        };
        let offer = LeanPeer::new(&config).unwrap().offer(Instant::now()).unwrap();
        for shape in shapes(&offer) {
            assert!(shape.len() <= SIZE && shape.len() > SIZE / 2 && shape.lines().count() < 10_000);
            assert!(shape.lines().all(|line| line.len() < 4096));
        }
    }
}

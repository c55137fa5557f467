//! A participant's WebSocket, from the first message to the close frame.

pub mod budget;
pub mod frame;
pub mod outbox;
mod requests;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{WebSocket, close_code};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::AudioPolicy;
use tianqiao_protocol::ws::{
    ClientMessage, EndReason, Join, Joined, MeetingSummary, Resume, Resumed, RoomState, ServerMessage,
};
use tracing::Instrument;

use crate::app::App;
use crate::auth::TokenType;
use crate::listen::Connection;
use crate::meeting::Kind;
use crate::meetings::{Attachment, MeetingEntry, Offered, now};
use crate::network::Network;
use crate::refusal::Refusal;
use wire::{CLOSE_SLOW, Incoming, Wire};

/// When somebody may try again whom the server had no WebSocket for.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// `connection` is what carries the WebSocket.
pub async fn run(app: Arc<App>, socket: WebSocket, ip: IpAddr, connection: Arc<Connection>) {
    let mut wire = Wire::new(socket, app.clone(), ip);
    let mut shutdown = app.shutdown.clone();
    let first = tokio::select! {
        first = tokio::time::timeout(app.config.join_timeout, first_message(&mut wire)) => Some(first),
        _ = shutdown.wait_for(|stop| *stop) => None,
    };
    let Some(first) = first else {
        let reason = EndReason::ServerShutdown;
        wire.send(&ServerMessage::Ended { reason }).await;
        return wire.close(close_code::AWAY).await;
    };
    let opened = match first {
        Ok(Incoming::Message(ClientMessage::Join(message))) => join(&app, &mut wire, message).await,
        Ok(Incoming::Message(ClientMessage::Resume(message))) => resume(&app, &mut wire, message).await,
        Ok(Incoming::Message(_)) => Err(Refusal::new(
            ErrorCode::NotJoined,
            "the first message must join or resume",
        )),
        Ok(Incoming::Refused(refusal)) => Err(refusal),
        Ok(Incoming::Fatal(refusal, code)) => {
            wire.refuse(refusal, None).await;
            return wire.close(code).await;
        }
        Ok(Incoming::Alive | Incoming::Closed) => return,
        Err(_) => Err(Refusal::new(ErrorCode::NotJoined, "no message came in time")),
    };
    match opened {
        Ok(attachment) => {
            connection.on_joined(now());
            let span = tracing::info_span!("session", room = attachment.live.id, session = attachment.participant);
            serve(&app, wire, attachment).instrument(span).await;
        }
        Err(refusal) => {
            tracing::info!(%ip, code = ?refusal.code, "a WebSocket was refused");
            wire.refuse(refusal, None).await;
            wire.close(close_code::POLICY).await;
        }
    }
}

async fn first_message(wire: &mut Wire) -> Incoming {
    loop {
        match wire.recv().await {
            Incoming::Alive => {}
            other => return other,
        }
    }
}

async fn join(app: &App, wire: &mut Wire, message: Join) -> Result<Attachment, Refusal> {
    app.gates.join(wire.ip)?;
    let claims = app.tokens.verify(&message.token, TokenType::Join)?;
    let live = app.meetings.find(&claims.meeting)?;
    let reserve = app.config.max_websockets as usize * app.config.reserve_percent as usize / 100;
    if app.websockets.available_permits() < reserve && !live.knows(&claims.sub) {
        let refusal = "the rest is for those who come back";
        return Err(Refusal::busy(ErrorCode::Unavailable, refusal, FULL_RETRY));
    }
    wire.set_budget(app.budgets.of(&claims.sub, now()));
    let offered = Offered {
        sdp: message.sdp,
        tracks: message.tracks,
        slots: message.slots,
    };
    offered.check(&app.config)?;
    let entry = MeetingEntry {
        claims,
        kind: Kind::Web,
        offered,
        audio: AudioPolicy::Loudest,
        origin: app.origins.of(wire.ip),
        network: Network::host(wire.ip),
    };
    let entered = wire.unless_gone(live.enter(entry)).await;
    let entered = entered.unwrap_or_else(|| Err(Refusal::new(ErrorCode::NotJoined, "the WebSocket was lost")))?;
    let joined = Joined {
        session: format!("{}.{}", entered.participant, entered.secret),
        participant: entered.participant,
        sdp: entered.sdp,
        meeting: MeetingSummary {
            id: live.id.clone(),
            code: live.code.clone(),
            title: live.title.clone(),
        },
        state: entered.state,
    };
    tracing::info!(room = live.id, session = joined.participant, "joined");
    wire.send(&ServerMessage::Joined(Box::new(joined))).await;
    Ok(entered.attachment.expect("a web session has a WebSocket"))
}

async fn resume(app: &App, wire: &mut Wire, message: Resume) -> Result<Attachment, Refusal> {
    let resumed = try_resume(app, &message.session);
    if resumed.is_err() {
        // The right secret is worth more than an address.
        app.gates.join(wire.ip)?;
    }
    let (state, attachment) = resumed?;
    let (live, participant) = (attachment.live.clone(), attachment.participant.clone());
    if let Some(identity) = live.identity(&participant) {
        wire.set_budget(app.budgets.of(&identity, now()));
    }
    tracing::info!(room = live.id, session = participant, "resumed");
    wire.send(&ServerMessage::Resumed(Box::new(Resumed { state }))).await;
    Ok(attachment)
}

fn try_resume(app: &App, session: &str) -> Result<(RoomState, Attachment), Refusal> {
    let (participant, secret) = session.split_once('.').ok_or_else(Refusal::session_unknown)?;
    let live = app.meetings.find_session(participant);
    live.ok_or_else(Refusal::session_unknown)?.resume(participant, secret)
}

/// Both directions of a joined session.
async fn serve(app: &Arc<App>, mut wire: Wire, mut attachment: Attachment) {
    let mut pings = tokio::time::interval(app.config.ping_interval);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let cut = attachment.inbox.on_cut();
    tokio::pin!(cut);
    let code = loop {
        // A blocked send must not outlive the cut of a slow WebSocket, so it races with it too.
        let alive = tokio::select! {
            () = &mut cut => break CLOSE_SLOW,
            frame = attachment.inbox.recv() => match frame {
                None => break close_code::NORMAL,
                Some(frame) => tokio::select! {
                    alive = wire.send_frame(&frame) => alive,
                    () = &mut cut => break CLOSE_SLOW,
                },
            },
            incoming = wire.recv() => match incoming {
                Incoming::Message(message) => requests::handle(app, &mut wire, &attachment, message).await,
                Incoming::Refused(refusal) => wire.refuse(refusal, None).await,
                Incoming::Fatal(refusal, code) => {
                    wire.refuse(refusal, None).await;
                    break code;
                }
                Incoming::Alive => true,
                Incoming::Closed => false,
            },
            _ = pings.tick() => {
                let silence = now().saturating_duration_since(wire.heard_at);
                silence < app.config.dead_after && wire.ping().await
            }
        };
        if !alive {
            tracing::info!("the WebSocket is lost");
            return;
        }
    };
    // The session is free to be resumed while the close frames are exchanged.
    drop(attachment);
    let stopping = *app.shutdown.borrow();
    wire.close(if stopping { close_code::AWAY } else { code }).await;
}

//! A participant's WebSocket, from the first message to the close frame.

pub mod budget;
pub mod frame;
mod joining;
mod key;
pub mod outbox;
mod requests;
pub mod wire;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::ws::{WebSocket, close_code};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::ws::{ClientMessage, EndReason, Join, Resume, Resumed, RoomState, ServerMessage};
use tracing::Instrument;

use crate::app::App;
use crate::fleet::{self, CLOSE_NOT_OWNER, Route};
use crate::listen::Carried;
use crate::meetings::{Attachment, now};
use crate::refusal::Refusal;
pub use joining::Joiner;
pub use key::SessionKey;
use wire::{CLOSE_SLOW, Incoming, Wire};

/// `from_member`: another instance passes it on.
pub async fn run(app: Arc<App>, socket: WebSocket, ip: IpAddr, carried: Carried, from_member: bool) {
    let mut wire = Wire::new(socket, app.clone(), ip, carried);
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
    if let Ok(Incoming::Message(message)) = &first {
        wire = match fleet::route_socket(&app, wire, message, from_member).await {
            Route::Here(wire) => wire,
            Route::Piped => return,
            Route::NotOwner(wire) => return wire.close(CLOSE_NOT_OWNER).await,
            Route::Refused(mut wire, refusal) => {
                wire.refuse(refusal, None).await;
                return wire.close(close_code::AGAIN).await;
            }
        };
    }
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
            wire.on_joined();
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
    let joiner = Joiner::admit(app, wire.ip, &message.token)?;
    wire.set_budget(app.budgets.of(&joiner.claims.sub, now()));
    let entered = wire.unless_gone(joiner.enter(app, message, true)).await;
    let entered = entered.unwrap_or_else(|| Err(Refusal::new(ErrorCode::NotJoined, "the WebSocket was lost")));
    let (joined, attachment) = entered?;
    wire.send(&ServerMessage::Joined(Box::new(joined))).await;
    Ok(attachment.expect("a session that came by WebSocket has one"))
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
    let key = SessionKey::parse(session).ok_or_else(Refusal::session_unknown)?;
    let live = app.meetings.find_session(key.participant);
    live.ok_or_else(Refusal::session_unknown)?
        .resume(key.participant, key.secret)
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
                wire.silence() < app.config.dead_after && wire.ping().await
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

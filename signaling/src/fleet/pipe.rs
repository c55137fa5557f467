//! WebSockets of meetings that other instances own: the client's ends here, and its frames go on to the owner's and back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, close_code};
use futures_util::{SinkExt, StreamExt};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::ws::{ClientMessage, SUBPROTOCOL};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue as UpstreamValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::Fleet;
use super::internal::{CLIENT_HEADER, SECRET_HEADER};
use super::locate::{Peer, Place};
use super::pass_on::{ANSWER_TIMEOUT, PATIENCE, PAUSE, RETRY};
use crate::app::App;
use crate::auth::TokenType;
use crate::refusal::Refusal;
use crate::session::SessionKey;
use crate::session::wire::Wire;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Of what the owner sends; it is within limits of its own.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

type Upstream = WebSocketStream<TcpStream>;

/// Where a WebSocket's session is.
pub enum Route {
    /// Here, or nowhere.
    Here(Wire),
    /// It was elsewhere, and is over.
    Piped,
    /// The instance that passed it on to us is to look anew.
    NotOwner(Wire),
    Refused(Wire, Refusal),
}

/// Pipes a WebSocket to the owner of the meeting that its first message names, until it ends.
pub async fn route_socket(app: &Arc<App>, wire: Wire, first: &ClientMessage, from_member: bool) -> Route {
    let Some(fleet) = &app.fleet else {
        return Route::Here(wire);
    };
    let Some(meeting) = meeting_of(app, first) else {
        return Route::Here(wire);
    };
    if from_member {
        return match fleet.locate(&meeting).await {
            Ok(Place::Here | Place::Nowhere) => Route::Here(wire),
            Ok(Place::There(_)) => Route::NotOwner(wire),
            Err(refusal) => Route::Refused(wire, refusal),
        };
    }
    let Some(frame) = wire.first_frame() else {
        return Route::Here(wire);
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let peer = match fleet.locate(&meeting).await {
            Ok(Place::Here | Place::Nowhere) => return Route::Here(wire),
            Ok(Place::There(peer)) => peer,
            Err(refusal) => return Route::Refused(wire, refusal),
        };
        if let Some((upstream, answer)) = fleet.open(&peer, &meeting, wire.ip, frame.clone()).await {
            pipe(app, wire, upstream, answer).await;
            return Route::Piped;
        }
        if Instant::now() >= until {
            let refusal = "the server of the meeting cannot be reached now";
            return Route::Refused(wire, Refusal::busy(ErrorCode::Unavailable, refusal, RETRY));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn meeting_of(app: &App, first: &ClientMessage) -> Option<String> {
    match first {
        ClientMessage::Join(join) => Some(app.tokens.verify(&join.token, TokenType::Join).ok()?.meeting),
        ClientMessage::Resume(resume) => Some(SessionKey::parse(&resume.session)?.meeting?.to_owned()),
        _ => None,
    }
}

impl Fleet {
    /// The owner's WebSocket with its answer to the first message; `None`: it owns the meeting no longer, or cannot be
    /// reached.
    async fn open(
        &self,
        peer: &Peer,
        meeting: &str,
        ip: IpAddr,
        first: Message,
    ) -> Option<(Upstream, tungstenite::Message)> {
        let count = |result: &str| self.metrics.proxied.with_label_values(&["websocket", result]).inc();
        let Ok(Some(mut upstream)) = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(peer, ip)).await else {
            count("unreachable");
            self.on_unreachable(peer, meeting);
            return None;
        };
        let asked = async {
            upstream.send(to_upstream(first)?).await.ok()?;
            loop {
                match upstream.next().await {
                    Some(Ok(message @ (tungstenite::Message::Text(_) | tungstenite::Message::Binary(_)))) => {
                        return Some(message);
                    }
                    Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        };
        let Ok(Some(answer)) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await else {
            count("moved");
            self.forget_owner(meeting);
            return None;
        };
        count("passed");
        Some((upstream, answer))
    }

    async fn connect(&self, peer: &Peer, ip: IpAddr) -> Option<Upstream> {
        let address = peer.url.strip_prefix("http://")?;
        let mut request = format!("ws://{address}/api/v1/ws").into_client_request().ok()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", UpstreamValue::from_static(SUBPROTOCOL));
        headers.insert(SECRET_HEADER, self.secret()?);
        headers.insert(CLIENT_HEADER, UpstreamValue::from_str(&ip.to_string()).ok()?);
        let socket = TcpStream::connect(address).await.ok()?;
        let _ = socket.set_nodelay(true);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let (upstream, _) = tokio_tungstenite::client_async_with_config(request, socket, Some(config))
            .await
            .ok()?;
        Some(upstream)
    }
}

/// Both directions, until one of the ends is gone. A frame waits until the one before was taken, so that who is slow slows
/// the other down and nothing piles up here. Each side is asked for signs of life by the side that it talks to.
async fn pipe(app: &App, mut wire: Wire, mut upstream: Upstream, answer: tungstenite::Message) {
    if is_welcome(&answer) {
        wire.on_joined();
    }
    let Some(answer) = to_client(answer) else {
        return;
    };
    if !wire.pass(answer).await {
        return;
    }
    let mut pings = tokio::time::interval(app.config.ping_interval);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shutdown = app.shutdown.clone();
    let stopped = async move { drop(shutdown.wait_for(|stop| *stop).await) };
    tokio::pin!(stopped);
    let code = loop {
        tokio::select! {
            frame = upstream.next() => match frame {
                Some(Ok(tungstenite::Message::Close(close))) => {
                    break close.map_or(close_code::RESTART, |close| close.code.into());
                }
                // The owner is gone: the client comes again, and finds the next one.
                Some(Err(_)) | None => break close_code::RESTART,
                Some(Ok(message)) => {
                    if let Some(message) = to_client(message)
                        && !wire.pass(message).await
                    {
                        break close_code::AWAY;
                    }
                }
            },
            frame = wire.recv_frame() => match frame {
                None => break close_code::AWAY,
                Some(message) => {
                    if let Some(message) = to_upstream(message)
                        && upstream.send(message).await.is_err()
                    {
                        break close_code::RESTART;
                    }
                }
            },
            _ = pings.tick() => {
                if wire.silence() >= app.config.dead_after || !wire.ping().await {
                    break close_code::AWAY;
                }
            }
            () = &mut stopped => break close_code::AWAY,
        }
    };
    let _ = upstream.close(None).await;
    wire.close(code).await;
}

/// Errors are short and so never deflated.
fn is_welcome(answer: &tungstenite::Message) -> bool {
    match answer {
        tungstenite::Message::Text(text) => !text.starts_with(r#"{"type":"error""#),
        _ => true,
    }
}

/// Pings are for the next hop only.
fn to_upstream(message: Message) -> Option<tungstenite::Message> {
    match message {
        Message::Text(text) => Some(tungstenite::Message::text(text.as_str())),
        Message::Binary(data) => Some(tungstenite::Message::Binary(data)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
    }
}

fn to_client(message: tungstenite::Message) -> Option<Message> {
    match message {
        tungstenite::Message::Text(text) => Some(Message::text(text.as_str())),
        tungstenite::Message::Binary(data) => Some(Message::Binary(data)),
        _ => None,
    }
}

//! One WebSocket: frames to messages and back, within the limits of size and rate.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::StreamExt;
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::frame::{InflateError, inflate};
use tianqiao_protocol::ws::{ClientMessage, ServerMessage};
use tungstenite::error::CapacityError;

use super::budget::Budget;
use super::frame::{Frame, client_label};
use crate::app::App;
use crate::listen::Carried;
use crate::meetings::now;
use crate::refusal::Refusal;

/// While a send waits, the peer's progress is looked at this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Messages over the rate, in a row, after which the WebSocket is closed.
const MAX_EXCESS: u32 = 200;

/// What is kept of a peer that goes on before it was answered; then it is not read.
const MAX_EARLY: usize = 16;
const MAX_EARLY_BYTES: usize = 64 * 1024;

/// Private-use close codes (RFC 6455, section 7.4.2).
pub const CLOSE_SLOW: u16 = 4000;

/// What came in.
pub enum Incoming {
    Message(ClientMessage),
    /// Answer with an error and go on.
    Refused(Refusal),
    /// Answer with an error and close.
    Fatal(Refusal, u16),
    /// A pong or the like: the peer lives.
    Alive,
    Closed,
}

pub struct Wire {
    socket: WebSocket,
    app: Arc<App>,
    pub ip: IpAddr,
    budget: Arc<Budget>,
    excess: u32,
    /// The client has sent a binary frame.
    compress: bool,
    life: Life,
    /// Frames that came before somebody asked for them.
    early: VecDeque<Message>,
    /// The latest frame with a message, until it has joined.
    first: Option<Message>,
    has_joined: bool,
}

impl Wire {
    pub fn new(socket: WebSocket, app: Arc<App>, ip: IpAddr, carried: Carried) -> Self {
        app.metrics.websockets.inc();
        Self {
            socket,
            ip,
            budget: Arc::new(app.budgets.unknown(now())),
            excess: 0,
            compress: false,
            life: Life::new(carried),
            early: VecDeque::new(),
            first: None,
            has_joined: false,
            app,
        }
    }

    /// From now on what comes in is charged to that budget.
    pub fn set_budget(&mut self, budget: Arc<Budget>) {
        self.budget = budget;
    }

    pub fn on_joined(&mut self) {
        self.has_joined = true;
        self.first = None;
        self.life.carried.on_joined(now());
    }

    /// The frame of the message that came last, before it has joined.
    pub fn first_frame(&self) -> Option<Message> {
        self.first.clone()
    }

    /// The next frame as it is, for whoever else understands it; `None`: the peer is gone. Cancel-safe.
    pub async fn recv_frame(&mut self) -> Option<Message> {
        let frame = match self.early.pop_front() {
            Some(frame) => frame,
            None => self.socket.next().await?.ok()?,
        };
        self.life.heard_at = now();
        self.count_in(frame_len(&frame));
        match frame {
            Message::Close(_) => None,
            frame => Some(frame),
        }
    }

    /// Sends a frame of somebody else; false where the WebSocket is lost.
    pub async fn pass(&mut self, frame: Message) -> bool {
        let bytes = frame_len(&frame) as u64;
        self.app.metrics.ws_bytes.with_label_values(&["out"]).inc_by(bytes);
        self.send_raw(frame).await
    }

    /// See [`Life::silence`].
    pub fn silence(&mut self) -> Duration {
        self.life.silence()
    }

    /// Cancel-safe.
    pub async fn recv(&mut self) -> Incoming {
        let frame = match self.early.pop_front() {
            Some(frame) => Some(Ok(frame)),
            None => self.socket.next().await,
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) if is_too_long(&error) => return self.too_large(),
            Some(Err(_)) | None => return Incoming::Closed,
        };
        self.life.heard_at = now();
        if !self.has_joined && matches!(frame, Message::Text(_) | Message::Binary(_)) {
            self.first = Some(frame.clone());
        }
        let text = match frame {
            Message::Text(text) => {
                self.count_in(text.len());
                if let Err(over) = self.take(text.len()) {
                    return over;
                }
                text.as_str().to_owned()
            }
            Message::Binary(data) => {
                self.count_in(data.len());
                self.compress = true;
                // Asked before a byte is inflated; what it grows to is charged after.
                if let Err(over) = self.take(data.len()) {
                    return over;
                }
                let inflated = inflate(&data, self.app.config.max_message_size.0);
                let size = inflated
                    .as_ref()
                    .map_or(self.app.config.max_message_size.0, String::len);
                self.budget.charge(now(), size.saturating_sub(data.len()));
                match inflated {
                    Ok(text) => text,
                    Err(InflateError::TooLarge { .. }) => return self.too_large(),
                    Err(InflateError::Malformed) => return Incoming::Refused(bad_message("not deflated text")),
                }
            }
            Message::Ping(data) | Message::Pong(data) => {
                return self.take(data.len()).map_or_else(|over| over, |()| Incoming::Alive);
            }
            Message::Close(_) => return Incoming::Closed,
        };
        if text.len() > self.app.config.max_message_size.0 {
            return self.too_large();
        }
        self.parse(&text)
    }

    fn parse(&self, text: &str) -> Incoming {
        let messages = &self.app.metrics.ws_messages;
        match serde_json::from_str::<ClientMessage>(text) {
            Ok(message) => {
                messages.with_label_values(&["in", client_label(&message)]).inc();
                Incoming::Message(message)
            }
            Err(error) => {
                messages.with_label_values(&["in", "malformed"]).inc();
                // The parser's words tell the place, never the content.
                let place = format!("not a message: line {}, column {}", error.line(), error.column());
                Incoming::Refused(Refusal::new(ErrorCode::BadMessage, place))
            }
        }
    }

    /// What `work` comes to; `None`: the peer has gone away before, and `work` with it. What the peer sends meanwhile
    /// is kept for [`Self::recv`].
    pub async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut kept = 0;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                frame = self.socket.next(), if kept < MAX_EARLY_BYTES => match frame {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return None,
                    Some(Ok(frame)) => {
                        kept += frame_len(&frame) + MAX_EARLY_BYTES / MAX_EARLY;
                        self.early.push_back(frame);
                    }
                },
            }
        }
    }

    /// Takes a frame of that size from the budget, or says what comes of one too many.
    fn take(&mut self, bytes: usize) -> Result<(), Incoming> {
        let Err(wait) = self.budget.take(now(), bytes) else {
            self.excess = 0;
            return Ok(());
        };
        self.excess += 1;
        let refusal = Refusal::rate_limited("too many messages, or too long ones", wait);
        Err(match self.excess {
            1 => Incoming::Refused(refusal),
            excess if excess < MAX_EXCESS => Incoming::Alive,
            _ => Incoming::Fatal(refusal, close_code::POLICY),
        })
    }

    fn too_large(&self) -> Incoming {
        let refusal = Refusal::new(ErrorCode::TooLarge, "the message is too large");
        Incoming::Fatal(refusal, close_code::SIZE)
    }

    pub async fn send(&mut self, message: &ServerMessage) -> bool {
        self.send_frame(&Frame::new(message)).await
    }

    /// Sends what the client asked for at its own cost.
    pub async fn send_charged(&mut self, message: &ServerMessage) -> bool {
        let frame = Frame::new(message);
        self.budget.charge(now(), frame.len());
        self.send_frame(&frame).await
    }

    /// False where the WebSocket is lost.
    pub async fn send_frame(&mut self, frame: &Frame) -> bool {
        let message = frame.to_message(self.compress);
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(data) => data.len(),
            _ => 0,
        };
        self.app
            .metrics
            .ws_messages
            .with_label_values(&["out", frame.label])
            .inc();
        self.app
            .metrics
            .ws_bytes
            .with_label_values(&["out"])
            .inc_by(bytes as u64);
        self.send_raw(message).await
    }

    pub async fn refuse(&mut self, refusal: Refusal, offer: Option<u32>) -> bool {
        self.app.metrics.on_refused(refusal.code);
        tracing::debug!(code = ?refusal.code, message = %refusal.message, "refused");
        self.send(&ServerMessage::Error(refusal.into_ws(offer))).await
    }

    pub async fn ping(&mut self) -> bool {
        self.send_raw(Message::Ping(Default::default())).await
    }

    /// Sends the close frame and waits for the peer's, for a short time.
    pub async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code,
            reason: Default::default(),
        };
        if !self.send_raw(Message::Close(Some(frame))).await {
            return;
        }
        let drain = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
    }

    async fn send_raw(&mut self, message: Message) -> bool {
        let dead_after = self.app.config.dead_after;
        let send = self.socket.send(message);
        tokio::pin!(send);
        let mut looks = tokio::time::interval(PROGRESS_INTERVAL.min(dead_after));
        loop {
            tokio::select! {
                biased;
                sent = &mut send => return sent.is_ok(),
                _ = looks.tick() => {}
            }
            if self.life.silence() >= dead_after {
                return false;
            }
        }
    }

    fn count_in(&self, bytes: usize) {
        self.app
            .metrics
            .ws_bytes
            .with_label_values(&["in"])
            .inc_by(bytes as u64);
    }
}

/// When the peer was last known to live.
struct Life {
    carried: Carried,
    heard_at: Instant,
    progress: u64,
}

impl Life {
    fn new(carried: Carried) -> Self {
        Self {
            heard_at: now(),
            progress: carried.progress(),
            carried,
        }
    }

    /// For how long nothing has shown that the peer lives. Over a slow link a pong may wait behind a large message for longer
    /// than it may be late, so the bytes that the peer takes count as well.
    fn silence(&mut self) -> Duration {
        let progress = self.carried.progress();
        if std::mem::replace(&mut self.progress, progress) != progress {
            self.heard_at = now();
        }
        now().saturating_duration_since(self.heard_at)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.app.metrics.websockets.dec();
    }
}

fn frame_len(frame: &Message) -> usize {
    match frame {
        Message::Text(text) => text.len(),
        Message::Binary(data) | Message::Ping(data) | Message::Pong(data) => data.len(),
        Message::Close(_) => 0,
    }
}

fn bad_message(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadMessage, message)
}

fn is_too_long(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    let error = source.and_then(|source| source.downcast_ref::<tungstenite::Error>());
    matches!(
        error,
        Some(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }))
    )
}

//! A message as it goes over WebSockets: encoded once, and deflated at most once, however many get it.

use std::sync::OnceLock;

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use tianqiao_protocol::frame;
use tianqiao_protocol::ws::{ClientMessage, ServerMessage};

/// Shorter messages would hardly get smaller.
const MIN_DEFLATED: usize = 200;

pub struct Frame {
    pub label: &'static str,
    text: Utf8Bytes,
    deflated: OnceLock<Bytes>,
}

impl Frame {
    pub fn new(message: &ServerMessage) -> Self {
        let text = serde_json::to_string(message).expect("wire types are plain values");
        Self {
            label: server_label(message),
            text: text.into(),
            deflated: OnceLock::new(),
        }
    }

    /// Bytes before compression.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// What a client can ask for later.
    pub fn is_chat(&self) -> bool {
        self.label == "chat"
    }

    /// Binary frames go only to clients that have sent one.
    pub fn to_message(&self, compress: bool) -> Message {
        if !compress || self.text.len() < MIN_DEFLATED {
            return Message::Text(self.text.clone());
        }
        let deflated = self.deflated.get_or_init(|| frame::deflate(&self.text).into());
        Message::Binary(deflated.clone())
    }
}

pub fn client_label(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::Join(_) => "join",
        ClientMessage::Resume(_) => "resume",
        ClientMessage::Offer(_) => "offer",
        ClientMessage::Viewport { .. } => "viewport",
        ClientMessage::Mute { .. } => "mute",
        ClientMessage::Chat { .. } => "chat",
        ClientMessage::History { .. } => "history",
        ClientMessage::Ping { .. } => "ping",
        ClientMessage::Moved { .. } => "moved",
        ClientMessage::Leave => "leave",
    }
}

fn server_label(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::Joined(_) => "joined",
        ServerMessage::Resumed(_) => "resumed",
        ServerMessage::Answer(_) => "answer",
        ServerMessage::Roster { .. } => "roster",
        ServerMessage::Tracks { .. } => "tracks",
        ServerMessage::Slots { .. } => "slots",
        ServerMessage::SlotsPaused { .. } => "slots_paused",
        ServerMessage::CodecUnsupported(_) => "codec_unsupported",
        ServerMessage::Wanted { .. } => "wanted",
        ServerMessage::Speakers(_) => "speakers",
        ServerMessage::Quality { .. } => "quality",
        ServerMessage::StillWanted { .. } => "still_wanted",
        ServerMessage::Still(_) => "still",
        ServerMessage::Chat(_) => "chat",
        ServerMessage::History { .. } => "history",
        ServerMessage::ChatLost => "chat_lost",
        ServerMessage::Pong { .. } => "pong",
        ServerMessage::Error(_) => "error",
        ServerMessage::Move { .. } => "move",
        ServerMessage::Ended { .. } => "ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_messages_to_willing_clients_are_deflated() {
        let short = Frame::new(&ServerMessage::Pong { t: 7 });
        let long = ServerMessage::Roster {
            joined: vec![],
            left: vec!["participant".into(); 30],
        };
        let long = Frame::new(&long);
        assert!(matches!(short.to_message(true), Message::Text(text) if text.as_str() == r#"{"type":"pong","t":7}"#));
        assert!(matches!(long.to_message(false), Message::Text(_)));
        let Message::Binary(deflated) = long.to_message(true) else {
            panic!("not deflated");
        };
        assert_eq!(frame::inflate(&deflated, 10_000).as_deref(), Ok(long.text.as_str()));
    }
}

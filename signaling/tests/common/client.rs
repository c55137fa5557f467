//! A WebSocket client that speaks plain JSON values.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tianqiao_protocol::frame;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PATIENCE: Duration = Duration::from_secs(10);

pub struct WsClient {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Binary frames that came.
    pub deflated: usize,
}

impl WsClient {
    pub async fn connect(url: &str) -> Self {
        let url = format!("{}/api/v1/ws", url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a request");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "tianqiao.v1".parse().expect("a header"));
        let (socket, response) = tokio_tungstenite::connect_async(request).await.expect("a WebSocket");
        assert_eq!(response.headers()["sec-websocket-protocol"], "tianqiao.v1");
        Self { socket, deflated: 0 }
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("it is sent");
    }

    /// False once the server has closed.
    pub async fn try_send(&mut self, message: Value) -> bool {
        self.socket.send(Message::text(message.to_string())).await.is_ok()
    }

    pub async fn send_binary(&mut self, data: Vec<u8>) {
        self.socket.send(Message::binary(data)).await.expect("it is sent");
    }

    pub async fn send_deflated(&mut self, message: Value) {
        self.send_binary(frame::deflate(&message.to_string())).await;
    }

    /// The answer to a join with two tracks and a slot.
    pub async fn join(&mut self, token: &str) -> Value {
        self.send(join(token, "offer")).await;
        self.recv().await
    }

    /// The next message; pings are answered in passing.
    pub async fn recv(&mut self) -> Value {
        match self.recv_or_close().await {
            Ok(message) => message,
            Err(code) => panic!("closed with {code:?}"),
        }
    }

    /// The next message of that type; others before it are passed over.
    pub async fn recv_type(&mut self, wanted: &str) -> Value {
        loop {
            let message = self.recv().await;
            if message["type"] == wanted {
                return message;
            }
        }
    }

    /// The code with which the server closes; messages before it are passed over.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.recv_or_close().await {
                return code;
            }
        }
    }

    pub async fn recv_or_close(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .expect("something comes");
            let text = match frame {
                Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
                Some(Ok(Message::Binary(data))) => {
                    self.deflated += 1;
                    frame::inflate(&data, 1 << 20).expect("deflated text")
                }
                Some(Ok(Message::Close(close))) => return Err(close.map(|close| close.code.into())),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Err(None),
            };
            return Ok(serde_json::from_str(&text).expect("JSON"));
        }
    }
}

pub fn join(token: &str, sdp: &str) -> Value {
    json!({
        "type": "join", "token": token, "sdp": sdp,
        "tracks": [{ "mid": "0", "source": "microphone" }, { "mid": "1", "source": "camera", "muted": true }],
        "slots": [{ "mid": "2", "show": "active_speaker", "height": 360 }],
    })
}

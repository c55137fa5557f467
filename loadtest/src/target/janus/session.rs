//! A session with Janus: one WebSocket, the requests under way on it and the state of its peer
//! connections.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::message::{Incoming, JanusError, Jsep, Reply};

/// Janus drops sessions that are silent for 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// How far the peer connection of a handle is, as Janus sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum HandleState {
    #[default]
    New,
    Up,
    HungUp(String),
}

type Handles = watch::Sender<HashMap<u64, HandleState>>;
type Answered = oneshot::Sender<Result<Reply, JanusError>>;

struct Request {
    body: Value,
    /// `ack` is the whole reply.
    until_ack: bool,
    answered: Answered,
}

/// Dropping it closes the WebSocket, and with it Janus ends the session.
pub struct Session {
    id: u64,
    requests: mpsc::UnboundedSender<Request>,
    handles: watch::Receiver<HashMap<u64, HandleState>>,
    task: JoinHandle<()>,
}

impl Session {
    /// `url`: `ws://…`.
    pub async fn connect(url: &str) -> Result<Self> {
        let mut request = url
            .into_client_request()
            .with_context(|| format!("{url} is no URL of a WebSocket"))?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("janus-protocol"));
        let (stream, _) = connect_async(request)
            .await
            .with_context(|| format!("Janus' WebSocket at {url} does not open"))?;
        let (requests, receiver) = mpsc::unbounded_channel();
        let (sender, handles) = watch::channel(HashMap::new());
        let task = tokio::spawn(async move {
            if let Err(error) = run(stream, receiver, sender).await {
                tracing::warn!(%error, "Janus' WebSocket");
            }
        });
        let mut session = Self {
            id: 0,
            requests,
            handles,
            task,
        };
        let created = session.request(json!({"janus": "create"}), false).await?;
        session.id = created.created.context("Janus names no session")?;
        Ok(session)
    }

    /// A new handle of the plugin.
    pub async fn attach(&self, plugin: &str) -> Result<u64> {
        let reply = self
            .request(json!({"janus": "attach", "plugin": plugin}), false)
            .await?;
        reply.created.context("Janus names no handle")
    }

    /// Sends a message to the plugin and waits for its event.
    pub async fn message(&self, handle: u64, body: Value, jsep: Option<Jsep>) -> Result<Reply> {
        let mut message = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some(jsep) = jsep {
            message["jsep"] = serde_json::to_value(jsep)?;
        }
        self.request(message, false).await
    }

    /// Says that no more of our candidates will come. Janus finds the one that there is by its checks.
    pub async fn trickle_completed(&self, handle: u64) -> Result<()> {
        let message = json!({"janus": "trickle", "handle_id": handle, "candidate": {"completed": true}});
        self.request(message, true).await.map(drop)
    }

    /// Waits until Janus itself has ICE and DTLS of the handle up.
    pub async fn webrtc_up(&self, handle: u64, limit: Duration) -> Result<()> {
        let mut handles = self.handles.clone();
        let decided =
            |handles: &HashMap<u64, HandleState>| handles.get(&handle).is_some_and(|s| *s != HandleState::New);
        let state = match timeout(limit, handles.wait_for(decided)).await {
            Ok(Ok(handles)) => handles[&handle].clone(),
            Ok(Err(_)) => bail!("Janus' WebSocket was closed"),
            Err(_) => bail!("Janus says nothing of a peer connection within {limit:?}"),
        };
        match state {
            HandleState::HungUp(reason) => bail!("Janus hung up: {reason}"),
            _ => Ok(()),
        }
    }

    pub async fn close(self) {
        let _ = self.request(json!({"janus": "destroy"}), false).await;
        drop(self.requests);
        let _ = self.task.await;
    }

    async fn request(&self, mut body: Value, until_ack: bool) -> Result<Reply> {
        if self.id != 0 {
            body["session_id"] = self.id.into();
        }
        let what = body["body"]["request"]
            .as_str()
            .or(body["janus"].as_str())
            .unwrap_or_default()
            .to_owned();
        let (answered, answer) = oneshot::channel();
        let request = Request {
            body,
            until_ack,
            answered,
        };
        let _ = self.requests.send(request);
        timeout(REPLY_LIMIT, answer)
            .await
            .with_context(|| format!("Janus does not answer `{what}` within {REPLY_LIMIT:?}"))?
            .with_context(|| format!("Janus closed its WebSocket at `{what}`"))?
            .with_context(|| format!("`{what}` failed"))
    }
}

/// Requests without a reply yet, by transaction.
#[derive(Default)]
struct Pending {
    next: u64,
    waiting: HashMap<String, (bool, Answered)>,
}

impl Pending {
    /// The message to send.
    fn add(&mut self, request: Request) -> String {
        let transaction = self.next.to_string();
        self.next += 1;
        let mut body = request.body;
        body["transaction"] = transaction.as_str().into();
        self.waiting.insert(transaction, (request.until_ack, request.answered));
        body.to_string()
    }

    fn on_message(&mut self, message: Incoming) {
        let Some(transaction) = &message.transaction else {
            return;
        };
        let Some((until_ack, _)) = self.waiting.get(transaction) else {
            return;
        };
        if message.is_ack() && !until_ack {
            return;
        }
        if let Some((_, answered)) = self.waiting.remove(transaction) {
            let _ = answered.send(message.into_reply());
        }
    }
}

async fn run(
    mut stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    mut requests: mpsc::UnboundedReceiver<Request>,
    handles: Handles,
) -> Result<()> {
    let mut pending = Pending::default();
    let mut session = Value::Null;
    let mut keep_alive = interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => {
                    session = request.body["session_id"].clone();
                    stream.send(Message::text(pending.add(request))).await?;
                }
                None => return Ok(stream.close(None).await?),
            },
            _ = keep_alive.tick() => {
                if !session.is_null() {
                    let message = json!({"janus": "keepalive", "session_id": session, "transaction": "keepalive"});
                    stream.send(Message::text(message.to_string())).await?;
                }
            }
            message = stream.next() => match message {
                None | Some(Ok(Message::Close(_))) => bail!("closed by Janus"),
                Some(message) => {
                    if let Message::Text(text) = message? {
                        tracing::trace!(%text, "Janus");
                        let message = Incoming::parse(&text).with_context(|| format!("unknown message {text}"))?;
                        note_state(&handles, &message);
                        pending.on_message(message);
                    }
                }
            },
        }
    }
}

fn note_state(handles: &Handles, message: &Incoming) {
    let Some(handle) = message.sender else { return };
    let state = match message.janus.as_str() {
        "webrtcup" => HandleState::Up,
        "hangup" => HandleState::HungUp(message.reason.clone().unwrap_or_else(|| "no reason given".to_owned())),
        _ => return,
    };
    tracing::debug!(handle, ?state, "Janus");
    handles.send_modify(|handles| drop(handles.insert(handle, state)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(until_ack: bool) -> (Pending, oneshot::Receiver<Result<Reply, JanusError>>) {
        let (answered, answer) = oneshot::channel();
        let mut pending = Pending::default();
        let sent = pending.add(Request {
            body: json!({"janus": "message"}),
            until_ack,
            answered,
        });
        assert_eq!(
            serde_json::from_str::<Value>(&sent).unwrap(),
            json!({"janus": "message", "transaction": "0"})
        );
        (pending, answer)
    }

    fn incoming(kind: &str, transaction: &str) -> Incoming {
        let message = json!({"janus": kind, "transaction": transaction, "sender": 7});
        Incoming::parse(&message.to_string()).unwrap()
    }

    #[test]
    fn an_ack_is_only_the_reply_of_what_waits_for_no_more() {
        let (mut patient, mut event) = pending(false);
        patient.on_message(incoming("event", "1"));
        patient.on_message(incoming("ack", "0"));
        assert!(event.try_recv().is_err());
        patient.on_message(incoming("event", "0"));
        assert_eq!(event.try_recv().unwrap(), Ok(Reply::default()));
        let (mut trickle, mut ack) = pending(true);
        trickle.on_message(incoming("ack", "0"));
        assert!(ack.try_recv().unwrap().is_ok());
    }

    #[test]
    fn handles_come_up_and_are_hung_up() {
        let handles = Handles::default();
        note_state(&handles, &incoming("media", "0"));
        assert!(handles.borrow().is_empty());
        note_state(&handles, &incoming("webrtcup", "0"));
        assert_eq!(handles.borrow()[&7], HandleState::Up);
        note_state(&handles, &incoming("hangup", "0"));
        assert_eq!(handles.borrow()[&7], HandleState::HungUp("no reason given".to_owned()));
    }
}

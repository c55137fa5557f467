//! The WebSocket on the page's own HTTP/2 connection (RFC 8441).

mod common;

use common::{TestServer, client, start, start_with};
use futures_util::{SinkExt, StreamExt};
use hyper::ext::Protocol;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

type Sender = hyper::client::conn::http2::SendRequest<String>;
type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn open(server: &TestServer) -> Sender {
    let address = server.url.strip_prefix("http://").expect("plain HTTP");
    let stream = TcpStream::connect(address).await.expect("it listens");
    let http2 = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = http2.await.expect("HTTP/2");
    tokio::spawn(connection);
    // The settings of the server say whether it takes WebSockets, so they come first.
    let mut sender = sender;
    assert_eq!(
        request(&mut sender, Method::GET, "/healthz", "").await.0,
        StatusCode::OK
    );
    sender
}

async fn request(sender: &mut Sender, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    let request = request.header("content-type", "application/json").body(body.to_owned());
    let response = sender
        .send_request(request.expect("a request"))
        .await
        .expect("an answer");
    let status = response.status();
    let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20).await;
    (
        status,
        serde_json::from_slice(&body.expect("a body")).unwrap_or(Value::Null),
    )
}

async fn upgrade(sender: &mut Sender, origin: &str) -> Result<Socket, StatusCode> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://localhost/api/v1/ws");
    let request = request
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "tianqiao.v1");
    let request = request
        .header("origin", origin)
        .extension(Protocol::from_static("websocket"));
    let response = sender
        .send_request(request.body(String::new()).expect("a request"))
        .await;
    let response = response.expect("an answer");
    if response.status() != StatusCode::OK {
        return Err(response.status());
    }
    assert_eq!(response.headers()["sec-websocket-protocol"], "tianqiao.v1");
    let upgraded = hyper::upgrade::on(response).await.expect("it is a WebSocket now");
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
}

async fn ask(socket: &mut Socket, message: Value) -> Value {
    socket
        .send(Message::text(message.to_string()))
        .await
        .expect("it is sent");
    loop {
        match socket.next().await.expect("open").expect("a frame") {
            Message::Text(text) => return serde_json::from_str(text.as_str()).expect("JSON"),
            Message::Close(_) => panic!("closed"),
            _ => {}
        }
    }
}

const OWN: &str = "http://localhost";

#[tokio::test]
async fn page_join_and_websocket_share_one_connection() {
    let server = start().await;
    let meeting = server.meeting().await;
    let mut sender = open(&server).await;
    let tokens = format!("/api/v1/meetings/{}/tokens", meeting.id);
    let (_, token) = request(&mut sender, Method::POST, &tokens, r#"{"name":"Ann"}"#).await;
    let token = token["token"].as_str().expect("a token");
    let join = format!("/api/v1/meetings/{}/join", meeting.id);
    let (status, joined) = request(
        &mut sender,
        Method::POST,
        &join,
        &client::join(token, "offer").to_string(),
    )
    .await;
    assert_eq!(status, StatusCode::CREATED, "{joined}");

    let mut socket = upgrade(&mut sender, OWN).await.expect("a WebSocket");
    let resumed = ask(&mut socket, json!({ "type": "resume", "session": joined["session"] })).await;
    assert_eq!(resumed["type"], "resumed");
    assert_eq!(
        ask(&mut socket, json!({ "type": "ping", "t": 3 })).await,
        json!({ "type": "pong", "t": 3 })
    );
    // The rest of the connection goes on, and a second WebSocket replaces the first.
    assert_eq!(
        request(&mut sender, Method::GET, "/healthz", "").await.0,
        StatusCode::OK
    );
    let mut second = upgrade(&mut sender, OWN).await.expect("a WebSocket");
    let resumed = ask(&mut second, json!({ "type": "resume", "session": joined["session"] })).await;
    assert_eq!(resumed["type"], "resumed");
    let ended = loop {
        match socket.next().await {
            Some(Ok(Message::Text(ended))) => break ended,
            // The server asks for a sign of life meanwhile.
            Some(Ok(Message::Ping(_))) => {}
            other => panic!("the first is told: {other:?}"),
        }
    };
    assert!(ended.as_str().contains("replaced"), "{ended}");
}

#[tokio::test]
async fn one_connection_carries_two_and_pages_of_others_none() {
    let server = start().await;
    let mut sender = open(&server).await;
    assert_eq!(
        upgrade(&mut sender, "https://evil.example").await.err(),
        Some(StatusCode::FORBIDDEN)
    );
    let first = upgrade(&mut sender, OWN).await.expect("a WebSocket");
    let _second = upgrade(&mut sender, OWN).await.expect("a WebSocket");
    assert_eq!(
        upgrade(&mut sender, OWN).await.err(),
        Some(StatusCode::TOO_MANY_REQUESTS)
    );
    drop(first);
    let freed = async { while upgrade(&mut sender, OWN).await.is_err() {} };
    let freed = tokio::time::timeout(std::time::Duration::from_secs(10), freed).await;
    freed.expect("one that has ended makes room");
}

#[tokio::test]
async fn a_websocket_that_never_joins_ends_and_the_page_goes_on() {
    let server = start_with(|config| config.join_timeout = std::time::Duration::from_millis(100)).await;
    let mut sender = open(&server).await;
    let mut socket = upgrade(&mut sender, OWN).await.expect("a WebSocket");
    let Some(Ok(Message::Text(refusal))) = socket.next().await else {
        panic!("it is told");
    };
    assert!(refusal.as_str().contains("not_joined"), "{refusal}");
    assert_eq!(
        request(&mut sender, Method::GET, "/healthz", "").await.0,
        StatusCode::OK
    );
}

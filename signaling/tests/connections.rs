//! HTTP connections that go on for too long, or are too many, over real sockets.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::{TestServer, start_with};
use serde_json::json;
use tianqiao::Config;

const PATIENCE: Duration = Duration::from_secs(20);

fn open(server: &TestServer) -> TcpStream {
    let address = server.url.strip_prefix("http://").expect("plain HTTP");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
}

fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("it is sent");
}

/// What comes until the server closes.
async fn until_closed(mut stream: TcpStream) -> String {
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        match stream.read_to_end(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("not closed: {error}"),
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    read.await.expect("it is closed")
}

fn closed(metrics: &str, reason: &str) -> u64 {
    let start = format!("tianqiao_http_closed_total{{reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(0, |count| count.parse().expect("a number"))
}

fn short(config: &mut Config) {
    config.header_timeout = Duration::from_millis(100);
    config.idle_timeout = Duration::from_millis(100);
    config.body_timeout = Duration::from_millis(100);
    config.request_timeout = Duration::from_millis(1_500);
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_and_idle_connections_are_closed() {
    let server = start_with(short).await;
    let silent = open(&server);
    let mut half_header = open(&server);
    send(&mut half_header, "GET /healthz HTTP/1.1\r\nhost: ");
    let mut idle = open(&server);
    send(&mut idle, HEALTH);
    let mut half_body = open(&server);
    let head = "POST /api/v1/meetings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    send(&mut half_body, &format!("{head}content-length: 100\r\n\r\n{{"));
    let mut drip = open(&server);
    send(
        &mut drip,
        &format!("{head}transfer-encoding: chunked\r\n\r\n1\r\n{{\r\n"),
    );
    assert_eq!(until_closed(silent).await, "");
    assert_eq!(until_closed(half_header).await, "");
    assert!(until_closed(idle).await.contains(" 200 OK"));
    for stream in [half_body, drip] {
        let answer = until_closed(stream).await;
        assert!(
            answer.contains(" 408 ") && answer.contains("did not come in time"),
            "{answer}"
        );
    }
    let metrics = server.metrics().await;
    assert_eq!(closed(&metrics, "header_timeout"), 2);
    assert!(closed(&metrics, "idle_timeout") >= 1);
}

/// The preface, empty SETTINGS, and a POST without its body, which every HTTP/2 client may send in one go.
#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_without_bodies_and_idle_connections_are_closed() {
    let server = start_with(short).await;
    let mut idle = open(&server);
    send(&mut idle, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    idle.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).expect("it is sent");
    let mut bodiless = idle.try_clone().expect("a second handle");
    // :method POST, :scheme http, :path /api/v1/meetings, :authority localhost, content-type application/json
    let mut block = vec![0x83, 0x86, 0x04, 16];
    block.extend(b"/api/v1/meetings");
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    block.extend([0x0f, 16, 16]);
    block.extend(b"application/json");
    for stream in [1_u8, 3, 5] {
        let length = u8::try_from(block.len()).expect("short");
        let mut frame = vec![0, 0, length, 1, 4, 0, 0, 0, stream];
        frame.extend(&block);
        bodiless.write_all(&frame).expect("it is sent");
    }
    let answers = until_closed(idle).await;
    assert_eq!(answers.matches("did not come in time").count(), 3, "{answers}");
    let metrics = server.metrics().await;
    assert!(
        metrics.contains("route=\"/api/v1/meetings\",status=\"408\"} 3"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_closed() {
    let server = start_with(short).await;
    let mut slow = open(&server);
    slow.set_write_timeout(Some(PATIENCE)).expect("a time");
    // More answers than the buffers on the way hold, and none is read.
    let closed = tokio::task::spawn_blocking(move || {
        loop {
            if let Err(error) = slow.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n") {
                return error.kind();
            }
        }
    });
    let closed = closed.await.expect("it ends");
    assert!(
        matches!(closed, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{closed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_idle_connections_make_room_and_meetings_stay() {
    let server = start_with(|config| {
        config.max_connections = 20;
        config.max_connections_per_address = 20;
        config.max_waiting_websockets_per_address = 3;
    })
    .await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = open(&server);
        send(&mut stream, HEALTH);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("a newcomer is answered");
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    // Neither the page's connections nor WebSockets that never join shut anybody out.
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(server.connect().await);
    }
    let (_bob, _) = server.join(&meeting.id, "Bob").await;
    ann.recv_type("roster").await;
    ann.send(json!({ "type": "ping", "t": 1 })).await;
    assert_eq!(ann.recv_type("pong").await["t"], 1);
    let metrics = server.metrics().await;
    assert!(closed(&metrics, "address_full") >= 80, "{metrics}");
    // Bob was a fourth one that waited, until he joined.
    let four = async { while !server.metrics().await.contains("tianqiao_websockets 4\n") {} };
    let told = tokio::time::timeout(PATIENCE, four).await;
    told.expect("two have joined and two wait; the others were closed");
    let _ = held[0].shutdown(Shutdown::Both);
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_that_wait_make_room_for_one_that_joins() {
    let server = start_with(|config| config.max_websockets = 4).await;
    let meeting = server.meeting().await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(server.connect().await);
    }
    let mut crowd = Vec::new();
    for number in 0..4 {
        crowd.push(server.join(&meeting.id, &format!("Phone {number}")).await);
    }
    let metrics = server.metrics().await;
    assert!(metrics.contains("tianqiao_sessions{kind=\"web\"} 4"), "{metrics}");
    let full = server
        .request(reqwest::Method::GET, "/api/v1/ws")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let full = full.send().await.expect("an answer");
    assert!(full.headers().contains_key("retry-after"));
    assert_eq!(common::refusal(full).await, (503, "unavailable".to_owned()));
}

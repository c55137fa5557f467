//! Joining by POST while the WebSocket comes up, over real sockets.

mod common;

use std::time::Duration;

use common::{TestServer, client, refusal, start, start_with};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tianqiao_protocol::control::{SfuEvent, SfuRequest};
use tianqiao_protocol::frame;
use tianqiao_protocol::proof::ProofOfWork;

fn post(server: &TestServer, meeting: &str, message: &Value) -> RequestBuilder {
    let request = server.request(Method::POST, &format!("/api/v1/meetings/{meeting}/join"));
    request.json(message)
}

async fn join(server: &TestServer, meeting: &str, token: &str) -> Value {
    let response = post(server, meeting, &client::join(token, "offer")).send().await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.json().await.expect("JSON")
}

#[tokio::test]
async fn who_joins_by_post_is_in_and_the_websocket_takes_the_session_up() {
    let mut server = start().await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    let token = server.token(&meeting.id, "Bob").await;
    let joined = join(&server, &meeting.code, &token).await;
    assert_eq!(joined["sdp"], "answer to offer");
    assert!(joined.get("token").is_none(), "Bob has it already");
    assert_eq!(joined["state"]["participants"].as_array().map(Vec::len), Some(2));
    assert_eq!(ann.recv_type("roster").await["joined"][0]["id"], joined["participant"]);
    ann.send(json!({ "type": "chat", "text": "welcome" })).await;
    ann.recv_type("chat").await;

    let mut bob = server.connect().await;
    bob.send(json!({ "type": "resume", "session": joined["session"] }))
        .await;
    let resumed = bob.recv().await;
    assert_eq!(resumed["type"], "resumed");
    assert_eq!(
        resumed["state"]["chat"][0]["text"], "welcome",
        "nothing of the time between is lost"
    );
    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.recv_type("ended").await["reason"], "left");
    let id = joined["participant"].as_str().expect("an id").to_owned();
    server
        .node
        .request(|request| *request == SfuRequest::Close { session: id.clone() })
        .await;
}

#[tokio::test]
async fn a_session_to_which_no_websocket_comes_ends() {
    let mut server = start_with(|config| {
        config.resume_window = Duration::from_millis(100);
        config.roster_interval = Duration::ZERO;
    })
    .await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    let token = server.token(&meeting.id, "Bob").await;
    let joined = join(&server, &meeting.id, &token).await;
    let id = joined["participant"].as_str().expect("an id").to_owned();
    server.node.publish(SfuEvent::Connected { session: id.clone() });
    assert_eq!(ann.recv_type("roster").await["joined"][0]["id"], joined["participant"]);
    assert_eq!(ann.recv_type("roster").await["left"], json!([id]));
    server
        .node
        .request(|request| *request == SfuRequest::Close { session: id.clone() })
        .await;
    let mut bob = server.connect().await;
    bob.send(json!({ "type": "resume", "session": joined["session"] }))
        .await;
    assert_eq!(bob.recv().await["code"], "session_unknown");
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_sent_again_and_replaces_the_first() {
    let server = start_with(|config| config.max_sessions_per_identity = 1).await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Bob").await;
    let first = join(&server, &meeting.id, &token).await;
    let second = join(&server, &meeting.id, &token).await;
    assert_ne!(first["participant"], second["participant"]);
    assert_eq!(second["state"]["participants"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_name_is_enough_and_its_person_comes_again_by_the_token_in_the_answer() {
    let server = start().await;
    let meeting = server.meeting().await;
    let joined = post(&server, &meeting.code, &by_name("Bob", None)).send().await;
    let joined: Value = joined.expect("an answer").json().await.expect("JSON");
    assert_eq!(joined["state"]["participants"][0]["name"], "Bob");
    let again = join(&server, &meeting.id, joined["token"].as_str().expect("a token")).await;
    assert_ne!(again["participant"], joined["participant"]);
    assert_eq!(
        again["state"]["participants"].as_array().map(Vec::len),
        Some(1),
        "the same person"
    );
}

#[tokio::test]
async fn who_joins_by_name_guesses_passcodes_and_codes_as_who_asks_for_a_token() {
    let server = start_with(|config| {
        (config.passcode_attempts, config.lookup_misses) = (2, 1);
        config.proof_bits = 6;
    })
    .await;
    let meeting = server.meeting_with(json!({ "passcode": "42" })).await;
    let attempt = |code: &str, passcode: Option<&str>| post(&server, code, &by_name("Bob", passcode));
    for (request, expected) in [
        (attempt(&meeting.code, None), (401, "passcode_required")),
        (attempt(&meeting.code, Some("41")), (403, "passcode_wrong")),
        (attempt(&meeting.code, Some("41")), (403, "passcode_wrong")),
        (attempt(&meeting.code, Some("42")), (429, "proof_required")),
        (attempt("000000001", None), (404, "meeting_not_found")),
        (attempt("000000001", None), (429, "proof_required")),
    ] {
        let (status, code) = refusal(request.send().await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), expected);
    }
    let asked = attempt(&meeting.id, Some("42")).send().await.expect("an answer");
    let asked: Value = asked.json().await.expect("JSON");
    let work: ProofOfWork = serde_json::from_value(asked["proof"].clone()).expect("work");
    let paid = attempt(&meeting.id, Some("42")).header("tianqiao-proof", work.solve("42"));
    assert_eq!(paid.send().await.expect("an answer").status(), 201);
}

fn by_name(name: &str, passcode: Option<&str>) -> Value {
    json!({ "name": name, "passcode": passcode, "sdp": "offer" })
}

#[tokio::test]
async fn bodies_and_answers_may_be_gzip() {
    let server = start().await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Bob").await;
    let body = frame::deflate_as_gzip(&client::join(&token, "offer").to_string());
    let request = server.request(Method::POST, &format!("/api/v1/meetings/{}/join", meeting.id));
    let request = request
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    let response = request.header("accept-encoding", "br, gzip").body(body).send().await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let body = response.bytes().await.expect("a body");
    let text = frame::inflate_gzip(&body, 1 << 20).expect("gzip of text");
    let joined: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(joined["sdp"], "answer to offer");
}

#[tokio::test]
async fn what_a_websocket_would_refuse_is_refused_here() {
    let server = start_with(|config| {
        config.max_message_size = tianqiao::config::ByteSize(4_000);
        config.max_sdp_size = tianqiao::config::ByteSize(1_000);
    })
    .await;
    let meeting = server.meeting().await;
    let other = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    let stale = server.expired_token(&meeting.id);
    let plain = |body: &Value| post(&server, &meeting.id, body);
    let raw = |body: Vec<u8>| {
        let request = server.request(Method::POST, &format!("/api/v1/meetings/{}/join", meeting.id));
        request.header("content-type", "application/json").body(body)
    };
    let bomb = frame::deflate_as_gzip(&"a".repeat(1 << 20));
    for (request, expected) in [
        (plain(&client::join("x.y.z", "offer")), (401, "token_invalid")),
        (plain(&client::join(&stale, "offer")), (401, "token_expired")),
        (
            post(&server, &other.id, &client::join(&token, "offer")),
            (403, "forbidden"),
        ),
        (plain(&client::join(&token, "invalid")), (400, "sdp_invalid")),
        (plain(&client::join(&token, &"x".repeat(1_001))), (413, "too_large")),
        (plain(&client::join(&token, &"x".repeat(5_000))), (413, "too_large")),
        (plain(&json!({ "token": token })), (400, "bad_message")),
        (plain(&json!({ "sdp": "offer" })), (400, "bad_message")),
        (
            plain(&json!({ "token": token, "name": "Ann", "sdp": "offer" })),
            (400, "bad_message"),
        ),
        (plain(&by_name(" ", None)), (400, "bad_message")),
        (raw(bomb.clone()).header("content-encoding", "gzip"), (413, "too_large")),
        (
            raw(b"no gzip".to_vec()).header("content-encoding", "gzip"),
            (400, "bad_message"),
        ),
        (raw(bomb).header("content-encoding", "zstd"), (415, "bad_message")),
        (raw(vec![0xff, 0xfe]), (400, "bad_message")),
        (
            plain(&json!({})).header("origin", "https://evil.example"),
            (403, "forbidden"),
        ),
        (
            server
                .request(Method::POST, &format!("/api/v1/meetings/{}/join", meeting.id))
                .body("{}"),
            (415, "bad_message"),
        ),
    ] {
        let (status, code) = refusal(request.send().await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), expected);
    }
    let info = server
        .request(Method::GET, &format!("/api/v1/meetings/{}", meeting.id))
        .bearer_auth(&token);
    let info: Value = info.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(info["participants"], 0, "a refused join leaves nothing behind");
}

#[tokio::test]
async fn addresses_and_persons_have_their_limits() {
    let server = start_with(|config| {
        (config.join_rate, config.join_burst) = (1, 4);
        config.message_bytes_burst = tianqiao::config::ByteSize(100);
        config.message_bytes_rate = tianqiao::config::ByteSize(1);
    })
    .await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    join(&server, &meeting.id, &token).await;
    let again = |server: &TestServer| post(server, &meeting.id, &client::join(&token, "offer"));
    let second = again(&server).send().await.expect("an answer");
    assert!(second.headers().contains_key("retry-after"));
    assert_eq!(
        refusal(second).await,
        (429, "rate_limited".to_owned()),
        "the bytes of the person"
    );
    let other = server.token(&meeting.id, "Bob").await;
    let third = post(&server, &meeting.id, &client::join(&other, "offer")).send().await;
    assert_eq!(
        refusal(third.expect("an answer")).await,
        (429, "rate_limited".to_owned()),
        "the joins of the address"
    );
}

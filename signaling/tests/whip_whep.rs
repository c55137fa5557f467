//! WHIP and WHEP over a real socket.

mod common;

use common::{TestServer, refusal, start, start_with};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;
use tianqiao_protocol::control::{AudioPolicy, CloseReason, SfuEvent, SfuRequest};
use tianqiao_protocol::{SlotTarget, TrackSource};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const RESTART: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P4sswordP4sswordP4sswo\r\n";

fn offer(server: &TestServer, path: &str, token: &str) -> RequestBuilder {
    let request = server.request(Method::POST, path).header("content-type", SDP);
    request.bearer_auth(token).body("offer")
}

fn fragment(server: &TestServer, path: &str, token: &str, condition: &str, body: &'static str) -> RequestBuilder {
    let request = server.request(Method::PATCH, path).header("content-type", FRAGMENT);
    request.header("if-match", condition).bearer_auth(token).body(body)
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_whip_client_is_a_participant_from_post_to_delete() {
    let mut server = start().await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    let token = server.token(&meeting.id, "Camera 1").await;

    let response = send(offer(&server, &format!("/whip/{}", meeting.code), &token)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(header(&response, "content-type"), SDP);
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    let location = header(&response, "location");
    let etag = header(&response, "etag");
    assert!(location.starts_with(&format!("/whip/{}/", meeting.id)), "{location}");
    assert!(etag.starts_with('"'), "{etag}");
    assert_eq!(response.text().await.expect("text"), "answer to offer");
    let roster = ann.recv_type("roster").await;
    assert_eq!(roster["joined"][0]["name"], "Camera 1");

    let trickled = fragment(
        &server,
        &location,
        &token,
        &etag,
        "a=candidate:1 1 UDP 1 192.0.2.1 9 typ host\r\n",
    );
    assert_eq!(send(trickled).await.status(), 204);
    let restarted = send(fragment(&server, &location, &token, "*", RESTART)).await;
    assert_eq!(restarted.status(), 200);
    assert_eq!(header(&restarted, "content-type"), FRAGMENT);
    assert_ne!(header(&restarted, "etag"), etag);
    assert_eq!(restarted.text().await.expect("text"), "a=ice-ufrag:server-EsAw\r\n");
    let stale = send(fragment(&server, &location, &token, &etag, "")).await;
    assert_eq!(refusal(stale).await.0, 412);

    let delete = || server.request(Method::DELETE, &location).bearer_auth(&token);
    assert_eq!(send(delete()).await.status(), 200);
    assert_eq!(refusal(send(delete()).await).await, (404, "session_unknown".to_owned()));
    assert_eq!(ann.recv_type("roster").await["left"].as_array().map(Vec::len), Some(1));
    server
        .node
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
}

#[tokio::test]
async fn a_whep_client_watches_unseen() {
    let mut server = start_with(|config| config.max_participants = 3).await;
    let meeting = server.meeting().await;
    let (_ann, joined) = server.join(&meeting.id, "Ann").await;
    let participant = joined["participant"].as_str().expect("an id").to_owned();
    server
        .node
        .request(|request| matches!(request, SfuRequest::Open(_)))
        .await;
    let token = server.token(&meeting.id, "Screen").await;
    let path = format!("/whep/{}", meeting.id);
    let one = format!("{path}?participant={participant}");
    let source = SlotTarget::Source {
        participant,
        source: TrackSource::Camera,
    };
    for (path, target) in [(&path, SlotTarget::ActiveSpeaker), (&one, source)] {
        assert_eq!(send(offer(&server, path, &token)).await.status(), 201);
        let SfuRequest::Open(open) = server
            .node
            .request(|request| matches!(request, SfuRequest::Open(_)))
            .await
        else {
            unreachable!()
        };
        assert_eq!(open.audio, AudioPolicy::Follow(target));
    }
    let full = send(offer(&server, &path, &token)).await;
    assert_eq!(refusal(full).await, (503, "meeting_full".to_owned()));
    let info = server.request(Method::GET, &format!("/api/v1/meetings/{}", meeting.id));
    let info = send(info.bearer_auth(&token)).await;
    assert_eq!(info.json::<serde_json::Value>().await.expect("JSON")["participants"], 1);
}

#[tokio::test]
async fn bad_requests_have_their_status() {
    let server = start_with(|config| config.max_sdp_size = tianqiao::config::ByteSize(1_000)).await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    let foreign = server.token(&server.meeting().await.id, "Ann").await;
    let another = server.token(&meeting.id, "Bob").await;
    let path = format!("/whip/{}", meeting.id);
    let whep = format!("/whep/{}?participant=nobody", meeting.id);
    let session = header(&send(offer(&server, &path, &token)).await, "location");
    let post = |mime: &str, body: String| {
        let request = server.request(Method::POST, &path).bearer_auth(&token);
        request.header("content-type", mime).body(body)
    };
    let patch = || {
        server
            .request(Method::PATCH, &session)
            .bearer_auth(&token)
            .header("content-type", FRAGMENT)
    };
    let anonymous = server
        .request(Method::POST, &path)
        .header("content-type", SDP)
        .body("offer");
    for (request, expected) in [
        (anonymous, (401, "token_invalid")),
        (offer(&server, &path, &foreign), (403, "forbidden")),
        (offer(&server, "/whip/000000000", &token), (403, "forbidden")),
        (offer(&server, &whep, &token), (404, "session_unknown")),
        (post("text/plain", "offer".into()), (415, "bad_message")),
        (post(SDP, "invalid".into()), (400, "sdp_invalid")),
        (post(SDP, "unsupported".into()), (422, "sdp_unsupported")),
        (post(SDP, "gone".into()), (503, "unavailable")),
        (post(SDP, "x".repeat(1_001)), (413, "too_large")),
        (server.request(Method::GET, &path), (405, "bad_message")),
        (server.request(Method::PUT, &session), (405, "bad_message")),
        (patch().body(RESTART), (428, "bad_message")),
        (
            patch().header("if-match", "\"other\"").body(RESTART),
            (412, "bad_message"),
        ),
        (
            patch().header("if-match", "*").body("a=ice-ufrag:x"),
            (400, "sdp_invalid"),
        ),
        (
            fragment(&server, &session, &another, "*", RESTART),
            (404, "session_unknown"),
        ),
        (
            server.request(Method::DELETE, &session).bearer_auth(&another),
            (404, "session_unknown"),
        ),
        (
            server.request(Method::PATCH, &session).bearer_auth(&token).body(""),
            (415, "bad_message"),
        ),
    ] {
        let request = request.build().expect("a request");
        let what = format!("{} {}", request.method(), request.url());
        let (status, code) = refusal(server.http.execute(request).await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), expected, "{what}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_ask() {
    let server = start().await;
    for (path, methods, accepts) in [
        ("/whip/123456789", "POST, OPTIONS", "accept-post"),
        ("/whep/123456789/x", "PATCH, DELETE, OPTIONS", "accept-patch"),
    ] {
        let response = send(server.request(Method::OPTIONS, path)).await;
        assert_eq!(response.status(), 204);
        assert_eq!(header(&response, "allow"), methods);
        assert_eq!(header(&response, "access-control-allow-origin"), "*");
        assert!(header(&response, "access-control-allow-headers").contains("if-match"));
        assert!(response.headers().contains_key(accepts));
    }
}

#[tokio::test]
async fn media_that_dies_ends_the_session() {
    let mut server = start().await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    server
        .node
        .request(|request| matches!(request, SfuRequest::Open(_)))
        .await;
    let token = server.token(&meeting.id, "Camera 1").await;
    let location = header(
        &send(offer(&server, &format!("/whip/{}", meeting.id), &token)).await,
        "location",
    );
    let session = location.rsplit('/').next().expect("an id").to_owned();
    ann.recv_type("roster").await;
    server.node.publish(SfuEvent::Closed {
        session: session.clone(),
        reason: CloseReason::PeerClosed,
    });
    assert_eq!(ann.recv_type("roster").await["left"], json!([session]));
    let gone = send(fragment(&server, &location, &token, "*", RESTART)).await;
    assert_eq!(refusal(gone).await.0, 404);
}

/// The offer of somebody who hangs up must not be worked on, and its place must be free again.
#[tokio::test]
async fn who_hangs_up_before_the_answer_takes_the_place_back() {
    let mut server = common::start().await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Hasty").await;
    server.node.fall_silent();
    let request = server
        .request(reqwest::Method::POST, &format!("/whip/{}", meeting.id))
        .bearer_auth(&token)
        .header("content-type", "application/sdp")
        .body("v=0");
    let request = tokio::spawn(request.send());
    let opened = server
        .node
        .request(|request| matches!(request, SfuRequest::Open(_)))
        .await;
    let SfuRequest::Open(opened) = opened else {
        unreachable!("it opens");
    };
    request.abort();
    let closed = server
        .node
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
    assert_eq!(
        closed,
        SfuRequest::Close {
            session: opened.session
        }
    );
}

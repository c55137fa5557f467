//! The REST interface over a real socket.

mod common;

use common::{refusal, start, start_with};
use reqwest::Method;
use serde_json::{Value, json};
use tianqiao_protocol::proof::ProofOfWork;

#[tokio::test]
async fn a_meeting_from_creation_to_its_end() {
    let server = start().await;
    let response = server
        .post("/api/v1/meetings", json!({ "title": " 早会 ", "passcode": "42" }))
        .await;
    assert_eq!(response.status(), 201);
    let created: Value = response.json().await.expect("JSON");
    let code = created["code"].as_str().expect("a code");
    assert!(code.len() == 9 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
    assert_eq!(created["join_url"], format!("{}/m/{code}", server.url));

    let spaced = format!("{} {}-{}", &code[..3], &code[3..6], &code[6..]);
    for name in [created["id"].as_str().expect("an id"), code, &spaced] {
        let info: Value = server
            .get(&format!("/api/v1/meetings/{name}"))
            .await
            .json()
            .await
            .expect("JSON");
        assert_eq!(
            info,
            json!({ "code": code, "passcode_required": true, "camera": { "codec": "vp8" } }),
            "that is all for strangers"
        );
    }

    let path = format!("/api/v1/meetings/{code}");
    let delete = || server.request(Method::DELETE, &path);
    let join_token = {
        let body = json!({ "name": "Ann", "passcode": "42" });
        let response = server.post(&format!("{path}/tokens"), body).await;
        assert_eq!(response.status(), 201);
        response.json::<Value>().await.expect("JSON")["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    };
    let info = server.request(Method::GET, &path).bearer_auth(&join_token).send().await;
    let info: Value = info.expect("an answer").json().await.expect("JSON");
    assert_eq!((&info["title"], &info["participants"]), (&json!("早会"), &json!(0)));
    let other = server.meeting().await.host_token;
    for (request, expected) in [
        (delete(), (401, "token_invalid")),
        (delete().bearer_auth("x.y.z"), (401, "token_invalid")),
        (delete().bearer_auth(join_token), (403, "forbidden")),
        (delete().bearer_auth(other), (403, "forbidden")),
    ] {
        let (status, code) = refusal(request.send().await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), expected);
    }
    let host = created["host_token"].as_str().expect("a token");
    let response = delete().bearer_auth(host).send().await.expect("an answer");
    assert_eq!(response.status(), 204);
    assert_eq!(
        refusal(server.get(&path).await).await,
        (410, "meeting_ended".to_owned())
    );
}

#[tokio::test]
async fn bad_requests_have_a_status_and_a_code() {
    let server = start().await;
    let meeting = server.meeting_with(json!({ "passcode": "42" })).await;
    let tokens = format!("/api/v1/meetings/{}/tokens", meeting.id);
    let raw = |path: &str, mime: &str, body: &str| {
        let request = server.request(Method::POST, path).header("content-type", mime);
        request.body(body.to_owned())
    };
    let big = "x".repeat(20_000);
    for (request, expected) in [
        (raw("/api/v1/meetings", "application/json", "{"), (400, "bad_message")),
        (raw("/api/v1/meetings", "application/json", "17"), (400, "bad_message")),
        (
            raw("/api/v1/meetings", "application/json", r#"{"colour":1}"#),
            (400, "bad_message"),
        ),
        (raw("/api/v1/meetings", "text/plain", "{}"), (415, "bad_message")),
        (raw("/api/v1/meetings", "application/json", &big), (413, "too_large")),
        (server.request(Method::PUT, "/api/v1/meetings"), (405, "bad_message")),
        (
            server.request(Method::GET, "/api/v1/meetings/000000000"),
            (404, "meeting_not_found"),
        ),
        (server.request(Method::GET, "/api/v2"), (404, "not_found")),
        (server.request(Method::POST, "/nowhere"), (404, "not_found")),
        (server.request(Method::GET, "/api/v1/ws"), (400, "bad_message")),
        (
            raw(&tokens, "application/json", r#"{"name":" "}"#),
            (400, "bad_message"),
        ),
        (
            raw(&tokens, "application/json", r#"{"name":"Ann"}"#),
            (401, "passcode_required"),
        ),
        (
            raw(&tokens, "application/json", r#"{"name":"Ann","passcode":"43"}"#),
            (403, "passcode_wrong"),
        ),
    ] {
        let request = request.build().expect("a request");
        let what = format!("{} {}", request.method(), request.url());
        let (status, code) = refusal(server.http.execute(request).await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), expected, "{what}");
    }
}

/// The work that a refusal asks for.
async fn work(response: reqwest::Response) -> ProofOfWork {
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["code"], "proof_required");
    assert!(
        body["retry_after"]
            .as_u64()
            .is_some_and(|wait| (1..=300).contains(&wait)),
        "{body}"
    );
    serde_json::from_value(body["proof"].clone()).expect("work")
}

#[tokio::test]
async fn the_right_passcode_gets_in_whatever_others_try_and_each_guess_costs() {
    let server = start_with(|config| {
        config.passcode_attempts = 3;
        config.passcode_attempts_all = 5;
        config.proof_bits = 6;
        config.max_proof_bits = 8;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let meeting = server.meeting_with(json!({ "passcode": "42" })).await;
    let path = format!("/api/v1/meetings/{}/tokens", meeting.code);
    let attempt = |passcode: &str, from: &str, solution: Option<String>| {
        let request = server.request(Method::POST, &path).header("x-forwarded-for", from);
        let request = request.json(&json!({ "name": "Ann", "passcode": passcode }));
        let request = solution
            .into_iter()
            .fold(request, |request, proof| request.header("tianqiao-proof", proof));
        async { request.send().await.expect("an answer") }
    };
    for _ in 0..5 {
        assert_eq!(attempt("42", "10.0.0.1", None).await.status(), 201);
    }
    for _ in 0..3 {
        assert_eq!(attempt("41", "10.0.0.1", None).await.status(), 403);
    }
    // This address pays, right or wrong, and another one does not yet.
    let first = work(attempt("41", "10.0.0.1", None).await).await;
    assert_eq!(
        first,
        ProofOfWork {
            bits: 6,
            ..first.clone()
        }
    );
    assert_eq!(attempt("42", "10.0.0.2", None).await.status(), 201);
    let solution = first.solve("41");
    assert_eq!(
        attempt("42", "10.0.0.1", Some(solution.clone())).await.status(),
        429,
        "of another guess"
    );
    assert_eq!(attempt("41", "10.0.0.2", None).await.status(), 403);
    assert_eq!(
        attempt("41", "10.0.0.1", Some(solution)).await.status(),
        403,
        "looked at and wrong"
    );
    // Now everybody pays, and who knows the passcode gets in at the first try.
    let dearer = work(attempt("42", "10.0.0.3", None).await).await;
    assert_eq!(attempt("42", "10.0.0.3", Some(dearer.solve("42"))).await.status(), 201);
    for _ in 0..20 {
        let next = work(attempt("41", "10.0.0.1", None).await).await;
        assert!((6..=8).contains(&next.bits), "{next:?}");
        assert_eq!(attempt("41", "10.0.0.1", Some(next.solve("41"))).await.status(), 403);
    }
    assert_eq!(work(attempt("41", "10.0.0.1", None).await).await.bits, 8);
}

#[tokio::test]
async fn codes_are_not_guessed_for_nothing_and_the_limit_does_not_tell_the_good_ones() {
    let server = start_with(|config| {
        config.lookup_misses = 3;
        config.proof_bits = 6;
    })
    .await;
    let meeting = server.meeting().await;
    let good = format!("/api/v1/meetings/{}", meeting.code);
    let bad = "/api/v1/meetings/000-000 001";
    for _ in 0..3 {
        assert_eq!(server.get(&good).await.status(), 200);
        assert_eq!(server.get(bad).await.status(), 404);
    }
    for (path, status) in [(good.as_str(), 200), (bad, 404)] {
        let solution = work(server.get(path).await).await.solve("");
        let paid = server.request(Method::GET, path).header("tianqiao-proof", solution);
        assert_eq!(paid.send().await.expect("an answer").status(), status);
    }
    let tokens = server.post(&format!("{good}/tokens"), json!({ "name": "Ann" })).await;
    work(tokens).await;
    // What cannot be guessed costs nothing.
    assert_eq!(
        server.get(&format!("/api/v1/meetings/{}", meeting.id)).await.status(),
        200
    );
    let token = server.token(&meeting.id, "Ann").await;
    for code in ["000000001", &server.meeting().await.code] {
        for path in [format!("/whip/{code}"), format!("/whep/{code}")] {
            let request = server
                .request(Method::POST, &path)
                .header("content-type", "application/sdp");
            let response = request
                .bearer_auth(&token)
                .body("offer")
                .send()
                .await
                .expect("an answer");
            assert_eq!(refusal(response).await, (403, "forbidden".to_owned()), "{path}");
        }
    }
}

#[tokio::test]
async fn meetings_can_be_made_with_keys_only() {
    let keys = std::env::temp_dir().join(format!("tianqiao-keys-{}", uuid::Uuid::new_v4()));
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // of "secret"
    std::fs::write(&keys, format!("school {hash}\n")).expect("it is written");
    let server = start_with(|config| {
        config.create_meetings = tianqiao::config::CreateMeetings::Token;
        config.api_keys_file = Some(keys.clone());
        config.lookup_misses = 2;
    })
    .await;
    let create = |key: Option<&'static str>| {
        let request = server.request(Method::POST, "/api/v1/meetings").json(&json!({}));
        key.into_iter()
            .fold(request, |request, key| request.bearer_auth(key))
            .send()
    };
    for (key, expected) in [
        (None, (401, "api_key_required")),
        (Some("wrong"), (401, "api_key_required")),
        (Some("wrong"), (401, "api_key_required")),
        (Some("wrong"), (429, "rate_limited")),
    ] {
        if expected.0 == 401 {
            assert_eq!(create(Some("secret")).await.expect("an answer").status(), 201);
        }
        let (status, code) = refusal(create(key).await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), expected);
    }
    let _ = std::fs::remove_file(keys);
}

#[tokio::test]
async fn who_fills_the_server_with_meetings_pushes_out_his_own() {
    let server = start_with(|config| {
        config.max_meetings = 4;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.unused_meetings_per_address = 3;
    })
    .await;
    let create = |from: &'static str| {
        let request = server.request(Method::POST, "/api/v1/meetings").json(&json!({}));
        async move { request.header("x-forwarded-for", from).send().await.expect("an answer") }
    };
    let honest: Value = create("10.0.0.1").await.json().await.expect("JSON");
    for _ in 0..20 {
        assert_eq!(create("10.0.0.2").await.status(), 201);
    }
    let second = create("10.0.0.3").await;
    assert_eq!(second.status(), 201, "there is space for somebody else");
    let path = format!("/api/v1/meetings/{}", honest["code"].as_str().expect("a code"));
    assert_eq!(server.get(&path).await.status(), 200, "it is still there");
    // One each, and all of them new: then it is said when to come again.
    create("10.0.0.4").await;
    let full = create("10.0.0.5").await;
    assert_eq!(full.status(), 503);
    assert!(full.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn new_meetings_are_limited_by_address_and_in_all() {
    let server = start_with(|config| {
        config.meeting_burst = 2;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.max_meetings = 3;
    })
    .await;
    let create = |from: &'static str| {
        let request = server.request(Method::POST, "/api/v1/meetings").json(&json!({}));
        request.header("x-forwarded-for", format!("1.2.3.4, {from}")).send()
    };
    for (from, expected) in [
        ("10.0.0.1", 201),
        ("10.0.0.1", 201),
        ("10.0.0.1", 429),
        ("10.0.0.2", 201),
        // The first address has the most in which nobody has been.
        ("10.0.0.2", 201),
    ] {
        assert_eq!(create(from).await.expect("an answer").status(), expected, "{from}");
    }
}

#[tokio::test]
async fn the_page_comes_with_its_headers() {
    let server = start().await;
    for path in ["/", "/m/123456789"] {
        let response = server.get(path).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert!(headers["content-type"].to_str().expect("text").starts_with("text/html"));
        assert!(
            headers["content-security-policy"]
                .to_str()
                .expect("text")
                .contains("default-src 'none'")
        );
        assert!(
            headers["permissions-policy"]
                .to_str()
                .expect("text")
                .contains("camera=(self)")
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-cache");
    }
}

#[tokio::test]
async fn health_and_metrics() {
    let server = start().await;
    assert_eq!(server.get("/healthz").await.status(), 200);
    assert_eq!(server.get("/readyz").await.status(), 200);
    let meeting = server.meeting().await;
    let (mut client, _) = server.join(&meeting.id, "Ann").await;
    client.send(json!({ "type": "chat", "text": "" })).await;
    client.recv_type("error").await;
    server.get("/nowhere").await;
    let text = server.metrics().await;
    for line in [
        "tianqiao_meetings 1",
        "tianqiao_refusals_total{code=\"bad_message\"} 1",
        "tianqiao_refusals_total{code=\"not_found\"} 1",
        "tianqiao_websockets 1",
        "tianqiao_sessions{kind=\"web\"} 1",
        "tianqiao_ws_messages_total{direction=\"in\",type=\"join\"} 1",
        "tianqiao_http_requests_total{method=\"POST\",route=\"/api/v1/meetings\",status=\"201\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn metrics_are_not_for_strangers() {
    let server = start().await;
    assert_eq!(
        refusal(server.get("/metrics").await).await,
        (404, "not_found".to_owned())
    );
    for path in ["/healthz", "/readyz"] {
        let url = format!("{}{path}", server.metrics_url);
        assert_eq!(server.http.get(url).send().await.expect("an answer").status(), 200);
    }
    let page = server.http.get(&server.metrics_url).send().await.expect("an answer");
    assert_eq!(page.status(), 404);
    let url = format!("{}/metrics", server.metrics_url);
    let rebound = server.http.get(url).header("host", "evil.example").send().await;
    let (status, code) = refusal(rebound.expect("an answer")).await;
    assert_eq!((status, code.as_str()), (421, "misdirected"));

    let server = start_with(|config| config.metrics_listen = None).await;
    assert_eq!(server.metrics_url, "");
}

#[tokio::test]
async fn methods_of_strangers_make_no_series() {
    let server = start().await;
    for number in 0..50 {
        let method = format!("{}{number}", "X".repeat(1000));
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        let response = server.request(method, "/api/v1/meetings").send().await;
        assert_eq!(response.expect("an answer").status(), 405);
    }
    let text = server.metrics().await;
    let series: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("tianqiao_http_requests_total"))
        .collect();
    let expected = "tianqiao_http_requests_total{method=\"other\",route=\"/api/v1/meetings\",status=\"405\"} 50";
    assert_eq!(series, [expected]);
}

#[tokio::test]
async fn names_and_pages_of_others_are_refused() {
    let server = start_with(|config| {
        config.allowed_hosts = vec!["box.lan".to_owned()];
        config.allowed_origins = vec!["https://app.example.org".to_owned()];
    })
    .await;
    let own = &server.url;
    for (method, path, header, value, expected) in [
        (Method::GET, "/", "host", "evil.example", (421, "misdirected")),
        (Method::GET, "/api/v1/ws", "host", "evil.example", (421, "misdirected")),
        (Method::GET, "/", "host", "box.lan", (200, "")),
        (Method::GET, "/healthz", "host", "balancer.internal", (200, "")),
        (
            Method::POST,
            "/api/v1/meetings",
            "origin",
            "http://evil.example",
            (403, "forbidden"),
        ),
        (Method::POST, "/api/v1/meetings", "origin", "null", (403, "forbidden")),
        (Method::POST, "/api/v1/meetings", "origin", own, (201, "")),
        (
            Method::POST,
            "/api/v1/meetings",
            "origin",
            "https://app.example.org",
            (201, ""),
        ),
        (
            Method::GET,
            "/api/v1/meetings/1",
            "origin",
            "http://evil.example",
            (404, "meeting_not_found"),
        ),
        // WHIP asks for a token, not for a page.
        (
            Method::POST,
            "/whip/1",
            "origin",
            "http://evil.example",
            (401, "token_invalid"),
        ),
    ] {
        let request = server.request(method, path).json(&json!({})).header(header, value);
        let response = request.send().await.expect("an answer");
        match expected {
            (status, "") => assert_eq!(response.status(), status, "{path} {value}"),
            (status, code) => assert_eq!(refusal(response).await, (status, code.to_owned()), "{path} {value}"),
        }
    }
    let handshake = server
        .request(Method::GET, "/api/v1/ws")
        .header("origin", "http://evil.example")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let refused = handshake.send().await.expect("an answer");
    assert_eq!(refusal(refused).await, (403, "forbidden".to_owned()));
}

#[tokio::test]
async fn https_with_a_certificate_that_signs_itself() {
    let server = start_with(|config| config.listen = "0.0.0.0:0".parse().expect("an address")).await;
    assert!(server.url.starts_with("https://localhost:"), "{}", server.url);
    assert_eq!(server.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn a_media_server_that_does_not_answer_is_not_ready() {
    let server = common::start().await;
    server.node.fall_silent();
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.text().await.expect("text"), "the media server does not answer\n");
    assert_eq!(server.get("/healthz").await.status(), 200);
}

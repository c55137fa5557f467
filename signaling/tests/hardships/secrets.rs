//! What the log never shows, however much is asked for.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{WsClient, join};
use crate::process::{Meeting, Process, publisher};

#[tokio::test(flavor = "multi_thread")]
async fn no_level_shows_a_secret() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for filter in [
        "trace",
        "trace,hyper=trace,h2=trace,tungstenite=trace,axum=trace,dimpl=trace,rustls=trace,log=trace",
    ] {
        let process = Process::start("", &["--log", filter]);
        let secrets = use_everything(&process).await;
        let log = process.log();
        assert!(log.contains(" DEBUG "), "the log is on");
        for (what, secret) in secrets {
            assert!(secret.len() > 8, "{what} is empty");
            assert!(!log.contains(&secret), "{what} is in the log with --log {filter}");
        }
    }
}

/// Creates, joins, resumes and publishes by WHIP; returns what only those who did may know.
async fn use_everything(process: &Process) -> Vec<(&'static str, String)> {
    let http = reqwest::Client::new();
    let passcode = "open-sesame-4711";
    let created = http
        .post(format!("{}/api/v1/meetings", process.url))
        .json(&json!({ "title": "Secret", "passcode": passcode }))
        .send();
    let created: Value = created.await.expect("an answer").json().await.expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let meeting = Meeting::open(process).await;
    let token = http
        .post(format!(
            "{}/api/v1/meetings/{}/tokens",
            process.url,
            text(&created["id"])
        ))
        .json(&json!({ "name": "Ann", "passcode": passcode }))
        .send();
    let token: Value = token.await.expect("an answer").json().await.expect("JSON");
    let token = text(&token["token"]);

    let offer = meeting
        .clients
        .peer(&publisher())
        .expect("a peer")
        .offer(Instant::now())
        .expect("an offer");
    let mut message = join(&token, &offer);
    message["tracks"] = json!([]);
    message["slots"] = json!([]);
    let mut websocket = WsClient::connect(&process.url).await;
    websocket.send(message).await;
    let joined = websocket.recv().await;
    let session = text(&joined["session"]);
    let mut again = WsClient::connect(&process.url).await;
    again
        .send_deflated(json!({ "type": "resume", "session": session }))
        .await;
    assert_eq!(again.recv().await["type"], "resumed");
    // A mistake is no reason to quote it either.
    again.send(json!({ "type": "resume", "session": session })).await;
    again.recv_type("error").await;

    let mut peer = meeting.clients.peer(&publisher()).expect("a peer");
    let whip_offer = peer.offer(Instant::now()).expect("an offer");
    let path = format!("/whip/{}", meeting.created.id);
    let whip_token = meeting.token("Camera").await;
    let whip = meeting
        .server
        .whip(Method::POST, &path, &whip_token, "application/sdp", whip_offer.clone())
        .await
        .expect("an answer");
    assert_eq!(whip.status, 201, "{}", whip.body);
    let media = meeting
        .clients
        .connect(peer, &whip.body, Box::new(crate::process::NoSink))
        .expect("a peer");
    media.connected(crate::process::PATIENCE).await.expect("media");
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:thirty-two+characters/of+a+new+secret\r\n".replace('-', "+");
    let fragment = fragment
        .replace("a=ice+ufrag", "a=ice-ufrag")
        .replace("a=ice+pwd", "a=ice-pwd");
    let location = whip.headers["location"].to_str().expect("text").to_owned();
    let restart = http
        .request(Method::PATCH, format!("{}{location}", process.url))
        .bearer_auth(&whip_token)
        .header("content-type", "application/trickle-ice-sdpfrag")
        .header("if-match", "*")
        .body(fragment.clone());
    let restart = restart.send().await.expect("an answer");
    assert_eq!(restart.status(), 200);
    let restarted = restart.text().await.expect("text");

    vec![
        ("the passcode", passcode.to_owned()),
        ("the host token", text(&created["host_token"])),
        ("the join token", token),
        ("the WHIP token", whip_token),
        (
            "the session's secret",
            session.rsplit_once('.').expect("a secret").1.to_owned(),
        ),
        ("the client's ICE password", ice_pwd(&offer)),
        ("the server's ICE password", ice_pwd(&text(&joined["sdp"]))),
        ("the WHIP client's ICE password", ice_pwd(&whip_offer)),
        ("the WHIP server's ICE password", ice_pwd(&whip.body)),
        ("the new ICE password", ice_pwd(&fragment)),
        ("the server's new ICE password", ice_pwd(&restarted)),
    ]
}

fn ice_pwd(sdp: &str) -> String {
    let line = sdp.lines().find_map(|line| line.strip_prefix("a=ice-pwd:"));
    line.expect("a password").trim().to_owned()
}

//! Several signaling instances on one bus, with a node that only pretends.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::instance::Instance;
use common::{FakeNode, WsClient, refusal};
use reqwest::Method;
use serde_json::{Value, json};
use tianqiao_bus::Bus;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_protocol::control::{SfuEvent, SfuRequest};

struct Fleet {
    bus: Arc<InProcessBus>,
    node: FakeNode,
    a: Instance,
    b: Instance,
}

impl Fleet {
    async fn start() -> Self {
        let bus = Arc::new(InProcessBus::new());
        Self {
            node: FakeNode::start(bus.clone()),
            a: Instance::start(&bus).await,
            b: Instance::start(&bus).await,
            bus,
        }
    }

    /// Nothing was ended at the node since this was last asked.
    fn media_goes_on(&mut self) {
        let requests = self.node.requests();
        let ends = |request: &&SfuRequest| matches!(request, SfuRequest::Close { .. } | SfuRequest::CloseRoom { .. });
        assert_eq!(requests.iter().find(ends), None);
    }
}

fn names(state: &Value) -> Vec<&str> {
    let participants = state["state"]["participants"].as_array().expect("a list");
    let mut names: Vec<_> = participants.iter().filter_map(|one| one["name"].as_str()).collect();
    names.sort_unstable();
    names
}

fn chat(state: &Value) -> Vec<(u64, &str)> {
    let lines = state["state"]["chat"].as_array().expect("a list");
    let texts = lines.iter().map(|line| (line["seq"].as_u64(), line["text"].as_str()));
    texts.filter_map(|(seq, text)| Some((seq?, text?))).collect()
}

async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn any_instance_serves_any_meeting() {
    let fleet = Fleet::start().await;
    let meeting = fleet
        .a
        .meeting(json!({ "title": "Bridge", "passcode": "secret" }))
        .await;
    for name in [&meeting.id, &meeting.code] {
        let path = format!("/api/v1/meetings/{name}");
        let info: Value = fleet.b.get(&path).await.json().await.expect("JSON");
        assert_eq!(info["passcode_required"], true, "{info}");
        let wrong = json!({ "name": "Ann", "passcode": "wrong" });
        let refused = fleet.b.post(&format!("{path}/tokens"), wrong).await;
        assert_eq!(refusal(refused).await, (403, "passcode_wrong".to_owned()));
        let token: Value = {
            let body = json!({ "name": "Ann", "passcode": "secret" });
            fleet
                .b
                .post(&format!("{path}/tokens"), body)
                .await
                .json()
                .await
                .expect("JSON")
        };
        let token = token["token"].as_str().expect("a token");
        let info: Value = {
            let request = fleet.b.request(Method::GET, &path).bearer_auth(token);
            request.send().await.expect("an answer").json().await.expect("JSON")
        };
        assert_eq!(info["title"], "Bridge");
        let sdp = fleet
            .b
            .request(Method::POST, &format!("/whip/{name}"))
            .bearer_auth(token);
        let sdp = sdp.header("content-type", "application/sdp").body("offer");
        let answer = sdp.send().await.expect("an answer");
        assert_eq!(answer.status(), 201);
        let location = answer.headers()["location"].to_str().expect("text").to_owned();
        assert_eq!(answer.text().await.expect("text"), "answer to offer");
        let ended = fleet.b.request(Method::DELETE, &location).bearer_auth(token);
        assert_eq!(ended.send().await.expect("an answer").status(), 200);
        let joined = fleet
            .b
            .post(&format!("{path}/join"), json!({ "token": token, "sdp": "offer" }))
            .await;
        assert_eq!(joined.status(), 201);
    }
    assert_eq!(
        refusal(fleet.b.get("/api/v1/meetings/111111111").await).await.1,
        "meeting_not_found"
    );
    assert!(
        fleet.b.count(
            "tianqiao_fleet_proxied_total",
            &[("kind", "http"), ("result", "passed")]
        ) >= 12
    );
    let end = fleet
        .b
        .request(Method::DELETE, &format!("/api/v1/meetings/{}", meeting.id));
    let end = end.bearer_auth(&meeting.host_token).send().await.expect("an answer");
    assert_eq!(end.status(), 204);
    let path = format!("/api/v1/meetings/{}", meeting.code);
    assert_eq!(refusal(fleet.a.get(&path).await).await.1, "meeting_ended");
    let late = Instance::start(&fleet.bus).await;
    for _ in 0..100 {
        if fleet
            .bus
            .kv()
            .get("meetings", &meeting.id)
            .await
            .expect("the store")
            .is_none()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(refusal(late.get(&path).await).await.1, "meeting_ended");
    assert_eq!(fleet.bus.kv().keys("codes").await, Ok(vec![]));
    assert_eq!(fleet.bus.kv().keys("snapshots").await, Ok(vec![]));
}

#[tokio::test]
async fn people_at_different_instances_are_in_one_meeting() {
    let fleet = Fleet::start().await;
    let meeting = fleet.a.meeting(json!({})).await;
    let (mut ann, _) = fleet.a.join(&meeting.code, "Ann").await;
    let (mut bob, joined) = fleet.b.join(&meeting.code, "Bob").await;
    assert_eq!(names(&joined), ["Ann", "Bob"]);
    assert_eq!(ann.recv_type("roster").await["joined"][0]["name"], "Bob");
    bob.send_deflated(json!({ "type": "chat", "text": "hello" })).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.recv_type("chat").await["text"], "hello");
    }
    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.recv_type("ended").await["reason"], "left");
    assert_eq!(bob.closed().await, Some(1000));
    assert_eq!(ann.recv_type("roster").await["left"], json!([joined["participant"]]));
    let passed = [("kind", "websocket"), ("result", "passed")];
    assert_eq!(fleet.b.count("tianqiao_fleet_proxied_total", &passed), 1);
}

#[tokio::test]
async fn codes_are_unique_and_meetings_are_claimed() {
    let fleet = Fleet::start().await;
    let mut codes = HashSet::new();
    for _ in 0..20 {
        for instance in [&fleet.a, &fleet.b] {
            codes.insert(instance.meeting(json!({})).await.code);
        }
    }
    assert_eq!(codes.len(), 40);
    let kept: HashSet<String> = fleet
        .bus
        .kv()
        .keys("codes")
        .await
        .expect("the store")
        .into_iter()
        .collect();
    assert_eq!(kept, codes);
    assert_eq!(fleet.bus.kv().keys("meetings").await.expect("the store").len(), 40);
}

#[tokio::test]
async fn another_instance_goes_on_when_the_owner_is_killed() {
    let mut fleet = Fleet::start().await;
    let meeting = fleet.a.meeting(json!({ "passcode": "x" })).await;
    let token = |instance: &Instance, name: &str| {
        let body = json!({ "name": name, "passcode": "x" });
        let path = format!("{}/api/v1/meetings/{}/tokens", instance.url, meeting.code);
        let request = instance.http.post(path).json(&body);
        async move {
            let token: Value = request.send().await.expect("an answer").json().await.expect("JSON");
            token["token"].as_str().expect("a token").to_owned()
        }
    };
    let (ann_token, bob_token) = (token(&fleet.a, "Ann").await, token(&fleet.b, "Bob").await);
    let mut ann = WsClient::connect(&fleet.a.url).await;
    let ann_joined = ann.join(&ann_token).await;
    let mut bob = WsClient::connect(&fleet.b.url).await;
    let bob_joined = bob.join(&bob_token).await;
    for session in [&ann_joined, &bob_joined] {
        let session = session["participant"].as_str().expect("an id").to_owned();
        fleet.node.publish(SfuEvent::Connected { session });
    }
    for text in ["one", "two"] {
        ann.send(json!({ "type": "chat", "text": text })).await;
        bob.recv_type("chat").await;
    }
    wait_until("the chat is kept", || {
        fleet
            .a
            .count("tianqiao_fleet_snapshots_total", &[("result", "written")])
            >= 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    fleet.node.requests();

    fleet.a.kill();
    let killed = Instant::now();
    // Not told that it is over, only that this WebSocket is.
    assert_eq!(bob.closed().await, Some(1012));
    let (mut bob, bob_resumed) = fleet.b.resume(&bob_joined).await;
    assert_eq!(bob_resumed["type"], "resumed", "{bob_resumed}");
    assert!(killed.elapsed() < Duration::from_secs(8), "{:?}", killed.elapsed());
    let (mut ann, ann_resumed) = fleet.b.resume(&ann_joined).await;
    assert_eq!(names(&ann_resumed), ["Ann", "Bob"]);
    assert_eq!(chat(&ann_resumed), [(1, "one"), (2, "two")]);
    assert_eq!(ann_resumed["state"]["slots"], ann_joined["state"]["slots"]);
    let tracks = |state: &Value| {
        state["state"]["participants"].as_array().map(|list| {
            let mut list = list.clone();
            list.sort_by_key(|one| one["id"].to_string());
            list
        })
    };
    assert_eq!(tracks(&ann_resumed), tracks(&bob_joined));
    ann.send(json!({ "type": "chat", "text": "three" })).await;
    assert_eq!(bob.recv_type("chat").await["seq"], 3);
    // The old tokens are good, and so is the passcode.
    let refused = fleet
        .b
        .post(
            &format!("/api/v1/meetings/{}/tokens", meeting.id),
            json!({ "name": "Eve" }),
        )
        .await;
    assert_eq!(refusal(refused).await.1, "passcode_required");
    let event = SfuEvent::Speakers {
        room: meeting.id.clone(),
        dominant: bob_joined["participant"].as_str().map(str::to_owned),
        speaking: vec![],
    };
    fleet.node.publish(event);
    assert_eq!(ann.recv_type("speakers").await["dominant"], bob_joined["participant"]);
    assert_eq!(
        fleet.b.count("tianqiao_fleet_takeovers_total", &[("result", "taken")]),
        1
    );
    fleet.media_goes_on();
}

#[tokio::test]
async fn meetings_for_which_nobody_asks_are_taken_over_too() {
    let mut fleet = Fleet::start().await;
    let c = Instance::start(&fleet.bus).await;
    for _ in 0..20 {
        fleet.a.meeting(json!({})).await;
    }
    fleet.a.kill();
    let killed = Instant::now();
    let taken = |instance: &Instance| instance.count("tianqiao_fleet_takeovers_total", &[("result", "taken")]);
    wait_until("all are taken", || taken(&fleet.b) + taken(&c) == 20).await;
    assert!(killed.elapsed() < Duration::from_secs(8), "{:?}", killed.elapsed());
    assert!(taken(&fleet.b) > 0 && taken(&c) > 0, "they share the work");
}

#[tokio::test]
async fn an_instance_that_ends_hands_its_meetings_over_at_once() {
    let mut fleet = Fleet::start().await;
    let meeting = fleet.a.meeting(json!({})).await;
    let (mut ann, joined) = fleet.a.join(&meeting.code, "Ann").await;
    ann.send(json!({ "type": "chat", "text": "last words" })).await;
    ann.recv_type("chat").await;
    fleet.a.shutdown().await;
    assert!(ann.closed().await.is_some());
    let began = Instant::now();
    let (_ann, resumed) = fleet.b.resume(&joined).await;
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    assert_eq!(chat(&resumed), [(1, "last words")]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    fleet.media_goes_on();
}

#[tokio::test]
async fn of_two_that_believe_to_own_a_meeting_one_wins() {
    let mut fleet = Fleet::start().await;
    let meeting = fleet.a.meeting(json!({})).await;
    let (mut ann, joined) = fleet.a.join(&meeting.code, "Ann").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    // As if the first were silent for long: the second takes the claim without its knowing.
    let kv = fleet.bus.kv();
    let claim = kv
        .get("meetings", &meeting.id)
        .await
        .expect("the store")
        .expect("a claim");
    let mut value: Value = serde_json::from_slice(&claim.value).expect("JSON");
    value["instance"] = json!("nobody");
    let value = value.to_string().into();
    kv.update("meetings", &meeting.id, value, claim.revision)
        .await
        .expect("a claim");
    let (_second, resumed) = fleet.b.resume(&joined).await;
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    // The first finds out by what the node says, and lets go without a word of an end.
    ann.send(json!({ "type": "viewport", "slots": [] })).await;
    assert_eq!(ann.closed().await, Some(4000));
    assert_eq!(fleet.a.count("tianqiao_fleet_lost_claims_total", &[]), 1);
    let (_ann, resumed) = fleet.a.resume(&joined).await;
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    fleet.media_goes_on();
}

#[tokio::test]
async fn meetings_go_on_while_the_bus_is_away() {
    let mut fleet = Fleet::start().await;
    let meeting = fleet.a.meeting(json!({})).await;
    let (mut ann, ann_joined) = fleet.a.join(&meeting.code, "Ann").await;
    let (mut bob, joined) = fleet.b.join(&meeting.code, "Bob").await;
    ann.recv_type("roster").await;
    fleet.bus.set_connected(false);
    let away = Instant::now();
    let mut lines = 0;
    while away.elapsed() < Duration::from_secs(7) {
        bob.send(json!({ "type": "chat", "text": "still here" })).await;
        assert_eq!(ann.recv_type("chat").await["text"], "still here");
        lines += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let refused = fleet.b.post("/api/v1/meetings", json!({})).await;
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_eq!(refusal(refused).await, (503, "unavailable".to_owned()));
    fleet.bus.set_connected(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fleet.a.count("tianqiao_fleet_takeovers_total", &[]), 0);
    assert_eq!(fleet.b.count("tianqiao_fleet_takeovers_total", &[]), 0);
    fleet.media_goes_on();
    // What was said meanwhile is kept by now.
    fleet.a.kill();
    let (_bob, resumed) = fleet.b.resume(&joined).await;
    assert_eq!(chat(&resumed).len(), lines);
    let (_ann, resumed) = fleet.b.resume(&ann_joined).await;
    assert_eq!(names(&resumed), ["Ann", "Bob"]);
}

#[tokio::test]
async fn the_internal_port_is_for_members_only() {
    let fleet = Fleet::start().await;
    let kv = fleet.bus.kv();
    for id in kv.keys("instances").await.expect("the store") {
        let entry = kv.get("instances", &id).await.expect("the store").expect("an entry");
        let entry: Value = serde_json::from_slice(&entry.value).expect("JSON");
        let url = format!("{}/api/v1/meetings/1", entry["url"].as_str().expect("a URL"));
        for secret in [None, Some("guess")] {
            let mut request = fleet.a.http.get(&url).header("tianqiao-client", "192.0.2.1");
            if let Some(secret) = secret {
                request = request.header("tianqiao-fleet", secret);
            }
            assert_eq!(request.send().await.expect("an answer").status(), 403);
        }
    }
}

#[tokio::test]
async fn who_was_taken_for_dead_lets_go_of_what_others_have_and_is_one_of_the_fleet_again() {
    let mut fleet = Fleet::start().await;
    let meeting = fleet.a.meeting(json!({})).await;
    let (mut ann, joined) = fleet.a.join(&meeting.code, "Ann").await;
    let kv = fleet.bus.kv();
    let claim = kv
        .get("meetings", &meeting.id)
        .await
        .expect("the store")
        .expect("a claim");
    let claim: Value = serde_json::from_slice(&claim.value).expect("JSON");
    let first = claim["instance"].as_str().expect("an id");
    kv.delete("instances", first, None).await.expect("it is deleted");
    let path = format!("/api/v1/meetings/{}", meeting.id);
    assert_eq!(fleet.b.get(&path).await.status(), 200);
    assert!(ann.closed().await.is_some());
    let (_ann, resumed) = fleet.a.resume(&joined).await;
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    let taken = |instance: &Instance| instance.count("tianqiao_fleet_takeovers_total", &[("result", "taken")]);
    let lost = |instance: &Instance| instance.count("tianqiao_fleet_lost_claims_total", &[]);
    assert_eq!((taken(&fleet.a), taken(&fleet.b)), (lost(&fleet.b), lost(&fleet.a)));
    let until = Instant::now() + Duration::from_secs(10);
    while kv.get("instances", first).await.expect("the store").is_none() {
        assert!(Instant::now() < until, "it is registered again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fleet.media_goes_on();
}

#[tokio::test]
async fn codes_are_no_cheaper_to_guess_at_another_instance() {
    let bus = Arc::new(InProcessBus::new());
    let _node = FakeNode::start(bus.clone());
    let a = Instance::start(&bus).await;
    let few = |config: &mut tianqiao::Config| {
        config.lookup_misses = 3;
        config.proof_bits = 4;
    };
    let b = Instance::start_with(&bus, few).await;
    let meeting = a.meeting(json!({})).await;
    for code in ["111111111", "222222222", "333333333"] {
        assert_eq!(
            refusal(b.get(&format!("/api/v1/meetings/{code}")).await).await.1,
            "meeting_not_found"
        );
    }
    for code in ["444444444", &meeting.code] {
        assert_eq!(
            refusal(b.get(&format!("/api/v1/meetings/{code}")).await).await.1,
            "proof_required"
        );
        let tokens = b
            .post(&format!("/api/v1/meetings/{code}/tokens"), json!({ "name": "Eve" }))
            .await;
        assert_eq!(refusal(tokens).await.1, "proof_required");
    }
    // Who knows the meeting's id, or works, gets in.
    b.token(&meeting.id, "Ann").await;
    let path = format!("/api/v1/meetings/{}", meeting.code);
    let body: Value = b.get(&path).await.json().await.expect("JSON");
    let work: tianqiao_protocol::proof::ProofOfWork = serde_json::from_value(body["proof"].clone()).expect("work");
    let request = b.request(Method::GET, &path).header("tianqiao-proof", work.solve(""));
    assert_eq!(request.send().await.expect("an answer").status(), 200);
}

//! One meeting on several media nodes: placement, what the nodes are told of each other, moves.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{FakeNode, TestServer, WsClient};
use serde_json::{Value, json};
use tianqiao_protocol::control::{CloseReason, OpenSession, RoomRelays, SfuEvent, SfuRequest};

fn id(joined: &Value) -> String {
    joined["participant"].as_str().expect("an id").to_owned()
}

async fn opened(node: &mut FakeNode) -> OpenSession {
    match node.request(|request| matches!(request, SfuRequest::Open(_))).await {
        SfuRequest::Open(open) => open,
        other => panic!("{other:?}"),
    }
}

async fn relays(node: &mut FakeNode, wanted: impl Fn(&RoomRelays) -> bool) -> RoomRelays {
    let found = node.request(|request| matches!(request, SfuRequest::Relay(relays) if wanted(relays)));
    match found.await {
        SfuRequest::Relay(relays) => relays,
        other => panic!("{other:?}"),
    }
}

fn connected(session: &str) -> SfuEvent {
    SfuEvent::Connected {
        session: session.to_owned(),
    }
}

fn offer(id: u32, number: &Value) -> Value {
    json!({
        "type": "offer", "id": id, "sdp": "second", "move": number,
        "tracks": [{ "mid": "0", "source": "microphone" }, { "mid": "1", "source": "camera", "muted": true }],
        "slots": [{ "mid": "2", "show": "active_speaker", "height": 360 }],
    })
}

/// Answers a move as a page does, up to the answer; the second session's tracks.
async fn take_up(client: &mut WsClient, asked: &Value) -> Value {
    client.send(offer(7, &asked["move"])).await;
    let answer = client.recv_type("answer").await;
    assert_eq!((&answer["id"], &answer["sdp"]), (&json!(7), &json!("answer to second")));
    answer["tracks"].clone()
}

#[tokio::test]
async fn a_meeting_spills_and_both_nodes_learn_of_each_others_participants() {
    let server = common::start_with(|config| config.room_node_sessions = 2).await;
    let mut second = FakeNode::start_as(server.bus.clone(), "second");
    // The test server's own one takes no part.
    let mut first_node = FakeNode::start_as(server.bus.clone(), "fake");
    let meeting = server.meeting().await;
    let mut clients = Vec::new();
    let mut ids = Vec::new();
    let (client, joined) = server.join(&meeting.id, "Ann").await;
    clients.push(client);
    ids.push(id(&joined));
    // Which node she is on is chance.
    let (mut many, mut one) = (&mut first_node, &mut second);
    let first = tokio::select! {
        open = opened(many) => open,
        open = opened(one) => {
            std::mem::swap(&mut many, &mut one);
            open
        }
    };
    for name in ["Bo", "Cy"] {
        let (client, joined) = server.join(&meeting.id, name).await;
        clients.push(client);
        ids.push(id(&joined));
    }
    assert_eq!(first.session, ids[0]);
    assert_eq!(opened(many).await.session, ids[1]);
    assert_eq!(opened(one).await.session, ids[2]);
    let told = relays(many, |relays| !relays.participants.is_empty()).await;
    assert_eq!((told.room.as_str(), told.links.len()), (meeting.id.as_str(), 1));
    assert_eq!(told.participants[0].session, ids[2]);
    assert_eq!(told.participants[0].tracks.len(), 2);
    assert_eq!(told.home, None, "the first node decides who speaks");
    let with_ends = relays(many, |relays| !relays.links[0].endpoints.is_empty()).await;
    assert_eq!(with_ends.links[0].id, told.links[0].id);
    let told = relays(one, |relays| !relays.participants.is_empty()).await;
    let remote: BTreeSet<&str> = told.participants.iter().map(|remote| remote.session.as_str()).collect();
    assert_eq!(remote, ids[..2].iter().map(String::as_str).collect());
    assert_eq!(told.home, Some(told.links[0].id));
    // A change is told to the other node only.
    let track = json!({ "type": "mute", "track": told.participants[0].tracks[0].id, "muted": true });
    let muted = ids
        .iter()
        .position(|id| *id == told.participants[0].session)
        .expect("known");
    clients[muted].send(track).await;
    let told = relays(one, |relays| relays.base.is_some() && !relays.participants.is_empty()).await;
    assert!(told.participants[0].tracks[0].muted);
    // With its only session gone a node has no others any longer.
    clients[2].send(json!({ "type": "leave" })).await;
    for node in [one, many] {
        let told = relays(node, |relays| relays.links.is_empty()).await;
        assert!(told.base.is_none() && told.participants.is_empty() && told.home.is_none());
    }
}

#[tokio::test]
async fn a_meeting_on_one_node_tells_it_of_no_others() {
    let mut server = common::start().await;
    let _other = FakeNode::start_as(server.bus.clone(), "second");
    server.node.report(0, false);
    let meeting = server.meeting().await;
    let _clients = [
        server.join(&meeting.id, "Ann").await,
        server.join(&meeting.id, "Bo").await,
    ];
    let metrics = server.metrics().await;
    assert!(!metrics.contains("tianqiao_relay_requests_total{"), "{metrics}");
    let _ = server.take();
}

/// Ann on the first node, Bo on another; both nodes have reported.
struct Pair {
    server: TestServer,
    second: FakeNode,
    ann: WsClient,
    ann_id: String,
    bo: WsClient,
}

async fn pair() -> Pair {
    let mut server = common::start_with(|config| config.room_node_sessions = 1).await;
    let meeting = server.meeting().await.id;
    server.node.report(0, false);
    let (ann, joined) = server.join(&meeting, "Ann").await;
    let ann_id = id(&joined);
    opened(&mut server.node).await;
    server.node.publish(connected(&ann_id));
    let mut second = FakeNode::start_as(server.bus.clone(), "second");
    second.report(0, false);
    let (bo, joined) = server.join(&meeting, "Bo").await;
    let bo_id = id(&joined);
    opened(&mut second).await;
    second.publish(connected(&bo_id));
    Pair {
        server,
        second,
        ann,
        ann_id,
        bo,
    }
}

#[tokio::test]
async fn a_draining_node_is_left_without_a_gap() {
    let Pair {
        mut server,
        mut second,
        mut ann,
        ann_id,
        mut bo,
        ..
    } = pair().await;
    // Muted and idle ones move as well.
    server.node.report(1, true);
    let asked = ann.recv_type("move").await;
    assert_eq!(asked["lost"], false);
    let tracks = take_up(&mut ann, &asked).await;
    let open = opened(&mut second).await;
    assert_eq!((open.session.as_str(), open.sdp.as_str()), (ann_id.as_str(), "second"));
    // While there are two, both are told what the client wants; a track is known by either id.
    let viewport = json!({ "type": "viewport", "slots": [{ "mid": "2", "show": "nobody", "height": 0 }] });
    ann.send(viewport).await;
    ann.send(json!({ "type": "mute", "track": tracks[0]["id"], "muted": true }))
        .await;
    let mut muted = Vec::new();
    for node in [&mut server.node, &mut second] {
        node.request(|request| matches!(request, SfuRequest::Viewport { session, .. } if *session == ann_id))
            .await;
        match node.request(|request| matches!(request, SfuRequest::Mute { .. })).await {
            SfuRequest::Mute { track, muted: true, .. } => muted.push(track),
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(muted[0], muted[1]);
    assert_eq!(json!(muted[1]), tracks[0]["id"]);
    // Others hear of the muting by the track that they know, and of the new one when it is there.
    let news = bo.recv_type("tracks").await;
    assert_eq!(
        (&news["participant"], &news["tracks"][0]["id"]),
        (&json!(ann_id), &json!(muted[0]))
    );
    second.publish(connected(&ann_id));
    ann.send(json!({ "type": "moved", "move": asked["move"] })).await;
    let news = bo.recv_type("tracks").await;
    assert_eq!(
        news["tracks"][0],
        json!({ "id": muted[1], "source": "microphone", "muted": true })
    );
    let closed = server
        .node
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
    assert_eq!(
        closed,
        SfuRequest::Close {
            session: ann_id.clone()
        }
    );
    let slots = ann.recv_type("slots").await;
    assert_eq!(slots["slots"][0], json!({ "mid": "2", "track": 99 }));
    // The node has nothing of the room any longer, and what is said again harms nothing.
    relays(&mut server.node, |relays| relays.links.is_empty()).await;
    ann.send(json!({ "type": "moved", "move": asked["move"] })).await;
    ann.send(json!({ "type": "chat", "text": "still here" })).await;
    let next = ann.recv_type("chat").await;
    assert_eq!(next["text"], "still here");
    let metrics = server.metrics().await;
    assert!(
        metrics.contains("tianqiao_moves_total{event=\"done\",reason=\"drain\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn whoever_was_on_a_lost_node_goes_elsewhere_and_the_node_closes_what_it_still_has() {
    let Pair {
        mut server,
        mut second,
        mut ann,
        ann_id,
        mut bo,
        ..
    } = pair().await;
    let bus = server.bus.clone();
    let lost = std::mem::replace(&mut server.node, FakeNode::start_as(bus.clone(), "third"));
    let incarnation = lost.incarnation;
    drop(lost);
    let asked = ann.recv_type("move").await;
    assert_eq!(asked["lost"], true);
    assert!(asked["within"].as_u64() <= Some(1000));
    take_up(&mut ann, &asked).await;
    // It is where there is least of the meeting: the third.
    let open = opened(&mut server.node).await;
    assert_eq!(open.session, ann_id);
    server.node.publish(connected(&ann_id));
    let news = bo.recv_type("tracks").await;
    assert_eq!(
        news["participant"],
        json!(ann_id),
        "no `moved` is needed where nothing is left"
    );
    let told = relays(&mut second, |relays| {
        relays.links.iter().any(|link| link.peer == "third") && !relays.participants.is_empty()
    });
    assert_eq!(told.await.participants[0].session, ann_id);
    // A partition, not a death.
    let mut back = FakeNode::start_as(bus, "fake");
    back.incarnation = incarnation;
    back.report(1, false);
    let closed = back
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
    assert_eq!(closed, SfuRequest::Close { session: ann_id });
}

#[tokio::test]
async fn a_move_that_fails_is_tried_again_and_one_that_nobody_takes_up_survives_a_resume() {
    let Pair {
        mut server,
        second,
        mut ann,
        ann_id,
        ..
    } = pair().await;
    server.node.report(1, true);
    let asked = ann.recv_type("move").await;
    let broken = json!({ "type": "offer", "id": 3, "sdp": "invalid", "move": asked["move"] });
    ann.send(broken).await;
    let refused = ann.recv_type("error").await;
    assert_eq!(
        (&refused["code"], &refused["offer"]),
        (&json!("sdp_invalid"), &json!(3))
    );
    let again = ann.recv_type("move").await;
    assert!(again["move"].as_u64() > asked["move"].as_u64());
    // The old number is of no use any longer.
    ann.send(offer(4, &asked["move"])).await;
    assert_eq!(ann.recv_type("error").await["code"], "bad_message");
    take_up(&mut ann, &again).await;
    second.publish(SfuEvent::Closed {
        session: ann_id.clone(),
        reason: CloseReason::IceTimeout,
    });
    let third = ann.recv_type("move").await;
    assert!(third["move"].as_u64() > again["move"].as_u64());
    take_up(&mut ann, &third).await;
    second.publish(connected(&ann_id));
    ann.send(json!({ "type": "moved", "move": third["move"] })).await;
    server
        .node
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
}

#[tokio::test]
async fn a_resume_during_a_move_is_told_of_it_again() {
    let mut server = common::start_with(|config| config.room_node_sessions = 1).await;
    let meeting = server.meeting().await.id;
    server.node.report(0, false);
    let (mut ann, joined) = server.join(&meeting, "Ann").await;
    let second = FakeNode::start_as(server.bus.clone(), "second");
    second.report(0, false);
    server.node.report(1, true);
    let asked = ann.recv_type("move").await;
    drop(ann);
    let mut ann = server.connect().await;
    ann.send(json!({ "type": "resume", "session": joined["session"] }))
        .await;
    assert_eq!(ann.recv().await["type"], "resumed");
    assert_eq!(ann.recv_type("move").await["move"], asked["move"]);
    let _ = server.take();
}

#[tokio::test]
async fn whip_stays_on_a_draining_node_until_its_time_is_over() {
    let mut server = common::start_with(|config| config.drain_grace = Duration::from_secs(1)).await;
    let meeting = server.meeting().await.id;
    server.node.report(0, false);
    let token = server.token(&meeting, "Camera").await;
    let whip = server
        .http
        .post(format!("{}/whip/{meeting}", server.url))
        .bearer_auth(&token)
        .header("content-type", "application/sdp")
        .body("offer")
        .send()
        .await
        .expect("an answer");
    assert_eq!(whip.status(), 201);
    let camera = opened(&mut server.node).await.session;
    let (mut ann, joined) = server.join(&meeting, "Ann").await;
    let ann_id = id(&joined);
    let mut second = FakeNode::start_as(server.bus.clone(), "second");
    second.report(0, false);
    let drained_at = tokio::time::Instant::now();
    server.node.report(2, true);
    let asked = ann.recv_type("move").await;
    take_up(&mut ann, &asked).await;
    assert_eq!(opened(&mut second).await.session, ann_id);
    let closed = server
        .node
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
    assert_eq!(closed, SfuRequest::Close { session: camera });
    assert!(drained_at.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn a_node_that_is_too_full_gives_a_small_meeting_away() {
    let mut server = common::start().await;
    let meeting = server.meeting().await.id;
    server.node.report(0, false);
    let (mut ann, joined) = server.join(&meeting, "Ann").await;
    let ann_id = id(&joined);
    let mut second = FakeNode::start_as(server.bus.clone(), "second");
    second.report(10, false);
    // It has others, of which this server knows nothing.
    server.node.report(80, false);
    let asked = ann.recv_type("move").await;
    assert_eq!(asked["lost"], false);
    take_up(&mut ann, &asked).await;
    assert_eq!(opened(&mut second).await.session, ann_id);
    second.publish(connected(&ann_id));
    ann.send(json!({ "type": "moved", "move": asked["move"] })).await;
    server
        .node
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
    let metrics = server.metrics().await;
    let done = "tianqiao_moves_total{event=\"done\",reason=\"rebalance\"} 1";
    assert!(metrics.contains(done), "{metrics}");
}

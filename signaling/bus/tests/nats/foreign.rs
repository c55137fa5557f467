//! Others on the bus: of another version, or who should not be there.

use serde_json::{Value, json};
use tianqiao_bus::nats::{NatsBus, NatsConfig};
use tianqiao_bus::testing::NatsServer;
use tianqiao_bus::{Bus, BusError, KvError};
use tianqiao_protocol::control::{SfuReply, SfuRequest};

use super::suite::{close, connected, owner, report, within};
use super::{config, connect};

async fn foreigner(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.expect("connected")
}

fn request(id: u64, request: Value) -> bytes::Bytes {
    let owner = json!({"instance": "i", "epoch": 3, "since": "later"});
    json!({"v": 9, "id": id, "owner": owner, "request": request, "more": [1]})
        .to_string()
        .into()
}

/// After it the server knows what the bus has subscribed to.
async fn settle(bus: &NatsBus) {
    let mut calls = bus.serve("settle".into());
    let node = "settle".into();
    let owner = owner();
    let answer = async {
        let call = calls.recv().await.expect("a call");
        call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
    };
    let asked = bus.request(&node, &owner, SfuRequest::Ping);
    let (answered, ()) = within("the bus is settled", async { tokio::join!(asked, answer) }).await;
    answered.expect("answered");
}

#[tokio::test]
async fn a_request_of_a_later_version_is_carried_out_or_refused() {
    let server = NatsServer::start();
    let bus = connect(&server).await;
    let client = foreigner(&server).await;
    let mut calls = bus.serve("n1".into());
    settle(&bus).await;
    let known = request(5, json!({"request": "close", "session": "s", "softly": true}));
    let (answer, ()) = tokio::join!(client.request("tianqiao.node.n1", known), async {
        let call = calls.recv().await.expect("a call");
        assert_eq!(call.request, close("s"));
        call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
    });
    let answer: Value = serde_json::from_slice(&answer.expect("answered").payload).expect("JSON");
    assert_eq!(answer, json!({"v": 1, "id": 5, "reply": {"reply": "done"}}));

    let unknown = request(6, json!({"request": "dance"}));
    let answer = within("an answer", client.request("tianqiao.node.n1", unknown)).await;
    let answer: Value = serde_json::from_slice(&answer.expect("answered").payload).expect("JSON");
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(6), &json!("bad_message"))
    );
    assert_eq!(bus.counters().not_understood.value(), 1);
    assert!(calls.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_of_a_later_version_is_understood_or_an_error() {
    use futures_util::StreamExt;
    let server = NatsServer::start();
    let bus = connect(&server).await;
    let client = foreigner(&server).await;
    let mut requests = client.subscribe("tianqiao.node.n1").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let answers = [
        json!({"reply": {"reply": "done", "well": true}, "took": 3}),
        json!({"reply": {"reply": "danced"}}),
        json!({"error": {"code": "too_loud", "message": "hush", "for": 3}}),
        json!({"maybe": 1}),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let reply = async {
            let message = requests.next().await.expect("a request");
            let request: Value = serde_json::from_slice(&message.payload).expect("JSON");
            let mut answer = answer;
            answer["id"] = request["id"].clone();
            let to = message.reply.expect("where to");
            client.publish(to, answer.to_string().into()).await.expect("sent");
        };
        let node = "n1".into();
        let owner = owner();
        let (reply, ()) = within("an answer", async {
            tokio::join!(bus.request(&node, &owner, SfuRequest::Ping), reply)
        })
        .await;
        match number {
            0 => assert!(matches!(reply, Ok(SfuReply::Done))),
            _ => assert!(matches!(reply, Err(BusError::Refused(_))), "{number}: {reply:?}"),
        }
    }
}

#[tokio::test]
async fn a_request_that_comes_twice_is_carried_out_once() {
    let server = NatsServer::start();
    let bus = connect(&server).await;
    let client = foreigner(&server).await;
    let mut calls = bus.serve("n1".into());
    settle(&bus).await;
    let again = request(7, json!({"request": "ping"}));
    for _ in 0..3 {
        client
            .publish_with_reply("tianqiao.node.n1", "nobody", again.clone())
            .await
            .expect("sent");
    }
    let other = request(8, close_json());
    client
        .publish_with_reply("tianqiao.node.n1", "nobody", other)
        .await
        .expect("sent");
    let first = within("a call", calls.recv()).await.expect("a call");
    let second = within("a call", calls.recv()).await.expect("a call");
    assert_eq!((first.request, second.request), (SfuRequest::Ping, close("s")));
    assert_eq!(bus.counters().requests_repeated.value(), 2);
}

fn close_json() -> Value {
    json!({"request": "close", "session": "s"})
}

#[tokio::test]
async fn unknown_events_are_passed_over_and_lost_ones_are_told() {
    let server = NatsServer::start();
    let bus = connect(&server).await;
    let client = foreigner(&server).await;
    let mut events = bus.events(&"i".into());
    let mut missed = bus.missed(&"i".into());
    settle(&bus).await;
    let known = |session: &str| json!({"event": "connected", "session": session, "over": "tcp"});
    let send = async |seq: u64, event: Value| {
        let message = json!({"v": 2, "node": "n1", "stream": 4, "seq": seq, "event": event, "more": {}});
        let sent = client.publish("tianqiao.instance.i", message.to_string().into()).await;
        sent.expect("sent");
    };
    send(1, known("a")).await;
    send(2, json!({"event": "danced"})).await;
    send(3, known("b")).await;
    client
        .publish("tianqiao.instance.i", "nonsense".into())
        .await
        .expect("sent");
    for session in ["a", "b"] {
        let event = within("an event", events.recv()).await.expect("an event");
        assert_eq!(event.event, connected(session));
    }
    assert!(missed.try_recv().is_err(), "none is lost");
    send(5, known("c")).await;
    assert_eq!(within("the gap", missed.recv()).await, Some("n1".into()));
    let event = within("an event", events.recv()).await.expect("an event");
    assert_eq!(event.event, connected("c"));
    // The last of all is lost, which only a mark tells.
    send(6, Value::Null).await;
    assert_eq!(within("the gap", missed.recv()).await, Some("n1".into()));
    assert_eq!(bus.counters().events_missed.value(), 2);
}

#[tokio::test]
async fn a_node_reports_only_of_itself() {
    let server = NatsServer::start();
    let bus = connect(&server).await;
    let client = foreigner(&server).await;
    let mut reports = bus.reports();
    settle(&bus).await;
    let report_of_n1 = json!({"node": "n1", "mood": "good"}).to_string();
    for subject in ["tianqiao.report.n2", "tianqiao.report.n1"] {
        let sent = client.publish(subject, report_of_n1.clone().into()).await;
        sent.expect("sent");
    }
    assert_eq!(within("a report", reports.recv()).await, Some(report("n1", 0)));
    assert_eq!(bus.counters().not_understood.value(), 1);
    assert!(reports.try_recv().is_err());
}

#[tokio::test]
async fn without_credentials_nothing_is_got() {
    let server = NatsServer::start_with(&["--user", "fleet", "--pass", "p@ss"]);
    let with = |user: &str| NatsConfig {
        servers: vec![server.url().replace("nats://", &format!("nats://{user}"))],
        ..config(&server)
    };
    let member = super::connect_with(with("fleet:p%40ss@")).await;
    member.kv().put("meetings", "m", "1".into()).await.expect("put");
    let mut calls = member.serve("n1".into());
    for user in ["", "fleet:guess@", "other:p%40ss@"] {
        let stranger = NatsBus::connect(with(user)).await.expect("a bus");
        let mut events = stranger.events(&"i".into());
        let mut reports = stranger.reports();
        // Refused at least once.
        super::suite::until("the server has refused", async || {
            server.log().matches("authentication error").count() > 0
        })
        .await;
        let reply = stranger.request(&"n1".into(), &owner(), SfuRequest::Ping).await;
        assert!(matches!(reply, Err(BusError::Away)));
        let got = stranger.kv().get("meetings", "m").await;
        assert!(matches!(got, Err(KvError::Away(_))));
        member.report(report("n1", 1));
        let event = connected("s");
        let node = "n1".into();
        member.publish(&"i".into(), tianqiao_bus::NodeEvent { node, event });
        assert!(!*stranger.connected().borrow() && stranger.nodes().is_empty());
        assert!(events.try_recv().is_err() && reports.try_recv().is_err());
    }
    assert!(calls.try_recv().is_err());
}

//! The server, the connection or a process fails.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tianqiao_bus::nats::{NatsBus, NatsConfig};
use tianqiao_bus::testing::NatsServer;
use tianqiao_bus::{Bus, BusError, KvError, NodeEvent};
use tianqiao_protocol::control::{SfuReply, SfuRequest};
use tianqiao_protocol::error::ErrorCode;
use tokio::task::JoinHandle;

use super::suite::{close, connected, owner, report, until, within};
use super::{config, connect, connect_with, wait_connected};

/// Answers all requests, and reports.
fn run_node(bus: Arc<NatsBus>, node: &'static str) -> JoinHandle<()> {
    let mut calls = bus.serve(node.into());
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(call) = calls.recv() => drop(call.reply.send(Ok(SfuReply::Done))),
                _ = tick.tick() => bus.report(report(node, 1)),
            }
        }
    })
}

async fn until_answered(bus: &NatsBus, node: &str) {
    until("the node answers", async || {
        bus.request(&node.into(), &owner(), SfuRequest::Ping).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn all_is_as_before_when_the_server_comes_back() {
    let mut server = NatsServer::start();
    let signaling = connect(&server).await;
    let node_bus = connect(&server).await;
    let _node = run_node(node_bus.clone(), "n1");
    let mut events = signaling.events(&"i".into());
    until("the node is found", async || signaling.nodes() == ["n1"]).await;
    until_answered(&signaling, "n1").await;
    let made = signaling
        .kv()
        .create("meetings", "m", "1".into())
        .await
        .expect("created");
    let gone = signaling
        .kv()
        .create("meetings", "gone", "1".into())
        .await
        .expect("created");
    signaling.kv().delete("meetings", "gone", None).await.expect("deleted");

    server.kill();
    wait_connected(&signaling, false).await;
    wait_connected(&node_bus, false).await;
    let started = Instant::now();
    assert!(matches!(
        signaling.request(&"n1".into(), &owner(), SfuRequest::Ping).await,
        Err(BusError::Away)
    ));
    assert!(matches!(
        signaling.kv().get("meetings", "m").await,
        Err(KvError::Away(_))
    ));
    assert!(started.elapsed() < Duration::from_secs(1), "it is known to be away");
    let node = || "n1".into();
    let event = connected("said meanwhile");
    node_bus.publish(&"i".into(), NodeEvent { node: node(), event });
    // Longer than a node may be silent.
    let deadline = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < deadline {
        assert_eq!(signaling.nodes(), ["n1"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    server.restart();
    let mut is_lost = false;
    until("the node answers", async || {
        is_lost |= signaling.nodes() != ["n1"];
        let reply = signaling.request(&node(), &owner(), SfuRequest::Ping).await;
        // A node that is on its way back is not taken for one that is none.
        assert!(matches!(reply, Ok(_) | Err(BusError::Away)), "{reply:?}");
        reply.is_ok()
    })
    .await;
    assert!(!is_lost);
    let entry = signaling.kv().get("meetings", "m").await.expect("got").expect("kept");
    assert_eq!((entry.value, entry.revision), ("1".into(), made));
    let anew = signaling
        .kv()
        .create("meetings", "gone", "2".into())
        .await
        .expect("created");
    assert!(anew > gone, "also over a deletion and a crash");
    let told = within("the event or that it is lost", async {
        let mut missed = signaling.missed(&"i".into());
        tokio::select! {
            event = events.recv() => event.map(|event| event.node),
            node = missed.recv() => node,
        }
    });
    assert_eq!(told.await, Some(node()));
    let event = connected("said after");
    node_bus.publish(
        &"i".into(),
        NodeEvent {
            node: node(),
            event: event.clone(),
        },
    );
    until("the event", async || {
        within("an event", events.recv()).await.expect("an event").event == event
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_loses_no_node_and_holds_nobody_up() {
    let server = NatsServer::start();
    let config = NatsConfig {
        request_timeout: Duration::from_secs(3),
        ..config(&server)
    };
    let signaling = connect_with(config).await;
    let _node = run_node(connect(&server).await, "n1");
    until("the node is found", async || signaling.nodes() == ["n1"]).await;
    until_answered(&signaling, "n1").await;

    let pid = server.pid().expect("it runs");
    signal(pid, "STOP");
    let started = Instant::now();
    let node = "n1".into();
    let owner = owner();
    let (kv, reply) = tokio::join!(
        signaling.kv().get("meetings", "m"),
        signaling.request(&node, &owner, SfuRequest::Ping)
    );
    assert!(matches!(kv, Err(KvError::Away(_))), "{kv:?}");
    assert!(matches!(reply, Err(BusError::Away)), "{reply:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    wait_connected(&signaling, false).await;
    assert_eq!(signaling.nodes(), ["n1"]);
    signal(pid, "CONT");
    wait_connected(&signaling, true).await;
    until("the node answers", async || {
        assert_eq!(signaling.nodes(), ["n1"]);
        signaling.request(&node, &owner, SfuRequest::Ping).await.is_ok()
    })
    .await;
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status();
    assert!(sent.expect("a shell").success());
}

#[tokio::test]
async fn a_node_whose_connection_ends_is_not_there() {
    let server = NatsServer::start();
    let signaling = connect(&server).await;
    let node_bus = connect(&server).await;
    let node = run_node(node_bus.clone(), "n1");
    until("the node is found", async || signaling.nodes() == ["n1"]).await;
    node.abort();
    drop(node_bus);
    until("requests find nobody", async || {
        let reply = signaling.request(&"n1".into(), &owner(), SfuRequest::Ping).await;
        matches!(reply, Err(BusError::NoNode(_)))
    })
    .await;
    until("the node is gone", async || signaling.nodes().is_empty()).await;
}

#[tokio::test]
async fn a_request_ends_when_its_node_falls_silent() {
    let server = NatsServer::start();
    let signaling = connect(&server).await;
    let node_bus = connect(&server).await;
    let mut calls = node_bus.serve("n1".into());
    until("the node is found", async || {
        node_bus.report(report("n1", 1));
        signaling.nodes() == ["n1"]
    })
    .await;
    let node = "n1".into();
    let started = Instant::now();
    let owner = owner();
    let (reply, _call) = tokio::join!(signaling.request(&node, &owner, SfuRequest::Ping), calls.recv());
    assert!(matches!(reply, Err(BusError::Gone)), "{reply:?}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "before the request's own time is over"
    );
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let server = NatsServer::start();
    let config = NatsConfig {
        request_timeout: Duration::from_millis(500),
        ..config(&server)
    };
    let signaling = connect_with(config).await;
    let node_bus = connect(&server).await;
    let mut calls = node_bus.serve("n1".into());
    let node = "n1".into();
    let owner = owner();
    let mut late = None;
    until("the request is received, and not answered in time", async || {
        let reply = signaling.request(&node, &owner, close("a")).await;
        late = calls.try_recv().ok();
        assert!(matches!(reply, Err(BusError::Gone | BusError::NoNode(_))), "{reply:?}");
        late.is_some()
    })
    .await;
    let late = late.expect("a call");
    let answer = |text: &str| Ok(SfuReply::IceRestarted { sdpfrag: text.into() });
    let (reply, ()) = tokio::join!(signaling.request(&node, &owner, close("b")), async {
        let call = calls.recv().await.expect("a call");
        assert_eq!(call.request, close("b"));
        late.reply.send(answer("a")).expect("sent to nobody");
        call.reply.send(answer("b")).expect("the caller waits");
    });
    assert_eq!(reply.ok(), answer("b").ok());
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_connection_stays() {
    let server = NatsServer::start();
    let signaling = connect(&server).await;
    let node_bus = connect(&server).await;
    let mut calls = node_bus.serve("n1".into());
    // Nothing that could be deflated.
    let noise = || -> String { (0..600_000).map(|_| format!("{:04x}", rand::random::<u16>())).collect() };
    let is_too_large = |reply| matches!(reply, Err(BusError::Refused(error)) if error.code == ErrorCode::TooLarge);
    let node = "n1".into();
    let owner = owner();
    assert!(is_too_large(signaling.request(&node, &owner, close(&noise())).await));
    until_served(&signaling, &mut calls).await;
    let (reply, ()) = tokio::join!(signaling.request(&node, &owner, close("s")), async {
        let call = calls.recv().await.expect("a call");
        let reply = SfuReply::IceRestarted { sdpfrag: noise() };
        call.reply.send(Ok(reply)).expect("the caller waits");
    });
    assert!(is_too_large(reply));
    assert_eq!(
        (
            signaling.counters().outages.value(),
            node_bus.counters().outages.value()
        ),
        (0, 0)
    );
}

/// Until the bus knows the node.
async fn until_served(signaling: &NatsBus, calls: &mut tokio::sync::mpsc::Receiver<tianqiao_bus::Call>) {
    let answer = async {
        let call = calls.recv().await.expect("a call");
        call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
    };
    tokio::join!(until_answered(signaling, "n1"), answer);
}

#[tokio::test]
async fn a_process_starts_before_its_server() {
    let mut server = NatsServer::start();
    server.kill();
    let bus = NatsBus::connect(config(&server)).await.expect("a bus");
    let mut calls = bus.serve("n1".into());
    assert!(!*bus.connected().borrow());
    assert!(matches!(
        bus.request(&"n1".into(), &owner(), SfuRequest::Ping).await,
        Err(BusError::Away)
    ));
    server.restart();
    wait_connected(&bus, true).await;
    until_served(&bus, &mut calls).await;
    assert_eq!(bus.kv().get("meetings", "m").await, Ok(None));
}

#[tokio::test]
async fn a_store_that_is_lost_is_made_anew() {
    let server = NatsServer::start();
    let bus = connect(&server).await;
    bus.kv().put("meetings", "m", "1".into()).await.expect("put");
    let client = async_nats::connect(server.url()).await.expect("connected");
    let jetstream = async_nats::jetstream::new(client);
    for operation in 0..4 {
        jetstream.delete_stream("KV_tianqiao_meetings").await.expect("deleted");
        match operation {
            0 => assert_eq!(bus.kv().get("meetings", "m").await, Ok(None)),
            1 => assert!(bus.kv().create("meetings", "m", "1".into()).await.is_ok()),
            2 => assert_eq!(bus.kv().keys("meetings").await, Ok(Vec::new())),
            _ => assert_eq!(bus.kv().delete("meetings", "m", None).await, Ok(())),
        }
    }
}

//! A whole fleet that loses its server at one time.

use std::time::{Duration, Instant};

use tianqiao_bus::Bus;
use tianqiao_bus::nats::NatsBus;
use tianqiao_bus::testing::NatsServer;

use super::suite::{owner, report};
use super::{config, connect};

const NODES: usize = 500;
/// Long enough that no attempt is one of the first, which come within seconds.
const OUTAGE: Duration = Duration::from_secs(8);
const WINDOW: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes most of a minute: cargo test -p tianqiao-bus --test nats -- --ignored storm"]
async fn a_storm_of_five_hundred_spreads_and_leaves_nothing_on_the_server() {
    let mut server = NatsServer::start();
    let signaling = connect(&server).await;
    signaling.nodes();
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let bus = NatsBus::connect(config(&server)).await.expect("a bus");
        let calls = bus.serve(format!("n{number}"));
        nodes.push((bus, calls));
    }
    for (bus, _) in &nodes {
        super::wait_connected(bus, true).await;
    }
    signaling.kv().put("instances", "i", "1".into()).await.expect("put");
    server.kill();
    for (bus, _) in &nodes {
        super::wait_connected(bus, false).await;
    }
    tokio::time::sleep(OUTAGE).await;
    server.restart();
    let back = Instant::now();
    let returns = nodes.into_iter().enumerate().map(|(number, (bus, calls))| {
        tokio::spawn(async move {
            let mut connected = bus.connected();
            connected.wait_for(|is_so| *is_so).await.expect("the bus lives");
            let after = back.elapsed();
            bus.report(report(&format!("n{number}"), 1));
            // What every process does that is back.
            let entry = bus.kv().get("instances", "i").await.expect("got");
            assert!(entry.is_some());
            bus.kv().keys("instances").await.expect("keys");
            (after, bus, calls)
        })
    });
    let mut times = Vec::new();
    let mut alive = Vec::new();
    for node in returns.collect::<Vec<_>>() {
        let (after, bus, calls) = node.await.expect("it came back");
        times.push(after);
        alive.push((bus, calls));
    }
    times.sort();
    let most = times
        .iter()
        .enumerate()
        .map(|(first, from)| times[first..].partition_point(|time| *time < *from + WINDOW))
        .max();
    println!(
        "the last of {NODES} after {:?}, at most {most:?} within {WINDOW:?}",
        times.last()
    );
    assert!(times.last().is_some_and(|last| *last < Duration::from_secs(40)));
    assert!(most.is_some_and(|most| most < NODES / 4), "at once: {most:?}");

    super::wait_connected(&signaling, true).await;
    assert!(matches!(
        signaling
            .request(&"n-1".into(), &owner(), tianqiao_protocol::control::SfuRequest::Ping)
            .await,
        Err(tianqiao_bus::BusError::NoNode(_))
    ));
    let client = async_nats::connect(server.url()).await.expect("connected");
    let told = client.request("$JS.API.INFO", "".into()).await.expect("told");
    let account: serde_json::Value = serde_json::from_slice(&told.payload).expect("JSON");
    assert_eq!((&account["consumers"], &account["streams"]), (&0.into(), &1.into()));
}

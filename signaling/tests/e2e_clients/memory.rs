//! The load test's `memory` against server processes of ours.

use tianqiao_loadtest::client::ClientKind;
use tianqiao_loadtest::report::{IdleMemory, MemoryReport};
use tianqiao_loadtest::scenario::memory::{self, MemoryOptions};
use tianqiao_loadtest::server_process::ServerOptions;
use tianqiao_loadtest::target::TargetOptions;

/// Of 2.35 Mbit/s the rings hold 1.5 s, so some 440 kB; more is what surrounds them.
const FULL_RINGS: f64 = 400_000.0;

fn target() -> TargetOptions {
    TargetOptions {
        server: ServerOptions {
            binary: Some(env!("CARGO_BIN_EXE_tianqiao").into()),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn options() -> MemoryOptions {
    MemoryOptions {
        clients: ClientKind::Lean.start(1).expect("a thread"),
        sessions: 12,
        meeting_size: 5,
        idle_seconds: 1,
        subscribers: 4,
        publishers: 3,
        camera_kbps: 100,
        settle_packets: 60,
    }
}

#[tokio::test]
async fn sessions_subscribers_and_publishers_are_weighed_on_servers_of_their_own() {
    let report: MemoryReport = memory::run(&target(), &options()).await.expect("a run");
    let idle: IdleMemory = report.idle.expect("the idle part");
    assert_eq!((idle.meetings, idle.still_connected), (3, 12));
    assert_eq!(idle.stages.len(), 1);
    let stage = idle.stages[0];
    assert!(stage.server_rss_bytes > idle.server_rss_before_bytes, "{idle:?}");
    let grown = (stage.server_rss_bytes - idle.server_rss_before_bytes) as f64;
    assert_eq!((stage.sessions, stage.bytes_per_session), (12, grown / 12.0));
    assert!(idle.server_cpu_share.is_some_and(|share| share > 0.0 && share <= 1.0));

    let subscribers = report.subscribers.expect("the subscribers' part");
    assert_eq!(
        (subscribers.publishers, subscribers.kbps, subscribers.subscribers),
        (9, 100, 4)
    );
    assert!(subscribers.server_rss_half_bytes > 0, "{subscribers:?}");

    let publishers = report.publishers.expect("the publishers' part");
    assert!(publishers.bytes_per_publisher > FULL_RINGS, "{publishers:?}");
}

#[tokio::test]
async fn a_part_can_be_left_out_and_a_running_server_is_refused() {
    let options = MemoryOptions {
        sessions: 0,
        subscribers: 0,
        publishers: 0,
        ..options()
    };
    let report = memory::run(&target(), &options).await.expect("nothing to do");
    assert!(report.idle.is_none() && report.subscribers.is_none() && report.publishers.is_none());
    let running = TargetOptions {
        url: Some("http://127.0.0.1:1".to_owned()),
        ..Default::default()
    };
    let error = memory::run(&running, &options).await.expect_err("no fresh server");
    assert!(error.to_string().contains("--url"), "{error:#}");
}

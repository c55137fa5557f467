//! Our clients in a real Janus, where Debian's package is installed.

use tianqiao_loadtest::client::ClientKind;
use tianqiao_loadtest::scenario::forward::{self, ForwardOptions, Shape};
use tianqiao_loadtest::target::{Target, TargetKind, TargetOptions, janus};

#[tokio::test]
async fn janus_forwards_sound_and_pictures() {
    if !std::path::Path::new(janus::BINARY).is_file() {
        eprintln!("skipped: {} is not there (Debian's package `janus`)", janus::BINARY);
        return;
    }
    let options = TargetOptions {
        kind: TargetKind::Janus,
        ..Default::default()
    };
    let target = Target::open(&options).await.expect("Janus starts");
    let fan = Shape::Fan {
        publishers: 2,
        subscribers: 3,
    };
    let mesh = Shape::Mesh { participants: 3 };
    for (clients, shape) in [
        (ClientKind::Lean, fan),
        (ClientKind::Lean, mesh),
        (ClientKind::Webrtc, fan),
    ] {
        let load = ForwardOptions {
            feedback: false,
            clients: clients.start(1).expect("a thread"),
            generator_cpus: None,
            server_cpus: None,
            shape,
            rooms: 1,
            video_kbps: 300,
            seconds: 1,
            audio: true,
        };
        let report = forward::run(&target, &load)
            .await
            .unwrap_or_else(|error| panic!("{error:#}\n{}", target.server_log().unwrap_or_default()));
        // A packet in a thousand may be lost where the machine is busy.
        assert!(report.lost * 1000 <= report.expected, "{report:?}");
        assert!(report.video.received > 0 && report.audio.received > 0, "{report:?}");
        assert!(report.server_cpu_us_per_packet.is_some_and(|us| us > 0.0), "{report:?}");
    }
    target.close().await.expect("Janus stops");
}

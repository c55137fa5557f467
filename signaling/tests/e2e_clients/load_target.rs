//! The load test's adapter for WHIP and WHEP against our own endpoints.

use tianqiao_loadtest::client::ClientKind;
use tianqiao_loadtest::scenario::forward::{self, ForwardOptions, Shape};
use tianqiao_loadtest::target::whip::WhipOptions;
use tianqiao_loadtest::target::{Target, TargetKind, TargetOptions};

use crate::support::Meeting;

#[tokio::test]
async fn a_load_over_whip_and_whep_arrives_and_its_sessions_are_deleted() {
    let meeting = Meeting::open().await;
    let endpoint = |path: &str| Some(format!("{}/{path}/{}", meeting.url(), meeting.created.id));
    let options = TargetOptions {
        kind: TargetKind::Whip,
        token: Some(meeting.token("Load").await),
        whip: WhipOptions {
            whip_url: endpoint("whip"),
            whep_url: endpoint("whep"),
        },
        ..Default::default()
    };
    let target = Target::open(&options).await.expect("the endpoints are URLs");
    for clients in [ClientKind::Lean, ClientKind::Webrtc] {
        let load = ForwardOptions {
            feedback: false,
            clients: clients.start(1).expect("a thread"),
            generator_cpus: None,
            server_cpus: None,
            shape: Shape::Fan {
                publishers: 1,
                subscribers: 3,
            },
            rooms: 1,
            video_kbps: 300,
            seconds: 1,
            audio: true,
        };
        let report = forward::run(&target, &load).await.expect("a load over WHIP and WHEP");
        // A packet in a thousand may be lost where the machine is busy.
        assert!(report.lost * 1000 <= report.expected, "{report:?}");
        assert!(report.video.received > 0 && report.audio.received > 0, "{report:?}");
    }
    let meeting = meeting.server.meeting(&meeting.created.id).await.expect("the meeting");
    assert_eq!(meeting.participants, None);
}

#[tokio::test]
async fn a_load_of_several_meetings_arrives_where_it_should() {
    let meeting = Meeting::open().await;
    let options = TargetOptions {
        url: Some(meeting.url().to_owned()),
        ..Default::default()
    };
    let target = Target::open(&options).await.expect("a running server");
    let load = ForwardOptions {
        feedback: false,
        clients: ClientKind::Lean.start(1).expect("a thread"),
        generator_cpus: None,
        server_cpus: None,
        shape: Shape::Mesh { participants: 3 },
        rooms: 4,
        video_kbps: 300,
        seconds: 1,
        audio: true,
    };
    let report = forward::run(&target, &load).await.expect("a load");
    assert!(report.lost * 1000 <= report.expected, "{report:?}");
    // Each of three who publish is received by two.
    assert_eq!(report.expected, 2 * report.published, "{report:?}");
    assert!(report.video.received > 0 && report.audio.received > 0, "{report:?}");
}

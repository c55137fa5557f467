//! Two participants hear and see each other.

use tianqiao_loadtest::client::{Clients, Engine, PeerConfig, SrtpProfile, sdp};
use tianqiao_protocol::ws::ServerMessage;
use tianqiao_protocol::{SlotTarget, TrackSource};

use crate::support::{Client, LIMIT, Meeting, viewer};

fn both_ways(srtp: SrtpProfile) -> PeerConfig {
    PeerConfig {
        microphone: true,
        camera: true,
        audio_slots: 2,
        video_slots: 2,
        repair: true,
        srtp,
        ..Default::default()
    }
}

/// Audio and video of `other`, each marked by the CSRC with its track, without a gap in any stream.
async fn receives(client: &mut Client, stamp: u16, camera: u32, microphone: u32) {
    let (first, _) = client.rtp(|_, found| found.track == stamp).await;
    assert_eq!(first.csrc, Some(camera));
    let mut next = first.sequence_number.wrapping_add(1);
    for _ in 0..50 {
        let (packet, found) = client.rtp(|packet, _| packet.ssrc == first.ssrc).await;
        assert_eq!(
            (packet.sequence_number, packet.csrc, found.track),
            (next, Some(camera), stamp)
        );
        next = next.wrapping_add(1);
    }
    let (first, _) = client.rtp(|_, found| found.track == stamp + 1).await;
    assert_eq!(first.csrc, Some(microphone));
    let mut next = first.sequence_number.wrapping_add(1);
    for _ in 0..20 {
        let (packet, _) = client.rtp(|packet, _| packet.ssrc == first.ssrc).await;
        assert_eq!((packet.sequence_number, packet.csrc), (next, Some(microphone)));
        next = next.wrapping_add(1);
    }
}

async fn meet(meeting: Meeting, profiles: [SrtpProfile; 2]) {
    let mut anna = meeting.join("Anna", both_ways(profiles[0]), vec![]).await;
    anna.publish(0);
    let mut bo = meeting.join("Bo", both_ways(profiles[1]), vec![anna.camera()]).await;
    bo.publish(2);
    let camera = anna.own_track(TrackSource::Camera);
    let microphone = anna.own_track(TrackSource::Microphone);
    receives(&mut bo, 0, camera, microphone).await;

    // Anna learns of Bo and his tracks on her WebSocket.
    let bo_id = bo.id();
    let told = |message: &ServerMessage| match message {
        ServerMessage::Roster { joined, .. } => joined.iter().find(|other| other.id == bo_id).cloned(),
        _ => None,
    };
    let seen = anna.message(LIMIT, told).await;
    assert_eq!(seen.name, "Bo");
    let track = |source| {
        seen.tracks
            .iter()
            .find(|track| track.source == source)
            .expect("published")
            .id
    };
    let (camera, microphone) = (track(TrackSource::Camera), track(TrackSource::Microphone));
    anna.participant.set_viewport(&[SlotTarget::Nobody, bo.camera()], 720);
    receives(&mut anna, 2, camera, microphone).await;

    anna.participant.leave().await;
    let anna_id = seen_id(&bo);
    bo.sees_leaving(&anna_id, LIMIT).await;
    bo.participant.leave().await;
    meeting.close().await;
}

/// The other participant in the state that `client` joined with.
fn seen_id(client: &Client) -> String {
    let others = &client.participant.joined.state.participants;
    others
        .iter()
        .find(|other| other.id != client.participant.id())
        .expect("somebody else")
        .id
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_exchange_audio_and_video() {
    meet(Meeting::open().await, [SrtpProfile::AeadAes128Gcm; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lean_clients_exchange_audio_and_video() {
    meet(Meeting::open_lean().await, [SrtpProfile::AeadAes128Gcm; 2]).await;
}

/// What one kind of client sends, the other receives.
#[tokio::test(flavor = "multi_thread")]
async fn lean_clients_and_those_of_the_crate_see_each_other() {
    let mut meeting = Meeting::open().await;
    let anna = meeting.join_publisher("Anna", 0).await;
    meeting.clients = Clients::Lean(Engine::start(1).expect("a thread"));
    let mut bo = meeting
        .join("Bo", both_ways(SrtpProfile::AeadAes128Gcm), vec![anna.camera()])
        .await;
    bo.publish(2);
    meeting.clients = Clients::Webrtc;
    let mut carl = meeting.join("Carl", viewer(1, 1), vec![bo.camera()]).await;
    receives(
        &mut bo,
        0,
        anna.own_track(TrackSource::Camera),
        anna.own_track(TrackSource::Microphone),
    )
    .await;
    carl.rtp(|_, stamp| stamp.track == 2).await;
    meeting.close().await;
}

/// What one client sends with the old profile another receives with the new one, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn srtp_profiles_mix_in_one_room() {
    let profiles = [SrtpProfile::Aes128CmHmacSha1_80, SrtpProfile::AeadAes128Gcm];
    meet(Meeting::open().await, profiles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_spans_workers() {
    let meeting = Meeting::open().await;
    let anna = meeting.join_publisher("Anna", 0).await;
    let camera = anna.own_track(TrackSource::Camera);
    let port = |client: &Client| {
        sdp::first_udp_candidate(&client.participant.joined.sdp)
            .expect("a candidate")
            .port()
    };
    let mut on_other_worker = 0;
    // The first eight of a room share a worker.
    for index in 0..10 {
        let mut viewer = meeting
            .join(&format!("Viewer {index}"), viewer(1, 1), vec![anna.camera()])
            .await;
        on_other_worker += usize::from(port(&viewer) != port(&anna));
        let (packet, _) = viewer.rtp(|_, stamp| stamp.track == 0).await;
        assert_eq!(packet.csrc, Some(camera));
        viewer.rtp(|_, stamp| stamp.track == 1).await;
    }
    assert!(on_other_worker > 0, "two workers and eleven sessions, all on one");
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_fingerprint_is_refused() {
    use std::time::Instant;

    use tianqiao_loadtest::client::{NoSink, WebSocket};
    use tianqiao_protocol::ws::{ClientMessage, Join};

    let meeting = Meeting::open().await;
    let mut peer = meeting.clients.peer(&viewer(0, 1)).unwrap();
    let offer = peer.offer(Instant::now()).unwrap();
    let mut websocket = WebSocket::connect(&meeting.server).await.unwrap();
    let join = Join {
        token: meeting.token("Mallory").await,
        sdp: other_fingerprint(&offer),
        tracks: vec![],
        slots: vec![],
    };
    let ServerMessage::Joined(joined) = websocket.ask(&ClientMessage::Join(join)).await.unwrap() else {
        panic!("the fingerprint is only known to be wrong after the handshake");
    };
    let media = meeting.clients.connect(peer, &joined.sdp, Box::new(NoSink)).unwrap();
    let ended = async {
        loop {
            match websocket.recv().await.unwrap() {
                Some(ServerMessage::Ended { .. }) | None => return,
                Some(_) => {}
            }
        }
    };
    tokio::time::timeout(LIMIT, ended)
        .await
        .expect("the server ends the session");
    assert!(!media.is_connected());
    meeting.close().await;
}

/// The offer with another digest of the same length in every fingerprint.
fn other_fingerprint(offer: &str) -> String {
    let swap = |line: &str| match line.strip_prefix("a=fingerprint:sha-256 ") {
        Some(digest) => {
            let (first, rest) = digest.split_at(2);
            format!(
                "a=fingerprint:sha-256 {}{rest}\r\n",
                if first == "00" { "11" } else { "00" }
            )
        }
        None => format!("{line}\r\n"),
    };
    offer.lines().map(swap).collect()
}

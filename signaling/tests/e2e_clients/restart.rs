//! A session outlives its WebSocket and its network path.

use tianqiao_protocol::ws::{ClientMessage, ServerMessage};

use crate::support::{LIMIT, Meeting, viewer};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_without_touching_the_media() {
    let meeting = Meeting::open().await;
    let mut anna = meeting.join_publisher("Anna", 0).await;
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![anna.camera()]).await;
    let (first, _) = viewer.rtp(|_, _| true).await;
    viewer.participant.cut_websocket().await;

    anna.participant.send(ClientMessage::Chat {
        text: "Are you there?".to_owned(),
    });
    let line = |message: &ServerMessage| match message {
        ServerMessage::Chat(line) => Some(line.text.clone()),
        _ => None,
    };
    anna.message(LIMIT, line).await;
    let resumed = viewer.participant.resume().await.unwrap();
    let texts: Vec<_> = resumed.state.chat.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["Are you there?"]);
    assert_eq!(resumed.state.participants.len(), 2);
    assert_eq!(resumed.state.slots.len(), 1);

    let mut next = first.sequence_number.wrapping_add(1);
    for _ in 0..100 {
        let (packet, _) = viewer.rtp(|_, _| true).await;
        assert_eq!((packet.ssrc, packet.sequence_number), (first.ssrc, next));
        next = next.wrapping_add(1);
    }
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ice_restarts_by_an_offer() {
    restart(Meeting::open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ice_of_a_lean_client_restarts_by_an_offer() {
    restart(Meeting::open_lean().await).await;
}

async fn restart(meeting: Meeting) {
    let anna = meeting.join_publisher("Anna", 0).await;
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![anna.camera()]).await;
    let (first, _) = viewer.rtp(|_, _| true).await;
    let before = viewer.participant.joined.sdp.clone();
    let answer = viewer.participant.renegotiate(0, true).await.unwrap();
    let ufrag = |sdp: &str| {
        sdp.lines()
            .find(|line| line.starts_with("a=ice-ufrag:"))
            .map(str::to_owned)
    };
    assert_ne!(ufrag(&answer.sdp), ufrag(&before));
    viewer.forget_received();
    let (packet, stamp) = viewer.rtp(|_, _| true).await;
    assert_eq!(packet.ssrc, first.ssrc);
    viewer.rtp(|_, later| later.seq > stamp.seq + 100).await;
    meeting.close().await;
}

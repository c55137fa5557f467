//! Sessions end: by leaving, by vanishing, by the end of the meeting.

use std::time::Duration;

use tianqiao_protocol::rest::CreateToken;

use tianqiao_protocol::ws::{EndReason, ServerMessage};

use crate::support::{LIMIT, Meeting, viewer};

/// What a killed browser may cost, and some for a busy machine.
const VANISH_LIMIT: Duration = Duration::from_secs(35);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_is_gone_within_half_a_minute() {
    let meeting = Meeting::open().await;
    let mut anna = meeting.join("Anna", viewer(1, 1), vec![]).await;
    let bo = meeting.join_publisher("Bo", 0).await;
    let bo_id = bo.id();
    bo.participant.vanish().await;
    anna.sees_leaving(&bo_id, VANISH_LIMIT).await;
    let id = &meeting.created.id;
    let name = CreateToken {
        name: "Cy".into(),
        passcode: None,
    };
    let token = meeting.server.join_token(id, &name).await.unwrap();
    let details = meeting.server.meeting_details(id, &token).await.unwrap();
    assert_eq!(details.participants, Some(1));
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_gone_at_once() {
    let meeting = Meeting::open().await;
    let mut anna = meeting.join("Anna", viewer(1, 1), vec![]).await;
    let bo = meeting.join_publisher("Bo", 0).await;
    let bo_id = bo.id();
    bo.participant.leave().await;
    anna.sees_leaving(&bo_id, LIMIT).await;
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_meeting_ends_sessions_and_media() {
    let meeting = Meeting::open().await;
    let mut anna = meeting.join("Anna", viewer(1, 1), vec![]).await;
    meeting.server.end_meeting(&meeting.created).await.unwrap();
    let ended = |message: &ServerMessage| match message {
        ServerMessage::Ended { reason } => Some(*reason),
        _ => None,
    };
    assert_eq!(anna.message(LIMIT, ended).await, EndReason::MeetingEnded);
    tokio::time::timeout(LIMIT, anna.participant.media.closed())
        .await
        .expect("DTLS says good-bye");
    meeting.close().await;
}

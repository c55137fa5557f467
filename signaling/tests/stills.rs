//! Still pictures over HTTP: from the presenter's page to one whose link does not carry the video.

mod common;

use std::time::{Duration, Instant};

use common::{TestServer, WsClient, refusal, start_with};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tianqiao_protocol::control::SfuEvent;
use tianqiao_protocol::{SlotPause, SlotState};

/// Eight chunks: seven waits of 55 ms at the rate of these tests.
const SIZE: usize = 8 * 690;

struct Presentation {
    server: TestServer,
    meeting: String,
    presenter: (WsClient, Value),
    viewer: (WsClient, Value),
    track: u64,
}

/// A presenter with a screen, and a viewer whose slot shows it and stands still for want of bandwidth.
async fn presentation() -> Presentation {
    let server = start_with(|config| {
        config.max_still_size.0 = 8_000;
    })
    .await;
    let meeting = server.meeting().await;
    let (mut bob, bob_joined) = server.join(&meeting.id, "Bob").await;
    let (mut ann, ann_joined) = server.join(&meeting.id, "Ann").await;
    let tracks = json!([{ "mid": "3", "source": "screen" }]);
    bob.send(json!({ "type": "offer", "id": 1, "sdp": "more", "tracks": tracks }))
        .await;
    let track = bob.recv_type("answer").await["tracks"][0]["id"]
        .as_u64()
        .expect("an id");
    let session = ann_joined["participant"].as_str().expect("an id").to_owned();
    let mid = "2".to_owned();
    server.node.publish(SfuEvent::Slots {
        session: session.clone(),
        slots: vec![SlotState {
            mid: mid.clone(),
            track: Some(track as u32),
        }],
    });
    server.node.publish(SfuEvent::SlotsPaused {
        session,
        slots: vec![SlotPause { mid, paused: true }],
    });
    server.node.publish(SfuEvent::Spare {
        session: ann_joined["participant"].as_str().expect("an id").to_owned(),
        bits_per_second: 100_000,
    });
    ann.recv_type("slots_paused").await;
    assert_eq!(
        bob.recv_type("still_wanted").await,
        json!({ "type": "still_wanted", "track": track, "wanted": true })
    );
    Presentation {
        server,
        meeting: meeting.id,
        presenter: (bob, bob_joined),
        viewer: (ann, ann_joined),
        track,
    }
}

fn webp(size: usize, fill: u8) -> Vec<u8> {
    let mut image = b"RIFF".to_vec();
    image.extend((size as u32 - 8).to_le_bytes());
    image.extend(b"WEBP");
    image.resize(size, fill);
    image
}

impl Presentation {
    fn request(&self, method: Method, track: u64, session: &Value) -> RequestBuilder {
        let path = format!("/api/v1/meetings/{}/stills/{track}", self.meeting);
        let session = session["session"].as_str().expect("a secret");
        self.server.request(method, &path).bearer_auth(session)
    }

    fn put(&self, image: Vec<u8>) -> RequestBuilder {
        let request = self.request(Method::PUT, self.track, &self.presenter.1);
        request.header("content-type", "image/webp").body(image)
    }

    fn get(&self) -> RequestBuilder {
        self.request(Method::GET, self.track, &self.viewer.1)
    }
}

#[tokio::test]
async fn a_still_goes_from_its_presenter_to_who_lacks_the_video_and_not_faster_than_it_may() {
    let mut show = presentation().await;
    let none = show.get().send().await.expect("an answer");
    assert_eq!(refusal(none).await, (404, "not_found".to_owned()));
    let put = show.put(webp(SIZE, 1)).send().await.expect("an answer");
    assert_eq!(put.status(), 200);
    // The viewer's link would have more ready in time; the server takes no more.
    assert_eq!(put.json::<Value>().await.expect("JSON"), json!({ "next_bytes": 8_000 }));
    let still = show.viewer.0.recv_type("still").await;
    assert_eq!(
        (&still["track"], &still["version"], &still["size"]),
        (&json!(show.track), &json!(1), &json!(SIZE))
    );
    let start = Instant::now();
    let answer = show.get().send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "image/webp");
    assert_eq!(answer.headers()["etag"], "\"1\"");
    assert_eq!(answer.bytes().await.expect("all of it"), webp(SIZE, 1));
    assert!(start.elapsed() >= Duration::from_millis(380), "{:?}", start.elapsed());
    let metrics = show.server.metrics().await;
    for line in [
        "tianqiao_stills_total{direction=\"in\"} 1",
        "tianqiao_stills_total{direction=\"out\"} 1",
        "tianqiao_still_bytes_total{direction=\"out\"} 5520",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[tokio::test]
async fn one_transfer_of_a_session_gives_way_to_the_next() {
    let show = presentation().await;
    show.put(webp(SIZE, 1)).send().await.expect("an answer");
    let first = show.get().send().await.expect("an answer");
    show.put(webp(SIZE, 2)).send().await.expect("an answer");
    let second = show.get().send().await.expect("an answer");
    assert!(first.bytes().await.is_err(), "it was cut off");
    assert_eq!(second.bytes().await.expect("all of it"), webp(SIZE, 2));
}

#[tokio::test]
async fn what_is_no_still_or_nobodys_is_refused() {
    let show = presentation().await;
    let mut cut = webp(SIZE, 1);
    cut.pop();
    let viewer = &show.viewer.1;
    let stranger = json!({ "session": "abc.def" });
    let typed = |request: RequestBuilder| request.header("content-type", "image/webp").body(webp(100, 0));
    for (request, expected) in [
        (show.put(cut), (400, "bad_message")),
        (show.put(b"GIF89a".to_vec()), (400, "bad_message")),
        (show.put(webp(8_001, 1)), (413, "too_large")),
        (
            show.request(Method::PUT, show.track, &show.presenter.1).body("text"),
            (415, "bad_message"),
        ),
        // Neither the viewer's track nor one that is asked for.
        (
            typed(show.request(Method::PUT, show.track, viewer)),
            (404, "track_unknown"),
        ),
        (
            typed(show.request(Method::PUT, show.track, &stranger)),
            (404, "session_unknown"),
        ),
        (
            show.request(Method::GET, show.track, &stranger),
            (404, "session_unknown"),
        ),
        // It is in no slot of the presenter's own.
        (
            show.request(Method::GET, show.track, &show.presenter.1),
            (404, "not_found"),
        ),
    ] {
        let response = request.send().await.expect("an answer");
        let (status, code) = refusal(response).await;
        assert_eq!((status, code.as_str()), expected);
    }
    let other = show.server.meeting().await;
    let path = format!("/api/v1/meetings/{}/stills/{}", other.id, show.track);
    let session = show.viewer.1["session"].as_str().expect("a secret");
    let request = show.server.request(Method::GET, &path).bearer_auth(session);
    let response = request.send().await.expect("an answer");
    assert_eq!(refusal(response).await, (404, "session_unknown".to_owned()));
}

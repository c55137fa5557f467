//! The WebSocket of a participant over a real socket.

mod common;

use std::time::Duration;

use common::{WsClient, client, start, start_with};
use serde_json::{Value, json};
use tianqiao_protocol::control::{CloseReason, SfuEvent, SfuRequest};
use tianqiao_protocol::{ReceiveMode, SlotPause, SlotState, UnsupportedSlot, WantedLayer, WantedTrack};

fn id(joined: &Value) -> String {
    joined["participant"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn two_meet_and_hear_of_each_other() {
    let mut server = start().await;
    let meeting = server.meeting_with(json!({ "title": "Standup" })).await;
    let (mut ann, joined) = server.join(&meeting.code, "Ann").await;
    assert_eq!(joined["sdp"], "answer to offer");
    assert_eq!(
        joined["meeting"],
        json!({ "id": meeting.id, "code": meeting.code, "title": "Standup" })
    );
    assert_eq!(joined["state"]["slots"], json!([{ "mid": "2", "track": 99 }]));
    assert_eq!(joined["state"]["participants"][0]["name"], "Ann");
    let SfuRequest::Open(open) = server
        .node
        .request(|request| matches!(request, SfuRequest::Open(_)))
        .await
    else {
        unreachable!()
    };
    assert_eq!(
        (open.room.as_str(), open.session.as_str()),
        (meeting.id.as_str(), id(&joined).as_str())
    );

    let (mut bob, other) = server.join(&meeting.code, "Bob").await;
    assert_eq!(other["state"]["participants"].as_array().map(Vec::len), Some(2));
    let roster = ann.recv().await;
    assert_eq!(roster["joined"][0]["id"], other["participant"]);
    assert_eq!(roster["joined"][0]["tracks"][1]["source"], "camera");

    bob.send(json!({ "type": "chat", "text": "你好" })).await;
    for client in [&mut ann, &mut bob] {
        let line = client.recv_type("chat").await;
        assert_eq!(
            (&line["text"], &line["name"], &line["seq"]),
            (&json!("你好"), &json!("Bob"), &json!(1))
        );
    }

    server.node.publish(SfuEvent::Speakers {
        room: meeting.id.clone(),
        dominant: Some(id(&other)),
        speaking: vec![id(&other)],
    });
    assert_eq!(ann.recv_type("speakers").await["dominant"], other["participant"]);
    server.node.publish(SfuEvent::Slots {
        session: id(&joined),
        slots: vec![SlotState {
            mid: "2".into(),
            track: Some(3),
        }],
    });
    assert_eq!(
        ann.recv_type("slots").await["slots"],
        json!([{ "mid": "2", "track": 3 }])
    );

    server.node.publish(SfuEvent::SlotsPaused {
        session: id(&joined),
        slots: vec![SlotPause {
            mid: "2".into(),
            paused: true,
        }],
    });
    assert_eq!(
        ann.recv_type("slots_paused").await["slots"],
        json!([{ "mid": "2", "paused": true }])
    );
    server.node.publish(SfuEvent::CodecUnsupported {
        session: id(&joined),
        slot: UnsupportedSlot {
            mid: "2".into(),
            track: 3,
        },
    });
    let unsupported = ann.recv_type("codec_unsupported").await;
    assert_eq!((&unsupported["mid"], &unsupported["track"]), (&json!("2"), &json!(3)));

    let layer = WantedLayer {
        rid: "q".into(),
        max_bitrate: 150_000,
    };
    server.node.publish(SfuEvent::Wanted {
        session: id(&joined),
        tracks: vec![WantedTrack {
            track: 3,
            layers: vec![layer],
            low_voice: false,
        }],
    });
    assert_eq!(
        ann.recv_type("wanted").await["tracks"],
        json!([{ "track": 3, "layers": [{ "rid": "q", "max_bitrate": 150_000 }], "low_voice": false }])
    );

    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.recv_type("ended").await["reason"], "left");
    assert_eq!(bob.closed().await, Some(1000));
    assert_eq!(ann.recv_type("roster").await["left"], json!([other["participant"]]));
    server
        .node
        .request(|request| *request == SfuRequest::Close { session: id(&other) })
        .await;
}

#[tokio::test]
async fn a_joined_client_asks_and_is_answered() {
    let mut server = start().await;
    let meeting = server.meeting().await;
    let (mut ann, joined) = server.join(&meeting.id, "Ann").await;
    let tracks = joined["state"]["participants"][0]["tracks"]
        .as_array()
        .expect("tracks")
        .clone();

    ann.send(json!({ "type": "ping", "t": 17 })).await;
    assert_eq!(ann.recv().await, json!({ "type": "pong", "t": 17 }));

    ann.send(json!({ "type": "mute", "track": tracks[1]["id"], "muted": false }))
        .await;
    let told = ann.recv_type("tracks").await;
    assert_eq!(told["tracks"][1]["muted"], false);
    server
        .node
        .request(|request| matches!(request, SfuRequest::Mute { muted: false, .. }))
        .await;

    ann.send(json!({ "type": "viewport", "slots": [{ "mid": "2", "show": "nobody", "height": 0 }] }))
        .await;
    server
        .node
        .request(|request| matches!(request, SfuRequest::Viewport { slots, .. } if slots[0].height == 0))
        .await;

    ann.send(json!({ "type": "viewport", "slots": [], "mode": "audio_only" }))
        .await;
    let audio_only = |request: &SfuRequest| {
        matches!(
            request,
            SfuRequest::Viewport {
                mode: ReceiveMode::AudioOnly,
                ..
            }
        )
    };
    server.node.request(audio_only).await;

    ann.send(json!({ "type": "offer", "id": 5, "sdp": "second", "tracks": [] }))
        .await;
    let answer = ann.recv_type("answer").await;
    assert_eq!(
        answer,
        json!({ "type": "answer", "id": 5, "sdp": "answer to second", "tracks": [] })
    );
}

#[tokio::test]
async fn mistakes_after_joining_are_told_and_the_session_goes_on() {
    let server = start_with(|config| {
        config.max_chat_length = 5;
        config.max_tracks = 2;
        config.max_slots = 1;
        config.max_sdp_size = tianqiao::config::ByteSize(1000);
    })
    .await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    let track = json!({ "mid": "0", "source": "camera" });
    let slot = json!({ "mid": "2", "show": "nobody", "height": 0 });
    let nobody_has_it = json!({ "type": "mute", "track": 1_000_000, "muted": true });
    for (message, code) in [
        (json!({ "type": "dance" }), "bad_message"),
        (json!([]), "bad_message"),
        (client::join(&token, "offer"), "already_joined"),
        (json!({ "type": "chat", "text": "too long" }), "too_large"),
        (json!({ "type": "chat", "text": " " }), "bad_message"),
        (nobody_has_it, "track_unknown"),
        (json!({ "type": "viewport", "slots": [slot, slot] }), "too_large"),
        (
            json!({ "type": "viewport", "slots": [{ "mid": "a much too long mid", "show": "nobody", "height": 0 }] }),
            "bad_message",
        ),
        (json!({ "type": "offer", "id": 1, "sdp": "invalid" }), "sdp_invalid"),
        (
            json!({ "type": "offer", "id": 2, "sdp": "unsupported" }),
            "sdp_unsupported",
        ),
        (json!({ "type": "offer", "id": 3, "sdp": "gone" }), "unavailable"),
        (
            json!({ "type": "offer", "id": 4, "sdp": "x".repeat(1001) }),
            "too_large",
        ),
        (
            json!({ "type": "offer", "id": 5, "sdp": "", "tracks": [track, track, track] }),
            "too_many_tracks",
        ),
    ] {
        ann.send(message.clone()).await;
        let error = ann.recv().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{message}"
        );
        assert_eq!(error.get("offer"), message.get("id"), "{message}");
    }
    for garbage in [vec![0xff; 40], vec![]] {
        ann.send_binary(garbage).await;
        assert_eq!(ann.recv().await["code"], "bad_message");
    }
    ann.send(json!({ "type": "ping", "t": 1 })).await;
    assert_eq!(ann.recv().await["type"], "pong");
}

#[tokio::test]
async fn a_refused_join_says_why_and_closes() {
    let server = start_with(|config| config.max_participants = 1).await;
    let meeting = server.meeting().await;
    let gone = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    let of_gone = server.token(&gone.id, "Ann").await;
    let path = format!("/api/v1/meetings/{}", gone.id);
    let ended = server
        .request(reqwest::Method::DELETE, &path)
        .bearer_auth(&gone.host_token)
        .send()
        .await;
    assert_eq!(ended.expect("an answer").status(), 204);
    let (_keeps_the_place, _) = server.join(&meeting.id, "Bob").await;

    for (message, code) in [
        (client::join(&token, "offer"), "meeting_full"),
        (client::join(&of_gone, "offer"), "meeting_ended"),
        (client::join("no token", "offer"), "token_invalid"),
        (
            client::join(&server.expired_token(&meeting.id), "offer"),
            "token_expired",
        ),
        (client::join(&meeting.host_token, "offer"), "forbidden"),
        (
            json!({ "type": "resume", "session": "nobody.nothing" }),
            "session_unknown",
        ),
        (json!({ "type": "resume", "session": "" }), "session_unknown"),
        (json!({ "type": "ping", "t": 1 }), "not_joined"),
        (json!({ "type": "join" }), "bad_message"),
    ] {
        let mut stranger = server.connect().await;
        stranger.send(message.clone()).await;
        assert_eq!(stranger.recv().await["code"], code, "{message}");
        assert_eq!(stranger.closed().await, Some(1008));
    }
}

#[tokio::test]
async fn a_refused_offer_leaves_no_session_behind() {
    let mut server = start_with(|config| config.max_participants = 1).await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    for (sdp, code) in [
        ("invalid", "sdp_invalid"),
        ("unsupported", "sdp_unsupported"),
        ("gone", "unavailable"),
    ] {
        let mut client = server.connect().await;
        client.send(client::join(&token, sdp)).await;
        assert_eq!(client.recv().await["code"], code);
        server
            .node
            .request(|request| matches!(request, SfuRequest::Close { .. }))
            .await;
    }
    server.join(&meeting.id, "Ann").await;
}

#[tokio::test]
async fn a_lost_websocket_is_resumed_and_a_second_one_replaces_it() {
    let server = start().await;
    let meeting = server.meeting().await;
    let (ann, joined) = server.join(&meeting.id, "Ann").await;
    let (mut bob, _) = server.join(&meeting.id, "Bob").await;
    drop(ann);
    bob.send(json!({ "type": "chat", "text": "still there?" })).await;
    bob.recv_type("chat").await;

    let resume = json!({ "type": "resume", "session": joined["session"] });
    let mut second = server.connect().await;
    second.send(resume.clone()).await;
    let resumed = second.recv().await;
    assert_eq!(resumed["type"], "resumed");
    assert_eq!(resumed["state"]["chat"][0]["text"], "still there?");
    assert_eq!(resumed["state"]["participants"].as_array().map(Vec::len), Some(2));
    assert_eq!(resumed["state"]["slots"], json!([{ "mid": "2", "track": 99 }]));

    let mut third = server.connect().await;
    third.send(resume).await;
    assert_eq!(third.recv().await["type"], "resumed");
    assert_eq!(second.recv_type("ended").await["reason"], "replaced");
    assert_eq!(second.closed().await, Some(1000));
    third.send(json!({ "type": "ping", "t": 2 })).await;
    assert_eq!(third.recv().await["type"], "pong");
    // Nobody left in between.
    bob.send(json!({ "type": "ping", "t": 3 })).await;
    assert_eq!(bob.recv().await["type"], "pong");
}

#[tokio::test]
async fn a_session_that_is_not_resumed_is_freed() {
    let mut server = start_with(|config| config.resume_window = Duration::from_millis(50)).await;
    let meeting = server.meeting().await;
    let (ann, joined) = server.join(&meeting.id, "Ann").await;
    drop(ann);
    server
        .node
        .request(|request| *request == SfuRequest::Close { session: id(&joined) })
        .await;
    let mut late = server.connect().await;
    late.send(json!({ "type": "resume", "session": joined["session"] }))
        .await;
    assert_eq!(late.recv().await["code"], "session_unknown");
}

#[tokio::test]
async fn dead_media_ends_the_session_with_or_without_a_websocket() {
    let server = start().await;
    let meeting = server.meeting().await;
    let (mut ann, joined) = server.join(&meeting.id, "Ann").await;
    let (bob, other) = server.join(&meeting.id, "Bob").await;
    ann.recv_type("roster").await;
    drop(bob);
    let close = |session| SfuEvent::Closed {
        session,
        reason: CloseReason::IceTimeout,
    };
    server.node.publish(close(id(&other)));
    assert_eq!(ann.recv_type("roster").await["left"], json!([other["participant"]]));
    server.node.publish(close(id(&joined)));
    assert_eq!(ann.recv_type("ended").await["reason"], "media_timeout");
    assert_eq!(ann.closed().await, Some(1000));
}

#[tokio::test]
async fn one_token_admits_several() {
    let server = start().await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    let mut first = server.connect().await;
    first.join(&token).await;
    let mut second = server.connect().await;
    let joined = second.join(&token).await;
    assert_eq!(joined["state"]["participants"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn the_host_ends_the_meeting_for_all() {
    let mut server = start().await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    let path = format!("/api/v1/meetings/{}", meeting.code);
    let response = server
        .request(reqwest::Method::DELETE, &path)
        .bearer_auth(&meeting.host_token)
        .send()
        .await;
    assert_eq!(response.expect("an answer").status(), 204);
    assert_eq!(ann.recv_type("ended").await["reason"], "meeting_ended");
    assert_eq!(ann.closed().await, Some(1000));
    server
        .node
        .request(|request| {
            *request
                == SfuRequest::CloseRoom {
                    room: meeting.id.clone(),
                }
        })
        .await;
}

#[tokio::test]
async fn compressed_clients_get_compressed_answers() {
    let server = start().await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    let mut ann = server.connect().await;
    ann.send_deflated(client::join(&token, "offer")).await;
    assert_eq!(ann.recv().await["type"], "joined");
    assert_eq!(ann.deflated, 1);
}

#[tokio::test]
async fn oversized_messages_close_the_websocket_but_not_the_session() {
    let server = start_with(|config| {
        config.max_message_size = tianqiao::config::ByteSize(2_000);
        config.max_sdp_size = tianqiao::config::ByteSize(1_000);
    })
    .await;
    let meeting = server.meeting().await;
    let large = json!({ "type": "chat", "text": "a".repeat(3_000) });
    let mut sends: Vec<(WsClient, Value)> = Vec::new();
    for deflated in [false, true] {
        let (mut ann, joined) = server.join(&meeting.id, "Ann").await;
        match deflated {
            false => ann.send(large.clone()).await,
            true => ann.send_deflated(large.clone()).await,
        }
        assert_eq!(ann.recv_type("error").await["code"], "too_large");
        assert_eq!(ann.closed().await, Some(1009));
        sends.push((ann, joined));
    }
    for (_, joined) in &sends {
        let mut again = server.connect().await;
        again
            .send(json!({ "type": "resume", "session": joined["session"] }))
            .await;
        assert_eq!(again.recv().await["type"], "resumed");
    }
}

#[tokio::test]
async fn a_flood_is_told_once_and_then_cut() {
    let server = start_with(|config| {
        config.message_rate = 1;
        config.message_burst = 5;
    })
    .await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    for t in 0..300 {
        if !ann.try_send(json!({ "type": "ping", "t": t })).await {
            break;
        }
    }
    let mut errors = 0;
    let code = loop {
        match ann.recv_or_close().await {
            Ok(message) if message["type"] == "error" => {
                assert_eq!(message["code"], "rate_limited");
                errors += 1;
            }
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert!((1..=3).contains(&errors), "{errors}");
    assert_eq!(code, Some(1008));
}

#[tokio::test]
async fn joins_from_one_address_are_limited() {
    let server = start_with(|config| {
        config.join_rate = 1;
        config.join_burst = 3;
    })
    .await;
    let meeting = server.meeting().await;
    server.join(&meeting.id, "Ann").await; // a token and a join
    server.token(&meeting.id, "Bob").await;
    let mut client = server.connect().await;
    client.send(json!({ "type": "resume", "session": "a.b" })).await;
    assert_eq!(client.recv().await["code"], "rate_limited");
}

#[tokio::test]
async fn a_websocket_that_says_nothing_is_closed() {
    let server = start_with(|config| config.join_timeout = Duration::from_millis(50)).await;
    let mut silent = server.connect().await;
    assert_eq!(silent.recv().await["code"], "not_joined");
    assert_eq!(silent.closed().await, Some(1008));
}

#[tokio::test]
async fn a_websocket_that_answers_no_ping_is_taken_for_dead() {
    let mut server = start_with(|config| {
        config.ping_interval = Duration::from_millis(20);
        config.dead_after = Duration::from_millis(60);
        config.resume_window = Duration::from_millis(20);
    })
    .await;
    let meeting = server.meeting().await;
    let (_mute, joined) = server.join(&meeting.id, "Ann").await; // never read again, so it sends no pong
    server
        .node
        .request(|request| *request == SfuRequest::Close { session: id(&joined) })
        .await;
}

/// More than the sockets between server and client hold.
const FLOOD_LINES: usize = 8_000;

#[tokio::test]
async fn a_websocket_that_takes_nothing_loses_chat_and_keeps_the_meeting() {
    let server = start_with(|config| {
        config.max_waiting_messages = 8;
        config.message_rate = 1_000_000;
        config.message_burst = 1_000_000;
        let plenty = tianqiao::config::ByteSize(1 << 30);
        config.message_bytes_rate = plenty;
        config.message_bytes_burst = plenty;
        config.chat_rate = plenty;
        config.chat_burst = plenty;
        config.chat_page_size = tianqiao::config::ByteSize(8_000);
        config.ping_interval = Duration::from_secs(60);
        config.dead_after = Duration::from_secs(120);
    })
    .await;
    let meeting = server.meeting().await;
    let (mut slow, _) = server.join(&meeting.id, "Ann").await;
    let (mut bob, _) = server.join(&meeting.id, "Bob").await;
    let text = "x".repeat(1_900);
    for _ in 0..FLOOD_LINES {
        bob.send(json!({ "type": "chat", "text": text })).await;
        bob.recv_type("chat").await;
    }
    slow.recv_type("chat_lost").await;
    slow.send(json!({ "type": "history" })).await;
    let history = slow.recv_type("history").await;
    let seqs: Vec<_> = history["chat"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["seq"].as_u64())
        .collect();
    let last = FLOOD_LINES as u64;
    assert_eq!(seqs, [last - 2, last - 1, last].map(Some), "one page of the latest");
    slow.send(json!({ "type": "history", "before": last - 2 })).await;
    let history = slow.recv_type("history").await;
    assert_eq!(history["chat"][2]["seq"], last - 3);
}

#[tokio::test]
async fn what_a_message_inflates_to_is_charged_to_all_connections_of_its_person() {
    let server = start_with(|config| {
        config.message_bytes_rate = tianqiao::config::ByteSize(1);
        config.message_bytes_burst = tianqiao::config::ByteSize(20_000);
    })
    .await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Ann").await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    for client in [&mut one, &mut two] {
        client.join(&token).await;
    }
    let bulky = json!({ "type": "viewport", "slots": [], "padding": " ".repeat(100_000) });
    one.send_deflated(bulky).await;
    two.send(json!({ "type": "ping", "t": 1 })).await;
    // The first may still be on its way when the second is read.
    for t in 2..100 {
        two.send(json!({ "type": "ping", "t": t })).await;
        let answer = two.recv().await;
        if answer["code"] == "rate_limited" {
            assert!(answer["retry_after"].as_u64().is_some_and(|wait| wait > 0), "{answer}");
            return;
        }
    }
    panic!("nothing was charged");
}

#[tokio::test]
async fn shutdown_tells_everybody_and_ends_soon() {
    let mut server = start().await;
    let meeting = server.meeting().await;
    let (mut ann, _) = server.join(&meeting.id, "Ann").await;
    let mut stranger = server.connect().await;
    let running = server.take();
    let started = std::time::Instant::now();
    let stopping = tokio::spawn(running.shutdown());
    for client in [&mut ann, &mut stranger] {
        assert_eq!(client.recv_type("ended").await["reason"], "server_shutdown");
        assert_eq!(client.closed().await, Some(1001));
    }
    drop((ann, stranger));
    stopping.await.expect("it stops");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    server
        .node
        .request(|request| {
            *request
                == SfuRequest::CloseRoom {
                    room: meeting.id.clone(),
                }
        })
        .await;
}

#[tokio::test]
async fn who_hangs_up_before_the_answer_takes_the_place_back() {
    let mut server = common::start().await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Hasty").await;
    server.node.fall_silent();
    let mut client = server.connect().await;
    client.send(common::client::join(&token, "v=0")).await;
    // It does not wait to be answered.
    client.send(json!({ "type": "ping", "t": 1 })).await;
    let opened = server
        .node
        .request(|request| matches!(request, SfuRequest::Open(_)))
        .await;
    let SfuRequest::Open(opened) = opened else {
        unreachable!("it opens");
    };
    drop(client);
    let closed = server
        .node
        .request(|request| matches!(request, SfuRequest::Close { .. }))
        .await;
    assert_eq!(
        closed,
        SfuRequest::Close {
            session: opened.session
        }
    );
}

#[tokio::test]
async fn what_a_client_sends_before_it_is_answered_is_answered_after() {
    let server = common::start().await;
    let meeting = server.meeting().await;
    let token = server.token(&meeting.id, "Eager").await;
    let mut client = server.connect().await;
    client.send(common::client::join(&token, "v=0")).await;
    for t in 0..3 {
        client.send(json!({ "type": "ping", "t": t })).await;
    }
    assert_eq!(client.recv().await["type"], "joined");
    for t in 0..3 {
        assert_eq!(client.recv().await, json!({ "type": "pong", "t": t }));
    }
}

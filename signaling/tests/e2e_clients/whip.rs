//! WHIP publishes and WHEP plays without a WebSocket.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use tianqiao_loadtest::client::{MediaSession, Peer, PeerConfig};
use tianqiao_loadtest::media::{AudioSource, MediaSource, Stamp, TrackWindow, VideoFormat, VideoSource};
use tianqiao_protocol::MediaKind;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{LIMIT, LOUD, Meeting, Received, channel_sink, viewer};

struct HttpSession {
    media: MediaSession,
    received: mpsc::UnboundedReceiver<Received>,
    location: String,
    token: String,
    answer: String,
}

async fn open(meeting: &Meeting, path: &str, name: &str, config: &PeerConfig) -> HttpSession {
    let mut peer = meeting.clients.peer(config).unwrap();
    let offer = peer.offer(Instant::now()).unwrap();
    let token = meeting.token(name).await;
    let answer = meeting
        .server
        .whip(Method::POST, path, &token, "application/sdp", offer)
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/sdp");
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let (sink, received) = channel_sink();
    let media = meeting.clients.connect(peer, &answer.body, sink).unwrap();
    media.connected(LIMIT).await.unwrap();
    HttpSession {
        media,
        received,
        location,
        token,
        answer: answer.body,
    }
}

impl HttpSession {
    /// Waits for a packet of the track with `stamp` that was sent after `seq`.
    async fn rtp(&mut self, stamp: u16, seq: u64) -> Stamp {
        let find = async {
            loop {
                let Some(Received::Rtp(packet)) = self.received.recv().await else {
                    continue;
                };
                let found = Stamp::read(&packet.payload).unwrap();
                if found.track == stamp && found.seq > seq {
                    return found;
                }
            }
        };
        timeout(LIMIT, find).await.expect("the awaited packet")
    }

    async fn delete(&self, meeting: &Meeting) {
        let answer = meeting
            .server
            .whip(Method::DELETE, &self.location, &self.token, "", String::new())
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
}

fn sources() -> Vec<Box<dyn MediaSource>> {
    let now = Instant::now();
    let format = VideoFormat {
        kbps: 500,
        ..Default::default()
    };
    vec![
        Box::new(VideoSource::new(format, TrackWindow::new(0, MediaKind::Video), now)),
        Box::new(AudioSource::new(LOUD, TrackWindow::new(1, MediaKind::Audio), now)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whip_publishes_to_whep_and_to_participants() {
    publish_and_play(Meeting::open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lean_whip_publishes_to_whep_and_to_participants() {
    publish_and_play(Meeting::open_lean().await).await;
}

async fn publish_and_play(meeting: Meeting) {
    let (whip_path, whep_path) = (
        format!("/whip/{}", meeting.created.id),
        format!("/whep/{}", meeting.created.code),
    );
    let publisher = PeerConfig {
        microphone: true,
        camera: true,
        repair: true,
        ..Default::default()
    };
    let whip = open(&meeting, &whip_path, "Encoder", &publisher).await;
    whip.media.publish(sources());

    let mut whep = open(&meeting, &whep_path, "Player", &viewer(1, 1)).await;
    whep.rtp(0, 0).await;
    whep.rtp(1, 0).await;

    let targets = vec![tianqiao_protocol::SlotTarget::ActiveSpeaker];
    let mut participant = meeting.join("Participant", viewer(1, 1), targets).await;
    participant.rtp(|_, stamp| stamp.track == 0).await;
    participant.rtp(|_, stamp| stamp.track == 1).await;

    whep.delete(&meeting).await;
    timeout(LIMIT, whep.media.closed())
        .await
        .expect("DELETE ends the media");
    whip.delete(&meeting).await;
    timeout(LIMIT, whip.media.closed())
        .await
        .expect("DELETE ends the media");
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_restarts_ice() {
    let meeting = Meeting::open().await;
    let anna = meeting.join_publisher("Anna", 0).await;
    let path = format!("/whep/{}?participant={}", meeting.created.id, anna.id());
    let mut whep = open(&meeting, &path, "Player", &viewer(1, 1)).await;
    whep.rtp(0, 0).await;

    let offer = |peer: &mut dyn Peer| {
        peer.restart_ice();
        peer.offer(Instant::now())
    };
    let offer = whep.media.with_peer(offer).await.unwrap().unwrap();
    let fragment: String = ["a=ice-ufrag:", "a=ice-pwd:"]
        .iter()
        .map(|name| format!("{}\r\n", attribute(&offer, name).expect("credentials")))
        .collect();
    let answer = meeting
        .server
        .whip(
            Method::PATCH,
            &whep.location,
            &whep.token,
            "application/trickle-ice-sdpfrag",
            fragment,
        )
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);

    // The client's answer is the old one with the fragment's credentials.
    let mut renewed = whep.answer.clone();
    for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
        let (old, new) = (
            attribute(&whep.answer, name).unwrap(),
            attribute(&answer.body, name).unwrap(),
        );
        assert_ne!(old, new);
        renewed = renewed.replace(old, new);
    }
    whep.media
        .with_peer(move |peer| peer.set_answer(Instant::now(), &renewed))
        .await
        .unwrap()
        .unwrap();
    while whep.received.try_recv().is_ok() {}
    let stamp = whep.rtp(0, 0).await;
    whep.rtp(0, stamp.seq + 100).await;
    whep.delete(&meeting).await;
    meeting.close().await;
}

fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find(|line| line.starts_with(name))
}

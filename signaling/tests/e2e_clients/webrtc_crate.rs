//! Clients of the `webrtc` crate as its users write them: its own driver, all of its default codecs
//! and interceptors.

use std::sync::Arc;
use std::time::Instant;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use tianqiao_loadtest::client::{WebSocket, peer::SendStream, sdp};
use tianqiao_loadtest::media::{MediaSource, Stamp, TrackWindow, VideoFormat, VideoSource};
use tianqiao_protocol::ws::{ClientMessage, Join, Joined, ServerMessage};
use tianqiao_protocol::{MediaKind, SlotTarget, SlotView, TrackDeclaration, TrackSource};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry, register_default_interceptors,
};

use crate::support::{LIMIT, Meeting};

const VP8: u8 = 96;

#[derive(Debug)]
enum Event {
    Gathered,
    Connected,
    Rtp(Box<rtp::Packet>),
}

struct Handler(mpsc::UnboundedSender<Event>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.0.send(Event::Gathered);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            let _ = self.0.send(Event::Connected);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let events = self.0.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let _ = events.send(Event::Rtp(Box::new(packet)));
                }
            }
        });
    }
}

struct Client<C> {
    connection: C,
    events: mpsc::UnboundedReceiver<Event>,
}

async fn client() -> Client<impl PeerConnection> {
    let mut media_engine = MediaEngine::default();
    media_engine.register_default_codecs().unwrap();
    let registry = register_default_interceptors(Registry::new(), &mut media_engine).unwrap();
    let (sender, events) = mpsc::unbounded_channel();
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(media_engine)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(Handler(sender)))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await
        .unwrap();
    Client { connection, events }
}

impl<C: PeerConnection> Client<C> {
    async fn event<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let find = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.expect("the connection lives")) {
                    return found;
                }
            }
        };
        timeout(LIMIT, find).await.expect("the awaited event")
    }

    /// Offers with all candidates, joins, takes the answer and waits for the connection.
    async fn join(&mut self, meeting: &Meeting, name: &str, target: SlotTarget) -> (WebSocket, Joined) {
        let offer = self.connection.create_offer(None).await.unwrap();
        self.connection.set_local_description(offer).await.unwrap();
        self.event(|event| matches!(event, Event::Gathered).then_some(())).await;
        let offer = self.connection.local_description().await.unwrap().sdp;
        let mid = |direction: &str| {
            sdp::sections(&offer)
                .into_iter()
                .find(|section| section.direction == direction)
                .map(|section| section.mid)
        };
        let camera = |mid| TrackDeclaration {
            mid,
            source: TrackSource::Camera,
            muted: false,
        };
        let view = |mid| SlotView {
            mid,
            target,
            height: 720,
        };
        let join = Join {
            token: meeting.token(name).await,
            tracks: mid("sendonly").map(camera).into_iter().collect(),
            slots: mid("recvonly").map(view).into_iter().collect(),
            sdp: offer.clone(),
        };
        let mut websocket = WebSocket::connect(&meeting.server).await.unwrap();
        let ServerMessage::Joined(joined) = websocket.ask(&ClientMessage::Join(join)).await.unwrap() else {
            panic!("no answer to the join");
        };
        let answer = RTCSessionDescription::answer(joined.sdp.clone()).unwrap();
        self.connection.set_remote_description(answer).await.unwrap();
        self.event(|event| matches!(event, Event::Connected).then_some(()))
            .await;
        (websocket, *joined)
    }
}

fn camera(ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let codec = RTCRtpCodec {
        mime_type: "video/VP8".to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: vec![],
    };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            ..Default::default()
        },
        codec,
        ..Default::default()
    };
    let name = || "camera".to_owned();
    let track = MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Video, vec![encoding]);
    Arc::new(TrackLocalStaticRTP::new(track))
}

/// Sends synthetic video for as long as it is polled; a key frame every second, as RTCP does not reach the
/// users of the crate.
async fn send_video(track: Arc<TrackLocalStaticRTP>, ssrc: u32) {
    let window = TrackWindow::new(0, MediaKind::Video);
    let format = VideoFormat {
        kbps: 500,
        ..Default::default()
    };
    let mut source = VideoSource::new(format, window, Instant::now());
    let stream = SendStream {
        kind: MediaKind::Video,
        ssrc,
        payload_type: VP8,
    };
    let mut packets = Vec::new();
    for frame in 0.. {
        sleep_until(source.poll_timeout().into()).await;
        if frame % 30 == 0 {
            source.on_keyframe_request();
        }
        source.handle_timeout(Instant::now(), stream, &mut |packet| {
            let header = rtp::Header {
                version: 2,
                marker: packet.marker,
                payload_type: VP8,
                sequence_number: packet.sequence_number,
                timestamp: packet.timestamp,
                ssrc,
                ..Default::default()
            };
            let payload = packet.payload.to_vec().into();
            packets.push(rtp::Packet { header, payload });
        });
        for packet in packets.drain(..) {
            track.write_rtp(packet).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn default_clients_of_the_crate_see_each_other() {
    let meeting = Meeting::open().await;
    let ssrc = 0x1234_5678;
    let track = camera(ssrc);
    let mut publisher = client().await;
    publisher.connection.add_track(track.clone()).await.unwrap();
    let transceivers = publisher.connection.get_transceivers().await;
    transceivers[0]
        .set_direction(rtc::rtp_transceiver::RTCRtpTransceiverDirection::Sendonly)
        .await
        .unwrap();
    let (_websocket, joined) = publisher.join(&meeting, "Publisher", SlotTarget::Nobody).await;
    let own = joined
        .state
        .participants
        .iter()
        .find(|other| other.id == joined.participant)
        .unwrap();
    let id = own
        .tracks
        .iter()
        .find(|track| track.source == TrackSource::Camera)
        .unwrap()
        .id;
    let sending = tokio::spawn(send_video(track, ssrc));

    let mut viewer = client().await;
    viewer
        .connection
        .add_transceiver_from_kind(RtpCodecKind::Video, None)
        .await
        .unwrap();
    let target = SlotTarget::Source {
        participant: joined.participant,
        source: TrackSource::Camera,
    };
    let _websocket = viewer.join(&meeting, "Viewer", target).await;
    let mut next: Option<u16> = None;
    for _ in 0..100 {
        let packet = viewer
            .event(|event| match event {
                Event::Rtp(packet) => Some(packet),
                _ => None,
            })
            .await;
        assert_eq!(packet.header.csrc, [id]);
        assert!(next.is_none_or(|next| next == packet.header.sequence_number));
        next = Some(packet.header.sequence_number.wrapping_add(1));
        assert_eq!(Stamp::read(&packet.payload).expect("our payload").track, 0);
    }
    sending.abort();
    viewer.connection.close().await.unwrap();
    publisher.connection.close().await.unwrap();
    meeting.close().await;
}

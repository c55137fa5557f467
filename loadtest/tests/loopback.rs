//! A client's media over real UDP, ICE, DTLS and SRTP against an answerer of the same crate, so that
//! a failure of the client shows without a server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tianqiao_loadtest::client::{Clients, Engine, NoSink, PeerConfig, SrtpProfile};
use tianqiao_loadtest::media::is_keyframe_start;
use tianqiao_loadtest::media::{AudioSource, MediaSource, Stamp, TrackWindow, VideoFormat, VideoSource};
use tianqiao_protocol::MediaKind;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn stamped_media_arrives_and_a_pli_brings_a_key_frame() {
    for srtp in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        exchange(Clients::Webrtc, srtp).await;
    }
}

#[tokio::test]
async fn stamped_media_of_a_lean_client_arrives_and_a_pli_brings_a_key_frame() {
    for srtp in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        exchange(Clients::Lean(Engine::start(1).unwrap()), srtp).await;
    }
}

async fn exchange(clients: Clients, srtp: SrtpProfile) {
    let config = PeerConfig {
        microphone: true,
        camera: true,
        repair: true,
        srtp,
        ..Default::default()
    };
    let mut peer = clients.peer(&config).unwrap();
    let offer = peer.offer(Instant::now()).unwrap();
    let (answer, mut received) = answerer(&offer).await;
    let media = clients.connect(peer, &answer, Box::new(NoSink)).unwrap();
    media.connected(LIMIT).await.unwrap();

    let windows = [MediaKind::Video, MediaKind::Audio].map(|kind| TrackWindow::new(kind as u16, kind));
    let sources: Vec<Box<dyn MediaSource>> = vec![
        Box::new(VideoSource::new(
            VideoFormat::default(),
            windows[0].clone(),
            Instant::now(),
        )),
        Box::new(AudioSource::new(30, windows[1].clone(), Instant::now())),
    ];
    media.publish(sources);

    // The answerer asks for a key frame at the first video packet.
    let (mut audio, mut keyframes) = (0, 0);
    let listen = async {
        while audio < 10 || keyframes < 2 {
            let (payload, marker) = received.recv().await.unwrap();
            match Stamp::read(&payload).expect("all payloads are stamped").track {
                track if track == MediaKind::Audio as u16 => audio += 1,
                _ => keyframes += usize::from(is_keyframe_start(&payload) && !marker),
            }
        }
    };
    timeout(LIMIT, listen).await.expect("audio and two key frames");
    media.close().await;
}

type Received = mpsc::UnboundedReceiver<(Vec<u8>, bool)>;

/// Answers `offer` on a socket of its own; gives out the payloads that it receives.
async fn answerer(offer: &str) -> (String, Received) {
    let now = Instant::now();
    let mut media_engine = MediaEngine::default();
    media_engine.register_default_codecs().unwrap();
    let mut connection = RTCPeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(media_engine)
        .with_setting_engine(
            SettingEngineBuilder::new()
                .with_include_loopback_candidate(true)
                .build(),
        )
        .with_interceptor_registry(Registry::new())
        .build(now)
        .unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let local_addr = socket.local_addr().unwrap();
    connection
        .set_remote_description(now, RTCSessionDescription::offer(offer.to_owned()).unwrap())
        .unwrap();
    let base_config = CandidateConfig {
        network: "udp".to_owned(),
        address: local_addr.ip().to_string(),
        port: local_addr.port(),
        component: 1,
        ..Default::default()
    };
    let candidate = CandidateHostConfig {
        base_config,
        ..Default::default()
    }
    .new_candidate_host()
    .unwrap();
    connection
        .add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap())
        .unwrap();
    let answer = connection.create_answer(None).unwrap();
    connection.set_local_description(now, answer).unwrap();
    let answer = connection.local_description().unwrap().sdp;
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(run(connection, socket, local_addr, sender));
    (answer, received)
}

async fn run(
    mut connection: RTCPeerConnection,
    socket: UdpSocket,
    local_addr: SocketAddr,
    received: mpsc::UnboundedSender<(Vec<u8>, bool)>,
) {
    let mut buffer = vec![0; 2048];
    let mut asked = false;
    loop {
        while let Some(message) = connection.poll_write() {
            socket
                .send_to(&message.message, message.transport.peer_addr)
                .await
                .unwrap();
        }
        while connection.poll_event().is_some() {}
        let due = connection.poll_timeout().unwrap_or_else(|| Instant::now() + LIMIT);
        tokio::select! {
            () = received.closed() => return,
            () = tokio::time::sleep_until(due.into()) => connection.handle_timeout(Instant::now()).unwrap(),
            datagram = socket.recv_from(&mut buffer) => {
                let (len, peer_addr) = datagram.unwrap();
                let transport =
                    TransportContext { local_addr, peer_addr, transport_protocol: TransportProtocol::UDP, ecn: None };
                let now = Instant::now();
                connection.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(&buffer[..len]) }).unwrap();
            }
        }
        while let Some(tagged) = connection.poll_read() {
            let RTCMessage::RtpPacket(track, packet) = tagged.message else {
                continue;
            };
            let _ = received.send((packet.payload.to_vec(), packet.header.marker));
            if packet.header.payload_type == 96 && !std::mem::replace(&mut asked, true) {
                let pli = PictureLossIndication {
                    sender_ssrc: 0,
                    media_ssrc: packet.header.ssrc,
                };
                let message = RTCMessage::RtcpPacket(track, vec![Box::new(pli)]);
                connection
                    .handle_write(TaggedRTCMessage {
                        now: Instant::now(),
                        message,
                    })
                    .unwrap();
            }
        }
    }
}

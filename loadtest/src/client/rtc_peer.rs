//! [`Peer`] over the sans-IO core of the `webrtc` crate.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::{configure_nack, configure_rtcp_reports};
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCDtlsTransportState, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpSenderId, RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tianqiao_protocol::MediaKind;

use super::keyframe_requests::{KeyframeRequests, Requests};
use super::peer::{
    MediaSink, OutgoingRtp, Peer, PeerConfig, PeerEvent, ReceivedRtp, SendStream, SrtpProfile, Transmit,
};

const AUDIO_LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const OPUS: u8 = 111;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;
/// Behind all of the crate's own interceptors.
const LAST_SLOT: usize = 14_000;

pub struct RtcPeer {
    connection: RTCPeerConnection,
    local_addr: Option<SocketAddr>,
    senders: Vec<Sender>,
    requests: Requests,
    events: VecDeque<PeerEvent>,
    /// What `poll_transmit` lent last.
    sending: BytesMut,
}

struct Sender {
    id: RTCRtpSenderId,
    stream: SendStream,
    audio_level_id: Option<u8>,
}

impl RtcPeer {
    pub fn new(config: &PeerConfig, now: Instant) -> Result<Self> {
        if !config.rids.is_empty() {
            bail!("only lean clients publish simulcast");
        }
        let mut media_engine = media_engine()?;
        let requests = Requests::default();
        let mut registry = Registry::new();
        if config.repair {
            registry = configure_rtcp_reports(configure_nack(registry, &mut media_engine));
        }
        if config.camera {
            registry = registry.with(Slot::from(LAST_SLOT), KeyframeRequests::new(requests.clone()));
        }
        let profile = match config.srtp {
            SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProfile::Aes128CmHmacSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        };
        let settings = SettingEngineBuilder::new()
            .with_srtp_protection_profiles(vec![profile])
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .build();
        let connection = RTCPeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(media_engine)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .build(now)?;
        let mut peer = Self {
            connection,
            local_addr: None,
            senders: Vec::new(),
            requests,
            events: VecDeque::new(),
            sending: BytesMut::new(),
        };
        if config.microphone {
            peer.add_sender(MediaKind::Audio)?;
        }
        if config.camera {
            peer.add_sender(MediaKind::Video)?;
        }
        for _ in 0..config.audio_slots {
            peer.add_slot(RtpCodecKind::Audio)?;
        }
        peer.add_video_slots(config.video_slots)?;
        Ok(peer)
    }

    fn add_sender(&mut self, kind: MediaKind) -> Result<()> {
        let (codec_kind, codec, payload_type) = match kind {
            MediaKind::Audio => (RtpCodecKind::Audio, opus(), OPUS),
            MediaKind::Video => (RtpCodecKind::Video, vp8(), VP8),
        };
        let ssrc = rand::random();
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec,
            ..Default::default()
        };
        let track = MediaStreamTrack::new(
            "loadtest".into(),
            format!("{codec_kind}"),
            format!("{codec_kind}"),
            codec_kind,
            vec![encoding],
        );
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            streams: vec![],
            send_encodings: vec![],
        };
        let transceiver = self.connection.add_transceiver_from_track(track, Some(init))?;
        self.senders.push(Sender {
            id: transceiver.into(),
            stream: SendStream {
                kind,
                ssrc,
                payload_type,
            },
            audio_level_id: None,
        });
        Ok(())
    }

    fn add_slot(&mut self, kind: RtpCodecKind) -> Result<()> {
        self.connection.add_transceiver_from_kind(kind, None)?;
        Ok(())
    }

    fn pump_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                match state {
                    RTCPeerConnectionState::Connected => self.events.push_back(PeerEvent::Connected),
                    RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                        self.events.push_back(PeerEvent::Closed)
                    }
                    _ => {}
                }
            }
        }
    }

    fn pump_rtp(&mut self, sink: &mut dyn MediaSink) {
        while let Some(tagged) = self.connection.poll_media_read() {
            let RTCMessage::RtpPacket(_, packet) = tagged.message else {
                continue;
            };
            sink.on_rtp(ReceivedRtp {
                at: tagged.now,
                ssrc: packet.header.ssrc,
                csrc: packet.header.csrc.first().copied(),
                payload_type: packet.header.payload_type,
                sequence_number: packet.header.sequence_number,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                payload: &packet.payload,
            });
        }
    }

    /// The crate ends data channels on a DTLS good-bye but leaves the connection "connected".
    fn is_dtls_closed(&mut self) -> bool {
        let Some(first) = self.connection.get_transceivers().next() else {
            return false;
        };
        let Some(transceiver) = self.connection.rtp_transceiver(first) else {
            return false;
        };
        let (sender, receiver) = (transceiver.sender(), transceiver.receiver());
        let state = match (sender, receiver) {
            (Some(id), _) => self
                .connection
                .rtp_sender(id)
                .and_then(|sender| sender.transport().map(|dtls| dtls.state())),
            (_, Some(id)) => self
                .connection
                .rtp_receiver(id)
                .and_then(|receiver| receiver.transport().map(|dtls| dtls.state())),
            _ => None,
        };
        state == Some(RTCDtlsTransportState::Closed)
    }

    /// What was negotiated for the streams that are sent.
    fn take_parameters(&mut self) -> Result<()> {
        for sender in &mut self.senders {
            let Some(mut rtp_sender) = self.connection.rtp_sender(sender.id) else {
                bail!("a sender is gone")
            };
            let parameters = &rtp_sender.get_parameters().rtp_parameters;
            let Some(codec) = parameters
                .codecs
                .iter()
                .find(|codec| !codec.rtp_codec.mime_type.eq_ignore_ascii_case(MIME_TYPE_RTX))
            else {
                bail!("the answer takes no codec of ours");
            };
            sender.stream.payload_type = codec.payload_type;
            sender.audio_level_id = parameters
                .header_extensions
                .iter()
                .find(|extension| extension.uri == AUDIO_LEVEL_URI)
                .and_then(|extension| u8::try_from(extension.id).ok());
        }
        Ok(())
    }

    fn send_rtcp(&mut self, now: Instant, packet: Box<dyn rtcp::Packet>) -> Result<()> {
        // The track only names whom the packet is from; the wire does not carry it.
        let message = RTCMessage::RtcpPacket(String::new(), vec![packet]);
        Ok(self.connection.handle_write(TaggedRTCMessage { now, message })?)
    }
}

impl Peer for RtcPeer {
    fn offer(&mut self, now: Instant) -> Result<String> {
        let offer = self.connection.create_offer(None)?;
        let sdp = offer.sdp.clone();
        self.connection.set_local_description(now, offer)?;
        Ok(sdp)
    }

    fn set_answer(&mut self, now: Instant, answer: &str) -> Result<()> {
        let description = RTCSessionDescription::answer(answer.to_owned()).context("the answer does not parse")?;
        self.connection.set_remote_description(now, description)?;
        self.take_parameters()
    }

    fn accept_offer(&mut self, now: Instant, offer: &str) -> Result<String> {
        let description = RTCSessionDescription::offer(offer.to_owned()).context("the offer does not parse")?;
        self.connection.set_remote_description(now, description)?;
        let answer = self.connection.create_answer(None)?;
        let sdp = answer.sdp.clone();
        self.connection.set_local_description(now, answer)?;
        self.take_parameters()?;
        Ok(sdp)
    }

    fn set_local_addr(&mut self, addr: SocketAddr) -> Result<()> {
        let candidate = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: addr.ip().to_string(),
                port: addr.port(),
                component: 1,
                ..Default::default()
            },
            ..Default::default()
        }
        .new_candidate_host()?;
        self.connection
            .add_local_candidate(RTCIceCandidate::from(&candidate).to_json()?)?;
        self.local_addr = Some(addr);
        Ok(())
    }

    fn add_video_slots(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.add_slot(RtpCodecKind::Video))
    }

    fn restart_ice(&mut self) {
        self.connection.restart_ice();
    }

    fn send_streams(&mut self) -> Vec<SendStream> {
        self.senders.iter().map(|sender| sender.stream).collect()
    }

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, data: &mut [u8], sink: &mut dyn MediaSink) {
        let Some(local_addr) = self.local_addr else { return };
        let transport = TransportContext {
            local_addr,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let is_dtls = data.first().is_some_and(|first| (20..64).contains(first));
        // The only errors are of a closed connection, which `poll_event` tells.
        let _ = self.connection.handle_read(TaggedBytesMut {
            now,
            transport,
            message: BytesMut::from(&*data),
        });
        if is_dtls {
            // The keys of SRTP are taken over with the event, and the next datagram may need them.
            self.pump_events();
            if self.is_dtls_closed() {
                self.events.push_back(PeerEvent::Closed);
            }
        }
        self.pump_rtp(sink);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let _ = self.connection.handle_timeout(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        let tagged = self.connection.poll_write()?;
        self.sending = tagged.message;
        Some(Transmit {
            to: tagged.transport.peer_addr,
            data: &self.sending,
        })
    }

    fn poll_event(&mut self) -> Option<PeerEvent> {
        let request = self.requests.lock().expect("nobody panics with the lock").pop();
        if let Some(ssrc) = request {
            return Some(PeerEvent::KeyframeRequested { ssrc });
        }
        self.pump_events();
        self.events.pop_front()
    }

    fn send_rtp(&mut self, now: Instant, packet: OutgoingRtp<'_>) -> Result<()> {
        let level_id = self
            .senders
            .iter()
            .find(|sender| sender.stream.ssrc == packet.stream.ssrc)
            .and_then(|sender| sender.audio_level_id);
        let mut header = rtp::Header {
            version: 2,
            marker: packet.marker,
            payload_type: packet.stream.payload_type,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            ssrc: packet.stream.ssrc,
            ..Default::default()
        };
        if let (Some(id), Some(level)) = (level_id, packet.audio_level) {
            header.set_extension(id, Bytes::from(vec![0x80 | level]))?;
        }
        let message = RTCMessage::RtpPacket(
            String::new(),
            rtp::Packet {
                header,
                payload: Bytes::copy_from_slice(packet.payload),
            },
        );
        Ok(self.connection.handle_write(TaggedRTCMessage { now, message })?)
    }

    fn request_keyframe(&mut self, now: Instant, ssrc: u32) -> Result<()> {
        self.send_rtcp(
            now,
            Box::new(PictureLossIndication {
                sender_ssrc: 0,
                media_ssrc: ssrc,
            }),
        )
    }

    fn request_packets(&mut self, now: Instant, ssrc: u32, sequence_numbers: &[u16]) -> Result<()> {
        let nacks = nack_pairs_from_sequence_numbers(sequence_numbers);
        self.send_rtcp(
            now,
            Box::new(TransportLayerNack {
                sender_ssrc: 0,
                media_ssrc: ssrc,
                nacks,
            }),
        )
    }

    fn close(&mut self) {
        let _ = self.connection.close();
    }
}

fn media_engine() -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    engine.register_codec(
        RTCRtpCodecParameters {
            rtp_codec: opus(),
            payload_type: OPUS,
        },
        RtpCodecKind::Audio,
    )?;
    engine.register_codec(
        RTCRtpCodecParameters {
            rtp_codec: vp8(),
            payload_type: VP8,
        },
        RtpCodecKind::Video,
    )?;
    let rtx = RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format!("apt={VP8}"),
        rtcp_feedback: vec![],
    };
    engine.register_codec(
        RTCRtpCodecParameters {
            rtp_codec: rtx,
            payload_type: VP8_RTX,
        },
        RtpCodecKind::Video,
    )?;
    let audio_level = RTCRtpHeaderExtensionCapability {
        uri: AUDIO_LEVEL_URI.to_owned(),
    };
    engine.register_header_extension(audio_level, RtpCodecKind::Audio, None)?;
    Ok(engine)
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![],
    }
}

fn vp8() -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    RTCRtpCodec {
        mime_type: MIME_TYPE_VP8.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("ccm", "fir")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_has_its_sections_in_order() {
        let config = PeerConfig {
            microphone: true,
            camera: true,
            audio_slots: 2,
            video_slots: 3,
            ..Default::default()
        };
        let mut peer = RtcPeer::new(&config, Instant::now()).unwrap();
        let sdp = peer.offer(Instant::now()).unwrap();
        let sections = super::super::sdp::sections(&sdp);
        let found: Vec<_> = sections
            .iter()
            .map(|section| (section.kind.as_str(), section.direction))
            .collect();
        let (send, receive) = ("sendonly", "recvonly");
        assert_eq!(
            found,
            [
                ("audio", send),
                ("video", send),
                ("audio", receive),
                ("audio", receive),
                ("video", receive),
                ("video", receive),
                ("video", receive)
            ]
        );
        assert!(sections.iter().all(|section| !section.mid.is_empty()));
        assert!(sdp.contains(AUDIO_LEVEL_URI), "{sdp}");
        assert!(sdp.contains("a=ssrc-group:FID"), "{sdp}");
    }

    #[test]
    fn an_offer_is_taken_with_an_answer_that_receives() {
        let publisher = PeerConfig {
            microphone: true,
            camera: true,
            ..Default::default()
        };
        let offer = RtcPeer::new(&publisher, Instant::now())
            .unwrap()
            .offer(Instant::now())
            .unwrap();
        let mut peer = RtcPeer::new(&PeerConfig::default(), Instant::now()).unwrap();
        let answer = peer.accept_offer(Instant::now(), &offer).unwrap();
        let directions: Vec<_> = super::super::sdp::sections(&answer)
            .iter()
            .map(|section| section.direction)
            .collect();
        assert_eq!(directions, ["recvonly", "recvonly"]);
        assert!(peer.send_streams().is_empty());
        assert!(peer.accept_offer(Instant::now(), "no SDP").is_err());
    }
}

//! A client over real UDP, made of the project's own transport.

// No test uses all of it.
#![allow(dead_code)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use tianqiao_bus::Bus;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_protocol::TrackInfo;
use tianqiao_protocol::control::{AudioPolicy, OpenSession, Owner, SfuReply, SfuRequest};
use tianqiao_sfu::config::{RateLimits, SfuConfig};
use tianqiao_sfu::node::Node;
use tianqiao_sfu_core::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::transport::stun::{BindingRequest, Class, IceRole, IntegrityKey, Message, binding_success};
use tianqiao_sfu_core::transport::{Certificate, Transport, TransportConfig, TransportEvent, TransportOutput};
use tianqiao_sfu_core::units::ExtendedSeq;

/// Whatever is awaited is there long before; only a failure waits so long.
pub const PATIENCE: Duration = Duration::from_secs(10);
pub const PAYLOAD: &[u8] = b"an Opus frame, as far as anybody here can tell";
const RTP_HEADER: usize = 12;

/// Who asks the node.
pub fn owner() -> Owner {
    Owner {
        instance: "test".to_owned(),
        epoch: 1,
    }
}

/// A client made of our own transport, in the DTLS client's role.
pub struct Client {
    socket: UdpSocket,
    pub server: SocketAddr,
    transport: Transport,
    pub connected: bool,
    pub tracks: Vec<TrackInfo>,
    sent: u64,
    /// Checks of the server's that it has answered.
    pub answered: usize,
    /// A check of its own, as it sends it.
    pub check: Vec<u8>,
    /// The server's, which names worker and connection.
    pub remote_ufrag: String,
    local_key: IntegrityKey,
    remote_key: IntegrityKey,
}

impl Client {
    pub async fn join(bus: &InProcessBus, node: &String, name: &str, section: &str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let client = Self::open(bus, node, name, section, socket).await;
        client.send_check();
        client
    }

    /// Opens the session and sends nothing yet.
    pub async fn open(bus: &InProcessBus, node: &String, name: &str, section: &str, socket: UdpSocket) -> Self {
        let certificate = Certificate::generate().expect("a certificate");
        let local = IceCredentials {
            ufrag: "abcd".to_owned(),
            pwd: "abcdefghijklmnopqrstuvwx".to_owned(),
        };
        let request = SfuRequest::Open(OpenSession {
            room: "room".to_owned(),
            session: name.to_owned(),
            origin: 1,
            sdp: offer(&local, certificate.fingerprint(), section),
            tracks: Vec::new(),
            slots: Vec::new(),
            audio: AudioPolicy::Loudest,
            identity: "somebody".to_owned(),
            memo: String::new(),
        });
        let SfuReply::Answered { sdp, tracks, .. } = bus.request(node, &owner(), request).await.expect("joins") else {
            panic!("no answer");
        };
        let attribute = |name: &str| {
            let line = sdp.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {sdp}")).to_owned()
        };
        let remote = IceCredentials {
            ufrag: attribute("a=ice-ufrag:"),
            pwd: attribute("a=ice-pwd:"),
        };
        let candidate = attribute("a=candidate:");
        let fields: Vec<&str> = candidate.split(' ').collect();
        let server = format!("{}:{}", fields[4], fields[5]).parse().expect("an address");
        set_timeout(&socket);

        let check = |username: &str, pwd: &str| {
            let request = BindingRequest {
                transaction: *b"transaction!",
                username,
                priority: 1,
                role: IceRole::Controlling(7),
                use_candidate: true,
            };
            request.write(&IntegrityKey::new(pwd))
        };
        let to_server = check(&format!("{}:{}", remote.ufrag, local.ufrag), &remote.pwd);
        // Our transport is ICE-lite, so the client's gets its path by a check too.
        let to_self = check(&format!("{}:{}", local.ufrag, remote.ufrag), &local.pwd);
        let [local_key, remote_key] = [&local, &remote].map(|credentials| IntegrityKey::new(&credentials.pwd));
        let remote_ufrag = remote.ufrag.clone();
        let config = TransportConfig {
            local,
            remote,
            remote_fingerprint: fingerprint(&attribute("a=fingerprint:sha-256 ")),
            role: DtlsRole::Active,
            certificate,
        };
        let now = Instant::now();
        let mut transport = Transport::new(config, now);
        transport
            .handle_stun(now, Path::udp(server), &to_self)
            .expect("a valid check");
        Self {
            socket,
            server,
            transport,
            connected: false,
            tracks,
            sent: 0,
            answered: 0,
            check: to_server,
            remote_ufrag,
            local_key,
            remote_key,
        }
    }

    /// Packets so far.
    pub fn spoken(&self) -> u64 {
        self.sent
    }

    pub fn send_check(&self) {
        self.socket.send_to(&self.check, self.server).expect("sent");
    }

    /// Sends what is due and takes one packet; returns it if it is RTP.
    pub fn turn(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        let len = self.receive(&mut buffer)?;
        Some(buffer[..len].to_vec())
    }

    /// As [`Self::turn`], into `buffer`; allocates nothing for RTP.
    pub fn receive(&mut self, buffer: &mut [u8; 2048]) -> Option<usize> {
        let now = Instant::now();
        if self.transport.poll_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
        while let Some(output) = self.transport.poll_output() {
            match output {
                TransportOutput::Transmit { data, .. } if classify(&data) != Ok(PacketKind::Stun) => {
                    self.socket.send_to(&data, self.server).expect("sent");
                }
                TransportOutput::Transmit { path, data } => self.answer_for_server(now, path, &data),
                TransportOutput::Event(TransportEvent::Connected) => self.connected = true,
                _ => {}
            }
        }
        let (len, _) = self.socket.recv_from(buffer).ok()?;
        let packet = &mut buffer[..len];
        match classify(packet) {
            Ok(PacketKind::Dtls) => {
                let path = Path::udp(self.server);
                self.transport.handle_dtls(now, path, packet).expect("good DTLS");
                None
            }
            // A check of the server's: media comes only to an address that answers.
            Ok(PacketKind::Stun) => {
                let message = Message::parse(packet).expect("STUN");
                if message.class == Class::Request && message.is_authentic(&self.local_key) {
                    let answer = binding_success(message.transaction, self.server, &self.local_key);
                    self.socket.send_to(&answer, self.server).expect("sent");
                    self.answered += 1;
                }
                None
            }
            Ok(PacketKind::Rtp) => Some(self.transport.unprotect_rtp(packet).expect("authentic")),
            _ => None,
        }
    }

    /// Goes on over another socket, as behind a NAT that has given it another port; the old socket.
    pub fn rebind(&mut self, socket: UdpSocket) -> UdpSocket {
        set_timeout(&socket);
        std::mem::replace(&mut self.socket, socket)
    }

    /// The first flight of its DTLS handshake, not sent.
    pub fn client_hello(&mut self) -> Vec<u8> {
        let now = Instant::now();
        while let Some(output) = self.transport.poll_output() {
            if let TransportOutput::Transmit { path, data } = output {
                if classify(&data) == Ok(PacketKind::Dtls) {
                    return data;
                }
                self.answer_for_server(now, path, &data);
            }
        }
        panic!("no ClientHello");
    }

    /// The server is where its candidate says: nobody need ask it.
    fn answer_for_server(&mut self, now: Instant, path: Path, check: &[u8]) {
        let message = Message::parse(check).expect("STUN");
        if message.class == Class::Request {
            let answer = binding_success(message.transaction, self.server, &self.remote_key);
            let _ = self.transport.handle_stun(now, path, &answer);
        }
    }

    /// An authentic answer to a check of the server's with this transaction id.
    pub fn answer_to(&self, transaction: [u8; 12]) -> Vec<u8> {
        binding_success(transaction, self.server, &self.local_key)
    }

    /// One packet of a microphone.
    pub fn speak(&mut self) {
        let mut packet = [0; 256];
        let len = RTP_HEADER + PAYLOAD.len();
        packet[0] = 0x80;
        packet[1] = 96;
        packet[2..4].copy_from_slice(&(self.sent as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(960 * self.sent as u32).to_be_bytes());
        packet[8..12].copy_from_slice(&1111u32.to_be_bytes());
        packet[RTP_HEADER..len].copy_from_slice(PAYLOAD);
        let seq = ExtendedSeq(self.sent);
        let len = self
            .transport
            .protect_rtp(&mut packet, len, RTP_HEADER, seq)
            .expect("keys");
        self.socket.send_to(&packet[..len], self.server).expect("sent");
        self.sent += 1;
    }
}

fn set_timeout(socket: &UdpSocket) {
    let timeout = Some(Duration::from_millis(5));
    socket.set_read_timeout(timeout).expect("a timeout");
}

fn offer(ice: &IceCredentials, fingerprint: &Fingerprint, section: &str) -> String {
    let digest: Vec<String> = fingerprint.digest.iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\n\
         a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=setup:actpass\r\na=fingerprint:sha-256 {}\r\n\
         a=rtpmap:96 opus/48000/2\r\n{section}",
        ice.ufrag,
        ice.pwd,
        digest.join(":"),
    )
}

fn fingerprint(text: &str) -> Fingerprint {
    let byte = |text: &str| u8::from_str_radix(text, 16).expect("hex");
    Fingerprint {
        algorithm: FingerprintAlgorithm::Sha256,
        digest: text.split(':').map(byte).collect(),
    }
}

/// A node with alice, who sends, on one worker and bob, who receives, on the other; both are connected.
pub async fn two_workers(bus: &Arc<InProcessBus>, registry: &Registry) -> (Node, Client, Client) {
    let config = SfuConfig {
        workers: 2,
        media_port: 0,
        media_bind: Ipv4Addr::LOCALHOST.into(),
        // Alice speaks as fast as she can, not at a voice's rate.
        rates: RateLimits::UNLIMITED,
        ..SfuConfig::default()
    };
    let name = config.node.clone();
    let node = Node::start(config, bus.clone(), registry).await.expect("a node");
    let sends = "a=sendonly\r\na=ssrc:1111 cname:x\r\n";
    let mut alice = Client::join(bus, &name, "alice", sends).await;
    // The first eight of a room share a worker.
    for filler in 0..7 {
        Client::join(bus, &name, &format!("filler {filler}"), "a=recvonly\r\n").await;
    }
    let mut bob = Client::join(bus, &name, "bob", "a=recvonly\r\n").await;
    assert_ne!(alice.server, bob.server, "two workers");
    let begun = Instant::now();
    while !(alice.connected && bob.connected) {
        assert!(begun.elapsed() < PATIENCE, "no DTLS");
        alice.turn();
        bob.turn();
    }
    (node, alice, bob)
}

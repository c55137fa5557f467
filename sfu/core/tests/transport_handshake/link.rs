//! The transport and its client, with a link of fixed delay and seeded loss between them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tianqiao_sfu_core::negotiated::DtlsRole;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::transport::{
    Certificate, SRTP_MAX_OVERHEAD, Transport, TransportConfig, TransportEvent, TransportOutput, ufrag,
};
use tianqiao_sfu_core::units::{ConnectionId, ExtendedSeq, WorkerIndex};

use crate::client::{Client, Habits, Version};

#[derive(Clone, Copy)]
pub struct Setup {
    pub version: Version,
    pub server_is_active: bool,
    pub wrong_fingerprint: bool,
    pub dtls: bool,
    /// Of the client's DTLS.
    pub mtu: usize,
    /// One way.
    pub delay: Duration,
    pub loss_percent: u32,
    pub seed: u64,
    pub habits: Habits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            version: Version::Auto,
            server_is_active: false,
            wrong_fingerprint: false,
            dtls: true,
            mtu: 1150,
            delay: Duration::from_millis(20),
            loss_percent: 0,
            seed: 1,
            habits: Habits::default(),
        }
    }
}

pub struct Pair {
    pub transport: Transport,
    pub client: Client,
    pub events: Vec<TransportEvent>,
    pub now: Instant,
    /// Nothing of DTLS comes to the client.
    pub deaf: bool,
    /// Datagrams of DTLS that the transport sent.
    pub dtls_sent: usize,
    setup: Setup,
    rng: StdRng,
    to_transport: VecDeque<(Instant, Path, Vec<u8>)>,
    to_client: VecDeque<(Instant, Vec<u8>)>,
    /// What went elsewhere than to the client.
    pub strayed: Vec<(Path, Vec<u8>)>,
}

impl Pair {
    pub fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let local = ufrag::generate(WorkerIndex(0), ConnectionId(1));
        let client = Client::with(
            setup.habits,
            setup.version,
            !setup.server_is_active,
            setup.mtu,
            local.clone(),
            now,
        );
        let mut remote_fingerprint = client.fingerprint.clone();
        if setup.wrong_fingerprint {
            remote_fingerprint.digest[31] ^= 1;
        }
        let config = TransportConfig {
            remote: Client::credentials(),
            local,
            remote_fingerprint,
            role: if setup.server_is_active {
                DtlsRole::Active
            } else {
                DtlsRole::Passive
            },
            certificate: Certificate::generate().expect("generates"),
        };
        let mut pair = Self {
            transport: Transport::new(config, now),
            client,
            events: Vec::new(),
            now,
            deaf: false,
            dtls_sent: 0,
            setup,
            rng: StdRng::seed_from_u64(setup.seed),
            to_transport: VecDeque::new(),
            to_client: VecDeque::new(),
            strayed: Vec::new(),
        };
        pair.client.dtls_enabled = setup.dtls;
        pair
    }

    pub fn client_path(&self) -> Path {
        Path::udp(SocketAddr::from(([198, 51, 100, 1], self.client.port)))
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            let arrivals = [
                self.to_transport.front().map(|(at, ..)| *at),
                self.to_client.front().map(|(at, _)| *at),
            ];
            let timeouts = [self.transport.poll_timeout(), Some(self.client.poll_timeout())];
            let next = arrivals
                .into_iter()
                .chain(timeouts)
                .flatten()
                .min()
                .expect("the client checks");
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.deliver();
            if self.transport.poll_timeout().is_some_and(|at| at <= self.now) {
                self.transport.handle_timeout(self.now);
            }
            if self.client.poll_timeout() <= self.now {
                self.client.handle_timeout(self.now);
            }
        }
    }

    pub fn set_loss(&mut self, percent: u32) {
        self.setup.loss_percent = percent;
    }

    pub fn close(&mut self) {
        self.transport.close(self.now);
        self.exchange();
    }

    pub fn restart_ice(&mut self) {
        let local = ufrag::generate(WorkerIndex(0), ConnectionId(1));
        self.client.on_restart(local.clone());
        self.transport.restart_ice(local, Client::credentials(), self.now);
    }

    fn deliver(&mut self) {
        while self.to_transport.front().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, path, packet) = self.to_transport.pop_front().expect("there is a front");
            // What is dropped is not our business here.
            let _ = match classify(&packet).expect("the client sends nothing else") {
                PacketKind::Stun => self.transport.handle_stun(self.now, path, &packet),
                _ => self.transport.handle_dtls(self.now, path, &packet),
            };
        }
        while self.to_client.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, packet) = self.to_client.pop_front().expect("there is a front");
            self.client.handle_packet(self.now, &packet);
        }
    }

    pub fn exchange(&mut self) {
        let arrival = self.now + self.setup.delay;
        let path = self.client_path();
        while let Some(output) = self.transport.poll_output() {
            match output {
                TransportOutput::Event(event) => self.events.push(event),
                TransportOutput::Transmit { path: to, data } => {
                    assert!(data.len() <= 1200);
                    self.dtls_sent += usize::from(classify(&data) == Ok(PacketKind::Dtls));
                    if to != path {
                        self.strayed.push((to, data));
                        continue;
                    }
                    let unheard = self.deaf && classify(&data) == Ok(PacketKind::Dtls);
                    if !self.is_lost() && !unheard {
                        self.to_client.push_back((arrival, data));
                    }
                }
            }
        }
        for packet in self.client.take_output() {
            if !self.is_lost() {
                self.to_transport.push_back((arrival, path, packet));
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.rng.random_range(0..100) < self.setup.loss_percent
    }

    /// RTP and RTCP get through, and only once.
    pub fn check_media_both_ways(&mut self) {
        let (inbound, outbound) = self.client.keys().expect("the client is connected");
        for seq in [65_530, 65_540] {
            let (mut packet, len) = rtp(seq);
            let protected = self.transport.protect_rtp(&mut packet, len, 12, ExtendedSeq(seq));
            let protected = &mut packet[..protected.expect("connected")];
            assert_eq!(inbound.unprotect_rtp(protected), Ok(len));
            assert_eq!(protected[..len], rtp(seq).0[..len]);

            let (mut packet, len) = rtp(seq);
            let protected = outbound.protect_rtp(&mut packet, len, 12, ExtendedSeq(seq));
            let mut copy = packet[..protected.expect("room")].to_vec();
            let protected = &mut packet[..protected.expect("room")];
            assert_eq!(self.transport.unprotect_rtp(protected), Ok(len));
            assert_eq!(protected[..len], rtp(seq).0[..len]);
            assert!(self.transport.unprotect_rtp(&mut copy).is_err());
        }
        let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 5];
        report.resize(8 + SRTP_MAX_OVERHEAD, 0);
        let mut other = report.clone();
        let len = self.transport.protect_rtcp(&mut report, 8).expect("connected");
        assert_eq!(inbound.unprotect_rtcp(&mut report[..len]), Ok(8));
        let len = outbound.protect_rtcp(&mut other, 8).expect("room");
        assert_eq!(self.transport.unprotect_rtcp(&mut other[..len]), Ok(8));
    }
}

/// A packet with room behind it, and its length.
fn rtp(seq: u64) -> (Vec<u8>, usize) {
    let mut packet = vec![0x80, 96];
    packet.extend(ExtendedSeq(seq).truncate().to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    packet.extend([seq as u8; 100]);
    let len = packet.len();
    packet.resize(len + SRTP_MAX_OVERHEAD, 0);
    (packet, len)
}

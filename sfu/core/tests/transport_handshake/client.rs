//! A client: it checks its path every second, nominates it, and shakes hands by `dimpl`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, Output, SrtpProfile};
use tianqiao_sfu_core::negotiated::{Fingerprint, FingerprintAlgorithm, IceCredentials};
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::transport::srtp::{ExportedKeys, Inbound, Outbound, Profile};
use tianqiao_sfu_core::transport::stun::{
    BindingRequest, Class, Embedded, IceRole, IntegrityKey, Message, binding_success_with, crc32,
};

/// With keys.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub enum Version {
    Dtls12,
    Dtls13,
    Auto,
}

#[derive(Clone, Copy)]
pub struct Habits {
    /// Of its DTLS library, before it doubles.
    pub rto: Duration,
    /// It checks its path this often until it has keys.
    pub first_checks: Duration,
    /// Its DTLS rides on its checks, and on answers to ours.
    pub sped: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            rto: Duration::from_secs(1),
            first_checks: CHECK_INTERVAL,
            sped: false,
        }
    }
}

pub struct Client {
    dtls: Dtls,
    is_active: bool,
    server: IceCredentials,
    restarted: Option<IceCredentials>,
    pub fingerprint: Fingerprint,
    pub port: u16,
    /// It answers checks, as full agents do.
    pub answers: bool,
    /// Checks that came.
    pub asked: usize,
    /// Sends nothing.
    pub silent: bool,
    /// DTLS is not begun.
    pub dtls_enabled: bool,
    dtls_started: bool,
    profile: Option<SrtpProfile>,
    keys: Option<(Inbound, Outbound)>,
    closed: bool,
    next_check: Instant,
    first_checks: Duration,
    dtls_timeout: Option<Instant>,
    out: Vec<Vec<u8>>,
    pub sped: Option<Sped>,
}

/// What rides on STUN, as libwebrtc does it: until it is acknowledged, one datagram at a time.
#[derive(Default)]
pub struct Sped {
    pending: VecDeque<Vec<u8>>,
    received: Vec<u32>,
    /// Datagrams that came inside STUN.
    pub carried: usize,
}

impl Client {
    #[allow(dead_code)] // not each test that includes this file calls it
    pub fn new(version: Version, is_active: bool, mtu: usize, server: IceCredentials, now: Instant) -> Self {
        Self::with(Habits::default(), version, is_active, mtu, server, now)
    }

    pub fn with(
        habits: Habits,
        version: Version,
        is_active: bool,
        mtu: usize,
        server: IceCredentials,
        now: Instant,
    ) -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate().expect("generates");
        let fingerprint = Fingerprint {
            algorithm: FingerprintAlgorithm::Sha256,
            digest: certificate.fingerprint(),
        };
        let config = Config::builder().mtu(mtu).flight_start_rto(habits.rto);
        let config = config.flight_retries(12).build();
        let config = Arc::new(config.expect("valid"));
        let mut dtls = match version {
            Version::Dtls12 => Dtls::new_12(config, certificate, now),
            Version::Dtls13 => Dtls::new_13(config, certificate, now),
            Version::Auto => Dtls::new_auto(config, certificate, now),
        };
        dtls.set_active(is_active);
        Self {
            dtls,
            is_active,
            server,
            restarted: None,
            fingerprint,
            port: 5000,
            answers: true,
            asked: 0,
            silent: false,
            dtls_enabled: true,
            dtls_started: false,
            profile: None,
            keys: None,
            closed: false,
            next_check: now,
            first_checks: habits.first_checks,
            dtls_timeout: None,
            out: Vec::new(),
            sped: habits.sped.then(Sped::default),
        }
    }

    pub fn profile(&self) -> Option<SrtpProfile> {
        self.profile
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn keys(&mut self) -> Option<&mut (Inbound, Outbound)> {
        self.keys.as_mut()
    }

    /// What its offer says.
    pub fn credentials() -> IceCredentials {
        IceCredentials {
            ufrag: "client".into(),
            pwd: "p".repeat(24),
        }
    }

    pub fn on_restart(&mut self, server: IceCredentials) {
        self.restarted = Some(server);
    }

    pub fn use_restarted_credentials(&mut self) {
        self.server = self.restarted.take().expect("restarted before");
    }

    fn embed<R>(&mut self, write: impl FnOnce(&Embedded<'_>) -> R) -> R {
        let Some(sped) = &mut self.sped else {
            return write(&Embedded::default());
        };
        if sped.pending.len() > 1 {
            sped.pending.rotate_left(1);
        }
        write(&Embedded {
            dtls: sped.pending.back().map(Vec::as_slice),
            acks: Some(sped.received.iter().rev().take(4).copied().collect()),
        })
    }

    fn on_embedded(&mut self, now: Instant, embedded: &Embedded<'_>) {
        let Some(sped) = &mut self.sped else {
            assert_eq!(*embedded, Embedded::default(), "unasked");
            return;
        };
        let acks = embedded.acks.clone().unwrap_or_default();
        sped.pending.retain(|datagram| !acks.contains(&crc32(datagram)));
        if let Some(datagram) = embedded.dtls {
            sped.carried += 1;
            self.handle_dtls(now, datagram);
        }
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) {
        if let Some(sped) = &mut self.sped
            && !sped.received.contains(&crc32(datagram))
        {
            sped.received.push(crc32(datagram));
        }
        self.dtls.handle_timeout(now).expect("in time");
        self.dtls.handle_packet(datagram).expect("goes on");
        self.drain();
    }

    pub fn check_with_password(&self, pwd: &str) -> Vec<u8> {
        self.write_check(pwd, &Embedded::default())
    }

    fn write_check(&self, pwd: &str, embedded: &Embedded<'_>) -> Vec<u8> {
        let request = BindingRequest {
            transaction: *b"transaction!",
            username: &format!("{}:{}", self.server.ufrag, Self::credentials().ufrag),
            priority: 1,
            role: IceRole::Controlling(7),
            use_candidate: true,
        };
        request.write_with(embedded, &IntegrityKey::new(pwd))
    }

    pub fn server_password(&self) -> String {
        self.server.pwd.clone()
    }

    /// The datagrams with which its handshake begins, or goes on when it is told nothing.
    pub fn take_hello(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.start_dtls(now);
        let _ = self.dtls.handle_timeout(now);
        self.drain();
        std::mem::take(&mut self.out)
    }

    pub fn close(&mut self) {
        self.dtls.close().expect("closes");
        self.drain();
    }

    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        match classify(packet).expect("we send nothing else") {
            PacketKind::Stun => {
                let message = Message::parse(packet).expect("well-formed");
                self.asked += usize::from(message.class == Class::Request);
                self.on_embedded(now, &message.embedded);
                match message.class {
                    Class::Request if self.answers => {
                        let key = IntegrityKey::new(&Self::credentials().pwd);
                        assert!(message.is_authentic(&key));
                        assert_eq!(message.local_ufrag(), Some("client"));
                        let mapped = ([192, 0, 2, 1], 1).into();
                        let answer =
                            self.embed(|embedded| binding_success_with(message.transaction, mapped, embedded, &key));
                        self.out.push(answer);
                    }
                    Class::Request => {}
                    class => {
                        assert_eq!(class, Class::Success);
                        self.start_dtls(now);
                    }
                }
            }
            PacketKind::Dtls if self.dtls_enabled => {
                self.handle_dtls(now, packet);
            }
            _ => {}
        }
    }

    /// The handshake begins with the first answered check.
    fn start_dtls(&mut self, now: Instant) {
        if !self.dtls_started && self.dtls_enabled {
            self.dtls_started = true;
            self.dtls.handle_timeout(now).expect("starts");
            self.drain();
        }
    }

    pub fn poll_timeout(&self) -> Instant {
        self.dtls_timeout
            .filter(|_| self.dtls_started)
            .map_or(self.next_check, |at| at.min(self.next_check))
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_check {
            let interval = match self.keys {
                Some(_) => CHECK_INTERVAL,
                None => self.first_checks,
            };
            self.next_check = now + interval;
            if self.sped.is_some() {
                self.start_dtls(now);
            }
            let (pwd, acks) = (
                self.server.pwd.clone(),
                self.embed(|embedded| (embedded.dtls.map(<[u8]>::to_vec), embedded.acks.clone())),
            );
            let embedded = Embedded {
                dtls: acks.0.as_deref(),
                acks: acks.1,
            };
            let check = self.write_check(&pwd, &embedded);
            self.out.push(check);
        }
        if self.dtls_started && self.dtls_timeout.is_some_and(|at| now >= at) {
            self.dtls.handle_timeout(now).expect("in time");
            self.drain();
        }
    }

    pub fn take_output(&mut self) -> Vec<Vec<u8>> {
        let out = std::mem::take(&mut self.out);
        if self.silent { Vec::new() } else { out }
    }

    fn drain(&mut self) {
        let mut buffer = vec![0; 4096];
        let mut is_first = true;
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => match &mut self.sped {
                    Some(sped) => {
                        if std::mem::take(&mut is_first) {
                            sped.pending.clear();
                        }
                        sped.pending.push_back(packet.to_vec());
                    }
                    None => self.out.push(packet.to_vec()),
                },
                Output::KeyingMaterial(material, profile) => {
                    self.profile = Some(profile);
                    let known = match profile {
                        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        _ => Profile::Aes128CmSha1_80,
                    };
                    let keys = ExportedKeys::parse(known, &material).expect("as long as it should be");
                    let (local, remote) = if self.is_active {
                        (keys.client, keys.server)
                    } else {
                        (keys.server, keys.client)
                    };
                    self.keys = Some((Inbound::new(&remote), Outbound::new(&local)));
                }
                Output::CloseNotify => self.closed = true,
                Output::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    return;
                }
                _ => {}
            }
        }
    }
}

//! A client: it checks its path every second, nominates it, and shakes hands by `dimpl`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, Output, SrtpProfile};
use tianqiao_sfu_core::negotiated::{Fingerprint, FingerprintAlgorithm, IceCredentials};
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tianqiao_sfu_core::transport::srtp::{ExportedKeys, Inbound, Outbound, Profile};
use tianqiao_sfu_core::transport::stun::{BindingRequest, Class, IceRole, IntegrityKey, Message, binding_success};

use crate::link::Setup;

/// With keys.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub enum Version {
    Dtls12,
    Dtls13,
    Auto,
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
}

impl Client {
    pub fn new(setup: &Setup, server: IceCredentials, now: Instant) -> Self {
        let (version, is_active) = (setup.version, !setup.server_is_active);
        let certificate = dimpl::certificate::generate_self_signed_certificate().expect("generates");
        let fingerprint = Fingerprint {
            algorithm: FingerprintAlgorithm::Sha256,
            digest: certificate.fingerprint(),
        };
        let config = Config::builder().mtu(setup.mtu).flight_start_rto(setup.client_rto);
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
            first_checks: setup.first_checks,
            dtls_timeout: None,
            out: Vec::new(),
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

    pub fn check_with_password(&self, pwd: &str) -> Vec<u8> {
        let request = BindingRequest {
            transaction: *b"transaction!",
            username: &format!("{}:{}", self.server.ufrag, Self::credentials().ufrag),
            priority: 1,
            role: IceRole::Controlling(7),
            use_candidate: true,
        };
        request.write(&IntegrityKey::new(pwd))
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
                match message.class {
                    Class::Request if self.answers => {
                        let key = IntegrityKey::new(&Self::credentials().pwd);
                        assert!(message.is_authentic(&key));
                        assert_eq!(message.local_ufrag(), Some("client"));
                        let mapped = ([192, 0, 2, 1], 1).into();
                        self.out.push(binding_success(message.transaction, mapped, &key));
                    }
                    Class::Request => {}
                    class => {
                        assert_eq!(class, Class::Success);
                        self.start_dtls(now);
                    }
                }
            }
            PacketKind::Dtls if self.dtls_enabled => {
                self.dtls.handle_timeout(now).expect("in time");
                self.dtls.handle_packet(packet).expect("goes on");
                self.drain();
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
            let check = self.check_with_password(&self.server.pwd);
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
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => self.out.push(packet.to_vec()),
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

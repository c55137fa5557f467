//! One client's ICE, DTLS and SRTP.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result};
use tianqiao_sfu_core::negotiated::{DtlsRole, Fingerprint, IceCredentials};
use tianqiao_sfu_core::transport::Certificate;
use tianqiao_sfu_core::transport::dtls::{DtlsOutput, Endpoint};
use tianqiao_sfu_core::transport::srtp::{ExportedKeys, Inbound, Outbound};

use super::ice::{Ice, IceEvent};
use super::send_queue::SendQueue;

/// What an answer or offer says of the other side's transport.
#[derive(Clone, Debug)]
pub(super) struct RemoteTransport {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    pub addr: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportEvent {
    /// There is a path and there are keys. Once.
    Connected,
    /// Closed or failed. Once, and nothing follows.
    Closed,
}

pub(super) struct Transport {
    pub ice: Ice,
    dtls: Option<Endpoint>,
    role: DtlsRole,
    srtp: Option<Box<Srtp>>,
    has_ended: bool,
}

pub(super) struct Srtp {
    pub inbound: Inbound,
    pub outbound: Outbound,
}

impl Transport {
    pub fn new() -> Self {
        Self {
            ice: Ice::new(),
            dtls: None,
            role: DtlsRole::Active,
            srtp: None,
            has_ended: false,
        }
    }

    /// Takes the other side's description; only its ICE part the second time.
    pub fn set_remote(
        &mut self,
        now: Instant,
        remote: RemoteTransport,
        role: DtlsRole,
        is_controlling: bool,
    ) -> Result<()> {
        self.ice.set_remote(now, remote.ice, remote.addr, is_controlling);
        if self.dtls.is_none() {
            let mut endpoint = Endpoint::new(certificate()?.clone(), role, remote.fingerprint);
            self.role = role;
            if role == DtlsRole::Passive {
                endpoint.start(now);
            }
            self.dtls = Some(endpoint);
        }
        Ok(())
    }

    /// Closed, by whichever side, or failed.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Keys, once there are some and until the end.
    pub fn srtp(&mut self) -> Option<&mut Srtp> {
        self.srtp.as_deref_mut()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_ended {
            return None;
        }
        let dtls = self.dtls.as_ref().and_then(Endpoint::poll_timeout);
        self.ice.poll_timeout().into_iter().chain(dtls).min()
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut SendQueue) -> Option<TransportEvent> {
        if self.has_ended {
            return None;
        }
        if self.ice.handle_timeout(now, out) == Some(IceEvent::Failed) {
            return self.end();
        }
        let dtls = self.dtls.as_mut()?;
        if dtls.poll_timeout().is_some_and(|due| now >= due) {
            dtls.handle_timeout(now);
        }
        self.drain_dtls(out)
    }

    pub fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &[u8],
        out: &mut SendQueue,
    ) -> Option<TransportEvent> {
        if self.has_ended || self.ice.handle_stun(now, from, packet, out) != Some(IceEvent::Valid) {
            return None;
        }
        self.dtls.as_mut()?.start(now);
        self.drain_dtls(out)
    }

    pub fn handle_dtls(&mut self, now: Instant, packet: &[u8], out: &mut SendQueue) -> Option<TransportEvent> {
        if self.has_ended {
            return None;
        }
        // What it drops comes again or was none of ours.
        let _ = self.dtls.as_mut()?.handle_packet(now, packet);
        self.drain_dtls(out)
    }

    /// Sends close_notify.
    pub fn close(&mut self, out: &mut SendQueue) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close();
            self.drain_dtls(out);
        }
        self.end();
    }

    fn drain_dtls(&mut self, out: &mut SendQueue) -> Option<TransportEvent> {
        let mut event = None;
        while let Some(output) = self.dtls.as_mut()?.poll_output() {
            match output {
                DtlsOutput::Transmit(data) => {
                    if let Some(addr) = self.ice.remote_addr() {
                        out.push(addr, &data);
                    }
                }
                DtlsOutput::Keys(keys) => {
                    self.on_keys(&keys);
                    event = Some(TransportEvent::Connected);
                }
                DtlsOutput::Failed | DtlsOutput::Closed => return self.end(),
            }
        }
        event
    }

    fn on_keys(&mut self, keys: &ExportedKeys) {
        let (local, remote) = match self.role {
            DtlsRole::Active => (&keys.client, &keys.server),
            DtlsRole::Passive => (&keys.server, &keys.client),
        };
        self.srtp = Some(Box::new(Srtp {
            inbound: Inbound::new(remote),
            outbound: Outbound::new(local),
        }));
    }

    fn end(&mut self) -> Option<TransportEvent> {
        self.srtp = None;
        (!std::mem::replace(&mut self.has_ended, true)).then_some(TransportEvent::Closed)
    }
}

/// One for all clients of the process.
pub(super) fn certificate() -> Result<&'static Certificate> {
    static CERTIFICATE: OnceLock<Option<Certificate>> = OnceLock::new();
    CERTIFICATE
        .get_or_init(|| Certificate::generate().ok())
        .as_ref()
        .context("no certificate could be made")
}

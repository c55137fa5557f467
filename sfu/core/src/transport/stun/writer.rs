//! Binding messages on their way out, each with MESSAGE-INTEGRITY and FINGERPRINT.

use std::net::{IpAddr, SocketAddr};

use super::{
    BINDING, Class, Embedded, HEADER_LEN, IceRole, IntegrityKey, MAGIC_COOKIE, TransactionId, attribute, fingerprint,
    xor_mask,
};

/// The answer to a good check: the address that it came from.
pub fn binding_success(transaction: TransactionId, mapped: SocketAddr, key: &IntegrityKey) -> Vec<u8> {
    binding_success_with(transaction, mapped, &Embedded::default(), key)
}

/// As [`binding_success`]; see [`super::MAX_BODY`] for how much may be inside.
pub fn binding_success_with(
    transaction: TransactionId,
    mapped: SocketAddr,
    embedded: &Embedded<'_>,
    key: &IntegrityKey,
) -> Vec<u8> {
    let mut writer = Writer::new(Class::Success, transaction);
    writer.xor_mapped_address(mapped);
    writer.embedded(embedded);
    writer.finish(key)
}

/// An error response; `unknown` is for code 420.
pub fn binding_error(
    transaction: TransactionId,
    code: u16,
    reason: &str,
    unknown: &[u16],
    key: &IntegrityKey,
) -> Vec<u8> {
    let mut writer = Writer::new(Class::Error, transaction);
    let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
    value.extend(reason.as_bytes());
    writer.attribute(attribute::ERROR_CODE, &value);
    if !unknown.is_empty() {
        let value: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &value);
    }
    writer.finish(key)
}

/// A connectivity check (RFC 8445, section 7.2.2).
#[derive(Clone, Copy, Debug)]
pub struct BindingRequest<'a> {
    pub transaction: TransactionId,
    /// `remote:local` ufrags, as the sender sees them.
    pub username: &'a str,
    pub priority: u32,
    pub role: IceRole,
    pub use_candidate: bool,
}

impl BindingRequest<'_> {
    /// `key` is of the receiver's password.
    pub fn write(&self, key: &IntegrityKey) -> Vec<u8> {
        self.write_with(&Embedded::default(), key)
    }

    /// As [`Self::write`]; see [`super::MAX_BODY`] for how much may be inside.
    pub fn write_with(&self, embedded: &Embedded<'_>, key: &IntegrityKey) -> Vec<u8> {
        let mut writer = Writer::new(Class::Request, self.transaction);
        writer.attribute(attribute::USERNAME, self.username.as_bytes());
        writer.attribute(attribute::PRIORITY, &self.priority.to_be_bytes());
        match self.role {
            IceRole::Controlling(tie) => writer.attribute(attribute::ICE_CONTROLLING, &tie.to_be_bytes()),
            IceRole::Controlled(tie) => writer.attribute(attribute::ICE_CONTROLLED, &tie.to_be_bytes()),
        }
        if self.use_candidate {
            writer.attribute(attribute::USE_CANDIDATE, &[]);
        }
        writer.embedded(embedded);
        writer.finish(key)
    }
}

pub(super) struct Writer {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl Writer {
    pub fn new(class: Class, transaction: TransactionId) -> Self {
        let class = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let mut bytes = Vec::with_capacity(128);
        bytes.extend((class | BINDING).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.extend(transaction);
        Self { bytes, transaction }
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.set_len(self.bytes.len());
    }

    fn embedded(&mut self, embedded: &Embedded<'_>) {
        if let Some(acks) = &embedded.acks {
            let value: Vec<u8> = acks.iter().flat_map(|crc| crc.to_be_bytes()).collect();
            self.attribute(attribute::DTLS_IN_STUN_ACK, &value);
        }
        if let Some(datagram) = embedded.dtls {
            self.attribute(attribute::DTLS_IN_STUN, datagram);
        }
    }

    /// RFC 8489, section 14.2.
    fn xor_mapped_address(&mut self, address: SocketAddr) {
        let port = (address.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
        // A dual-stack socket sees IPv4 clients at mapped IPv6 addresses.
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = (ip.to_bits() ^ MAGIC_COOKIE).to_be_bytes();
                let value = [0, 1, port[0], port[1], a, b, c, d];
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &value);
            }
            IpAddr::V6(ip) => {
                let mut value = [0; 20];
                value[1..4].copy_from_slice(&[2, port[0], port[1]]);
                value[4..].copy_from_slice(&(ip.to_bits() ^ xor_mask(&self.transaction)).to_be_bytes());
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &value);
            }
        }
    }

    pub fn finish(mut self, key: &IntegrityKey) -> Vec<u8> {
        let integrity = key.compute(&self.bytes);
        self.attribute(attribute::MESSAGE_INTEGRITY, &integrity);
        self.set_len(self.bytes.len() + 4 + fingerprint::LEN);
        let fingerprint = fingerprint::compute(&self.bytes);
        self.attribute(attribute::FINGERPRINT, &fingerprint.to_be_bytes());
        self.bytes
    }

    fn set_len(&mut self, message_len: usize) {
        let len = (message_len - HEADER_LEN) as u16;
        self.bytes[2..4].copy_from_slice(&len.to_be_bytes());
    }
}

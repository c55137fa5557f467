//! STUN binding messages (RFC 8489) with the attributes of ICE (RFC 8445, section 16.1), read from
//! borrowed bytes and written with short-term credentials.

mod fingerprint;
mod integrity;
mod writer;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use arrayvec::ArrayVec;

pub use self::fingerprint::crc32;
pub use self::integrity::IntegrityKey;
pub use self::writer::{BindingRequest, binding_error, binding_success, binding_success_with};

use crate::drop_reason::DropReason;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const BINDING: u16 = 1;
/// Unknown attributes that an error response names; of more, the first.
const MAX_UNKNOWN: usize = 8;

/// Acknowledgements of one message; libwebrtc takes no more.
pub const MAX_ACKS: usize = 4;
/// Attributes of a message with DTLS inside, in front of MESSAGE-INTEGRITY and FINGERPRINT (as libwebrtc's).
pub const MAX_BODY: usize = 1200 - 24 - 8;

/// Attribute types.
mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802a;
    /// META-DTLS-IN-STUN and its acknowledgement (draft-hancke-webrtc-sped).
    pub const DTLS_IN_STUN: u16 = 0xc070;
    pub const DTLS_IN_STUN_ACK: u16 = 0xc071;

    /// Types from here on may be ignored by whoever does not know them.
    pub const OPTIONAL: u16 = 0x8000;
    /// Comprehension-required types of RFC 8489 that mean nothing in a connectivity check:
    /// MAPPED-ADDRESS, REALM, NONCE, MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH.
    pub const IGNORED: [u16; 6] = [0x0001, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

pub type TransactionId = [u8; 12];

/// ICE-CONTROLLING or ICE-CONTROLLED with the sender's tie-breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    Controlling(u64),
    Controlled(u64),
}

/// DTLS inside a message (draft-hancke-webrtc-sped).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Embedded<'a> {
    /// One datagram.
    pub dtls: Option<&'a [u8]>,
    /// CRC-32 of datagrams that came; also without any it says that the sender knows of this.
    pub acks: Option<ArrayVec<u32, MAX_ACKS>>,
}

/// A binding message, well-formed but not yet authenticated; see [`Message::is_authentic`].
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where the header of MESSAGE-INTEGRITY is.
    integrity_at: Option<usize>,
    pub class: Class,
    pub transaction: TransactionId,
    pub username: Option<&'a str>,
    pub priority: Option<u32>,
    pub use_candidate: bool,
    pub role: Option<IceRole>,
    pub mapped_address: Option<SocketAddr>,
    /// 300–699.
    pub error_code: Option<u16>,
    pub embedded: Embedded<'a>,
    /// Attributes that we do not know, but that must be understood (RFC 8489, section 6.3.1).
    pub unknown: ArrayVec<u16, MAX_UNKNOWN>,
}

impl<'a> Message<'a> {
    /// # Errors
    /// [`DropReason::StunMalformed`] for anything but one whole STUN message whose FINGERPRINT, if
    /// any, is right; [`DropReason::StunUnexpected`] for methods other than Binding.
    pub fn parse(packet: &'a [u8]) -> Result<Self, DropReason> {
        let (class, attributes) = parse_header(packet)?;
        let mut message = Self {
            bytes: packet,
            integrity_at: None,
            class,
            transaction: packet[8..HEADER_LEN].try_into().expect("a slice of 12"),
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            mapped_address: None,
            error_code: None,
            embedded: Embedded::default(),
            unknown: ArrayVec::new(),
        };
        let mut fingerprint_seen = false;
        for attribute in attributes {
            let attribute = attribute?;
            if fingerprint_seen {
                return Err(DropReason::StunMalformed);
            }
            if attribute.kind == attribute::FINGERPRINT {
                fingerprint::check(packet, attribute.at, attribute.value)?;
                fingerprint_seen = true;
            } else if message.integrity_at.is_none() {
                // What follows MESSAGE-INTEGRITY is not covered by it (RFC 8489, section 14.5).
                message.on_attribute(attribute)?;
            }
        }
        Ok(message)
    }

    /// MESSAGE-INTEGRITY is there and was made with `key`.
    pub fn is_authentic(&self, key: &IntegrityKey) -> bool {
        self.integrity_at.is_some_and(|at| key.verify(self.bytes, at))
    }

    /// The receiver's fragment of USERNAME, the part in front of the colon (RFC 8445, section 7.2.2).
    pub fn local_ufrag(&self) -> Option<&'a str> {
        Some(self.username?.split_once(':')?.0)
    }

    fn on_attribute(&mut self, attribute: Attribute<'a>) -> Result<(), DropReason> {
        let value = attribute.value;
        match attribute.kind {
            // Of a repeated attribute only the first counts (RFC 8489, section 14).
            attribute::USERNAME if self.username.is_some() => {}
            attribute::USERNAME => self.username = Some(username(value)?),
            attribute::MESSAGE_INTEGRITY if value.len() == integrity::LEN => self.integrity_at = Some(attribute.at),
            attribute::MESSAGE_INTEGRITY => return Err(DropReason::StunMalformed),
            attribute::PRIORITY => self.priority = Some(u32::from_be_bytes(array(value)?)),
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLING => {
                self.role = Some(IceRole::Controlling(u64::from_be_bytes(array(value)?)));
            }
            attribute::ICE_CONTROLLED => {
                self.role = Some(IceRole::Controlled(u64::from_be_bytes(array(value)?)));
            }
            attribute::XOR_MAPPED_ADDRESS => self.mapped_address = Some(xor_address(value, &self.transaction)?),
            attribute::ERROR_CODE => {
                let [_, _, class, number, ..] = value else {
                    return Err(DropReason::StunMalformed);
                };
                self.error_code = Some(u16::from(class & 7) * 100 + u16::from(*number));
            }
            attribute::DTLS_IN_STUN => self.embedded.dtls = Some(value),
            // Of too many acknowledgements the first.
            attribute::DTLS_IN_STUN_ACK => {
                let crcs = value.as_chunks().0.iter().map(|crc| u32::from_be_bytes(*crc));
                self.embedded.acks = Some(crcs.take(MAX_ACKS).collect());
            }
            kind if kind >= attribute::OPTIONAL || attribute::IGNORED.contains(&kind) => {}
            attribute::UNKNOWN_ATTRIBUTES => {}
            kind => {
                // Full: the error response names the first ones.
                let _ = self.unknown.try_push(kind);
            }
        }
        Ok(())
    }
}

/// The receiver's ufrag in a binding request, read without looking at anything that USERNAME is not.
///
/// # Errors
/// [`DropReason::StunMalformed`], [`DropReason::StunUnexpected`] for what is no request, and
/// [`DropReason::StunUnknownUser`] for one without a USERNAME of two parts.
pub fn peek_local_ufrag(packet: &[u8]) -> Result<&str, DropReason> {
    let (class, attributes) = parse_header(packet)?;
    if class != Class::Request {
        return Err(DropReason::StunUnexpected);
    }
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == attribute::MESSAGE_INTEGRITY {
            break;
        }
        if attribute.kind == attribute::USERNAME {
            let (local, _) = username(attribute.value)?
                .split_once(':')
                .ok_or(DropReason::StunUnknownUser)?;
            return Ok(local);
        }
    }
    Err(DropReason::StunUnknownUser)
}

/// The class and the transaction id, read without looking at the attributes.
///
/// # Errors
/// [`DropReason::StunMalformed`] and [`DropReason::StunUnexpected`] as for [`Message::parse`].
pub fn peek_class(packet: &[u8]) -> Result<(Class, TransactionId), DropReason> {
    let (class, _) = parse_header(packet)?;
    let id = packet[8..HEADER_LEN].try_into().expect("a slice of 12");
    Ok((class, id))
}

fn parse_header(packet: &[u8]) -> Result<(Class, Attributes<'_>), DropReason> {
    let Some((header, attributes)) = packet.split_first_chunk::<HEADER_LEN>() else {
        return Err(DropReason::StunMalformed);
    };
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let cookie = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    if kind & 0xc000 != 0 || cookie != MAGIC_COOKIE || len != attributes.len() || !len.is_multiple_of(4) {
        return Err(DropReason::StunMalformed);
    }
    // RFC 8489, section 5: the class is bits 4 and 8 of the type, the method the others.
    let class = match kind & 0x0110 {
        0x0000 => Class::Request,
        0x0010 => Class::Indication,
        0x0100 => Class::Success,
        _ => Class::Error,
    };
    if kind & !0x0110 != BINDING {
        return Err(DropReason::StunUnexpected);
    }
    let attributes = Attributes {
        rest: attributes,
        at: HEADER_LEN,
    };
    Ok((class, attributes))
}

struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    /// Where its header is in the message.
    at: usize,
}

struct Attributes<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = self.split_first();
        if attribute.is_none() {
            self.rest = &[];
        }
        Some(attribute.ok_or(DropReason::StunMalformed))
    }
}

impl<'a> Attributes<'a> {
    fn split_first(&mut self) -> Option<Attribute<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (padded, rest) = rest.split_at_checked(len.next_multiple_of(4))?;
        let attribute = Attribute {
            kind: u16::from_be_bytes([header[0], header[1]]),
            value: &padded[..len],
            at: self.at,
        };
        self.at += 4 + padded.len();
        self.rest = rest;
        Some(attribute)
    }
}

fn array<const LEN: usize>(value: &[u8]) -> Result<[u8; LEN], DropReason> {
    value.try_into().map_err(|_| DropReason::StunMalformed)
}

fn username(value: &[u8]) -> Result<&str, DropReason> {
    str::from_utf8(value).map_err(|_| DropReason::StunMalformed)
}

/// RFC 8489, section 14.2.
fn xor_address(value: &[u8], transaction: &TransactionId) -> Result<SocketAddr, DropReason> {
    let (&[_, family, port_high, port_low], address) =
        value.split_first_chunk::<4>().ok_or(DropReason::StunMalformed)?;
    let port = u16::from_be_bytes([port_high, port_low]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes(array(address)?) ^ MAGIC_COOKIE)),
        2 => IpAddr::V6(Ipv6Addr::from_bits(
            u128::from_be_bytes(array(address)?) ^ xor_mask(transaction),
        )),
        _ => return Err(DropReason::StunMalformed),
    };
    Ok(SocketAddr::new(ip, port))
}

/// The magic cookie and the transaction id, with which IPv6 addresses are obfuscated.
fn xor_mask(transaction: &TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    u128::from_be_bytes(mask)
}

#[cfg(test)]
mod tests;

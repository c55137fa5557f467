//! A link to another node: what workers say to each other by mail, with a socket between. Sans-IO; the worker that has
//! the link hands in datagrams and sends what comes out.
//!
//! A datagram is [`FIRST_BYTE`], which lies outside RFC 7983's ranges, the generation of the keys, the link's id and a
//! number that counts all datagrams of a direction; then its body by AES-128-GCM. A body is one media packet with all that
//! is known of it, so that payloads which are encrypted end to end need not be read again, or something of the link's
//! own: messages, which arrive once and in order; signals, of which only the latest counts; feedback and requests for what
//! is missing. What is missing is sent again under a new number.

mod channel;
mod clock;
mod congestion;
mod link;
mod message;
mod repair;
mod seal;
#[cfg(test)]
mod tests;
mod wire;

pub use link::{Link, LinkConfig, LinkEvent, LinkStats, Media};
pub use message::{LinkMessage, LinkSignal, MAX_SPEAKING, WATCHED};
pub use seal::{LinkKey, LinkKeys};

/// Tells a link's datagrams from those of clients.
pub const FIRST_BYTE: u8 = 0xf1;
/// First byte, generation, id, number.
pub const HEADER_LEN: usize = 18;
/// What a media packet takes on a link besides payload and dependency descriptor, at most.
pub const MAX_MEDIA_OVERHEAD: usize = HEADER_LEN + wire::MAX_INFO + seal::TAG_LEN;

/// A link of this node, by the random number that both ends know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// The link that a datagram names; nothing is known yet of whether it is authentic.
pub fn peek_link(datagram: &[u8]) -> Option<LinkId> {
    let id = datagram.get(2..10)?.try_into().ok()?;
    (datagram.len() >= HEADER_LEN + seal::TAG_LEN && datagram[0] == FIRST_BYTE).then(|| LinkId(u64::from_be_bytes(id)))
}

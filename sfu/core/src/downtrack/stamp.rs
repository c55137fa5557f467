//! What a packet carries for the client's feedback on it.

use crate::packet::extensions::ExtensionWriter;

/// Extensions are told by their ids. Values are given where a packet is sent, not where it is decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// The packet's number among all that the client is sent.
    TransportCc(u8),
    /// When it was sent, for clients that estimate themselves.
    AbsSendTime(u8),
    /// Nothing: feedback goes by its SSRC and sequence number (RFC 8888).
    Rtp,
}

impl Stamp {
    /// Adds `value`: the low 16 bits of a number, 24 of a time.
    pub(super) fn write(self, value: u32, extensions: &mut ExtensionWriter<'_>) {
        match self {
            Self::TransportCc(id) => extensions.push(id, &(value as u16).to_be_bytes()),
            Self::AbsSendTime(id) => extensions.push(id, &value.to_be_bytes()[1..]),
            Self::Rtp => true,
        };
    }
}

//! Which protocol a packet belongs to, by its first bytes (RFC 7983; RFC 5761 for RTP and RTCP).

use crate::drop_reason::DropReason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

/// # Errors
/// [`DropReason::UnknownProtocol`] for an empty packet and for first bytes of nothing that we speak
/// (ZRTP, TURN channels).
pub fn classify(packet: &[u8]) -> Result<PacketKind, DropReason> {
    match packet {
        [0..=3, ..] => Ok(PacketKind::Stun),
        [20..=63, ..] => Ok(PacketKind::Dtls),
        // RFC 5761, section 4: RTCP's packet types look like RTP payload types 64–95 with the marker.
        [128..=191, 192..=223, ..] => Ok(PacketKind::Rtcp),
        [128..=191, ..] => Ok(PacketKind::Rtp),
        _ => Err(DropReason::UnknownProtocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_first_bytes() {
        for (packet, expected) in [
            (&[][..], Err(DropReason::UnknownProtocol)),
            (&[0, 1], Ok(PacketKind::Stun)),
            (&[3], Ok(PacketKind::Stun)),
            (&[4], Err(DropReason::UnknownProtocol)),
            (&[16], Err(DropReason::UnknownProtocol)),
            (&[20], Ok(PacketKind::Dtls)),
            (&[22, 254], Ok(PacketKind::Dtls)),
            (&[63], Ok(PacketKind::Dtls)),
            (&[64, 0], Err(DropReason::UnknownProtocol)),
            (&[127, 0], Err(DropReason::UnknownProtocol)),
            (&[0x80, 96], Ok(PacketKind::Rtp)),
            (&[0x80, 0x80 | 111], Ok(PacketKind::Rtp)),
            (&[0x80], Ok(PacketKind::Rtp)),
            (&[0xbf, 191], Ok(PacketKind::Rtp)),
            (&[0x80, 192], Ok(PacketKind::Rtcp)),
            (&[0x81, 201], Ok(PacketKind::Rtcp)),
            (&[0x8f, 206], Ok(PacketKind::Rtcp)),
            (&[0x80, 223], Ok(PacketKind::Rtcp)),
            (&[0x80, 224], Ok(PacketKind::Rtp)),
            (&[0xc0, 96], Err(DropReason::UnknownProtocol)),
        ] {
            assert_eq!(classify(packet), expected, "{packet:?}");
        }
    }
}

//! Headers of RTP packets, as publishers of the tests write them.

/// The fixed header (RFC 3550, section 5.1), without CSRCs.
pub fn header(payload_type: u8, marker: bool, seq: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet
}

/// Adds an extension block in the one-byte form (RFC 8285, section 4.2).
pub fn extend(packet: &mut Vec<u8>, elements: &[(u8, &[u8])]) {
    packet[0] |= 0x10;
    let start = packet.len();
    packet.extend([0xbe, 0xde, 0, 0]);
    for (id, data) in elements {
        packet.push(id << 4 | (data.len() as u8 - 1));
        packet.extend(*data);
    }
    while !packet.len().is_multiple_of(4) {
        packet.push(0);
    }
    packet[start + 3] = ((packet.len() - start) / 4 - 1) as u8;
}

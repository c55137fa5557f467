//! What an Opus packet says of itself in its first bytes (RFC 6716, section 3.1).

/// Most sound that one packet may hold (RFC 6716, section 3.2.5, rule 5): 120 ms.
pub const MAX_DURATION: u32 = 5_760;
/// A packet as small as that says only that silence follows: libopus' encoder need not send it, and libwebrtc
/// sends the first.
pub const MAX_DTX: usize = 2;

/// How much sound a packet holds, in 1/48,000 s; `None` where it cannot be one of Opus.
pub fn duration(payload: &[u8]) -> Option<u32> {
    let toc = *payload.first()?;
    let config = usize::from(toc >> 3);
    let frame: u32 = match config {
        // SILK
        0..=11 => [480, 960, 1_920, 2_880][config % 4],
        // Hybrid
        12..=15 => [480, 960][config % 2],
        // CELT
        _ => [120, 240, 480, 960][config % 4],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*payload.get(1)? & 0x3f),
    };
    let duration = frame * frames;
    (1..=MAX_DURATION).contains(&duration).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (name, payload, expected) in [
            ("Chromium's 20 ms of voice", &[0x78, 1, 2][..], Some(960)),
            ("SILK 60 ms", &[3 << 3, 1], Some(2_880)),
            ("SILK wideband 20 ms", &[9 << 3], Some(960)),
            ("hybrid 10 ms, two of them", &[12 << 3 | 1, 0], Some(960)),
            ("three of CELT 20 ms with padding", &[31 << 3 | 3, 0x43, 5], Some(2_880)),
            ("CELT 2.5 ms", &[16 << 3], Some(120)),
            ("count cut off", &[31 << 3 | 3], None),
            ("no frames", &[31 << 3 | 3, 0], None),
            ("more than 120 ms", &[3 << 3 | 3, 3], None),
            ("empty", &[], None),
        ] {
            assert_eq!(duration(payload), expected, "{name}");
        }
    }
}

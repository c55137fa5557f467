//! Offers that were damaged, cut or blown up: an error or an answer, never a panic, in bounded time.

mod sdp_support;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sdp_support::{FIXTURES, answer_to, fixture};
use tianqiao_sfu_core::negotiated::{MAX_CODECS, MAX_LAYERS};
use tianqiao_sfu_core::sdp::fuzz_bodies::fuzz_sdp;

#[test]
fn truncations() {
    for name in FIXTURES {
        let offer = fixture(name);
        for end in (0..offer.len()).step_by(97) {
            fuzz_sdp(&offer.as_bytes()[..end]);
        }
    }
}

#[test]
fn seeded_mutations() {
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..100 {
        for name in FIXTURES {
            fuzz_sdp(&mutate(&fixture(name), &mut random));
        }
    }
}

/// A few lines lost, doubled, swapped or changed in a byte.
fn mutate(offer: &str, random: &mut StdRng) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = offer.split_inclusive('\n').map(|line| line.into()).collect();
    for _ in 0..random.random_range(1..8) {
        let (from, to) = (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
        match random.random_range(0..5) {
            0 => drop(lines.remove(from)),
            1 => lines.insert(to, lines[from].clone()),
            2 => lines.swap(from, to),
            3 => {
                let at = random.random_range(0..lines[from].len());
                lines[from][at] = *b"\0\r\n:;=/, -~0129az\xff".choose(random).expect("not empty");
            }
            _ => {
                let at = random.random_range(0..lines[from].len());
                lines[from].insert(at, random.random());
            }
        }
    }
    lines.concat()
}

#[test]
fn ten_thousand_attributes_negotiate_no_more_than_the_bounds() {
    let offer = fixture("chromium_plain");
    for line in [
        "a=ssrc:NUMBER cname:x\r\n",
        "a=ssrc-group:FID NUMBER 7\r\n",
        "a=rid:NUMBER send\r\n",
        "a=extmap:NUMBER urn:x\r\n",
        "a=rtpmap:NUMBER VP8/90000\r\n",
        "a=rtcp-fb:* nack\r\n",
        "a=fingerprint:sha-1 NUMBER\r\n",
        "a=candidate:NUMBER\r\n",
        "a=NUMBER\r\n",
    ] {
        let flood: String = (0..9_000)
            .map(|number| line.replace("NUMBER", &number.to_string()))
            .collect();
        let Ok(answered) = answer_to(&(offer.clone() + &flood)) else {
            continue;
        };
        assert!(answered.sdp.len() < 10_000);
        for media in &answered.negotiated.media {
            assert!(media.codecs.len() <= MAX_CODECS);
            assert!(media.receive.iter().all(|receive| receive.rids.len() <= MAX_LAYERS));
        }
    }
}

#[test]
fn a_huge_line_and_a_huge_offer_are_refused() {
    assert!(answer_to(&fixture("chromium_whep").replace("a=mid:0", &"a".repeat(100_000))).is_err());
    assert!(answer_to(&"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(10_000)).is_err());
    assert!(answer_to(&"a".repeat(10_000_000)).is_err());
}

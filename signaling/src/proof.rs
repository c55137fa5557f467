//! Challenges for proofs of work, signed instead of remembered: a challenge says what it is good for and how long, and
//! binding each proof to what it tries (a code, a passcode) leaves nothing to gain from showing it twice.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tianqiao_protocol::proof::{self, ProofOfWork};

use crate::auth::random_bytes;

/// A slow phone has this long at least for the hardest challenge.
const LIFETIME: Duration = Duration::from_secs(120);
/// While somebody works on a challenge, others may make the next ones dearer by as much.
const TOLERANCE: u32 = 2;

const MAC_BYTES: usize = 16;
/// Bits, milliseconds since the start, random bytes.
const HEAD_BYTES: usize = 1 + 8 + 8;

pub struct Challenges {
    key: [u8; 32],
    start: Instant,
    /// Milliseconds at `start`, which instances that share the key count from the same day.
    start_millis: u64,
}

impl Challenges {
    /// Challenges of an earlier run are good for nothing: the key is new.
    pub fn new(now: Instant) -> Self {
        Self {
            key: random_bytes(),
            start: now,
            start_millis: 0,
        }
    }

    /// Challenges of all that have the key are good for each other, as long as their clocks are about the same.
    pub fn shared(key: [u8; 32], now: Instant) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            key,
            start: now,
            start_millis: u64::try_from(since.as_millis()).unwrap_or_default(),
        }
    }

    /// `subject` names who tries what, so that the work is good for nothing else.
    pub fn issue(&self, now: Instant, subject: &str, bits: u32) -> ProofOfWork {
        let bits = u8::try_from(bits).unwrap_or(u8::MAX);
        let mut challenge = vec![bits];
        challenge.extend(self.millis(now).to_be_bytes());
        challenge.extend(random_bytes::<8>());
        let mac = self.mac(&challenge, subject).finalize().into_bytes();
        challenge.extend(&mac[..MAC_BYTES]);
        ProofOfWork {
            challenge: BASE64_URL_SAFE_NO_PAD.encode(challenge),
            bits,
        }
    }

    /// Whether `solution` shows the work that is asked for now.
    pub fn is_solved(&self, now: Instant, subject: &str, bits: u32, solution: &str, passcode: &str) -> bool {
        let Some((challenge, nonce)) = proof::parse(solution) else {
            return false;
        };
        let Some(promised) = self.check(now, challenge, subject) else {
            return false;
        };
        promised + TOLERANCE >= bits && proof::zero_bits(challenge, nonce, passcode) >= promised
    }

    /// The bits of a challenge of ours that is still good.
    fn check(&self, now: Instant, challenge: &str, subject: &str) -> Option<u32> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(challenge).ok()?;
        if bytes.len() != HEAD_BYTES + MAC_BYTES {
            return None;
        }
        let (head, mac) = bytes.split_at(HEAD_BYTES);
        self.mac(head, subject).verify_truncated_left(mac).ok()?;
        let issued = u64::from_be_bytes(head[1..9].try_into().ok()?);
        let age = self.millis(now).saturating_sub(issued);
        (u128::from(age) <= LIFETIME.as_millis()).then(|| u32::from(head[0]))
    }

    fn mac(&self, head: &[u8], subject: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length of key is good");
        mac.update(head);
        mac.update(subject.as_bytes());
        mac
    }

    fn millis(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start).as_millis();
        self.start_millis
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_good_for_its_subject_its_passcode_and_its_time() {
        let start = Instant::now();
        let challenges = Challenges::new(start);
        let work = challenges.issue(start, "ann", 8);
        let solution = work.solve("42");
        let late = start + LIFETIME + Duration::from_millis(1);
        for (now, subject, bits, passcode, good) in [
            (start, "ann", 8, "42", true),
            (start + LIFETIME, "ann", 8, "42", true),
            (late, "ann", 8, "42", false),
            (start, "bob", 8, "42", false),
            (start, "ann", 10, "42", true),
            (start, "ann", 11, "42", false),
            (start, "ann", 8, "43", false),
        ] {
            let solved = challenges.is_solved(now, subject, bits, &solution, passcode);
            assert_eq!(solved, good, "{subject} {bits} {passcode}");
        }
        let other = Challenges::new(start);
        assert!(!other.is_solved(start, "ann", 8, &solution, "42"));
        assert!(!challenges.is_solved(start, "ann", 8, "AAAA.1", "42"));
    }
}

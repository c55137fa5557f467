//! Proof of work: what one more try costs where free ones are used up.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ts_rs::TS;

/// Header of a request that comes with its proof: `<challenge>.<nonce>`.
pub const HEADER: &str = "tianqiao-proof";
const MAX_NONCE_LENGTH: usize = 32;

/// Work that buys one try: a nonce (1 to 32 letters and digits) with which the SHA-256 of
/// `<challenge>.<nonce>.<passcode>` begins with `bits` zero bits. The passcode is that of the request,
/// or empty. The same request is then sent again with `<challenge>.<nonce>` in its header `tianqiao-proof`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ProofOfWork {
    pub challenge: String,
    pub bits: u8,
}

impl ProofOfWork {
    /// Takes 2^bits hashes on average.
    pub fn solve(&self, passcode: &str) -> String {
        let nonces = (0_u64..).map(|number| format!("{number:x}"));
        let mut solutions = nonces.filter(|nonce| zero_bits(&self.challenge, nonce, passcode) >= u32::from(self.bits));
        let nonce = solutions
            .next()
            .expect("there are enough nonces for any number of bits");
        format!("{}.{nonce}", self.challenge)
    }
}

/// A solution's challenge and nonce.
pub fn parse(solution: &str) -> Option<(&str, &str)> {
    let (challenge, nonce) = solution.trim().split_once('.')?;
    let is_nonce = (1..=MAX_NONCE_LENGTH).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_alphanumeric());
    is_nonce.then_some((challenge, nonce))
}

/// How much work a solution shows.
pub fn zero_bits(challenge: &str, nonce: &str, passcode: &str) -> u32 {
    let hash = Sha256::new()
        .chain_update(challenge)
        .chain_update(".")
        .chain_update(nonce)
        .chain_update(".")
        .chain_update(passcode);
    let hash: [u8; 32] = hash.finalize().into();
    let whole = hash.iter().take_while(|byte| **byte == 0).count();
    8 * whole as u32 + hash.get(whole).map_or(0, |byte| byte.leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_is_good_for_its_passcode_only() {
        let work = ProofOfWork {
            challenge: "abc".into(),
            bits: 12,
        };
        let solution = work.solve("天桥");
        let (challenge, nonce) = parse(&solution).expect("a solution");
        assert!(zero_bits(challenge, nonce, "天桥") >= 12);
        assert!(zero_bits(challenge, nonce, "other") < 12);
    }

    #[test]
    fn odd_solutions_are_none() {
        for text in [
            "",
            "abc",
            "abc.",
            "abc.x-y",
            "abc.é",
            &format!("abc.{}", "1".repeat(33)),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

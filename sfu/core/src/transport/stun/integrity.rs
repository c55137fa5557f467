//! MESSAGE-INTEGRITY (RFC 8489, section 14.5) with short-term credentials.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::HEADER_LEN;

pub(super) const LEN: usize = 20;

/// An ICE password, ready for HMAC-SHA1.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

impl IntegrityKey {
    pub fn new(pwd: &str) -> Self {
        Self(KeyInit::new_from_slice(pwd.as_bytes()).expect("HMAC takes a key of any length"))
    }

    /// `at` is where the attribute's header is, with 24 bytes from there on.
    pub(super) fn verify(&self, message: &[u8], at: usize) -> bool {
        let received = &message[at + 4..at + 4 + LEN];
        verify_slices_are_equal(&self.compute(&message[..at]), received).is_ok()
    }

    /// Of all that is in front of the attribute, as if the message ended with it.
    pub(super) fn compute(&self, bytes: &[u8]) -> [u8; LEN] {
        let len = (bytes.len() - HEADER_LEN + 4 + LEN) as u16;
        let mac = self.0.clone().chain_update(&bytes[..2]).chain_update(len.to_be_bytes());
        mac.chain_update(&bytes[4..]).finalize().into_bytes().into()
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey")
    }
}

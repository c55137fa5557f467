//! The node's certificate, and the check of a peer's against its SDP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use dimpl::{Config, DtlsCertificate};
use thiserror::Error;

use super::retransmission::{LIBRARY_FIRST, LIBRARY_TIMEOUT, LIBRARY_TRIES};
use super::srtp_profile;
use crate::negotiated::{Fingerprint, FingerprintAlgorithm};

/// Time for a whole handshake, from the first valid check on.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub enum CertificateError {
    #[error("the key or the certificate could not be generated")]
    Generation,
    #[error("the DTLS library refused its configuration: {0}")]
    Config(dimpl::Error),
}

/// A self-signed certificate (ECDSA P-256) with its key, one for all connections of a node. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
    config: Arc<Config>,
}

impl Certificate {
    /// Makes a new key and certificate.
    ///
    /// # Errors
    /// Where the cryptographic library fails, as without a source of randomness.
    pub fn generate() -> Result<Self, CertificateError> {
        let certificate =
            dimpl::certificate::generate_self_signed_certificate().map_err(|_| CertificateError::Generation)?;
        let config = Config::builder()
            .with_crypto_provider(srtp_profile::crypto_provider())
            // A path is proven by a STUN check before DTLS is answered on it, so a cookie would cost a
            // round trip for nothing.
            .use_server_cookie(false)
            .handshake_timeout(LIBRARY_TIMEOUT)
            .flight_start_rto(LIBRARY_FIRST)
            .flight_retries(LIBRARY_TRIES)
            .build()
            .map_err(CertificateError::Config)?;
        Ok(Self(Arc::new(Inner {
            fingerprint: compute_fingerprint(&certificate.certificate, FingerprintAlgorithm::Sha256),
            certificate,
            config: Arc::new(config),
        })))
    }

    /// SHA-256, for `a=fingerprint`.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.0.config.clone()
    }

    pub(super) fn dtls_certificate(&self) -> DtlsCertificate {
        self.0.certificate.clone()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(self.fingerprint()).finish()
    }
}

/// The fingerprint of a DER certificate (RFC 8122, section 5).
pub(super) fn compute_fingerprint(certificate: &[u8], algorithm: FingerprintAlgorithm) -> Fingerprint {
    let hash = match algorithm {
        FingerprintAlgorithm::Sha256 => &digest::SHA256,
        FingerprintAlgorithm::Sha384 => &digest::SHA384,
        FingerprintAlgorithm::Sha512 => &digest::SHA512,
    };
    Fingerprint {
        algorithm,
        digest: digest::digest(hash, certificate).as_ref().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_its_own() {
        let [a, b] = [(); 2].map(|()| Certificate::generate().expect("generates"));
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.clone().fingerprint(), a.fingerprint());
        assert_eq!(a.fingerprint().digest.len(), 32);
        assert!(!format!("{a:?}").contains("private"));
    }

    #[test]
    fn fingerprints_are_as_long_as_their_hash() {
        for (algorithm, len) in [
            (FingerprintAlgorithm::Sha256, 32),
            (FingerprintAlgorithm::Sha384, 48),
            (FingerprintAlgorithm::Sha512, 64),
        ] {
            assert_eq!(compute_fingerprint(b"certificate", algorithm).digest.len(), len);
        }
    }
}

//! Makes `dimpl` agree on AEAD_AES_128_GCM wherever the client offers it.
//!
//! Why: it is the cheapest profile to forward with, but `dimpl` has no setting for it. Its DTLS 1.3
//! server takes the first profile of the client's list (Chromium's begins with AES128_CM_SHA1_80) and
//! its DTLS 1.2 server prefers AEAD_AES_256_GCM. So the other profiles are renamed to unassigned code
//! points in a ClientHello on its way in, which leaves one to choose. Both sides authenticate the
//! handshake by hashes over the ClientHello as it was sent; so whatever `dimpl` hashes or checks a
//! signature of gets the original code points back first. `dimpl` keeps the messages of a handshake
//! as raw bytes and hands them over as one piece, which begins with the ClientHello.

use std::borrow::Cow;
use std::ops::Range;

use dimpl::crypto::{
    CryptoProvider, HashAlgorithm, HashContext, HashProvider, SignatureAlgorithm, SignatureVerifier, aws_lc_rs,
};
use dimpl::{CryptoError, crypto};

type ProfileId = [u8; 2];

const AEAD_AES_128_GCM: ProfileId = [0x00, 0x07];
/// AES128_CM_SHA1_80 and AEAD_AES_256_GCM.
const OTHERS: [ProfileId; 2] = [[0x00, 0x01], [0x00, 0x08]];
/// What they are renamed to: ids that IANA has not assigned.
const HIDDEN: [ProfileId; 2] = [[0xff, 0x01], [0xff, 0x08]];

const RECORD_HEADER_LEN: usize = 13;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Stands for the first ClientHello after a HelloRetryRequest (RFC 8446, section 4.4.1).
const MESSAGE_HASH: u8 = 254;
/// Message type, length, sequence number, fragment offset and length.
const DTLS_12_HEADER_LEN: usize = 12;
/// Message type and length: what DTLS 1.3 hashes (RFC 9147, section 5.2).
const DTLS_13_HEADER_LEN: usize = 4;
const USE_SRTP: [u8; 2] = [0x00, 0x0e];

/// A datagram from a DTLS client as `dimpl` shall see it. Fragments of a ClientHello stay as they are,
/// so they are joined before; see [`super::client_hello`].
pub(super) fn hide_other_profiles(datagram: &[u8]) -> Cow<'_, [u8]> {
    let mut hidden = Cow::Borrowed(datagram);
    for message in client_hellos_in_datagram(datagram) {
        let Some(list) = profiles(&datagram[message.clone()]) else {
            continue;
        };
        let list = message.start + list.start..message.start + list.end;
        if datagram[list.clone()].chunks_exact(2).any(|id| id == AEAD_AES_128_GCM) {
            replace(&mut hidden.to_mut()[list], OTHERS, HIDDEN);
        }
    }
    hidden
}

/// The messages of a handshake with the profiles as the client sent them. Anything else stays as it is.
fn restore_profiles(transcript: &[u8]) -> Cow<'_, [u8]> {
    let mut restored = Cow::Borrowed(transcript);
    let header_len = match transcript {
        // A ClientHello's version follows its header: here that of DTLS 1.3's.
        [CLIENT_HELLO, _, _, _, 0xfe, 0xfd, ..] | [MESSAGE_HASH, ..] => DTLS_13_HEADER_LEN,
        [CLIENT_HELLO, ..] => DTLS_12_HEADER_LEN,
        _ => return restored,
    };
    let mut at = 0;
    while let Some(header) = transcript.get(at..at + header_len) {
        let body = at + header_len..at + header_len + u24(header, 1);
        let Some(bytes) = transcript.get(body.clone()) else {
            break;
        };
        if header[0] == CLIENT_HELLO
            && let Some(list) = profiles(bytes)
        {
            let list = body.start + list.start..body.start + list.end;
            let is_hidden = |id: &[u8]| HIDDEN.iter().any(|hidden| id == hidden);
            if transcript[list.clone()].chunks_exact(2).any(is_hidden) {
                replace(&mut restored.to_mut()[list], HIDDEN, OTHERS);
            }
        }
        at = body.end;
    }
    restored
}

fn replace(list: &mut [u8], from: [ProfileId; 2], to: [ProfileId; 2]) {
    for id in list.chunks_exact_mut(2) {
        if let Some(at) = from.iter().position(|from| id == from) {
            id.copy_from_slice(&to[at]);
        }
    }
}

/// Where the bodies of whole, unencrypted ClientHellos are in a datagram.
fn client_hellos_in_datagram(datagram: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    let records = std::iter::from_fn(move || {
        let header = datagram.get(at..at + RECORD_HEADER_LEN)?;
        let start = at + RECORD_HEADER_LEN;
        at = start + u16_at(header, 11);
        let epoch = u16_at(header, 3);
        datagram.get(start..at)?;
        Some((header[0], epoch, start..at))
    });
    records
        .filter(|(kind, epoch, _)| *kind == HANDSHAKE_RECORD && *epoch == 0)
        .filter_map(|(_, _, record)| {
            let header = datagram[record.clone()].get(..DTLS_12_HEADER_LEN)?;
            let (len, offset, fragment_len) = (u24(header, 1), u24(header, 6), u24(header, 9));
            let body = record.start + DTLS_12_HEADER_LEN..record.start + DTLS_12_HEADER_LEN + len;
            let is_whole = offset == 0 && fragment_len == len && body.end <= record.end;
            (header[0] == CLIENT_HELLO && is_whole).then_some(body)
        })
}

/// Where the list of SRTP profiles (RFC 5764, section 4.1.1) is in the body of a ClientHello.
fn profiles(body: &[u8]) -> Option<Range<usize>> {
    // Version and random, then session id, cookie, cipher suites and compression methods.
    let mut at = 2 + 32;
    at += 1 + usize::from(*body.get(at)?);
    at += 1 + usize::from(*body.get(at)?);
    at += 2 + u16_at(body.get(at..at + 2)?, 0);
    at += 1 + usize::from(*body.get(at)?);
    at += 2;
    while let Some(header) = body.get(at..at + 4) {
        let extension = at + 4..at + 4 + u16_at(header, 2);
        let content = body.get(extension.clone())?;
        if header[..2] == USE_SRTP {
            let len = u16_at(content.get(..2)?, 0);
            content.get(2..2 + len)?;
            return Some(extension.start + 2..extension.start + 2 + len);
        }
        at = extension.end;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
}

fn u24(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 16 | u16_at(bytes, at + 1)
}

/// `dimpl`'s cryptography on AWS-LC, except that hashes and signatures are of restored messages.
pub(super) fn crypto_provider() -> CryptoProvider {
    CryptoProvider {
        hash_provider: &RestoringHash,
        signature_verification: &RestoringVerifier,
        ..aws_lc_rs::default_provider()
    }
}

#[derive(Debug)]
struct RestoringHash;

impl HashProvider for RestoringHash {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        let hash = aws_lc_rs::default_provider().hash_provider.create_hash(algorithm);
        Box::new(RestoringContext(hash))
    }
}

#[derive(Debug)]
struct RestoringContext(Box<dyn HashContext>);

impl HashContext for RestoringContext {
    fn update(&mut self, data: &[u8]) {
        self.0.update(&restore_profiles(data));
    }

    fn clone_and_finalize(&self, out: &mut crypto::Buf) {
        self.0.clone_and_finalize(out);
    }
}

/// For CertificateVerify of DTLS 1.2, which signs the messages themselves.
#[derive(Debug)]
struct RestoringVerifier;

impl SignatureVerifier for RestoringVerifier {
    fn verify_signature(
        &self,
        cert_der: &[u8],
        data: &[u8],
        signature: &[u8],
        hash_alg: HashAlgorithm,
        sig_alg: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        aws_lc_rs::default_provider().signature_verification.verify_signature(
            cert_der,
            &restore_profiles(data),
            signature,
            hash_alg,
            sig_alg,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};

    use super::*;

    /// A ClientHello's body with a session id, a cookie and `ids` between two other extensions.
    fn body(ids: &[u16]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([9; 32]);
        body.extend([2, 1, 1, 3, 4, 4, 4]);
        body.extend([0, 4, 0x13, 1, 0x13, 2, 1, 0]);
        let mut extensions = vec![0, 23, 0, 0];
        let len = ids.len() as u8 * 2;
        extensions.extend([0, 14, 0, len + 3, 0, len]);
        extensions.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
        extensions.extend([0, 0xff, 1, 0, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    fn message(kind: u8, header_len: usize, body: &[u8]) -> Vec<u8> {
        let len = &(body.len() as u32).to_be_bytes()[1..];
        let mut message = vec![kind];
        message.extend(len);
        if header_len == DTLS_12_HEADER_LEN {
            message.extend([0, 0, 0, 0, 0]);
            message.extend(len);
        }
        message.extend(body);
        message
    }

    fn record(message: &[u8]) -> Vec<u8> {
        let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    #[test]
    fn only_aes_128_gcm_is_left_where_it_is_offered() {
        for (offered, seen) in [
            (&[1, 8, 7][..], &[0xff01, 0xff08, 7][..]),
            (&[8, 7, 1, 2], &[0xff08, 7, 0xff01, 2]),
            (&[7], &[7]),
            (&[1, 8], &[1, 8]),
            (&[], &[]),
        ] {
            let sent = record(&message(1, 12, &body(offered)));
            let expected = record(&message(1, 12, &body(seen)));
            assert_eq!(*hide_other_profiles(&sent), expected, "{offered:?}");
            assert_eq!(
                *hide_other_profiles(&[&expected[..], &sent].concat()),
                [&expected[..], &expected].concat()
            );
        }
    }

    #[test]
    fn fragments_and_other_messages_stay() {
        let mut fragment = message(1, 12, &body(&[1, 7]));
        fragment[3] += 1;
        let mut encrypted = record(&message(1, 12, &body(&[1, 7])));
        encrypted[4] = 1;
        for datagram in [
            record(&fragment),
            encrypted,
            record(&message(2, 12, &body(&[1, 7]))),
            vec![0x2f; 100],
            vec![22; 13],
            Vec::new(),
        ] {
            assert!(matches!(hide_other_profiles(&datagram), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn transcripts_are_restored_in_both_formats() {
        for header_len in [DTLS_12_HEADER_LEN, DTLS_13_HEADER_LEN] {
            let transcript = |ids: &[u16]| {
                [
                    message(1, header_len, &body(ids)),
                    message(2, header_len, &[5; 70]),
                    message(11, header_len, &[]),
                ]
                .concat()
            };
            assert_eq!(
                *restore_profiles(&transcript(&[0xff01, 0xff08, 7])),
                transcript(&[1, 8, 7])
            );
            assert!(matches!(restore_profiles(&transcript(&[1, 7])), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn a_second_client_hello_is_restored() {
        let transcript = |ids: &[u16]| {
            [
                message(254, 4, &[3; 32]),
                message(2, 4, &[5; 70]),
                message(1, 4, &body(ids)),
            ]
            .concat()
        };
        assert_eq!(
            *restore_profiles(&transcript(&[0xff08, 7, 0xff01])),
            transcript(&[8, 7, 1])
        );
    }

    /// What client and server export after a handshake with the server's cookie, so with a second ClientHello.
    fn handshake(new: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls) -> Vec<(Vec<u8>, SrtpProfile)> {
        let certificate = || dimpl::certificate::generate_self_signed_certificate().expect("generates");
        let now = Instant::now();
        let config = Config::builder().with_crypto_provider(crypto_provider()).build();
        let mut server = Dtls::new_auto(Arc::new(config.expect("valid")), certificate(), now);
        let mut client = new(Arc::new(Config::builder().build().expect("valid")), certificate(), now);
        client.set_active(true);
        client.handle_timeout(now).expect("starts");
        server.handle_timeout(now).expect("starts");
        let mut exported = Vec::new();
        for round in 0..12 {
            let (from, to) = if round % 2 == 0 {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let mut buffer = [0; 2048];
            loop {
                match from.poll_output(&mut buffer) {
                    Output::Packet(packet) => to.handle_packet(&hide_other_profiles(packet)).expect("goes on"),
                    Output::KeyingMaterial(material, profile) => exported.push((material.to_vec(), profile)),
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
        }
        exported
    }

    #[test]
    fn handshakes_with_a_retried_client_hello_end_on_aes_128_gcm() {
        for new in [Dtls::new_12, Dtls::new_13, Dtls::new_auto] {
            let exported = handshake(new);
            assert_eq!(exported.len(), 2);
            assert_eq!(exported[0], exported[1]);
            assert_eq!(exported[0].1, SrtpProfile::AEAD_AES_128_GCM);
        }
    }

    #[test]
    fn cut_input_is_left_alone() {
        let hello = message(1, 12, &body(&[1, 8, 7]));
        let datagram = record(&hello);
        for len in 0..datagram.len() {
            assert_eq!(*hide_other_profiles(&datagram[..len]), datagram[..len]);
        }
        let hidden = hide_other_profiles(&datagram);
        for len in 0..hello.len() {
            let cut = &hidden[RECORD_HEADER_LEN..][..len];
            assert_eq!(*restore_profiles(cut), *cut);
        }
    }
}

//! What the fuzz targets run. Each takes any bytes and must neither panic nor grow without bound.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::srtp::{Inbound, MasterKey, Profile};
use super::stun::{BindingRequest, IceRole, IntegrityKey, Message, peek_local_ufrag};
use super::{Certificate, MAX_OUTPUTS, Transport, TransportConfig, demux, ufrag};
use crate::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials};
use crate::path::Path;

static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::generate().expect("the machine has randomness"));

const UFRAG: &str = "0000000001abcdef";
const PASSWORD: &str = "a-password-of-22-chars";

pub fn fuzz_demux(data: &[u8]) {
    let _ = demux::classify(data);
    if let Ok(text) = str::from_utf8(data) {
        let _ = ufrag::parse(text);
    }
}

pub fn fuzz_stun(data: &[u8]) {
    let peeked = peek_local_ufrag(data);
    if let Ok(message) = Message::parse(data) {
        let _ = message.is_authentic(&IntegrityKey::new(PASSWORD));
        if message.class == super::stun::Class::Request {
            assert_eq!(message.local_ufrag().is_some(), peeked.is_ok());
        }
    }
}

/// `data` as one packet of either kind, for each profile.
pub fn fuzz_srtp(data: &[u8]) {
    for profile in [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm] {
        let (key, salt) = ([1; 32], [2; 14]);
        let master = MasterKey::new(profile, &key[..profile.key_len()], &salt[..profile.salt_len()]);
        let mut inbound = Inbound::new(&master.expect("lengths are the profile's"));
        let _ = inbound.unprotect_rtp(&mut data.to_vec());
        let _ = inbound.unprotect_rtcp(&mut data.to_vec());
    }
}

/// `data` as datagrams, each behind two bytes of length, on a proven path: DTLS as client or server,
/// by the first byte.
pub fn fuzz_transport(data: &[u8]) {
    let Some((&role, mut rest)) = data.split_first() else {
        return;
    };
    let mut now = Instant::now();
    let path = Path::udp(SocketAddr::from(([192, 0, 2, 1], 5000)));
    let mut transport = checked_transport(
        if role & 1 == 0 {
            DtlsRole::Passive
        } else {
            DtlsRole::Active
        },
        path,
        now,
    );
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
        let (packet, after) = after.split_at(len);
        rest = after;
        now += Duration::from_millis(100);
        let _ = transport.handle_stun(now, path, packet);
        let _ = transport.handle_dtls(now, path, packet);
        let _ = transport.unprotect_rtp(&mut packet.to_vec());
        let _ = transport.unprotect_rtcp(&mut packet.to_vec());
        if transport.poll_timeout().is_some_and(|at| at <= now) {
            transport.handle_timeout(now);
        }
        // Unpolled, so the bound shows; events come on top of it.
        assert!(transport.outputs.len() <= MAX_OUTPUTS + 4);
    }
    transport.close(now);
}

fn checked_transport(role: DtlsRole, path: Path, now: Instant) -> Transport {
    let local = IceCredentials {
        ufrag: UFRAG.into(),
        pwd: PASSWORD.into(),
    };
    let config = TransportConfig {
        remote: local.clone(),
        local,
        remote_fingerprint: Fingerprint {
            algorithm: FingerprintAlgorithm::Sha256,
            digest: vec![0; 32],
        },
        role,
        certificate: CERTIFICATE.clone(),
    };
    let mut transport = Transport::new(config, now);
    let check = BindingRequest {
        transaction: [0; 12],
        username: "0000000001abcdef:peer",
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate: true,
    };
    let answered = transport.handle_stun(now, path, &check.write(&IntegrityKey::new(PASSWORD)));
    debug_assert_eq!(answered, Ok(()));
    transport
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Runs `body` over random bytes, and over seeds with bytes changed, cut out and put in.
    fn run(seeds: &[Vec<u8>], rounds: u64, body: fn(&[u8])) {
        let mut rng = StdRng::seed_from_u64(1);
        for seed in seeds {
            body(seed);
        }
        for round in 0..rounds {
            let mut data = match seeds.get(round as usize % (seeds.len() + 1)) {
                Some(seed) => seed.clone(),
                None => (0..rng.random_range(0..200)).map(|_| rng.random()).collect(),
            };
            for _ in 0..rng.random_range(1..5) {
                if data.is_empty() {
                    break;
                }
                let at = rng.random_range(0..data.len());
                match rng.random_range(0..5) {
                    0 => data[at] ^= 1 << rng.random_range(0..8),
                    1 => data[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
                    2 => data.truncate(at),
                    3 => drop(data.drain(at..data.len().min(at + rng.random_range(1..9)))),
                    _ => data.insert(at, rng.random()),
                }
            }
            body(&data);
        }
    }

    fn check() -> Vec<u8> {
        let request = BindingRequest {
            transaction: [5; 12],
            username: "0000000001abcdef:peer",
            priority: 1,
            role: IceRole::Controlling(9),
            use_candidate: true,
        };
        request.write(&IntegrityKey::new(PASSWORD))
    }

    #[test]
    fn demux_takes_anything() {
        run(&[vec![0x80, 96], UFRAG.into()], 5_000, fuzz_demux);
    }

    #[test]
    fn stun_takes_anything() {
        let response = super::super::stun::binding_success(
            [5; 12],
            SocketAddr::from(([192, 0, 2, 1], 5000)),
            &IntegrityKey::new(PASSWORD),
        );
        run(&[check(), response], 20_000, fuzz_stun);
    }

    #[test]
    fn srtp_takes_anything() {
        let rtp = [
            &[0x91, 96, 0, 1][..],
            &[0; 4],
            &[1; 4],
            &[9; 4],
            &[0xbe, 0xde, 0, 1],
            &[0; 40],
        ]
        .concat();
        let rtcp = [&[0x81, 201, 0, 7][..], &[1; 40], &[0x80, 0, 0, 1]].concat();
        run(&[rtp, rtcp], 5_000, fuzz_srtp);
    }

    /// The datagrams of real handshakes, in the format of [`fuzz_transport`].
    fn handshakes() -> Vec<Vec<u8>> {
        use dimpl::{Config, Dtls, Output};
        let news = [Dtls::new_12, Dtls::new_13, Dtls::new_auto];
        let certificate = || dimpl::certificate::generate_self_signed_certificate().expect("generates");
        let mut seeds = Vec::new();
        for new in news {
            let now = Instant::now();
            let config = || std::sync::Arc::new(Config::builder().use_server_cookie(false).build().expect("valid"));
            let mut peers = [new(config(), certificate(), now), new(config(), certificate(), now)];
            peers[0].set_active(true);
            peers
                .iter_mut()
                .for_each(|peer| peer.handle_timeout(now).expect("starts"));
            let mut sent = [vec![0], vec![1]];
            for round in 0..8 {
                let mut buffer = [0; 2048];
                while let Some(packet) = loop {
                    match peers[round % 2].poll_output(&mut buffer) {
                        Output::Packet(packet) => break Some(packet.to_vec()),
                        Output::Timeout(_) => break None,
                        _ => {}
                    }
                } {
                    sent[round % 2].extend((packet.len() as u16).to_be_bytes());
                    sent[round % 2].extend(&packet);
                    peers[1 - round % 2].handle_packet(&packet).expect("goes on");
                }
            }
            seeds.extend(sent);
        }
        seeds
    }

    #[test]
    fn a_transport_takes_anything() {
        let mut seeds = handshakes();
        let mut checks = vec![0];
        for _ in 0..100 {
            checks.extend((check().len() as u16).to_be_bytes());
            checks.extend(check());
        }
        seeds.push(checks);
        run(&seeds, 3_000, fuzz_transport);
    }
}

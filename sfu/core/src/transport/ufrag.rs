//! Local ICE credentials whose username fragment names the connection, so that a worker finds it
//! from the first STUN check without a table of its own.

use rand::Rng;

use crate::negotiated::IceCredentials;
use crate::units::{ConnectionId, WorkerIndex};

const WORKER_LEN: usize = 2;
const CONNECTION_LEN: usize = 8;
const PREFIX_LEN: usize = WORKER_LEN + CONNECTION_LEN;
/// RFC 8445, section 5.3, wants 24 random bits in the fragment: 5 bits each.
const RANDOM_LEN: usize = 6;
/// And 128 bits in the password.
const PASSWORD_LEN: usize = 26;
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// New credentials for a connection: `<worker, 2 hex><connection, 8 hex><6 random of [a-z0-9]>`.
pub fn generate(worker: WorkerIndex, connection: ConnectionId) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{:02x}{:08x}{}", worker.0, connection.0, random(RANDOM_LEN)),
        pwd: random(PASSWORD_LEN),
    }
}

/// The worker and connection that a local fragment names. `None` where it is none of ours.
pub fn parse(ufrag: &str) -> Option<(WorkerIndex, ConnectionId)> {
    let (prefix, random) = ufrag.split_at_checked(PREFIX_LEN)?;
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if random.len() < RANDOM_LEN || !prefix.bytes().all(lower_hex) {
        return None;
    }
    let (worker, connection) = prefix.split_at(WORKER_LEN);
    Some((
        WorkerIndex(u8::from_str_radix(worker, 16).ok()?),
        ConnectionId(u32::from_str_radix(connection, 16).ok()?),
    ))
}

fn random(len: usize) -> String {
    let mut rng = rand::rng();
    (0..len)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_worker_and_connection() {
        for (worker, connection) in [(0, 0), (1, 42), (255, u32::MAX)] {
            let (worker, connection) = (WorkerIndex(worker), ConnectionId(connection));
            let credentials = generate(worker, connection);
            assert_eq!(parse(&credentials.ufrag), Some((worker, connection)));
            assert_ne!(generate(worker, connection), credentials);
            assert!(credentials.pwd.len() >= 22);
        }
    }

    #[test]
    fn refuses_what_is_not_ours() {
        for ufrag in [
            "",
            "0000000001",
            "0000000001abcde",
            "00000000G1abcdef",
            "+1000000010abcdef",
            "000000000Aabcdef",
            "000000000äabcdef",
        ] {
            assert_eq!(parse(ufrag), None, "{ufrag}");
        }
        assert!(parse("0000000001abcdef").is_some());
    }
}

//! Keys with which meetings are made. Only their hashes are kept; a key is long and random, so a fast hash will do.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

#[derive(Default)]
pub struct ApiKeys(Vec<(String, [u8; 32])>);

impl ApiKeys {
    /// Reads `NAME HASH` lines; empty ones and those that begin with `#` are passed over.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let keys: Result<Vec<_>, String> = text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| parse(line).ok_or_else(|| format!("line {number} is not a name and a SHA-256")))
            .collect();
        keys.map(Self)
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// Whose key it is. All are compared, each in constant time.
    pub fn owner(&self, key: &str) -> Option<&str> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut owner = None;
        for (name, known) in &self.0 {
            if bool::from(known.ct_eq(&hash)) {
                owner = Some(name.as_str());
            }
        }
        owner
    }
}

fn parse(line: &str) -> Option<(String, [u8; 32])> {
    let (name, hash) = line.split_once(char::is_whitespace)?;
    let digits = hash.trim().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((name.to_owned(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_their_hashes() {
        let path = std::env::temp_dir().join(format!("tianqiao-keys-{}", uuid::Uuid::new_v4()));
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // of "secret"
        std::fs::write(&path, format!("# keys\n\nschool {hash}\n")).expect("it is written");
        let keys = ApiKeys::load(&path).expect("keys");
        assert_eq!(keys.owner("secret"), Some("school"));
        assert_eq!(keys.owner("Secret"), None);
        assert_eq!(ApiKeys::default().owner(""), None);
        std::fs::write(&path, "school secret\n").expect("it is written");
        assert!(ApiKeys::load(&path).is_err());
        let _ = std::fs::remove_file(path);
    }
}

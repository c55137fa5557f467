//! What the fuzz targets run. Each takes any bytes and must neither panic nor grow without bound.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{deflate, inflate};
use crate::rest::{CreateMeeting, CreateToken, JoinMeeting};
use crate::ws::ClientMessage;

const LIMIT: usize = 1 << 16;

/// `data` as every JSON that a stranger may send: what is understood must survive being written.
pub fn fuzz_json(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        comes_back::<ClientMessage>(text);
        comes_back::<CreateMeeting>(text);
        comes_back::<CreateToken>(text);
        comes_back::<JoinMeeting>(text);
    }
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    if let Ok(message) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&message).expect("messages can be written");
        let again = serde_json::from_str::<T>(&written).expect("what is written can be read");
        assert_eq!(again, message);
    }
}

/// `data` as a compressed frame, and as a text to compress.
pub fn fuzz_inflate(data: &[u8]) {
    if let Ok(text) = inflate(data, LIMIT) {
        assert!(text.len() <= LIMIT);
        fuzz_json(text.as_bytes());
    }
    if let Ok(text) = str::from_utf8(data) {
        assert_eq!(inflate(&deflate(text), data.len()).as_deref(), Ok(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/../../sfu/core/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).expect("the target has seeds");
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn the_seeds_and_all_that_is_cut_off_them() {
        for seed in seeds("json") {
            (0..=seed.len()).for_each(|end| fuzz_json(&seed[..end]));
        }
        for seed in seeds("inflate") {
            (0..=seed.len()).for_each(|end| fuzz_inflate(&seed[..end]));
        }
    }

    #[test]
    fn each_seed_of_json_is_a_message() {
        for seed in seeds("json") {
            let text = String::from_utf8(seed).unwrap();
            let is_message = serde_json::from_str::<ClientMessage>(&text).is_ok()
                || serde_json::from_str::<CreateMeeting>(&text).is_ok()
                || serde_json::from_str::<CreateToken>(&text).is_ok();
            assert!(is_message, "{text}");
        }
    }
}

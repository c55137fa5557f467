#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tianqiao_protocol::fuzz_bodies::fuzz_inflate(data));

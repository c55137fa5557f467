#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tianqiao_sfu_core::packet::fuzz_bodies::rtp(data));

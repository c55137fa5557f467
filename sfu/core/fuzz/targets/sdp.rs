#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tianqiao_sfu_core::sdp::fuzz_bodies::fuzz_sdp(data));

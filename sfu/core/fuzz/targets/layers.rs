#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tianqiao_sfu_core::downtrack::fuzz_bodies::layers(data));

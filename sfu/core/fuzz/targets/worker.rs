#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tianqiao_sfu_core::worker_core::fuzz_bodies::worker(data));

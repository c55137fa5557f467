#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tianqiao_sfu_core::transport::fuzz_bodies::fuzz_demux(data));

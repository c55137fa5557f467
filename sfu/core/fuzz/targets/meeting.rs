#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tianqiao::fuzz_bodies::fuzz_meeting(data));

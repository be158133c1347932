//! See `timeline.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| matinee_fuzz::timeline::run(data));

//! See `protocol.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| matinee_fuzz::protocol::run(data));

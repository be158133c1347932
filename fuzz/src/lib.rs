//! What the fuzzers run, each as a function of bytes, so that what they kept runs as a test too (`tests/suite/fuzzed.rs`).
//!
//! A finding is a panic: an assertion that fails here, one of the code that is tried, an overflow, or more memory or time
//! than the fuzzer allows. `make fuzz` says where it lies.

pub mod index;
pub mod packagers;
pub mod planned;
pub mod protocol;
pub mod requests;
pub mod timeline;

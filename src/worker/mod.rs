//! Workers.
pub mod protocol;

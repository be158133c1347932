//! What operators see: logs and metrics.
//!
//! Nothing runs unasked. A counter costs an atomic addition; one with labels that are not known beforehand a look-up
//! under a read lock besides. Rendering the metrics walks all of them, when they are scraped.
//!
//! The rule not to break: labels come from closed sets in the program, never from a request. A label
//! that a client can invent fills the memory of server and monitoring alike.
//!
//! Arrow: `telemetry` -> no other room.

pub mod logs;
pub mod metrics;
mod process;

pub use metrics::Metrics;

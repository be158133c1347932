//! What operators see: logs, request ids, metrics; and the gate that shutdown waits at.
//!
//! Nothing runs unasked. A counter costs an atomic addition; one with labels that are not known beforehand a look-up
//! under a read lock besides. Rendering the metrics walks all of them, when they are scraped. Taking a drain guard
//! costs a short lock.
//!
//! The rule not to break: labels and guard names come from closed sets in the program, never from a request. A label
//! that a client can invent fills the memory of server and monitoring alike.
//!
//! Arrow: everything may use `telemetry`; it uses nothing.

pub mod drain;
pub mod logs;
pub mod metrics;
pub mod request_id;

pub use drain::Drain;
pub use metrics::Metrics;
pub use request_id::{RequestId, RequestIds};

//! Webhooks: news is delivered to whoever asked for it, at least once, and signed. What copies a CDN is to drop is news like
//! any other.
//!
//! News is in the catalog from the moment of what it tells of (`catalog::webhooks`); here it only leaves. Runs unasked: one
//! task that waits for news and sends a few at a time; it sleeps while there is none, and looks once a minute for what
//! another process entered. A delivery costs a connection and two writes to the catalog.
//!
//! The rule not to break: a delivery ends only when its receiver took it or wants no more, when it was tried often enough,
//! when its URL can never be asked, or when so much waits for its receiver that the oldest goes; and no secret and no URL of
//! a receiver is logged, at most the name of its host.
//!
//! Arrow: `hooks` -> `outbound`, `access`, `catalog`, `media`.

mod config;
mod courier;

pub use config::Config;
pub use courier::{Courier, Rooms};

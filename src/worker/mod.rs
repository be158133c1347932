//! Child processes that touch media, so that the server does not. A hostile file costs one of them and nothing else.
//!
//! - [`Pool`] keeps a few warm and [binds](Pool::bind) one to a source for its life; [`Worker`] is the hold on it.
//! - [`protocol`] is what is said over the socket pair between; [`child`] is the far end, `matinee work`.
//! - [`sandbox`] is what a bound worker is confined to, and [`attempts`] tries to break out of it.
//! - [`StandIn`] takes the place of processes in a simulation.
//! - [`Exit`] is how one ended, [`Quarantine`] what follows for that over which they die again and again.
//!
//! Runs unasked: one task that keeps `standby` workers warm (it pauses after one was taken), one thread that starts
//! processes, and for each living worker a task that writes requests and one that reads standard error and reaps.
//! Nothing is polled but a worker that seems to stand still, which is looked at every second until it is heard or killed.
//! Standby ends with the last [`Pool`], a worker with its [`Worker`] or [`Events`], all with [`Pool::close`].
//!
//! Costs: [`Pool::bind`] a millisecond or two from standby, else a start of about 0.2 s; the very first start on a
//! machine also scans GStreamer's plugins. A sample is copied once, out of the socket's buffer.
//!
//! The rule not to break: a worker is bound while it has a single thread. Landlock confines the thread that asks and
//! those it starts; whatever makes a thread before (a pipeline, a thread pool) makes a worker that cannot be bound,
//! and it says so. So warming up loads plugins but plays nothing, and a worker that tried templates is thrown away.
//!
//! Arrow: `worker` -> `media`, and [`child`] alone to `pipeline`.

mod activity;
pub mod attempts;
pub mod child;
mod config;
mod exit;
mod handle;
mod pool;
pub mod protocol;
mod quarantine;
pub mod sandbox;
mod spawn;
mod stand_in;

pub use config::{Config, Sandbox};
pub use exit::{Death, Exit, Outcomes};
pub use handle::{Events, Paused, Requests, SendError, Worker};
pub use pool::{Error, Pool};
pub use quarantine::{Quarantine, Quarantined};
pub use stand_in::{Speaks, StandIn, Tied};

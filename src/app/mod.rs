//! The composition root: from a [`Config`] to rooms that know of each other, to a server that runs, to its end.
//!
//! Order of the start: the port (so that a busy one is said at once), the data folder (one server to each), workers, the
//! trial of templates, encoder, jobs that a former process left, API, origin; only then connections are accepted, and
//! those that came earlier are answered. Order of the end: accept no more and let answers be sent (streams of events
//! end), then jobs, which go back into the queue, encodes, workers, files still to be written; each with a deadline, and
//! what held on is named. A second signal ends the process at once.
//!
//! Arrow: `app` -> `access`, `api`, `cache`, `catalog`, `config`, `encoder`, `hooks`, `ingest`, `library`, `manifest`, `media`,
//! `origin`, `outbound`, `telemetry`, `warmer`, `worker`.

mod claim;
mod retire;
mod rooms;
mod scrape;
mod stale;
mod start;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::api::Api;
use crate::cache::Cache;
use crate::config::Config;
use crate::encoder::{self, Encoder};
use crate::hooks::Courier;
use crate::ingest::Processor;
use crate::ingest::watch::Watcher;
use crate::origin::{self, Origin, Server};
use crate::warmer::Warmer;
use crate::worker::{self, Pool};
use crate::{access, cache, catalog, library};
use claim::Claim;

pub use start::worker_config;

/// Time that encodes, workers and file writes each have to end. Answers have `server.drain_seconds` before that.
const END_TIME: Duration = Duration::from_secs(10);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port.
    #[error(transparent)]
    Listen(#[from] origin::Error),
    /// The data folder cannot be made or opened.
    #[error("the data folder {} cannot be used ({why}): check that this user may write there, or choose another folder \
        with --data", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Another server has the data folder.
    #[error("another matinee serves from {}: stop it, or choose another folder with --data", .folder.display())]
    Claimed {
        /// The folder.
        folder: PathBuf,
    },
    /// Anybody who can connect would manage it.
    #[error(
        "server.listen = \"{address}\": must be a loopback address as long as there is no API key: add a key with \
        matinee key add NAME --scope admin, or set auth = \"off\" to let anybody who can connect manage this server"
    )]
    NoKey {
        /// Where it should listen.
        address: SocketAddr,
    },
    /// Anybody whose requests a proxy passes on would manage it.
    #[error(
        "server.trusted_proxies: must be empty as long as there is no API key: add a key with matinee key add NAME --scope \
        admin, or set auth = \"off\" to let anybody who can connect manage this server"
    )]
    NoKeyBehindProxy,
    /// The keys.
    #[error(transparent)]
    Access(#[from] access::Error),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The sources.
    #[error(transparent)]
    Library(#[from] library::Error),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The watched folder.
    #[error("watch.folder = \"{}\" cannot be used: {why}", .folder.display())]
    Watch {
        /// As configured.
        folder: PathBuf,
        /// What is wrong.
        why: io::Error,
    },
    /// The workers.
    #[error(transparent)]
    Worker(#[from] worker::Error),
    /// The templates.
    #[error(transparent)]
    Encoder(#[from] encoder::Error),
    /// The system.
    #[error("cannot {act}: {why}")]
    System {
        /// A verb phrase: `wait for signals`.
        act: &'static str,
        /// What the system said.
        why: io::Error,
    },
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order, after a signal.
    InOrder,
    /// In the middle of things, after a second signal.
    AtOnce,
}

/// A server with all its rooms, which does not accept yet.
struct Running {
    server: Server,
    origin: Arc<Origin>,
    api: Arc<Api>,
    processor: Processor,
    courier: Courier,
    watcher: Watcher,
    warmer: Warmer,
    encoder: Encoder,
    pool: Pool,
    cache: Cache,
    claim: Claim,
}

/// Requests to stop: SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Serves until told to stop. `announce` is called once, when requests are answered. [`Ended::AtOnce`] asks the caller
/// to wait for nothing that still runs.
///
/// # Errors
/// [`Error`], if it did not come to that.
pub async fn serve(config: &Config, announce: impl FnOnce(SocketAddr)) -> Result<Ended, Error> {
    let mut signals = Signals::listen()?;
    let running = tokio::select! {
        running = start::start(config) => running?,
        () = signals.next() => return Ok(Ended::InOrder),
    };
    let address = running.server.local_addr().map_err(|why| Error::System { act: "name the port", why })?;
    announce(address);
    tracing::info!(%address, data = %config.data_dir.display(), "ready");
    let told = Arc::new(Notify::new());
    let mut serving = pin!(running.until(told.clone()));
    tokio::select! {
        () = &mut serving => return Ok(Ended::InOrder),
        () = signals.next() => told.notify_one(),
    }
    tracing::info!("stopping: answers under way are sent; a second signal ends them at once");
    tokio::select! {
        () = serving => Ok(Ended::InOrder),
        () = signals.next() => Ok(Ended::AtOnce),
    }
}

/// A folder for GStreamer's registry of plugins in a data folder.
fn registry(data_dir: &Path) -> PathBuf {
    data_dir.join("gstreamer")
}

impl Running {
    async fn until(self, told: Arc<Notify>) {
        let Self { server, origin, api, processor, courier, watcher, warmer, encoder, pool, cache, claim } = self;
        // Who listens to events would keep a connection for ever.
        let drained = server.run(origin, async move { told.notified().await }, move || api.close()).await;
        end("watching", watcher.close()).await;
        end("jobs", processor.close()).await;
        end("news", courier.close()).await;
        end("warming", warmer.close()).await;
        end("encodes", encoder.close()).await;
        end("workers", pool.close()).await;
        end("writes to the cache", cache.flush()).await;
        drop(claim);
        tracing::info!(finished = drained.finished, cut = drained.held, "stopped");
    }
}

/// Waits, but not for ever, and says what held on.
async fn end(what: &'static str, ending: impl Future<Output = ()>) {
    if timeout(END_TIME, ending).await.is_err() {
        tracing::warn!(what, waited_seconds = END_TIME.as_secs(), "did not end and is left behind");
    }
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(|why| Error::System { act: "wait for signals", why });
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! Titles, what is known of each, and the jobs that are done for them, in `data/catalog.sqlite`.
//!
//! Nothing runs unasked. Every call is synchronous and costs one or two SQLite statements; a write also an fsync, and
//! up to [`BUSY_TIMEOUT`] of waiting if another process writes at that moment. [`Catalog::title`] also reads and parses
//! the title's plan, a few milliseconds for a long film; nothing else does. Async callers clone the [`Catalog`] (an `Arc`) into `spawn_blocking`.
//!
//! The rule not to break: the catalog is shared. Server and offline ingest have it open at once, so what is read may be
//! out of date a moment later, and a decision and its consequence belong in one transaction.
//!
//! How it is opened: WAL, so that readers never wait for a writer; `synchronous = FULL`, because an upload that
//! was answered 201 must survive a power cut and there are only a few writes per title; foreign keys on.
//!
//! Arrow: `catalog` -> `media`.

mod arrivals;
mod bridged;
mod clock;
mod counts;
mod fetches;
mod jobs;
mod keys;
mod pauses;
mod popularity;
mod replacements;
mod schema;
mod titles;
mod watched;
mod webhooks;
mod words;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

pub use arrivals::{Arrival, Change, Changed, Creation, Known, Place};
pub use clock::{LONGEST_DELIVERY_PAUSE_MS, LONGEST_JOB_PAUSE_MS};
pub use counts::Ended;
pub use fetches::{Entered, Fetched};
pub use jobs::{Cancelled, Job, JobCursor, JobPage, JobState, Kind, Lease, Outcome, new_job_id};
pub use keys::{ApiKey, Counted, MAX_KEYS, Owner};
pub use pauses::Pauses;
pub use popularity::Popularity;
pub use replacements::{Replacement, Replacing, Superseded};
pub use titles::{
    Cursor, Entry, Failure, MAX_PAGE, Metadata, NewTitle, Page, Removal, Removed, State, Title, new_id, now_ms,
};
pub use watched::{Lying, Watched};
pub use webhooks::{Delivery, DeliveryCursor, DeliveryPage, DeliveryState, MAX_WEBHOOKS, News, Told, Webhook};

/// Name of the file in the data folder.
pub const FILE: &str = "catalog.sqlite";
/// Longest wait for another process's transaction; they take milliseconds, a longer one means a stopped process.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The open catalog. Clones share two connections: one reads, one writes.
#[derive(Clone, Debug)]
pub struct Catalog {
    connections: Arc<Connections>,
}

#[derive(Debug)]
struct Connections {
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    ended: Mutex<Ended>,
    /// The latest time of which anybody who claimed something knew, Unix milliseconds.
    latest_ms: AtomicI64,
}

/// Why the catalog could not do it. A call that fails has changed nothing. After [`Error::Busy`] the same call is worth another
/// try, after [`Error::Full`] once there is room; a damaged row, which any call that reads it may find, says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A newer version wrote it. Nothing was changed.
    #[error("{} has format {found}, and this matinee knows formats up to {known}: use the newer matinee that wrote it, \
        or choose another folder with --data (nothing was changed)", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this program knows.
        known: i64,
    },
    /// Some other file. Nothing was changed.
    #[error("{} is not a matinee catalog: move it away, or choose another folder with --data (nothing was changed)",
        .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or made.
    #[error("{} cannot be opened ({why}): check that this user may write there, or choose another folder with --data",
        .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system said.
        why: String,
    },
    /// Another process holds it.
    #[error("the catalog has been locked by another process for {} s: try again", BUSY_TIMEOUT.as_secs())]
    Busy,
    /// The disk has no room.
    #[error("no space left for the catalog: free some")]
    Full,
    /// A row cannot be understood.
    #[error("the catalog's row of title {title} is damaged ({why}): remove the title and add it again")]
    Damaged {
        /// Its id.
        title: String,
        /// What is wrong.
        why: String,
    },
    /// The row of a key cannot be understood.
    #[error("the catalog's row of key {key} is damaged ({why}): revoke the key and add another")]
    DamagedKey {
        /// Its id.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The row of a webhook or of a delivery to it cannot be understood.
    #[error("the catalog's row of webhook {webhook} is damaged ({why}): remove the webhook and add it again")]
    DamagedWebhook {
        /// Its id.
        webhook: String,
        /// What is wrong.
        why: String,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to give: {0}")]
    Chance(String),
    /// Anything else.
    #[error("catalog: {0}")]
    Sqlite(rusqlite::Error),
}

impl Catalog {
    /// Opens the catalog of a data folder, made or brought up to date if need be.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Foreign`], [`Error::Unusable`]; none of them changes anything.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        std::fs::create_dir_all(data_dir)
            .map_err(|why| Error::Unusable { path: path.clone(), why: why.to_string() })?;
        let writer = schema::open(&path)?;
        let reader = schema::connect(&path).map_err(|e| schema::unusable(&path, e))?;
        reader.pragma_update(None, "query_only", true)?;
        let (reader, writer) = (Mutex::new(reader), Mutex::new(writer));
        let connections = Connections { reader, writer, ended: Mutex::default(), latest_ms: AtomicI64::default() };
        Ok(Self { connections: Arc::new(connections) })
    }

    // A panic in a caller's thread harms no connection: an unfinished transaction is rolled back when dropped.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.connections.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.connections.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Error {
    /// True if the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Busy,
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Sqlite(error),
        }
    }
}

#[cfg(test)]
mod tests;

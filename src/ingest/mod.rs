//! The UPLOAD FLOW, in the order bytes travel: received, stored, inspected, planned.
//!
//! Three ways in. A file of this machine ([`file()`]) is copied, inspected and entered as a title that is ready. A film that
//! comes over the network ([`Uploads`]) is received, entered as a title in state `processing` together with a job, and
//! made ready in the background ([`Processor`]); [`Events`] tells of it. One that lies at a URL ([`Uploads::fetch`]) is
//! entered first, in state `receiving`, and its bytes are brought by a job of their own.
//!
//! [`watch`] takes in files of a folder by itself, if it is told to.
//!
//! Runs unasked: two tasks that wait for jobs and work on a few at a time; they sleep while there are none. A film costs
//! one copy of its bytes, hashed on the way, and one worker that inspects it; nothing is encoded. The server process
//! reads the bytes but never parses them.
//!
//! The rule not to break: it is all or nothing. Before a title names a source, whatever ends the flow, an error or the
//! caller who drops it, leaves neither file nor row behind; after that, its job leads to `ready` or `failed`, whatever
//! process does it.
//!
//! Arrow: `ingest` -> `catalog`, `library`, `outbound`, `worker`, `media`.

mod accept;
mod config;
pub mod discard;
mod error;
pub mod events;
mod fetch;
mod file;
mod inspect;
pub mod name;
mod process;
pub mod quota;
mod receive;
pub mod replace;
pub mod resume;
mod sidecars;
pub mod watch;

use crate::catalog::Catalog;
use crate::library::Library;
use crate::media::{Digest, Index, Ladder, Plan, TitleId};
use crate::worker::Pool;

pub use accept::{About, Uploads};
pub use config::Config;
pub use error::Error;
pub use events::Events;
pub use file::file;
pub use inspect::probe;
pub use process::{OnChange, OnRetire, Processor, Tell};
pub use quota::{Admission, Wanted};
pub use receive::Receiving;
pub use resume::Resumables;

/// What the flow needs of other rooms.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Where titles are entered.
    pub catalog: Catalog,
    /// Where sources are kept.
    pub library: Library,
    /// Who inspects them.
    pub pool: Pool,
    /// Which renditions are offered.
    pub ladder: Ladder,
    /// Bytes that stay free on the disk: `uploads.reserve_bytes`.
    pub reserve_bytes: u64,
}

/// How far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes are copied.
    Copying {
        /// So many ...
        done_bytes: u64,
        /// ... of about so many.
        all_bytes: u64,
    },
    /// A worker reads it; thousandths done, 0 while that is not known.
    Inspecting(u16),
}

/// A title that can be played now.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingested {
    /// Its name in URLs.
    pub id: TitleId,
    /// Its name for people.
    pub title: String,
    /// Its source.
    pub digest: Digest,
    /// The source's size, bytes.
    pub size_bytes: u64,
    /// Length, seconds.
    pub duration_s: f64,
    /// How many renditions it is offered in.
    pub renditions: usize,
    /// False if the same bytes were a source already.
    pub is_new_source: bool,
}

/// What the server makes of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// Tracks and packets.
    pub index: Index,
    /// Timeline and ladder.
    pub plan: Plan,
}

/// Rooms in an empty data folder, with nobody to inspect anything.
#[cfg(test)]
fn rooms(data: &std::path::Path) -> Rooms {
    Rooms {
        catalog: Catalog::open(data).unwrap(),
        library: Library::open(data).unwrap(),
        pool: Pool::start(crate::worker::Config { standby: 0, ..Default::default() }).unwrap(),
        ladder: Ladder::default(),
        reserve_bytes: 0,
    }
}

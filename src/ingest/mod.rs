//! The UPLOAD FLOW, in the order bytes travel: received, inspected, planned, committed.
//!
//! Nothing runs unasked. A file costs one copy of its bytes, hashed on the way, and one worker that inspects it; nothing
//! is encoded. The server process reads the bytes but never parses them.
//!
//! The rule not to break: it is all or nothing. A title is inserted last, when its source is complete and on disk;
//! whatever ends the flow before, an error or the caller who drops it, leaves neither file nor row behind.
//!
//! Arrow: `app`, `main` -> `ingest` -> `catalog`, `library`, `worker`, `media`.

mod error;
mod file;
mod inspect;
mod sidecars;

use crate::catalog::Catalog;
use crate::library::Library;
use crate::media::{Digest, Index, Ladder, Plan, TitleId};
use crate::worker::Pool;

pub use error::Error;
pub use file::file;
pub use inspect::probe;

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

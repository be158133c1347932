//! A source whose bytes are brought by somebody else, piece by piece, and hashed as they come.

use std::fs::File;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::flush::Flush;
use super::hashing::Hashing;
use super::sink::{DIRECT_FROM_BYTES, Sink};
use super::staged::{Entry, digest_of};
use super::{Error, Library, Staged};

/// Bytes written between two syncs, which go on meanwhile. Without them the page cache takes in gigabytes, and whoever
/// sent the last byte waits until all of them are on disk.
const SYNC_BYTES: u64 = 32 << 20;

/// A source in `data/staging` that is not complete. Dropping it removes it. Every call blocks.
#[derive(Debug)]
pub struct Incoming {
    library: Library,
    entry: Entry,
    sink: Sink,
    hash: Hashing,
    unsynced_bytes: u64,
    flush: Flush<()>,
    reserve_bytes: u64,
}

impl Library {
    /// An empty source to be filled. Once less than `reserve_bytes` are free on its disk, writing fails.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Busy`], [`Error::Io`].
    pub fn stage(&self, reserve_bytes: u64) -> Result<Incoming, Error> {
        self.room_for(0, reserve_bytes)?;
        let entry = Entry::create(self)?;
        let path = entry.source();
        let sink = File::create_new(&path).and_then(|_| Sink::open(&path, 0, DIRECT_FROM_BYTES));
        let sink = sink.map_err(|why| self.unwritten(&path, 0, why))?;
        let hash = Hashing::start(Sha256::new()).map_err(|why| Error::at("hash", &path, why))?;
        let (library, flush) = (self.clone(), Flush::default());
        Ok(Incoming { library, entry, sink, hash, unsynced_bytes: 0, flush, reserve_bytes })
    }
}

impl Incoming {
    /// The next bytes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`]; what was written so far is of no use then.
    pub fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let length = bytes.len() as u64;
        self.library.room_for(length, self.reserve_bytes)?;
        let lost = |why| self.library.unwritten(&self.entry.source(), length, why);
        self.hash.update(bytes.clone());
        self.sink.write(&bytes).map_err(lost)?;
        self.unsynced_bytes += length;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.flush.begin(self.sink.file(), || Ok(())).map_err(lost)?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    /// That was all: the bytes are on disk when it returns.
    ///
    /// # Errors
    /// As [`Incoming::write`].
    pub fn finish(self) -> Result<Staged, Error> {
        let Self { library, entry, sink, hash, mut flush, .. } = self;
        let size_bytes = sink.offset_bytes();
        let lost = |why| library.unwritten(&entry.source(), size_bytes, why);
        flush.wait().and_then(|_| sink.file().sync_all()).map_err(lost)?;
        let hash = hash.end().map_err(lost)?;
        Ok(Staged { digest: digest_of(hash), library, size_bytes, entry })
    }
}

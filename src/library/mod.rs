//! Source files, kept by the SHA-256 of their bytes (and of the subtitles that came beside them):
//! `data/library/{first two digits}/{digest}/source`, and beside it `index`, what one pass over the source found. A source
//! that was uploaded has no index until it was inspected. One that comes in several goes is in `data/uploads` until it is
//! complete, also over restarts.
//!
//! Nothing runs unasked. [`Library::open`] makes the folders and sweeps what a dead process left in `data/staging`.
//! Staging reads and writes every byte of a file once, in constant memory; a commit costs two fsyncs and a rename; a
//! look-up costs one `open`. Every call blocks: async callers use `spawn_blocking`.
//!
//! The rule not to break: whatever is below `data/library` is complete and never changes. It arrives by one rename and
//! leaves by one rename, so a reader sees all of it or nothing; an index may follow its source, whole as well. Server and
//! offline ingest share the folder; two kinds of `flock` keep them apart: a staging entry is locked as long as its process works on it, and the lock file
//! is held shared by who is between two steps and exclusively by who deletes.
//!
//! Arrow: `library` -> `media`.

mod error;
mod flush;
mod hashing;
mod incoming;
mod journal;
mod lock;
mod resumable;
mod room;
mod sink;
mod staged;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::media::Digest;

pub use error::Error;
pub use incoming::Incoming;
pub use lock::Frozen;
pub use resumable::{Mark, Resumable};
pub use room::GiveWay;
pub use sink::Block;
pub use staged::{Staged, Stored};

const SOURCE: &str = "source";
const INDEX: &str = "index";

/// The folder of sources. Cheap to clone: it holds paths, no open files.
#[derive(Clone, Debug)]
pub struct Library {
    sources: PathBuf,
    staging: PathBuf,
    uploads: PathBuf,
    asked: room::Asked,
}

impl Library {
    /// Makes the folders below `data_dir`, proves that they can be written to, and sweeps staging entries whose
    /// process is gone.
    ///
    /// # Errors
    /// [`Error::Unusable`] names the folder and the remedy.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let [sources, staging, uploads] = ["library", "staging", "uploads"].map(|name| data_dir.join(name));
        let library = Self { sources, staging, uploads, asked: room::Asked::default() };
        for folder in [&library.sources, &library.staging, &library.uploads] {
            usable(folder).map_err(|why| Error::Unusable { folder: folder.clone(), why })?;
        }
        library.sweep()?;
        Ok(library)
    }

    /// The source's path. It is there if a title names the digest.
    #[must_use]
    pub fn source_path(&self, digest: &Digest) -> PathBuf {
        self.folder(digest).join(SOURCE)
    }

    /// The path of the source's index. It is there if a title that is ready names the digest.
    #[must_use]
    pub fn index_path(&self, digest: &Digest) -> PathBuf {
        self.folder(digest).join(INDEX)
    }

    /// The bytes of the source's index, or `None` if there is no such source or it was not inspected yet.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_index(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.index_path(digest);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(Error::at("read", &path, why)),
        }
    }

    /// Puts an index beside a source that has none. If it has one, that one stays; if the source is gone, nothing
    /// happens. So [`Library::read_index`] is what tells which index counts.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Busy`], [`Error::Io`].
    pub fn add_index(&self, digest: &Digest, index: &[u8]) -> Result<(), Error> {
        let _between = self.share()?;
        self.put_index(digest, index)
    }

    /// Needs the lock file held: until the link is made, a sweep would take what is written for a leftover.
    fn put_index(&self, digest: &Digest, index: &[u8]) -> Result<(), Error> {
        let target = self.index_path(digest);
        let aside = self.staging.join(staged::entry_name());
        let put = || -> io::Result<()> {
            let mut file = fs::File::create_new(&aside)?;
            file.write_all(index)?;
            file.set_permissions(fs::Permissions::from_mode(staged::COMMITTED_FILE))?;
            file.sync_all()?;
            match fs::hard_link(&aside, &target) {
                Ok(()) => fs::File::open(self.folder(digest))?.sync_all(),
                Err(why) if matches!(why.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => Ok(()),
                Err(why) => Err(why),
            }
        };
        let done = put();
        let _ = fs::remove_file(&aside);
        done.map_err(|why| self.unwritten(&target, index.len() as u64, why))
    }

    /// Every source that is kept, in no order: for finding those that no title names.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn digests(&self) -> Result<Vec<Digest>, Error> {
        let mut found = Vec::new();
        for shelf in entries(&self.sources)? {
            for folder in entries(&shelf)? {
                let name = folder.file_name().and_then(|n| n.to_str()).map(str::parse);
                if let Some(Ok(digest)) = name {
                    found.push(digest);
                }
            }
        }
        Ok(found)
    }

    /// Removes a source and its index; false if there was none. Readers that have it open keep reading. Needs the
    /// library [frozen](Self::freeze), so that the caller's look whether a title still names it stays true, until the
    /// source has gone from its place: freeing the space of a long film takes seconds, for which nobody waits.
    ///
    /// # Errors
    /// [`Error::Io`]; then the source is either still there or gone from every look-up.
    pub fn remove(&self, still: Frozen, digest: &Digest) -> Result<bool, Error> {
        let folder = self.folder(digest);
        // Aside first: a deletion that is cut short leaves a leftover of staging, not half a source.
        let aside = self.staging.join(staged::entry_name());
        match fs::rename(&folder, &aside) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(why) => return Err(Error::at("remove", &folder, why)),
        }
        // The shelf goes with its last source; it is not empty otherwise, which is no error.
        let _ = folder.parent().map(fs::remove_dir);
        let mine = lock::claimed(&aside);
        drop(still);
        mine.and_then(|_mine| fs::remove_dir_all(&aside)).map_err(|why| Error::at("remove", &aside, why))?;
        Ok(true)
    }

    fn folder(&self, digest: &Digest) -> PathBuf {
        let digest = digest.as_str();
        self.sources.join(&digest[..2]).join(digest)
    }
}

/// Creates the folder if need be, and a file in it: only trying tells whether it can be written to (permission bits do
/// not know of read-only mounts, quotas, or root).
fn usable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    tempfile::Builder::new().prefix(".probe-").tempfile_in(folder).map(drop)
}

/// Paths in a folder; none if it is not a folder or is gone.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    match fs::read_dir(folder) {
        Ok(found) => found
            .map(|entry| entry.map(|e| e.path()))
            .collect::<io::Result<_>>()
            .map_err(|why| Error::at("list", folder, why)),
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(why) => Err(Error::at("list", folder, why)),
    }
}

#[cfg(test)]
mod tests;

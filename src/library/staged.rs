//! A source on its way in: copied and hashed, then committed by one rename, or gone when dropped.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::lock::Shared;
use super::{Error, INDEX, Library, SOURCE};
use crate::media::Digest;

/// Bytes read, hashed and written at a time: large enough that system calls do not show.
const COPY_BYTES: usize = 1 << 20;
/// Nobody writes to a committed file, not even its owner.
pub(super) const COMMITTED_FILE: u32 = 0o440;

/// A complete copy in `data/staging`, not yet a source. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    pub(super) library: Library,
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
    pub(super) entry: Entry,
}

/// A source that was just committed. While it lives the source cannot be removed: hold it until the catalog names it.
#[derive(Debug)]
pub struct Stored {
    digest: Digest,
    is_new: bool,
    _lock: Shared,
}

/// A folder in `data/staging`, locked for as long as this process works on it.
#[derive(Debug)]
pub(super) struct Entry {
    path: PathBuf,
    _lock: File,
}

impl Library {
    /// Copies a file into staging while hashing it; `progress` hears bytes done and bytes expected about once per
    /// mebibyte. `reserve_bytes` stay free on the disk. What counts is what was read: a file that grows or shrinks meanwhile is taken as it was seen.
    ///
    /// # Errors
    /// [`Error::NotAFile`], [`Error::Unreadable`], [`Error::Full`] (also before the first byte, if the disk cannot hold
    /// it), [`Error::Io`]. Nothing stays behind.
    pub fn stage_copy(
        &self,
        path: &Path,
        reserve_bytes: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Staged, Error> {
        self.stage_file(open_source(path)?, path, reserve_bytes, progress)
    }

    /// The same of a file that is open; `path` is what it is called.
    ///
    /// # Errors
    /// As [`Library::stage_copy`].
    pub fn stage_file(
        &self,
        mut from: File,
        path: &Path,
        reserve_bytes: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Staged, Error> {
        let found = from.metadata().map_err(|why| Error::Unreadable { path: path.to_owned(), why })?;
        let expected = found.len();
        self.room_for(expected, reserve_bytes)?;
        let entry = Entry::create(self)?;
        let target = entry.source();
        let mut to = File::create_new(&target).map_err(|why| self.unwritten(&target, expected, why))?;
        let room_for = |bytes: usize| self.room_for(bytes as u64, reserve_bytes);
        let copied = copy(&mut from, &mut to, &room_for, &mut |done| progress(done, expected.max(done)));
        let (digest, size_bytes) = copied.map_err(|fault| match fault {
            Fault::Read(why) => Error::Unreadable { path: path.to_owned(), why },
            Fault::Write(why) => self.unwritten(&target, expected, why),
            Fault::Room(error) => error,
        })?;
        Ok(Staged { library: self.clone(), digest, size_bytes, entry })
    }

    pub(super) fn unwritten(&self, path: &Path, needed_bytes: u64, why: io::Error) -> Error {
        match why.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::Full { folder: self.staging.clone(), free_bytes: self.free_bytes().unwrap_or(0), needed_bytes }
            }
            _ => Error::at("write", path, why),
        }
    }

    /// Free space for sources, bytes, if the system tells.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        rustix::fs::statvfs(&self.staging).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize))
    }
}

impl Staged {
    /// SHA-256 of the bytes, and of [what belongs to them](Self::beside).
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The same copy as a source that something else belongs to, of which this is the hash: what is kept in the index
    /// beside the bytes must be told apart by name, too.
    #[must_use]
    pub fn beside(self, fingerprint: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.digest.as_str());
        hash.update(fingerprint);
        Self { digest: digest_of(hash), ..self }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Where the copy lies, for the worker that inspects it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.entry.source()
    }

    /// Makes it a source, with its index beside it. If the same bytes are a source already, that one and its index stay
    /// and this copy goes: the titles that name it were planned with that index.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Busy`], [`Error::Io`]; then no title may name it. Nothing stays in staging.
    pub fn commit(self, index: &[u8]) -> Result<Stored, Error> {
        self.publish(Some(index))
    }

    /// Makes it a source that has no index yet: [`Library::add_index`] adds it. If the same bytes are a source already,
    /// that one stays and this copy goes.
    ///
    /// # Errors
    /// As [`Staged::commit`].
    pub fn commit_uninspected(self) -> Result<Stored, Error> {
        self.publish(None)
    }

    fn publish(self, index: Option<&[u8]>) -> Result<Stored, Error> {
        let length = index.map_or(0, <[u8]>::len) as u64;
        // Before the lock: who freezes the library would not wait as long as a slow disk takes for a film.
        self.seal(index).map_err(|why| self.library.unwritten(&self.entry.path, length, why))?;
        let lock = self.library.share()?;
        let folder = self.library.folder(&self.digest);
        if folder.is_dir() {
            if let Some(index) = index {
                self.library.put_index(&self.digest, index)?;
            }
            return Ok(Stored { digest: self.digest, is_new: false, _lock: lock });
        }
        let published = publish(&self.entry.path, &folder);
        let is_new = published.map_err(|why| self.library.unwritten(&folder, length, why))?;
        Ok(Stored { digest: self.digest, is_new, _lock: lock })
    }

    /// Everything of it on disk and read-only.
    fn seal(&self, index: Option<&[u8]>) -> io::Result<()> {
        let path = self.entry.path.join(INDEX);
        let mut files = vec![self.path()];
        if let Some(index) = index {
            File::create_new(&path)?.write_all(index)?;
            files.push(path);
        }
        for file in files {
            fs::set_permissions(&file, Permissions::from_mode(COMMITTED_FILE))?;
            File::open(&file)?.sync_all()?;
        }
        File::open(&self.entry.path)?.sync_all()
    }
}

impl Stored {
    /// The source's name.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// False if the same bytes were a source before; then [`Library::read_index`] has the index that counts.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

impl Entry {
    /// Made and locked while the lock file is held, so that no sweep comes between the two.
    pub(super) fn create(library: &Library) -> Result<Self, Error> {
        let _between = library.share()?;
        let path = library.staging.join(entry_name());
        let create = || -> io::Result<File> {
            fs::create_dir(&path)?;
            let lock = File::open(&path)?;
            lock.try_lock()?;
            Ok(lock)
        };
        let lock = create().map_err(|why| library.unwritten(&path, 0, why))?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the bytes go.
    pub(super) fn source(&self) -> PathBuf {
        self.path.join(SOURCE)
    }
}

/// Frees the disk space of a copy that was not committed. After a commit the path is gone, and so is the work.
impl Drop for Entry {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.path) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => tracing::warn!(path = %self.path.display(), %why, "staging entry is left to the next start"),
        }
    }
}

enum Fault {
    Read(io::Error),
    Write(io::Error),
    Room(Error),
}

/// A name nobody else has.
pub(super) fn entry_name() -> String {
    let bits = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{bits:016x}")
}

fn open_source(path: &Path) -> Result<File, Error> {
    let unreadable = |why| Error::Unreadable { path: path.to_owned(), why };
    // A named pipe without a writer would otherwise block here for ever.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    let kind = found.file_type();
    let not = |what| Err(Error::NotAFile { path: path.to_owned(), what });
    match () {
        () if kind.is_file() => Ok(file),
        () if kind.is_dir() => not("a folder"),
        () if kind.is_fifo() => not("a named pipe"),
        () => not("a device"),
    }
}

fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    room_for: &dyn Fn(usize) -> Result<(), Error>,
    progress: &mut dyn FnMut(u64),
) -> Result<(Digest, u64), Fault> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut hash = Sha256::new();
    let mut done = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(why) => return Err(Fault::Read(why)),
        };
        room_for(read).map_err(Fault::Room)?;
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(Fault::Write)?;
        done += read as u64;
        progress(done);
    }
    to.flush().map_err(Fault::Write)?;
    Ok((digest_of(hash), done))
}

/// The name of bytes that were hashed.
pub(super) fn digest_of(hash: Sha256) -> Digest {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse().expect("64 hexadecimal digits are a digest")
}

/// Renames a staging entry to its place; false if another process was first. Nobody removes meanwhile: that needs the
/// lock which the caller shares.
fn publish(entry: &Path, folder: &Path) -> io::Result<bool> {
    let shelf = folder.parent().unwrap_or(folder);
    fs::create_dir_all(shelf)?;
    let is_new = match fs::rename(entry, folder) {
        Ok(()) => true,
        Err(why) if why.kind() == io::ErrorKind::DirectoryNotEmpty => false,
        Err(why) => return Err(why),
    };
    for changed in [Some(shelf), shelf.parent()].into_iter().flatten() {
        File::open(changed)?.sync_all()?;
    }
    Ok(is_new)
}

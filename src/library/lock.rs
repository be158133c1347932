//! The locks that keep server and offline ingest apart, and the sweep that needs them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Error, Library, entries};

/// Name of the lock file in `data/staging`.
const LOCK: &str = ".lock";
/// Longest wait for the lock file: its holders need milliseconds, so a longer wait means a stopped process, and a
/// caller that waits for ever would hang with it.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Pause between tries; `flock` has no time-out of its own.
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// While it lives no source is committed or removed by anybody else, in any process. Hold it briefly.
#[derive(Debug)]
pub struct Frozen {
    _lock: File,
}

/// While it lives nothing is swept or removed.
#[derive(Debug)]
pub(super) struct Shared {
    _lock: File,
}

impl Library {
    /// Waits until nobody is between two steps and keeps it so. The way to remove a source is: freeze, ask the catalog
    /// whether a title names it, [remove](Self::remove).
    ///
    /// # Errors
    /// [`Error::Busy`] after ten seconds.
    pub fn freeze(&self) -> Result<Frozen, Error> {
        self.wait_for_lock(File::try_lock).map(|lock| Frozen { _lock: lock })
    }

    pub(super) fn share(&self) -> Result<Shared, Error> {
        self.wait_for_lock(File::try_lock_shared).map(|lock| Shared { _lock: lock })
    }

    /// Removes the staging entries that no process holds locked. If somebody is between two steps right now the sweep
    /// is left to the next start.
    pub(super) fn sweep(&self) -> Result<(), Error> {
        let lock = self.lock_file()?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(why)) => return Err(Error::at("lock", &self.staging.join(LOCK), why)),
        }
        let unswept = |entry: &Path, why| Error::at("sweep", entry, why);
        let mut folders = Vec::new();
        for entry in entries(&self.staging)?.into_iter().filter(|e| !e.ends_with(LOCK)) {
            match claimed(&entry) {
                Ok(mine) => folders.push((entry, mine)),
                Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotFound) => {}
                Err(why) if why.kind() == io::ErrorKind::NotADirectory => {
                    fs::remove_file(&entry).map_err(|why| unswept(&entry, why))?;
                }
                Err(why) => return Err(unswept(&entry, why)),
            }
        }
        // They are this process's now, and freeing the space of a long film takes seconds.
        drop(lock);
        folders.iter().try_for_each(|(entry, _)| fs::remove_dir_all(entry).map_err(|why| unswept(entry, why)))
    }

    fn lock_file(&self) -> Result<File, Error> {
        let path = self.staging.join(LOCK);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        open.map_err(|why| Error::at("open", &path, why))
    }

    #[expect(clippy::disallowed_methods, reason = "a file lock tells nobody when it is free; the wait is bounded")]
    fn wait_for_lock(&self, try_lock: fn(&File) -> Result<(), TryLockError>) -> Result<File, Error> {
        let file = self.lock_file()?;
        let began = Instant::now();
        loop {
            match try_lock(&file) {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Busy { path: self.staging.join(LOCK), seconds: LOCK_WAIT.as_secs() });
                }
                Err(TryLockError::Error(why)) => return Err(Error::at("lock", &self.staging.join(LOCK), why)),
            }
        }
    }
}

/// Locks a folder of staging, which keeps sweeps away from it. [`io::ErrorKind::WouldBlock`] if somebody has it.
pub(super) fn claimed(entry: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(entry)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let folder = File::open(entry)?;
    folder.try_lock()?;
    Ok(folder)
}

//! The disk tier: one file per object, an index in memory that bounds their bytes.
//!
//! A file is the object's bytes and a trailer ([`TRAILER_BYTES`]), written to `tmp/`, synced, then renamed: a name
//! means a whole file. The index decides what to evict and answers without I/O; the folder decides what exists. So
//! files may vanish or appear at any time, by hand or by another process, and nothing is wrong.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;

use super::key::generation_folder;
use super::{Error, Held, Key, lock, room, scan};
use crate::media::Generation;

/// What follows the object's bytes: an ISO BMFF `free` box (ISO/IEC 14496-12 §8.1.2), so that a file is still one that
/// media tools read. Big endian: box size, `free`, [`TRAILER_MAGIC`], CRC-32 of path and bytes, length of the bytes (64
/// bits).
pub(super) const TRAILER_BYTES: usize = 24;
/// Longest file that is read or kept: a file grown by accident must not make anyone allocate it.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;
/// Where unfinished files are; three letters, so that it is no generation's folder.
pub(super) const TEMP_FOLDER: &str = "tmp";

/// Changes when the format does: older files are misses then.
const TRAILER_MAGIC: [u8; 4] = *b"mtn1";
/// Another process may remove a folder between making and using it, or fill one that is being removed; more often than
/// this is a fault.
const FOLDER_ATTEMPTS: u32 = 4;
/// Rounds of eviction after a write: moka evicts a batch at a time.
const EVICT_ROUNDS: u32 = 8;

pub(super) struct Disk {
    pub(super) folder: PathBuf,
    capacity_bytes: u64,
    /// Length of each file. Least recently used goes first, for the reason given in `memory`.
    pub(super) index: moka::sync::Cache<Key, u32>,
    /// Evicted from the index, file not yet deleted. moka evicts on whichever thread touches it, also on one that must
    /// not do I/O; the next writer deletes.
    evicted: Arc<Mutex<Vec<Arc<Key>>>>,
    /// Held while files get or lose their names, so that index and folder agree. Taken on blocking threads only.
    pub(super) names: Mutex<()>,
    serial: AtomicU64,
    failing: AtomicBool,
    failures: AtomicU64,
    corrupt: AtomicU64,
}

/// A file being written; deleted when dropped unless it was renamed.
struct Temp {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Disk {
    /// Sweeps leftovers, finds what is there, deletes what exceeds the bound.
    pub(super) fn open(folder: &Path, capacity_bytes: u64) -> Result<Self, Error> {
        let fail = |source| Error::Folder { folder: folder.to_owned(), source };
        let found = scan::scan(folder, capacity_bytes).map_err(fail)?;
        let evicted: Arc<Mutex<Vec<Arc<Key>>>> = Arc::default();
        let listener = {
            let evicted = Arc::clone(&evicted);
            move |key: Arc<Key>, _, cause| match cause {
                RemovalCause::Size => lock(&evicted).push(key),
                RemovalCause::Explicit | RemovalCause::Replaced | RemovalCause::Expired => {}
            }
        };
        let disk = Self {
            folder: folder.to_owned(),
            capacity_bytes,
            index: moka::sync::Cache::builder()
                .max_capacity(capacity_bytes)
                .eviction_policy(EvictionPolicy::lru())
                .weigher(|_: &Key, file_bytes: &u32| *file_bytes)
                .eviction_listener(listener)
                .build(),
            evicted,
            names: Mutex::default(),
            serial: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
        };
        for (key, file_bytes) in found {
            disk.index.insert(key, file_bytes);
        }
        disk.index.run_pending_tasks();
        match disk.temp() {
            // A full disk is no reason not to start: memory serves, and eviction may make room.
            Err(error) if !room::is_full(&error) => Err(fail(error)),
            Ok(_) | Err(_) => Ok(disk),
        }
    }

    /// The object's length, bytes, by the index.
    pub(super) fn length(&self, key: &Key) -> Option<u64> {
        self.index.get(key).map(|file_bytes| u64::from(file_bytes).saturating_sub(TRAILER_BYTES as u64))
    }

    pub(super) fn holds(&self, key: &Key) -> bool {
        self.index.contains_key(key)
    }

    /// Reads and checks; asks the folder, not the index, because another process may have made the file.
    pub(super) fn read(&self, key: &Key) -> Option<Bytes> {
        let path = self.folder.join(key.path());
        match read_file(&path, key) {
            Ok(Some((bytes, file_bytes))) => {
                if self.index.get(key) != Some(file_bytes) {
                    let names = lock(&self.names);
                    self.index.insert(key.clone(), file_bytes);
                    self.evict(&names);
                }
                Some(bytes)
            }
            Ok(None) => {
                self.corrupt.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%key, "a cached file was damaged; it is removed and will be made again");
                self.forget(key);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.index.invalidate(key);
                None
            }
            Err(error) => {
                // The file may be sound and the fault pass (too many open files, say): it stays.
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%key, %error, "a cached file could not be read");
                None
            }
        }
    }

    /// True if a file of so many bytes could be kept at all.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let file_bytes = (bytes + TRAILER_BYTES) as u64;
        file_bytes <= self.capacity_bytes.min(MAX_FILE_BYTES)
    }

    /// Writes the file and evicts others for it, unless it is no longer wanted once it is written: asked when no purge
    /// can come in between. On a full disk older files make room, and it is tried once more. A failure is counted, and logged when it is the first or was the last.
    pub(super) fn write(&self, key: &Key, bytes: &[u8], wanted: impl Fn() -> bool) {
        let first = self.write_file(key, bytes, &wanted);
        let full = first.as_ref().is_err_and(room::is_full);
        match if full && self.make_room(bytes.len()) { self.write_file(key, bytes, &wanted) } else { first } {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(folder = %self.folder.display(), "the cache folder can be written again");
                }
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let folder = self.folder.display();
                    tracing::warn!(%folder, %key, %error, "the cache folder cannot be written: memory alone keeps segments");
                }
            }
        }
    }

    /// Deletes the file, if there is one.
    fn forget(&self, key: &Key) {
        let _names = lock(&self.names);
        self.index.invalidate(key);
        self.delete(key);
    }

    /// Deletes everything of a generation, also what another process wrote.
    pub(super) fn purge(&self, generation: &Generation) -> Result<u64, Error> {
        let _names = lock(&self.names);
        let mut purged = 0;
        for (key, _) in self.index.iter().filter(|(key, _)| key.generation == *generation) {
            self.index.invalidate(&*key);
            purged += 1;
        }
        self.index.run_pending_tasks();
        let folder = self.folder.join(generation_folder(generation));
        let mut attempt = 0;
        loop {
            attempt += 1;
            match fs::remove_dir_all(&folder) {
                // Another process put a file there meanwhile.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && attempt < FOLDER_ATTEMPTS => {}
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::Purge { generation: generation.clone(), source: error });
                }
                Ok(()) | Err(_) => break,
            }
        }
        remove_empty_folders(&folder, 1);
        Ok(purged)
    }

    pub(super) fn held(&self) -> Held {
        self.index.run_pending_tasks();
        Held { bytes: self.index.weighted_size(), entries: self.index.entry_count() }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }

    fn write_file(&self, key: &Key, bytes: &[u8], wanted: impl Fn() -> bool) -> io::Result<()> {
        let mut temp = self.temp()?;
        temp.file.write_all(bytes)?;
        temp.file.write_all(&trailer(key, bytes))?;
        temp.file.sync_all()?;
        let path = self.folder.join(key.path());
        let parent = path.parent().unwrap_or(&self.folder);
        let names = lock(&self.names);
        if !wanted() {
            return Ok(());
        }
        for attempt in 1.. {
            match make_folders(parent).and_then(|()| fs::rename(&temp.path, &path)) {
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < FOLDER_ATTEMPTS => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        temp.renamed = true;
        self.index.insert(key.clone(), u32::try_from(bytes.len() + TRAILER_BYTES).unwrap_or(u32::MAX));
        self.evict(&names);
        drop(names);
        sync_folder(parent)
    }

    /// A new file, locked for as long as it is open: that is how [`scan`] tells another process's work from a leftover.
    fn temp(&self) -> io::Result<Temp> {
        let folder = self.folder.join(TEMP_FOLDER);
        loop {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{serial}", std::process::id()));
            let file = match File::create_new(&path) {
                Ok(file) => file,
                // Another container's process with our number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    make_folders(&folder)?;
                    File::create_new(&path)?
                }
                Err(error) => return Err(error),
            };
            let temp = Temp { file, path, renamed: false };
            match temp.file.lock() {
                Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
                // Swept between creation and lock: it has no name any more.
                Ok(()) if temp.file.metadata()?.nlink() == 0 => {}
                Ok(()) | Err(_) => return Ok(temp),
            }
        }
    }

    /// Deletes the files of what the index let go. What is being read stays readable: its descriptor is open.
    fn evict(&self, _names: &MutexGuard<'_, ()>) {
        for _ in 0..EVICT_ROUNDS {
            self.index.run_pending_tasks();
            for key in std::mem::take(&mut *lock(&self.evicted)) {
                if !self.index.contains_key(&*key) {
                    self.delete(&key);
                }
            }
            if self.index.weighted_size() <= self.capacity_bytes {
                break;
            }
        }
    }

    pub(super) fn delete(&self, key: &Key) {
        let path = self.folder.join(key.path());
        match fs::remove_file(&path) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%key, %error, "a cached file could not be deleted");
            }
            Ok(()) | Err(_) => remove_empty_folders(&path, 3),
        }
    }
}

impl Drop for Temp {
    /// Deletes the file unless it was renamed.
    fn drop(&mut self) {
        if !self.renamed {
            // Whatever stays is swept at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The bytes and the length of the file, or `None` if it is not what was written.
fn read_file(path: &Path, key: &Key) -> io::Result<Option<(Bytes, u32)>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Ok(None);
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    (&file).take(MAX_FILE_BYTES).read_to_end(&mut content)?;
    let Some(len) = content.len().checked_sub(TRAILER_BYTES) else {
        return Ok(None);
    };
    if content[len..] != trailer(key, &content[..len]) {
        return Ok(None);
    }
    // Recency that survives a restart; nothing depends on it.
    let _ = file.set_modified(SystemTime::now());
    let file_bytes = u32::try_from(content.len()).unwrap_or(u32::MAX);
    Ok(Some((Bytes::from(content).slice(..len), file_bytes)))
}

/// The path is part of the sum: a file under another's name is damaged.
fn trailer(key: &Key, bytes: &[u8]) -> [u8; TRAILER_BYTES] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key.to_string().as_bytes());
    sum.update(bytes);
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..4].copy_from_slice(&(TRAILER_BYTES as u32).to_be_bytes());
    trailer[4..8].copy_from_slice(b"free");
    trailer[8..12].copy_from_slice(&TRAILER_MAGIC);
    trailer[12..16].copy_from_slice(&sum.finalize().to_be_bytes());
    trailer[16..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
    trailer
}

/// Makes a folder and those above it, each durable before the next.
fn make_folders(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = folder.parent().ok_or(error)?;
            make_folders(parent)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                Ok(()) | Err(_) => sync_folder(parent),
            }
        }
        Err(error) => Err(error),
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Purged or evicted meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes up to `levels` folders above `path` as long as they are empty.
fn remove_empty_folders(path: &Path, levels: usize) {
    for folder in path.ancestors().skip(1).take(levels) {
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

//! The disk tier: one file per object, an index in memory that bounds their bytes, and a journal of it.
//!
//! A file is the object's bytes and a trailer, written to `tmp/`, synced, then renamed: a name
//! means a whole file. The index decides what goes and answers without I/O; the folder decides what exists. So
//! files may vanish or appear at any time, by hand or by another process, and nothing is wrong.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::file::{MAX_FILE_BYTES, TRAILER_BYTES, make_folders, read_file, remove_empty_folders, sync_folder, trailer};
use super::heat::{Clock, Heat};
use super::journal::{Journal, Record};
use super::key::generation_folder;
use super::ranking::{Cost, Item, Ranking};
use super::room::Space;
use super::survey::{self, Survey};
use super::{Error, Held, Key, Object, lock, room, scan};
use crate::media::{Generation, RenditionName};

/// Where unfinished files are; three letters, so that it is no generation's folder.
pub(super) const TEMP_FOLDER: &str = "tmp";

/// Another process may remove a folder between making and using it, or fill one that is being removed; more often than
/// this is a fault.
const FOLDER_ATTEMPTS: u32 = 4;
/// Entries looked at under the index's lock at a time, so that nobody who asks waits for all of them.
const BATCH: usize = 1024;

pub(super) struct Disk {
    pub(super) folder: PathBuf,
    pub(super) capacity_bytes: u64,
    /// What is there. Held for moments and never during I/O; changed only while `names` is held as well.
    pub(super) index: Mutex<Ranking>,
    /// Held while files get or lose their names, so that index, journal and folder agree. Taken on blocking threads only.
    pub(super) names: Mutex<Journal>,
    pub(super) survey: Survey,
    pub(super) space: Space,
    pub(super) clock: Clock,
    serial: AtomicU64,
    failing: AtomicBool,
    failures: AtomicU64,
    corrupt: AtomicU64,
    skipped: AtomicU64,
}

/// A file to be written.
pub(super) struct Filed<'a> {
    pub key: &'a Key,
    pub bytes: &'a [u8],
    pub cost: Cost,
    pub heat: &'a Arc<Heat>,
}

/// A file being written; deleted when dropped unless it was renamed.
struct Temp {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Disk {
    /// Sweeps leftovers. What is there is found out on a thread, while the rest is used already.
    pub(super) fn open(folder: &Path, capacity_bytes: u64, clock: Clock) -> Result<Arc<Self>, Error> {
        let disk = Self::over(folder, capacity_bytes, clock)?;
        survey::start(&disk).map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
        Ok(disk)
    }

    /// The same without the thread: nothing is known of what is there.
    pub(super) fn over(folder: &Path, capacity_bytes: u64, clock: Clock) -> Result<Arc<Self>, Error> {
        let fail = |source| Error::Folder { folder: folder.to_owned(), source };
        scan::prepare(folder).map_err(fail)?;
        let disk = Arc::new(Self {
            folder: folder.to_owned(),
            capacity_bytes,
            index: Mutex::new(Ranking::new(capacity_bytes)),
            names: Mutex::new(Journal::open(folder)),
            survey: Survey::default(),
            space: Space::default(),
            clock,
            serial: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        });
        match disk.temp() {
            // A full disk is no reason not to start: memory serves, and eviction may make room.
            Err(error) if !room::is_full(&error) => Err(fail(error)),
            Ok(_) | Err(_) => Ok(disk),
        }
    }

    /// The object's length, bytes, by the index.
    pub(super) fn length(&self, key: &Key) -> Option<u64> {
        lock(&self.index).get(key).map(|item| u64::from(item.bytes).saturating_sub(TRAILER_BYTES as u64))
    }

    pub(super) fn holds(&self, key: &Key) -> bool {
        lock(&self.index).get(key).is_some()
    }

    /// The objects of a rendition, by the index.
    pub(super) fn of_rendition(&self, generation: &Generation, rendition: &RenditionName) -> Vec<Object> {
        lock(&self.index).of_rendition(generation, rendition)
    }

    /// True if the index does not know yet, and the folder has it: one look at the file system, in a server's first
    /// moments alone.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        !self.survey.is_known() && self.folder.join(key.path()).exists()
    }

    /// Reads and checks; asks the folder, not the index, because another process may have made the file. That is a use.
    pub(super) fn read(&self, key: &Key) -> Option<(Bytes, Arc<Heat>)> {
        let path = self.folder.join(key.path());
        match read_file(&path, key) {
            Ok(Some((bytes, file_bytes))) => Some((bytes, self.heat_of(key, file_bytes))),
            Ok(None) => {
                self.corrupt.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%key, "a cached file was damaged; it is removed and will be made again");
                self.forget(key);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                if self.holds(key) {
                    self.forget(key);
                }
                None
            }
            Err(error) => {
                // The file may be sound and the fault pass (too many open files, say): it stays, until it is made again.
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
    /// can come in between. On a disk that is full, or has no more than what is left to others, others make room, more than it
    /// needs, and it is tried once more. A failure is counted, and logged when it is the first or was the last.
    pub(super) fn write(&self, filed: &Filed, wanted: impl Fn() -> bool) {
        let first = self.must_leave_free(filed.bytes.len()).and_then(|()| self.write_file(filed, &wanted));
        let full = first.as_ref().is_err_and(room::is_full);
        match if full && self.make_room(filed.bytes.len()) { self.write_file(filed, &wanted) } else { first } {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(folder = %self.folder.display(), "the cache folder can be written again");
                }
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let (folder, key) = (self.folder.display(), filed.key);
                    tracing::warn!(%folder, %key, %error, "the cache folder cannot be written: memory alone keeps segments");
                }
            }
        }
    }

    /// Deletes everything of a generation, also what another process wrote.
    pub(super) fn purge(&self, generation: &Generation) -> Result<u64, Error> {
        self.survey.wait_until_read();
        let mut journal = lock(&self.names);
        // A full disk is no reason to keep files: at worst the next start believes in some that are gone.
        let _ = journal.note(&Record::Emptied(generation.clone()));
        let purged = lock(&self.index).purge(generation);
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

    /// Generations that have files. Waits until that is known.
    pub(super) fn generations(&self) -> HashSet<Generation> {
        self.survey.wait_until_known();
        lock(&self.index).generations().into_iter().collect()
    }

    /// Writes the journal anew, as the last word on what there is; the next start needs no look at the folder then. Until the
    /// folder was gone through nobody has that word.
    pub(super) fn close(&self) {
        let mut journal = lock(&self.names);
        if self.survey.is_done() && !journal.is_closed() {
            journal.replace(self.records().chain([Record::Closed]));
        }
    }

    /// Files that made room, ever.
    pub(super) fn evicted(&self) -> u64 {
        lock(&self.index).evicted()
    }

    pub(super) fn held(&self) -> Held {
        let index = lock(&self.index);
        Held { bytes: index.bytes(), entries: index.len() as u64 }
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

    pub(super) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Counts a use of a file that was just read, and takes it into the index if it is news and was not deleted meanwhile.
    pub(super) fn heat_of(&self, key: &Key, file_bytes: u32) -> Arc<Heat> {
        let now = self.clock.now();
        let known =
            lock(&self.index).get(key).filter(|item| item.bytes == file_bytes).map(|item| Arc::clone(&item.heat));
        if let Some(heat) = known {
            heat.used(now);
            return heat;
        }
        let heat = Arc::new(Heat::new(now));
        if self.survey.is_known() {
            let mut journal = lock(&self.names);
            let found = fs::metadata(self.folder.join(key.path()));
            if !found.is_ok_and(|metadata| metadata.len() == u64::from(file_bytes)) {
                return heat;
            }
            self.take_in(key, Item { bytes: file_bytes, cost: Cost::Unknown, heat: Arc::clone(&heat) }, &mut journal);
            self.trim(&mut journal);
        }
        heat
    }

    /// Takes a file that has a name already into index and journal.
    pub(super) fn take_in(&self, key: &Key, item: Item, journal: &mut Journal) {
        // On a full disk the next start learns of it when it is asked for.
        let _ = journal.note(&record(key, &item));
        lock(&self.index).insert(key, item);
    }

    /// Deletes the file, if there is one.
    fn forget(&self, key: &Key) {
        let mut journal = lock(&self.names);
        lock(&self.index).remove(key);
        self.delete(key, &mut journal);
    }

    fn write_file(&self, filed: &Filed, wanted: impl Fn() -> bool) -> io::Result<()> {
        let mut temp = self.temp()?;
        temp.file.write_all(filed.bytes)?;
        temp.file.write_all(&trailer(filed.key, filed.bytes))?;
        temp.file.sync_all()?;
        let path = self.folder.join(filed.key.path());
        let parent = path.parent().unwrap_or(&self.folder);
        let bytes = u32::try_from(filed.bytes.len() + TRAILER_BYTES).unwrap_or(u32::MAX);
        let item = Item { bytes, cost: filed.cost, heat: Arc::clone(filed.heat) };
        let is_known = self.survey.wait_a_while();
        let mut journal = lock(&self.names);
        if !wanted() {
            return Ok(());
        }
        if !self.make_way(u64::from(bytes), is_known, &mut journal) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        journal.note(&record(filed.key, &item))?;
        if let Err(error) = rename(&temp.path, &path, parent) {
            let _ = journal.note(&Record::Gone(filed.key.clone()));
            return Err(error);
        }
        temp.renamed = true;
        let entries = {
            let mut index = lock(&self.index);
            index.insert(filed.key, item);
            index.len()
        };
        if is_known && !journal.is_partial() && journal.is_long(entries) {
            journal.replace(self.records());
        }
        drop(journal);
        sync_folder(parent)
    }

    /// Deletes what must go before so many bytes come in. As long as nobody knows how much there is, the folder counts as
    /// full, and what comes in must take the place of something known; false if there is nothing.
    fn make_way(&self, bytes: u64, is_known: bool, journal: &mut Journal) -> bool {
        let mut freed = 0;
        while !is_known && freed < bytes {
            let Some((key, item)) = lock(&self.index).evict() else { return false };
            freed += u64::from(item.bytes);
            self.delete(&key, journal);
        }
        let gone = lock(&self.index).make_room(bytes);
        gone.iter().for_each(|key| self.delete(key, journal));
        true
    }

    /// Deletes what is too much.
    pub(super) fn trim(&self, journal: &mut Journal) {
        let gone = lock(&self.index).make_room(0);
        gone.iter().for_each(|key| self.delete(key, journal));
    }

    /// Deletes the file of what has left the index. What is being read stays readable: its descriptor is open.
    pub(super) fn delete(&self, key: &Key, journal: &mut Journal) {
        let path = self.folder.join(key.path());
        match fs::remove_file(&path) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%key, %error, "a cached file could not be deleted");
            }
            Ok(()) | Err(_) => remove_empty_folders(&path, 3),
        }
        // On a full disk the next start believes in a file that is gone, until somebody asks for it.
        let _ = journal.note(&Record::Gone(key.clone()));
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

    /// Everything in the index, as the journal says it. `names` must be held, so that no place changes meanwhile.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let mut place = 0;
        let batches = std::iter::from_fn(move || {
            let some = lock(&self.index).some(place..place + BATCH);
            place += BATCH;
            (!some.is_empty()).then_some(some)
        });
        batches.flatten().map(|(key, item)| record(&key, &item))
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

fn record(key: &Key, item: &Item) -> Record {
    let seconds = match item.cost {
        Cost::Seconds(seconds) => Some(seconds),
        Cost::Unknown | Cost::Read => None,
    };
    Record::Kept { key: key.clone(), bytes: item.bytes, seconds, heat: item.heat.get() }
}

/// Gives a file its name, in a folder that others may remove because it is empty.
fn rename(from: &Path, to: &Path, parent: &Path) -> io::Result<()> {
    for attempt in 1.. {
        match make_folders(parent).and_then(|()| fs::rename(from, to)) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempt < FOLDER_ATTEMPTS => {}
            result => return result,
        }
    }
    Ok(())
}

//! Keeps what was made, in memory and on disk, and sees to it that nothing is made twice at a time (promises 4 and 5).
//!
//! A segment is asked for in this order: memory ([`Cache::peek`]), someone else's work on it, disk, and else the asker
//! leads ([`Cache::claim`]). Looking up and "I am making it" are one atomic step. The leader's [`Writer`] shows each
//! chunk to all [`Reader`]s at once; [`Writer::commit`] says that the whole was verified, and only then it is kept.
//!
//! Unasked, nothing runs, except that files are written after a commit returned, by at most two blocking
//! threads that end when there is nothing left to write, and that after [`Cache::open`] a thread finds out what is
//! on disk. Files are evicted on those threads.
//!
//! Cost: a hit in memory is one lock-free look-up and a reference count, no I/O, no copy. A miss takes one short lock;
//! the disk read runs on a blocking thread, once for everyone who asks meanwhile. Opening costs the same whatever there is.
//!
//! A file is synced before it has its name, and its folder after it; the journal of what there is only in order of a
//! shutdown, because a lost one costs a walk through the folder. What goes first when a tier is full is what is worth
//! least to make and keep: see `ranking`.
//!
//! The rule not to break: no lock that an async thread takes is held across an await or I/O, and whatever ends a flight
//! takes it off `slots` first. Every slot has a ticket; whoever finishes looks whether it still holds the slot, and keeps
//! nothing if it is not: that is how [`Cache::purge`] wins against work that is under way.
//!
//! Both tiers may be deleted, corrupted or filled at any time, also by a second process in the same folder: that costs
//! making a segment again, never a wrong byte and never an error.
//!
//! Arrow: `cache` -> `media`.

mod config;
mod disk;
mod file;
mod flight;
mod heat;
mod journal;
mod key;
mod load;
mod memory;
mod ranking;
mod room;
mod scan;
mod slots;
mod survey;
#[cfg(test)]
mod tests;
mod writer;
mod writes;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;

pub use config::Config;
pub use flight::{Flight, FlightError, Reader};
pub use heat::Clock;
pub use key::{Key, Object};
pub use writer::{Mismatch, Writer};

use crate::media::{Generation, RenditionName};
use disk::Disk;
use heat::Heat;
use load::Load;
use memory::Memory;
use ranking::Cost;
use slots::{Slot, Slots, Work};
use writes::{Write, Writes};

/// Disk reads at a time. More would hold more whole segments in memory than any disk delivers at once.
const DISK_READS: usize = 32;

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made, listed or written.
    #[error(
        "the cache folder {} cannot be used: {source}; make it a folder this user can write, or name another data folder",
        folder.display()
    )]
    Folder {
        /// The cache folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Files of a generation could not be deleted.
    #[error("cached files of generation {generation} cannot be deleted: {source}")]
    Purge {
        /// Whose files.
        generation: Generation,
        /// What the system said.
        source: io::Error,
    },
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// It was in memory.
    Memory,
    /// It was read from a file.
    Disk,
}

/// What becomes of one who asks.
#[derive(Debug)]
pub enum Claim {
    /// Here it is.
    Whole(Bytes, Tier),
    /// Someone makes it; the asker already counts as a viewer.
    Making(Reader),
    /// Nobody has it or makes it: the asker does, or hands the writer to one who does.
    Lead(Writer),
}

/// What a tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes with the tier's overhead.
    pub bytes: u64,
    /// Objects.
    pub entries: u64,
}

/// What a purge removed: objects, of which one may be in both tiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// From memory.
    pub memory: u64,
    /// From disk.
    pub disk: u64,
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The memory tier.
    pub memory: Held,
    /// The disk tier.
    pub disk: Held,
    /// Objects that made room for others in memory, ever.
    pub evicted_from_memory: u64,
    /// The same on disk.
    pub evicted_from_disk: u64,
    /// Objects in the making now.
    pub making: u64,
    /// Bytes waiting to be written to disk now.
    pub pending_write_bytes: u64,
    /// Objects not written to disk because it could not keep up, ever.
    pub skipped_writes: u64,
    /// Writes, reads and deletions that failed, ever.
    pub disk_failures: u64,
    /// Files found damaged, ever.
    pub corrupt_files: u64,
    /// True if the last write failed.
    pub disk_failing: bool,
    /// True while it is found out what is on disk: `disk` is less than there is.
    pub is_looking: bool,
}

/// Both tiers and the work in flight. Clones share everything.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    memory: Memory,
    disk: Arc<Disk>,
    clock: Clock,
    slots: Mutex<Slots>,
    reads: Arc<Semaphore>,
    writes: Mutex<Writes>,
    /// Bytes queued or being written.
    pending: watch::Sender<u64>,
    skipped_writes: AtomicU64,
}

/// The next step of a claim.
enum Step {
    Done(Claim),
    Wait(watch::Receiver<Option<Bytes>>),
    Load(Load),
}

impl Cache {
    /// The object, if memory holds it. Never waits and does no I/O: the hot path.
    #[must_use]
    pub fn peek(&self, key: &Key) -> Option<Bytes> {
        self.0.memory.get(key)
    }

    /// The object, if either tier holds it. Nobody makes it for this, and it is not read into memory: for what is looked at
    /// once.
    pub async fn look(&self, key: &Key) -> Option<Bytes> {
        if let Some(bytes) = self.peek(key) {
            return Some(bytes);
        }
        self.read(key).await.map(|(bytes, _)| bytes)
    }

    /// The object, or someone's work on it, or the right to make it. Cancelling this harms nobody. Call it within a
    /// tokio runtime.
    pub async fn claim(&self, key: &Key) -> Claim {
        loop {
            match self.step(key) {
                Step::Done(claim) => return claim,
                // An error means it ended without bytes: look again.
                Step::Wait(mut loaded) => {
                    if let Ok(bytes) = loaded.wait_for(Option::is_some).await
                        && let Some(bytes) = &*bytes
                    {
                        return Claim::Whole(bytes.clone(), Tier::Disk);
                    }
                }
                Step::Load(load) => {
                    if let Some(claim) = load.run().await {
                        return claim;
                    }
                }
            }
        }
    }

    /// The right to make it, unless either tier holds it or work on it is under way. For look-ahead: no I/O, nobody
    /// counts as a viewer. Goes by the index, so a file deleted by hand is noticed only when a viewer asks.
    #[must_use]
    pub fn lead_if_absent(&self, key: &Key) -> Option<Writer> {
        self.lead_if(key, |_| true)
    }

    /// The same, if `condition` is true under the lock.
    fn lead_if(&self, key: &Key, condition: impl FnOnce(&Slots) -> bool) -> Option<Writer> {
        if self.0.disk.may_hold(key) {
            return None;
        }
        let mut slots = lock(&self.0.slots);
        if !condition(&slots) || slots.by_key.contains_key(key) || self.0.memory.holds(key) || self.0.disk.holds(key) {
            return None;
        }
        let flight = Arc::new(Flight::new());
        let ticket = slots.occupy(key, Work::Making(Arc::clone(&flight)));
        Some(Writer::new(self.clone(), key.clone(), ticket, flight))
    }

    /// Somebody's work on it, if it is being made; nobody counts as a viewer.
    #[must_use]
    pub fn in_the_making(&self, key: &Key) -> Option<Arc<Flight>> {
        match lock(&self.0.slots).by_key.get(key) {
            Some(Slot { work: Work::Making(flight), .. }) => Some(Arc::clone(flight)),
            _ => None,
        }
    }

    /// True if either tier holds it; no I/O, and it does not count as use.
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        self.0.memory.holds(key)
            || self.0.disk.holds(key)
            || matches!(lock(&self.0.slots).by_key.get(key), Some(Slot { work: Work::Writing(_), .. }))
    }

    /// How many segments of a rendition either tier holds; no I/O.
    #[must_use]
    pub fn segments(&self, generation: &Generation, rendition: &RenditionName) -> usize {
        self.objects(generation, rendition).iter().filter(|object| matches!(object, Object::Segment(_))).count()
    }

    /// What either tier holds of a rendition; no I/O. Costs as much as there is, not as there could be.
    #[must_use]
    pub fn objects(&self, generation: &Generation, rendition: &RenditionName) -> HashSet<Object> {
        let mut found: HashSet<Object> = self.0.memory.of_rendition(generation, rendition).into_iter().collect();
        found.extend(self.0.disk.of_rendition(generation, rendition));
        found.extend(lock(&self.0.slots).written(generation, rendition));
        found
    }

    /// Whether an object that was made is kept beyond memory, or in memory if there is no other tier. `None` as long as its
    /// file is not written. No I/O.
    #[must_use]
    pub fn is_kept(&self, key: &Key) -> Option<bool> {
        if matches!(lock(&self.0.slots).by_key.get(key), Some(Slot { work: Work::Writing(_), .. })) {
            return None;
        }
        let disk = &self.0.disk;
        Some(if disk.capacity_bytes == 0 { self.0.memory.holds(key) } else { disk.holds(key) })
    }

    /// The object's length, bytes, if either tier holds it; no I/O. By the index, so the file may be gone by now: made
    /// again it has the same length.
    #[must_use]
    pub fn length(&self, key: &Key) -> Option<u64> {
        if let Some(bytes) = self.0.memory.length(key) {
            return Some(bytes);
        }
        if let Some(Slot { work: Work::Writing(bytes), .. }) = lock(&self.0.slots).by_key.get(key) {
            return Some(bytes.len() as u64);
        }
        self.0.disk.length(key)
    }

    /// Removes everything of a generation from both tiers. Work under way goes on for its readers, but is not kept.
    /// Memory is done before the first await, and the files are deleted even if this is cancelled.
    ///
    /// # Errors
    /// [`Error::Purge`]: files are left.
    pub async fn purge(&self, generation: &Generation) -> Result<Purged, Error> {
        lock(&self.0.slots).by_key.retain(|key, _| key.generation != *generation);
        let memory = self.0.memory.purge(generation);
        let (inner, generation) = (Arc::clone(&self.0), generation.clone());
        let purge = move || inner.disk.purge(&generation);
        let disk = spawn_blocking(purge).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(Purged { memory, disk })
    }

    /// Resolves when every committed object has its file, or will not get one, and the journal says so: the last step of
    /// a shutdown.
    pub async fn flush(&self) {
        // The sender lives as long as `self`: there is no error to handle.
        let _ = self.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await;
        let inner = Arc::clone(&self.0);
        // A panic in there costs the next start a look at the folder.
        let _ = spawn_blocking(move || inner.disk.close()).await;
    }

    /// Generations that have files. Waits until that is known.
    pub async fn generations(&self) -> HashSet<Generation> {
        let inner = Arc::clone(&self.0);
        let list = spawn_blocking(move || inner.disk.generations()).await;
        list.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// What is held now and what went wrong so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let making = |slot: &&Slot| matches!(slot.work, Work::Making(_));
        Stats {
            memory: self.0.memory.held(),
            disk: self.0.disk.held(),
            evicted_from_memory: self.0.memory.evicted(),
            evicted_from_disk: self.0.disk.evicted(),
            making: lock(&self.0.slots).by_key.values().filter(making).count() as u64,
            pending_write_bytes: *self.0.pending.borrow(),
            skipped_writes: self.0.skipped_writes.load(Ordering::Relaxed) + self.0.disk.skipped(),
            disk_failures: self.0.disk.failures(),
            corrupt_files: self.0.disk.corrupt(),
            disk_failing: self.0.disk.is_failing(),
            is_looking: !self.0.disk.survey.is_done(),
        }
    }

    /// Opens the folder, making it if need be, and sweeps leftovers. What else is there is found out behind its users, and
    /// what exceeds the bound is deleted. Blocks for a moment.
    ///
    /// # Errors
    /// [`Error::Folder`]. A full disk is not an error.
    pub fn open(config: &Config, folder: &Path) -> Result<Self, Error> {
        Self::open_at(config, folder, Clock::System)
    }

    /// The same, with another clock.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn open_at(config: &Config, folder: &Path, clock: Clock) -> Result<Self, Error> {
        Ok(Self(Arc::new(Inner {
            memory: Memory::new(config.memory_bytes, config.disk_bytes == 0, clock.clone()),
            disk: Disk::open(folder, config.disk_bytes, clock.clone())?,
            clock,
            slots: Mutex::default(),
            reads: Arc::new(Semaphore::new(DISK_READS)),
            writes: Mutex::default(),
            pending: watch::Sender::new(0),
            skipped_writes: AtomicU64::new(0),
        })))
    }

    /// Reads the file. A panic while reading counts as a miss.
    async fn read(&self, key: &Key) -> Option<(Bytes, Arc<Heat>)> {
        // Nobody closes the semaphore: there is no error to handle.
        let permit = Arc::clone(&self.0.reads).acquire_owned().await;
        let (inner, key) = (Arc::clone(&self.0), key.clone());
        let read = spawn_blocking(move || {
            // Held until it is read, also when nobody waits for it any more.
            let _permit = permit;
            inner.disk.read(&key)
        });
        read.await.ok().flatten()
    }

    fn step(&self, key: &Key) -> Step {
        let mut slots = lock(&self.0.slots);
        // Under the lock: an object is put into memory before its slot goes, so one of the two is seen.
        if let Some(bytes) = self.0.memory.get(key) {
            return Step::Done(Claim::Whole(bytes, Tier::Memory));
        }
        match slots.by_key.get(key).map(|slot| &slot.work) {
            Some(Work::Writing(bytes)) => Step::Done(Claim::Whole(bytes.clone(), Tier::Memory)),
            Some(Work::Making(flight)) => Step::Done(Claim::Making(flight.reader())),
            Some(Work::Loading(loaded)) => Step::Wait(loaded.clone()),
            None => {
                let sender = watch::Sender::new(None);
                let ticket = slots.occupy(key, Work::Loading(sender.subscribe()));
                Step::Load(Load::new(self.clone(), key.clone(), ticket, sender))
            }
        }
    }

    /// Puts a verified object into memory and queues its file, in one step with giving up its slot.
    fn keep(&self, key: &Key, ticket: u64, whole: &Bytes, cost: Cost) {
        let mut slots = lock(&self.0.slots);
        if !slots.take(key, ticket) {
            return;
        }
        let heat = Arc::new(Heat::new(self.0.clock.now()));
        self.0.memory.insert(key, whole.clone(), cost, Arc::clone(&heat));
        if self.0.disk.has_room_for(whole.len()) && self.0.admit(whole.len() as u64) {
            let ticket = slots.occupy(key, Work::Writing(whole.clone()));
            self.queue(Write { key: key.clone(), ticket, bytes: whole.clone(), cost, heat });
        }
    }

    /// Gives up a slot, if it is still held with this ticket, when `condition` is true under the lock. Returns the
    /// condition.
    fn release_if(&self, key: &Key, ticket: u64, condition: impl FnOnce() -> bool) -> bool {
        let mut slots = lock(&self.0.slots);
        let met = condition();
        if met {
            slots.take(key, ticket);
        }
        met
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

/// A panic elsewhere must not stop the cache; what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

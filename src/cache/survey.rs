//! How the disk tier learns what it has, on a thread of its own, while it is used already: from the journal, and by a walk
//! through the folder if the journal was not closed.
//!
//! A start costs the same whatever there is. Until the index is known, a file is found by asking the folder.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::heat::{Heat, Moment, plausible};
use super::journal::{Journal, Left, Record};
use super::key::generation_folder;
use super::ranking::{Cost, Item, Ranking};
use super::scan::{self, Child, objects};
use super::{Key, lock};
use crate::media::{Generation, RenditionName};

/// Longest time that writing waits, from the start on, to learn how much there is. Afterwards what is written takes
/// the place of something, so that the bound holds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing.
    Begun,
    /// What the journal says, which may be nothing.
    Read,
    /// Everything, but for what a power failure may have taken out of the journal.
    Known,
    /// Everything.
    Done,
}

/// How far it is.
pub(super) struct Survey {
    phase: Mutex<Phase>,
    moved: Condvar,
    begun: Instant,
}

impl Default for Survey {
    fn default() -> Self {
        Self { phase: Mutex::new(Phase::Begun), moved: Condvar::new(), begun: Instant::now() }
    }
}

impl Survey {
    /// True once the index says what there is.
    pub(super) fn is_known(&self) -> bool {
        *lock(&self.phase) >= Phase::Known
    }

    /// True once nothing is looked at any more.
    pub(super) fn is_done(&self) -> bool {
        *lock(&self.phase) == Phase::Done
    }

    /// Blocks until the journal was read: a second, of a million entries.
    pub(super) fn wait_until_read(&self) {
        self.wait(Phase::Read, None);
    }

    /// Blocks until the index says what there is.
    pub(super) fn wait_until_known(&self) {
        self.wait(Phase::Known, None);
    }

    /// Blocks until nothing is looked at any more.
    #[cfg(test)]
    pub(super) fn wait_until_done(&self) {
        self.wait(Phase::Done, None);
    }

    /// Blocks until the index says what there is, if that is soon. Returns whether it does.
    pub(super) fn wait_a_while(&self) -> bool {
        self.wait(Phase::Known, Some(self.begun + PATIENCE))
    }

    fn wait(&self, phase: Phase, until: Option<Instant>) -> bool {
        let mut now = lock(&self.phase);
        while *now < phase {
            now = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.moved.wait(now).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(rest) => self.moved.wait_timeout(now, rest).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        true
    }

    fn reached(&self, phase: Phase) {
        let mut now = lock(&self.phase);
        *now = phase.max(*now);
        drop(now);
        self.moved.notify_all();
    }
}

/// Starts the thread. It ends when everything is known, or soon after the tier is dropped.
pub(super) fn start(disk: &Arc<Disk>) -> io::Result<()> {
    let disk = Arc::downgrade(disk);
    thread::Builder::new().name("cache-survey".to_owned()).spawn(move || survey(&disk)).map(drop)
}

fn survey(weak: &Weak<Disk>) {
    let Some(disk) = weak.upgrade() else { return };
    let left = disk.learn();
    drop(disk);
    if left != Left::Closed {
        walk(weak);
    }
    if let Some(disk) = weak.upgrade() {
        disk.survey.reached(Phase::Done);
    }
}

/// Compares index and folder, one rendition at a time.
fn walk(weak: &Weak<Disk>) {
    let Some(folder) = weak.upgrade().map(|disk| disk.folder.clone()) else { return };
    let mut visited = HashSet::new();
    let visit = &mut |generation: &Generation, rendition: &RenditionName, child: &Child| {
        let Some(disk) = weak.upgrade() else { return ControlFlow::Break(()) };
        disk.compare(generation, rendition, child);
        visited.insert((generation.clone(), rendition.clone()));
        ControlFlow::Continue(())
    };
    let walked = scan::walk(&folder, visit);
    let Some(disk) = weak.upgrade() else { return };
    match walked {
        Ok(ControlFlow::Continue(())) => {
            disk.forget_absent(&visited);
            disk.believe_journal();
        }
        Ok(ControlFlow::Break(())) => return,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "the cache folder cannot be listed");
            lock(&disk.names).give_up();
            return;
        }
    }
    let (held, milliseconds) = (disk.held(), disk.survey.begun.elapsed().as_millis() as u64);
    tracing::info!(files = held.entries, bytes = held.bytes, milliseconds, "looked through the cache's folder");
}

impl Disk {
    /// Reads the journal; how it was left.
    pub(super) fn learn(&self) -> Left {
        let left = self.read_journal();
        let (entries, milliseconds) = (self.held().entries, self.survey.begun.elapsed().as_millis() as u64);
        tracing::debug!(entries, milliseconds, ?left, "read the cache's journal");
        self.survey.reached(match left {
            Left::Closed => Phase::Done,
            Left::Open => Phase::Known,
            Left::Lost => Phase::Read,
        });
        left
    }

    fn read_journal(&self) -> Left {
        let mut journal = lock(&self.names);
        let mut index = Ranking::new(self.capacity_bytes);
        let now = self.clock.now();
        let left = journal.load(|record| apply(&mut index, record, now));
        *lock(&self.index) = index;
        self.trim(&mut journal);
        left
    }

    /// Takes in the files of a rendition that the index does not know, and drops those that are not there.
    fn compare(&self, generation: &Generation, rendition: &RenditionName, folder: &Child) {
        let key = |object| Key { generation: generation.clone(), rendition: rendition.clone(), object };
        let mut journal = lock(&self.names);
        let mut absent: HashSet<_> = lock(&self.index).of_rendition(generation, rendition).into_iter().collect();
        for found in objects(folder) {
            absent.remove(&found.object);
            let key = key(found.object);
            if lock(&self.index).get(&key).is_none_or(|item| item.bytes != found.file_bytes) {
                let heat = Arc::new(Heat::new(plausible(found.used, self.clock.now())));
                self.take_in(&key, Item { bytes: found.file_bytes, cost: Cost::Unknown, heat }, &mut journal);
            }
        }
        absent.into_iter().for_each(|object| self.drop_absent(&key(object), &mut journal));
        self.trim(&mut journal);
    }

    /// Drops what the index says of renditions that have no folder.
    fn forget_absent(&self, visited: &HashSet<(Generation, RenditionName)>) {
        let mut journal = lock(&self.names);
        let all = lock(&self.index).renditions();
        for (generation, rendition) in all.into_iter().filter(|name| !visited.contains(name)) {
            // It may have been made since.
            if self.folder.join(generation_folder(&generation)).join(rendition.as_str()).exists() {
                continue;
            }
            let objects = lock(&self.index).of_rendition(&generation, &rendition);
            for object in objects {
                let key = Key { generation: generation.clone(), rendition: rendition.clone(), object };
                self.drop_absent(&key, &mut journal);
            }
        }
    }

    /// Has a journal that was lost say everything, now that the folder was gone through.
    fn believe_journal(&self) {
        let mut journal = lock(&self.names);
        if journal.is_partial() {
            journal.replace(self.records());
        }
    }

    fn drop_absent(&self, key: &Key, journal: &mut Journal) {
        lock(&self.index).remove(key);
        let _ = journal.note(&Record::Gone(key.clone()));
    }
}

fn apply(index: &mut Ranking, record: Record, now: Moment) {
    match record {
        Record::Kept { key, bytes, seconds, heat } => {
            let cost = seconds.map_or(Cost::Unknown, Cost::Seconds);
            index.insert(&key, Item { bytes, cost, heat: Arc::new(Heat::new(plausible(heat, now))) });
        }
        Record::Gone(key) => drop(index.remove(&key)),
        Record::Emptied(generation) => drop(index.purge(&generation)),
        Record::Closed | Record::Partial => {}
    }
}

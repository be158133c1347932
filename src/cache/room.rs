//! A disk that is full before the cache has reached its bound, because the bound is too large for it or others fill it:
//! what is worth least makes room for what is watched now, and for others who need it more.
//!
//! So many bytes as the server says stay free for them ([`Cache::leave_free`]): a disk with less than that is as full as one
//! with nothing.

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::file::TRAILER_BYTES;
use super::heat::DAY;
use super::{Cache, lock};

/// Times what is needed that goes at once: the next segment comes soon, who fills the disk may go on, and what is to be left
/// free grows.
const FACTOR: u64 = 4;
/// For so long after something had to go there is no room to spare: quotas and inodes run out on disks that have bytes left.
const REST: Duration = Duration::from_secs(600);
/// What goes for others at a time: enough that they need not ask for each write, and not all that they will ever need, which
/// may never come.
const AT_ONCE_BYTES: u64 = 16 << 20;

/// How full the disk is.
#[derive(Default)]
pub(super) struct Space {
    /// Bytes that are left to others.
    left_free: AtomicU64,
    /// When something last had to go, or should have gone, because the disk was full.
    short_at: Mutex<Option<Instant>>,
}

/// True if deleting something may help.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl Cache {
    /// From now on so many bytes of the disk stay free, as far as that is up to the cache: a disk with less is full.
    pub fn leave_free(&self, bytes: u64) {
        self.0.disk.space.left_free.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that files may take without anything having to go. None while the disk cannot be written, was full a moment ago,
    /// or it is not known what there is. Blocks for a system call.
    #[must_use]
    pub fn spare_bytes(&self) -> u64 {
        let disk = &self.0.disk;
        if disk.is_failing() || disk.space.was_short() || !disk.survey.is_known() {
            return 0;
        }
        let free = disk.free_bytes().unwrap_or(u64::MAX).saturating_sub(disk.space.left_free.load(Ordering::Relaxed));
        free.min(disk.capacity_bytes.saturating_sub(disk.held().bytes))
    }

    /// True if so many bytes more find room without anything having to go that was used within a day. Also while it is not
    /// known what there is, and where nothing can be kept anyway. Blocks for a system call.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        let disk = &self.0.disk;
        let heat = if disk.capacity_bytes == 0 {
            self.0.memory.heat_of_room(bytes)
        } else if !disk.survey.is_known() || disk.is_failing() || self.spare_bytes() >= bytes {
            None
        } else {
            lock(&disk.index).least_heat()
        };
        heat.is_none_or(|heat| heat < self.0.clock.now() - DAY)
    }

    /// Makes room for others on the same disk, who lack so many bytes. False if that is more than there is to let go of; then
    /// nothing goes. Otherwise some goes now, and more when they ask again. Blocks.
    #[must_use]
    pub fn give_way(&self, missing_bytes: u64) -> bool {
        let disk = &self.0.disk;
        if disk.held().bytes < missing_bytes {
            return false;
        }
        let (files, bytes) = disk.let_go(AT_ONCE_BYTES);
        tracing::debug!(files, bytes, missing_bytes, "cached files made room for others");
        true
    }
}

impl Disk {
    /// An error, as of a full disk, if a file with so many bytes would take what is left to others.
    pub(super) fn must_leave_free(&self, bytes: usize) -> io::Result<()> {
        let left_free = self.space.left_free.load(Ordering::Relaxed);
        let least = left_free.saturating_add((bytes + TRAILER_BYTES) as u64);
        if left_free > 0 && self.free_bytes().is_some_and(|free| free < least) {
            let why = format!("the disk is nearly full: {left_free} bytes of it are kept free");
            return Err(io::Error::new(ErrorKind::StorageFull, why));
        }
        Ok(())
    }

    /// Deletes files of more bytes than are needed. False if nothing was deleted, so that trying again is of no use.
    pub(super) fn make_room(&self, needed_bytes: usize) -> bool {
        let is_news = !self.space.was_short();
        *lock(&self.space.short_at) = Some(Instant::now());
        let (files, bytes) = self.let_go(needed_bytes as u64 * FACTOR);
        if is_news && files > 0 {
            let folder = self.folder.display();
            tracing::warn!(%folder, files, bytes, "the cache's disk is full: what is worth least makes room");
        }
        files > 0
    }

    /// Deletes what is worth least, until it was so many bytes. How many files and bytes that were.
    fn let_go(&self, goal_bytes: u64) -> (u32, u64) {
        let mut journal = lock(&self.names);
        let (mut files, mut bytes) = (0, 0);
        while bytes < goal_bytes {
            let Some((key, item)) = lock(&self.index).evict() else { break };
            self.delete(&key, &mut journal);
            bytes += u64::from(item.bytes);
            files += 1;
        }
        (files, bytes)
    }

    /// Bytes of the disk that are free, if the system tells.
    fn free_bytes(&self) -> Option<u64> {
        rustix::fs::statvfs(&self.folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl Space {
    fn was_short(&self) -> bool {
        lock(&self.short_at).is_some_and(|at| at.elapsed() < REST)
    }
}

//! A disk that is full before the cache has reached its bound, because the bound is too large for it or others fill it:
//! the files used least recently make room for what is watched now.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::SystemTime;

use super::disk::Disk;
use super::lock;

/// Part of what is held that goes at a time: finding the oldest asks the file system about every file, so it should not
/// happen for each segment.
const PART: u64 = 16;

/// True if deleting something may help.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl Disk {
    /// Deletes the files used longest ago, at least as many bytes as are needed and a part of all. False if nothing was
    /// deleted, so that trying again is of no use.
    pub(super) fn make_room(&self, needed_bytes: usize) -> bool {
        let _names = lock(&self.names);
        let mut oldest: Vec<_> = self
            .index
            .iter()
            .map(|(key, file_bytes)| {
                let used = fs::metadata(self.folder.join(key.path())).and_then(|metadata| metadata.modified());
                (used.unwrap_or(SystemTime::UNIX_EPOCH), key, u64::from(file_bytes))
            })
            .collect();
        oldest.sort_unstable_by_key(|(used, ..)| *used);
        let held: u64 = oldest.iter().map(|(.., file_bytes)| file_bytes).sum();
        let enough = (held / PART).max(needed_bytes as u64);
        let (mut freed, mut files) = (0, 0_u32);
        for (_, key, file_bytes) in oldest {
            if freed >= enough {
                break;
            }
            self.index.invalidate(&*key);
            self.delete(&key);
            freed += file_bytes;
            files += 1;
        }
        if files > 0 {
            tracing::debug!(files, bytes = freed, "the disk is full: segments used longest ago made room");
        }
        files > 0
    }
}

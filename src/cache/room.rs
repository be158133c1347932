//! A disk that is full before the cache has reached its bound, because the bound is too large for it or others fill it:
//! what is worth least makes room for what is watched now.

use std::io::{self, ErrorKind};

use super::disk::Disk;
use super::lock;

/// Times what is needed that goes at once: the next segment comes soon, and who fills the disk may go on.
const FACTOR: u64 = 4;

/// True if deleting something may help.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl Disk {
    /// Deletes files of at least as many bytes as are needed. False if nothing was deleted, so that trying again is of
    /// no use.
    pub(super) fn make_room(&self, needed_bytes: usize) -> bool {
        let mut journal = lock(&self.names);
        let (mut freed, mut files) = (0, 0_u32);
        while freed < needed_bytes as u64 * FACTOR {
            let Some((key, item)) = lock(&self.index).evict() else { break };
            self.delete(&key, &mut journal);
            freed += u64::from(item.bytes);
            files += 1;
        }
        if files > 0 {
            tracing::debug!(files, bytes = freed, "the disk is full: what is worth least made room");
        }
        files > 0
    }
}

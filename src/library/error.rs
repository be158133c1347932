//! What can go wrong with files, in words an operator can act on.

use std::io;
use std::path::{Path, PathBuf};

/// Why the library could not do it. Staging leaves nothing behind when it fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder of the data folder cannot be made or written to.
    #[error("{} cannot be used ({why}): make it a folder this user may write to, or choose another with --data",
        .folder.display())]
    Unusable {
        /// Which one.
        folder: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The file to take in cannot be opened or read.
    #[error("{} cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Not a regular file.
    #[error("{} is {what}, not a file", .path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
        /// What it is: `a folder`.
        what: &'static str,
    },
    /// The disk has no room.
    #[error("no space left for {} (free: {} MiB, needed: {} MiB): free some, or choose another folder with --data",
        .folder.display(), .free_bytes >> 20, .needed_bytes.div_ceil(1 << 20))]
    Full {
        /// Where it should have gone.
        folder: PathBuf,
        /// What is free now.
        free_bytes: u64,
        /// What was to be written.
        needed_bytes: u64,
    },
    /// Another process is between two steps, or removing, and does not get on.
    #[error("{} has been locked by another matinee process for {seconds} s: stop that process, or try again",
        .path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What is kept of an upload is not whole: the disk damaged it, or its removal was cut.
    #[error("{} is damaged: {why}", .path.display())]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        why: io::Error,
    },
    /// Any other failure of the file system.
    #[error("cannot {act} {}: {why}", .path.display())]
    Io {
        /// A verb: `rename`.
        act: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

impl Error {
    pub(super) fn at(act: &'static str, path: &Path, why: io::Error) -> Self {
        Self::Io { act, path: path.to_owned(), why }
    }

    /// True if the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

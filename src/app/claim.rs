//! One server to a data folder. Two would each sweep, evict and count as if they were alone.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use super::Error;

/// While it lives no other server starts over the folder. The kernel lets go of it however the process ends, and workers
/// do not inherit it. Commands such as `ingest` do not ask for it: they may work beside a server.
#[derive(Debug)]
pub(super) struct Claim {
    _folder: File,
}

/// Takes the folder, made if need be.
pub(super) fn claim(data_dir: &Path) -> Result<Claim, Error> {
    let unusable = |why| Error::Folder { folder: data_dir.to_owned(), why };
    fs::create_dir_all(data_dir).map_err(unusable)?;
    // The folder itself is locked: a lock file could be deleted, and would have to be explained.
    let folder = File::open(data_dir).map_err(unusable)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Claimed { folder: data_dir.to_owned() }),
        // Some network file systems have no locks; such a folder is as safe as its operator is careful.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(folder = %data_dir.display(), %error, "cannot tell whether another server uses the data folder");
        }
    }
    Ok(Claim { _folder: folder })
}

//! What lies in the disk tier's folder: prepares it when it is opened, and walks through it when no journal tells.

use std::fs::{self, DirEntry, File, FileType, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;

use super::Object;
use super::disk::TEMP_FOLDER;
use super::file::{MAX_FILE_BYTES, TRAILER_BYTES};
use super::heat::{Moment, moment};
use super::room::is_full;
use crate::media::{Generation, RenditionName};

/// Tells backup programs to pass by (bford.info/cachedir).
const TAG_FILE: &str = "CACHEDIR.TAG";
/// The first line the convention asks for.
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Segments Matinee can make again. Safe to delete at any time.\n";

/// A file that is named like an object. Its content is checked when it is read.
pub(super) struct Found {
    pub object: Object,
    pub file_bytes: u32,
    /// When it was last read or written.
    pub used: Moment,
}

/// Makes the folder usable, and deletes what a process that died has left.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let temporary = folder.join(TEMP_FOLDER);
    // On a full disk there may be neither, and what is kept already is served all the same.
    for made in [fs::create_dir_all(&temporary), fs::write(folder.join(TAG_FILE), TAG)] {
        match made {
            Err(error) if !is_full(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    if temporary.exists() {
        sweep(&temporary)?;
    }
    fs::read_dir(folder).map(drop)
}

/// Visits the folder of each rendition, until told to stop.
///
/// Below the folder's own level, what is not named like an object is deleted; at its own level strangers are left
/// alone, in case the folder was configured by mistake.
pub(super) fn walk(
    folder: &Path,
    visit: &mut impl FnMut(&Generation, &RenditionName, &Child) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    for shard in children(folder)? {
        if shard.name.len() == 2 && shard.kind.is_dir() {
            if generations(&shard, visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            tidy(&shard);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Deletes unfinished files. Whoever is writing one holds a lock on it; a process that died holds none.
fn sweep(folder: &Path) -> io::Result<()> {
    for child in children(folder)? {
        let path = child.entry.path();
        let busy = child.kind.is_file()
            && File::open(&path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        if !busy {
            remove(&child);
        }
    }
    Ok(())
}

fn generations(
    shard: &Child,
    visit: &mut impl FnMut(&Generation, &RenditionName, &Child) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for child in shard.children() {
        match child.name.parse::<Generation>() {
            Ok(generation) if child.kind.is_dir() && child.name.starts_with(&shard.name) => {
                renditions(&child, &generation, visit)?;
                tidy(&child);
            }
            Ok(_) | Err(_) => remove(&child),
        }
    }
    ControlFlow::Continue(())
}

fn renditions(
    folder: &Child,
    generation: &Generation,
    visit: &mut impl FnMut(&Generation, &RenditionName, &Child) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for child in folder.children() {
        match child.name.parse::<RenditionName>() {
            Ok(rendition) if child.kind.is_dir() => {
                visit(generation, &rendition, &child)?;
                tidy(&child);
            }
            Ok(_) | Err(_) => remove(&child),
        }
    }
    ControlFlow::Continue(())
}

/// The objects in the folder of a rendition.
pub(super) fn objects(folder: &Child) -> Vec<Found> {
    let mut found = Vec::new();
    for child in folder.children() {
        let Some(object) = Object::from_file_name(&child.name).filter(|_| child.kind.is_file()) else {
            remove(&child);
            continue;
        };
        // Gone meanwhile: another process evicts.
        let Ok(metadata) = child.entry.metadata() else { continue };
        if metadata.len() <= TRAILER_BYTES as u64 || metadata.len() > MAX_FILE_BYTES {
            remove(&child);
            continue;
        }
        let used = metadata.modified().map(moment).unwrap_or_default();
        found.push(Found { object, file_bytes: u32::try_from(metadata.len()).unwrap_or(u32::MAX), used });
    }
    found
}

/// An entry of a folder.
pub(super) struct Child {
    entry: DirEntry,
    /// Empty if it is not UTF-8, which nothing of ours is called.
    name: String,
    /// Of the entry itself: links are not followed.
    kind: FileType,
}

impl Child {
    /// An unreadable folder is logged and passed over: what is in it is made again.
    fn children(&self) -> Vec<Child> {
        children(&self.entry.path()).unwrap_or_else(|error| {
            tracing::warn!(folder = %self.entry.path().display(), %error, "a cache folder cannot be listed");
            Vec::new()
        })
    }
}

fn children(folder: &Path) -> io::Result<Vec<Child>> {
    let child = |entry: io::Result<DirEntry>| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let kind = entry.file_type().ok()?;
        Some(Child { entry, name, kind })
    };
    Ok(fs::read_dir(folder)?.filter_map(child).collect())
}

fn remove(child: &Child) {
    remove_path(&child.entry.path(), child.kind.is_dir());
}

fn remove_path(path: &Path, is_folder: bool) {
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a leftover cannot be deleted");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Removes the folder if nothing is in it.
fn tidy(folder: &Child) {
    // Not empty, as a rule.
    let _ = fs::remove_dir(folder.entry.path());
}

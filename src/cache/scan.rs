//! What the disk tier does once, when it is opened: sweep leftovers, list what is there, delete what cannot be ours.

use std::cmp::Reverse;
use std::fs::{self, DirEntry, File, FileType, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

use super::disk::{MAX_FILE_BYTES, TEMP_FOLDER, TRAILER_BYTES};
use super::room::is_full;
use super::{Key, Object};
use crate::media::{Generation, RenditionName};

/// Tells backup programs to pass by (bford.info/cachedir).
const TAG_FILE: &str = "CACHEDIR.TAG";
/// The first line the convention asks for.
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Segments Matinee can make again. Safe to delete at any time.\n";

struct Found {
    used: SystemTime,
    key: Key,
    file_bytes: u32,
}

/// Lists the files that are kept, least recently used first, with their lengths. The sum is within `capacity_bytes`:
/// older files are deleted. The content is checked when it is read, not here.
///
/// Below the folder's own level, what is not named like an object is deleted; at its own level strangers are left
/// alone, in case the folder was configured by mistake.
pub(super) fn scan(folder: &Path, capacity_bytes: u64) -> io::Result<Vec<(Key, u32)>> {
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
    let mut found = Vec::new();
    for shard in children(folder)? {
        if shard.name.len() == 2 && shard.kind.is_dir() {
            generations(&shard, &mut found);
            tidy(&shard);
        }
    }
    found.sort_unstable_by_key(|found: &Found| Reverse(found.used));
    let mut total_bytes = 0;
    found.retain(|found| {
        let kept = total_bytes + u64::from(found.file_bytes) <= capacity_bytes;
        if kept {
            total_bytes += u64::from(found.file_bytes);
        } else {
            remove_path(&folder.join(found.key.path()), false);
        }
        kept
    });
    Ok(found.into_iter().rev().map(|found| (found.key, found.file_bytes)).collect())
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

fn generations(shard: &Child, found: &mut Vec<Found>) {
    for child in shard.children() {
        match child.name.parse::<Generation>() {
            Ok(generation) if child.kind.is_dir() && child.name.starts_with(&shard.name) => {
                renditions(&child, &generation, found);
                tidy(&child);
            }
            Ok(_) | Err(_) => remove(&child),
        }
    }
}

fn renditions(folder: &Child, generation: &Generation, found: &mut Vec<Found>) {
    for child in folder.children() {
        match child.name.parse::<RenditionName>() {
            Ok(rendition) if child.kind.is_dir() => {
                objects(&child, generation, &rendition, found);
                tidy(&child);
            }
            Ok(_) | Err(_) => remove(&child),
        }
    }
}

fn objects(folder: &Child, generation: &Generation, rendition: &RenditionName, found: &mut Vec<Found>) {
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
        let key = Key { generation: generation.clone(), rendition: rendition.clone(), object };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        found.push(Found { used, key, file_bytes: u32::try_from(metadata.len()).unwrap_or(u32::MAX) });
    }
}

/// An entry of a folder.
struct Child {
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

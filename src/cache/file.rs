//! A file of the disk tier: what is in it, and the folders above it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;

use super::Key;

/// What follows the object's bytes: an ISO BMFF `free` box (ISO/IEC 14496-12 §8.1.2), so that a file is still one that
/// media tools read. Big endian: box size, `free`, [`TRAILER_MAGIC`], CRC-32 of path and bytes, length of the bytes (64
/// bits).
pub(super) const TRAILER_BYTES: usize = 24;
/// Longest file that is read or kept: a file grown by accident must not make anyone allocate it.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

/// Changes when the format does: older files are misses then.
const TRAILER_MAGIC: [u8; 4] = *b"mtn1";

/// The bytes and the length of the file, or `None` if it is not what was written.
pub(super) fn read_file(path: &Path, key: &Key) -> io::Result<Option<(Bytes, u32)>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Ok(None);
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    (&file).take(MAX_FILE_BYTES).read_to_end(&mut content)?;
    let Some(len) = content.len().checked_sub(TRAILER_BYTES) else {
        return Ok(None);
    };
    if content[len..] != trailer(key, &content[..len]) {
        return Ok(None);
    }
    // Recency that survives a restart; nothing depends on it.
    let _ = file.set_modified(SystemTime::now());
    let file_bytes = u32::try_from(content.len()).unwrap_or(u32::MAX);
    Ok(Some((Bytes::from(content).slice(..len), file_bytes)))
}

/// The path is part of the sum: a file under another's name is damaged.
pub(super) fn trailer(key: &Key, bytes: &[u8]) -> [u8; TRAILER_BYTES] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key.to_string().as_bytes());
    sum.update(bytes);
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..4].copy_from_slice(&(TRAILER_BYTES as u32).to_be_bytes());
    trailer[4..8].copy_from_slice(b"free");
    trailer[8..12].copy_from_slice(&TRAILER_MAGIC);
    trailer[12..16].copy_from_slice(&sum.finalize().to_be_bytes());
    trailer[16..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
    trailer
}

/// Makes a folder and those above it, each durable before the next.
pub(super) fn make_folders(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = folder.parent().ok_or(error)?;
            make_folders(parent)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                Ok(()) | Err(_) => sync_folder(parent),
            }
        }
        Err(error) => Err(error),
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
    }
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Purged or evicted meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes up to `levels` folders above `path` as long as they are empty.
pub(super) fn remove_empty_folders(path: &Path, levels: usize) {
    for folder in path.ancestors().skip(1).take(levels) {
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

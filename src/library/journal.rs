//! A small record that is replaced in place, and of which a whole version survives whatever happens.
//!
//! Two slots take turns, each with a number and a checksum; the valid one with the higher number counts. Replacing writes
//! one slot and syncs it: no second file, no rename, and no new block, so that it also works on a disk that is full.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Apart by a block of common disks, so that a torn write of one slot leaves the other alone.
const SLOT_BYTES: usize = 4096;
/// Checksum, number, length of the record.
const HEAD_BYTES: usize = 4 + 8 + 4;

/// The file of a record.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    number: u64,
}

impl Journal {
    /// A file with a first record, on disk when it returns. Its folder is the caller's to sync.
    pub(super) fn create(path: &Path, record: &[u8]) -> io::Result<Self> {
        let file = File::create_new(path)?;
        // Both slots have their blocks from now on.
        file.write_all_at(&[0; 2 * SLOT_BYTES], 0)?;
        let mut journal = Self { path: path.to_owned(), number: 0 };
        journal.replace(record)?;
        file.sync_all()?;
        Ok(journal)
    }

    /// The newest whole record.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let file = File::open(path)?;
        let mut slots = [0; 2 * SLOT_BYTES];
        file.read_exact_at(&mut slots, 0)?;
        let newest = slots.chunks(SLOT_BYTES).filter_map(read).max_by_key(|(number, _)| *number);
        let neither = || io::Error::new(io::ErrorKind::InvalidData, "neither copy of the record is whole");
        let (number, record) = newest.ok_or_else(neither)?;
        Ok((Self { path: path.to_owned(), number }, record.to_vec()))
    }

    /// Another record in its place, on disk when it returns. If it fails, the one before still counts.
    pub(super) fn replace(&mut self, record: &[u8]) -> io::Result<()> {
        let number = self.number + 1;
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        let mut slot = [&[0; 4], number.to_le_bytes().as_slice(), &length.to_le_bytes(), record].concat();
        if slot.len() > SLOT_BYTES {
            return Err(io::Error::other(format!("a record of {length} bytes is too long")));
        }
        let sum = crc32fast::hash(&slot[4..]);
        slot[..4].copy_from_slice(&sum.to_le_bytes());
        let at = (number % 2) * SLOT_BYTES as u64;
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.write_all_at(&slot, at)?;
        file.sync_data()?;
        self.number = number;
        Ok(())
    }
}

/// Number and record of a slot that is whole.
fn read(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (sum, rest) = slot.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let record = rest.get(..length)?;
    let whole = crc32fast::hash(&slot[4..HEAD_BYTES + length]) == u32::from_le_bytes(*sum);
    let number = u64::from_le_bytes(*number);
    (whole && number > 0).then_some((number, record))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_record_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let mut journal = Journal::create(&path, b"one").unwrap();
        for record in [&b"two"[..], b"", b"four, which is longer"] {
            journal.replace(record).unwrap();
            let (again, read) = Journal::open(&path).unwrap();
            assert_eq!((again.number, read.as_slice()), (journal.number, record));
            journal = again;
        }
        assert!(journal.replace(&[0; SLOT_BYTES]).is_err());
        assert_eq!(Journal::open(&path).unwrap().1, b"four, which is longer");
    }

    proptest! {
        #[test]
        fn a_torn_write_leaves_the_record_before(cut in 0..40_usize, noise in any::<u8>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("record");
            let mut journal = Journal::create(&path, b"the record before it").unwrap();
            let before = std::fs::read(&path).unwrap();
            journal.replace(b"the record that is written").unwrap();
            let after = std::fs::read(&path).unwrap();
            let at = after.iter().zip(&before).position(|(a, b)| a != b).unwrap() / SLOT_BYTES * SLOT_BYTES;
            let mut torn = before;
            torn[at..at + cut].copy_from_slice(&after[at..at + cut]);
            torn[at + cut] ^= noise;
            std::fs::write(&path, &torn).unwrap();
            let read = Journal::open(&path).unwrap().1;
            let whole = torn[at..at + 42] == after[at..at + 42];
            prop_assert_eq!(read == b"the record that is written", whole);
            prop_assert!(whole || read == b"the record before it");
        }
    }
}

//! A file that is written from front to back, and past the page cache where it is long: half of an upload's time was the
//! copy into the cache, and gigabytes that nobody reads soon would displace the segments that are read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::{Buf as _, Bytes, BytesMut};
use rustix::fs::{OFlags, fcntl_setfl};

/// Bytes gathered before a thread writes them. An upload weighs a few times this in memory, however long it is.
const BLOCK_BYTES: usize = 256 << 10;
/// What lies before it goes through the page cache: a film of an hour is there when it is inspected.
pub(super) const DIRECT_FROM_BYTES: u64 = 512 << 20;
/// Memory, offset and length of a write past the cache are multiples of this (`O_DIRECT` in open(2)).
const ALIGNED_BYTES: usize = 4096;

/// Bytes of a source, gathered so that they can be written past the page cache: the memory is aligned, and a full block ends
/// where a block of the file does.
#[derive(Debug)]
pub struct Block {
    bytes: BytesMut,
    room_bytes: usize,
}

impl Block {
    /// An empty one whose first byte will lie at `offset_bytes` of the file. Its memory is not taken before that byte.
    #[must_use]
    pub fn at(offset_bytes: u64) -> Self {
        let past = offset_bytes % BLOCK_BYTES as u64;
        Self { bytes: BytesMut::new(), room_bytes: BLOCK_BYTES - usize::try_from(past).unwrap_or(0) }
    }

    /// Takes as many as it has room for, and returns the others.
    pub fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.bytes.capacity() == 0 {
            self.bytes = aligned();
        }
        let (now, later) = bytes.split_at(bytes.len().min(self.room_bytes));
        self.bytes.extend_from_slice(now);
        self.room_bytes -= now.len();
        later
    }

    /// True if it has no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room_bytes == 0
    }

    /// True if nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What was gathered.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// Memory for a block.
fn aligned() -> BytesMut {
    let mut bytes = BytesMut::with_capacity(BLOCK_BYTES + ALIGNED_BYTES);
    let before = bytes.as_ptr().align_offset(ALIGNED_BYTES).min(ALIGNED_BYTES);
    bytes.resize(before, 0);
    bytes.advance(before);
    bytes
}

/// The file. Every call blocks.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    offset_bytes: u64,
    direct_from_bytes: u64,
    is_direct: bool,
}

impl Sink {
    /// A file that is there, to be written from `offset_bytes` on; past the page cache what lies behind
    /// `direct_from_bytes`, if its disk and the blocks allow it.
    pub(super) fn open(path: &Path, offset_bytes: u64, direct_from_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file, offset_bytes, direct_from_bytes, is_direct: false })
    }

    /// Where the next byte goes.
    pub(super) fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// The file itself, to be synced.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The next bytes: all of them or, for whoever reads [`Sink::offset_bytes`], none.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_aligned = [self.offset_bytes, bytes.len() as u64, bytes.as_ptr().addr() as u64]
            .iter()
            .all(|n| n.is_multiple_of(ALIGNED_BYTES as u64));
        let wanted = is_aligned && self.offset_bytes >= self.direct_from_bytes;
        if self.turn(wanted).is_err() {
            self.direct_from_bytes = u64::MAX;
        }
        let mut written = self.file.write_all_at(bytes, self.offset_bytes);
        let is_unfit = |why: &io::Error| why.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error());
        if self.is_direct && written.as_ref().is_err_and(is_unfit) {
            // This disk wants another alignment.
            self.direct_from_bytes = u64::MAX;
            self.turn(false)?;
            written = self.file.write_all_at(bytes, self.offset_bytes);
        }
        written?;
        self.offset_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Switches the cache off or on. Not every file system can do without.
    fn turn(&mut self, is_direct: bool) -> io::Result<()> {
        if self.is_direct != is_direct {
            fcntl_setfl(&self.file, if is_direct { OFlags::DIRECT } else { OFlags::empty() })?;
            self.is_direct = is_direct;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_file_is_what_was_written_to_it_past_the_cache_or_not(
            goes in proptest::collection::vec(proptest::collection::vec(1..700_000_usize, 1..4), 1..4),
            direct_from_bytes in prop_oneof![Just(0), 1..1_000_000_u64, Just(u64::MAX)],
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("source");
            File::create(&path).unwrap();
            let mut whole = Vec::new();
            for go in goes {
                let mut sink = Sink::open(&path, whole.len() as u64, direct_from_bytes).unwrap();
                let mut block = Block::at(sink.offset_bytes());
                for length in go {
                    let bytes: Vec<u8> = (0..length).map(|n| (n * 7 + whole.len()).to_le_bytes()[0]).collect();
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        rest = block.fill(rest);
                        if block.is_full() {
                            sink.write(&block.freeze()).unwrap();
                            block = Block::at(sink.offset_bytes());
                        }
                    }
                    whole.extend_from_slice(&bytes);
                }
                sink.write(&block.freeze()).unwrap();
                prop_assert_eq!(sink.offset_bytes(), whole.len() as u64);
                sink.file().sync_data().unwrap();
            }
            prop_assert!(std::fs::read(&path).unwrap() == whole);
        }
    }
}

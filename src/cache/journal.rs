//! What the disk tier's index is between two lives of the server: one file, to which every change is appended.
//!
//! A record is its length (16 bits), a CRC-32 of it (32 bits), both little endian, and the record in postcard. A file is
//! noted before it gets its name and after it lost it, so that the journal knows at least what there is. It is not
//! synced; [`Record::Closed`] as the last one says that everything was, and that the folder need not be looked at. The
//! first change after it takes it out, on disk as well: a power failure may take what came later, and would leave it as
//! the last word.
//!
//! [`Record::Partial`] says that files may be there of which nothing was noted, because a journal was lost, until the folder
//! was gone through: also to the next life, if this one ends before.
//!
//! Whoever cannot lock the journal deletes it: what two processes do in one folder no journal of one can tell. A lost
//! journal costs a walk through the folder and what is known of costs, nothing else.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Key;
use super::disk::TEMP_FOLDER;
use super::file::sync_folder;
use super::heat::Moment;
use super::room::is_full;
use crate::media::Generation;

/// Its name below the cache's folder.
pub(super) const JOURNAL_FILE: &str = "index";
/// Changes when the format does: an older journal is a lost one then.
const MAGIC: [u8; 8] = *b"mtnidx1\n";
/// Length and sum before each record.
const PREFIX_BYTES: usize = 6;
/// Longest record. A key takes some sixty bytes.
const MAX_RECORD_BYTES: usize = 256;
/// Records beyond twice what is held before the journal is written anew: a small cache should not do so all the time.
const SLACK_RECORDS: u64 = 4096;

/// A change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record {
    /// A file gets its name.
    Kept {
        /// Whose.
        key: Key,
        /// Its length with the trailer.
        bytes: u32,
        /// What making it took, if that is known.
        seconds: Option<f32>,
        /// How much it was used.
        heat: Moment,
    },
    /// A file has lost its name.
    Gone(Key),
    /// All of a generation have.
    Emptied(Generation),
    /// Everything above is so, and on disk.
    Closed,
    /// What is noted, above and below, may be part of what there is.
    Partial,
}

/// How the last life of the server left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// In order: what it says is what there is.
    Closed,
    /// Without a word. After a power failure the last changes may be missing.
    Open,
    /// Not, or with damage, or it was lost before and the folder was not gone through since.
    Lost,
}

/// The open file.
pub(super) struct Journal {
    folder: PathBuf,
    /// `None`: there is none, and nothing is noted.
    file: Option<File>,
    /// Length up to which it is whole, bytes. 0 until it was read: nothing is noted before.
    len: u64,
    records: u64,
    closed: bool,
    partial: bool,
}

impl Journal {
    /// Opens and locks it; what is in it is not looked at.
    pub(super) fn open(folder: &Path) -> Self {
        let path = folder.join(JOURNAL_FILE);
        let file = match File::options().read(true).append(true).create(true).open(&path) {
            Ok(file) => match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    let _ = fs::remove_file(&path);
                    None
                }
                Ok(()) | Err(TryLockError::Error(_)) => Some(file),
            },
            Err(error) => {
                tracing::warn!(%error, "the cache keeps no journal: the next start walks through its folder");
                None
            }
        };
        Self { folder: folder.to_owned(), file, len: 0, records: 0, closed: false, partial: false }
    }

    /// Reads it all, once, and cuts off what is damaged. From here on changes are noted.
    pub(super) fn load(&mut self, apply: impl FnMut(Record)) -> Left {
        let Some(mut file) = self.file.take() else { return Left::Lost };
        match self.read(&mut file, apply) {
            Ok(left) => {
                self.file = Some(file);
                left
            }
            Err(error) => {
                tracing::warn!(%error, "the cache's journal cannot be used and is given up");
                self.give_up();
                Left::Lost
            }
        }
    }

    /// Notes a change.
    ///
    /// # Errors
    /// The disk is full. Whatever else goes wrong is the end of the journal, and not of the cache.
    pub(super) fn note(&mut self, record: &Record) -> io::Result<()> {
        if self.closed
            && let Err(error) = self.reopen()
        {
            tracing::warn!(%error, "the cache's journal cannot be reopened and is given up");
            self.give_up();
        }
        let Some(file) = self.file.as_mut().filter(|_| self.len > 0) else { return Ok(()) };
        let framed = frame(record);
        match file.write_all(&framed) {
            Ok(()) => {
                self.len += framed.len() as u64;
                self.records += 1;
                Ok(())
            }
            // Half a record may be there.
            Err(error) if file.set_len(self.len).is_ok() && is_full(&error) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the cache's journal cannot be written and is given up");
                self.give_up();
                Ok(())
            }
        }
    }

    /// Takes [`Record::Closed`] out, before anything becomes untrue that is above it.
    fn reopen(&mut self) -> io::Result<()> {
        self.closed = false;
        let Some(file) = &self.file else { return Ok(()) };
        self.len -= frame(&Record::Closed).len() as u64;
        self.records -= 1;
        file.set_len(self.len)?;
        file.sync_all()
    }

    /// True if the journal is mostly past.
    pub(super) fn is_long(&self, entries: usize) -> bool {
        self.file.is_some() && self.records > 2 * entries as u64 + SLACK_RECORDS
    }

    /// True if [`Record::Closed`] is its last word, or there is nothing to say it to.
    pub(super) fn is_closed(&self) -> bool {
        self.closed || self.file.is_none() || self.len == 0
    }

    /// True if [`Record::Partial`] stands in it.
    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Writes it anew, synced, in the place of what it was. It must be known what there is.
    pub(super) fn replace(&mut self, records: impl Iterator<Item = Record>) {
        // Whoever deleted it knows of what is not in here.
        let deleted = |file: &File| file.metadata().map_or(true, |metadata| metadata.nlink() == 0);
        if self.file.as_ref().is_none_or(deleted) {
            self.file = None;
            return;
        }
        if let Err(error) = self.write_anew(records) {
            tracing::debug!(%error, "the cache's journal cannot be written anew and goes on as it is");
        }
    }

    fn write_anew(&mut self, records: impl Iterator<Item = Record>) -> io::Result<()> {
        let path = self.folder.join(TEMP_FOLDER).join(format!("{JOURNAL_FILE}-{}", std::process::id()));
        let written = write_file(&path, records);
        let renamed = written.and_then(|written| {
            fs::rename(&path, self.folder.join(JOURNAL_FILE))?;
            Ok(written)
        });
        if renamed.is_err() {
            let _ = fs::remove_file(&path);
        }
        let (file, len, records, closed) = renamed?;
        (self.file, self.len, self.records, self.closed) = (Some(file), len, records, closed);
        self.partial = false;
        sync_folder(&self.folder)
    }

    fn read(&mut self, file: &mut File, mut apply: impl FnMut(Record)) -> io::Result<Left> {
        let mut reader = BufReader::with_capacity(1 << 18, &*file);
        let mut magic = [0; MAGIC.len()];
        self.len = MAGIC.len() as u64;
        if reader.read_exact(&mut magic).is_err() || magic != MAGIC {
            file.set_len(0)?;
            file.write_all(&MAGIC)?;
            self.note_partial(file)?;
            return Ok(Left::Lost);
        }
        let mut left = Left::Open;
        loop {
            match read_record(&mut reader) {
                Ok(Some((record, bytes))) => {
                    self.len += bytes;
                    self.records += 1;
                    left = if record == Record::Closed { Left::Closed } else { Left::Open };
                    self.partial |= record == Record::Partial;
                    apply(record);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, at_byte = self.len, "the cache's journal is damaged from here on");
                    left = Left::Lost;
                    break;
                }
            }
        }
        file.set_len(self.len)?;
        if left == Left::Lost {
            self.note_partial(file)?;
        }
        if self.partial {
            return Ok(Left::Lost);
        }
        self.closed = left == Left::Closed;
        Ok(left)
    }

    /// For good: a power failure must not leave what was cut off as all there is.
    fn note_partial(&mut self, file: &mut File) -> io::Result<()> {
        let framed = frame(&Record::Partial);
        file.write_all(&framed)?;
        self.len += framed.len() as u64;
        self.records += 1;
        self.partial = true;
        file.sync_all()
    }

    /// Goes without, and sees to it that nobody believes what is there.
    pub(super) fn give_up(&mut self) {
        self.file = None;
        let _ = fs::remove_file(self.folder.join(JOURNAL_FILE));
    }
}

/// The locked file, its length, how many records it has, and whether it is closed.
fn write_file(path: &Path, records: impl Iterator<Item = Record>) -> io::Result<(File, u64, u64, bool)> {
    let mut file = File::options().read(true).append(true).create(true).truncate(false).open(path)?;
    file.set_len(0)?;
    // Before it has the name that others look for.
    let _ = file.try_lock();
    let (mut len, mut count, mut closed) = (MAGIC.len() as u64, 0, false);
    let mut writer = BufWriter::with_capacity(1 << 18, &mut file);
    writer.write_all(&MAGIC)?;
    for record in records {
        let framed = frame(&record);
        writer.write_all(&framed)?;
        len += framed.len() as u64;
        count += 1;
        closed = record == Record::Closed;
    }
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    Ok((file, len, count, closed))
}

fn frame(record: &Record) -> Vec<u8> {
    let mut framed = vec![0; PREFIX_BYTES];
    framed.extend(postcard::to_stdvec(record).expect("a record is plain data"));
    let body = &framed[PREFIX_BYTES..];
    let (len, sum) = (u16::try_from(body.len()).expect("names are short"), crc32fast::hash(body));
    framed[..2].copy_from_slice(&len.to_le_bytes());
    framed[2..PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
    framed
}

/// The next record and its length with the prefix; `None` at the end.
fn read_record(reader: &mut impl Read) -> io::Result<Option<(Record, u64)>> {
    let bad = |what: &'static str| io::Error::new(ErrorKind::InvalidData, what);
    let mut prefix = [0; PREFIX_BYTES];
    if reader.read(&mut prefix[..1])? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut prefix[1..])?;
    let len = usize::from(u16::from_le_bytes([prefix[0], prefix[1]]));
    let sum = u32::from_le_bytes([prefix[2], prefix[3], prefix[4], prefix[5]]);
    let mut body = [0; MAX_RECORD_BYTES];
    let body = body.get_mut(..len).ok_or_else(|| bad("a record is too long"))?;
    reader.read_exact(body)?;
    if crc32fast::hash(body) != sum {
        return Err(bad("a record is not what was written"));
    }
    let record = postcard::from_bytes(body).map_err(|_| bad("a record cannot be understood"))?;
    Ok(Some((record, (PREFIX_BYTES + len) as u64)))
}

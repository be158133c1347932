//! A source that comes in several goes, over restarts too: `data/uploads/{id}/` (or `fetch-{job}`) has `source`, the bytes so far; `about`,
//! which never changes; and `mark`, how much of the bytes is certain.
//!
//! What counts is the mark. It is moved only after the bytes before it were synced, and it carries the state of the
//! running hash, so that nothing is read again. Bytes behind the mark are those of a go that was cut by a crash; the next
//! go writes over them.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};

use super::flush::Flush;
use super::hashing::{Hashing, Later};
use super::journal::Journal;
use super::sink::{DIRECT_FROM_BYTES, Sink};
use super::staged::{Entry, digest_of};
use super::{Error, Library, SOURCE, Staged, entries};
use crate::media::{Digest, JobId, TitleId, UploadId};

const ABOUT: &str = "about";
const MARK: &str = "mark";
/// Begins the name of what a job fetches; no upload's name does.
const FETCH: &str = "fetch-";

/// What is certain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// So many bytes are on disk.
    pub offset_bytes: u64,
    /// How many there will be, once that is known.
    pub length_bytes: Option<u64>,
    /// When something last came, milliseconds since the Unix epoch.
    pub touched_at_ms: i64,
    /// What became of it. The bytes are the library's then.
    pub title: Option<TitleId>,
    /// The running SHA-256 of the bytes.
    hash: Vec<u8>,
}

/// A source that is not complete, or was not long ago. Dropping it leaves it on disk. Every call blocks.
#[derive(Debug)]
pub struct Resumable {
    library: Library,
    folder: PathBuf,
    /// A sync that is under way moves the mark when it has ended.
    journal: Arc<Mutex<Journal>>,
    mark: Mark,
    going: Option<Going>,
}

/// Bytes being added.
#[derive(Debug)]
struct Going {
    sink: Sink,
    hash: Hashing,
    flush: Flush<Mark>,
    /// Where the mark will be once the sync that is under way has ended.
    next_bytes: u64,
    /// Some bytes were not written: those that come after them must not take their place.
    has_gap: bool,
}

impl Library {
    /// Those that are there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn resumables(&self) -> Result<Vec<UploadId>, Error> {
        self.names("")
    }

    /// The jobs whose fetches are there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn fetches(&self) -> Result<Vec<JobId>, Error> {
        self.names(FETCH)
    }

    fn names<T: FromStr>(&self, prefix: &str) -> Result<Vec<T>, Error> {
        let name = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok();
        Ok(entries(&self.uploads)?.iter().filter_map(name).collect())
    }

    /// A new one without bytes, on disk when it returns.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Busy`], [`Error::Io`]; nothing is left then.
    pub fn create_resumable(
        &self,
        id: &UploadId,
        about: &[u8],
        length_bytes: Option<u64>,
        now_ms: i64,
    ) -> Result<Resumable, Error> {
        self.create_in(self.uploads.join(id.as_str()), about, length_bytes, now_ms)
    }

    /// The same for what a job fetches. What it had fetched before goes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Busy`], [`Error::Io`]; nothing is left then.
    pub fn create_fetch(
        &self,
        job: &JobId,
        about: &[u8],
        length_bytes: Option<u64>,
        now_ms: i64,
    ) -> Result<Resumable, Error> {
        self.remove_fetch(job)?;
        self.create_in(self.fetch(job), about, length_bytes, now_ms)
    }

    fn create_in(
        &self,
        folder: PathBuf,
        about: &[u8],
        length_bytes: Option<u64>,
        now_ms: i64,
    ) -> Result<Resumable, Error> {
        let hash = Sha256::new().serialize().to_vec();
        let mark = Mark { offset_bytes: 0, length_bytes, touched_at_ms: now_ms, title: None, hash };
        let record = encode(&mark);
        let entry = Entry::create(self)?;
        let place = || -> io::Result<()> {
            write_synced(&entry.path().join(ABOUT), about)?;
            write_synced(&entry.path().join(SOURCE), b"")?;
            Journal::create(&entry.path().join(MARK), &record)?;
            File::open(entry.path())?.sync_all()?;
            fs::rename(entry.path(), &folder)?;
            File::open(&self.uploads)?.sync_all()
        };
        place().map_err(|why| self.unwritten(&folder, about.len() as u64, why))?;
        let (journal, _) = Journal::open(&folder.join(MARK)).map_err(|why| Error::at("read", &folder, why))?;
        Ok(Resumable::at_rest(self, folder, journal, mark))
    }

    /// One that is there, and what was said about it.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it can never be read, [`Error::Io`] if that is not certain.
    pub fn open_resumable(&self, id: &UploadId) -> Result<(Resumable, Vec<u8>), Error> {
        self.open_in(self.uploads.join(id.as_str()))
    }

    /// What a job has fetched so far, if it has.
    ///
    /// # Errors
    /// As [`Library::open_resumable`].
    pub fn open_fetch(&self, job: &JobId) -> Result<Option<(Resumable, Vec<u8>)>, Error> {
        let folder = self.fetch(job);
        if folder.is_dir() { self.open_in(folder).map(Some) } else { Ok(None) }
    }

    fn open_in(&self, folder: PathBuf) -> Result<(Resumable, Vec<u8>), Error> {
        let read = || -> io::Result<_> {
            let (journal, record) = Journal::open(&folder.join(MARK))?;
            let mark: Mark = postcard::from_bytes(&record).map_err(io::Error::other)?;
            Ok((journal, mark, fs::read(folder.join(ABOUT))?))
        };
        let (journal, mark, about) = read().map_err(|why| match why.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                Error::Damaged { path: folder.clone(), why }
            }
            // Another version's mark among them.
            _ => Error::at("read", &folder, why),
        })?;
        Ok((Resumable::at_rest(self, folder, journal, mark), about))
    }

    /// Removes one by its name, whatever state it is in.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_resumable(&self, id: &UploadId) -> Result<(), Error> {
        remove(&self.uploads.join(id.as_str()))
    }

    /// Removes what a job has fetched, if there is anything.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_fetch(&self, job: &JobId) -> Result<(), Error> {
        remove(&self.fetch(job))
    }

    fn fetch(&self, job: &JobId) -> PathBuf {
        self.uploads.join(format!("{FETCH}{job}"))
    }
}

impl Resumable {
    fn at_rest(library: &Library, folder: PathBuf, journal: Journal, mark: Mark) -> Self {
        Self { library: library.clone(), folder, journal: Arc::new(Mutex::new(journal)), mark, going: None }
    }

    /// What is certain.
    #[must_use]
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// How many bytes there are, certain or not.
    #[must_use]
    pub fn offset_bytes(&self) -> u64 {
        self.going.as_ref().map_or(self.mark.offset_bytes, |going| going.sink.offset_bytes())
    }

    /// Where its bytes lie.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(SOURCE)
    }

    /// Goes on at the mark. What lies behind it is cut off.
    ///
    /// # Errors
    /// [`Error::Io`], also if there are fewer bytes than the mark says: somebody else removed them.
    pub fn begin(&mut self) -> Result<(), Error> {
        let path = self.path();
        let open = || -> io::Result<Going> {
            self.cut()?;
            let sink = Sink::open(&path, self.mark.offset_bytes, DIRECT_FROM_BYTES)?;
            let hash = Hashing::start(hash_of(&self.mark)?)?;
            Ok(Going { sink, hash, flush: Flush::default(), next_bytes: self.mark.offset_bytes, has_gap: false })
        };
        self.going = Some(open().map_err(|why| Error::at("go on with", &path, why))?);
        Ok(())
    }

    /// Cuts off what lies behind the mark. If nothing does, the file is not opened: the bytes of a complete one may be the
    /// library's already.
    fn cut(&self) -> io::Result<()> {
        let (path, certain) = (self.path(), self.mark.offset_bytes);
        match fs::metadata(&path)?.len().cmp(&certain) {
            Ordering::Less => Err(io::Error::other("it is shorter than what was confirmed")),
            Ordering::Equal => Ok(()),
            Ordering::Greater => {
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(certain)?;
                file.sync_all()
            }
        }
    }

    /// The next bytes: all of them or, if it fails, none, and nothing more in this go.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`]. What came before stays.
    pub fn write(&mut self, bytes: Bytes, reserve_bytes: u64) -> Result<(), Error> {
        let length = bytes.len() as u64;
        let path = self.path();
        let going = self.going.as_mut().filter(|going| !going.has_gap);
        let Some(going) = going else {
            return Err(Error::at("write", &path, io::Error::other("it was not begun since a write failed")));
        };
        let written = self.library.room_for(length, reserve_bytes).and_then(|()| {
            // Hashed while it is written.
            going.hash.update(bytes.clone());
            going.sink.write(&bytes).map_err(|why| {
                going.hash.retract();
                self.library.unwritten(&path, length, why)
            })
        });
        going.has_gap = written.is_err();
        written
    }

    /// Bytes that will not be certain until [`Resumable::hasten`] or [`Resumable::settle`] is called.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        let Some(going) = &self.going else { return 0 };
        going.sink.offset_bytes() - going.next_bytes
    }

    /// Begins to make certain what was written so far and to move the mark there, which goes on while the next bytes are
    /// written; waits for what was begun the time before.
    ///
    /// # Errors
    /// As [`Resumable::settle`].
    pub fn hasten(&mut self, now_ms: i64) -> Result<(), Error> {
        let begun = self.arrive().and_then(|()| {
            let Some(going) = &mut self.going else { return Ok(()) };
            let (offset_bytes, hash) = (going.sink.offset_bytes(), going.hash.so_far());
            let (journal, mark) = (Arc::clone(&self.journal), self.mark.clone());
            going.next_bytes = offset_bytes;
            let begun = going.flush.begin(going.sink.file(), move || {
                let mark = Mark { offset_bytes, touched_at_ms: now_ms, hash: state_of(hash)?, ..mark };
                replace(&journal, &mark)?;
                Ok(mark)
            });
            begun.map(drop).map_err(|why| self.library.unwritten(&self.folder, 0, why))
        });
        self.unless_lost(begun)
    }

    /// Makes certain what was written.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`]; then the mark is where it was, and what was written behind it is of no use.
    pub fn settle(&mut self, now_ms: i64) -> Result<(), Error> {
        let settled = self.arrive().and_then(|()| {
            let Some(going) = &mut self.going else { return Ok(()) };
            let (offset_bytes, hash) = (going.sink.offset_bytes(), going.hash.so_far());
            going.next_bytes = offset_bytes;
            let synced = going.sink.file().sync_data().and_then(|()| state_of(hash));
            let hash = synced.map_err(|why| self.library.unwritten(&self.path(), 0, why))?;
            self.put(Mark { offset_bytes, touched_at_ms: now_ms, hash, ..self.mark.clone() })
        });
        self.unless_lost(settled)
    }

    /// Waits for the sync that is under way and the mark that follows it.
    fn arrive(&mut self) -> Result<(), Error> {
        let Some(going) = &mut self.going else { return Ok(()) };
        let synced = going.flush.wait();
        let moved = synced.map_err(|why| self.library.unwritten(&self.path(), 0, why))?;
        self.mark = moved.unwrap_or_else(|| self.mark.clone());
        Ok(())
    }

    /// After a failed sync nobody knows what is on disk (fsync(2)): the next go begins at the mark.
    fn unless_lost(&mut self, settled: Result<(), Error>) -> Result<(), Error> {
        if settled.is_err() {
            self.going = None;
        }
        settled
    }

    /// Ends a go. Bytes behind the mark are given up.
    pub fn rest(&mut self) {
        // The mark must not move any more once the next go has cut off what lies behind it.
        let _ = self.arrive();
        self.going = None;
    }

    /// Says how long it will be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_length(&mut self, length_bytes: u64, now_ms: i64) -> Result<(), Error> {
        self.put(Mark { length_bytes: Some(length_bytes), touched_at_ms: now_ms, ..self.mark.clone() })
    }

    /// True if all bytes are there and certain.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.mark.length_bytes == Some(self.mark.offset_bytes)
    }

    /// The digest of what is certain.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        hash_of(&self.mark).ok().map(digest_of)
    }

    /// Its bytes as a staged source, without copying them; they also stay here, so that a crash before the title is
    /// entered loses nothing. What a go that did not count left behind the mark is cut off: the digest does not cover it.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Busy`], [`Error::Io`], also if there are fewer bytes than the mark says.
    pub fn stage(&self) -> Result<Staged, Error> {
        let library = self.library.clone();
        self.cut().map_err(|why| Error::at("go on with", &self.path(), why))?;
        let entry = Entry::create(&library)?;
        fs::hard_link(self.path(), entry.source()).map_err(|why| library.unwritten(&self.path(), 0, why))?;
        let hash = hash_of(&self.mark).map_err(|why| Error::at("read", &self.folder, why))?;
        Ok(Staged { digest: digest_of(hash), library, size_bytes: self.mark.offset_bytes, entry })
    }

    /// It became a title: what is left here is the news of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self, title: TitleId, now_ms: i64) -> Result<(), Error> {
        self.put(Mark { title: Some(title), touched_at_ms: now_ms, ..self.mark.clone() })?;
        self.going = None;
        let path = self.path();
        fs::remove_file(&path).map_err(|why| Error::at("remove", &path, why))
    }

    /// Removes it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&mut self) -> Result<(), Error> {
        self.rest();
        remove(&self.folder)
    }

    fn put(&mut self, mark: Mark) -> Result<(), Error> {
        replace(&self.journal, &mark).map_err(|why| self.library.unwritten(&self.folder, 0, why))?;
        self.mark = mark;
        Ok(())
    }
}

/// Whoever opens it next must find its mark at rest.
impl Drop for Resumable {
    fn drop(&mut self) {
        self.rest();
    }
}

fn replace(journal: &Mutex<Journal>, mark: &Mark) -> io::Result<()> {
    journal.lock().unwrap_or_else(PoisonError::into_inner).replace(&encode(mark))
}

/// The state of the running hash, once it is there.
fn state_of(hash: Later) -> io::Result<Vec<u8>> {
    Ok(hash.get()?.serialize().to_vec())
}

fn encode(mark: &Mark) -> Vec<u8> {
    postcard::to_stdvec(mark).expect("numbers and bytes have a form")
}

fn hash_of(mark: &Mark) -> io::Result<Sha256> {
    let state = mark.hash.as_slice().try_into().map_err(io::Error::other)?;
    Sha256::deserialize(state).map_err(|_| io::Error::other("the state of its hash is damaged"))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(Error::at("remove", folder, why)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

//! What a job has fetched so far. It stays on disk between attempts and restarts, and goes with its job.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::file::blocking;
use crate::catalog::now_ms;
use crate::ingest::Error;
use crate::library::{Library, Resumable, Staged};
use crate::media::JobId;

/// The mark is moved after so many bytes ...
const SETTLE_BYTES: u64 = 32 << 20;
/// ... or so long: what comes after the mark is fetched again when the server was killed.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Clones are the same one.
#[derive(Clone)]
pub(in crate::ingest) struct Store {
    library: Library,
    job: JobId,
    reserve_bytes: u64,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    resumable: Option<Resumable>,
    about: About,
    settled_at: Option<Instant>,
    /// Nobody wants it any more: whatever is still under way makes nothing new.
    is_gone: bool,
}

/// What is known of the bytes, kept beside them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct About {
    /// Names their version, if their server does.
    version: Option<String>,
}

impl Store {
    /// Nothing is looked at yet.
    pub(in crate::ingest) fn new(library: &Library, job: &JobId, reserve_bytes: u64) -> Self {
        Self { library: library.clone(), job: job.clone(), reserve_bytes, held: Arc::default() }
    }

    /// Finds what former attempts left. What cannot be read is fetched again.
    pub(super) async fn open(&self) -> Result<(), Error> {
        self.with(|store, held| {
            let found = store.library.open_fetch(&store.job);
            let read = found.map_err(|error| error.to_string()).and_then(|found| {
                let about = found.as_ref().map(|(_, about)| serde_json::from_slice(about)).transpose();
                Ok(found.map(|(resumable, _)| resumable).zip(about.map_err(|error| error.to_string())?))
            });
            match read {
                Ok(Some((resumable, about))) => (held.resumable, held.about) = (Some(resumable), about),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(job = %store.job, error, "what was fetched cannot be read and is fetched again");
                    store.library.remove_fetch(&store.job)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// How many bytes there are.
    pub(super) fn offset_bytes(&self) -> u64 {
        self.held().resumable.as_ref().map_or(0, Resumable::offset_bytes)
    }

    /// How many there will be, if that is known.
    pub(super) fn length_bytes(&self) -> Option<u64> {
        self.held().resumable.as_ref()?.mark().length_bytes
    }

    /// True if all are there and certain.
    pub(super) fn is_complete(&self) -> bool {
        self.held().resumable.as_ref().is_some_and(Resumable::is_complete)
    }

    /// Where to go on, and the version of which that is a part; `None` if the next go has to begin anew.
    pub(super) fn resume(&self) -> Option<(u64, String)> {
        let held = self.held();
        let mark = held.resumable.as_ref()?.mark();
        let offset = Some(mark.offset_bytes).filter(|offset| *offset > 0 && mark.length_bytes.is_some())?;
        Some((offset, held.about.version.clone()?))
    }

    /// Begins with the first byte. What there was goes.
    pub(super) async fn anew(&self, version: Option<String>, length_bytes: Option<u64>) -> Result<(), Error> {
        self.with(move |store, held| {
            held.resumable = None;
            held.about = About { version };
            let about = serde_json::to_vec(&held.about).unwrap_or_default();
            store.library.remove_fetch(&store.job)?;
            store.library.room_for(length_bytes.unwrap_or(0), store.reserve_bytes)?;
            let mut resumable = store.library.create_fetch(&store.job, &about, length_bytes, now_ms())?;
            resumable.begin()?;
            (held.resumable, held.settled_at) = (Some(resumable), Some(Instant::now()));
            Ok(())
        })
        .await
    }

    /// Goes on where it stands.
    pub(super) async fn go_on(&self) -> Result<(), Error> {
        self.with(|_, held| {
            held.settled_at = Some(Instant::now());
            held.resumable.as_mut().map_or(Ok(()), |resumable| Ok(resumable.begin()?))
        })
        .await
    }

    /// The next bytes.
    pub(super) async fn write(&self, bytes: Bytes) -> Result<(), Error> {
        self.with(move |store, held| {
            let Some(resumable) = held.resumable.as_mut() else { return Ok(()) };
            if !bytes.is_empty() {
                resumable.write(bytes, store.reserve_bytes)?;
            }
            let unsettled = resumable.offset_bytes() - resumable.mark().offset_bytes;
            let is_due = held.settled_at.is_none_or(|at| at.elapsed() >= SETTLE_TIME);
            if unsettled >= SETTLE_BYTES || (unsettled > 0 && is_due) {
                resumable.settle(now_ms())?;
                held.settled_at = Some(Instant::now());
            }
            Ok(())
        })
        .await
    }

    /// Ends a go: what there is, is certain.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.with(|_, held| {
            let Some(resumable) = held.resumable.as_mut() else { return Ok(()) };
            let settled = resumable.settle(now_ms());
            resumable.rest();
            Ok(settled?)
        })
        .await
    }

    /// Those were all.
    pub(super) async fn finish(&self, length_bytes: u64) -> Result<(), Error> {
        self.with(move |_, held| {
            let Some(resumable) = held.resumable.as_mut() else { return Ok(()) };
            resumable.settle(now_ms())?;
            resumable.rest();
            Ok(resumable.set_length(length_bytes, now_ms())?)
        })
        .await
    }

    /// All of it, as a staged source. It stays here until [`Store::remove`], so that a crash in between loses nothing.
    pub(super) async fn stage(&self) -> Result<Staged, Error> {
        self.with(|_, held| {
            let missing = || Error::Defect { path: "fetch".into(), why: "it is not complete".to_owned() };
            Ok(held.resumable.as_ref().ok_or_else(missing)?.stage()?)
        })
        .await
    }

    /// The next go begins anew.
    pub(super) async fn forget(&self) -> Result<(), Error> {
        self.with(|store, held| {
            (held.resumable, held.about) = (None, About::default());
            Ok(store.library.remove_fetch(&store.job)?)
        })
        .await
    }

    /// Nobody needs it any more.
    pub(in crate::ingest) async fn remove(&self) {
        let store = self.clone();
        let removed = blocking(move || {
            let mut held = store.held();
            (held.resumable, held.is_gone) = (None, true);
            Ok(store.library.remove_fetch(&store.job)?)
        });
        if let Err(error) = removed.await {
            tracing::warn!(job = %self.job, %error, "what was fetched is left to the next start");
        }
    }

    /// Works on it where that may block. Runs to its end also if nobody waits for it any more.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &mut Held) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        blocking(move || {
            let mut held = store.held();
            if held.is_gone {
                return Err(Error::Defect {
                    path: "fetch".into(),
                    why: "it goes on after it was called off".to_owned(),
                });
            }
            work(&store, &mut held)
        })
        .await
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

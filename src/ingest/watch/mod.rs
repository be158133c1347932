//! A folder whose films become titles: what has stopped growing is taken in as a file of this machine is, and then kept,
//! moved or deleted.
//!
//! Runs unasked, if a folder is configured: a look at the folder every few seconds, and one film at a time. The catalog
//! remembers each file by name, size and time in the transaction that enters its title, so that nothing is taken in twice,
//! whenever the process ends. It forgets a file that was put away, and one that is kept once it was not there for a day.
//!
//! The rule not to break: nothing outside of the folder is read. Links are not followed, folders below are not looked into,
//! and what was looked at is what is read, by one open file.

mod config;
mod place;
mod settle;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::events::{Events, What};
use super::file::{Taken, blocking, take};
use super::process::OnChange;
use super::{Error, Rooms, sidecars};
use crate::catalog::{Failure, Lying, State, Watched, now_ms};
use crate::media::TitleId;

pub use config::{Config, Then};
pub(super) use settle::Seen;

use place::Listing;
use settle::Settling;

/// Longest time between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before a file is tried again that could not be taken in now; each further one is twice as long ...
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// ... and not longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Watches. Clones are the same one.
#[derive(Clone)]
pub struct Watcher(Arc<Inner>);

struct Inner {
    config: Config,
    rooms: Rooms,
    max_bytes: u64,
    attempts: u32,
    events: Events,
    on_change: OnChange,
    closing: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What one look after another knows.
#[derive(Default)]
struct Looks {
    settling: Settling,
    /// The folder as it was: device and inode.
    folder: Option<(u64, u64)>,
    /// Files with which nothing more is to be done, although they are still there.
    done: HashSet<String>,
    /// Whether it was said that there are too many files.
    has_warned: bool,
    /// Files that could not be taken in or put away.
    waiting: HashMap<String, Waiting>,
}

/// A file that waits for another try.
#[derive(Clone, Copy)]
struct Waiting {
    /// How often it was tried.
    times: u32,
    /// How often workers died over it.
    deaths: u32,
    since: Instant,
}

impl Watcher {
    /// Starts watching; does nothing if no folder is configured. `data_dir` must lie elsewhere; `limits` says how large a film
    /// may be and how often it is tried. Call it within a tokio runtime. Blocks for a moment.
    ///
    /// # Errors
    /// If the folder cannot be used: the sentence says why.
    pub fn start(
        config: &Config,
        data_dir: &Path,
        limits: &super::Config,
        rooms: Rooms,
        events: Events,
        on_change: OnChange,
    ) -> io::Result<Self> {
        let is_watching = config.is_watching();
        let mut config = config.clone();
        if is_watching {
            config.folder = place::usable(&config, data_dir)?;
        }
        let closing = watch::Sender::new(false);
        let (max_bytes, attempts, task) = (limits.max_bytes, limits.attempts, Mutex::default());
        let inner = Arc::new(Inner { config, rooms, max_bytes, attempts, events, on_change, closing, task });
        if is_watching {
            let task = tokio::spawn(inner.clone().go());
            *inner.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        }
        Ok(Self(inner))
    }

    /// Stops. A film that is being taken in is left where it is.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        let task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Inner {
    async fn go(self: Arc<Self>) {
        tracing::info!(folder = %self.config.folder.display(), "watching");
        let mut closing = self.closing.subscribe();
        let mut clock = interval(LOOK.min(self.config.settle()));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = Looks::default();
        let looking = async {
            loop {
                clock.tick().await;
                self.look(&mut looks).await;
            }
        };
        tokio::select! {
            () = looking => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    /// One look, and what follows from it.
    async fn look(self: &Arc<Self>, looks: &mut Looks) {
        let inner = self.clone();
        let listing = blocking(move || place::list(&inner.config.folder, place::MAX_FILMS)).await;
        let Listing { found, folder, is_whole, is_cut } = match listing {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(folder = %self.config.folder.display(), %error, "the watched folder cannot be read");
                return;
            }
        };
        if is_cut && !looks.has_warned {
            looks.has_warned = true;
            tracing::warn!(folder = %self.config.folder.display(), most = place::MAX_FILMS,
                "the watched folder has more files than are looked at: move some away");
        }
        let names: Vec<String> = found.iter().map(Seen::key).collect();
        let there: HashSet<&String> = names.iter().collect();
        looks.waiting.retain(|key, _| there.contains(key));
        looks.done.retain(|key| there.contains(key));
        // What is empty or another folder than before may be the place where a disk should be.
        let is_same = looks.folder.replace(folder).is_none_or(|before| before == folder);
        if is_whole && is_same && !names.is_empty() {
            let inner = self.clone();
            if let Err(error) = blocking(move || Ok(inner.rooms.catalog.see_watched(&names, now_ms())?)).await {
                tracing::warn!(%error, "the catalog cannot be asked for watched files");
                return;
            }
        }
        for seen in looks.settling.look(found, Instant::now(), self.config.settle()) {
            let key = seen.key();
            let is_early = |waiting: &Waiting| waiting.since.elapsed() < pause(waiting.times);
            if looks.done.contains(&key) || looks.waiting.get(&key).is_some_and(is_early) {
                continue;
            }
            let before = looks.waiting.get(&key).copied();
            match self.file(&seen, Waiting::has_one_left(before, self.attempts)).await {
                Ok(()) => {
                    looks.waiting.remove(&key);
                    // What was put away and is there again was put there again.
                    if self.config.then == Then::Keep {
                        looks.done.insert(key);
                    }
                }
                // If it comes back, it is looked at anew.
                Err(Error::Missing { .. }) => {}
                Err(error) => {
                    let waiting = Waiting::after(before, error.killed_workers());
                    tracing::warn!(file = seen.name, %error, times = waiting.times, "a watched file will be tried again");
                    looks.waiting.insert(key, waiting);
                }
            }
        }
    }

    /// Takes a file in, unless it was before, and puts it away. An error is worth another try, unless the file is gone; one
    /// over which workers die has had its last.
    async fn file(self: &Arc<Self>, seen: &Seen, is_last: bool) -> Result<(), Error> {
        if !self.was_taken(seen).await? {
            match self.take(seen).await {
                Ok(_) => {}
                Err(error) if is_last && error.killed_workers() => self.refuse(seen, &error).await?,
                // One that grows again among them: it is looked at anew, as another one.
                Err(error) if error.is_retryable() || matches!(error, Error::Missing { .. }) => return Err(error),
                Err(error) => self.refuse(seen, &error).await?,
            }
        }
        let Some((known, beside)) = self.known(seen).await? else { return Ok(()) };
        let (inner, seen) = (self.clone(), seen.clone());
        blocking(move || {
            place::put_away(&inner.config, &seen, &known, &beside)?;
            if inner.config.then != Then::Keep {
                inner.rooms.catalog.forget_watched(&seen.key())?;
            }
            Ok(())
        })
        .await
    }

    /// Whether a file became something before. The only copy of a film whose title was removed must not be put away, so where
    /// files are not kept, such a film becomes a title again.
    async fn was_taken(self: &Arc<Self>, seen: &Seen) -> Result<bool, Error> {
        let Some((known, _)) = self.known(seen).await? else { return Ok(false) };
        let Watched::Title(title) = known else { return Ok(true) };
        let inner = self.clone();
        blocking(move || Ok(inner.config.then == Then::Keep || inner.rooms.catalog.mark(&title)?.is_some())).await
    }

    /// What became of a file, and which files beside it are its own.
    async fn known(self: &Arc<Self>, seen: &Seen) -> Result<Option<(Watched, Vec<String>)>, Error> {
        let (inner, key) = (self.clone(), seen.key());
        blocking(move || Ok(inner.rooms.catalog.watched(&key)?)).await
    }

    async fn take(self: &Arc<Self>, seen: &Seen) -> Result<TitleId, Error> {
        let path = self.config.folder.join(&seen.name);
        if seen.size_bytes > self.max_bytes {
            return Err(Error::TooLarge { limit_bytes: self.max_bytes });
        }
        let (of, at) = (seen.clone(), path.clone());
        let file = blocking(move || of.open(&at)).await?;
        let taken = take(&self.rooms, Taken::Watched { path: &path, file, seen }, None, &|_| {}).await?;
        tracing::info!(title = %taken.id, source = %taken.digest, file = seen.name, "taken in from the watched folder");
        (self.on_change)(&taken.id);
        self.events.tell(&taken.id, What::State { state: State::Ready, error: None });
        Ok(taken.id)
    }

    /// Remembers that a file cannot be a title.
    async fn refuse(self: &Arc<Self>, seen: &Seen, error: &Error) -> Result<(), Error> {
        tracing::warn!(file = seen.name, %error, "a watched file cannot become a title");
        let failure = Failure { code: error.code().to_owned(), message: error.to_string() };
        let (inner, seen) = (self.clone(), seen.clone());
        blocking(move || {
            // They may be what is wrong with it, and go where it goes.
            let beside = sidecars::seen(&inner.config.folder.join(&seen.name)).unwrap_or_default();
            let lying = Lying { file: seen.key(), beside: beside.iter().map(Seen::key).collect() };
            Ok(inner.rooms.catalog.note_refused(&lying, &failure, now_ms())?)
        })
        .await
    }
}

impl Waiting {
    /// Workers may die over it once more. What else went wrong does not count: a disk that is full for an hour says nothing of
    /// the film.
    fn has_one_left(before: Option<Self>, attempts: u32) -> bool {
        before.map_or(0, |before| before.deaths) + 1 >= attempts
    }

    fn after(before: Option<Self>, killed_workers: bool) -> Self {
        let (times, deaths) = before.map_or((0, 0), |before| (before.times, before.deaths));
        Self { times: times + 1, deaths: deaths + u32::from(killed_workers), since: Instant::now() }
    }
}

fn pause(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder: &PathBuf = &self.0.config.folder;
        f.debug_struct("Watcher").field("folder", folder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A film over which a worker died once was given up if the disk had been full before.
    #[test]
    fn only_deaths_use_up_the_attempts_of_a_film() {
        let tried = |died: &[bool]| died.iter().fold(None, |before, died| Some(Waiting::after(before, *died)));
        let has_one_left = |died: &[bool]| Waiting::has_one_left(tried(died), 3);
        assert!(!has_one_left(&[]) && !has_one_left(&[false; 9]) && !has_one_left(&[false, true, false]));
        assert!(has_one_left(&[true, false, true]) && Waiting::has_one_left(None, 1));
        assert_eq!(tried(&[false, true, false]).unwrap().times, 3);
    }

    /// It was refused for good, and not looked at when it came back.
    #[tokio::test]
    async fn a_film_that_is_gone_when_it_is_opened_is_not_refused() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rooms = crate::ingest::rooms(data.path());
        let catalog = rooms.catalog.clone();
        let config = Config { folder: folder.path().to_owned(), then: Then::Keep, ..Config::default() };
        let inner = Arc::new(Inner {
            config,
            rooms,
            max_bytes: u64::MAX,
            attempts: 1,
            events: Events::new(),
            on_change: Arc::new(|_| {}),
            closing: watch::Sender::new(false),
            task: Mutex::default(),
        });
        let seen = Seen { name: "film.mp4".to_owned(), size_bytes: 1, modified_ns: 1 };
        assert!(matches!(inner.file(&seen, true).await, Err(Error::Missing { .. })));
        assert_eq!(catalog.watched(&seen.key()).unwrap(), None);
    }
}

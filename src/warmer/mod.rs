//! Encodes ahead of demand, so that the common case is a hit.
//!
//! What runs unasked: with `warmer.enabled`, a task that looks now and then what is worth making (`policy`) by what was
//! asked for (`popularity`), and has the encoder make it in the last lane (what players ask for first in that of
//! look-ahead), a few segments at a time, while nobody who watches needs the machine; and a task that does the jobs somebody
//! entered by hand (`jobs`), enabled or not. What was asked for is noted in the catalog about once a minute, if anything
//! was. What a viewer's request costs here: two look-ups under a lock.
//!
//! The rule not to break: the viewer comes first. Everything made here can be given up at any moment, is made by workers
//! that are kinder than others but for how titles begin, and goes only where the cache has room that nobody uses: what is
//! free, or for a job what nobody has used for a day.
//!
//! Arrow: `warmer` -> `encoder`, `cache`, `catalog`, `manifest`, `media`.

mod config;
mod films;
mod jobs;
pub mod policy;
pub mod popularity;
mod run;
mod setbacks;
mod sketch;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use config::Config;
pub use jobs::{Range, RangeError};

use crate::cache::{Cache, Clock, Key};
use crate::catalog::{self, Catalog};
use crate::encoder::Encoder;
use crate::media::{RenditionName, TitleId};
use films::Films;
use popularity::Popularity;
use setbacks::Setbacks;

/// What the room needs of others.
#[derive(Clone)]
pub struct Rooms {
    /// Titles, jobs, and what was asked for before.
    pub catalog: Catalog,
    /// What is there already.
    pub cache: Cache,
    /// Who makes the rest.
    pub encoder: Encoder,
    /// Bytes that the cache may have on disk.
    pub disk_bytes: u64,
    /// By which what was asked for is forgotten, and which hour it is.
    pub clock: Clock,
}

/// The warmer. Clones are the same one.
#[derive(Clone)]
pub struct Warmer(Arc<Inner>);

struct Inner {
    config: Config,
    rooms: Rooms,
    popularity: Mutex<Popularity>,
    /// Something was asked for that is not noted.
    is_news: AtomicBool,
    films: Mutex<Films>,
    setbacks: Mutex<Setbacks>,
    /// What was made, as long as its file may still be written: no more than the cache has waiting for its disk.
    unjudged: Mutex<Vec<Key>>,
    wake: Notify,
    jobs: Notify,
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    made: AtomicU64,
    given_up: AtomicU64,
}

/// What came of it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects made ahead of demand.
    pub made: u64,
    /// Objects given up, mostly because a viewer needed the slot, and those that failed.
    pub given_up: u64,
}

impl Warmer {
    /// Starts the tasks. Blocks for a catalog query; call it within a tokio runtime.
    ///
    /// # Errors
    /// If what was asked for before cannot be read.
    pub fn start(config: &Config, rooms: Rooms) -> Result<Self, catalog::Error> {
        let inner = Inner::new(config, rooms)?;
        let tasks = vec![tokio::spawn(run::go(inner.clone())), tokio::spawn(jobs::go(inner.clone()))];
        *lock(&inner.tasks) = tasks;
        Ok(Self(inner))
    }

    /// A viewer asked for a segment of it.
    pub fn asked(&self, title: &TitleId, rendition: &RenditionName) {
        lock(&self.0.popularity).asked(title, rendition, self.0.rooms.clock.now_ms());
        self.0.is_news.store(true, Ordering::Relaxed);
    }

    /// A title came, or a job: there may be something to do.
    pub fn wake(&self) {
        self.0.wake.notify_one();
        self.0.jobs.notify_one();
    }

    /// What came of it so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { made: self.0.made.load(Ordering::Relaxed), given_up: self.0.given_up.load(Ordering::Relaxed) }
    }

    /// Stops; jobs go back into the queue, and what was asked for is noted.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&self.0.tasks));
        for task in tasks {
            let _ = task.await;
        }
    }
}

impl Inner {
    fn new(config: &Config, rooms: Rooms) -> Result<Arc<Self>, catalog::Error> {
        let (noted, now_ms) = (rooms.catalog.popularity()?, rooms.clock.now_ms());
        Ok(Arc::new(Self {
            popularity: Mutex::new(Popularity::of(&noted, config.half_life(), now_ms)),
            is_news: AtomicBool::new(false),
            config: config.clone(),
            rooms,
            films: Mutex::default(),
            setbacks: Mutex::default(),
            unjudged: Mutex::default(),
            wake: Notify::new(),
            jobs: Notify::new(),
            closing: watch::Sender::new(false),
            tasks: Mutex::default(),
            made: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }))
    }
}

impl fmt::Debug for Warmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warmer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What is guarded is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

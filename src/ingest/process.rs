//! Jobs in the background: a film that is somewhere else is fetched; a source that arrived is inspected and planned, and its
//! title is ready or has failed.
//!
//! A job is claimed in the catalog for [`LEASE`] and kept by heartbeats, so that one whose process died is taken up by
//! whoever looks next. What went wrong is tried again, with growing pauses, only where that can help.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::events::{Events, What};
use super::fetch::Store;
use super::file::blocking;
use super::{Config, Error, Rooms, discard, inspect};
use crate::catalog::{Failure, Job, Kind, LONGEST_JOB_PAUSE_MS, Lease, Outcome, Pauses, State, now_ms};
use crate::media::{Digest, JobId, Plan, TitleId};
use crate::outbound::Client;

/// What is done here, most urgent first.
const KINDS: [Kind; 2] = [Kind::Process, Kind::Replace];
/// A claim lasts this long without a heartbeat: how late a job goes on whose process was killed.
const LEASE: Duration = Duration::from_secs(9);
/// Heartbeats; two may fail before the claim is lost.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Pauses between attempts.
const PAUSES: Pauses = Pauses { first_ms: 1000, factor: 2, longest_ms: LONGEST_JOB_PAUSE_MS };
/// Pause after the catalog could not be read: a full disk does not get better by asking at once.
const CATALOG_PAUSE: Duration = Duration::from_secs(2);

/// Told of every title whose state changed, before anybody else hears of it; must not block.
pub type OnChange = Arc<dyn Fn(&TitleId) + Send + Sync>;

/// Told of what a title played before its source was replaced: nobody plays it any more. Must not block.
pub type OnRetire = Arc<dyn Fn(Digest, Arc<Plan>) + Send + Sync>;

/// Who is told.
pub struct Tell {
    /// Whoever listens.
    pub events: Events,
    /// Of titles that changed.
    pub on_change: OnChange,
    /// Of sources that no title has any more.
    pub on_retire: OnRetire,
}

/// Does the jobs. Clones are the same one.
#[derive(Clone)]
pub struct Processor(Arc<Inner>);

pub(super) struct Inner {
    pub(super) rooms: Rooms,
    pub(super) config: Config,
    pub(super) client: Client,
    pub(super) events: Events,
    pub(super) on_change: OnChange,
    on_retire: OnRetire,
    /// This process, as the catalog knows it.
    pub(super) owner: String,
    /// There may be something to fetch, or to process.
    wake: [Notify; 2],
    pub(super) closing: watch::Sender<bool>,
    /// Jobs under way; dropping the sender calls one off. A job is not claimed as long as it is here.
    running: Mutex<HashMap<JobId, watch::Sender<()>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What became of the work of one attempt.
pub(super) enum Attempt {
    Over(Outcome),
    /// Its end was noted, or the title was removed meanwhile.
    Gone,
}

impl Processor {
    /// Starts working: first on what a process that ended has left. Call it within a tokio runtime.
    #[must_use]
    pub fn start(config: &Config, rooms: Rooms, client: Client, tell: Tell) -> Self {
        let Tell { events, on_change, on_retire } = tell;
        let inner = Arc::new(Inner {
            rooms,
            config: config.clone(),
            client,
            events,
            on_change,
            on_retire,
            owner: format!("{}-{:016x}", std::process::id(), getrandom::u64().unwrap_or_default()),
            wake: Default::default(),
            closing: watch::Sender::new(false),
            running: Mutex::default(),
            tasks: Mutex::default(),
        });
        let tasks = [Kind::Fetch, Kind::Process].map(|kind| tokio::spawn(inner.clone().go_on(kind)));
        *lock(&inner.tasks) = tasks.into();
        Self(inner)
    }

    /// There is a new job.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// A job was cancelled in the catalog, or went with its title: whoever works on it here stops, and what it fetched goes.
    /// Blocks.
    pub fn call_off(&self, job: &JobId) {
        let is_running = lock(&self.0.running).remove(job).is_some();
        if !is_running && let Err(error) = self.0.rooms.library.remove_fetch(job) {
            tracing::warn!(%job, %error, "what was fetched is left to the next start");
        }
    }

    /// Stops; what is under way goes back into the queue.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&self.0.tasks));
        for task in tasks {
            let _ = task.await;
        }
    }
}

impl Inner {
    async fn go_on(self: Arc<Self>, kind: Kind) {
        if kind == Kind::Fetch {
            self.sweep().await;
        }
        let mut closing = self.closing.subscribe();
        let mut jobs = JoinSet::new();
        loop {
            let pause = self.fill(kind, &mut jobs).await;
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => break,
                () = self.wake[usize::from(kind == Kind::Fetch)].notified() => {}
                Some(_) = jobs.join_next(), if !jobs.is_empty() => {}
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
        // Each sees that the processor is closing and puts its job back.
        while jobs.join_next().await.is_some() {}
    }

    pub(super) fn wake(&self) {
        self.wake.iter().for_each(Notify::notify_one);
    }

    /// Removes what was fetched for jobs that ended while nobody was there.
    async fn sweep(self: &Arc<Self>) {
        let inner = self.clone();
        let swept = blocking(move || {
            for id in inner.rooms.library.fetches()? {
                if inner.rooms.catalog.job(&id)?.is_none_or(|job| job.ended_at_ms.is_some()) {
                    inner.rooms.library.remove_fetch(&id)?;
                }
            }
            Ok(())
        });
        if let Err(error) = swept.await {
            tracing::warn!(%error, "what was fetched and is not needed is left to the next start");
        }
    }

    /// Claims as many jobs as there is room for. Returns how long to wait for the next one, if waiting is what helps.
    async fn fill(self: &Arc<Self>, kind: Kind, jobs: &mut JoinSet<()>) -> Option<Duration> {
        let (places, kinds) = match kind {
            Kind::Fetch => (self.config.fetches, &[Kind::Fetch][..]),
            _ => (self.config.workers, &KINDS[..]),
        };
        while jobs.len() < places {
            let inner = self.clone();
            let claimed = blocking(move || {
                let catalog = &inner.rooms.catalog;
                let mine: Vec<JobId> = lock(&inner.running).keys().cloned().collect();
                // A title that cannot be played at all comes before one that plays its old source.
                for kind in kinds {
                    if let Some(job) = catalog.claim(*kind, inner.lease(), &mine)? {
                        return Ok((Some(job), None));
                    }
                }
                let next = kinds.iter().map(|kind| catalog.next_due(*kind, &mine));
                Ok((None, next.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().min()))
            });
            match claimed.await {
                Ok((Some(job), _)) => {
                    let called_off = watch::Sender::new(());
                    let ear = called_off.subscribe();
                    lock(&self.running).insert(job.id.clone(), called_off);
                    jobs.spawn(self.clone().survive(job.clone(), self.clone().work(job, ear)));
                }
                Ok((None, next)) => {
                    let wait = |due: i64| u64::try_from(due - now_ms()).unwrap_or(0).max(1);
                    return next.map(|due| Duration::from_millis(wait(due)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the queue of jobs cannot be read");
                    return Some(CATALOG_PAUSE);
                }
            }
        }
        None
    }

    /// Works on a job. One over which that panics has failed: it would again.
    async fn survive(self: Arc<Self>, job: Job, work: impl Future<Output = ()> + Send + 'static) {
        let Err(died) = tokio::spawn(work).await else { return };
        if !died.is_panic() {
            return;
        }
        let error = Error::Defect { path: job.film().0.into(), why: died.to_string() };
        tracing::error!(job = %job.id, title = %job.title, %error, "a job cannot be done");
        self.end(job, Outcome::Failed(failure(&error))).await;
    }

    async fn work(self: Arc<Self>, job: Job, mut called_off: watch::Receiver<()>) {
        let running = Running(&self, job.id.clone());
        let progress = AtomicU16::new(job.progress);
        let mut closing = self.closing.subscribe();
        let (library, reserve) = (&self.rooms.library, self.config.reserve_bytes);
        let store = (job.kind == Kind::Fetch).then(|| Store::new(library, &job.id, reserve));
        let attempt = tokio::select! {
            attempt = self.attempt(&job, store.as_ref(), &progress) => attempt,
            () = self.keep(&job, &progress) => Attempt::Gone,
            // An error is the sender's end: nobody wants the job any more.
            _ = called_off.changed() => Attempt::Gone,
            // A fetch sees it, too, and makes certain what it has.
            _ = closing.wait_for(|closing| *closing), if store.is_none() => Attempt::Over(Outcome::Released),
        };
        let (id, title) = (job.id.clone(), job.title.clone());
        match attempt {
            Attempt::Over(outcome) => self.end(job, outcome).await,
            Attempt::Gone => tracing::info!(job = %id, %title, "a job needs nothing more"),
        }
        drop(running);
        // What was fetched goes with the job, and only then: whoever else has claimed it, or does later, goes on with it.
        if let Some(store) = store
            && self.is_over(&id).await
        {
            store.remove().await;
        }
    }

    /// True if a job has ended or is gone.
    async fn is_over(self: &Arc<Self>, id: &JobId) -> bool {
        let (inner, of) = (self.clone(), id.clone());
        let found = blocking(move || Ok(inner.rooms.catalog.job(&of)?)).await;
        found.is_ok_and(|job| job.is_none_or(|job| job.ended_at_ms.is_some()))
    }

    /// Keeps the claim until it is lost.
    async fn keep(self: &Arc<Self>, job: &Job, progress: &AtomicU16) {
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        loop {
            beats.tick().await;
            let (inner, id, done) = (self.clone(), job.id.clone(), progress.load(Ordering::Relaxed));
            let beat = blocking(move || Ok(inner.rooms.catalog.beat(&id, inner.lease(), done)?)).await;
            match beat {
                Ok(true) => {}
                Ok(false) => return,
                // If the catalog stays like this, the claim runs out, and the end of the attempt will not be taken.
                Err(error) => tracing::warn!(job = %job.id, %error, "a job's heartbeat failed"),
            }
        }
    }

    async fn attempt(self: &Arc<Self>, job: &Job, store: Option<&Store>, progress: &AtomicU16) -> Attempt {
        // One whose process was killed in the middle counts, too: it may have been the job that killed it.
        let Some(left) = self.config.attempts.checked_sub(job.attempts) else {
            let error = Error::Interrupted { attempts: job.attempts - 1 };
            tracing::warn!(job = %job.id, title = %job.title, %error, "a film cannot become a title");
            return Attempt::Over(Outcome::Failed(failure(&error)));
        };
        let done = match store {
            Some(store) => self.fetch(job, store, progress).await,
            None => self.process(job, progress).await,
        };
        let error = match done {
            Ok(attempt) => return attempt,
            Err(error) => error,
        };
        let until_ms = store.map_or(i64::MAX, |_| self.overdue_at_ms(job));
        let outcome = after(&error, job, left, now_ms(), until_ms);
        match outcome {
            Outcome::Failed(_) => {
                tracing::warn!(job = %job.id, title = %job.title, %error, "a film cannot become a title");
            }
            _ => {
                tracing::warn!(job = %job.id, title = %job.title, %error, attempts_left = left, "a job will be tried again");
            }
        }
        Attempt::Over(outcome)
    }

    async fn process(&self, job: &Job, progress: &AtomicU16) -> Result<Attempt, Error> {
        let (catalog, library, job_of) = (self.rooms.catalog.clone(), self.rooms.library.clone(), job.clone());
        let found = blocking(move || {
            let Some(entry) = catalog.title(&job_of.title)?.map(|title| title.entry) else { return Ok(None) };
            let (source, file_name) = match &job_of.source {
                Some(source) => (Some(source.clone()), job_of.film().0),
                None => (entry.source, entry.file_name),
            };
            let Some(digest) = source else { return Ok(None) };
            // The same bytes may have been inspected for another title: it is the index that was used there.
            let index = library.read_index(&digest)?;
            Ok(Some((digest, file_name, index)))
        });
        let Some((digest, file_name, index)) = found.await? else { return Ok(Attempt::Gone) };
        let name = Path::new(&file_name);
        let index = match index {
            Some(index) => Some(index),
            None => self.inspect(job, &digest, name, progress).await?,
        };
        let Some(index) = index else { return Ok(Attempt::Gone) };
        let (index, plan) = inspect::plan(Bytes::from(index), &self.rooms.ladder, name).await?;
        Ok(Attempt::Over(Outcome::Ready { plan: Arc::new(plan), notes: index.notes() }))
    }

    /// The index of a source that has none, `None` if the source is gone.
    async fn inspect(
        &self,
        job: &Job,
        digest: &Digest,
        name: &Path,
        progress: &AtomicU16,
    ) -> Result<Option<Vec<u8>>, Error> {
        let tell = |part| {
            if progress.swap(part, Ordering::Relaxed) != part {
                self.events.tell(&job.title, What::Progress { progress: part });
            }
        };
        let source = self.rooms.library.source_path(digest);
        // The job is what is tried again.
        let index = inspect::index(&self.rooms.pool, &source, name, &[], 1, &tell).await?;
        let (library, digest) = (self.rooms.library.clone(), digest.clone());
        blocking(move || {
            library.add_index(&digest, &index)?;
            Ok(library.read_index(&digest)?)
        })
        .await
    }

    async fn end(self: &Arc<Self>, job: Job, outcome: Outcome) {
        let is_new_source = job.kind == Kind::Replace;
        let told = match &outcome {
            Outcome::Ready { .. } if is_new_source => Some(What::Replaced { replaced: true, error: None }),
            Outcome::Failed(failure) if is_new_source => {
                Some(What::Replaced { replaced: false, error: Some(failure.clone()) })
            }
            Outcome::Ready { .. } => Some(What::State { state: State::Ready, error: None }),
            Outcome::Failed(failure) => Some(What::State { state: State::Failed, error: Some(failure.clone()) }),
            Outcome::Done | Outcome::Again { .. } | Outcome::Waits { .. } | Outcome::Released => None,
        };
        let (inner, title) = (self.clone(), job.title.clone());
        let ended = blocking(move || {
            let catalog = &inner.rooms.catalog;
            let old = catalog.title(&job.title)?;
            let (source, plan) = old.map(|title| (title.entry.source, title.plan)).unwrap_or_default();
            let counts = catalog.end_attempt(&job, &inner.owner, now_ms(), &outcome)?;
            let (unused, retired) = match (&outcome, is_new_source) {
                _ if !counts => (None, None),
                (Outcome::Ready { .. }, true) => (source.clone(), source.zip(plan)),
                (Outcome::Failed(_), true) => (job.source, None),
                (Outcome::Failed(_), false) => (source, None),
                _ => (None, None),
            };
            Ok((counts, unused, retired))
        });
        match (ended.await, told) {
            (Ok((true, unused, retired)), Some(what)) => {
                (self.on_change)(&title);
                if let Some((digest, plan)) = retired {
                    (self.on_retire)(digest, plan);
                }
                self.discard(unused).await;
                tracing::info!(%title, ?what, "processed");
                self.events.tell(&title, what);
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                tracing::error!(%title, %error, "the end of a job cannot be noted; it will be done again")
            }
        }
    }

    /// Removes a source that may not be needed any more.
    async fn discard(self: &Arc<Self>, unused: Option<Digest>) {
        let Some(digest) = unused else { return };
        let inner = self.clone();
        let _ = blocking(move || Ok(discard::source(&inner.rooms.catalog, &inner.rooms.library, &digest))).await;
    }

    fn lease(&self) -> Lease<'_> {
        let now_ms = now_ms();
        Lease { owner: &self.owner, now_ms, until_ms: now_ms + i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX) }
    }
}

/// A job that is under way. Dropped, it may be claimed again.
struct Running<'a>(&'a Inner, JobId);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.0.running).remove(&self.1);
    }
}

/// What follows from an error, with so many attempts left. A disk has room again when somebody made some: that is waited for
/// until then, Unix milliseconds, because nothing is wrong with the film.
fn after(error: &Error, job: &Job, left: u32, now_ms: i64, until_ms: i64) -> Outcome {
    let failure = failure(error);
    if error.is_full() && now_ms < until_ms {
        // The longer nobody made room, the less often it is looked for.
        let waited = now_ms.saturating_sub(job.created_at_ms);
        let pause = (waited / 4).clamp(PAUSES.first_ms, PAUSES.longest_ms);
        return Outcome::Waits { due_at_ms: now_ms + pause, failure };
    }
    if left > 0 && error.is_retryable() {
        return Outcome::Again { due_at_ms: now_ms + PAUSES.after(job.attempts), failure };
    }
    Outcome::Failed(failure)
}

fn failure(error: &Error) -> Failure {
    Failure { code: error.code().to_owned(), message: error.to_string() }
}

/// What is guarded is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor").field("owner", &self.0.owner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

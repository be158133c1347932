//! Warming that somebody asked for: a title, or some renditions of it, or a stretch of time. A job in the catalog, which
//! survives restarts and can be called off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::run::Fate;
use super::{Inner, Warmer, policy};
use crate::cache::Object;
use crate::catalog::{self, Failure, Job, Kind, Lease, Outcome, new_job_id, now_ms};
use crate::encoder::Work;
use crate::media::{JobId, Plan, TitleId};

/// A claim lasts this long without a heartbeat.
const LEASE_MS: i64 = 9000;
/// Heartbeats: how soon a job stops that was called off.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pause between looks at the queue: a command beside the server enters jobs that nobody announces here.
const LOOK: Duration = Duration::from_secs(5);
/// An object that was given up, because viewers needed the slots, or that somebody else makes is asked for again after this
/// pause.
const AGAIN: Duration = Duration::from_secs(1);
/// One that fails this often in a row fails the job.
const ATTEMPTS: u32 = 5;
/// The same while no worker can be started, which is tried again every few seconds anyway.
const WORKERLESS: Duration = Duration::from_secs(15);
/// After so many such pauses in a row, an hour of them, the job fails rather than seem to go on.
const MOST_WORKERLESS: u32 = 240;

/// Why a job ends early, and what to do.
const NO_ROOM: &str = "the cache is full of what was made or watched within a day: raise cache.disk_bytes (or free some disk, if \
    that has less), or warm fewer renditions or a shorter stretch";

/// What part of a title. An empty one is all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Range {
    /// Names of renditions; none for all.
    pub renditions: Option<Vec<String>>,
    /// From this time of the title on, seconds.
    pub from: Option<f64>,
    /// Up to and without this time, seconds.
    pub to: Option<f64>,
}

/// Why a range makes no sense for a title.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RangeError {
    /// There is no such rendition.
    #[error("the title has no rendition {name:?}; it has {known}")]
    Rendition {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A time before the title.
    #[error("from and to are seconds of the title, 0 or more")]
    Before,
    /// Nothing lies between the times.
    #[error("from {from} to {to} s there is nothing of this title, which lasts {duration} s")]
    Empty {
        /// Begin, seconds.
        from: f64,
        /// End, seconds.
        to: f64,
        /// Of the title, seconds.
        duration: f64,
    },
}

/// A title that is being warmed.
struct Read {
    title: TitleId,
    /// The catalog's, of what was read.
    mark: u64,
    work: Work,
}

/// Why a job does not go on.
enum Stop {
    /// Something cannot be made.
    Failed(Failure),
    /// The title has another film by now, or none.
    Replaced,
}

/// How often one object was tried in vain.
#[derive(Default)]
struct Patience {
    failed: u32,
    workerless: u32,
}

impl Range {
    /// The objects it stands for, each rendition's in the order of the timeline.
    ///
    /// # Errors
    /// [`RangeError`], in words for whoever asked.
    pub fn objects(&self, plan: &Plan) -> Result<Vec<(usize, Object)>, RangeError> {
        let all: Vec<&str> = plan.renditions.iter().map(|of| of.name.as_str()).collect();
        let wanted = self.renditions.as_ref().filter(|names| !names.is_empty());
        for name in wanted.into_iter().flatten() {
            if !all.contains(&name.as_str()) {
                return Err(RangeError::Rendition { name: name.clone(), known: all.join(", ") });
            }
        }
        if self.from.into_iter().chain(self.to).any(|at| at < 0.0) {
            return Err(RangeError::Before);
        }
        let duration = plan.duration_seconds();
        let (from, to) = (self.from.unwrap_or(0.0), self.to.unwrap_or(duration));
        let mut objects = Vec::new();
        for (index, of) in plan.renditions.iter().enumerate() {
            if wanted.is_some_and(|names| !names.iter().any(|name| *name == of.name.as_str())) {
                continue;
            }
            let seconds = |at: u64| of.grid.timescale().seconds(at.cast_signed());
            let within = |n: &u32| of.grid.segment(*n).is_some_and(|(a, b)| seconds(a.at) < to && seconds(b.at) > from);
            let mut segments = (0..of.grid.segments()).filter(within).peekable();
            if segments.peek().is_some() {
                objects.push((index, Object::Init));
                objects.extend(segments.map(|n| (index, Object::Segment(n))));
            }
        }
        if objects.is_empty() { Err(RangeError::Empty { from, to, duration }) } else { Ok(objects) }
    }
}

impl Warmer {
    /// Enters a job. Blocks.
    ///
    /// # Errors
    /// [`catalog::Error::Busy`], [`catalog::Error::Full`]; nothing is entered then.
    pub fn enter(catalog: &catalog::Catalog, title: &TitleId, range: &Range) -> Result<JobId, catalog::Error> {
        let detail = serde_json::to_string(range).unwrap_or_default();
        let id = new_job_id().map_err(|why| catalog::Error::Chance(why.to_string()))?;
        catalog.insert_warming(&id, title, &detail, now_ms())?;
        Ok(id)
    }
}

/// Runs until the warmer closes.
pub(super) async fn go(inner: Arc<Inner>) {
    let mut closing = inner.closing.subscribe();
    let owner = format!("{}-{:016x}", std::process::id(), getrandom::u64().unwrap_or_default());
    loop {
        let (this, by) = (inner.clone(), owner.clone());
        let claimed = spawn_blocking(move || this.rooms.catalog.claim(Kind::Warm, lease(&by), &[])).await;
        match claimed {
            Ok(Ok(Some(job))) => inner.clone().work_on(job, &owner).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the queue of jobs cannot be read"),
            Err(error) => tracing::error!(%error, "reading the queue of jobs panicked"),
        }
        if *closing.borrow() {
            return;
        }
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            () = inner.jobs.notified() => {}
            () = sleep(LOOK) => {}
        }
    }
}

impl Inner {
    async fn work_on(self: Arc<Self>, job: Job, owner: &str) {
        let progress = AtomicU16::new(job.progress);
        let mut closing = self.closing.subscribe();
        let outcome = tokio::select! {
            outcome = self.do_it(&job, &progress) => outcome,
            () = self.keep(&job, owner, &progress) => {
                tracing::info!(job = %job.id, title = %job.title, "a job was called off");
                // There may be another.
                self.jobs.notify_one();
                return;
            }
            _ = closing.wait_for(|closing| *closing) => Outcome::Released,
        };
        let (this, owner, id) = (self.clone(), owner.to_owned(), job.id.clone());
        let ended = spawn_blocking(move || this.rooms.catalog.end_attempt(&job, &owner, now_ms(), &outcome)).await;
        if let Ok(Err(error)) = ended {
            tracing::error!(job = %id, %error, "the end of a job cannot be noted; it will be done again");
        }
        // There may be another.
        self.jobs.notify_one();
    }

    async fn do_it(self: &Arc<Self>, job: &Job, progress: &AtomicU16) -> Outcome {
        let range: Range = serde_json::from_str(&job.detail).unwrap_or_default();
        loop {
            let read = match self.read(&job.title).await {
                Ok(Some(read)) => read,
                Ok(None) => return failed("not-ready", "the title cannot be played".to_owned()),
                Err(failure) => return Outcome::Failed(failure),
            };
            match self.make_all(&range, read, progress).await {
                Ok(()) => return Outcome::Done,
                Err(Stop::Failed(failure)) => return Outcome::Failed(failure),
                Err(Stop::Replaced) => {
                    tracing::info!(job = %job.id, title = %job.title, "a job begins again: its title has another film")
                }
            }
        }
    }

    async fn make_all(self: &Arc<Self>, range: &Range, mut read: Read, progress: &AtomicU16) -> Result<(), Stop> {
        let objects =
            range.objects(&read.work.plan).map_err(|error| Stop::Failed(failure("range", error.to_string())))?;
        let (all, mut done) = (objects.len(), 0);
        for (renditions, object) in rows(&read.work.plan, objects) {
            progress.store(u16::try_from(done * 1000 / all).unwrap_or(1000), Ordering::Relaxed);
            if !self.has_room(&read.work, &renditions, object).await {
                let why = format!("after {done} of {all} objects {NO_ROOM}");
                return Err(Stop::Failed(failure("room", why)));
            }
            done += renditions.len();
            self.insist(&mut read, renditions, object).await?;
        }
        Ok(())
    }

    /// Whether what is not there yet of these can be kept without anything having to go that is watched, or was just made.
    async fn has_room(self: &Arc<Self>, work: &Work, renditions: &[usize], object: Object) -> bool {
        let of = renditions.iter().map(|at| &work.plan.renditions[*at]);
        let missing = of.filter(|of| !self.rooms.cache.holds(&work.key(of, object)));
        let bytes: u64 = missing.map(|of| policy::bytes(of, object)).sum();
        let this = self.clone();
        bytes == 0 || spawn_blocking(move || this.rooms.cache.has_room(bytes)).await.unwrap_or(true)
    }

    /// Has one object of some renditions made, however often viewers come in between, and whoever makes it in the end.
    async fn insist(self: &Arc<Self>, read: &mut Read, mut renditions: Vec<usize>, object: Object) -> Result<(), Stop> {
        let mut patience = Patience::default();
        loop {
            self.must_be_current(read).await?;
            let asked = renditions.len();
            let mut fates = self.ask(&read.work, &renditions, object).await;
            fates.retain(|(_, fate)| !matches!(fate, Fate::Made | Fate::There));
            if fates.is_empty() {
                return Ok(());
            }
            let pause = patience.after(asked, &fates).map_err(|at| {
                let name = &read.work.plan.renditions[at].name;
                Stop::Failed(failure("encode", format!("{name}/{object} cannot be made; the log says why")))
            })?;
            renditions = fates.into_iter().map(|(at, _)| at).collect();
            sleep(pause).await;
        }
    }

    /// A title as it is now; `None` if it cannot be played.
    async fn read(self: &Arc<Self>, title: &TitleId) -> Result<Option<Read>, Failure> {
        let (this, title) = (self.clone(), title.clone());
        let read = move || -> Result<Option<Read>, catalog::Error> {
            // The mark first: what changes in between is seen later.
            let Some(mark) = this.rooms.catalog.mark(&title)? else { return Ok(None) };
            Ok(this.work(&title)?.map(|work| Read { title, mark, work }))
        };
        match spawn_blocking(read).await {
            Ok(read) => read.map_err(|error| failure("catalog", error.to_string())),
            Err(error) => Err(failure("defect", error.to_string())),
        }
    }

    /// An error if the title has another film than the one that was read, or none. Changes of other kinds are taken in.
    async fn must_be_current(self: &Arc<Self>, read: &mut Read) -> Result<(), Stop> {
        let (this, title) = (self.clone(), read.title.clone());
        let mark = spawn_blocking(move || this.rooms.catalog.mark(&title)).await;
        // A catalog that cannot be read is no reason to stop: the heartbeat tells of it.
        if !matches!(mark, Ok(Ok(mark)) if mark != Some(read.mark)) {
            return Ok(());
        }
        match self.read(&read.title).await.map_err(Stop::Failed)? {
            Some(now) if now.work.generation == read.work.generation => {
                *read = now;
                Ok(())
            }
            Some(_) | None => Err(Stop::Replaced),
        }
    }

    /// Keeps the claim until it is lost.
    async fn keep(self: &Arc<Self>, job: &Job, owner: &str, progress: &AtomicU16) {
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let (this, id, owner, done) =
                (self.clone(), job.id.clone(), owner.to_owned(), progress.load(Ordering::Relaxed));
            let beat = spawn_blocking(move || this.rooms.catalog.beat(&id, lease(&owner), done)).await;
            match beat {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(job = %job.id, %error, "a job's heartbeat failed"),
                Err(error) => tracing::error!(job = %job.id, %error, "a job's heartbeat panicked"),
            }
        }
    }
}

impl Patience {
    /// What to wait for the next attempt, after these are left of so many; or which of them it is that fails. What viewers push
    /// aside, or others make, does not count.
    fn after(&mut self, asked: usize, left: &[(usize, Fate)]) -> Result<Duration, usize> {
        if left.len() < asked {
            *self = Self::default();
        }
        let find = |what: Fate| left.iter().find(|(_, fate)| *fate == what).map(|(at, _)| *at);
        let (failed, hindered) = (find(Fate::Failed), find(Fate::Hindered));
        self.failed += u32::from(failed.is_some());
        self.workerless = if hindered.is_some() { self.workerless + 1 } else { 0 };
        match (failed, hindered) {
            (Some(at), _) if self.failed >= ATTEMPTS => Err(at),
            (_, Some(at)) if self.workerless >= MOST_WORKERLESS => Err(at),
            (_, Some(_)) => Ok(WORKERLESS),
            (_, None) => Ok(AGAIN),
        }
    }
}

fn failure(code: &str, message: String) -> Failure {
    Failure { code: code.to_owned(), message }
}

fn failed(code: &str, message: String) -> Outcome {
    Outcome::Failed(failure(code, message))
}

/// What is made in one go, in the order of the timeline: of each segment the encodes of its pictures together, anything
/// else alone.
fn rows(plan: &Plan, objects: Vec<(usize, Object)>) -> Vec<(Vec<usize>, Object)> {
    let encoded = |at: usize, object| matches!(object, Object::Segment(_)) && plan.renditions[at].is_picture_encode();
    let mut by_object: BTreeMap<Object, Vec<usize>> = BTreeMap::new();
    for (rendition, object) in objects {
        by_object.entry(object).or_default().push(rendition);
    }
    let mut rows = Vec::new();
    for (object, renditions) in by_object {
        let (together, alone): (Vec<usize>, Vec<usize>) = renditions.into_iter().partition(|at| encoded(*at, object));
        rows.extend((!together.is_empty()).then_some((together, object)));
        rows.extend(alone.into_iter().map(|at| (vec![at], object)));
    }
    rows
}

fn lease(owner: &str) -> Lease<'_> {
    let now_ms = now_ms();
    Lease { owner, now_ms, until_ms: now_ms + LEASE_MS }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cache::Key;
    use crate::warmer::tests::{Bench, work};

    fn tries(patience: &mut Patience, left: &[(usize, Fate)]) -> u32 {
        (1..).find(|_| patience.after(left.len(), left).is_err()).unwrap()
    }

    /// A job failed for good after five seconds in which no worker could be started.
    #[test]
    fn a_job_without_workers_waits_for_them_and_what_fails_fails_it() {
        let (hindered, failed) = ([(0, Fate::Hindered)], [(0, Fate::GivenUp), (1, Fate::Failed)]);
        let mut patience = Patience::default();
        for _ in 0..10 * ATTEMPTS {
            assert_eq!(patience.after(1, &hindered), Ok(WORKERLESS));
            assert_eq!(patience.after(2, &[(0, Fate::GivenUp), (1, Fate::Elsewhere)]), Ok(AGAIN));
        }
        assert_eq!(tries(&mut patience, &failed), ATTEMPTS);
        assert_eq!(patience.after(2, &failed), Err(1));
        assert_eq!(patience.after(3, &failed), Ok(AGAIN), "one of three was made");
        assert_eq!(tries(&mut patience, &hindered), MOST_WORKERLESS);
    }

    /// It pushed out what was watched, then its own beginning, and was done.
    #[tokio::test]
    async fn a_job_that_finds_the_cache_full_of_what_is_used_fails() {
        let bench = Bench::new(10_000);
        let cache = &bench.inner.rooms.cache;
        // By then it is known what there is.
        cache.generations().await;
        let outcome = async || {
            let read = Read { title: TitleId::from_random(1), mark: 0, work: work() };
            bench.inner.make_all(&Range::default(), read, &AtomicU16::new(0)).await
        };
        // It began, and found that there is no such title.
        assert!(matches!(outcome().await, Err(Stop::Replaced)));
        for number in 0..20 {
            let generation = "fedcba9876543210".parse().unwrap();
            let key = Key { generation, rendition: "360p".parse().unwrap(), object: Object::Segment(number) };
            let mut writer = cache.lead_if_absent(&key).unwrap();
            writer.push(Bytes::from(vec![0; 900]));
            writer.commit().unwrap();
        }
        cache.flush().await;
        let Err(Stop::Failed(failure)) = outcome().await else { panic!("it has not failed") };
        assert_eq!(failure.code, "room");
        assert!(failure.message.starts_with("after 0 of 31 objects the cache is full"), "{}", failure.message);
    }
}

//! Workers bound to sources: how many there may be, and what becomes of one whose run waits.
//!
//! Whoever waits for a slot or for a viewer has its worker at rest here, where others may take its place. So those who have
//! slots never wait for those who want them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::blame::Blame;
use super::{Config, Error, Open, lock};
use crate::cache::Key;
use crate::media::{Digest, Templates};
use crate::worker::protocol::Request;
use crate::worker::{Pool, SendError, Worker};

/// Bound workers per heavy slot: those at work, those of runs that wait for their viewer, and those of their sound.
const PER_SLOT: usize = 4;
/// Nice level of encoding for viewers: the threads that serve what is there come first. What is made ahead for them is
/// made by the same workers: without privileges a level can be raised and never lowered again.
pub const NICE: i32 = 2;
/// Nice level of sound and of packets that are passed on: some tens of milliseconds, for which pictures wait that took longer.
pub const LIGHT_NICE: i32 = 0;
/// Nice level of warming: a fiftieth of what a viewer's encode gets beside it.
pub const WARM_NICE: i32 = 19;
/// A worker that has rested longer than a segment lasts belongs to a viewer who paused, left or went elsewhere: another
/// run of the same source may have it.
const FORGOTTEN: Duration = Duration::from_secs(6);

/// Who wants a worker.
#[derive(Clone, Copy)]
pub struct Claim {
    pub run: u64,
    pub nice: i32,
    /// The segment whose pictures it will decode for a viewer, if it will.
    pub at: Option<u32>,
}

/// The bound workers.
pub struct Tenants {
    pool: Pool,
    devices: Vec<PathBuf>,
    places: Places<Worker>,
    blame: Mutex<Blame>,
}

/// A worker bound to a source, its index loaded.
pub struct Tenant<W = Worker> {
    /// The worker.
    pub worker: W,
    nice: i32,
    _place: OwnedSemaphorePermit,
}

/// As many workers as there may be.
struct Places<W> {
    free: Arc<Semaphore>,
    /// Workers of runs that wait, longest first. Their decoders stay open.
    resting: Mutex<Vec<Resting<W>>>,
    /// Tells those who wait for a place that there is one more at rest.
    rested: Notify,
}

struct Resting<W> {
    run: u64,
    digest: Digest,
    since: Instant,
    /// The segment that its decoder stands before.
    stands: Option<u32>,
    tenant: Tenant<W>,
}

impl Tenants {
    pub fn new(pool: Pool, devices: Vec<PathBuf>, config: &Config) -> Self {
        let blame = Mutex::new(Blame::new(pool.config()));
        let places = Places::new((config.slots() * PER_SLOT).min(pool.most_bound()));
        Self { pool, devices, places, blame }
    }

    /// A worker for this source: one that stands before this segment, be it of the rendition that a player comes from; the run's
    /// own, if it is still there; one that its viewer forgot; or a fresh one. That reads the index, which grows with the length
    /// of the film: here it would be held once for each worker.
    pub async fn get(
        &self,
        claim: Claim,
        digest: &Digest,
        open: &Open,
        templates: &Templates,
    ) -> Result<Tenant, Error> {
        let nice = claim.nice;
        if let Some(mut tenant) = self.places.rested(claim, digest, Worker::is_alive) {
            tenant.worker.set_nice(nice);
            tenant.nice = nice;
            return Ok(tenant);
        }
        let place = self.places.take().await;
        let (open, wanted) = (Arc::clone(open), digest.clone());
        let opened = tokio::task::spawn_blocking(move || open(&wanted)).await;
        let source = opened.map_err(|e| Error::Source(e.to_string()))?.map_err(Error::Source)?;
        let worker = self.pool.bind(&source.path, Some(&source.index), &self.devices).await?;
        worker.set_nice(nice);
        let open = Request::Open { templates: templates.clone() };
        match worker.send(&open).await {
            Ok(()) => Ok(Tenant { worker, nice, _place: place }),
            Err(SendError::Gone) => Err(Error::Died(worker.kill().await)),
            Err(error) => Err(Error::Source(error.to_string())),
        }
    }

    /// A run waits; its worker, which stands before this segment, may be taken from it meanwhile.
    pub fn rest(&self, run: u64, digest: &Digest, stands: Option<u32>, tenant: Tenant) {
        self.places.rest(run, digest, stands, tenant);
    }

    /// A run is over; its worker, if it still rests, ends with it.
    pub fn end(&self, run: u64) {
        self.places.drop_if(|r| r.run == run);
    }

    /// The same, unless somebody used it since.
    pub fn end_rested(&self, run: u64, for_at_least: Duration) {
        self.places.drop_if(|r| r.run == run && r.since.elapsed() >= for_at_least);
    }

    /// Drops the workers at rest that have this source open.
    pub fn evict(&self, digest: &Digest) {
        self.places.drop_if(|r| r.digest == *digest);
    }

    /// Drops every worker at rest.
    pub async fn clear(&self) {
        let resting = std::mem::take(&mut *lock(&self.places.resting));
        for resting in resting {
            resting.tenant.worker.kill().await;
        }
    }

    /// Whether a worker may be risked on this object of this source, for a viewer or for nobody yet.
    pub fn check(&self, digest: &Digest, object: &Key, is_unasked: bool) -> Result<(), Error> {
        Ok(lock(&self.blame).check(digest, object, is_unasked, Instant::now().into_std())?)
    }

    /// What the end of a job says about its source and its objects: a worker that died of them counts against them, a
    /// success clears them.
    pub fn judge<'a>(
        &self,
        digest: &Digest,
        objects: impl IntoIterator<Item = &'a Key>,
        ended: Result<(), &Error>,
        is_unasked: bool,
    ) {
        lock(&self.blame).judge(digest, objects, ended, (is_unasked, Instant::now().into_std()));
    }
}

impl<W> Places<W> {
    fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), resting: Mutex::default(), rested: Notify::new() }
    }

    /// Room for one more worker; that which rests longest makes it if need be, also one that comes to rest later.
    async fn take(&self) -> OwnedSemaphorePermit {
        loop {
            // Before looking, so that none is missed.
            let rested = self.rested.notified();
            if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
                return place;
            }
            if self.evict_longest() {
                continue;
            }
            tokio::select! {
                place = Arc::clone(&self.free).acquire_owned() => return place.expect("the semaphore is never closed"),
                () = rested => {}
            }
        }
    }

    fn evict_longest(&self) -> bool {
        let mut resting = lock(&self.resting);
        let longest = (!resting.is_empty()).then(|| resting.remove(0));
        drop(resting);
        longest.is_some()
    }

    fn rest(&self, run: u64, digest: &Digest, stands: Option<u32>, tenant: Tenant<W>) {
        let resting = Resting { run, digest: digest.clone(), since: Instant::now(), stands, tenant };
        lock(&self.resting).push(resting);
        self.rested.notify_waiters();
    }

    /// One that stands where it is needed, of others only one that is as kind; the run's own; or one of the same source that was
    /// forgotten, or would have to make room for another of the same source, and is no kinder than this one shall be.
    fn rested(&self, claim: Claim, digest: &Digest, is_alive: impl Fn(&W) -> bool) -> Option<Tenant<W>> {
        let mut resting = lock(&self.resting);
        // What it died of while it rested is no fault of the next job, and must not cost that one its retry.
        resting.retain(|r| is_alive(&r.tenant.worker));
        let is_own = |r: &Resting<W>| r.run == claim.run;
        let is_there = |r: &Resting<W>| claim.at.is_some() && r.stands == claim.at;
        let suits = |r: &Resting<W>| r.digest == *digest && r.tenant.nice <= claim.nice;
        let changes = |r: &Resting<W>| suits(r) && is_there(r) && r.tenant.nice == claim.nice;
        let forgotten = |r: &Resting<W>| suits(r) && r.since.elapsed() > FORGOTTEN;
        let is_next_to_go = || self.free.available_permits() == 0 && resting.first().is_some_and(suits);
        let first = |of: &dyn Fn(&Resting<W>) -> bool| resting.iter().position(of);
        let found = first(&|r| is_own(r) && is_there(r))
            .or_else(|| first(&changes))
            .or_else(|| first(&is_own))
            .or_else(|| first(&forgotten))
            .or_else(|| is_next_to_go().then_some(0))?;
        Some(resting.remove(found).tenant)
    }

    fn drop_if(&self, condition: impl Fn(&Resting<W>) -> bool) {
        let dropped: Vec<Resting<W>> = lock(&self.resting).extract_if(.., |r| condition(r)).collect();
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn digest(n: u8) -> Digest {
        format!("{n:064x}").parse().unwrap()
    }

    async fn tenant(places: &Places<u8>, worker: u8, nice: i32) -> Tenant<u8> {
        Tenant { worker, nice, _place: places.take().await }
    }

    fn rested(places: &Places<u8>, run: u64, source: u8, nice: i32) -> Option<u8> {
        at(places, Claim { run, nice, at: None }, source)
    }

    fn at(places: &Places<u8>, claim: Claim, source: u8) -> Option<u8> {
        places.rested(claim, &digest(source), |_| true).map(|tenant| tenant.worker)
    }

    /// With many slots the pool refused workers that there was a place for.
    #[tokio::test]
    async fn there_are_no_more_places_than_workers_may_run() {
        let standing_by =
            |standby| crate::worker::Config { standby, program: Some("/nonexistent".into()), ..Default::default() };
        let pool = Pool::start(standing_by(0)).unwrap();
        let places = |workers| {
            let config = Config { workers, ..Config::default() };
            Tenants::new(pool.clone(), Vec::new(), &config).places.free.available_permits()
        };
        assert_eq!((places(1), places(2)), (4, 8));
        assert_eq!(places(32), pool.most_bound());
        assert_eq!(pool.most_bound() - Pool::start(standing_by(3)).unwrap().most_bound(), 3);
    }

    /// They looked once whether one was at rest, and waited for ever if all came to rest later.
    #[tokio::test(start_paused = true)]
    async fn workers_that_come_to_rest_later_make_room_for_those_who_wait() {
        let places = Places::new(2);
        let (one, two) = (tenant(&places, 1, NICE).await, tenant(&places, 2, NICE).await);
        let rest = async {
            places.rest(1, &digest(1), None, one);
            places.rest(2, &digest(2), None, two);
        };
        let all = async { tokio::join!(places.take(), places.take(), rest) };
        let _both = timeout(FORGOTTEN, all).await.expect("both have a place");
        assert_eq!((rested(&places, 1, 1, NICE), rested(&places, 2, 2, NICE)), (None, None));
    }

    #[tokio::test]
    async fn the_worker_that_rests_longest_makes_room_and_a_run_finds_its_own_again() {
        let places = Places::new(2);
        for run in [1, 2] {
            let worker = tenant(&places, run, NICE).await;
            places.rest(run.into(), &digest(run), None, worker);
        }
        let _third = places.take().await;
        assert_eq!((rested(&places, 1, 1, NICE), rested(&places, 2, 2, NICE)), (None, Some(2)));
    }

    /// Viewers at many places of one title had a worker started for each, and another killed for it.
    #[tokio::test]
    async fn what_would_make_room_for_a_worker_of_its_own_source_takes_its_work_instead() {
        let places = Places::new(2);
        for run in [1, 2] {
            let worker = tenant(&places, run, NICE).await;
            places.rest(run.into(), &digest(run), None, worker);
        }
        assert_eq!(rested(&places, 9, 2, NICE), None, "another has rested for longer");
        assert_eq!(rested(&places, 9, 1, NICE), Some(1));
        assert_eq!(rested(&places, 9, 2, NICE), None, "there is a place for one more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_viewer_forgot_is_anybodys_who_wants_it_as_kind() {
        let places = Places::new(2);
        for (run, nice) in [(1, WARM_NICE), (2, NICE)] {
            let worker = tenant(&places, run, nice).await;
            places.rest(run.into(), &digest(7), None, worker);
        }
        assert_eq!(rested(&places, 9, 7, NICE), None);
        tokio::time::advance(2 * FORGOTTEN).await;
        assert_eq!(rested(&places, 9, 8, NICE), None, "of another source");
        assert_eq!(rested(&places, 9, 7, NICE), Some(2));
        assert_eq!(rested(&places, 9, 7, NICE), None, "a worker for warming cannot become a viewer's");
        assert_eq!(rested(&places, 9, 7, WARM_NICE), Some(1));
    }

    /// A player that changed its rendition had a worker begin anew, and decode all that lies between there and a key frame.
    #[tokio::test]
    async fn whoever_changes_the_rendition_takes_the_decoder_along() {
        let places = Places::new(5);
        for (run, nice, stands) in [(1, WARM_NICE, Some(8)), (2, NICE, Some(7)), (3, NICE, Some(8)), (4, NICE, None)] {
            let worker = tenant(&places, run, nice).await;
            places.rest(run.into(), &digest(7), stands, worker);
        }
        let claim = |run, segment| Claim { run, nice: NICE, at: Some(segment) };
        assert_eq!(at(&places, claim(9, 8), 8), None, "of another source");
        assert_eq!(at(&places, claim(9, 5), 7), None, "none stands there");
        let warming = Claim { run: 9, nice: WARM_NICE, at: Some(7) };
        assert_eq!(at(&places, warming, 7), None, "a viewer's, and may be again");
        assert_eq!(at(&places, claim(2, 8), 7), Some(3), "its own stands elsewhere");
        assert_eq!(at(&places, claim(2, 8), 7), Some(2), "its own is better than none");
        assert_eq!(at(&places, claim(9, 8), 7), None, "what warms cannot become a viewer's");
    }
}

//! Workers bound to sources: how many there may be, and what becomes of one whose run waits for its viewer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Config, Error, Open, lock};
use crate::media::{Digest, Templates};
use crate::worker::protocol::Request;
use crate::worker::{Pool, Quarantine, SendError, Worker};

/// Bound workers per heavy slot: those at work, those of runs that wait for their viewer, and those of their sound.
const PER_SLOT: usize = 4;
/// Nice level of encoding for viewers: the threads that serve what is there come first. What is made ahead for them is
/// made by the same workers: without privileges a level can be raised and never lowered again.
pub const NICE: i32 = 5;
/// Nice level of warming: a fiftieth of what a viewer's encode gets beside it.
pub const WARM_NICE: i32 = 19;
/// A worker that has rested longer than a segment lasts belongs to a viewer who paused, left or went elsewhere: another
/// run of the same source may have it.
const FORGOTTEN: Duration = Duration::from_secs(6);

/// The bound workers.
pub struct Tenants {
    pool: Pool,
    devices: Vec<PathBuf>,
    places: Arc<Semaphore>,
    /// Workers of runs that wait for their viewer, longest first. Their decoders stay open.
    resting: Mutex<Vec<Resting>>,
    quarantine: Mutex<Quarantine>,
}

/// A worker bound to a source, its index loaded.
pub struct Tenant {
    /// The worker.
    pub worker: Worker,
    _place: OwnedSemaphorePermit,
}

struct Resting {
    run: u64,
    digest: Digest,
    since: Instant,
    tenant: Tenant,
}

impl Tenants {
    pub fn new(pool: Pool, devices: Vec<PathBuf>, config: &Config) -> Self {
        let quarantine = Mutex::new(Quarantine::new(pool.config()));
        let places = Arc::new(Semaphore::new(config.slots() * PER_SLOT));
        Self { pool, devices, places, resting: Mutex::default(), quarantine }
    }

    /// A worker for this source: the run's own if it is still there, one that its viewer forgot, or a fresh one. The source
    /// is opened for a fresh one alone and let go at once: its index grows with the length of the film.
    pub async fn get(
        &self,
        (run, nice): (u64, i32),
        digest: &Digest,
        open: &Open,
        templates: &Templates,
    ) -> Result<Tenant, Error> {
        lock(&self.quarantine).check(digest, Instant::now())?;
        if let Some(tenant) = self.rested(run, digest) {
            tenant.worker.set_nice(nice);
            return Ok(tenant);
        }
        let place = self.place().await;
        let (open, wanted) = (Arc::clone(open), digest.clone());
        let opened = tokio::task::spawn_blocking(move || open(&wanted)).await;
        let source = opened.map_err(|e| Error::Source(e.to_string()))?.map_err(Error::Source)?;
        let worker = self.pool.bind(&source.path, &self.devices).await?;
        worker.set_nice(nice);
        let open = Request::Open { index: source.index, templates: templates.clone() };
        match worker.send(&open).await {
            Ok(()) => Ok(Tenant { worker, _place: place }),
            Err(SendError::Gone) => Err(Error::Died(worker.kill().await)),
            Err(error) => Err(Error::Source(error.to_string())),
        }
    }

    fn rested(&self, run: u64, digest: &Digest) -> Option<Tenant> {
        let mut resting = lock(&self.resting);
        // What it died of while it rested is no fault of the next job, and must not cost that one its retry.
        resting.retain(|r| r.tenant.worker.is_alive());
        let own = resting.iter().position(|r| r.run == run);
        let forgotten = |r: &Resting| r.digest == *digest && r.since.elapsed() > FORGOTTEN;
        let found = own.or_else(|| resting.iter().position(forgotten))?;
        Some(resting.remove(found).tenant)
    }

    /// Room for one more worker; that which rests longest makes it if need be.
    async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        let longest = {
            let mut resting = lock(&self.resting);
            (!resting.is_empty()).then(|| resting.remove(0))
        };
        drop(longest);
        Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// A run waits for its viewer; its worker may be taken from it meanwhile.
    pub fn rest(&self, run: u64, digest: &Digest, tenant: Tenant) {
        let resting = Resting { run, digest: digest.clone(), since: Instant::now(), tenant };
        lock(&self.resting).push(resting);
    }

    /// A run is over; its worker, if it still rests, ends with it.
    pub fn end(&self, run: u64) {
        let ended: Vec<Resting> = lock(&self.resting).extract_if(.., |r| r.run == run).collect();
        drop(ended);
    }

    /// The same, unless somebody used it since.
    pub fn end_rested(&self, run: u64, for_at_least: Duration) {
        let rested = |r: &mut Resting| r.run == run && r.since.elapsed() >= for_at_least;
        let ended: Vec<Resting> = lock(&self.resting).extract_if(.., rested).collect();
        drop(ended);
    }

    /// Drops the workers at rest that have this source open.
    pub fn evict(&self, digest: &Digest) {
        let evicted: Vec<Resting> = lock(&self.resting).extract_if(.., |r| r.digest == *digest).collect();
        drop(evicted);
    }

    /// Drops every worker at rest.
    pub async fn clear(&self) {
        let resting = std::mem::take(&mut *lock(&self.resting));
        for resting in resting {
            resting.tenant.worker.kill().await;
        }
    }

    /// A worker died on this source.
    pub fn died(&self, digest: &Digest) {
        lock(&self.quarantine).died(digest, Instant::now());
    }

    /// A job on this source succeeded.
    pub fn succeeded(&self, digest: &Digest) {
        lock(&self.quarantine).succeeded(digest);
    }
}

//! Warming of one segment in several renditions at once: one worker decodes the source once and feeds an encoder for each.
//! The bytes are those that each would get alone.
//!
//! A viewer who comes for one of them gets an order of their own. Once that happens at work all are given up: its worker is
//! too kind to be a viewer's, and theirs has the machine. There is no second attempt: what is given up or fails is wished
//! for again, and one by one if their worker died.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::job::{self, Assembly, Outcome, watched};
use super::schedule::{Ask, Lane, Slot, Weight};
use super::tenants::{self, Claim, Tenant};
use super::{Encoder, Ended, Error, Work, commit, lock, pause, run};
use crate::cache::{FlightError, Writer};
use crate::media::Generation;
use crate::worker::protocol::{Event, Request};

/// Segments remembered that are not made together any more; of more the oldest is tried once again.
const MOST_APART: usize = 256;

/// What is made together.
#[derive(Default)]
pub struct Togethers {
    /// By recipe, so that it ends with its title.
    stops: Mutex<Vec<(Generation, Arc<Notify>)>>,
    /// What a worker died of: which rendition it was is found out by making each alone.
    apart: Mutex<VecDeque<(Generation, u32)>>,
}

/// Hears that it shall end.
struct Stop<'a> {
    all: &'a Togethers,
    stop: Arc<Notify>,
}

/// A segment that is wanted in several renditions.
pub struct Together {
    pub encoder: Encoder,
    pub work: Work,
    pub number: u32,
    pub rungs: Vec<Rung>,
}

/// One of them.
pub struct Rung {
    pub rendition: usize,
    pub writer: Writer,
}

/// One of them at work.
struct Working {
    job: u64,
    rendition: usize,
    writer: Writer,
    assembly: Assembly,
}

/// Those at work.
struct Batch {
    working: Vec<Working>,
    /// Some went wrong, whoever's fault it was.
    any_failed: bool,
}

impl Batch {
    fn take(&mut self, job: u64) -> Option<Working> {
        let at = self.working.iter().position(|one| one.job == job)?;
        Some(self.working.swap_remove(at))
    }

    /// Its worker died of one of those at work, and nobody knows of which.
    fn is_one_to_blame(&self, error: &Error) -> bool {
        self.working.len() > 1 && matches!(error, Error::Died(_))
    }
}

impl Together {
    /// Makes them, or as many as there is leave for. Ended with the title when that is removed.
    pub async fn go(self) {
        let inner = Arc::clone(&self.encoder.0);
        let (stop, run) = (inner.togethers.enter(&self.work.generation), self.run());
        tokio::select! {
            () = self.work_off() => {}
            () = stop.told() => inner.tenants.end(run),
        }
    }

    async fn work_off(mut self) {
        let Some(slot) = self.slot().await else { return };
        let inner = Arc::clone(&self.encoder.0);
        self.leave_alone();
        if self.rungs.is_empty() {
            return;
        }
        let run = self.run();
        let templates = inner.recipe.templates();
        let claim = Claim { run, nice: tenants::WARM_NICE, at: None };
        let tenant = tokio::select! {
            tenant = inner.tenants.get(claim, &self.work.digest, &inner.rooms.open, templates) => tenant,
            _ = watched(self.rungs.iter().map(|rung| &rung.writer)) => Err(Error::Cancelled),
            () = slot.wanted.notified() => Err(Error::Cancelled),
        };
        match tenant {
            Ok(mut tenant) => {
                if self.make(&mut tenant, &slot).await {
                    inner.tenants.rest(run, &self.work.digest, None, tenant);
                }
            }
            Err(error) => {
                for Rung { rendition, writer } in std::mem::take(&mut self.rungs) {
                    self.give_back(rendition, writer, &error);
                }
            }
        }
        drop(slot);
        // The next segment is most often asked for at once, and is the cheaper for a decoder that stands before it.
        sleep(run::UNASKED_IDLE).await;
        inner.tenants.end_rested(run, run::UNASKED_IDLE);
    }

    /// All that is made together of a recipe counts as one run, so that its worker goes from segment to segment.
    fn run(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.work.generation.hash(&mut hasher);
        // Other runs are counted from zero.
        hasher.finish() | 1 << 63
    }

    /// Waits for leave to work. Whoever is waited for meanwhile goes as a viewer's order.
    async fn slot(&mut self) -> Option<Slot> {
        let inner = Arc::clone(&self.encoder.0);
        let cost = self.rungs.iter().map(|rung| self.encoder.estimate(&self.work, rung.rendition, self.number)).sum();
        let due = tokio::time::Instant::now() + inner.config.patience();
        let ask = Ask { lane: Lane::Warm, title: self.work.generation.clone(), due, cost };
        let mut slot = pin!(inner.schedule.slot(ask, Weight::Heavy));
        loop {
            let watched = tokio::select! {
                biased;
                at = watched(self.rungs.iter().map(|rung| &rung.writer)) => at,
                slot = &mut slot => match slot {
                    Ok(slot) => return Some(slot),
                    Err(_) => {
                        self.rungs.drain(..).for_each(|rung| rung.writer.fail(FlightError::Abandoned));
                        return None;
                    }
                },
            };
            let Rung { rendition, writer } = self.rungs.swap_remove(watched);
            self.encoder.take_over(&self.work, rendition, writer);
            if self.rungs.is_empty() {
                return None;
            }
        }
    }

    /// Gives back what killed too many workers.
    fn leave_alone(&mut self) {
        for Rung { rendition, writer } in std::mem::take(&mut self.rungs) {
            match self.encoder.0.tenants.check(&self.work.digest, writer.key(), true) {
                Ok(()) => self.rungs.push(Rung { rendition, writer }),
                Err(error) => self.give_back(rendition, writer, &error),
            }
        }
    }

    /// False if the worker is not to be used again.
    async fn make(&mut self, tenant: &mut Tenant, slot: &Slot) -> bool {
        let inner = Arc::clone(&self.encoder.0);
        let mut batch = Batch { working: Vec::new(), any_failed: false };
        for Rung { rendition, writer } in std::mem::take(&mut self.rungs) {
            let of = &self.work.plan.renditions[rendition];
            writer.flight().begin(true);
            match Assembly::new(of, self.number, inner.config.chunk_seconds) {
                Ok(assembly) => batch.working.push(Working { job: job::number(), rendition, writer, assembly }),
                Err(error) => self.give_back(rendition, writer, &error),
            }
        }
        let of = |one: &Working| (one.job, self.work.plan.renditions[one.rendition].clone());
        let jobs = batch.working.iter().map(of).collect();
        inner.started.fetch_add(batch.working.len() as u64, Ordering::Relaxed);
        let asked = job::ask(&mut tenant.worker, &Request::Segments { jobs, number: self.number }).await;
        let heard = match asked {
            Ok(()) => self.hear(tenant, slot, &mut batch).await,
            Err(error) => Err(error),
        };
        // One that failed is not trusted with what comes next.
        let Err(error) = heard else { return !batch.any_failed };
        inner.tenants.judge(&self.work.digest, batch.working.iter().map(|one| one.writer.key()), Err(&error), true);
        let jobs = batch.working.iter().map(|one| one.job).collect();
        let how = if matches!(error, Error::Cancelled) { Ended::Cancelled } else { Ended::Failed };
        let why = if batch.is_one_to_blame(&error) { &self.part(&error) } else { &error };
        // Before the worker has stopped: a viewer may wait.
        for Working { rendition, writer, .. } in batch.working {
            inner.ended(how, None);
            self.give_back(rendition, writer, why);
        }
        matches!(error, Error::Cancelled)
            && !batch.any_failed
            && matches!(job::stop(&mut tenant.worker, jobs, job::STOP_TIME).await, Error::Cancelled)
    }

    /// From now on they are made one by one. None of them has failed: they are only given up.
    fn part(&self, error: &Error) -> Error {
        let generation = &self.work.generation;
        tracing::warn!(%error, %generation, segment = self.number, "renditions that were warmed together are tried alone");
        self.encoder.0.togethers.part(generation, self.number);
        Error::Cancelled
    }

    /// Takes what comes until nothing is at work, or it is to stop; then `batch` has what is at work still.
    async fn hear(&self, tenant: &mut Tenant, slot: &Slot, batch: &mut Batch) -> Result<(), Error> {
        let mut crowded = self.encoder.0.schedule.crowded();
        while !batch.working.is_empty() {
            let event = tokio::select! {
                event = pause::next(&mut tenant.worker, &mut crowded) => event?.ok_or(Error::Cancelled)?,
                () = slot.wanted.notified() => return Err(Error::Cancelled),
                _ = watched(batch.working.iter().map(|one| &one.writer)) => return Err(Error::Cancelled),
            };
            match event {
                Event::Samples { job, samples } => {
                    let Some(mut one) = batch.take(job) else { continue };
                    match samples.into_iter().try_for_each(|sample| one.assembly.take(&mut one.writer, sample)) {
                        Ok(()) => batch.working.push(one),
                        Err(error) => self.failed(batch, (one.rendition, one.writer), &error),
                    }
                }
                Event::Finished { job, config, bridged } => {
                    let Some(one) = batch.take(job) else { continue };
                    self.finish(batch, one, (config, bridged)).await;
                }
                Event::Failed { job, message } => {
                    let Some(one) = batch.take(job) else { continue };
                    self.failed(batch, (one.rendition, one.writer), &Error::Job(message));
                }
                Event::Cancelled { job } => {
                    let Some(one) = batch.take(job) else { continue };
                    self.failed(
                        batch,
                        (one.rendition, one.writer),
                        &Error::Job("it stopped although nobody had told it to".into()),
                    );
                }
                // Heartbeats.
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks one that is whole and commits it.
    async fn finish(&self, batch: &mut Batch, one: Working, (config, bridged): (Vec<u8>, u32)) {
        let inner = &self.encoder.0;
        let Working { rendition, writer, assembly, .. } = one;
        let agreed = async {
            let rest = assembly.end()?;
            let outcome = Outcome { rest, config, bridged, is_init: false, took: None };
            commit::agree(inner, &self.work, rendition, &outcome, (&writer, &mut None)).await?;
            Ok(outcome)
        };
        match agreed.await {
            Ok(outcome) => {
                inner.tenants.judge(&self.work.digest, [writer.key()], Ok(()), true);
                commit::commit(inner, &self.work, rendition, outcome, writer);
                inner.ended(Ended::Finished, None);
            }
            Err(error) => self.failed(batch, (rendition, writer), &error),
        }
    }

    /// One went wrong; the others go on.
    fn failed(&self, batch: &mut Batch, (rendition, writer): (usize, Writer), error: &Error) {
        batch.any_failed = true;
        self.encoder.0.ended(Ended::Failed, None);
        self.give_back(rendition, writer, error);
    }

    /// It was not made. A viewer who waits for it by now gets an order of their own, which repeats what was sent.
    fn give_back(&self, rendition: usize, writer: Writer, error: &Error) {
        let why = match error {
            Error::Cancelled => FlightError::Abandoned,
            error => {
                tracing::warn!(%error, key = %writer.key(), "warming failed");
                error.flight()
            }
        };
        if let Some(writer) = writer.fail_if_unwatched(why) {
            self.encoder.take_over(&self.work, rendition, writer);
        }
    }
}

impl Togethers {
    /// Told to end when [`Togethers::stop`] is called for this recipe, until it is dropped.
    fn enter(&self, generation: &Generation) -> Stop<'_> {
        let stop = Arc::new(Notify::new());
        lock(&self.stops).push((generation.clone(), Arc::clone(&stop)));
        Stop { all: self, stop }
    }

    /// Ends what is made together of a recipe.
    pub fn stop(&self, generation: &Generation) {
        for (_, stop) in lock(&self.stops).iter().filter(|(of, _)| of == generation) {
            stop.notify_one();
        }
    }

    /// This segment of a recipe is not made together any more.
    pub fn part(&self, generation: &Generation, number: u32) {
        let mut apart = lock(&self.apart);
        if apart.len() >= MOST_APART {
            apart.pop_front();
        }
        apart.push_back((generation.clone(), number));
    }

    /// Whether this segment of a recipe is to be made one rendition at a time.
    pub fn is_apart(&self, generation: &Generation, number: u32) -> bool {
        lock(&self.apart).iter().any(|(of, segment)| *segment == number && of == generation)
    }
}

impl Stop<'_> {
    async fn told(&self) {
        self.stop.notified().await;
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        lock(&self.all.stops).retain(|(_, stop)| !Arc::ptr_eq(stop, &self.stop));
    }
}

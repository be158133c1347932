//! Warming of one segment in several renditions at once: one worker decodes the source once and feeds an encoder for each.
//! The bytes are those that each would get alone.
//!
//! A viewer who comes for one of them before it began gets an order of their own; later the others are given up, so that
//! theirs has the machine. There is no second attempt: what is given up or fails is wished for again.

use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::job::{self, Assembly, Outcome, STOP_TIME};
use super::schedule::{Ask, Lane, Slot, Weight};
use super::tenants::{self, Tenant};
use super::{Encoder, Ended, Error, Order, Placed, Work, commit, lock, run};
use crate::cache::{FlightError, Object, Writer};
use crate::media::Generation;
use crate::worker::protocol::{Event, Request};

/// What is made together, by recipe, so that it ends with its title.
#[derive(Default)]
pub struct Togethers(Mutex<Vec<(Generation, Arc<Notify>)>>);

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

/// Those at work, and what became of the others.
#[derive(Default)]
struct Heard {
    working: Vec<Working>,
    /// Told to stop, and not heard of since.
    leaving: Vec<u64>,
    /// Some were committed.
    any_finished: bool,
    /// Some went wrong, whoever's fault it was.
    any_failed: bool,
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
        let run = self.run();
        let templates = inner.recipe.templates();
        let tenant =
            inner.tenants.get((run, tenants::WARM_NICE), &self.work.digest, &inner.rooms.open, templates).await;
        match tenant {
            Ok(mut tenant) => {
                if self.make(&mut tenant, &slot).await {
                    inner.tenants.rest(run, &self.work.digest, tenant);
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
        sleep(run::WARM_IDLE).await;
        inner.tenants.end_rested(run, run::WARM_IDLE);
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
            self.place(rendition, writer);
            if self.rungs.is_empty() {
                return None;
            }
        }
    }

    /// False if the worker is not to be used again.
    async fn make(&mut self, tenant: &mut Tenant, slot: &Slot) -> bool {
        let inner = Arc::clone(&self.encoder.0);
        let mut heard = Heard::default();
        for Rung { rendition, writer } in std::mem::take(&mut self.rungs) {
            let of = &self.work.plan.renditions[rendition];
            match Assembly::new(of, self.number, inner.config.chunk_seconds) {
                Ok(assembly) => heard.working.push(Working { job: job::number(), rendition, writer, assembly }),
                Err(error) => self.give_back(rendition, writer, &error),
            }
        }
        let of = |one: &Working| (one.job, self.work.plan.renditions[one.rendition].clone());
        let jobs = heard.working.iter().map(of).collect();
        inner.started.fetch_add(heard.working.len() as u64, Ordering::Relaxed);
        let since = Instant::now();
        let asked = job::ask(&mut tenant.worker, &Request::Segments { jobs, number: self.number }).await;
        let ended = match asked {
            Ok(()) => self.hear(tenant, slot, &mut heard, since).await,
            Err(error) => Err(error),
        };
        if heard.any_finished {
            inner.tenants.succeeded(&self.work.digest);
        }
        if let Err(error) = &ended {
            if let Error::Died(death) = error
                && death.exit.is_suspicious()
            {
                inner.tenants.died(&self.work.digest);
            }
            for one in heard.working.drain(..) {
                inner.ended(Ended::Failed, since);
                self.give_back(one.rendition, one.writer, error);
            }
        }
        // One that failed is not trusted with what comes next.
        ended.is_ok() && !heard.any_failed
    }

    /// Takes what comes until nothing is at work. On an error what is left has not ended.
    async fn hear(&self, tenant: &mut Tenant, slot: &Slot, heard: &mut Heard, since: Instant) -> Result<(), Error> {
        // Once a viewer has come only what viewers wait for is made.
        let mut stopping = false;
        while !heard.working.is_empty() || !heard.leaving.is_empty() {
            let patience = if heard.working.is_empty() { STOP_TIME } else { Duration::MAX };
            let writers = || heard.working.iter().map(|one| &one.writer);
            let next = async {
                tokio::select! {
                    event = tenant.worker.next() => event.map(Some),
                    () = slot.wanted.notified(), if !stopping => Ok(None),
                    _ = watched(writers()), if !stopping => Ok(None),
                    () = any_unwatched(writers()), if stopping => Ok(None),
                }
            };
            match timeout(patience, next).await.map_err(|_| Error::Stuck)?? {
                Some(event) => {
                    if let Event::Finished { job, .. } | Event::Failed { job, .. } | Event::Cancelled { job } = &event {
                        heard.leaving.retain(|left| left != job);
                    }
                    self.take(tenant, heard, event, since).await?;
                }
                None => {
                    stopping = true;
                    let unwatched = heard.working.extract_if(.., |one| one.writer.viewers() == 0);
                    for one in unwatched.collect::<Vec<_>>() {
                        let job = one.job;
                        self.encoder.0.ended(Ended::Cancelled, since);
                        self.give_back(one.rendition, one.writer, &Error::Cancelled);
                        heard.leave(tenant, job).await?;
                    }
                    if !heard.working.is_empty() {
                        slot.promote();
                    }
                }
            }
        }
        Ok(())
    }

    async fn take(&self, tenant: &mut Tenant, heard: &mut Heard, event: Event, since: Instant) -> Result<(), Error> {
        let of = match &event {
            Event::Samples { job, .. }
            | Event::Finished { job, .. }
            | Event::Failed { job, .. }
            | Event::Cancelled { job } => *job,
            // Heartbeats.
            _ => return Ok(()),
        };
        let Some(at) = heard.working.iter().position(|one| one.job == of) else { return Ok(()) };
        if let Event::Samples { samples, .. } = event {
            let one = &mut heard.working[at];
            let taken = samples.into_iter().try_for_each(|sample| one.assembly.take(&mut one.writer, sample));
            if let Err(error) = taken {
                self.failed(heard.fail(at), since, &error);
                heard.leave(tenant, of).await?;
            }
            return Ok(());
        }
        let inner = &self.encoder.0;
        match event {
            Event::Finished { config, bridged, .. } => {
                let mut one = heard.working.swap_remove(at);
                let outcome = one.assembly.end().map(|rest| Outcome { rest, config, bridged, is_init: false });
                let agreed = outcome.and_then(|outcome| {
                    commit::agree(inner, &self.work, one.rendition, &outcome, (&one.writer, &mut None))?;
                    Ok(outcome)
                });
                match agreed {
                    Ok(outcome) => {
                        heard.any_finished = true;
                        one.writer.took(since.elapsed());
                        commit::commit(inner, &self.work, one.rendition, outcome, one.writer);
                        inner.ended(Ended::Finished, since);
                    }
                    Err(error) => {
                        heard.any_failed = true;
                        self.failed((one.rendition, one.writer), since, &error);
                    }
                }
            }
            Event::Failed { message, .. } => self.failed(heard.fail(at), since, &Error::Job(message)),
            _ => {
                let one = heard.working.swap_remove(at);
                inner.ended(Ended::Cancelled, since);
                self.give_back(one.rendition, one.writer, &Error::Cancelled);
            }
        }
        Ok(())
    }

    fn failed(&self, (rendition, writer): (usize, Writer), since: Instant, error: &Error) {
        self.encoder.0.ended(Ended::Failed, since);
        self.give_back(rendition, writer, error);
    }

    /// It was not made. A viewer who waits for it by now gets an order of their own, which repeats what was sent.
    fn give_back(&self, rendition: usize, writer: Writer, error: &Error) {
        let Some(writer) = writer.abandon_if_unwatched() else {
            if !matches!(error, Error::Cancelled) {
                tracing::warn!(%error, generation = %self.work.generation, rendition, number = self.number, "warming failed");
            }
            return;
        };
        self.place(rendition, writer);
    }

    fn place(&self, rendition: usize, writer: Writer) {
        let order =
            Order { work: self.work.clone(), rendition, object: Object::Segment(self.number), writer, due_in: None };
        self.encoder.place(Placed { order, lane: Lane::Viewer, due: tokio::time::Instant::now() });
    }
}

impl Heard {
    /// Takes out one that went wrong.
    fn fail(&mut self, at: usize) -> (usize, Writer) {
        let Working { rendition, writer, .. } = self.working.swap_remove(at);
        self.any_failed = true;
        (rendition, writer)
    }

    /// Tells the worker to stop a job; it is not free before it says that it has.
    async fn leave(&mut self, tenant: &mut Tenant, job: u64) -> Result<(), Error> {
        self.leaving.push(job);
        job::ask(&mut tenant.worker, &Request::Cancel { job }).await
    }
}

impl Togethers {
    /// Told to end when [`Togethers::stop`] is called for this recipe, until it is dropped.
    fn enter(&self, generation: &Generation) -> Stop<'_> {
        let stop = Arc::new(Notify::new());
        lock(&self.0).push((generation.clone(), Arc::clone(&stop)));
        Stop { all: self, stop }
    }

    /// Ends what is made together of a recipe.
    pub fn stop(&self, generation: &Generation) {
        for (_, stop) in lock(&self.0).iter().filter(|(of, _)| of == generation) {
            stop.notify_one();
        }
    }
}

impl Stop<'_> {
    async fn told(&self) {
        self.stop.notified().await;
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        lock(&self.all.0).retain(|(_, stop)| !Arc::ptr_eq(stop, &self.stop));
    }
}

/// Resolves when nobody waits for one of these.
async fn any_unwatched<'a>(writers: impl Iterator<Item = &'a Writer>) {
    let mut all: Vec<_> = writers.map(|writer| Box::pin(writer.unwatched())).collect();
    poll_fn(|context| {
        let left = all.iter_mut().any(|one| one.as_mut().poll(context).is_ready());
        if left { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The first of these that somebody waits for.
async fn watched<'a>(writers: impl Iterator<Item = &'a Writer>) -> usize {
    let mut all: Vec<_> = writers.map(|writer| Box::pin(writer.flight().watched())).collect();
    poll_fn(|context| {
        let ready = all.iter_mut().position(|one| one.as_mut().poll(context).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

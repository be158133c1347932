//! Warming of one segment in several renditions at once: one worker decodes the source once and feeds an encoder for each.
//! The bytes are those that each would get alone.
//!
//! A viewer who comes for one of them before it began gets an order of their own; later the others are given up, so that
//! theirs has the machine. There is no second attempt: what is given up or fails is wished for again.

use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::job::{self, Assembly, Outcome, STOP_TIME};
use super::schedule::{Ask, Lane, Slot, Weight};
use super::tenants::{self, Tenant};
use super::{Encoder, Ended, Error, Order, Placed, Work, commit, run};
use crate::cache::{FlightError, Object, Writer};
use crate::worker::protocol::{Event, Request};

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

impl Together {
    pub async fn go(mut self) {
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
        let mut working = Vec::new();
        for Rung { rendition, writer } in std::mem::take(&mut self.rungs) {
            let of = &self.work.plan.renditions[rendition];
            match Assembly::new(of, self.number, inner.config.chunk_seconds) {
                Ok(assembly) => working.push(Working { job: job::number(), rendition, writer, assembly }),
                Err(error) => self.give_back(rendition, writer, &error),
            }
        }
        let of = |one: &Working| (one.job, self.work.plan.renditions[one.rendition].clone());
        let jobs = working.iter().map(of).collect();
        inner.started.fetch_add(working.len() as u64, Ordering::Relaxed);
        let since = Instant::now();
        let asked = job::ask(&mut tenant.worker, &Request::Segments { jobs, number: self.number }).await;
        let ended = match asked {
            Ok(()) => self.hear(tenant, slot, &mut working, since).await,
            Err(error) => Err(error),
        };
        match &ended {
            Ok(()) => inner.tenants.succeeded(&self.work.digest),
            Err(Error::Died(death)) if death.exit.is_suspicious() => inner.tenants.died(&self.work.digest),
            Err(_) => {}
        }
        if let Err(error) = &ended {
            for one in working {
                inner.ended(Ended::Failed, since);
                self.give_back(one.rendition, one.writer, error);
            }
        }
        ended.is_ok()
    }

    /// Takes what comes until nothing is at work. On an error what is left has not ended.
    async fn hear(
        &self,
        tenant: &mut Tenant,
        slot: &Slot,
        working: &mut Vec<Working>,
        since: Instant,
    ) -> Result<(), Error> {
        // Told to stop, and not heard of since.
        let mut leaving: Vec<u64> = Vec::new();
        let mut stopping = false;
        while !working.is_empty() || !leaving.is_empty() {
            let patience = if working.is_empty() { STOP_TIME } else { Duration::MAX };
            let heard = async {
                tokio::select! {
                    event = tenant.worker.next() => event.map(Some),
                    () = slot.wanted.notified(), if !stopping => Ok(None),
                    _ = watched(working.iter().map(|one| &one.writer)), if !stopping => {
                        slot.promote();
                        Ok(None)
                    }
                }
            };
            match timeout(patience, heard).await.map_err(|_| Error::Stuck)?? {
                Some(event) => {
                    if let Event::Finished { job, .. } | Event::Failed { job, .. } | Event::Cancelled { job } = &event {
                        leaving.retain(|left| left != job);
                    }
                    self.take(tenant, working, event, since).await?;
                }
                // Those that a viewer waits for go on.
                None => {
                    stopping = true;
                    for one in working.extract_if(.., |one| one.writer.viewers() == 0) {
                        leaving.push(one.job);
                        self.encoder.0.ended(Ended::Cancelled, since);
                        self.give_back(one.rendition, one.writer, &Error::Cancelled);
                    }
                    for job in &leaving {
                        job::ask(&mut tenant.worker, &Request::Cancel { job: *job }).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn take(
        &self,
        tenant: &mut Tenant,
        working: &mut Vec<Working>,
        event: Event,
        since: Instant,
    ) -> Result<(), Error> {
        let of = match &event {
            Event::Samples { job, .. }
            | Event::Finished { job, .. }
            | Event::Failed { job, .. }
            | Event::Cancelled { job } => *job,
            // Heartbeats.
            _ => return Ok(()),
        };
        let Some(at) = working.iter().position(|one| one.job == of) else { return Ok(()) };
        let inner = &self.encoder.0;
        match event {
            Event::Samples { samples, .. } => {
                let one = &mut working[at];
                let taken = samples.into_iter().try_for_each(|sample| one.assembly.take(&mut one.writer, sample));
                if let Err(error) = taken {
                    let one = working.swap_remove(at);
                    self.give_back(one.rendition, one.writer, &error);
                    job::ask(&mut tenant.worker, &Request::Cancel { job: of }).await?;
                }
            }
            Event::Finished { config, bridged, .. } => {
                let Working { rendition, mut writer, assembly, .. } = working.swap_remove(at);
                let outcome = assembly.end().map(|rest| Outcome { rest, config, bridged, is_init: false });
                let agreed = outcome.and_then(|outcome| {
                    commit::agree(inner, &self.work, rendition, &outcome, &mut None)?;
                    Ok(outcome)
                });
                match agreed {
                    Ok(outcome) => {
                        writer.took(since.elapsed());
                        commit::commit(inner, &self.work, rendition, outcome, writer);
                        inner.ended(Ended::Finished, since);
                    }
                    Err(error) => {
                        inner.ended(Ended::Failed, since);
                        self.give_back(rendition, writer, &error);
                    }
                }
            }
            Event::Failed { message, .. } => {
                let one = working.swap_remove(at);
                inner.ended(Ended::Failed, since);
                self.give_back(one.rendition, one.writer, &Error::Job(message));
            }
            _ => {
                let one = working.swap_remove(at);
                inner.ended(Ended::Cancelled, since);
                self.give_back(one.rendition, one.writer, &Error::Cancelled);
            }
        }
        Ok(())
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

/// The first of these that somebody waits for.
async fn watched<'a>(writers: impl Iterator<Item = &'a Writer>) -> usize {
    let mut all: Vec<_> = writers.map(|writer| Box::pin(writer.flight().watched())).collect();
    poll_fn(|context| {
        let ready = all.iter_mut().position(|one| one.as_mut().poll(context).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

//! Posters and thumbnails: short jobs of their own that yield to everything a player waits for. They take light slots
//! as look-ahead does, so that a viewer takes theirs; what was stopped so begins anew when there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::job::{self, ask};
use super::run::ATTEMPTS;
use super::schedule::{Ask, Lane, Slot, Weight};
use super::tenants::{Claim, Tenant};
use super::{Encoder, Ended, Error, Inner, Work, run};
use crate::cache::{FlightError, Writer};
use crate::media::Picture;
use crate::packager::check_jpeg;
use crate::worker::protocol::{Event, Request};

/// Pictures that wait for their turn; whoever comes then is told to come back. A page of titles asks for a poster each.
const WAITING: usize = 128;
/// Pictures at work for each heavy slot: half of the light ones are left to sound and passthrough.
const PER_SLOT: usize = 1;
/// A picture is a few seconds' work at most. One that takes longer is given up, or a strange file would hold its turn.
const LONGEST: Duration = Duration::from_secs(60);
/// Nice level: below that of encoding segments.
const NICE: i32 = 12;
/// About what one takes, for the queue's sake.
const USUAL: Duration = Duration::from_millis(500);

/// A picture to make.
#[derive(Debug)]
pub struct PictureOrder {
    /// The title.
    pub work: Work,
    /// Which picture of it.
    pub picture: Picture,
    /// Where the bytes go. Whoever waits for them has a reader of it by now.
    pub writer: Writer,
}

/// How many pictures may be made, and wait to be.
pub struct Turns {
    waiting: Arc<Semaphore>,
    at_work: Semaphore,
}

impl Turns {
    pub fn new(slots: usize) -> Self {
        Self { waiting: Arc::new(Semaphore::new(WAITING)), at_work: Semaphore::new(slots * PER_SLOT) }
    }
}

impl Encoder {
    /// Takes an order for a picture; the flight it belongs to then ends with the whole of it, or fails. Call it within a
    /// tokio runtime.
    pub fn picture(&self, order: PictureOrder) {
        let Ok(place) = Arc::clone(&self.0.pictures.waiting).try_acquire_owned() else {
            return order.writer.fail(FlightError::Busy { retry_after_seconds: FlightError::RETRY_SECONDS });
        };
        self.spawn(go(Arc::clone(&self.0), order, place));
    }
}

async fn go(inner: Arc<Inner>, order: PictureOrder, _place: OwnedSemaphorePermit) {
    let PictureOrder { work, picture, mut writer } = order;
    let mut failures = 0;
    while let Some((slot, _turn)) = turn(&inner, &work, &writer).await {
        if failures == 0 {
            inner.started.fetch_add(1, Ordering::Relaxed);
        }
        let key = writer.key().clone();
        match attempt(&inner, &work, &picture, &writer, &slot).await {
            Ok(jpeg) => {
                inner.ended(Ended::Finished, None);
                if jpeg.is_empty() {
                    return writer.fail(FlightError::NotFound);
                }
                writer.push(jpeg);
                if let Err(error) = writer.commit() {
                    tracing::error!(%error, %key, "a finished picture cannot be committed");
                }
                return;
            }
            Err(Error::Cancelled) => {
                inner.ended(Ended::Cancelled, None);
                let Some(watched) = writer.abandon_if_unwatched() else { return };
                // A viewer of something else needed the slot, or somebody came in this instant.
                writer = watched;
            }
            Err(error) => {
                failures += 1;
                if failures == ATTEMPTS || !error.is_retryable() {
                    inner.ended(Ended::Failed, None);
                    tracing::error!(%error, %key, "a picture could not be made");
                    return writer.fail(error.flight());
                }
                tracing::warn!(%error, %key, "a picture failed and is tried once more");
            }
        }
    }
    drop(writer.abandon_if_unwatched());
}

/// Waits for leave to work; `None` if everybody left meanwhile, or the encoder closes.
async fn turn<'a>(inner: &'a Inner, work: &Work, writer: &Writer) -> Option<(Slot, tokio::sync::SemaphorePermit<'a>)> {
    let both = async {
        let (title, due) = (work.generation.clone(), tokio::time::Instant::now());
        let ask = Ask { lane: Lane::Ahead, title, due, cost: USUAL };
        let turn = inner.pictures.at_work.acquire().await.ok()?;
        Some((inner.schedule.slot(ask, Weight::Light).await.ok()?, turn))
    };
    tokio::select! {
        both = both => both,
        () = writer.unwatched() => None,
    }
}

/// The file; empty if the source holds no such picture.
async fn attempt(inner: &Inner, work: &Work, picture: &Picture, writer: &Writer, slot: &Slot) -> Result<Bytes, Error> {
    let claim = Claim { run: run::number(), nice: NICE, at: None };
    let made = async {
        inner.tenants.check(&work.digest, writer.key(), false)?;
        let templates = inner.recipe.templates();
        let mut tenant = inner.tenants.get(claim, &work.digest, &inner.rooms.open, templates).await?;
        let made = timeout(LONGEST, one(&mut tenant, picture)).await;
        made.unwrap_or(Err(Error::TooSlow { seconds: LONGEST.as_secs() }))
    };
    let result = tokio::select! {
        result = made => result,
        () = writer.unwatched() => Err(Error::Cancelled),
        () = slot.wanted.notified() => Err(Error::Cancelled),
    };
    inner.tenants.judge(&work.digest, [writer.key()], result.as_ref().map(drop), false);
    result
}

/// One picture on one worker, which is good for nothing else afterwards: if it is stopped, it ends with its tenant.
async fn one(tenant: &mut Tenant, picture: &Picture) -> Result<Bytes, Error> {
    let (worker, job) = (&mut tenant.worker, job::number());
    ask(worker, &Request::Picture { job, picture: *picture }).await?;
    loop {
        match worker.next().await? {
            Event::Picture { job: of, jpeg } if of == job => {
                check_jpeg(picture, &jpeg)?;
                return Ok(jpeg);
            }
            Event::Failed { job: of, message } if of == job => return Err(Error::Job(message)),
            _ => {}
        }
    }
}

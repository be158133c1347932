//! A run: a rendition's segments in a row, by one worker. It makes what was ordered, then looks ahead as far as its credit
//! goes, then waits for its viewer to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::job::{Job, Outcome};
use super::schedule::{Full, Lane, Slot, Weight};
use super::tenants::Tenant;
use super::{BUSY_RETRY_SECONDS, Ended, Error, Inner, Order, Orders, Work};
use crate::cache::{FlightError, Object, Writer};
use crate::media::{Rendition, RenditionKind, VideoSource};

/// Attempts at one object: the first, and one on a fresh worker.
pub const ATTEMPTS: u32 = 2;
/// Orders that may wait for one run; more are given to another.
const ORDERS: usize = 64;

/// A run as the encoder sees it.
pub struct Handle {
    orders: mpsc::Sender<Box<(Order, Lane)>>,
    state: Arc<State>,
}

/// Where a run is.
struct State {
    /// The segment it makes now or would make next.
    at: AtomicU32,
    /// It makes something, or has something to make.
    busy: AtomicBool,
    /// One more than the last segment a viewer was seen at: look-ahead counts from there.
    asked: AtomicU32,
    /// Wakes a run at rest when its viewer has moved on.
    moved: Notify,
    /// Ends the run wherever it is.
    stopped: Notify,
}

/// A run as a task.
pub struct Run {
    id: u64,
    inner: Arc<Inner>,
    work: Work,
    rendition: usize,
    orders: Orders,
    state: Arc<State>,
    /// What was ordered and is not made yet.
    pending: BTreeMap<Object, (Writer, Lane)>,
    next: u32,
    tenant: Option<Tenant>,
    /// The init segment that every segment's parameter sets must agree with, once known.
    init: Option<Bytes>,
}

/// How waiting for a slot ended.
enum Turn {
    /// With leave to work.
    Work(Writer, Slot, Lane),
    /// Too many wait already.
    Busy(Writer),
    /// Everybody for whom it waited has left.
    Left,
}

impl Turn {
    fn of(writer: Writer, slot: Result<Slot, Full>, lane: Lane) -> Self {
        match slot {
            Ok(slot) => Self::Work(writer, slot, lane),
            Err(Full) => Self::Busy(writer),
        }
    }
}

static RUNS: AtomicU64 = AtomicU64::new(0);

/// A number no other run has.
pub fn number() -> u64 {
    RUNS.fetch_add(1, Ordering::Relaxed)
}

impl Handle {
    /// Will the run reach this soon?
    pub fn reaches(&self, object: Object, ahead: u32) -> bool {
        match object {
            Object::Init => true,
            Object::Iframe(n) | Object::Segment(n) => {
                let at = self.state.at.load(Ordering::Relaxed);
                // A run that only waits may go anywhere close by; one at work is as far away as what it has to make.
                (at..=at.saturating_add(ahead.max(1))).contains(&n)
            }
        }
    }

    /// A viewer is at this segment; if it is one this run made or will make soon, the run may look ahead from there.
    pub fn seen(&self, segment: u32, ahead: u32) {
        let at = self.state.at.load(Ordering::Relaxed);
        let near = at.saturating_sub(ahead + 1)..=at.saturating_add(ahead);
        if near.contains(&segment) && self.state.asked.fetch_max(segment + 1, Ordering::Relaxed) < segment + 1 {
            self.state.moved.notify_one();
        }
    }

    /// How far the run is from this, for choosing among several.
    pub fn distance(&self, object: Object) -> u32 {
        let busy = u32::from(self.state.busy.load(Ordering::Relaxed));
        match object {
            Object::Init => busy,
            Object::Iframe(n) | Object::Segment(n) => n.abs_diff(self.state.at.load(Ordering::Relaxed)) * 2 + busy,
        }
    }

    /// Hands an order over, or back if the run is over or has too much to do.
    pub fn take(&self, order: Box<(Order, Lane)>) -> Result<(), Box<(Order, Lane)>> {
        self.orders.try_send(order).map_err(TrySendError::into_inner)
    }

    /// Ends the run wherever it is; what it makes is abandoned.
    pub fn stop(&self) {
        self.state.stopped.notify_one();
    }

    /// True once the run takes no more orders.
    pub fn is_over(&self) -> bool {
        self.orders.is_closed()
    }
}

impl Run {
    /// A run that begins with this order, which must still be handed over.
    pub fn new(inner: &Arc<Inner>, order: &Order) -> (Handle, Self) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let next = match order.object {
            Object::Iframe(n) | Object::Segment(n) => n,
            Object::Init => 0,
        };
        let state = Arc::new(State {
            at: AtomicU32::new(next),
            busy: AtomicBool::new(true),
            asked: AtomicU32::new(0),
            moved: Notify::new(),
            stopped: Notify::new(),
        });
        let run = Self {
            id: number(),
            inner: Arc::clone(inner),
            work: order.work.clone(),
            rendition: order.rendition,
            orders,
            state: Arc::clone(&state),
            pending: BTreeMap::new(),
            next,
            tenant: None,
            init: None,
        };
        (Handle { orders: sender, state }, run)
    }

    /// Works until there is nothing to do for the idle time, or it is stopped.
    pub async fn go(mut self) {
        let state = Arc::clone(&self.state);
        tokio::select! {
            () = self.work() => {}
            () = state.stopped.notified() => {}
        }
        self.inner.tenants.end(self.id);
    }

    async fn work(&mut self) {
        loop {
            while let Ok(order) = self.orders.try_recv() {
                self.note(*order);
            }
            let job = self.pending.pop_first().or_else(|| self.look_ahead());
            self.state.busy.store(job.is_some(), Ordering::Relaxed);
            match job {
                Some((object, (writer, lane))) => self.make(object, writer, lane).await,
                None if !self.rest().await => return,
                None => {}
            }
        }
    }

    fn note(&mut self, (order, lane): (Order, Lane)) {
        if let (Object::Segment(n), Lane::Viewer, true) = (order.object, lane, order.ahead) {
            self.state.asked.store(n + 1, Ordering::Relaxed);
        }
        self.pending.insert(order.object, (order.writer, lane));
    }

    /// The next segment beyond what was asked for that nobody has or makes, as far as credit goes.
    fn look_ahead(&mut self) -> Option<(Object, (Writer, Lane))> {
        let last = self.state.asked.load(Ordering::Relaxed).checked_sub(1)?;
        let end = last.saturating_add(self.inner.config.lookahead_segments + 1).min(self.rendition().grid.segments());
        for number in self.next.max(last + 1)..end {
            let object = Object::Segment(number);
            let key = self.work.key(self.rendition(), object);
            if let Some(writer) = self.inner.rooms.cache.lead_if_absent(&key) {
                return Some((object, (writer, Lane::Ahead)));
            }
        }
        None
    }

    /// Waits for the next order, with the worker in reserve. False when the idle time is over.
    async fn rest(&mut self) -> bool {
        if let Some(tenant) = self.tenant.take() {
            self.inner.tenants.rest(self.id, &self.work.digest, tenant);
        }
        let order = tokio::select! {
            order = timeout(self.inner.config.idle(), self.orders.recv()) => order,
            () = self.state.moved.notified() => return true,
        };
        let order = match order {
            Ok(order) => order,
            Err(_) => {
                // From here on orders go to another run; one that came in this instant is still made.
                self.orders.close();
                self.orders.try_recv().ok()
            }
        };
        order.map(|order| self.note(*order)).is_some()
    }

    fn rendition(&self) -> &Rendition {
        &self.work.plan.renditions[self.rendition]
    }

    fn weight(&self, object: Object) -> Weight {
        let encodes = match &self.rendition().kind {
            RenditionKind::Video(v) => matches!(v.source, VideoSource::Encode { .. }),
            RenditionKind::Audio(_) | RenditionKind::Text(_) => false,
        };
        if encodes && object != Object::Init { Weight::Heavy } else { Weight::Light }
    }

    /// Makes one object: waits for a slot, works, tries once more on a fresh worker if that can help.
    async fn make(&mut self, object: Object, writer: Writer, lane: Lane) {
        if let Object::Segment(n) = object {
            self.next = n;
            self.state.at.store(n, Ordering::Relaxed);
        }
        let (writer, slot, lane) = match self.slot(writer, lane, self.weight(object)).await {
            Turn::Work(writer, slot, lane) => (writer, slot, lane),
            Turn::Busy(writer) => return writer.fail(FlightError::Busy { retry_after_seconds: BUSY_RETRY_SECONDS }),
            Turn::Left => return,
        };
        self.inner.started.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        let mut writer = Some(writer);
        for attempt in 1..=ATTEMPTS {
            let Some(current) = writer.as_mut() else { break };
            match self.attempt(object, current, lane, &slot).await {
                Ok(outcome) => {
                    current.took(since.elapsed());
                    self.finish(object, outcome, writer.take());
                    self.inner.ended(Ended::Finished, since);
                }
                Err(Error::Cancelled | Error::Stuck) => {
                    writer = writer.take().and_then(Writer::abandon_if_unwatched);
                    // Somebody came in this instant: what was sent stays, and the rest is made anew.
                    if writer.is_none() {
                        self.inner.ended(Ended::Cancelled, since);
                    }
                }
                Err(error) if attempt < ATTEMPTS && error.is_retryable() => {
                    tracing::warn!(%error, key = %current.key(), "an encode failed and is tried once more");
                }
                Err(error) => {
                    tracing::error!(%error, key = %current.key(), "an encode failed");
                    // What follows would most likely fail as well, and for nobody: ahead only from where a viewer is next.
                    self.state.asked.store(0, Ordering::Relaxed);
                    if let Some(writer) = writer.take() {
                        writer.fail(FlightError::failed(error.to_string()));
                    }
                    self.inner.ended(Ended::Failed, since);
                }
            }
        }
        if let Some(writer) = writer {
            writer.fail(FlightError::Abandoned);
            self.inner.ended(Ended::Cancelled, since);
        }
    }

    /// Waits for leave to work. Look-ahead that a viewer joins meanwhile queues up as a viewer's.
    /// A viewer who leaves the queue makes room in it.
    async fn slot(&self, mut writer: Writer, lane: Lane, weight: Weight) -> Turn {
        if lane == Lane::Ahead {
            tokio::select! {
                biased;
                () = writer.flight().watched() => {}
                slot = self.inner.schedule.slot(Lane::Ahead, weight) => return Turn::of(writer, slot, Lane::Ahead),
            }
        }
        loop {
            tokio::select! {
                biased;
                () = writer.unwatched() => match writer.abandon_if_unwatched() {
                    Some(watched) => writer = watched,
                    None => return Turn::Left,
                },
                slot = self.inner.schedule.slot(Lane::Viewer, weight) => return Turn::of(writer, slot, Lane::Viewer),
            }
        }
    }

    async fn attempt(
        &mut self,
        object: Object,
        writer: &mut Writer,
        lane: Lane,
        slot: &Slot,
    ) -> Result<Outcome, Error> {
        let mut tenant = self.tenant().await?;
        let rendition = &self.work.plan.renditions[self.rendition];
        let job = Job { rendition, object, lane, chunk_seconds: self.inner.config.chunk_seconds };
        let result = job.run(&mut tenant.worker, writer, slot).await;
        match &result {
            Ok(_) => {
                self.tenant = Some(tenant);
                self.inner.tenants.succeeded(&self.work.digest);
            }
            Err(Error::Died(death)) => {
                if death.exit.is_suspicious() {
                    self.inner.tenants.died(&self.work.digest);
                }
            }
            // A worker that stopped when told to can go on elsewhere; one that failed is not trusted with a retry.
            Err(Error::Cancelled) => self.tenant = Some(tenant),
            Err(_) => drop(tenant),
        }
        let outcome = result?;
        self.agree(&outcome).await?;
        Ok(outcome)
    }

    /// The parameter sets must be those of the init segment; the first to know them provides it.
    async fn agree(&mut self, outcome: &Outcome) -> Result<(), Error> {
        if matches!(self.rendition().kind, RenditionKind::Text(_)) {
            // Every document stands alone.
            return Ok(());
        }
        let made = crate::packager::init(self.rendition(), &outcome.config)?;
        if self.init.is_none() && !outcome.is_init {
            let key = self.work.key(self.rendition(), Object::Init);
            // An init segment that is just being made comes from another worker's same answer.
            match self.inner.rooms.cache.lead_if_absent(&key) {
                Some(mut writer) => {
                    writer.push(made.clone());
                    let _ = writer.commit();
                }
                None => self.init = self.inner.rooms.cache.peek(&key),
            }
        }
        let known = self.init.get_or_insert_with(|| made.clone());
        if *known == made { Ok(()) } else { Err(Error::Parameters) }
    }

    /// Commits what was made and checked.
    fn finish(&mut self, object: Object, outcome: Outcome, writer: Option<Writer>) {
        let Some(mut writer) = writer else { return };
        let key = writer.key().clone();
        for (at, bytes) in outcome.rest {
            if let Err(mismatch) = writer.offer(at, bytes) {
                return writer.fail(FlightError::failed(mismatch.to_string()));
            }
        }
        if let Object::Segment(n) = object {
            self.next = n + 1;
            self.state.at.store(n + 1, Ordering::Relaxed);
            self.inner.bridged.fetch_add(u64::from(outcome.bridged), Ordering::Relaxed);
            if outcome.bridged > 0 {
                tracing::warn!(%key, frames = outcome.bridged, "frames that cannot be decoded were bridged");
            }
            let grid = &self.rendition().grid;
            let bits = writer.len() * 8 * u64::from(grid.timescale().get()) / grid.ticks(n).max(1);
            if bits > self.rendition().bandwidth {
                self.inner.over_bandwidth.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%key, bits_per_second = bits, "a segment exceeds its declared bandwidth");
            }
        }
        if let Err(error) = writer.commit() {
            tracing::error!(%error, %key, "a finished segment cannot be committed");
        }
    }

    /// The run's worker, or a new one.
    async fn tenant(&mut self) -> Result<Tenant, Error> {
        if let Some(tenant) = self.tenant.take() {
            return Ok(tenant);
        }
        self.inner.tenants.get(self.id, &self.work.digest, &self.inner.rooms.open, self.inner.recipe.templates()).await
    }
}

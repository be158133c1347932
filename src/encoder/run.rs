//! A run: a rendition's segments in a row, by one worker. It makes what was ordered, then looks ahead as far as its credit
//! goes, then waits for its viewer to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::job::{Job, Outcome};
use super::schedule::{Ask, Full, Lane, Slot, Weight};
use super::tenants::{self, Tenant};
use super::{Ended, Error, Inner, Orders, Placed, Work, commit};
use crate::cache::{FlightError, Object, Writer};
use crate::media::Rendition;

/// Attempts at one object: the first, and one on a fresh worker.
pub const ATTEMPTS: u32 = 2;
/// Orders that may wait for one run; more are given to another.
const ORDERS: usize = 64;
/// A run of warming ends this soon after its last order: its worker is too kind to be a viewer's.
pub const WARM_IDLE: Duration = Duration::from_secs(2);

/// A run as the encoder sees it.
pub struct Handle {
    orders: mpsc::Sender<Box<Placed>>,
    state: Arc<State>,
    /// It makes what nobody has asked for.
    pub is_warm: bool,
}

/// Where a run is.
struct State {
    /// The segment it makes now or would make next.
    at: AtomicU32,
    /// It makes something, or has something to make.
    busy: AtomicBool,
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
    pending: BTreeMap<Object, Pending>,
    is_warm: bool,
    /// The last encode failed.
    has_failed: bool,
    next: u32,
    tenant: Option<Tenant>,
    /// The init segment that every segment's parameter sets must agree with, once known.
    init: Option<Bytes>,
}

/// An order that is not made yet.
struct Pending {
    writer: Writer,
    lane: Lane,
    due: tokio::time::Instant,
}

/// How waiting for a slot ended.
enum Turn {
    /// With leave to work.
    Work(Writer, Slot, Lane),
    /// Too many wait already.
    Busy(Writer, Full),
    /// Everybody for whom it waited has left.
    Left,
}

impl Turn {
    fn of(writer: Writer, slot: Result<Slot, Full>, lane: Lane) -> Self {
        match slot {
            Ok(slot) => Self::Work(writer, slot, lane),
            Err(full) => Self::Busy(writer, full),
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

    /// A viewer is at this segment; if it is one this run made or will make soon, the run looks whether more is wanted.
    pub fn seen(&self, segment: u32, ahead: u32) {
        if !self.is_warm && near(self.state.at.load(Ordering::Relaxed), ahead).contains(&segment) {
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
    pub fn take(&self, order: Box<Placed>) -> Result<(), Box<Placed>> {
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
    pub fn new(inner: &Arc<Inner>, placed: &Placed) -> (Handle, Self) {
        let (order, is_warm) = (&placed.order, placed.lane == Lane::Warm);
        let (sender, orders) = mpsc::channel(ORDERS);
        let next = match order.object {
            Object::Iframe(n) | Object::Segment(n) => n,
            Object::Init => 0,
        };
        let state = Arc::new(State {
            at: AtomicU32::new(next),
            busy: AtomicBool::new(true),
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
            is_warm,
            has_failed: false,
            next,
            tenant: None,
            init: None,
        };
        (Handle { orders: sender, state, is_warm }, run)
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
            let job = self.first().or_else(|| self.look_ahead());
            self.state.busy.store(job.is_some(), Ordering::Relaxed);
            match job {
                Some((object, pending)) => self.make(object, pending).await,
                None if !self.rest().await => return,
                None => {}
            }
        }
    }

    fn note(&mut self, Placed { order, lane, due }: Placed) {
        self.has_failed &= lane != Lane::Viewer;
        self.pending.insert(order.object, Pending { writer: order.writer, lane, due });
    }

    /// What viewers wait for comes first, else in the order of the timeline.
    fn first(&mut self) -> Option<(Object, Pending)> {
        let first = self.pending.iter().min_by_key(|(object, pending)| (pending.lane, **object))?;
        let object = *first.0;
        self.pending.remove_entry(&object)
    }

    /// The next segment that nobody has or makes, as far ahead of those who play nearby as configured.
    fn look_ahead(&mut self) -> Option<(Object, Pending)> {
        let reach = self.inner.config.lookahead_segments;
        if self.is_warm || self.has_failed || reach == 0 {
            return None;
        }
        let (idle, now) = (self.inner.config.idle(), tokio::time::Instant::now());
        let mut places = self.inner.viewers.places(&self.work.generation, self.rendition, idle, now);
        places.sort_unstable();
        places.dedup();
        let (near, segments) = (near(self.next, reach), self.rendition().grid.segments());
        for place in places.into_iter().filter(|place| near.contains(place)) {
            for number in self.next.max(place + 1)..place.saturating_add(reach + 1).min(segments) {
                let object = Object::Segment(number);
                let key = self.work.key(self.rendition(), object);
                if let Some(writer) = self.inner.rooms.cache.lead_if_absent(&key) {
                    return Some((
                        object,
                        Pending { writer, lane: Lane::Ahead, due: now + self.ahead_of(place, number) },
                    ));
                }
            }
        }
        None
    }

    /// What lies between a viewer's place and a segment: time to make it in.
    fn ahead_of(&self, place: u32, number: u32) -> Duration {
        let grid = &self.rendition().grid;
        let at = |n| grid.segment(n).map_or(0, |(from, _)| from.at.cast_signed());
        Duration::try_from_secs_f64(grid.timescale().seconds(at(number) - at(place))).unwrap_or_default()
    }

    /// Waits for the next order, with the worker in reserve. False when the idle time is over.
    async fn rest(&mut self) -> bool {
        if let Some(tenant) = self.tenant.take() {
            self.inner.tenants.rest(self.id, &self.work.digest, tenant);
        }
        let idle = if self.is_warm { WARM_IDLE } else { self.inner.config.idle() };
        let order = tokio::select! {
            order = timeout(idle, self.orders.recv()) => order,
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
        if self.rendition().is_picture_encode() && object != Object::Init { Weight::Heavy } else { Weight::Light }
    }

    /// Makes one object: waits for a slot, works, tries once more on a fresh worker if that can help.
    async fn make(&mut self, object: Object, pending: Pending) {
        if let Object::Segment(n) = object {
            self.next = n;
            self.state.at.store(n, Ordering::Relaxed);
        }
        let (writer, slot, lane) = match self.slot(pending, object).await {
            Turn::Work(writer, slot, lane) => (writer, slot, lane),
            Turn::Busy(writer, Full { retry_after_seconds }) => {
                return writer.fail(FlightError::Busy { retry_after_seconds });
            }
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
                    self.learn(object, since.elapsed());
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
                    // What follows would most likely fail as well, and for nobody: no more ahead until a viewer asks.
                    self.has_failed = true;
                    if let Some(writer) = writer.take() {
                        writer.fail(error.flight());
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

    /// Waits for leave to work. Work ahead that a viewer joins meanwhile queues up as a viewer's.
    /// A viewer who leaves the queue makes room in it.
    async fn slot(&self, Pending { mut writer, lane, due }: Pending, object: Object) -> Turn {
        let weight = self.weight(object);
        let ask = |lane| Ask { lane, title: self.work.generation.clone(), due, cost: self.estimate(object) };
        if lane != Lane::Viewer {
            tokio::select! {
                biased;
                () = writer.flight().watched() => {}
                slot = self.inner.schedule.slot(ask(lane), weight) => return Turn::of(writer, slot, lane),
            }
        }
        loop {
            tokio::select! {
                biased;
                () = writer.unwatched() => match writer.abandon_if_unwatched() {
                    Some(watched) => writer = watched,
                    None => return Turn::Left,
                },
                slot = self.inner.schedule.slot(ask(Lane::Viewer), weight) => return Turn::of(writer, slot, Lane::Viewer),
            }
        }
    }

    fn estimate(&self, object: Object) -> Duration {
        let segment = match object {
            Object::Init => None,
            Object::Segment(n) | Object::Iframe(n) => Some(n),
        };
        self.inner.estimates.of(&self.work.generation, self.rendition, self.rendition(), segment)
    }

    /// Warming is made with what others leave of the cores: how long it took says nothing about a viewer's segment.
    fn learn(&self, object: Object, took: Duration) {
        if let (Object::Segment(n), false) = (object, self.is_warm) {
            self.inner.estimates.learn(&self.work.generation, self.rendition, self.rendition(), n, took);
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
        commit::agree(&self.inner, &self.work, self.rendition, &outcome, (writer, &mut self.init))?;
        Ok(outcome)
    }

    /// Commits what was made and checked.
    fn finish(&mut self, object: Object, outcome: Outcome, writer: Option<Writer>) {
        if let Object::Segment(n) = object {
            self.next = n + 1;
            self.state.at.store(n + 1, Ordering::Relaxed);
        }
        if let Some(writer) = writer {
            commit::commit(&self.inner, &self.work, self.rendition, outcome, writer);
        }
    }

    /// The run's worker, or a new one.
    async fn tenant(&mut self) -> Result<Tenant, Error> {
        if let Some(tenant) = self.tenant.take() {
            return Ok(tenant);
        }
        let nice = if self.is_warm { tenants::WARM_NICE } else { tenants::NICE };
        let templates = self.inner.recipe.templates();
        self.inner.tenants.get((self.id, nice), &self.work.digest, &self.inner.rooms.open, templates).await
    }
}

/// The places of viewers whom a run that stands here makes segments for.
fn near(at: u32, ahead: u32) -> std::ops::RangeInclusive<u32> {
    at.saturating_sub(ahead.saturating_add(1))..=at.saturating_add(ahead)
}

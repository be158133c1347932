//! A run: a rendition's segments in a row, by one worker. It makes what was ordered, then looks ahead as far as its credit
//! goes, then waits for its viewer to come back.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::desk::{Desk, Pending};
use super::job::{Interest, Job, Outcome};
use super::schedule::{Full, Lane, Slot};
use super::tenants::{self, Claim};
use super::{Encoder, Ended, Error, Inner, Placed, Work, commit};
use crate::cache::{FlightError, Object, Writer};
use crate::media::Rendition;

/// Attempts at one object: the first, and one on a fresh worker.
pub const ATTEMPTS: u32 = 2;
/// Orders that may wait for one run; more are given to another.
const ORDERS: usize = 64;
/// Time for a player that has the first segment of a film to ask for the second, in whichever rendition: the decoder that stands
/// there makes it sooner than a worker that begins at a key frame. A browser on a busy machine takes 0.2 s to ask.
pub const CHOICE: Duration = Duration::from_millis(250);
/// A run that no viewer has come to ends this soon after its last order: it would keep a worker for nobody. One of warming has
/// a worker that is too kind to be a viewer's.
pub const UNASKED_IDLE: Duration = Duration::from_secs(2);

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
    /// It has had no segment to make yet, so any may be its first.
    is_nowhere: AtomicBool,
    /// It makes something, or has something to make.
    busy: AtomicBool,
    /// Shared with every viewer's order that it was given and that is not made yet, which so are counted.
    orders: Arc<()>,
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
    desk: Desk,
    state: Arc<State>,
    is_warm: bool,
    /// A viewer has come to it.
    is_viewers: bool,
    next: u32,
    /// The init segment that every segment's parameter sets must agree with, once known.
    init: Option<Bytes>,
    /// It does not look ahead until then, see [`CHOICE`].
    choice: Option<Instant>,
}

/// How waiting for a slot ended.
enum Turn {
    /// With leave to work.
    Work(Writer, Slot, Lane),
    /// Too many wait already.
    Busy(Writer, Full),
    /// Nobody waits for it here: its viewers have left, or it was given up for somebody who waits.
    Left,
}

/// What is to be done after an attempt that made nothing.
pub enum After {
    /// It is tried once more.
    Again(Writer),
    /// It was stopped, and somebody came for it in that instant: what was sent stays, and the rest is made anew.
    Joined(Writer),
    /// Nobody waits for it any more.
    Left,
    Failed(Writer, Error),
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
            Object::Iframe(_) | Object::Segment(_) if self.state.is_nowhere.load(Ordering::Relaxed) => true,
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

    /// True if it only waits for orders.
    pub fn is_idle(&self) -> bool {
        !self.state.busy.load(Ordering::Relaxed)
    }

    /// Is there time for one more viewer's order, which costs so much, after those it was given?
    pub fn has_time(&self, cost: Duration, patience: Duration) -> bool {
        let orders = u32::try_from(Arc::strong_count(&self.state.orders) - 1).unwrap_or(u32::MAX);
        orders == 0 || cost.saturating_mul(orders.saturating_add(1)) <= patience
    }

    /// Hands an order over, or back if the run is over or has too much to do.
    pub fn take(&self, mut order: Box<Placed>) -> Result<(), Box<Placed>> {
        order.counted = (order.lane == Lane::Viewer).then(|| Arc::clone(&self.state.orders));
        // Before the run can have made it: it would be taken for busy while it waits.
        self.state.busy.store(true, Ordering::Relaxed);
        // The next order for somewhere else is another run's.
        if let (Object::Segment(n), true) = (order.order.object, self.state.is_nowhere.load(Ordering::Relaxed)) {
            self.state.stand(n);
        }
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

impl State {
    fn stand(&self, segment: u32) {
        self.at.store(segment, Ordering::Relaxed);
        self.is_nowhere.store(false, Ordering::Relaxed);
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
            is_nowhere: AtomicBool::new(order.object == Object::Init),
            busy: AtomicBool::new(true),
            orders: Arc::default(),
            moved: Notify::new(),
            stopped: Notify::new(),
        });
        let run = Self {
            id: number(),
            inner: Arc::clone(inner),
            work: order.work.clone(),
            rendition: order.rendition,
            desk: Desk::new(orders),
            state: Arc::clone(&state),
            is_warm,
            is_viewers: false,
            next,
            init: None,
            choice: None,
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
            let mut job = self.desk.next();
            if job.is_none() {
                if self.is_ordered_meanwhile().await {
                    continue;
                }
                job = self.look_ahead();
            }
            self.state.busy.store(job.is_some(), Ordering::Relaxed);
            match job {
                Some((object, pending)) => self.make(object, pending).await,
                None if !self.rest().await => return,
                None => {}
            }
        }
    }

    /// After a film's first segment waits for its player to ask for the second, maybe of another rendition, whose run can go on
    /// with the decoder that rests here. True if something was ordered here meanwhile.
    async fn is_ordered_meanwhile(&mut self) -> bool {
        let Some(until) = self.choice.take() else { return false };
        self.state.busy.store(false, Ordering::Relaxed);
        timeout_at(until, self.desk.wait()).await.unwrap_or(false)
    }

    /// The next segment that nobody has or makes, as far ahead of those who play nearby as configured.
    fn look_ahead(&mut self) -> Option<(Object, Pending)> {
        let reach = self.inner.config.lookahead_segments;
        if self.is_warm || self.desk.is_held_back || reach == 0 {
            return None;
        }
        let (idle, now) = (self.inner.config.idle(), Instant::now());
        let mut places = self.inner.viewers.places(&self.work.generation, self.rendition, idle, now);
        let (near, segments) = (near(self.next, reach), self.rendition().grid.segments());
        places.retain(|place| near.contains(place));
        places.sort_unstable();
        places.dedup();
        self.is_viewers |= !places.is_empty();
        for place in places {
            for number in self.next.max(place + 1)..place.saturating_add(reach + 1).min(segments) {
                let object = Object::Segment(number);
                let key = self.work.key(self.rendition(), object);
                if let Some(writer) = self.inner.rooms.cache.lead_if_absent(&key) {
                    let due = now + self.ahead_of(place, number);
                    return Some((object, Pending { writer, lane: Lane::Ahead, due, place: None, counted: None }));
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

    /// Waits for the next order. False when the idle time is over.
    async fn rest(&mut self) -> bool {
        let idle = if self.is_viewers { self.inner.config.idle() } else { UNASKED_IDLE };
        let ordered = tokio::select! {
            ordered = timeout(idle, self.desk.wait()) => ordered,
            () = self.state.moved.notified() => return true,
        };
        // When it is over orders go to another run; one that came in this instant is still made.
        ordered.unwrap_or_else(|_| self.desk.close())
    }

    fn rendition(&self) -> &Rendition {
        &self.work.plan.renditions[self.rendition]
    }

    /// Makes one object: waits for a slot, works, tries once more on a fresh worker if that can help.
    async fn make(&mut self, object: Object, mut pending: Pending) {
        let _counted = pending.counted.take();
        if let Object::Segment(n) = object {
            self.next = n;
            self.state.stand(n);
        }
        let (mut writer, slot, lane) = match self.slot(object, pending).await {
            Turn::Work(writer, slot, lane) => (writer, slot, lane),
            Turn::Busy(writer, Full { retry_after_seconds }) => {
                self.desk.is_held_back = true;
                return writer.fail(FlightError::Busy { retry_after_seconds });
            }
            Turn::Left => return,
        };
        writer.flight().begin(true);
        self.inner.started.fetch_add(1, Ordering::Relaxed);
        let since = (matches!(object, Object::Segment(_)) && !self.is_warm).then(Instant::now);
        let mut interest = Interest::new(&writer, &slot, lane);
        let mut failures = 0;
        loop {
            let attempt = self.attempt(object, &mut writer, &mut interest).await;
            self.is_viewers |= interest.is_viewers();
            let error = match attempt {
                Ok(outcome) => {
                    // Whoever is told that it is there finds the slot free.
                    drop(slot);
                    self.finish(object, outcome, writer);
                    return self.inner.ended(Ended::Finished, since);
                }
                Err(error) => error,
            };
            match after(error, writer, &mut failures) {
                After::Again(again) => writer = again,
                After::Joined(joined) if self.is_warm => {
                    self.hand_over(joined);
                    return self.inner.ended(Ended::Cancelled, since);
                }
                After::Joined(joined) => {
                    interest.joined();
                    writer = joined;
                }
                After::Left => return self.inner.ended(Ended::Cancelled, since),
                After::Failed(writer, error) => {
                    self.desk.is_held_back = true;
                    writer.fail(error.flight());
                    return self.inner.ended(Ended::Failed, since);
                }
            }
        }
    }

    /// Waits for leave to work. Work ahead that a viewer joins meanwhile queues up as a viewer's; it is given up for a viewer
    /// who waits for something else of this run. A viewer who leaves the queue makes room in it, and one who joins may be in
    /// more of a hurry.
    async fn slot(&mut self, object: Object, pending: Pending) -> Turn {
        let Pending { mut writer, lane, mut due, place, .. } = pending;
        let inner = Arc::clone(&self.inner);
        let schedule = &inner.schedule;
        if lane != Lane::Viewer {
            let (ask, weight) = inner.ask(&self.work, (self.rendition, object), (lane, due));
            // What waits for longer than a viewer is remembered may be ahead of nobody by now: it is looked for again.
            let longest = if self.is_warm { Duration::MAX } else { self.inner.config.idle() };
            tokio::select! {
                biased;
                () = writer.flight().watched() => {}
                () = self.desk.called() => {}
                slot = timeout(longest, schedule.slot(ask, weight)) => {
                    if let Ok(slot) = slot {
                        return Turn::of(writer, slot, lane);
                    }
                }
            }
            let Some(joined) = writer.abandon_if_unwatched() else { return Turn::Left };
            writer = joined;
            due = due.min(Instant::now() + object.usual_buffer());
        }
        if self.is_warm {
            self.hand_over(writer);
            return Turn::Left;
        }
        let (viewers, weight) = inner.ask(&self.work, (self.rendition, object), (Lane::Viewer, due));
        let mut place = match place.map_or_else(|| schedule.place(viewers, weight), Ok) {
            Ok(place) => place,
            Err(full) => return Turn::Busy(writer, full),
        };
        loop {
            if let Some(due) = writer.flight().due() {
                place.hurry(due);
            }
            tokio::select! {
                biased;
                () = writer.unwatched() => match writer.abandon_if_unwatched() {
                    Some(watched) => writer = watched,
                    None => return Turn::Left,
                },
                () = writer.flight().hurried(place.due()) => {}
                slot = place.slot() => return Turn::of(writer, slot, Lane::Viewer),
            }
        }
    }

    /// A viewer has come for what is warmed here, by a worker too kind to be theirs.
    fn hand_over(&self, writer: Writer) {
        Encoder(Arc::clone(&self.inner)).take_over(&self.work, self.rendition, writer);
    }

    fn learn(&self, object: Object, took: Option<Duration>) {
        if let (Object::Segment(n), Some(took)) = (object, took) {
            self.inner.estimates.learn(&self.work.generation, self.rendition, self.rendition(), n, took);
        }
    }

    async fn attempt(
        &mut self,
        object: Object,
        writer: &mut Writer,
        interest: &mut Interest<'_>,
    ) -> Result<Outcome, Error> {
        let Self { inner, work, .. } = self;
        let mut lost = pin!(interest.lost(self.desk.called()));
        // What a worker dies of while nobody waits for it closes the source to nobody who does.
        let is_unasked = |writer: &Writer| writer.viewers() == 0;
        inner.tenants.check(&work.digest, writer.key(), is_unasked(writer))?;
        let rendition = &work.plan.renditions[self.rendition];
        let nice = match rendition.is_picture_encode() {
            _ if self.is_warm => tenants::WARM_NICE,
            true => tenants::NICE,
            false => tenants::LIGHT_NICE,
        };
        let at = segment_of(object).filter(|_| rendition.is_picture_encode());
        // Nobody's order takes a decoder along that a viewer may come back to.
        let claim = Claim { run: self.id, nice, at: at.filter(|_| !is_unasked(writer)) };
        let mut tenant = tokio::select! {
            tenant = inner.tenants.get(claim, &work.digest, &inner.rooms.open, inner.recipe.templates()) => tenant?,
            () = &mut lost => return Err(Error::Cancelled),
        };
        let crowded = self.is_warm.then(|| inner.schedule.crowded());
        let job = Job { rendition, object, chunk_seconds: inner.config.chunk_seconds, crowded };
        let result = job.run(&mut tenant.worker, writer, lost).await;
        inner.tenants.judge(&work.digest, [writer.key()], result.as_ref().map(drop), is_unasked(writer));
        match &result {
            // Until the run has its next slot others may need the place more.
            Ok(_) => inner.tenants.rest(self.id, &work.digest, at.map(|n| n + 1), tenant),
            Err(Error::Cancelled) => inner.tenants.rest(self.id, &work.digest, None, tenant),
            // One that failed is not trusted with a retry.
            Err(_) => drop(tenant),
        }
        let outcome = result?;
        commit::agree(inner, work, self.rendition, &outcome, (writer, &mut self.init)).await?;
        Ok(outcome)
    }

    /// Commits what was made and checked.
    fn finish(&mut self, object: Object, mut outcome: Outcome, writer: Writer) {
        outcome.took = outcome.took.filter(|_| !self.is_warm);
        self.learn(object, outcome.took);
        if let Some(n) = segment_of(object) {
            self.next = n + 1;
            self.state.stand(n + 1);
            let is_first = n == 0 && self.rendition().is_picture_encode();
            self.choice = is_first.then(|| Instant::now() + CHOICE);
        }
        commit::commit(&self.inner, &self.work, self.rendition, outcome, writer);
    }
}

fn segment_of(object: Object) -> Option<u32> {
    match object {
        Object::Segment(n) => Some(n),
        Object::Init | Object::Iframe(_) => None,
    }
}

/// Only failures use attempts up: viewers may leave and come back as often as they like.
pub fn after(error: Error, writer: Writer, failures: &mut u32) -> After {
    if matches!(error, Error::Cancelled | Error::Stuck) {
        return writer.abandon_if_unwatched().map_or(After::Left, After::Joined);
    }
    *failures += 1;
    let key = writer.key();
    if *failures < ATTEMPTS && error.is_retryable() {
        tracing::warn!(%error, %key, "an encode failed and is tried once more");
        return After::Again(writer);
    }
    // What was not tried is told by whoever asked, in a line for each request.
    if !matches!(error, Error::Quarantined(_)) {
        tracing::error!(%error, %key, "an encode failed");
    }
    After::Failed(writer, error)
}

/// The places of viewers whom a run that stands here makes segments for.
fn near(at: u32, ahead: u32) -> std::ops::RangeInclusive<u32> {
    at.saturating_sub(ahead.saturating_add(1))..=at.saturating_add(ahead)
}

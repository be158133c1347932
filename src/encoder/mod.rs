//! Makes what nobody has made yet: init segments and segments, once each, in the order viewers need them.
//!
//! What runs without being asked: nothing; the warmer asks. An order attaches to a *run* of its rendition that will reach the
//! segment soon, or starts one. A run owns one worker, makes what was ordered and then a few segments more (look-ahead), waits
//! a while for the viewer to come back for the next, and ends. What an order costs: at best nothing but its place in a run that
//! is on its way; else a worker (standing by, or from a run that ended) and a decoder from the last key frame on.
//!
//! The rule not to break: nothing is committed that was not checked against the grid, and bytes that were sent are never
//! contradicted: a second attempt repeats them or the flight fails.
//!
//! Reading order: `recipe`, `schedule` (who may work now, by `estimate`), `viewers` (where they are), `assign` (which run
//! an order goes to), `run` (what next, of what is on its `desk`), `job` (one object on one worker), `tenants` (workers
//! bound to sources), `blame` (what they died of), `commit`; `hint` (what a player asks for first), `warm` (what the warmer
//! asks for), `together` for several renditions from one decode, `picture` for posters and thumbnails.
//!
//! Arrow: `encoder` -> `cache`, `worker`, `packager`, `media`.

mod assign;
mod blame;
mod commit;
mod config;
mod desk;
mod error;
mod estimate;
mod hint;
mod job;
mod pause;
mod picture;
mod recipe;
mod run;
mod schedule;
mod tenants;
mod together;
mod viewers;
mod warm;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use config::Config;
pub use error::Error;
pub use picture::PictureOrder;
pub use recipe::Recipe;
pub use viewers::Viewer;

use crate::cache::{Cache, Flight, FlightError, Key, Object, Writer};
use crate::media::{Digest, Generation, Plan, Rendition};
use crate::worker::Pool;
use assign::Runs;
use estimate::Estimates;
use schedule::{Ask, Full, Lane, Limits, Place, Schedule, Weight};
use tenants::Tenants;
use together::Togethers;
use viewers::{Moved, Track, Viewers};

/// A player may say that it has hours left to play. It counts as no more than so many times its patience, or its order might
/// wait behind all others for ever.
const LONGEST_BUFFER: u32 = 4;

/// The encoder. Clones are the same one.
#[derive(Clone)]
pub struct Encoder(Arc<Inner>);

struct Inner {
    config: Config,
    recipe: Recipe,
    rooms: Rooms,
    schedule: Schedule,
    estimates: Estimates,
    viewers: Viewers,
    tenants: Tenants,
    runs: RwLock<Runs>,
    togethers: Togethers,
    pictures: picture::Turns,
    tasks: Mutex<JoinSet<()>>,
    /// Where they run, whoever orders.
    runtime: Handle,
    started: AtomicU64,
    bridged: AtomicU64,
    over_bandwidth: AtomicU64,
}

/// What the encoder needs of other rooms.
#[derive(Clone)]
pub struct Rooms {
    /// Where workers come from.
    pub pool: Pool,
    /// Where segments go.
    pub cache: Cache,
    /// Finds a source; may block.
    pub open: Open,
    /// Is told how every encode ended, and how many seconds it took if it was of a segment and not in the last lane.
    pub ended: Arc<dyn Fn(Ended, Option<f64>) + Send + Sync>,
    /// Is told of every segment that was kept although frames of it were bridged; may not block.
    pub bridged: OnBridged,
}

/// Told which segment of which rendition holds how many frames that were replaced by their neighbour or by silence.
pub type OnBridged = Arc<dyn Fn(&Work, &Rendition, u32, u32) + Send + Sync>;

/// Finds a source by its digest; may block. The error is for the log.
pub type Open = Arc<dyn Fn(&Digest) -> Result<Source, String> + Send + Sync>;

/// A source a worker can be bound to.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The file of its [`crate::media::Index`], `postcard`.
    pub index: PathBuf,
}

/// How an encode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Checked and committed.
    Finished,
    /// Given up after its retry.
    Failed,
    /// Nobody waited any more, or somebody who waits needed the slot.
    Cancelled,
}

/// A title as the encoder needs it.
#[derive(Clone, Debug)]
pub struct Work {
    /// Its source file.
    pub digest: Digest,
    /// Its recipe.
    pub generation: Generation,
    /// Its timeline and ladder.
    pub plan: Arc<Plan>,
}

/// Something to make.
#[derive(Debug)]
pub struct Order {
    /// The title.
    pub work: Work,
    /// Which of the plan's renditions.
    pub rendition: usize,
    /// Which object of it.
    pub object: Object,
    /// Where the bytes go. Whoever waits for them has a reader of it by now.
    pub writer: Writer,
    /// When the viewer runs out of what to play, from now; `None` if the player does not say.
    pub due_in: Option<Duration>,
}

/// An order on its way, with its place among others.
struct Placed {
    order: Order,
    lane: Lane,
    due: Instant,
    /// Where a viewer's order waits for a slot from the beginning.
    place: Option<Place>,
    /// Counts as one of its run's until it is dropped.
    counted: Option<Arc<()>>,
}

/// A viewer's request for a segment.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Whose.
    pub viewer: Viewer,
    /// Of which of the plan's renditions.
    pub rendition: usize,
    /// Which segment.
    pub segment: u32,
    /// What the player says it will ask for next: a rendition, and a segment of it.
    pub next: Option<(usize, u32)>,
}

/// What became of a wish to have something made ahead of demand.
#[derive(Debug)]
pub enum Warm {
    /// It is there, or there is nothing to make.
    There,
    /// Somebody makes it, or looks for it, and may give it up.
    Elsewhere,
    /// It will be made when nobody needs the slot, or given up when somebody does.
    Ordered(Arc<Flight>),
}

/// What is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Orders that wait for a slot: viewers, look-ahead, warming.
    pub queued: [usize; 3],
    /// Encodes under way.
    pub running: usize,
    /// Runs that exist, working or waiting for their viewer.
    pub runs: usize,
    /// Encodes begun since the start.
    pub started: u64,
    /// Frames replaced by their neighbour or by silence.
    pub bridged: u64,
    /// Segments that exceeded the bandwidth their playlist declares.
    pub over_bandwidth: u64,
}

impl Encoder {
    /// Nothing runs yet; later everything does on the runtime that this is called within.
    #[must_use]
    pub fn start(config: &Config, recipe: Recipe, rooms: Rooms) -> Self {
        let workers = config.slots();
        Self(Arc::new(Inner {
            schedule: Schedule::new(Limits {
                heavy: workers,
                warm: config.warm_slots(),
                queue: config.queue(),
                patience: config.patience(),
            }),
            estimates: Estimates::default(),
            viewers: Viewers::default(),
            tenants: Tenants::new(rooms.pool.clone(), recipe.devices().to_vec(), config),
            config: config.clone(),
            recipe,
            rooms,
            runs: RwLock::default(),
            togethers: Togethers::default(),
            pictures: picture::Turns::new(workers),
            tasks: Mutex::default(),
            runtime: Handle::current(),
            started: AtomicU64::new(0),
            bridged: AtomicU64::new(0),
            over_bandwidth: AtomicU64::new(0),
        }))
    }

    /// What decides the bytes besides source and plan.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.0.recipe
    }

    /// Takes an order; the flight it belongs to then progresses, or fails.
    pub fn make(&self, order: Order) {
        let longest = self.0.config.patience() * LONGEST_BUFFER;
        let due = Instant::now() + order.due_in.unwrap_or_else(|| order.object.usual_buffer()).min(longest);
        let flight = order.writer.flight();
        flight.hurry(due);
        let due = flight.due().unwrap_or(due);
        let (rendition, object) = (order.rendition, order.object);
        if order.work.plan.renditions.get(rendition).is_none() {
            return order.writer.fail(FlightError::NotFound);
        }
        let (ask, weight) = self.0.ask(&order.work, (rendition, object), (Lane::Viewer, due));
        match self.0.schedule.place(ask, weight) {
            Ok(place) => self.place(Placed { order, lane: Lane::Viewer, due, place: Some(place), counted: None }),
            Err(Full { retry_after_seconds }) => order.writer.fail(FlightError::Busy { retry_after_seconds }),
        }
    }

    /// A viewer asks for a segment, be it cached or not. Called for every segment served, before it is ordered; costs a look-up
    /// of the viewer, one in the table of the runs under way, and one in the cache.
    pub fn seen(&self, generation: &Generation, plan: &Plan, seen: Seen, work: impl Fn() -> Work) {
        let Some(rendition) = plan.renditions.get(seen.rendition) else { return };
        let place = (seen.rendition, Track::of(&rendition.kind));
        let moved = self.0.viewers.seen(seen.viewer, generation, place, seen.segment, Instant::now());
        self.wake(generation, seen.rendition, seen.segment);
        if moved == Moved::Glimpsed || self.0.config.lookahead_segments == 0 {
            return;
        }
        if moved == Moved::Jumped && place.1 == Track::Video {
            self.make_sound(generation, plan, seen, work());
        }
        // The next segment of the same rendition is what is looked ahead for anyway.
        let elsewhere = seen.next.filter(|next| *next != (seen.rendition, seen.segment + 1));
        let end = || Some((seen.rendition, self.0.end_of_cached(generation, rendition, seen.segment)?));
        if let Some((rendition, segment)) = elsewhere.or_else(end) {
            self.ahead(&work(), rendition, Object::Segment(segment));
        }
    }

    /// A player that begins or seeks asks for sound when it has the pictures: it is made meanwhile, and ordered after those.
    fn make_sound(
        &self,
        generation: &Generation,
        plan: &Plan,
        Seen { viewer, rendition, segment, .. }: Seen,
        work: Work,
    ) {
        let heard = self.0.viewers.heard(viewer, generation);
        if let Some(sound) = heard.or_else(|| plan.sound_of(rendition)) {
            let encoder = self.clone();
            self.spawn(async move { drop(encoder.ahead(&work, sound, Object::Segment(segment))) });
        }
    }

    /// Stops every run of a recipe and lets go of its source: the title was removed. Flights that are not finished are
    /// abandoned.
    pub fn stop(&self, generation: &Generation, digest: &Digest) {
        let mut runs = self.0.runs.write().unwrap_or_else(PoisonError::into_inner);
        for (_, stopped) in runs.extract_if(|(of, _), _| of == generation) {
            stopped.iter().for_each(run::Handle::stop);
        }
        drop(runs);
        self.0.togethers.stop(generation);
        self.0.tenants.evict(digest);
    }

    /// How long a segment will probably take to make.
    #[must_use]
    pub fn estimate(&self, work: &Work, rendition: usize, segment: u32) -> Duration {
        let of = work.plan.renditions.get(rendition);
        of.map_or(Duration::ZERO, |of| self.0.estimates.of(&work.generation, rendition, of, Some(segment)))
    }

    /// True if nothing is made for anybody who watches.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.0.schedule.is_calm()
    }

    /// Videos encoded at once.
    #[must_use]
    pub fn slots(&self) -> u32 {
        u32::try_from(self.0.config.slots()).unwrap_or(u32::MAX)
    }

    /// What is watched now: recipe, rendition and segment of everybody who plays.
    #[must_use]
    pub fn watched(&self) -> Vec<(Generation, usize, u32)> {
        self.0.viewers.watched(self.0.config.idle(), Instant::now())
    }

    /// What is going on.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (queued, running) = self.0.schedule.counts();
        let runs = self.0.runs.read().unwrap_or_else(PoisonError::into_inner);
        Stats {
            queued,
            running,
            runs: runs.values().flatten().filter(|run| !run.is_over()).count(),
            started: self.0.started.load(Ordering::Relaxed),
            bridged: self.0.bridged.load(Ordering::Relaxed),
            over_bandwidth: self.0.over_bandwidth.load(Ordering::Relaxed),
        }
    }

    /// Stops every run; flights that are not finished fail.
    pub async fn close(&self) {
        self.0.schedule.close();
        self.0.runs.write().unwrap_or_else(PoisonError::into_inner).clear();
        let mut tasks = std::mem::take(&mut *lock(&self.0.tasks));
        tasks.shutdown().await;
        self.0.tenants.clear().await;
    }

    /// Orders what nobody has or makes; its flight.
    fn ahead(&self, work: &Work, rendition: usize, object: Object) -> Option<Arc<Flight>> {
        let of = work.plan.renditions.get(rendition).filter(|of| match object {
            Object::Init => true,
            Object::Segment(n) | Object::Iframe(n) => n < of.grid.segments(),
        });
        let writer = of.and_then(|of| self.0.rooms.cache.lead_if_absent(&work.key(of, object)))?;
        let flight = Arc::clone(writer.flight());
        self.order(work, rendition, object, writer, Lane::Ahead);
        Some(flight)
    }

    /// An order nobody waits for yet.
    fn order(&self, work: &Work, rendition: usize, object: Object, writer: Writer, lane: Lane) {
        let order = Order { work: work.clone(), rendition, object, writer, due_in: None };
        let due = Instant::now() + self.0.config.patience();
        self.place(Placed { order, lane, due, place: None, counted: None });
    }

    /// A viewer waits for what was begun for nobody: it becomes an order like any other, which repeats what was sent.
    fn take_over(&self, work: &Work, rendition: usize, writer: Writer) {
        let object = writer.key().object;
        writer.flight().begin(false);
        let order = Order { work: work.clone(), rendition, object, writer, due_in: None };
        self.make(order);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.0.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.0.runtime);
    }
}

impl Work {
    /// The cache's name of an object of a rendition.
    #[must_use]
    pub fn key(&self, rendition: &Rendition, object: Object) -> Key {
        Key { generation: self.generation.clone(), rendition: rendition.name.clone(), object }
    }
}

impl Inner {
    /// The first segment that look-ahead would make for a viewer here and that is not cached. `None` if theirs is not either:
    /// then they have a run of their own, or soon will.
    fn end_of_cached(&self, generation: &Generation, of: &Rendition, segment: u32) -> Option<u32> {
        let (name, object) = (of.name.clone(), Object::Segment(segment));
        let mut key = Key { generation: generation.clone(), rendition: name, object };
        let mut holds = |number| {
            key.object = Object::Segment(number);
            self.rooms.cache.holds(&key)
        };
        let end = segment.saturating_add(self.config.lookahead_segments).min(of.grid.segments().saturating_sub(1));
        // Nearly always it is there, and what lies before it was looked for when its viewer came to the segments before this.
        if end <= segment || holds(end) || !holds(segment) { None } else { (segment + 1..=end).find(|n| !holds(*n)) }
    }

    /// How long an object of a rendition will probably take to make.
    fn cost(&self, work: &Work, rendition: usize, object: Object) -> Duration {
        let segment = match object {
            Object::Init => None,
            Object::Segment(n) | Object::Iframe(n) => Some(n),
        };
        self.estimates.of(&work.generation, rendition, &work.plan.renditions[rendition], segment)
    }

    /// What the schedule is asked for it, and of which kind of slot.
    fn ask(&self, work: &Work, (rendition, object): (usize, Object), (lane, due): (Lane, Instant)) -> (Ask, Weight) {
        let is_heavy = work.plan.renditions[rendition].is_picture_encode() && object != Object::Init;
        let weight = if is_heavy { Weight::Heavy } else { Weight::Light };
        let cost = self.cost(work, rendition, object);
        (Ask { lane, title: work.generation.clone(), due, cost }, weight)
    }

    fn ended(&self, how: Ended, since: Option<Instant>) {
        (self.rooms.ended)(how, since.map(|since| since.elapsed().as_secs_f64()));
    }
}

/// Nothing that can panic runs while these locks are held, so what they guard is whole even if something did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Orders on their way to a run.
type Orders = mpsc::Receiver<Box<Placed>>;

#[cfg(test)]
pub(crate) mod tests;

//! Who may work now. Two kinds of slots, heavy for video encodes and light for what costs little. Three lanes: a viewer who
//! waits comes before look-ahead and that before warming, and each takes the slot of what comes after it if there is no
//! other. A viewer who could not be served before the player gives up is told so at once: orders count from when they come,
//! not only from when a run that has other things to do asks for their slot.

mod queue;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::lock;
use crate::media::Generation;
use queue::Queue;

/// Cores that a video encode keeps busy if it may: its decoder, its scaler and the encoders of its groups have threads of
/// their own. Somebody waits for a viewer's, so look-ahead leaves it these.
const CORES_PER_VIEWER: usize = 2;
/// Light jobs (sound, passthrough, parameter sets) per heavy slot.
const LIGHT_PER_HEAVY: usize = 2;
/// A viewer who was turned away is asked to come back after at least and at most this many seconds: sooner the queue is
/// the same, later the player has given up.
const RETRY_SECONDS: std::ops::RangeInclusive<u32> = 1..=8;
/// Orders of the lower lanes that wait for each heavy slot. Each belongs to a run or to the warmer, which are bounded
/// themselves; this is the last line.
const LOWER_PER_SLOT: usize = 64;

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A viewer.
    Viewer,
    /// Nobody yet, but somebody who watches will, or whoever begins a title.
    Ahead,
    /// Nobody that is known of.
    Warm,
}

/// What a job costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Keeps a processor core busy for a second or so.
    Heavy,
    /// Some tens of milliseconds.
    Light,
}

/// A request for a slot.
#[derive(Clone, Debug)]
pub struct Ask {
    /// In which lane.
    pub lane: Lane,
    /// Whose turn it counts as.
    pub title: Generation,
    /// When whoever waits runs out of what to play.
    pub due: Instant,
    /// How long the job will probably take.
    pub cost: Duration,
}

/// The bounds of the queues.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Heavy slots.
    pub heavy: usize,
    /// Those of them that warming may have at once.
    pub warm: usize,
    /// Viewers' orders that wait for slots of a kind.
    pub queue: usize,
    /// A player gives up after this long.
    pub patience: Duration,
}

/// The slots. Clones share them.
#[derive(Clone)]
pub struct Schedule {
    heavy: Arc<Mutex<Slots>>,
    light: Arc<Mutex<Slots>>,
    crowded: watch::Receiver<bool>,
    patience: Duration,
}

struct Slots {
    total: usize,
    /// Slots that a viewer's job counts for where look-ahead asks how many are free.
    per_viewer: usize,
    warm: usize,
    queue: usize,
    waiting: Queue<oneshot::Sender<Slot>>,
    working: Vec<Working>,
    /// Viewers and look-ahead have all of them.
    crowded: watch::Sender<bool>,
    closed: bool,
}

struct Working {
    lane: Lane,
    /// When it will probably end.
    until: Instant,
    /// It was told to make room.
    told: bool,
    wanted: Arc<Notify>,
}

/// A place among those who wait, for whoever has it to ask for a slot when they can use one. Until then it counts as if they
/// had. Dropping it gives it up.
pub struct Place {
    slots: Arc<Mutex<Slots>>,
    id: u64,
    ask: Ask,
}

/// Leave to work. Dropping it lets the next in.
pub struct Slot {
    slots: Arc<Mutex<Slots>>,
    /// Told when somebody of a higher lane needs this slot and nobody is known to wait for what it makes.
    pub wanted: Arc<Notify>,
}

/// It cannot be made in time, there are too many who wait, or the encoder closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When it may be worth another try.
    pub retry_after_seconds: u32,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::Viewer, Self::Ahead, Self::Warm];
}

impl Schedule {
    pub fn new(limits: Limits) -> Self {
        let light = limits.heavy * LIGHT_PER_HEAVY;
        let heavy = Slots::new((limits.heavy, CORES_PER_VIEWER), limits.warm, limits.queue);
        let crowded = lock(&heavy).crowded.subscribe();
        Self { crowded, heavy, light: Slots::new((light, 1), limits.warm, limits.queue), patience: limits.patience }
    }

    /// Whether viewers and look-ahead have all slots for pictures.
    pub fn crowded(&self) -> watch::Receiver<bool> {
        self.crowded.clone()
    }

    /// Waits for a slot, if there is a place to wait in. There is no other limit: whoever waits for what is to be made gives
    /// up when they like.
    pub async fn slot(&self, ask: Ask, weight: Weight) -> Result<Slot, Full> {
        self.place(ask, weight)?.slot().await
    }

    /// A place to wait in, unless a player would give up before it is their turn.
    pub fn place(&self, ask: Ask, weight: Weight) -> Result<Place, Full> {
        let slots = match weight {
            Weight::Heavy => &self.heavy,
            Weight::Light => &self.light,
        };
        let mut inner = lock(slots);
        if inner.closed {
            return Err(Full::after(Duration::ZERO));
        }
        inner.waiting.retain(|ticket| !ticket.is_closed());
        inner.admit(&ask, Instant::now(), self.patience)?;
        let id = inner.waiting.expect(ask.clone());
        Ok(Place { slots: Arc::clone(slots), id, ask })
    }

    /// True if nobody of a higher lane than warming waits or works.
    pub fn is_calm(&self) -> bool {
        [&self.heavy, &self.light].into_iter().all(|slots| {
            let slots = lock(slots);
            let busy = slots.working.iter().any(|working| working.lane < Lane::Warm);
            !busy && slots.waiting.count(Lane::Viewer) + slots.waiting.count(Lane::Ahead) == 0
        })
    }

    /// Orders that wait, by lane, and jobs at work.
    pub fn counts(&self) -> ([usize; 3], usize) {
        let of = |slots: &Mutex<Slots>| {
            let mut slots = lock(slots);
            slots.waiting.retain(|ticket| !ticket.is_closed());
            (Lane::ALL.map(|lane| slots.waiting.count(lane)), slots.working.len())
        };
        let (heavy, light) = (of(&self.heavy), of(&self.light));
        (std::array::from_fn(|lane| heavy.0[lane] + light.0[lane]), heavy.1 + light.1)
    }

    /// Everybody who waits is turned away, and so is whoever comes.
    pub fn close(&self) {
        for slots in [&self.heavy, &self.light] {
            let mut slots = lock(slots);
            slots.closed = true;
            slots.waiting.clear();
        }
    }
}

impl Slots {
    fn new((total, per_viewer): (usize, usize), warm: usize, queue: usize) -> Arc<Mutex<Self>> {
        let waiting = Queue::default();
        let (working, crowded) = (Vec::new(), watch::Sender::new(false));
        Arc::new(Mutex::new(Self { total, per_viewer, warm, queue, waiting, working, crowded, closed: false }))
    }

    /// A slot is free, and nobody waits who would come first.
    fn may_begin(&self, lane: Lane) -> bool {
        let earlier = Lane::ALL.into_iter().filter(|other| *other <= lane);
        self.is_open(lane) && earlier.map(|other| self.waiting.len(other)).sum::<usize>() == 0
    }

    fn is_open(&self, lane: Lane) -> bool {
        let of = |lane| self.working.iter().filter(|working| working.lane == lane).count();
        let fits = match lane {
            Lane::Viewer => true,
            Lane::Ahead => self.load() < self.total,
            Lane::Warm => of(Lane::Warm) < self.warm,
        };
        self.working.len() < self.total && fits
    }

    /// Slots that viewers and look-ahead need to be quick. Warming is too kind to count.
    fn load(&self) -> usize {
        let of = |lane| self.working.iter().filter(|working| working.lane == lane).count();
        of(Lane::Viewer) * self.per_viewer + of(Lane::Ahead)
    }

    /// Tells those who give way.
    fn tell(&self) {
        let is_crowded = self.load() >= self.total;
        self.crowded.send_if_modified(|was| std::mem::replace(was, is_crowded) != is_crowded);
    }

    /// A viewer who would wait for longer than a player does is better told so.
    fn admit(&self, ask: &Ask, now: Instant, patience: Duration) -> Result<(), Full> {
        match ask.lane {
            Lane::Viewer if self.waiting.count(Lane::Viewer) >= self.queue => Err(Full::after(self.wait(ask, now))),
            Lane::Viewer => {
                let wait = self.wait(ask, now);
                // What can begin at once is made even if it is slow: there is no better time for it.
                let late = (wait + ask.cost).saturating_sub(patience);
                if wait.is_zero() || late.is_zero() { Ok(()) } else { Err(Full::after(late)) }
            }
            lane if self.waiting.count(lane) >= self.total * LOWER_PER_SLOT => Err(Full::after(Duration::ZERO)),
            Lane::Ahead | Lane::Warm => Ok(()),
        }
    }

    /// How long a viewer's order will probably wait. Lower lanes make room.
    fn wait(&self, ask: &Ask, now: Instant) -> Duration {
        let working = self.working.iter().filter(|working| working.lane == Lane::Viewer);
        if working.clone().count() + self.waiting.count(Lane::Viewer) < self.total {
            return Duration::ZERO;
        }
        let working: Duration = working.map(|working| working.until.saturating_duration_since(now)).sum();
        (working + self.waiting.before(ask)) / u32::try_from(self.total).unwrap_or(u32::MAX)
    }

    /// One job of a lower lane makes room for one that waits: the lowest, and of those the one that has done least. None does
    /// if as many as could begin have room already, or soon will. Look-ahead could not beside viewers who keep the cores busy.
    fn make_room(&mut self, lane: Lane) {
        let waiting = self.waiting.len(lane);
        let could_begin = match lane {
            Lane::Ahead => self.total.saturating_sub(self.load()).min(waiting),
            Lane::Viewer | Lane::Warm => waiting,
        };
        let ending = self.working.iter().filter(|working| working.told).count();
        if self.total.saturating_sub(self.working.len()) + ending < could_begin {
            self.stop_one(|working| working.lane > lane);
        }
    }

    /// Look-ahead that runs beside more viewers' jobs than the cores can keep up with makes them wait for what nobody
    /// waits for.
    fn relieve(&mut self) {
        if self.load() > self.total {
            self.stop_one(|working| working.lane == Lane::Ahead);
        }
    }

    fn stop_one(&mut self, of: impl Fn(&Working) -> bool) {
        let those = self.working.iter_mut().filter(|working| of(working) && !working.told);
        if let Some(victim) = those.max_by_key(|working| (working.lane, working.until)) {
            victim.told = true;
            victim.wanted.notify_one();
        }
    }

    fn grant(&mut self, slots: &Arc<Mutex<Self>>, ask: &Ask, now: Instant) -> Slot {
        let wanted = Arc::new(Notify::new());
        let working = Working { lane: ask.lane, until: now + ask.cost, told: false, wanted: Arc::clone(&wanted) };
        self.working.push(working);
        if ask.lane == Lane::Viewer {
            self.relieve();
        }
        self.tell();
        Slot { slots: Arc::clone(slots), wanted }
    }
}

impl Place {
    /// When whoever waits runs out of what to play.
    pub fn due(&self) -> Instant {
        self.ask.due
    }

    /// Whoever waits runs out earlier than was known. Whoever waits for the slot meanwhile has to ask again.
    pub fn hurry(&mut self, due: Instant) {
        self.ask.due = self.ask.due.min(due);
    }

    /// Waits for the slot. May be cancelled and called again.
    pub async fn slot(&self) -> Result<Slot, Full> {
        let receiver = {
            let mut inner = lock(&self.slots);
            inner.waiting.forget(self.id);
            if inner.closed {
                return Err(Full::after(Duration::ZERO));
            }
            inner.waiting.retain(|ticket| !ticket.is_closed());
            if inner.may_begin(self.ask.lane) {
                return Ok(inner.grant(&self.slots, &self.ask, Instant::now()));
            }
            let (sender, receiver) = oneshot::channel();
            inner.waiting.push(self.ask.clone(), sender);
            inner.make_room(self.ask.lane);
            receiver
        };
        receiver.await.map_err(|_| Full::after(Duration::ZERO))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.slots).waiting.forget(self.id);
    }
}

impl Slot {
    /// A viewer has come for what this makes: it may not be stopped any more.
    pub fn promote(&self) {
        let mut slots = lock(&self.slots);
        let own = slots.working.iter_mut().find(|working| Arc::ptr_eq(&working.wanted, &self.wanted));
        let was_told = own.is_some_and(|own| {
            own.lane = Lane::Viewer;
            std::mem::replace(&mut own.told, false)
        });
        slots.relieve();
        slots.tell();
        // What was told to go stays: somebody else makes room for who waits.
        let waits = if was_told && slots.waiting.len(Lane::Viewer) > 0 { Lane::Viewer } else { Lane::Ahead };
        slots.make_room(waits);
    }
}

impl Drop for Slot {
    /// Lets the next in.
    fn drop(&mut self) {
        let mut undelivered = Vec::new();
        let mut slots = lock(&self.slots);
        slots.working.retain(|working| !Arc::ptr_eq(&working.wanted, &self.wanted));
        // A viewer's job may have kept more than one waiting.
        loop {
            let open = Lane::ALL.map(|lane| slots.is_open(lane));
            let Some((ask, ticket)) = slots.waiting.pop(|lane| open[lane as usize]) else { break };
            if !ticket.is_closed() {
                let slot = slots.grant(&self.slots, &ask, Instant::now());
                undelivered.extend(ticket.send(slot).err());
            }
        }
        // A viewer's job that has ended leaves cores to look-ahead that could not begin beside it.
        slots.waiting.retain(|ticket| !ticket.is_closed());
        slots.make_room(Lane::Ahead);
        slots.tell();
        drop(slots);
        // Whoever waited gave up in this instant: dropping the slot, unlocked, passes it on.
        drop(undelivered);
    }
}

impl Full {
    fn after(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        Self { retry_after_seconds: seconds.clamp(*RETRY_SECONDS.start(), *RETRY_SECONDS.end()) }
    }
}

#[cfg(test)]
mod tests;

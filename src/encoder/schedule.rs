//! Who may work now. Two kinds of slots, heavy for video encodes and light for what costs little; in each a viewer who
//! waits comes before look-ahead, and takes the slot from it if there is no other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use super::lock;

/// Light jobs (sound, passthrough, parameter sets) per heavy slot.
const LIGHT_PER_HEAVY: usize = 2;

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A viewer.
    Viewer,
    /// Nobody yet.
    Ahead,
}

/// What a job costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Keeps a processor core busy for a second or so.
    Heavy,
    /// Some tens of milliseconds.
    Light,
}

/// The slots. Clones share them.
#[derive(Clone)]
pub struct Schedule {
    heavy: Arc<Mutex<Slots>>,
    light: Arc<Mutex<Slots>>,
}

struct Slots {
    free: usize,
    taken: usize,
    viewers: VecDeque<oneshot::Sender<Slot>>,
    ahead: VecDeque<oneshot::Sender<Slot>>,
    /// Look-ahead at work, which a viewer may stop.
    preemptible: Vec<Arc<Notify>>,
    /// Most viewers' orders that wait: more would time out anyway.
    queue: usize,
    closed: bool,
}

/// Leave to work. Dropping it lets the next one in.
pub struct Slot {
    slots: Arc<Mutex<Slots>>,
    /// Told when a viewer needs this slot and nobody is known to wait for what it makes.
    pub wanted: Arc<Notify>,
}

/// The queue is full, or the encoder closes.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Schedule {
    /// `heavy` slots for video, and a queue of at most `queue` viewers' orders for each kind.
    pub fn new(heavy: usize, queue: usize) -> Self {
        Self { heavy: Slots::new(heavy, queue), light: Slots::new(heavy * LIGHT_PER_HEAVY, queue) }
    }

    /// Waits for a slot.
    pub async fn slot(&self, lane: Lane, weight: Weight) -> Result<Slot, Full> {
        let slots = match weight {
            Weight::Heavy => &self.heavy,
            Weight::Light => &self.light,
        };
        let waiting = {
            let mut inner = lock(slots);
            if inner.closed {
                return Err(Full);
            }
            if inner.free > 0 && (lane == Lane::Viewer || inner.viewers.is_empty()) {
                inner.free -= 1;
                return Ok(inner.grant(slots, lane));
            }
            let (sender, receiver) = oneshot::channel();
            match lane {
                Lane::Viewer => {
                    inner.viewers.retain(|waiting| !waiting.is_closed());
                    if inner.viewers.len() >= inner.queue {
                        return Err(Full);
                    }
                    inner.viewers.push_back(sender);
                    // One job of look-ahead makes room for one viewer.
                    if let Some(victim) = inner.preemptible.pop() {
                        victim.notify_one();
                    }
                }
                Lane::Ahead => inner.ahead.push_back(sender),
            }
            receiver
        };
        waiting.await.map_err(|_| Full)
    }

    /// Orders that wait, and jobs at work.
    pub fn counts(&self) -> (usize, usize) {
        let of = |slots: &Mutex<Slots>| {
            let slots = lock(slots);
            (slots.viewers.iter().chain(&slots.ahead).filter(|w| !w.is_closed()).count(), slots.taken)
        };
        let (heavy, light) = (of(&self.heavy), of(&self.light));
        (heavy.0 + light.0, heavy.1 + light.1)
    }

    /// Everybody who waits is turned away, and so is whoever comes.
    pub fn close(&self) {
        for slots in [&self.heavy, &self.light] {
            let mut slots = lock(slots);
            slots.closed = true;
            slots.viewers.clear();
            slots.ahead.clear();
        }
    }
}

impl Slots {
    fn new(free: usize, queue: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            free,
            taken: 0,
            viewers: VecDeque::new(),
            ahead: VecDeque::new(),
            preemptible: Vec::new(),
            queue,
            closed: false,
        }))
    }

    fn grant(&mut self, slots: &Arc<Mutex<Self>>, lane: Lane) -> Slot {
        self.taken += 1;
        let wanted = Arc::new(Notify::new());
        if lane == Lane::Ahead {
            self.preemptible.push(Arc::clone(&wanted));
        }
        Slot { slots: Arc::clone(slots), wanted }
    }
}

impl Slot {
    /// A viewer has come for what this makes: it may not be stopped any more.
    pub fn promote(&self) {
        lock(&self.slots).preemptible.retain(|other| !Arc::ptr_eq(other, &self.wanted));
    }
}

impl Drop for Slot {
    /// Lets the next one in: viewers first, each in the order they came.
    fn drop(&mut self) {
        let mut undelivered = None;
        let mut slots = lock(&self.slots);
        slots.taken -= 1;
        slots.preemptible.retain(|other| !Arc::ptr_eq(other, &self.wanted));
        loop {
            let (next, lane) = match slots.viewers.pop_front() {
                Some(next) => (next, Lane::Viewer),
                None => match slots.ahead.pop_front() {
                    Some(next) => (next, Lane::Ahead),
                    None => {
                        slots.free += 1;
                        break;
                    }
                },
            };
            if next.is_closed() {
                continue;
            }
            let slot = slots.grant(&self.slots, lane);
            undelivered = next.send(slot).err();
            break;
        }
        drop(slots);
        // Whoever waited gave up in this instant: dropping the slot, unlocked, passes it on.
        drop(undelivered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_viewer_takes_the_slot_from_look_ahead_and_goes_before_it() {
        let schedule = Schedule::new(1, 4);
        let ahead = schedule.slot(Lane::Ahead, Weight::Heavy).await.unwrap();
        let other = schedule.clone();
        let waiting_ahead = tokio::spawn(async move { other.slot(Lane::Ahead, Weight::Heavy).await });
        tokio::task::yield_now().await;
        let mut viewer = Box::pin(schedule.slot(Lane::Viewer, Weight::Heavy));
        assert!(futures_poll(&mut viewer).await.is_none());
        ahead.wanted.notified().await;
        drop(ahead);
        let slot = viewer.await.unwrap();
        assert!(!waiting_ahead.is_finished());
        drop(slot);
        assert!(waiting_ahead.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_turns_viewers_away_at_once() {
        let schedule = Schedule::new(1, 1);
        let _slot = schedule.slot(Lane::Viewer, Weight::Heavy).await.unwrap();
        let mut second = Box::pin(schedule.slot(Lane::Viewer, Weight::Heavy));
        assert!(futures_poll(&mut second).await.is_none());
        assert_eq!(schedule.slot(Lane::Viewer, Weight::Heavy).await.err(), Some(Full));
        drop(second);
        let mut third = Box::pin(schedule.slot(Lane::Viewer, Weight::Heavy));
        assert!(futures_poll(&mut third).await.is_none(), "one who gave up leaves his place");
    }

    #[tokio::test]
    async fn a_slot_for_somebody_who_left_goes_to_the_next() {
        let schedule = Schedule::new(1, 4);
        let slot = schedule.slot(Lane::Viewer, Weight::Heavy).await.unwrap();
        let mut gone = Box::pin(schedule.slot(Lane::Viewer, Weight::Heavy));
        assert!(futures_poll(&mut gone).await.is_none());
        let mut stays = Box::pin(schedule.slot(Lane::Viewer, Weight::Heavy));
        assert!(futures_poll(&mut stays).await.is_none());
        drop(gone);
        drop(slot);
        assert!(stays.await.is_ok());
    }

    /// Polls once.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(out) => std::task::Poll::Ready(Some(out)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}

//! Who is next: pure, without clocks or locks.
//!
//! Lanes come first. Within a lane titles take turns by the time they were given: one that was given much more than the
//! least served of those who wait is passed over, however early its orders are due. Among the others the order that is due
//! first goes first, and what it costs counts as lateness: when cores are short, two small segments go before a large one.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ask, Lane};
use crate::media::Generation;

/// A title may be ahead of the least served by this much. Less would break up a viewer's row of segments for the sake of
/// exactness; more would let one title hold a slot for longer than a player waits.
const QUANTUM: Duration = Duration::from_secs(2);

/// Those who wait.
pub(super) struct Queue<T> {
    waiting: Vec<Waiting<T>>,
    /// Those who will wait, and are only counted until they come.
    expected: Vec<(u64, Ask)>,
    next_id: u64,
    /// Time each title was given since its lane last was empty.
    given: HashMap<(Lane, Generation), Duration>,
}

struct Waiting<T> {
    ask: Ask,
    ticket: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), expected: Vec::new(), next_id: 0, given: HashMap::new() }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, ask: Ask, ticket: T) {
        // Whoever comes later has no claim to what others were given before.
        let least = self.least(ask.lane);
        let given = self.given.entry((ask.lane, ask.title.clone())).or_default();
        *given = (*given).max(least);
        self.waiting.push(Waiting { ask, ticket });
    }

    /// Somebody will come to wait, or be forgotten by this number.
    pub(super) fn expect(&mut self, ask: Ask) -> u64 {
        self.next_id += 1;
        self.expected.push((self.next_id, ask));
        self.next_id
    }

    /// They have come, or will not.
    pub(super) fn forget(&mut self, id: u64) {
        self.expected.retain(|(of, _)| *of != id);
    }

    /// Takes the next one of the lanes that are open.
    pub(super) fn pop(&mut self, open: impl Fn(Lane) -> bool) -> Option<(Ask, T)> {
        let lane = self.waiting.iter().map(|w| w.ask.lane).filter(|lane| open(*lane)).min()?;
        let limit = self.least(lane) + QUANTUM;
        let eligible = |w: &&Waiting<T>| w.ask.lane == lane && self.given(&w.ask) <= limit;
        let next = self.waiting.iter().filter(eligible).map(|w| w.ask.order()).min()?;
        let at = self
            .waiting
            .iter()
            .position(|w| w.ask.lane == lane && self.given(&w.ask) <= limit && w.ask.order() == next)?;
        let Waiting { ask, ticket } = self.waiting.remove(at);
        *self.given.entry((lane, ask.title.clone())).or_default() += ask.cost;
        self.settle(lane);
        Some((ask, ticket))
    }

    /// Forgets whoever left.
    pub(super) fn retain(&mut self, stays: impl Fn(&T) -> bool) {
        self.waiting.retain(|w| stays(&w.ticket));
        for lane in Lane::ALL {
            self.settle(lane);
        }
    }

    pub(super) fn len(&self, lane: Lane) -> usize {
        self.waiting.iter().filter(|w| w.ask.lane == lane).count()
    }

    /// Those who wait and those who will.
    pub(super) fn count(&self, lane: Lane) -> usize {
        self.len(lane) + self.expected.iter().filter(|(_, ask)| ask.lane == lane).count()
    }

    pub(super) fn clear(&mut self) {
        self.expected.clear();
        self.waiting.clear();
        self.given.clear();
    }

    /// Slot time that goes to others before this one, if nobody else comes: what its own title is due earlier, and of
    /// every other title no more than fairness lets it have meanwhile.
    pub(super) fn before(&self, ask: &Ask) -> Duration {
        let all = || self.waiting.iter().map(|w| &w.ask).chain(self.expected.iter().map(|(_, ask)| ask));
        let lane = || all().filter(|other| other.lane == ask.lane);
        let own = lane().filter(|other| other.title == ask.title && other.order() <= ask.order());
        let own: Duration = own.map(|other| other.cost).sum();
        let mut others: HashMap<&Generation, Duration> = HashMap::new();
        for other in lane().filter(|other| other.title != ask.title) {
            *others.entry(&other.title).or_default() += other.cost;
        }
        let share = own + ask.cost + QUANTUM;
        own + others.into_values().map(|cost| cost.min(share)).sum::<Duration>()
    }

    fn given(&self, ask: &Ask) -> Duration {
        self.given.get(&(ask.lane, ask.title.clone())).copied().unwrap_or_default()
    }

    /// What the least served of those who wait in a lane was given.
    fn least(&self, lane: Lane) -> Duration {
        let waiting = self.waiting.iter().filter(|w| w.ask.lane == lane);
        waiting.map(|w| self.given(&w.ask)).min().unwrap_or_default()
    }

    /// An account that says no more than its absence would is dropped, so that there are about as many as titles wait.
    fn settle(&mut self, lane: Lane) {
        if self.len(lane) == 0 {
            self.given.retain(|(of, _), _| *of != lane);
            return;
        }
        let least = self.least(lane);
        let waiting = &self.waiting;
        self.given.retain(|(of, title), given| {
            *of != lane || *given > least || waiting.iter().any(|w| w.ask.lane == lane && w.ask.title == *title)
        });
    }
}

impl Ask {
    /// The earlier the sooner.
    fn order(&self) -> Instant {
        self.due + self.cost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(lane: Lane, title: u8, due_ms: u64, cost_ms: u64) -> Ask {
        thread_local!(static START: Instant = Instant::now());
        let title = format!("{title:016x}").parse().unwrap();
        let due = START.with(|start| *start) + Duration::from_millis(due_ms);
        Ask { lane, title, due, cost: Duration::from_millis(cost_ms) }
    }

    fn drain(queue: &mut Queue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(|_| true)).map(|(_, ticket)| ticket).collect()
    }

    #[test]
    fn lanes_go_in_order_whatever_is_due_first() {
        let mut queue = Queue::default();
        queue.push(ask(Lane::Warm, 1, 0, 10), 3);
        queue.push(ask(Lane::Ahead, 1, 0, 10), 2);
        queue.push(ask(Lane::Viewer, 1, 9000, 10), 1);
        assert_eq!(drain(&mut queue), [1, 2, 3]);
    }

    #[test]
    fn in_a_lane_the_order_due_first_goes_first() {
        let mut queue = Queue::default();
        for (ticket, due) in [(0, 3000), (1, 0), (2, 1000)] {
            queue.push(ask(Lane::Viewer, 1, due, 500), ticket);
        }
        assert_eq!(drain(&mut queue), [1, 2, 0]);
    }

    #[test]
    fn when_both_are_due_the_small_rung_goes_before_the_large() {
        let mut queue = Queue::default();
        queue.push(ask(Lane::Viewer, 1, 0, 4000), 1080);
        queue.push(ask(Lane::Viewer, 1, 100, 400), 240);
        assert_eq!(drain(&mut queue), [240, 1080]);
    }

    #[test]
    fn one_title_cannot_starve_others() {
        let mut queue = Queue::default();
        for n in 0..20 {
            queue.push(ask(Lane::Viewer, 1, 0, 1000), n);
        }
        queue.push(ask(Lane::Viewer, 2, 7000, 1000), 100);
        let place = drain(&mut queue).iter().position(|n| *n == 100).unwrap();
        assert!(place <= 3, "after {place} segments of the other title");
    }

    #[test]
    fn a_lane_that_is_closed_keeps_nobody_else_waiting() {
        let mut queue = Queue::default();
        queue.push(ask(Lane::Ahead, 1, 0, 10), 1);
        queue.push(ask(Lane::Warm, 1, 0, 10), 2);
        assert_eq!(queue.pop(|lane| lane != Lane::Ahead).unwrap().1, 2);
        assert!(queue.pop(|lane| lane != Lane::Ahead).is_none());
    }

    proptest! {
        #[test]
        fn everybody_is_served_once_and_nothing_is_remembered(
            asks in proptest::collection::vec((0usize..3, 0u8..5, 0u64..9000, 0u64..4000), 0..60)
        ) {
            let mut queue = Queue::default();
            for (n, (lane, title, due, cost)) in asks.iter().enumerate() {
                queue.push(ask(Lane::ALL[*lane], *title, *due, *cost), u32::try_from(n).unwrap());
            }
            let mut served = drain(&mut queue);
            let lanes: Vec<usize> = served.iter().map(|n| asks[*n as usize].0).collect();
            prop_assert!(lanes.is_sorted());
            served.sort_unstable();
            prop_assert!(served.iter().copied().eq(0..u32::try_from(asks.len()).unwrap()));
            prop_assert!(queue.given.is_empty());
        }

        #[test]
        fn a_title_waits_for_no_more_than_its_share_of_the_others(
            greedy in 1u64..3000, mine in 1u64..3000, rivals in 1u8..5
        ) {
            let mut queue = Queue::default();
            for rival in 0..rivals {
                (0..30).for_each(|n| queue.push(ask(Lane::Viewer, rival, 0, greedy), n));
            }
            let late = ask(Lane::Viewer, 9, 8000, mine);
            let promised = queue.before(&late);
            queue.push(late, 1000);
            let before = std::iter::from_fn(|| queue.pop(|_| true)).take_while(|(_, n)| *n != 1000);
            let waited: Duration = before.map(|(ask, _)| ask.cost).sum();
            let rounding = Duration::from_millis(greedy) * u32::from(rivals);
            prop_assert!(waited <= promised + rounding, "{waited:?} {promised:?}");
        }
    }
}

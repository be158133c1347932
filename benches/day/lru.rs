//! The peer: the same machine, a cache from which goes what was used least recently, and nothing made ahead.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matinee::media::Plan;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::crowd::Segment;
use crate::machine::Machine;
use crate::{Answer, encode, films};

pub struct Lru {
    machine: Machine,
    capacity: u64,
    films: Mutex<HashMap<u16, Arc<Plan>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: u64,
    uses: u64,
    last: HashMap<Segment, (u64, u64)>,
    order: BTreeMap<u64, Segment>,
    /// What is being made: whether its first bytes, and whether all are there.
    making: HashMap<Segment, watch::Receiver<(bool, bool)>>,
}

impl Lru {
    pub fn new(capacity: u64, machine: &Machine) -> Self {
        Self { machine: machine.clone(), capacity, films: Mutex::default(), state: Mutex::default() }
    }

    pub fn add(&self, title: u16, plan: Arc<Plan>) {
        self.films.lock().expect("nothing panics with it").insert(title, plan);
    }

    /// `goes_on`: a decoder stands there.
    pub async fn answer(self: &Arc<Self>, of: Segment, goes_on: bool) -> Answer {
        let asked = Instant::now();
        let mut making = {
            let mut state = self.state.lock().expect("nothing panics with it");
            if state.used(of) {
                return Answer { is_hit: true, first_byte: Duration::ZERO, whole: Duration::ZERO };
            }
            let making = state.making.get(&of).cloned();
            making.unwrap_or_else(|| {
                let (told, making) = watch::channel((false, false));
                state.making.insert(of, making.clone());
                tokio::spawn(Arc::clone(self).make(of, goes_on, told));
                making
            })
        };
        let _ = making.wait_for(|(first, _)| *first).await;
        let first_byte = asked.elapsed();
        let _ = making.wait_for(|(_, whole)| *whole).await;
        Answer { is_hit: false, first_byte, whole: asked.elapsed() }
    }

    async fn make(self: Arc<Self>, of: Segment, goes_on: bool, told: watch::Sender<(bool, bool)>) {
        let plan = Arc::clone(&self.films.lock().expect("nothing panics with it")[&of.title]);
        let rendition = &plan.renditions[of.rendition];
        let (cost, begin) = (encode::cost([rendition], of.number), if goes_on { 0.0 } else { encode::BEGIN });
        let first = cost / encode::PARTS as f64;
        let (_runs, runs) = watch::channel(false);
        self.machine.work(begin + first, 0, runs.clone()).await;
        told.send_replace((true, false));
        self.machine.work(cost - first, 0, runs).await;
        let mut state = self.state.lock().expect("nothing panics with it");
        state.making.remove(&of);
        state.keep(of, films::bytes(rendition, of.number), self.capacity);
        drop(state);
        told.send_replace((true, true));
    }
}

impl State {
    /// True if it is there.
    fn used(&mut self, of: Segment) -> bool {
        let Some((last, _)) = self.last.get_mut(&of) else { return false };
        self.uses += 1;
        self.order.remove(last);
        self.order.insert(self.uses, of);
        *last = self.uses;
        true
    }

    fn keep(&mut self, of: Segment, bytes: u64, capacity: u64) {
        self.uses += 1;
        self.bytes += bytes;
        self.last.insert(of, (self.uses, bytes));
        self.order.insert(self.uses, of);
        while self.bytes > capacity
            && let Some((_, gone)) = self.order.pop_first()
        {
            self.bytes -= self.last.remove(&gone).map_or(0, |(_, bytes)| bytes);
        }
    }
}

//! A machine of some cores that tasks share by weight, as the kernel shares them by nice levels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// Cores that one task can use.
const MOST_CORES: f64 = 2.0;
/// A task with less left is done, CPU seconds.
const NOTHING: f64 = 1e-6;
/// One that is paused is looked at again after this long, seconds.
const A_WHILE: f64 = 60.0;

/// Clones are the same machine.
#[derive(Clone)]
pub struct Machine {
    cores: f64,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

struct State {
    tasks: BTreeMap<u64, Task>,
    numbered: u64,
    /// As of when the tasks' rest is right.
    at: Instant,
    spent: f64,
}

struct Task {
    left: f64,
    weight: f64,
    is_paused: bool,
    /// Cores that it has now.
    cores: f64,
}

/// A task that has not ended; dropping it ends it.
struct AtWork<'a> {
    machine: &'a Machine,
    number: u64,
}

impl Machine {
    pub fn new(cores: u32) -> Self {
        let state = State { tasks: BTreeMap::new(), numbered: 0, at: Instant::now(), spent: 0.0 };
        Self { cores: cores.into(), state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    /// Takes so many CPU seconds, and more time while it is paused.
    pub async fn work(&self, seconds: f64, nice: i32, mut paused: watch::Receiver<bool>) {
        let at_work = self.enter(seconds, nice);
        self.pause(at_work.number, *paused.borrow_and_update());
        loop {
            // Before looking, so that no change is missed.
            let changed = self.changed.notified();
            let Some(end) = self.end(at_work.number) else { return };
            tokio::select! {
                () = sleep_until(end) => {}
                () = changed => {}
                Ok(()) = paused.changed() => self.pause(at_work.number, *paused.borrow()),
            }
        }
    }

    /// CPU seconds spent so far.
    pub fn spent(&self) -> f64 {
        let mut state = self.state.lock().expect("nothing panics with it");
        state.pass();
        state.spent
    }

    fn enter(&self, seconds: f64, nice: i32) -> AtWork<'_> {
        let mut state = self.state.lock().expect("nothing panics with it");
        state.pass();
        state.numbered += 1;
        let number = state.numbered;
        // About what the kernel's table says (`sched_prio_to_weight`).
        let weight = 1.25_f64.powi(-nice);
        state.tasks.insert(number, Task { left: seconds, weight, is_paused: false, cores: 0.0 });
        state.share(self.cores);
        self.changed.notify_waiters();
        AtWork { machine: self, number }
    }

    fn pause(&self, number: u64, is_paused: bool) {
        let mut state = self.state.lock().expect("nothing panics with it");
        state.pass();
        state.tasks.get_mut(&number).expect("it is at work").is_paused = is_paused;
        state.share(self.cores);
        self.changed.notify_waiters();
    }

    /// When it will be done if nothing changes; `None` if it is.
    fn end(&self, number: u64) -> Option<Instant> {
        let mut state = self.state.lock().expect("nothing panics with it");
        state.pass();
        let task = &state.tasks[&number];
        let seconds = if task.is_paused { A_WHILE } else { task.left / task.cores };
        let left = (task.left > NOTHING).then(|| Duration::from_secs_f64(seconds))?;
        // A timer has no finer steps.
        Some(state.at + left.max(Duration::from_millis(1)))
    }
}

impl State {
    fn pass(&mut self) {
        let now = Instant::now();
        let passed = (now - self.at).as_secs_f64();
        self.at = now;
        for task in self.tasks.values_mut() {
            let done = (passed * task.cores).min(task.left);
            task.left -= done;
            self.spent += done;
        }
    }

    /// Each has its share, but no more than it can use; what that leaves is shared by the others.
    fn share(&mut self, mut cores: f64) {
        let (paused, mut tasks): (Vec<&mut Task>, Vec<_>) = self.tasks.values_mut().partition(|task| task.is_paused);
        paused.into_iter().for_each(|task| task.cores = 0.0);
        // Those with the greatest share come first: once one of them can use all of its own, so can those behind.
        tasks.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let mut weights: f64 = tasks.iter().map(|task| task.weight).sum();
        for task in tasks {
            task.cores = (cores * task.weight / weights).min(MOST_CORES);
            cores -= task.cores;
            weights -= task.weight;
        }
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut state = self.machine.state.lock().expect("nothing panics with it");
        state.pass();
        state.tasks.remove(&self.number);
        state.share(self.machine.cores);
        self.machine.changed.notify_waiters();
    }
}

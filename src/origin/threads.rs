//! Threads that serve connections: as many as there are cores, each with a runtime of its own. A connection stays on
//! one thread, so nothing is handed from core to core on a hit, and the work of other rooms, which runs on the process's own
//! runtime, does not stand in its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// What blocks for requests (look-ups in catalog and disk, blocks of films) on threads beside each of them, at most. The rest
/// waits its turn: without a bound a burst of requests takes hundreds of threads.
const MAX_BLOCKING_THREADS: usize = 64;

/// The threads. They end when this is dropped; what they still run is dropped with them.
pub(super) struct Threads(Vec<Thread>);

struct Thread {
    runtime: Handle,
    /// Connections it serves.
    load: Arc<AtomicUsize>,
    /// Dropping it ends the thread; `None` where there is none but the caller's.
    _end: Option<oneshot::Sender<()>>,
}

/// A place on a thread; free again when dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Threads {
    /// One for each core. Where the system gives none, connections are served on the caller's runtime.
    pub(super) fn start() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let mut threads: Vec<Thread> = (0..cores).map_while(Thread::start).collect();
        if threads.is_empty() {
            threads.push(Thread { runtime: Handle::current(), load: Arc::default(), _end: None });
        }
        Self(threads)
    }

    /// The thread that serves the fewest.
    pub(super) fn least(&self) -> (&Handle, Place) {
        let load = |thread: &&Thread| thread.load.load(Ordering::Relaxed);
        let thread = self.0.iter().min_by_key(load).expect("there is at least one");
        thread.load.fetch_add(1, Ordering::Relaxed);
        (&thread.runtime, Place(thread.load.clone()))
    }
}

impl Thread {
    fn start(number: usize) -> Option<Self> {
        let (end, ended) = oneshot::channel::<()>();
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build();
        let started = runtime.and_then(|runtime| {
            let handle = runtime.handle().clone();
            let serve = move || {
                let _ = runtime.block_on(ended);
                // A thread that blocks on a disk must not hold up the end.
                runtime.shutdown_background();
            };
            std::thread::Builder::new().name(format!("serve-{number}")).spawn(serve).map(|_| handle)
        });
        match started {
            Ok(runtime) => Some(Self { runtime, load: Arc::default(), _end: Some(end) }),
            Err(error) => {
                tracing::warn!(%error, "a thread to serve connections cannot be started");
                None
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn what_blocks_beside_a_thread_is_bounded() {
        let thread = Thread::start(0).unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // Each waits until as many are there as may be, so that all threads are seen at once.
        let all = Arc::new(Barrier::new(MAX_BLOCKING_THREADS));
        let tasks: Vec<_> = (0..2 * MAX_BLOCKING_THREADS)
            .map(|_| {
                let (now, most, all) = (now.clone(), most.clone(), all.clone());
                thread.runtime.spawn_blocking(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    all.wait();
                    now.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), MAX_BLOCKING_THREADS);
    }

    #[tokio::test]
    async fn connections_go_to_the_thread_that_has_fewest() {
        let thread = || Thread { runtime: Handle::current(), load: Arc::default(), _end: None };
        let threads = Threads(vec![thread(), thread()]);
        let loads = || threads.0.iter().map(|thread| thread.load.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let (first, second) = (threads.least().1, threads.least().1);
        assert_eq!(loads(), [1, 1]);
        drop(first);
        let third = threads.least().1;
        assert_eq!(loads(), [1, 1]);
        drop((second, third));
        assert_eq!(loads(), [0, 0]);
    }
}

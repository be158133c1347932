//! The gate for graceful shutdown: what is still in flight, and waiting for it with a deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

/// Counts what must end before the process may. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Drain {
    state: watch::Sender<State>,
}

/// Something in flight; dropping it says that it ended.
#[derive(Debug)]
pub struct Guard {
    name: &'static str,
    drain: Drain,
}

/// What had not ended at the deadline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Held {
    /// How many of each name, none of them zero.
    pub names: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Default)]
struct State {
    draining: bool,
    held: BTreeMap<&'static str, usize>,
}

impl Drain {
    /// An open gate.
    #[must_use]
    pub fn new() -> Self {
        Self { state: watch::Sender::default() }
    }

    /// Marks something as in flight: `segment`, `upload`. Allowed while draining too: a request that was read before
    /// its connection was told to close is still answered.
    #[must_use]
    pub fn hold(&self, name: &'static str) -> Guard {
        // Nobody is woken: with thousands of connections watching for the drain that would cost each hold a storm.
        self.state.send_if_modified(|state| {
            *state.held.entry(name).or_default() += 1;
            false
        });
        Guard { name, drain: self.clone() }
    }

    /// Says that shutdown has begun. Once is enough; again does nothing.
    pub fn begin(&self) {
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.draining, true));
    }

    /// True once shutdown has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state.borrow().draining
    }

    /// Returns once shutdown has begun; for connections and loops that must stop then.
    pub async fn begun(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.state.subscribe().wait_for(|state| state.draining).await;
    }

    /// Waits until nothing is held, at most as long as given. Shutdown must have begun.
    ///
    /// # Errors
    /// [`Held`] names what is left.
    pub async fn wait(&self, at_most: Duration) -> Result<(), Held> {
        let mut state = self.state.subscribe();
        let empty = state.wait_for(|state| state.held.is_empty());
        match tokio::time::timeout(at_most, empty).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Held { names: self.state.borrow().held.clone() }),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.drain.state.send_if_modified(|state| {
            if let Some(count) = state.held.get_mut(self.name) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(self.name);
                }
            }
            state.draining && state.held.is_empty()
        });
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("still in flight:")?;
        for (n, (name, count)) in self.names.iter().enumerate() {
            write!(f, "{} {count} {name}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_idle_gate_drains_at_once() {
        let drain = Drain::new();
        drain.begin();
        assert_eq!(drain.wait(Duration::ZERO).await, Ok(()));
    }

    #[tokio::test]
    async fn waiting_ends_when_the_last_guard_goes() {
        let drain = Drain::new();
        let (first, second) = (drain.hold("segment"), drain.hold("upload"));
        drain.begin();
        let waiting = drain.wait(LONG);
        tokio::pin!(waiting);
        drop(first);
        assert!(poll(waiting.as_mut()).await.is_none(), "one is still held");
        drop(second);
        assert_eq!(waiting.await, Ok(()));
    }

    #[tokio::test]
    async fn at_the_deadline_what_held_on_is_named() {
        let drain = Drain::new();
        let guards = [drain.hold("segment"), drain.hold("upload"), drain.hold("segment"), drain.hold("playlist")];
        drain.begin();
        let [_segment, _upload, _other, playlist] = guards;
        drop(playlist);
        let held = drain.wait(Duration::ZERO).await.unwrap_err();
        assert_eq!(held.to_string(), "still in flight: 2 segment, 1 upload");
    }

    #[tokio::test]
    async fn a_guard_taken_while_draining_is_waited_for() {
        let drain = Drain::new();
        drain.begin();
        drain.begin();
        let late = drain.clone().hold("segment");
        assert!(drain.wait(Duration::ZERO).await.is_err());
        drop(late);
        assert_eq!(drain.wait(LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn those_who_watch_for_the_beginning_hear_it_and_late_ones_too() {
        let drain = Drain::new();
        let begun = drain.begun();
        tokio::pin!(begun);
        assert!(poll(begun.as_mut()).await.is_none() && !drain.is_draining());
        let guard = drain.hold("segment");
        drop(guard);
        assert!(poll(begun.as_mut()).await.is_none(), "a guard that comes and goes begins nothing");
        drain.begin();
        begun.await;
        drain.begun().await;
        assert!(drain.is_draining());
    }

    /// Polls once.
    async fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        tokio::select! { biased; out = future => Some(out), () = std::future::ready(()) => None }
    }
}

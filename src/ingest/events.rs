//! What happens to titles, told to whoever listens now. Nothing is stored: who missed something asks the catalog.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::catalog::{Failure, State};
use crate::media::TitleId;

/// Events a listener may be behind before it loses: bounds what a slow one makes the server keep.
const BEHIND: usize = 1024;
/// Events kept for listeners that come back.
const KEPT: usize = 256;

/// Something that happened to a title.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts events since the process began.
    pub number: u64,
    /// Whom it happened to.
    pub title: TitleId,
    /// What.
    pub what: What,
}

/// What can happen to a title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum What {
    /// It is in this state now.
    State {
        /// Which one.
        state: State,
        /// Why, if it failed.
        error: Option<Failure>,
    },
    /// Its processing got so far.
    Progress {
        /// Thousandths done.
        progress: u16,
    },
    /// Its name or its other words changed.
    Changed {
        /// The title's version now.
        version: u64,
    },
    /// Another source has taken the place of its own, or could not.
    Replaced {
        /// Whether it has.
        replaced: bool,
        /// Why not.
        error: Option<Failure>,
    },
    /// It is gone.
    Removed {
        /// Always true.
        removed: bool,
    },
}

/// The place where events are told. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Tells this process's numbers from another's.
    run: u64,
    sender: broadcast::Sender<Event>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    number: u64,
    recent: VecDeque<Event>,
}

impl Events {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        let run = getrandom::u64().unwrap_or_default();
        Self(Arc::new(Inner { run, sender: broadcast::Sender::new(BEHIND), kept: Mutex::default() }))
    }

    /// Tells everybody. Never waits.
    pub fn tell(&self, title: &TitleId, what: What) {
        // Sent under the lock, so that numbers arrive in order.
        let mut kept = self.kept();
        kept.number += 1;
        let event = Event { number: kept.number, title: title.clone(), what };
        if kept.recent.len() == KEPT {
            kept.recent.pop_front();
        }
        kept.recent.push_back(event.clone());
        // Nobody listening is no error.
        let _ = self.0.sender.send(event);
    }

    /// What happened after `last`, as far as it is still known, and what happens from now on. A listener that is too far
    /// behind is told so by the receiver and should leave.
    #[must_use]
    pub fn listen(&self, last: Option<&str>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept();
        let last = last.and_then(|last| self.number(last));
        let missed = last
            .map_or_else(Vec::new, |last| kept.recent.iter().filter(|event| event.number > last).cloned().collect());
        (missed, self.0.sender.subscribe())
    }

    /// The event's name for a listener that may come back.
    #[must_use]
    pub fn name(&self, event: &Event) -> String {
        format!("{:016x}-{}", self.0.run, event.number)
    }

    /// The number in a name, if it is one of this process's.
    fn number(&self, name: &str) -> Option<u64> {
        let (run, number) = name.split_once('-')?;
        (u64::from_str_radix(run, 16) == Ok(self.0.run)).then(|| number.parse().ok())?
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title() -> TitleId {
        TitleId::from_random(1)
    }

    #[test]
    fn a_listener_that_comes_back_hears_what_it_missed_and_a_strange_name_hears_nothing_old() {
        let events = Events::new();
        for progress in 0..3 {
            events.tell(&title(), What::Progress { progress });
        }
        let (all, _) = events.listen(Some(&format!("{:016x}-0", events.0.run)));
        assert_eq!(all.len(), 3);
        let (missed, _) = events.listen(Some(&events.name(&all[1])));
        assert_eq!(missed.iter().map(|e| &e.what).collect::<Vec<_>>(), [&What::Progress { progress: 2 }]);
        for strange in ["", "-", "0000000000000000-0", "x-1", "99999999999999999999-1"] {
            assert!(events.listen(Some(strange)).0.is_empty(), "{strange}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_nobody_waits_for_a_slow_listener() {
        let events = Events::new();
        let (_, mut slow) = events.listen(None);
        for _ in 0..3 * BEHIND {
            events.tell(&title(), What::Removed { removed: true });
        }
        assert_eq!(events.kept().recent.len(), KEPT);
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    }
}

//! What happens to titles, told to whoever listens now. Nothing is stored: who missed more than is kept is told so, and asks
//! the catalog.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::catalog::{Failure, State};
use crate::media::TitleId;

/// Events a listener may be behind before it loses: bounds what a slow one makes the server keep.
const BEHIND: usize = 1024;
/// Events kept for listeners that come back. Progress is not: the next one says more.
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
    /// The newest that is not kept any more, of those that were.
    forgotten: u64,
}

/// What a listener that comes back did not hear.
#[derive(Debug)]
pub enum Missed {
    /// These.
    Events(Vec<Event>),
    /// More than is known. From the event of this number on, it hears everything.
    Unknown(u64),
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
        if !matches!(event.what, What::Progress { .. }) {
            if kept.recent.len() == KEPT {
                kept.forgotten = kept.recent.pop_front().map_or(0, |oldest| oldest.number);
            }
            kept.recent.push_back(event.clone());
        }
        // Nobody listening is no error.
        let _ = self.0.sender.send(event);
    }

    /// What happened after the event that is called `last`, and what happens from now on. A listener that is too far behind is
    /// told so by the receiver and should leave.
    #[must_use]
    pub fn listen(&self, last: Option<&str>) -> (Missed, broadcast::Receiver<Event>) {
        let kept = self.kept();
        let missed = match last.map(|last| self.number(last)) {
            None => Missed::Events(Vec::new()),
            Some(Some(last)) if last >= kept.forgotten => {
                Missed::Events(kept.recent.iter().filter(|event| event.number > last).cloned().collect())
            }
            Some(_) => Missed::Unknown(kept.number),
        };
        (missed, self.0.sender.subscribe())
    }

    /// What the event of this number is called by a listener that comes back.
    #[must_use]
    pub fn name(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.0.run)
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
    fn a_listener_that_comes_back_hears_what_it_missed_or_that_it_is_unknown() {
        let events = Events::new();
        let changed = |version| events.tell(&title(), What::Changed { version });
        let progress = |progress| events.tell(&title(), What::Progress { progress });
        let numbers = |name: &str| match events.listen(Some(name)).0 {
            Missed::Events(events) => Ok(events.iter().map(|event| event.number).collect::<Vec<_>>()),
            Missed::Unknown(number) => Err(number),
        };
        assert!(matches!(events.listen(None).0, Missed::Events(none) if none.is_empty()));
        assert_eq!(numbers(&events.name(0)), Ok(vec![]));
        changed(1);
        progress(1);
        changed(2);
        assert_eq!(numbers(&events.name(0)), Ok(vec![1, 3]));
        assert_eq!(numbers(&events.name(2)), Ok(vec![3]));
        // However much progress there was, states are not lost.
        (0..1000).for_each(progress);
        assert_eq!(numbers(&events.name(0)), Ok(vec![1, 3]));
        for version in 3..=KEPT as u64 {
            changed(version);
        }
        assert_eq!(numbers(&events.name(0)).unwrap().len(), KEPT);
        changed(0);
        let newest = 1000 + 1 + KEPT as u64 + 1;
        assert_eq!(numbers(&events.name(0)), Err(newest));
        assert_eq!(numbers(&events.name(1)).unwrap().len(), KEPT);
        for strange in ["", "-", "0000000000000000-0", "x-1", "99999999999999999999-1"] {
            assert_eq!(numbers(strange), Err(newest), "{strange}");
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

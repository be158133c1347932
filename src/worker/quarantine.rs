//! What kills worker after worker, a source or one object of it, is left alone for a while instead of cycling for ever.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::config::Config;

/// Culprits remembered at most; beyond that the one whose last death is oldest is forgotten. Bounds what an uploader of
/// many bad files can make the server remember.
const MAX_CULPRITS: usize = 1024;

/// Counts deaths by what was worked on. Pure: the clock is the caller's.
#[derive(Debug)]
pub struct Quarantine<K> {
    deaths: usize,
    window: Duration,
    term: Duration,
    culprits: HashMap<K, Record>,
}

/// It is not worked on for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has killed {deaths} workers and is left alone for another {} s", .remaining.as_secs())]
pub struct Quarantined {
    /// How many workers died over it.
    pub deaths: usize,
    /// Until it is tried again.
    pub remaining: Duration,
}

#[derive(Debug)]
struct Record {
    /// Times of deaths within the window, oldest first; at most the number that closes the door.
    deaths: Vec<Instant>,
    closed_until: Option<Instant>,
}

impl<K: Clone + Eq + Hash> Quarantine<K> {
    /// With the limits of the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            deaths: config.quarantine_deaths.max(1),
            window: Duration::from_secs(config.quarantine_window_seconds),
            term: Duration::from_secs(config.quarantine_seconds),
            culprits: HashMap::new(),
        }
    }

    /// Whether it may be worked on.
    ///
    /// # Errors
    /// [`Quarantined`] while it may not.
    pub fn check(&self, what: &K, now: Instant) -> Result<(), Quarantined> {
        let Some(record) = self.culprits.get(what) else { return Ok(()) };
        match record.closed_until {
            Some(until) if until > now => Err(Quarantined { deaths: record.deaths.len(), remaining: until - now }),
            _ => Ok(()),
        }
    }

    /// Whether a worker died over it within the window.
    pub fn has_killed(&self, what: &K, now: Instant) -> bool {
        let deaths = self.culprits.get(what).map(|record| &record.deaths);
        deaths.is_some_and(|deaths| deaths.iter().any(|at| now.saturating_duration_since(*at) < self.window))
    }

    /// A worker died over it. Only deaths that are [suspicious](super::Exit::is_suspicious) belong here.
    pub fn died(&mut self, what: &K, now: Instant) {
        if self.culprits.len() >= MAX_CULPRITS && !self.culprits.contains_key(what) {
            self.forget_one();
        }
        let record = self.culprits.entry(what.clone()).or_insert(Record { deaths: Vec::new(), closed_until: None });
        if record.closed_until.is_some_and(|until| until <= now) {
            *record = Record { deaths: Vec::new(), closed_until: None };
        }
        record.deaths.retain(|at| now.saturating_duration_since(*at) < self.window);
        record.deaths.push(now);
        if record.deaths.len() >= self.deaths {
            record.closed_until = Some(now + self.term);
        }
    }

    /// Work on it succeeded: what happened before does not count.
    pub fn succeeded(&mut self, what: &K) {
        self.culprits.remove(what);
    }

    fn forget_one(&mut self) {
        let oldest = self.culprits.iter().min_by_key(|(_, record)| record.deaths.last().copied());
        if let Some(what) = oldest.map(|(what, _)| what.clone()) {
            self.culprits.remove(&what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarantine() -> (Quarantine<u64>, Instant) {
        (Quarantine::new(&Config::default()), Instant::now())
    }

    #[test]
    fn the_fourth_death_closes_the_door_and_ten_minutes_open_it() {
        let (mut quarantine, now) = quarantine();
        let at = |seconds| now + Duration::from_secs(seconds);
        for second in 0..3 {
            quarantine.died(&1, at(second));
            assert_eq!(quarantine.check(&1, at(second)), Ok(()));
        }
        quarantine.died(&1, at(3));
        assert_eq!([1, 2].map(|what| quarantine.has_killed(&what, at(602))), [true, false]);
        assert!(!quarantine.has_killed(&1, at(603)));
        let closed = Quarantined { deaths: 4, remaining: Duration::from_secs(600) };
        assert_eq!(quarantine.check(&1, at(3)), Err(closed));
        assert_eq!(quarantine.check(&2, at(3)), Ok(()));
        assert_eq!(quarantine.check(&1, at(603)), Ok(()));
        quarantine.died(&1, at(604));
        assert_eq!(quarantine.check(&1, at(604)), Ok(()), "it has its chances again");
    }

    #[test]
    fn deaths_far_apart_do_not_add_up() {
        let (mut quarantine, now) = quarantine();
        for n in 0..20 {
            let at = now + Duration::from_secs(n * 250);
            quarantine.died(&1, at);
            assert_eq!(quarantine.check(&1, at), Ok(()));
        }
    }

    #[test]
    fn a_success_wipes_the_slate() {
        let (mut quarantine, now) = quarantine();
        for _ in 0..3 {
            quarantine.died(&1, now);
        }
        quarantine.succeeded(&1);
        quarantine.died(&1, now);
        assert_eq!(quarantine.check(&1, now), Ok(()));
    }

    #[test]
    fn many_culprits_do_not_grow_the_server() {
        let (mut quarantine, now) = quarantine();
        for n in 0..3 * MAX_CULPRITS as u64 {
            quarantine.died(&n, now + Duration::from_millis(n));
        }
        assert_eq!(quarantine.culprits.len(), MAX_CULPRITS);
        assert!(quarantine.culprits.contains_key(&(3 * MAX_CULPRITS as u64 - 1)));
    }
}

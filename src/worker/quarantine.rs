//! A source that kills worker after worker is left alone for a while instead of cycling for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::config::Config;
use crate::media::Digest;

/// Sources remembered at most; beyond that the one whose last death is oldest is forgotten. Bounds what an uploader of
/// many bad files can make the server remember.
const MAX_SOURCES: usize = 1024;

/// Counts deaths by source. Pure: the clock is the caller's.
#[derive(Debug)]
pub struct Quarantine {
    deaths: usize,
    window: Duration,
    term: Duration,
    sources: HashMap<Digest, Record>,
}

/// A source that is not worked on for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source has killed {deaths} workers and is left alone for another {} s", .remaining.as_secs())]
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

impl Quarantine {
    /// With the limits of the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            deaths: config.quarantine_deaths.max(1),
            window: Duration::from_secs(config.quarantine_window_seconds),
            term: Duration::from_secs(config.quarantine_seconds),
            sources: HashMap::new(),
        }
    }

    /// Whether the source may be worked on.
    ///
    /// # Errors
    /// [`Quarantined`] while it may not.
    pub fn check(&self, source: &Digest, now: Instant) -> Result<(), Quarantined> {
        let Some(record) = self.sources.get(source) else { return Ok(()) };
        match record.closed_until {
            Some(until) if until > now => Err(Quarantined { deaths: record.deaths.len(), remaining: until - now }),
            _ => Ok(()),
        }
    }

    /// A worker died over the source. Only deaths that are [suspicious](super::Exit::is_suspicious) belong here.
    pub fn died(&mut self, source: &Digest, now: Instant) {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(source) {
            self.forget_one();
        }
        let record = self.sources.entry(source.clone()).or_insert(Record { deaths: Vec::new(), closed_until: None });
        if record.closed_until.is_some_and(|until| until <= now) {
            *record = Record { deaths: Vec::new(), closed_until: None };
        }
        record.deaths.retain(|at| now.saturating_duration_since(*at) < self.window);
        record.deaths.push(now);
        if record.deaths.len() >= self.deaths {
            record.closed_until = Some(now + self.term);
        }
    }

    /// Work on the source succeeded: what happened before does not count.
    pub fn succeeded(&mut self, source: &Digest) {
        self.sources.remove(source);
    }

    fn forget_one(&mut self) {
        let oldest = self.sources.iter().min_by_key(|(_, record)| record.deaths.last().copied());
        if let Some(source) = oldest.map(|(source, _)| source.clone()) {
            self.sources.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u64) -> Digest {
        format!("{n:064x}").parse().unwrap()
    }

    fn quarantine() -> (Quarantine, Instant) {
        (Quarantine::new(&Config::default()), Instant::now())
    }

    #[test]
    fn the_fourth_death_closes_the_door_and_ten_minutes_open_it() {
        let (mut quarantine, now) = quarantine();
        let at = |seconds| now + Duration::from_secs(seconds);
        for second in 0..3 {
            quarantine.died(&digest(1), at(second));
            assert_eq!(quarantine.check(&digest(1), at(second)), Ok(()));
        }
        quarantine.died(&digest(1), at(3));
        let closed = Quarantined { deaths: 4, remaining: Duration::from_secs(600) };
        assert_eq!(quarantine.check(&digest(1), at(3)), Err(closed));
        assert_eq!(quarantine.check(&digest(2), at(3)), Ok(()));
        assert_eq!(quarantine.check(&digest(1), at(603)), Ok(()));
        quarantine.died(&digest(1), at(604));
        assert_eq!(quarantine.check(&digest(1), at(604)), Ok(()), "it has its chances again");
    }

    #[test]
    fn deaths_far_apart_do_not_add_up() {
        let (mut quarantine, now) = quarantine();
        for n in 0..20 {
            let at = now + Duration::from_secs(n * 250);
            quarantine.died(&digest(1), at);
            assert_eq!(quarantine.check(&digest(1), at), Ok(()));
        }
    }

    #[test]
    fn a_success_wipes_the_slate() {
        let (mut quarantine, now) = quarantine();
        for _ in 0..3 {
            quarantine.died(&digest(1), now);
        }
        quarantine.succeeded(&digest(1));
        quarantine.died(&digest(1), now);
        assert_eq!(quarantine.check(&digest(1), now), Ok(()));
    }

    #[test]
    fn many_bad_sources_do_not_grow_the_server() {
        let (mut quarantine, now) = quarantine();
        for n in 0..3 * MAX_SOURCES as u64 {
            quarantine.died(&digest(n), now + Duration::from_millis(n));
        }
        assert_eq!(quarantine.sources.len(), MAX_SOURCES);
        assert!(quarantine.sources.contains_key(&digest(3 * MAX_SOURCES as u64 - 1)));
    }
}

//! What workers died of: a source, or one object of it. A source that plays is cleared by every success, or it would be left
//! alone for the sake of one bad place; that place is cleared by its own alone, or it would kill workers for ever.

use std::time::Instant;

use super::Error;
use crate::cache::Key;
use crate::media::Digest;
use crate::worker::{Config, Quarantine, Quarantined};

/// Deaths by source and by object.
pub struct Blame {
    sources: Quarantine<Digest>,
    objects: Quarantine<Key>,
}

impl Blame {
    pub fn new(config: &Config) -> Self {
        Self { sources: Quarantine::new(config), objects: Quarantine::new(config) }
    }

    /// Whether this object of this source may be worked on.
    ///
    /// # Errors
    /// [`Quarantined`] while it may not.
    pub fn check(&self, source: &Digest, object: &Key, now: Instant) -> Result<(), Quarantined> {
        self.objects.check(object, now)?;
        self.sources.check(source, now)
    }

    /// How work on these objects of a source, by one worker at once, has ended.
    pub fn judge<'a>(
        &mut self,
        source: &Digest,
        objects: impl IntoIterator<Item = &'a Key>,
        ended: Result<(), &Error>,
        now: Instant,
    ) {
        match ended {
            Ok(()) => {
                self.sources.succeeded(source);
                objects.into_iter().for_each(|object| self.objects.succeeded(object));
            }
            Err(Error::Died(death)) if death.exit.is_suspicious() => {
                self.sources.died(source, now);
                objects.into_iter().for_each(|object| self.objects.died(object, now));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::work;
    use super::*;
    use crate::cache::Object;
    use crate::worker::{Death, Exit};

    /// One segment that kills workers did so for ever while others of its film were watched.
    #[test]
    fn a_segment_that_kills_workers_is_left_alone_whatever_becomes_of_others_and_they_are_not() {
        let (mut blame, now, work) = (Blame::new(&Config::default()), Instant::now(), work(1));
        let key = |n| work.key(&work.plan.renditions[0], Object::Segment(n));
        let death = Death { pid: 1, exit: Exit::Signal(11), last_words: String::new() };
        for _ in 0..4 {
            assert_eq!(blame.check(&work.digest, &key(3), now), Ok(()));
            blame.judge(&work.digest, [&key(3)], Err(&Error::Died(death.clone())), now);
            blame.judge(&work.digest, [&key(4)], Ok(()), now);
        }
        assert_eq!(blame.check(&work.digest, &key(3), now).unwrap_err().deaths, 4);
        assert_eq!(blame.check(&work.digest, &key(4), now), Ok(()));
    }

    #[test]
    fn a_source_that_kills_workers_wherever_it_is_tried_is_left_alone() {
        let (mut blame, now, work) = (Blame::new(&Config::default()), Instant::now(), work(1));
        let key = |n| work.key(&work.plan.renditions[0], Object::Segment(n));
        let death = Death { pid: 1, exit: Exit::Signal(11), last_words: String::new() };
        for n in 0..4 {
            blame.judge(&work.digest, [&key(n)], Err(&Error::Died(death.clone())), now);
        }
        assert_eq!(blame.check(&work.digest, &key(9), now).unwrap_err().deaths, 4);
    }

    #[test]
    fn what_was_nobodys_fault_counts_for_nothing() {
        let (mut blame, now, work) = (Blame::new(&Config::default()), Instant::now(), work(1));
        let key = work.key(&work.plan.renditions[0], Object::Init);
        let dismissed = Death { pid: 1, exit: Exit::Dismissed, last_words: String::new() };
        for error in [Error::Died(dismissed), Error::Cancelled, Error::Job("no".into())] {
            (0..9).for_each(|_| blame.judge(&work.digest, [&key], Err(&error), now));
        }
        assert_eq!(blame.check(&work.digest, &key, now), Ok(()));
    }
}

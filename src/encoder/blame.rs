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
    /// The same for deaths of what nobody waited for, which close a source to that alone: viewers shall not go without a title
    /// because of what none of them wanted.
    unasked: Quarantine<Digest>,
    objects: Quarantine<Key>,
}

impl Blame {
    pub fn new(config: &Config) -> Self {
        let [sources, unasked] = [(); 2].map(|()| Quarantine::new(config));
        Self { sources, unasked, objects: Quarantine::new(config) }
    }

    /// Whether this object of this source may be worked on, for a viewer or for nobody yet.
    ///
    /// # Errors
    /// [`Quarantined`] while it may not.
    pub fn check(&self, source: &Digest, object: &Key, is_unasked: bool, now: Instant) -> Result<(), Quarantined> {
        self.objects.check(object, now)?;
        self.sources.check(source, now)?;
        if is_unasked { self.unasked.check(source, now) } else { Ok(()) }
    }

    /// How work on these objects of a source, by one worker at once, has ended.
    pub fn judge<'a>(
        &mut self,
        source: &Digest,
        objects: impl IntoIterator<Item = &'a Key>,
        ended: Result<(), &Error>,
        (is_unasked, now): (bool, Instant),
    ) {
        let objects: Vec<&Key> = objects.into_iter().collect();
        match ended {
            Ok(()) => {
                self.sources.succeeded(source);
                self.unasked.succeeded(source);
                objects.into_iter().for_each(|object| self.objects.succeeded(object));
            }
            Err(Error::Died(death)) if death.exit.is_suspicious() => {
                // A second death of one object says nothing new of its source.
                if !objects.iter().any(|object| self.objects.has_killed(object, now)) {
                    let sources = if is_unasked { &mut self.unasked } else { &mut self.sources };
                    sources.died(source, now);
                }
                // Of several it may have been any.
                if let [object] = objects[..] {
                    self.objects.died(object, now);
                }
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

    fn death() -> Error {
        Error::Died(Death { pid: 1, exit: Exit::Signal(11), last_words: String::new() })
    }

    fn key(n: u32) -> Key {
        let work = work(1);
        work.key(&work.plan.renditions[0], Object::Segment(n))
    }

    /// One segment that kills workers did so for ever while others of its film were watched.
    #[test]
    fn a_segment_that_kills_workers_is_left_alone_whatever_becomes_of_others_and_they_are_not() {
        let (mut blame, now, source) = (Blame::new(&Config::default()), Instant::now(), work(1).digest);
        for _ in 0..4 {
            assert_eq!(blame.check(&source, &key(3), false, now), Ok(()));
            blame.judge(&source, [&key(3)], Err(&death()), (false, now));
            blame.judge(&source, [&key(4)], Ok(()), (false, now));
        }
        assert_eq!(blame.check(&source, &key(3), false, now).unwrap_err().deaths, 4);
        assert_eq!(blame.check(&source, &key(4), false, now), Ok(()));
    }

    /// It closed its whole title, if nothing else of that was made meanwhile.
    #[test]
    fn one_bad_segment_costs_one_segment() {
        let (mut blame, now, source) = (Blame::new(&Config::default()), Instant::now(), work(1).digest);
        (0..4).for_each(|_| blame.judge(&source, [&key(3)], Err(&death()), (false, now)));
        assert_eq!(blame.check(&source, &key(3), false, now).unwrap_err().deaths, 4);
        assert_eq!(blame.check(&source, &key(4), false, now), Ok(()));
    }

    #[test]
    fn a_source_that_kills_workers_wherever_it_is_tried_is_left_alone() {
        let (mut blame, now, source) = (Blame::new(&Config::default()), Instant::now(), work(1).digest);
        (0..4).for_each(|n| blame.judge(&source, [&key(n)], Err(&death()), (false, now)));
        assert_eq!(blame.check(&source, &key(9), false, now).unwrap_err().deaths, 4);
    }

    #[test]
    fn what_is_made_together_is_not_blamed_for_what_one_of_it_did() {
        let (mut blame, now, source) = (Blame::new(&Config::default()), Instant::now(), work(1).digest);
        (0..3).for_each(|_| blame.judge(&source, [&key(1), &key(2)], Err(&death()), (true, now)));
        blame.judge(&source, [&key(3)], Err(&death()), (true, now));
        assert!(!blame.objects.has_killed(&key(1), now) && blame.objects.has_killed(&key(3), now));
    }

    /// A title was closed to viewers because of renditions that none of them plays.
    #[test]
    fn warming_closes_a_title_to_itself_alone() {
        let (mut blame, now, source) = (Blame::new(&Config::default()), Instant::now(), work(1).digest);
        (0..4).for_each(|n| blame.judge(&source, [&key(n)], Err(&death()), (true, now)));
        assert_eq!(blame.check(&source, &key(9), true, now).unwrap_err().deaths, 4);
        assert_eq!(blame.check(&source, &key(9), false, now), Ok(()));
        blame.judge(&source, [&key(9)], Ok(()), (false, now));
        assert_eq!(blame.check(&source, &key(8), true, now), Ok(()), "it plays");
    }

    #[test]
    fn what_was_nobodys_fault_counts_for_nothing() {
        let (mut blame, now, source) = (Blame::new(&Config::default()), Instant::now(), work(1).digest);
        let dismissed = Death { pid: 1, exit: Exit::Dismissed, last_words: String::new() };
        for error in [Error::Died(dismissed), Error::Cancelled, Error::Job("no".into())] {
            (0..9).for_each(|_| blame.judge(&source, [&key(1)], Err(&error), (false, now)));
        }
        assert_eq!(blame.check(&source, &key(1), false, now), Ok(()));
    }
}

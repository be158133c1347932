//! What could not be made or kept, and when each is worth another try. Pure: the clock is the caller's.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Key;

/// Objects remembered at most. Of more the one goes that may be tried again first.
const MOST: usize = 4096;
/// Pauses after the first failure and after many, doubling between. What failed most likely fails again, and says so in the
/// log each time.
const PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(6 * 3600)];

/// Objects that failed.
#[derive(Default)]
pub(super) struct Setbacks(HashMap<Key, Setback>);

struct Setback {
    until: Instant,
    pause: Duration,
}

impl Setbacks {
    /// It could not be made, or was not kept.
    pub(super) fn failed(&mut self, key: &Key, now: Instant) {
        if self.0.len() >= MOST && !self.0.contains_key(key) {
            let first = self.0.iter().min_by_key(|(_, setback)| setback.until).map(|(key, _)| key.clone());
            first.map(|first| self.0.remove(&first));
        }
        let known = self.0.get(key);
        let pause = known.map_or(PAUSES[0], |known| (2 * known.pause).min(PAUSES[1]));
        self.0.insert(key.clone(), Setback { until: now + pause, pause });
    }

    /// It was made and is kept.
    pub(super) fn made(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// False while it is not worth another try.
    pub(super) fn allow(&self, key: &Key, now: Instant) -> bool {
        self.0.get(key).is_none_or(|setback| setback.until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Object;

    fn key(n: usize) -> Key {
        let object = Object::Segment(u32::try_from(n).unwrap());
        Key { generation: "0123456789abcdef".parse().unwrap(), rendition: "720p".parse().unwrap(), object }
    }

    #[test]
    fn what_fails_again_rests_twice_as_long_and_what_was_made_does_not() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        let mut at = now;
        for pause in [60, 120, 240] {
            setbacks.failed(&key(1), at);
            assert!(!setbacks.allow(&key(1), at + Duration::from_secs(pause - 1)));
            at += Duration::from_secs(pause);
            assert!(setbacks.allow(&key(1), at));
        }
        for _ in 0..20 {
            setbacks.failed(&key(1), at);
        }
        assert!(setbacks.allow(&key(1), at + PAUSES[1]));
        setbacks.made(&key(1));
        setbacks.failed(&key(1), at);
        assert!(setbacks.allow(&key(1), at + PAUSES[0]));
    }

    #[test]
    fn many_failures_do_not_grow_the_server() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        for n in 0..MOST + 10 {
            setbacks.failed(&key(n), now + Duration::from_millis(n as u64));
        }
        assert_eq!(setbacks.0.len(), MOST);
        assert!(setbacks.allow(&key(0), now) && !setbacks.allow(&key(MOST), now));
    }
}

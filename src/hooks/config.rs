//! `[webhooks]`: how long news is worth telling.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[webhooks]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often a delivery is tried.
    pub attempts: u32,
    /// Seconds between the first two attempts. Each further pause is four times as long, up to six hours.
    pub retry_seconds: f64,
    /// Seconds a receiver may take.
    pub timeout_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { attempts: 14, retry_seconds: 5.0, timeout_seconds: 20 }
    }
}

impl Config {
    /// Everything that is wrong with it, one sentence each, which begins with the key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=100).contains(&self.attempts) {
            problems.push(format!("webhooks.attempts = {}: must be 1 to 100", self.attempts));
        }
        if !(0.1..=3600.0).contains(&self.retry_seconds) {
            problems.push(format!("webhooks.retry_seconds = {}: must be 0.1 to 3600", self.retry_seconds));
        }
        if !(1..=300).contains(&self.timeout_seconds) {
            problems.push(format!("webhooks.timeout_seconds = {}: must be 1 to 300", self.timeout_seconds));
        }
        problems
    }

    pub(super) fn retry_ms(&self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "rounds a time, and saturates")]
        let retry_ms = (self.retry_seconds * 1000.0) as i64;
        retry_ms
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_no_problem_and_each_bad_number_is_named() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let bad = Config { attempts: 0, retry_seconds: f64::NAN, timeout_seconds: 301 };
        assert_eq!(bad.problems().len(), 3);
    }
}

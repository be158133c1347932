//! `[warmer]`: what may be spent on encoding ahead of demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[warmer]` of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Encode ahead of demand at all. Jobs that somebody enters are done in any case.
    pub enabled: bool,
    /// Beginning of each title that is made as soon as it is ready, seconds.
    pub head_seconds: f64,
    /// After this time a request counts half, hours.
    pub half_life_hours: f64,
    /// Share of the encoder's slots.
    pub cpu_share: f64,
    /// Share of `cache.disk_bytes`, or of what the disk has room for if that is less, that may be full, by whatever it is, when
    /// something is added.
    pub disk_share: f64,
    /// Hour of the day, UTC, from which it may be done.
    pub from_hour: u8,
    /// Hour up to which it may be done; over midnight if it is the smaller one.
    pub until_hour: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            head_seconds: 20.0,
            half_life_hours: 24.0,
            cpu_share: 0.5,
            disk_share: 0.9,
            from_hour: 0,
            until_hour: 24,
        }
    }
}

impl Config {
    /// All problems at once, each naming its key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |key: &str, value: f64, range: std::ops::RangeInclusive<f64>, must: &str| {
            if !range.contains(&value) {
                problems.push(format!("warmer.{key} = {value}: must be {must}"));
            }
        };
        check("head_seconds", self.head_seconds, 0.0..=600.0, "0 (none) to 600 seconds");
        check("half_life_hours", self.half_life_hours, 0.01..=10_000.0, "0.01 to 10000 hours");
        check("cpu_share", self.cpu_share, 0.01..=1.0, "0.01 to 1");
        check("disk_share", self.disk_share, 0.0..=1.0, "0 to 1");
        check("from_hour", f64::from(self.from_hour), 0.0..=24.0, "0 to 24");
        check("until_hour", f64::from(self.until_hour), 0.0..=24.0, "0 to 24");
        if self.from_hour == self.until_hour {
            let must = "another hour than warmer.from_hour; 0 and 24 are the whole day";
            problems.push(format!("warmer.until_hour = {}: must be {must}", self.until_hour));
        }
        problems
    }

    pub(super) fn half_life(&self) -> Duration {
        Duration::try_from_secs_f64(self.half_life_hours * 3600.0).unwrap_or(Duration::MAX)
    }

    /// True at this hour of the day, 0 to 23.
    pub(super) fn allows(&self, hour: u8) -> bool {
        let (from, until) = (self.from_hour, self.until_hour);
        if from < until { (from..until).contains(&hour) } else { hour >= from || hour < until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_may_go_over_midnight() {
        let config = |from_hour, until_hour| Config { from_hour, until_hour, ..Config::default() };
        let allowed = |from, until| (0..24).filter(|hour| config(from, until).allows(*hour)).count();
        assert_eq!((allowed(0, 24), allowed(22, 6), allowed(9, 17)), (24, 8, 8));
        assert!(config(22, 6).allows(23) && !config(22, 6).allows(6));
    }

    #[test]
    fn every_problem_is_named() {
        assert!(Config::default().problems().is_empty());
        let bad = Config { cpu_share: 0.0, disk_share: 2.0, from_hour: 3, until_hour: 3, ..Config::default() };
        let keys: Vec<String> = bad.problems().iter().map(|text| text.split(' ').next().unwrap().into()).collect();
        assert_eq!(keys, ["warmer.cpu_share", "warmer.disk_share", "warmer.until_hour"]);
    }
}

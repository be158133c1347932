//! How much each title and rendition is asked for, decayed: after a half-life a request counts half.
//!
//! Weights grow instead of counts shrinking, so that nothing has to be touched for time to pass. The titles asked for most are
//! counted one by one, all others in a sketch, and change places when one overtakes another.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::sketch::Sketch;
use crate::catalog;
use crate::media::{RenditionName, TitleId};

/// Titles counted one by one.
const TOP: usize = 1000;
/// Renditions of each; a ladder has fewer, a title with many languages may have more.
const RENDITIONS: usize = 32;
/// A weight of two to this is taken out of everything, long before numbers overflow.
const LARGEST_EXPONENT: f64 = 200.0;
/// A clock that is behind the latest request by more was ahead then: the time from then to now has not passed.
const MOST_BEHIND_MS: i64 = 60_000;

/// What was asked for.
#[derive(Debug)]
pub struct Popularity {
    half_life_ms: f64,
    /// When a request weighed one, milliseconds since the Unix epoch.
    epoch_ms: i64,
    /// The latest request, milliseconds since the Unix epoch.
    latest_ms: i64,
    top: HashMap<TitleId, Demand>,
    /// None of the top counts less: whoever counts no more need not be compared with all.
    floor: f64,
    others: Sketch,
}

#[derive(Debug, Default)]
struct Demand {
    total: f64,
    renditions: BTreeMap<RenditionName, f64>,
}

/// A title and how much it is asked for: requests for segments, decayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The title.
    pub title: TitleId,
    /// All of it.
    pub score: f64,
    /// Each rendition.
    pub renditions: Vec<(RenditionName, f64)>,
}

impl Popularity {
    /// What was noted, as it is now.
    #[must_use]
    pub fn of(noted: &catalog::Popularity, half_life: Duration, now_ms: i64) -> Self {
        let half_life_ms = half_life.as_secs_f64() * 1000.0;
        // A clock that was set back decays nothing.
        let decay = (-to_f64((now_ms - noted.at_ms).max(0)) / half_life_ms).exp2();
        let mut others = Sketch::from_bytes(&noted.others);
        others.scale(decay);
        let mut this =
            Self { half_life_ms, epoch_ms: now_ms, latest_ms: now_ms, top: HashMap::new(), floor: 0.0, others };
        for (title, rendition, score) in &noted.scores {
            let known = this.top.contains_key(title);
            if score.is_finite() && *score > 0.0 && (known || this.top.len() < TOP) {
                this.top.entry(title.clone()).or_default().add(rendition, score * decay);
            }
        }
        this
    }

    /// Somebody asked for a segment.
    pub fn asked(&mut self, title: &TitleId, rendition: &RenditionName, now_ms: i64) {
        if to_f64(now_ms - self.epoch_ms) / self.half_life_ms > LARGEST_EXPONENT {
            self.rebase(now_ms);
        }
        if now_ms < self.latest_ms - MOST_BEHIND_MS {
            self.rebase(self.latest_ms);
            self.epoch_ms = now_ms;
            self.latest_ms = now_ms;
        }
        self.latest_ms = self.latest_ms.max(now_ms);
        self.add(title, rendition, self.weight(now_ms));
    }

    /// A title is gone. The sketch forgets it by itself.
    pub fn forget(&mut self, title: &TitleId) {
        self.top.remove(title);
    }

    /// The titles asked for most, most first.
    #[must_use]
    pub fn ranking(&self, now_ms: i64) -> Vec<Ranked> {
        let weight = self.weight(now_ms);
        let ranked = |(title, demand): (&TitleId, &Demand)| Ranked {
            title: title.clone(),
            score: demand.total / weight,
            renditions: demand.renditions.iter().map(|(name, score)| (name.clone(), score / weight)).collect(),
        };
        let mut ranking: Vec<Ranked> = self.top.iter().map(ranked).collect();
        ranking.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.title.cmp(&b.title)));
        ranking
    }

    /// How much a title is asked for, counted or estimated.
    #[must_use]
    pub fn score(&self, title: &TitleId, now_ms: i64) -> f64 {
        let counted = self.top.get(title).map(|demand| demand.total);
        counted.unwrap_or_else(|| self.others.of(title.as_str())) / self.weight(now_ms)
    }

    /// To be kept for the next process.
    #[must_use]
    pub fn noted(&self, now_ms: i64) -> catalog::Popularity {
        let weight = self.weight(now_ms);
        let scores = self.top.iter().flat_map(|(title, demand)| {
            demand.renditions.iter().map(move |(name, score)| (title.clone(), name.clone(), score / weight))
        });
        let mut others = self.others.clone();
        others.scale(1.0 / weight);
        catalog::Popularity { at_ms: now_ms, scores: scores.collect(), others: others.to_bytes() }
    }

    fn weight(&self, now_ms: i64) -> f64 {
        (to_f64((now_ms - self.epoch_ms).max(0)) / self.half_life_ms).exp2()
    }

    fn add(&mut self, title: &TitleId, rendition: &RenditionName, weight: f64) {
        if let Some(demand) = self.top.get_mut(title) {
            return demand.add(rendition, weight);
        }
        let counted = self.others.add(title.as_str(), weight);
        if self.top.len() >= TOP && (counted <= self.floor || !self.makes_room_for(counted)) {
            return;
        }
        // Which renditions it was asked for before nobody has counted.
        let mut demand = Demand { total: counted - weight, renditions: BTreeMap::new() };
        demand.add(rendition, weight);
        self.top.insert(title.clone(), demand);
    }

    /// Puts the least of the top among the others, if it counts less.
    fn makes_room_for(&mut self, counted: f64) -> bool {
        let least = self.top.iter().min_by(|a, b| a.1.total.total_cmp(&b.1.total));
        let Some((title, total)) = least.map(|(title, demand)| (title.clone(), demand.total)) else { return true };
        self.floor = total;
        if counted <= total {
            return false;
        }
        self.top.remove(&title);
        self.others.at_least(title.as_str(), total);
        true
    }

    fn rebase(&mut self, now_ms: i64) {
        let factor = 1.0 / self.weight(now_ms);
        self.others.scale(factor);
        self.floor *= factor;
        for demand in self.top.values_mut() {
            demand.total *= factor;
            demand.renditions.values_mut().for_each(|score| *score *= factor);
        }
        self.epoch_ms = now_ms;
    }
}

impl Demand {
    fn add(&mut self, rendition: &RenditionName, weight: f64) {
        self.total += weight;
        if let Some(score) = self.renditions.get_mut(rendition) {
            *score += weight;
        } else if self.renditions.len() < RENDITIONS {
            self.renditions.insert(rendition.clone(), weight);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a few years at most")]
fn to_f64(ms: i64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const HALF_LIFE: Duration = Duration::from_secs(3600);

    fn fresh() -> Popularity {
        Popularity::of(&catalog::Popularity::default(), HALF_LIFE, 0)
    }

    fn title(n: u64) -> TitleId {
        TitleId::from_random(n)
    }

    fn name(name: &str) -> RenditionName {
        name.parse().unwrap()
    }

    #[test]
    fn after_a_half_life_a_request_counts_half() {
        let mut popularity = fresh();
        (0..8).for_each(|_| popularity.asked(&title(1), &name("720p"), 0));
        (0..3).for_each(|_| popularity.asked(&title(2), &name("360p"), HOUR_MS));
        let scores = |at| popularity.ranking(at).iter().map(|ranked| ranked.score).collect::<Vec<_>>();
        assert_eq!(scores(HOUR_MS), [4.0, 3.0]);
        assert_eq!(scores(2 * HOUR_MS), [2.0, 1.5]);
    }

    #[test]
    fn a_restart_changes_nothing_but_the_time_that_passed() {
        let mut popularity = fresh();
        (0..8).for_each(|_| popularity.asked(&title(1), &name("720p"), 0));
        let again = Popularity::of(&popularity.noted(HOUR_MS), HALF_LIFE, 2 * HOUR_MS);
        assert_eq!(again.ranking(2 * HOUR_MS), popularity.ranking(2 * HOUR_MS));
        assert_eq!(again.ranking(2 * HOUR_MS)[0].renditions, [(name("720p"), 2.0)]);
    }

    #[test]
    fn years_of_requests_do_not_overflow() {
        let mut popularity = fresh();
        for hour in 0..10_000 {
            popularity.asked(&title(1), &name("720p"), hour * HOUR_MS);
        }
        let score = popularity.score(&title(1), 9_999 * HOUR_MS);
        assert!((score - 2.0).abs() < 1e-6, "{score}");
    }

    /// What was asked for while the clock was a month ahead counted more than all that followed, for a month.
    #[test]
    fn requests_of_a_clock_that_was_ahead_count_no_more_than_others() {
        let mut popularity = fresh();
        popularity.asked(&title(1), &name("720p"), 30 * HOUR_MS);
        (0..2).for_each(|_| popularity.asked(&title(2), &name("720p"), HOUR_MS));
        assert_eq!(popularity.ranking(HOUR_MS).iter().map(|ranked| ranked.score).collect::<Vec<_>>(), [2.0, 1.0]);
        // A clock is set right by a little now and then.
        popularity.asked(&title(2), &name("720p"), HOUR_MS - MOST_BEHIND_MS);
        assert_eq!(popularity.epoch_ms, HOUR_MS);
    }

    #[test]
    fn a_title_that_is_gone_makes_room_for_others() {
        let mut popularity = fresh();
        (1..3).for_each(|n| popularity.asked(&title(n), &name("720p"), 0));
        popularity.forget(&title(1));
        assert_eq!(popularity.ranking(0).iter().map(|ranked| &ranked.title).collect::<Vec<_>>(), [&title(2)]);
    }

    #[test]
    fn memory_is_bounded_and_a_newcomer_who_is_asked_for_more_finds_a_place() {
        let mut popularity = fresh();
        for n in 0..5 * TOP as u64 {
            popularity.asked(&title(n), &name("720p"), 0);
        }
        assert_eq!(popularity.top.len(), TOP);
        let newcomer = title(u64::MAX);
        (0..20).for_each(|_| popularity.asked(&newcomer, &name("720p"), 0));
        assert_eq!(popularity.ranking(0)[0].title, newcomer);
        assert_eq!(popularity.top.len(), TOP);
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_requests(requests in proptest::collection::vec((0u64..8, 0i64..1000), 1..200)) {
            let mut popularity = fresh();
            let mut times: Vec<_> = requests;
            times.sort_by_key(|(_, at)| *at);
            for (n, at) in &times {
                popularity.asked(&title(*n), &name("720p"), *at * 60_000);
            }
            let now = 1000 * 60_000;
            let expected = |n: u64| -> f64 {
                times.iter().filter(|(of, _)| *of == n).map(|(_, at)| (-to_f64(now - at * 60_000) / to_f64(HOUR_MS)).exp2()).sum()
            };
            for n in 0..8 {
                prop_assert!((popularity.score(&title(n), now) - expected(n)).abs() < 1e-9);
            }
            prop_assert!(popularity.ranking(now).is_sorted_by(|a, b| a.score >= b.score));
        }
    }
}

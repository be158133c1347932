//! Titles and viewers, all out of one seed.

use std::sync::Arc;

use matinee::media::Plan;

const TITLES: u16 = 1000;
const SESSIONS: usize = 3000;
/// Segments after which a player goes to the rung its network carries; all start in the same.
const SETTLED: u32 = 4;
/// Popularity of the title of rank `r` is `1 / r^ZIPF`.
const ZIPF: f64 = 0.9;
const DAY_MS: f64 = 86_400_000.0;
/// The renditions, by their place in a plan: 1080p, 720p, 480p, 360p and two that nobody takes. All players start in one.
pub const START: usize = 2;
const WISHED: [usize; 5] = [1, 1, 1, 0, START];
const TAKEN: u32 = 4;

/// A segment of a title in one of its plan's renditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    pub title: u16,
    pub rendition: usize,
    pub number: u32,
}

/// A viewer of one.
pub struct Session {
    pub start_ms: u64,
    pub title: u16,
    /// Segments asked for so far.
    asked: u32,
    rendition: usize,
    wished: usize,
    number: u32,
    left: u32,
    end: u32,
    chance: Chance,
}

struct Chance(u64);

/// Three to sixty minutes, as many short as long by the logarithm.
/// In seconds.
pub fn titles() -> Vec<u32> {
    let mut chance = Chance(1);
    let minutes = std::iter::repeat_with(move || 3.0 * 20_f64.powf(chance.part()));
    minutes.take(usize::from(TITLES)).map(|minutes| (minutes * 60.0) as u32).collect()
}

pub fn sessions(titles: &[Arc<Plan>]) -> Vec<Session> {
    let mut chance = Chance(2);
    let mut sum = 0.0;
    let popular: Vec<f64> = (1..=titles.len())
        .map(|rank| {
            sum += (rank as f64).powf(-ZIPF);
            sum
        })
        .collect();
    (0..SESSIONS)
        .map(|_| {
            let at = chance.part() * sum;
            // Neighbours in rank are no neighbours in anything else.
            let title = popular.partition_point(|until| *until < at).min(titles.len() - 1);
            let end = titles[title].renditions[START].grid.segments();
            // Four in ten look for less than a minute; the others stay ten minutes on average.
            let left = if chance.is(0.4) { 1 + chance.below(15) } else { 1 + (-chance.part().ln() * 150.0) as u32 };
            // Most begin at the beginning, the others go on where they once stopped.
            let number = if chance.is(0.85) { 0 } else { chance.below(end) };
            // Twice as busy in the evening as at noon.
            let start_ms = (DAY_MS * chance.part().max(chance.part())) as u64;
            let wished = WISHED[chance.below(5) as usize];
            let chance = Chance(chance.next() | 1);
            Session { start_ms, asked: 0, title: title as u16, rendition: START, wished, number, left, end, chance }
        })
        .collect()
}

impl Session {
    /// What is asked for now; `None` when the viewer has left or the film has ended.
    pub fn next(&mut self) -> Option<Segment> {
        self.left = self.left.checked_sub(1)?;
        if self.number >= self.end {
            return None;
        }
        let segment = Segment { title: self.title, rendition: self.rendition, number: self.number };
        self.asked += 1;
        self.number += 1;
        if self.chance.is(0.002) {
            self.number = self.chance.below(self.end);
        }
        if self.asked == SETTLED {
            self.rendition = self.wished;
        }
        // Networks change.
        if self.chance.is(0.005) {
            self.rendition = self.chance.below(TAKEN) as usize;
        }
        Some(segment)
    }
}

impl Chance {
    /// Marsaglia's xorshift64.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Above 0, up to 1.
    fn part(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn is(&mut self, probability: f64) -> bool {
        self.part() <= probability
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end)) as u32
    }
}

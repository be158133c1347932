//! How long an encode will take, by what encodes took: of the same rendition if any ended lately, else of any by the size
//! of its pictures. It decides who is turned away, never what is made.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::lock;
use crate::media::{Generation, Rendition, RenditionKind, VideoSource};

/// Renditions remembered; about those that are encoded within minutes. One of the others is measured anew.
const MAX_RENDITIONS: usize = 1024;
/// Weight of the newest measurement: five of them outweigh what was before.
const NEWEST: f64 = 0.3;
/// Seconds per picture and pixel before anything was measured: a slow core, so that nobody is promised too much for long.
const FIRST_PER_PIXEL: f64 = 2.5e-8;
/// Seconds per second of what is not encoded as pictures, before anything was measured.
const FIRST_LIGHT: f64 = 0.02;
/// A measurement counts as no more than this many times what was expected: one that something else on the machine made ten
/// times as long may not turn viewers away.
const MOST_NEWS: f64 = 3.0;
/// Shorter segments teach nothing: to get there and to begin weighs as much in them as what they are, seconds.
const LEAST_MEDIA: f64 = 2.0;
/// Parameter sets: one picture, and a worker that may have to be bound first.
const PARAMETERS: Duration = Duration::from_millis(150);

/// What encodes took.
pub struct Estimates(Mutex<Known>);

struct Known {
    /// Seconds of work per second of media, and when it was measured, counted.
    renditions: HashMap<(Generation, usize), (f64, u64)>,
    per_pixel: f64,
    light: f64,
    measured: u64,
}

impl Default for Estimates {
    fn default() -> Self {
        let known = Known { renditions: HashMap::new(), per_pixel: FIRST_PER_PIXEL, light: FIRST_LIGHT, measured: 0 };
        Self(Mutex::new(known))
    }
}

impl Estimates {
    /// Of a segment, or of the parameter sets.
    pub fn of(&self, generation: &Generation, index: usize, rendition: &Rendition, segment: Option<u32>) -> Duration {
        let Some(segment) = segment else { return PARAMETERS };
        let rate = lock(&self.0).rate(&(generation.clone(), index), rendition);
        let seconds = rate * seconds(rendition, segment);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(Duration::from_secs(3600))
    }

    /// A segment was made. `took` is the worker's time for it alone.
    pub fn learn(&self, generation: &Generation, index: usize, rendition: &Rendition, segment: u32, took: Duration) {
        let media = seconds(rendition, segment);
        if media < LEAST_MEDIA {
            return;
        }
        let rate = took.as_secs_f64() / media;
        let mut known = lock(&self.0);
        let key = (generation.clone(), index);
        let first = rate.min(known.rate(&key, rendition) * MOST_NEWS);
        match pixels_per_second(rendition) {
            Some(pixels) => mix(&mut known.per_pixel, rate / pixels),
            None => mix(&mut known.light, rate),
        }
        known.measured += 1;
        let now = known.measured;
        if known.renditions.len() >= MAX_RENDITIONS && !known.renditions.contains_key(&key) {
            let oldest = known.renditions.iter().min_by_key(|(_, (_, at))| *at).map(|(key, _)| key.clone());
            oldest.map(|oldest| known.renditions.remove(&oldest));
        }
        let own = known.renditions.entry(key).or_insert((first, now));
        mix(&mut own.0, rate);
        own.1 = now;
    }
}

impl Known {
    /// Seconds of work that a second of a rendition takes.
    fn rate(&self, of: &(Generation, usize), rendition: &Rendition) -> f64 {
        let measured = self.renditions.get(of).map(|(rate, _)| *rate);
        measured.unwrap_or_else(|| match pixels_per_second(rendition) {
            Some(pixels) => self.per_pixel * pixels,
            None => self.light,
        })
    }
}

fn mix(old: &mut f64, new: f64) {
    *old += NEWEST * (new.min(*old * MOST_NEWS) - *old);
}

/// `None` for what encodes no pictures.
fn pixels_per_second(rendition: &Rendition) -> Option<f64> {
    match &rendition.kind {
        RenditionKind::Video(video) if matches!(video.source, VideoSource::Encode { .. }) => {
            Some(f64::from(video.width) * f64::from(video.height) * video.rate.fps()).filter(|pixels| *pixels > 0.0)
        }
        RenditionKind::Video(_) | RenditionKind::Audio(_) | RenditionKind::Text(_) => None,
    }
}

fn seconds(rendition: &Rendition, segment: u32) -> f64 {
    rendition.grid.timescale().seconds(rendition.grid.ticks(segment).cast_signed())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::work;
    use super::*;
    use crate::media::{Cut, Grid, Timescale};

    const SECOND: Duration = Duration::from_secs(1);

    fn rendition(cuts: &[u64]) -> Rendition {
        let mut plan = Arc::unwrap_or_clone(work(1).plan);
        let mut rendition = plan.renditions.remove(0);
        let cuts = cuts.iter().map(|second| Cut { frame: 25 * second, at: 1000 * second }).collect();
        rendition.grid = Grid::new(Timescale::new(1000).unwrap(), cuts).unwrap();
        rendition
    }

    #[test]
    fn what_encodes_took_tells_what_they_will_and_one_that_was_disturbed_does_not() {
        let (estimates, title, rendition) = (Estimates::default(), work(1).generation, rendition(&[0, 4, 8]));
        let learn = |took| estimates.learn(&title, 0, &rendition, 0, took);
        let seconds = |title, index| estimates.of(title, index, &rendition, Some(1)).as_secs_f64();
        (0..30).for_each(|_| learn(SECOND));
        assert!((seconds(&title, 0) - 1.0).abs() < 0.01, "{}", seconds(&title, 0));
        let other = work(2).generation;
        assert!((seconds(&other, 7) - 1.0).abs() < 0.01, "by the size of its pictures: {}", seconds(&other, 7));
        learn(60 * SECOND);
        assert!(seconds(&title, 0) < 2.0 && seconds(&other, 7) < 2.0, "{}", seconds(&title, 0));
    }

    /// The first segments of titles, where decoder and encoder have to begin, made every other look slow.
    #[test]
    fn short_segments_say_nothing_of_long_ones() {
        let (estimates, title, rendition) = (Estimates::default(), work(1).generation, rendition(&[0, 1, 2, 4, 8]));
        let estimate = || estimates.of(&title, 0, &rendition, Some(3));
        let before = estimate();
        (0..30).for_each(|_| estimates.learn(&title, 0, &rendition, 0, SECOND));
        assert_eq!(estimate(), before);
        estimates.learn(&title, 0, &rendition, 2, SECOND);
        assert_ne!(estimate(), before);
    }
}

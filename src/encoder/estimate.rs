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
        let known = lock(&self.0);
        let measured = known.renditions.get(&(generation.clone(), index)).map(|(rate, _)| *rate);
        let rate = measured.unwrap_or_else(|| match pixels_per_second(rendition) {
            Some(pixels) => known.per_pixel * pixels,
            None => known.light,
        });
        let seconds = rate * seconds(rendition, segment);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(Duration::from_secs(3600))
    }

    /// A segment was made.
    pub fn learn(&self, generation: &Generation, index: usize, rendition: &Rendition, segment: u32, took: Duration) {
        let media = seconds(rendition, segment);
        if media <= 0.0 {
            return;
        }
        let rate = took.as_secs_f64() / media;
        let mut known = lock(&self.0);
        match pixels_per_second(rendition) {
            Some(pixels) => mix(&mut known.per_pixel, rate / pixels),
            None => mix(&mut known.light, rate),
        }
        known.measured += 1;
        let now = known.measured;
        let key = (generation.clone(), index);
        if known.renditions.len() >= MAX_RENDITIONS && !known.renditions.contains_key(&key) {
            let oldest = known.renditions.iter().min_by_key(|(_, (_, at))| *at).map(|(key, _)| key.clone());
            oldest.map(|oldest| known.renditions.remove(&oldest));
        }
        let own = known.renditions.entry(key).or_insert((rate, now));
        mix(&mut own.0, rate);
        own.1 = now;
    }
}

fn mix(old: &mut f64, new: f64) {
    *old += NEWEST * (new - *old);
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

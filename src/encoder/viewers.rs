//! Where viewers are: look-ahead is made for places that somebody plays on from, and for no other.
//!
//! A player that names its session (CMCD `sid`) has one place for its pictures and one for its sound: when it seeks, the
//! place moves and nothing more is made where it was. Of players that are known by their address alone there may be
//! several behind one; a request that continues a place moves it, any other begins one.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock;
use crate::media::{Generation, RenditionKind};

/// Viewers remembered. More would be an attack, or more than one machine encodes for; then the one seen least lately goes.
const MAX_VIEWERS: usize = 4096;
/// Of more, those go first that said nothing for this long.
const VIEWER_OVER: Duration = Duration::from_secs(60);
/// Places of one address: a household, or several players of one test machine.
const MAX_PLACES: usize = 16;
/// A request this far behind its place is still of it: a player that repeats or skips one.
const STEP: u32 = 2;
/// This many new places ...
const SCRUB_JUMPS: usize = 3;
/// ... within this time are somebody who looks for a scene: what follows each is not worth making until they play on.
const SCRUB_TIME: Duration = Duration::from_secs(3);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// A hash of what tells them from others.
    pub key: u64,
    /// It names one player, not an address.
    pub is_session: bool,
}

/// What kind of track a place is in: a player has one in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    Video,
    Audio,
    Text,
}

/// What a request says of its viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// They play on.
    On,
    /// They begin, or seek.
    Jumped,
    /// They look for a scene: nothing that follows is worth making.
    Glimpsed,
}

/// The viewers.
#[derive(Default)]
pub struct Viewers(Mutex<HashMap<u64, Known>>);

struct Known {
    places: VecDeque<Place>,
    /// When the last new places began.
    jumps: VecDeque<Instant>,
    seen: Instant,
}

struct Place {
    generation: Generation,
    rendition: usize,
    track: Track,
    segment: u32,
    seen: Instant,
    /// Reached by scrubbing, and not played on from.
    glimpsed: bool,
}

impl Viewers {
    /// A viewer asks for a segment.
    pub fn seen(
        &self,
        viewer: Viewer,
        generation: &Generation,
        (rendition, track): (usize, Track),
        segment: u32,
        now: Instant,
    ) -> Moved {
        let mut viewers = lock(&self.0);
        if viewers.len() >= MAX_VIEWERS && !viewers.contains_key(&viewer.key) {
            viewers.retain(|_, known| now.saturating_duration_since(known.seen) < VIEWER_OVER);
        }
        if viewers.len() >= MAX_VIEWERS && !viewers.contains_key(&viewer.key) {
            let oldest = viewers.iter().min_by_key(|(_, known)| known.seen).map(|(key, _)| *key);
            oldest.map(|key| viewers.remove(&key));
        }
        let fresh = || Known { places: VecDeque::new(), jumps: VecDeque::new(), seen: now };
        let known = viewers.entry(viewer.key).or_insert_with(fresh);
        known.seen = now;
        let of = |place: &&mut Place| place.track == track && place.generation == *generation;
        let near = |place: &&mut Place| {
            segment >= place.segment.saturating_sub(STEP) && segment <= place.segment.saturating_add(STEP)
        };
        if let Some(place) = known.places.iter_mut().filter(of).find(near) {
            place.glimpsed &= segment <= place.segment;
            (place.rendition, place.segment, place.seen) = (rendition, segment, now);
            return if place.glimpsed { Moved::Glimpsed } else { Moved::On };
        }
        if viewer.is_session {
            known.places.retain(|place| place.track != track);
        }
        known.jumps.retain(|at| now.saturating_duration_since(*at) < SCRUB_TIME);
        if known.jumps.len() >= MAX_PLACES {
            known.jumps.pop_front();
        }
        known.jumps.push_back(now);
        // Pictures and sound jump together, and count as one.
        let tracks = known.places.iter().map(|place| place.track).chain([track]);
        let tracks = if tracks.clone().any(|other| other != track) { 2 } else { 1 };
        let glimpsed = known.jumps.len() > SCRUB_JUMPS * tracks;
        if known.places.len() >= MAX_PLACES {
            known.places.pop_front();
        }
        let generation = generation.clone();
        known.places.push_back(Place { generation, rendition, track, segment, seen: now, glimpsed });
        if glimpsed { Moved::Glimpsed } else { Moved::Jumped }
    }

    /// The sound that a viewer last heard of a title.
    pub fn heard(&self, viewer: Viewer, generation: &Generation) -> Option<usize> {
        let viewers = lock(&self.0);
        let sound = |place: &&Place| place.track == Track::Audio && place.generation == *generation;
        let places = &viewers.get(&viewer.key)?.places;
        places.iter().filter(sound).max_by_key(|place| place.seen).map(|place| place.rendition)
    }

    /// Segments at which viewers of a rendition are who play on, and came by lately.
    pub fn places(&self, generation: &Generation, rendition: usize, lately: Duration, now: Instant) -> Vec<u32> {
        let viewers = lock(&self.0);
        let here = |place: &&Place| {
            let recent = now.saturating_duration_since(place.seen) < lately;
            place.rendition == rendition && !place.glimpsed && recent && place.generation == *generation
        };
        viewers.values().flat_map(|known| known.places.iter().filter(here)).map(|place| place.segment).collect()
    }

    /// Everything that is watched lately: recipe, rendition and segment.
    pub fn watched(&self, lately: Duration, now: Instant) -> Vec<(Generation, usize, u32)> {
        let viewers = lock(&self.0);
        let recent = |place: &&Place| !place.glimpsed && now.saturating_duration_since(place.seen) < lately;
        let places = viewers.values().flat_map(|known| known.places.iter().filter(recent));
        places.map(|place| (place.generation.clone(), place.rendition, place.segment)).collect()
    }
}

impl Track {
    pub fn of(kind: &RenditionKind) -> Self {
        match kind {
            RenditionKind::Video(_) => Self::Video,
            RenditionKind::Audio(_) => Self::Audio,
            RenditionKind::Text(_) => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Viewer = Viewer { key: 1, is_session: true };
    const ADDRESS: Viewer = Viewer { key: 2, is_session: false };
    const LATELY: Duration = Duration::from_secs(20);
    const PICTURES: (usize, Track) = (0, Track::Video);

    fn title() -> Generation {
        "0123456789abcdef".parse().unwrap()
    }

    #[test]
    fn a_session_that_seeks_takes_its_look_ahead_along() {
        let (viewers, now) = (Viewers::default(), Instant::now());
        assert_eq!(viewers.seen(SESSION, &title(), PICTURES, 5, now), Moved::Jumped);
        assert_eq!(viewers.seen(SESSION, &title(), PICTURES, 6, now), Moved::On);
        assert_eq!(viewers.seen(SESSION, &title(), PICTURES, 90, now), Moved::Jumped);
        assert_eq!(viewers.places(&title(), 0, LATELY, now), [90]);
    }

    #[test]
    fn the_sound_that_was_heard_last_is_known_for_each_title() {
        let (viewers, now) = (Viewers::default(), Instant::now());
        assert_eq!(viewers.heard(ADDRESS, &title()), None);
        for (rendition, segment) in [(7, 5), (8, 90), (7, 6)] {
            viewers.seen(
                ADDRESS,
                &title(),
                (rendition, Track::Audio),
                segment,
                now + Duration::from_secs(segment.into()),
            );
        }
        viewers.seen(ADDRESS, &title(), PICTURES, 200, now + Duration::from_secs(200));
        assert_eq!(viewers.heard(ADDRESS, &title()), Some(8));
        assert_eq!(viewers.heard(ADDRESS, &"fedcba9876543210".parse().unwrap()), None);
    }

    #[test]
    fn a_switch_of_rendition_moves_the_place_there() {
        let (viewers, now) = (Viewers::default(), Instant::now());
        viewers.seen(ADDRESS, &title(), PICTURES, 5, now);
        viewers.seen(ADDRESS, &title(), (1, Track::Video), 6, now);
        assert_eq!(viewers.places(&title(), 0, LATELY, now), [0; 0]);
        assert_eq!(viewers.places(&title(), 1, LATELY, now), [6]);
    }

    #[test]
    fn two_viewers_behind_one_address_have_a_place_each() {
        let (viewers, now) = (Viewers::default(), Instant::now());
        for segment in [5, 90, 6, 91, 7, 92] {
            assert_ne!(viewers.seen(ADDRESS, &title(), PICTURES, segment, now), Moved::Glimpsed);
        }
        assert_eq!(viewers.places(&title(), 0, LATELY, now), [7, 92]);
    }

    #[test]
    fn somebody_who_scrubs_earns_no_look_ahead_until_they_play_on() {
        for viewer in [SESSION, ADDRESS] {
            let (viewers, now) = (Viewers::default(), Instant::now());
            let moved = [10, 20, 30, 40, 50].map(|segment| viewers.seen(viewer, &title(), PICTURES, segment, now));
            let (jumped, glimpsed) = (Moved::Jumped, Moved::Glimpsed);
            assert_eq!(moved, [jumped, jumped, jumped, glimpsed, glimpsed], "{viewer:?}");
            let again = viewers.seen(viewer, &title(), PICTURES, 50, now);
            assert_eq!(again, Moved::Glimpsed, "asking again is not playing on");
            assert_eq!(viewers.seen(viewer, &title(), PICTURES, 51, now), Moved::On);
        }
    }

    #[test]
    fn seeks_that_take_their_time_are_followed() {
        let viewers = Viewers::default();
        let mut now = Instant::now();
        for segment in [10, 20, 30, 40, 50, 60] {
            assert_eq!(viewers.seen(SESSION, &title(), PICTURES, segment, now), Moved::Jumped);
            now += SCRUB_TIME;
        }
    }

    #[test]
    fn a_viewer_who_went_away_is_forgotten_and_so_is_the_oldest_of_too_many() {
        let (viewers, now) = (Viewers::default(), Instant::now());
        viewers.seen(SESSION, &title(), PICTURES, 5, now);
        assert_eq!(viewers.places(&title(), 0, LATELY, now + LATELY), [0; 0]);
        for key in 0..2 * MAX_VIEWERS as u64 {
            viewers.seen(Viewer { key, is_session: false }, &title(), PICTURES, 5, now);
        }
        assert_eq!(lock(&viewers.0).len(), MAX_VIEWERS);
    }
}

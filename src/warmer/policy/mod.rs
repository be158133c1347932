//! What to make next: a pure function of what there is, what is asked for and what there is room for.
//!
//! First what players ask for first of each title. Then the heads: how a title goes on, in the rendition players start with, and
//! the first segments of those they try next, so that a start is a hit. Then the renditions of which each segment is expected to
//! have a viewer, to the end. Then the neighbours of what is watched: the rungs a player may switch to. Within each the objects
//! go first that save most: expected viewers times the seconds their encode takes, for each byte they occupy; of the first of all
//! those of the title that is expected to be watched most.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cache::Object;
use crate::media::{FIRST_SEGMENTS, Opening, Plan, Rendition, RenditionKind};

/// Wishes at a time: some minutes of work. What is watched and asked for has changed by then.
pub const MAX_WISHES: usize = 256;
/// Objects looked at for each rendition of a popular title: those at the front are made first anyway.
const MAX_MISSING: usize = 64;
/// What is expected of a title that nobody has asked for yet: somebody will, once.
const FIRST_VIEWER: f64 = 1.0;
/// A rendition is made to the end once so many viewers are expected for each of its segments, and not because somebody looked
/// at it once: in a day of viewers (`benches/day`) that cost 6 % more encodes for no more hits.
const LEAST_VIEWERS: f64 = 1.0;
/// A rendition is likely if this share of the requests for the title's pictures is for it.
const LIKELY_SHARE: f64 = 0.15;
/// Viewers of a rendition who are expected on each of those they may change to.
const SWITCHING_SHARE: f64 = 0.2;
/// Segments beyond a viewer's place that are made of the rungs beside it.
const NEIGHBOURS: u32 = 2;

/// A title as the policy sees it.
#[derive(Clone, Debug)]
pub struct Film {
    /// Timeline and ladder.
    pub plan: Arc<Plan>,
    /// What players ask for first.
    pub opening: Opening,
    /// Requests for each rendition, decayed; as many as the plan has renditions.
    pub asked: Vec<f64>,
    /// Where somebody plays now: rendition and segment.
    pub watched: Vec<(usize, u32)>,
}

/// What may be spent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Beginning of each title that counts as its head, seconds.
    pub head_seconds: f64,
    /// Bytes that may be added. Nothing that is there has to go for what is made on a guess.
    pub room_bytes: u64,
}

/// Why something is worth making, most worth first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is what players ask for first.
    First,
    /// It is how a title begins.
    Head,
    /// It is of what is asked for.
    Popular,
    /// Somebody who watches may switch to it.
    Neighbour,
}

/// Something worth making.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// Which of the films.
    pub film: usize,
    /// Which of its renditions.
    pub rendition: usize,
    /// Which object of it.
    pub object: Object,
    /// Why.
    pub reason: Reason,
    /// Expected viewers times seconds saved, for each megabyte; of what players ask for first the viewers alone.
    pub value: f64,
    /// About how large it will be.
    pub bytes: u64,
}

/// The next wishes, first things first; at most [`MAX_WISHES`] and no more than there is room for. `missing` is asked once for a
/// rendition of a film, and says what of it is not there; `seconds` says how long an encode takes.
pub fn wishes<Missing: Fn(Object) -> bool>(
    films: &[Film],
    budget: &Budget,
    missing: impl Fn(usize, usize) -> Missing,
    seconds: impl Fn(usize, usize, u32) -> f64,
) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for (at, film) in films.iter().enumerate() {
        for (rendition, object, reason, viewers) in film.candidates(budget, |rendition| missing(at, rendition)) {
            let bytes = bytes(&film.plan.renditions[rendition], object);
            let saved = match object {
                Object::Segment(n) => seconds(at, rendition, n),
                Object::Init | Object::Iframe(_) => seconds(at, rendition, 0),
            };
            #[expect(clippy::cast_precision_loss, reason = "sizes of segments")]
            let value = match reason {
                Reason::First => viewers,
                _ => viewers * saved / (bytes.max(1) as f64 / 1e6),
            };
            wishes.push(Wish { film: at, rendition, object, reason, value, bytes });
        }
    }
    wishes.sort_by(Wish::compare);
    let mut room = budget.room_bytes;
    let fits = |wish: &Wish| match room.checked_sub(wish.bytes) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    wishes.into_iter().take_while(fits).take(MAX_WISHES).collect()
}

impl Wish {
    /// First things first; what is worth the same in the order it is played. Of what players ask for first pictures come before
    /// sound, which is made while they wait.
    fn compare(&self, other: &Self) -> Ordering {
        let by_value = self.reason.cmp(&other.reason).then(other.value.total_cmp(&self.value));
        let track = |wish: &Self| (wish.film, (wish.reason == Reason::First).then_some(wish.rendition));
        let place = |wish: &Self| (wish.object, wish.rendition);
        by_value.then_with(|| (track(self), place(self)).cmp(&(track(other), place(other))))
    }
}

/// A rendition, an object of it, why, and for how many viewers.
type Candidate = (usize, Object, Reason, f64);

impl Film {
    fn candidates<Missing: Fn(Object) -> bool>(
        &self,
        budget: &Budget,
        missing: impl Fn(usize) -> Missing,
    ) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        let (mut known, mut of_renditions) = (HashSet::new(), HashMap::new());
        let mut add = |rendition, object, reason, viewers: f64| {
            let is_missing = of_renditions.entry(rendition).or_insert_with(|| missing(rendition));
            let is_new = is_missing(object) && known.insert((rendition, object));
            found.extend(is_new.then_some((rendition, object, reason, viewers)));
            is_new
        };
        let demand = self.demand();
        let viewers = demand.max(FIRST_VIEWER);
        let Opening { start, sound, fallbacks, better } = &self.opening;
        for (&rendition, of) in start.iter().filter_map(|at| Some((at, self.plan.renditions.get(*at)?))) {
            if budget.head_seconds > 0.0 {
                add(rendition, Object::Init, Reason::First, viewers);
            }
            for n in 0..of.grid.segments().min(before(of, budget.head_seconds)) {
                let reason = if n < FIRST_SEGMENTS { Reason::First } else { Reason::Head };
                add(rendition, Object::Segment(n), reason, viewers);
            }
        }
        // The init segment comes with the first that is made.
        for (&rendition, of) in better.iter().filter_map(|at| Some((at, self.plan.renditions.get(*at)?))) {
            for n in 1..before(of, budget.head_seconds).min(of.grid.segments()).min(FIRST_SEGMENTS) {
                add(rendition, Object::Segment(n), Reason::First, viewers * SWITCHING_SHARE);
            }
        }
        for (&rendition, of) in
            sound.iter().chain(fallbacks).filter_map(|at| Some((at, self.plan.renditions.get(*at)?)))
        {
            for n in 0..before(of, budget.head_seconds).min(of.grid.segments()).min(FIRST_SEGMENTS) {
                add(rendition, Object::Segment(n), Reason::Head, viewers * SWITCHING_SHARE);
            }
        }
        for (rendition, viewers) in self.likely().into_iter().filter(|(_, viewers)| *viewers >= LEAST_VIEWERS) {
            add(rendition, Object::Init, Reason::Popular, viewers);
            let segments = 0..self.plan.renditions[rendition].grid.segments();
            let missing = segments.filter(|n| add(rendition, Object::Segment(*n), Reason::Popular, viewers));
            missing.take(MAX_MISSING).for_each(drop);
        }
        // Next to the last rung stands the sound.
        for &(rendition, place) in self.watched.iter().filter(|(rendition, _)| self.pictures(*rendition).is_some()) {
            for beside in [rendition.checked_sub(1), rendition.checked_add(1)].into_iter().flatten() {
                let Some(of) = self.pictures(beside) else { continue };
                for n in (place..of.grid.segments()).take(1 + NEIGHBOURS as usize).skip(1) {
                    add(beside, Object::Segment(n), Reason::Neighbour, SWITCHING_SHARE);
                }
            }
        }
        found
    }

    /// A rendition, if it is one of pictures.
    fn pictures(&self, at: usize) -> Option<&Rendition> {
        self.plan.renditions.get(at).filter(|of| of.video().is_some())
    }

    /// Renditions that are asked for often enough, and viewers expected for each of their segments.
    fn likely(&self) -> Vec<(usize, f64)> {
        let pictures = |at: usize| self.pictures(at).is_some();
        let all: f64 = self.asked.iter().enumerate().filter(|(at, _)| pictures(*at)).map(|(_, asked)| asked).sum();
        let likely = |at: usize, asked: f64| asked > 0.0 && (!pictures(at) || asked >= LIKELY_SHARE * all);
        let known = self.asked.iter().zip(&self.plan.renditions).enumerate();
        known
            .filter(|(at, (asked, _))| likely(*at, **asked))
            .map(|(at, (asked, of))| (at, asked / f64::from(of.grid.segments().max(1))))
            .collect()
    }

    /// Viewers expected for a segment, whichever rendition they choose.
    fn demand(&self) -> f64 {
        self.likely().into_iter().map(|(_, viewers)| viewers).fold(0.0, f64::max)
    }
}

/// How many segments begin before a time.
fn before(rendition: &Rendition, seconds: f64) -> u32 {
    let grid = &rendition.grid;
    let begins = |at: u64| grid.timescale().seconds(at.cast_signed()) < seconds;
    u32::try_from(grid.cuts().partition_point(|cut| begins(cut.at))).unwrap_or(u32::MAX)
}

/// About how large an object is: what its rate allows, of which pictures need half on the average.
pub(super) fn bytes(rendition: &Rendition, object: Object) -> u64 {
    let Object::Segment(n) = object else { return 2048 };
    let grid = &rendition.grid;
    let most = rendition.bandwidth.saturating_mul(grid.ticks(n)) / u64::from(grid.timescale().get()) / 8;
    match &rendition.kind {
        RenditionKind::Video(_) => most / 2,
        RenditionKind::Audio(_) | RenditionKind::Text(_) => most,
    }
}

#[cfg(test)]
pub(super) mod tests;

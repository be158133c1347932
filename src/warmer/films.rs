//! Titles as the encoder and the policy need them. Plans of long films are large: they are read when a title is new or has
//! changed, and of a bounded number of titles.

use std::collections::HashMap;

use super::Inner;
use super::lock;
use super::policy::Film;
use super::popularity::Ranked;
use crate::catalog::{self, State, now_ms};
use crate::encoder::Work;
use crate::manifest::hls;
use crate::media::{Generation, Plan, RenditionName, TitleId};

/// Of the titles that came last, this many get their heads.
const NEWEST: u32 = 100;
/// Of those asked for most, this many are looked at.
const MOST_ASKED: usize = 100;

/// The titles known, with the catalog's mark of what was read.
pub(super) type Films = HashMap<TitleId, (u64, Option<Work>)>;

/// A title to be warmed.
pub(super) struct Candidate {
    pub work: Work,
    pub film: Film,
}

impl Inner {
    /// A title that can be played. Blocks.
    pub(super) fn work(&self, id: &TitleId) -> Result<Option<Work>, catalog::Error> {
        let Some(mark) = self.rooms.catalog.mark(id)? else { return Ok(None) };
        if let Some((known, work)) = lock(&self.films).get(id)
            && *known == mark
        {
            return Ok(work.clone());
        }
        let title = self.rooms.catalog.title(id)?;
        let work = title.and_then(|title| {
            let (digest, plan) = (title.entry.source?, title.plan?);
            (title.entry.state == State::Ready).then(|| {
                let generation = self.rooms.encoder.recipe().generation(&digest, &plan);
                Work { digest, generation, plan }
            })
        });
        lock(&self.films).insert(id.clone(), (mark, work.clone()));
        Ok(work)
    }

    /// The titles that are worth a look: those asked for most and those that came last. Blocks.
    pub(super) fn candidates(&self) -> Result<Vec<Candidate>, catalog::Error> {
        let ranking = lock(&self.popularity).ranking(now_ms());
        let newest = self.rooms.catalog.titles(None, NEWEST, Some(State::Ready))?;
        let mut ids: Vec<TitleId> = ranking.iter().take(MOST_ASKED).map(|ranked| ranked.title.clone()).collect();
        for entry in newest.entries {
            if !ids.contains(&entry.id) {
                ids.push(entry.id);
            }
        }
        lock(&self.films).retain(|id, _| ids.contains(id));
        let watched = self.rooms.encoder.watched();
        let mut found = Vec::new();
        for id in &ids {
            if let Some(work) = self.work(id)? {
                let film = film(&work, ranking.iter().find(|ranked| ranked.title == *id), &watched);
                found.push(Candidate { work, film });
            }
        }
        Ok(found)
    }
}

fn film(work: &Work, ranked: Option<&Ranked>, watched: &[(Generation, usize, u32)]) -> Film {
    let plan = &work.plan;
    let asked = |name: &RenditionName| {
        let known = ranked.and_then(|ranked| ranked.renditions.iter().find(|(of, _)| of == name));
        known.map_or(0.0, |(_, score)| *score)
    };
    let here = watched.iter().filter(|(generation, ..)| *generation == work.generation);
    Film {
        plan: plan.clone(),
        start: start(plan),
        asked: plan.renditions.iter().map(|rendition| asked(&rendition.name)).collect(),
        watched: here.map(|(_, rendition, segment)| (*rendition, *segment)).collect(),
    }
}

/// What players start with: pictures, and the sound that goes with them.
fn start(plan: &Plan) -> Vec<usize> {
    let Some(first) = hls::start(plan) else { return Vec::new() };
    let names = [Some(&first.name), first.video().and_then(|video| video.audio.as_ref())];
    let place = |name: &RenditionName| plan.renditions.iter().position(|rendition| rendition.name == *name);
    names.into_iter().flatten().filter_map(place).collect()
}

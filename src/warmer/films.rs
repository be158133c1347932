//! Titles as the encoder and the policy need them. Plans of long films are large: they are read when a title is new or has
//! changed, and of a bounded number of titles.

use std::collections::HashMap;

use super::Inner;
use super::lock;
use super::policy::Film;
use super::popularity::Ranked;
use crate::catalog::{self, State};
use crate::encoder::Work;
use crate::manifest::hls;
use crate::media::{Generation, Opening, Plan, Rendition, RenditionName, TitleId};

/// Of the titles that came last, this many get their heads.
const NEWEST: u32 = 100;
/// Of those asked for most, this many are looked at.
const MOST_ASKED: usize = 100;

/// The titles of the last look, with the catalog's mark of what was read.
pub(super) type Films = HashMap<TitleId, (u64, Option<Work>)>;

/// A title to be warmed.
pub(super) struct Candidate {
    pub work: Work,
    pub film: Film,
}

impl Inner {
    /// A title that can be played. Blocks.
    fn known(&self, id: &TitleId) -> Result<Option<Work>, catalog::Error> {
        let Some(mark) = self.rooms.catalog.mark(id)? else {
            // It would keep its place among those that are looked at for days.
            lock(&self.popularity).forget(id);
            return Ok(None);
        };
        if let Some((known, work)) = lock(&self.films).get(id)
            && *known == mark
        {
            return Ok(work.clone());
        }
        let work = self.work(id)?;
        lock(&self.films).insert(id.clone(), (mark, work.clone()));
        Ok(work)
    }

    /// The same as the catalog has it, for those who ask once: nothing is remembered. Blocks.
    pub(super) fn work(&self, id: &TitleId) -> Result<Option<Work>, catalog::Error> {
        let title = self.rooms.catalog.title(id)?;
        Ok(title.and_then(|title| {
            let (digest, plan) = (title.entry.source?, title.plan?);
            (title.entry.state == State::Ready).then(|| {
                let generation = self.rooms.encoder.recipe().generation(&digest, &plan);
                Work { digest, generation, plan }
            })
        }))
    }

    /// The titles that are worth a look: those asked for most and those that came last. Blocks.
    pub(super) fn candidates(&self) -> Result<Vec<Candidate>, catalog::Error> {
        let ranking = lock(&self.popularity).ranking(self.rooms.clock.now_ms());
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
            if let Some(work) = self.known(id)? {
                let film = film(&work, ranking.iter().find(|ranked| ranked.title == *id), &watched);
                found.push(Candidate { work, film });
            }
        }
        Ok(found)
    }
}

/// True if playing on from there may take a slot: what is no picture, or is passed through, takes none. What is not known may.
pub(super) fn takes_slot(films: &Films, generation: &Generation, rendition: usize) -> bool {
    let here = films.values().filter_map(|(_, work)| work.as_ref()).find(|work| work.generation == *generation);
    here.and_then(|work| work.plan.renditions.get(rendition)).is_none_or(Rendition::is_picture_encode)
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
        opening: opening(plan),
        asked: plan.renditions.iter().map(|rendition| asked(&rendition.name)).collect(),
        watched: here.map(|(_, rendition, segment)| (*rendition, *segment)).collect(),
    }
}

/// What players ask for first.
fn opening(plan: &Plan) -> Opening {
    let place = |start: &Rendition| plan.renditions.iter().position(|rendition| rendition.name == start.name);
    hls::start(plan).and_then(place).map(|start| Opening::of(plan, start)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::now_ms;
    use crate::media::{AudioRendition, AudioSource, Label, RenditionKind, VideoSource};
    use crate::warmer::policy::tests::rendition;
    use crate::warmer::tests::Bench;

    /// A hundred of them were looked at for days, and nothing else.
    #[tokio::test]
    async fn a_title_that_was_removed_is_not_looked_for_again() {
        let bench = Bench::new(1 << 20);
        let asked = || lock(&bench.inner.popularity).ranking(now_ms()).len();
        lock(&bench.inner.popularity).asked(&TitleId::from_random(1), &"360p".parse().unwrap(), now_ms());
        assert_eq!((asked(), bench.inner.candidates().unwrap().len(), asked()), (1, 0, 0));
    }

    /// Somebody who plays pictures with their sound counted twice, and two of them kept four cores from warming.
    #[test]
    fn a_slot_is_kept_for_encoded_pictures_and_not_for_their_sound_or_what_is_passed_through() {
        let [mut passed, mut sound] = [rendition(720), rendition(360)];
        if let RenditionKind::Video(video) = &mut passed.kind {
            video.source = VideoSource::Passthrough { avcc: Vec::new(), buffer_ms: 0 };
        }
        let (language, source) = ("en".to_owned(), AudioSource::Encode { bitrate: 64_000 });
        let audio = AudioRendition { track: 0, rate: 48_000, channels: 2, language, label: Label::default(), source };
        sound.kind = RenditionKind::Audio(audio);
        let plan = Plan { renditions: vec![rendition(1080), passed, sound], ..Plan::default() };
        let generation: Generation = "0123456789abcdef".parse().unwrap();
        let digest = "0".repeat(64).parse().unwrap();
        let work = Work { digest, generation: generation.clone(), plan: Arc::new(plan) };
        let films = Films::from([("000000000001".parse().unwrap(), (1, Some(work)))]);
        assert_eq!([0, 1, 2].map(|rendition| takes_slot(&films, &generation, rendition)), [true, false, false]);
        assert!(takes_slot(&films, &"0123456789abcdff".parse().unwrap(), 2), "it may be pictures");
    }
}

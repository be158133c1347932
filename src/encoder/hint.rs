//! What a player asks for first, made when it asks for a playlist.

use tokio::time::sleep;

use super::run::CHOICE;
use super::{Encoder, Work};
use crate::cache::Object;
use crate::media::{FIRST_SEGMENTS, Opening};

/// Fallbacks that are made for a viewer who has only asked for a playlist.
const FALLBACKS: usize = 2;

impl Encoder {
    /// A title will probably be played: makes what a player asks for first, of this rendition and its sound, and of what it
    /// may try next, while no viewer needs the slot. Nothing, where nothing is to be made that nobody asked for.
    pub fn hint(&self, work: &Work, rendition: usize) {
        if self.0.config.lookahead_segments == 0 {
            return;
        }
        let opening = Opening::of(&work.plan, rendition);
        let head = |at: usize| [Object::Init, Object::Segment(0)].map(|object| self.ahead(work, at, object));
        let [_, start] = head(rendition);
        let first = work.plan.renditions.get(rendition).map(|of| work.key(of, Object::Segment(0)));
        let start = start.or_else(|| self.0.rooms.cache.in_the_making(&first?));
        opening.start.iter().skip(1).for_each(|sound| drop(head(*sound)));
        let (encoder, work) = (self.clone(), work.clone());
        self.spawn(async move {
            let fallbacks: Vec<usize> = opening.fallbacks.into_iter().take(FALLBACKS).collect();
            let prepare = || {
                let sounds = opening.sound.iter().flat_map(|at| [(*at, Object::Init), (*at, Object::Segment(0))]);
                for (at, object) in sounds.chain(fallbacks.iter().map(|at| (*at, Object::Init))) {
                    encoder.ahead(&work, at, object);
                }
            };
            if let Some(start) = start {
                let _ = start.ended().await;
                prepare();
            } else if let Some(better) = opening.better {
                // A player that finds it there goes up, and soon down again if that takes long.
                for object in [Object::Init, Object::Segment(1)] {
                    encoder.ahead(&work, better, object);
                }
            }
            sleep(CHOICE).await;
            // Whoever has chosen is looked ahead for.
            let has_pictures = |at: usize| work.plan.renditions.get(at).is_some_and(|of| of.video().is_some());
            let chosen = |(of, at, n): (_, usize, u32)| of == work.generation && n == 1 && has_pictures(at);
            if encoder.watched().into_iter().any(chosen) {
                return;
            }
            // Where that was put off; what is there or ordered stays as it is.
            prepare();
            // Asked for before the fallbacks: a player that stays where it began needs it first of all.
            for at in &opening.start {
                encoder.ahead(&work, *at, Object::Segment(1));
            }
            for (fallback, segment) in fallbacks.iter().flat_map(|at| (0..FIRST_SEGMENTS).map(move |n| (*at, n))) {
                encoder.ahead(&work, fallback, Object::Segment(segment));
            }
        });
    }
}

//! What the warmer asks for: nobody waits for it.

use std::sync::Arc;

use super::schedule::Lane;
use super::together::{Rung, Together};
use super::{Encoder, Warm, Work};
use crate::cache::{Object, Writer};
use crate::media::Rendition;

impl Encoder {
    /// Asks for an object of a title's rendition ahead of demand. Viewers and their look-ahead come first, and stop what is
    /// under way.
    #[must_use]
    pub fn warm(&self, work: &Work, rendition: usize, object: Object) -> Warm {
        self.warm_in(Lane::Warm, work, rendition, object)
    }

    /// As [`Encoder::warm`], for what players ask for first: made like look-ahead, so that whoever comes for it has what was
    /// begun. Viewers come first, and stop it.
    #[must_use]
    pub fn warm_first(&self, work: &Work, rendition: usize, object: Object) -> Warm {
        self.warm_in(Lane::Ahead, work, rendition, object)
    }

    fn warm_in(&self, lane: Lane, work: &Work, rendition: usize, object: Object) -> Warm {
        match self.lead(work, rendition, object) {
            Ok(writer) => {
                let flight = Arc::clone(writer.flight());
                self.order(work, rendition, object, writer, lane);
                Warm::Ordered(flight)
            }
            Err(why) => why,
        }
    }

    /// As [`Encoder::warm`], for a segment in several renditions, which are made from one decode if they are encodes of the
    /// pictures and no worker has died of them.
    #[must_use]
    pub fn warm_together(&self, work: &Work, renditions: &[usize], number: u32) -> Vec<Warm> {
        let encoded = |at: &usize| work.plan.renditions.get(*at).is_some_and(Rendition::is_picture_encode);
        let is_apart = self.0.togethers.is_apart(&work.generation, number);
        if renditions.len() < 2 || is_apart || !renditions.iter().all(encoded) {
            return renditions.iter().map(|at| self.warm(work, *at, Object::Segment(number))).collect();
        }
        let mut rungs = Vec::new();
        let mut asked = |at: &usize| match self.lead(work, *at, Object::Segment(number)) {
            Ok(writer) => {
                let flight = Arc::clone(writer.flight());
                rungs.push(Rung { rendition: *at, writer });
                Warm::Ordered(flight)
            }
            Err(why) => why,
        };
        let all = renditions.iter().map(&mut asked).collect();
        if !rungs.is_empty() {
            self.spawn(Together { encoder: self.clone(), work: work.clone(), number, rungs }.go());
        }
        all
    }

    fn lead(&self, work: &Work, rendition: usize, object: Object) -> Result<Writer, Warm> {
        let Some(of) = work.plan.renditions.get(rendition) else { return Err(Warm::There) };
        let (cache, key) = (&self.0.rooms.cache, work.key(of, object));
        let why = || if cache.holds(&key) { Warm::There } else { Warm::Elsewhere };
        cache.lead_if_absent(&key).ok_or_else(why)
    }
}

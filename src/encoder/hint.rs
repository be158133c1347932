//! What a player asks for first, made when it asks for a playlist.

use super::{Encoder, Work};
use crate::cache::Object;
use crate::media::Rendition;

/// Segments of the lowest rung made for a viewer who has only asked for a playlist: about two seconds, as the first ones are
/// short.
const HINTED_OF_LOWEST: u32 = 2;

impl Encoder {
    /// A title will probably be played: makes what a player asks for first, of this rendition and its sound, while no
    /// viewer needs the slot. A segment made while it waits looks like a slow network to a player that measures, so the
    /// lowest rung is what it may try next, and hls.js drops the sound it has where pictures are listed with another: these
    /// are made, too. Nothing, where nothing is to be made that nobody asked for.
    pub fn hint(&self, work: &Work, rendition: usize) {
        if self.0.config.lookahead_segments == 0 {
            return;
        }
        let sound = |of: &Rendition| {
            let name = of.video()?.audio.as_ref()?;
            work.plan.renditions.iter().position(|r| r.name == *name)
        };
        let first = work.plan.renditions.get(rendition).into_iter();
        let mut hinted = vec![rendition];
        for sound in first.chain(&work.plan.renditions).filter_map(sound) {
            if !hinted.contains(&sound) {
                hinted.push(sound);
            }
        }
        let head = |at: usize| [Object::Init, Object::Segment(0)].map(|object| self.ahead(work, at, object));
        let [_, start] = head(rendition);
        hinted.iter().skip(1).for_each(|sound| drop(head(*sound)));
        let encoded = |at: &usize| work.plan.renditions[*at].is_picture_encode();
        let lowest = (0..work.plan.renditions.len()).rev().find(encoded).filter(|lowest| *lowest != rendition);
        if let Some(lowest) = lowest {
            let (encoder, work) = (self.clone(), work.clone());
            self.spawn(async move {
                if let Some(start) = start {
                    let _ = start.ended().await;
                }
                for object in [Object::Init].into_iter().chain((0..HINTED_OF_LOWEST).map(Object::Segment)) {
                    encoder.ahead(&work, lowest, object);
                }
            });
        }
    }
}

//! How players begin to play a title.

use super::{Plan, Rendition};

/// The renditions that are asked for first, by their place in the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// What is played first: pictures and the sound that goes with them, or sound alone.
    pub start: Vec<usize>,
    /// Sound that goes with other pictures: a player that changes to those drops the sound it has.
    pub sound: Vec<usize>,
    /// Encodes of less bandwidth, the lowest first. A first segment that was made while the player waited, or that is a few
    /// kilobytes, looks like a slow network to a player that measures.
    pub fallbacks: Vec<usize>,
}

impl Opening {
    /// Of a player that starts with this rendition.
    #[must_use]
    pub fn of(plan: &Plan, start: usize) -> Self {
        let Some(first) = plan.renditions.get(start) else { return Self::default() };
        let sound_of = |of: &Rendition| {
            let name = of.video()?.audio.as_ref()?;
            plan.renditions.iter().position(|r| r.name == *name)
        };
        let start: Vec<usize> = [Some(start), sound_of(first)].into_iter().flatten().collect();
        let mut sound = Vec::new();
        for other in plan.renditions.iter().filter_map(sound_of) {
            if !start.contains(&other) && !sound.contains(&other) {
                sound.push(other);
            }
        }
        let is_fallback = |of: &Rendition| of.is_picture_encode() && of.bandwidth < first.bandwidth;
        let mut fallbacks: Vec<usize> =
            (0..plan.renditions.len()).filter(|at| is_fallback(&plan.renditions[*at])).collect();
        fallbacks.sort_by_key(|at| plan.renditions[*at].bandwidth);
        Self { start, sound, fallbacks }
    }
}

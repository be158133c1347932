//! Which run gets an order: one that will reach it soon, one that is idle where there are many, or a new one.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::run::{self, Run};
use super::schedule::Lane;
use super::{Encoder, Placed};
use crate::cache::FlightError;
use crate::media::Generation;

/// Runs of one rendition, beyond which one that is idle is sent elsewhere rather than another begun: viewers far apart each
/// need one, but not every seek of a restless viewer. If none is idle a viewer's order gets its own all the same: as many
/// work for viewers as the schedule admits orders.
const RUNS_PER_RENDITION: usize = 4;
/// Warming goes through a rendition in order, once.
const WARM_RUNS_PER_RENDITION: usize = 1;

/// The runs under way, by rendition.
pub type Runs = HashMap<(Generation, usize), Vec<run::Handle>>;

impl Encoder {
    /// A run nearby may look further ahead.
    pub(super) fn wake(&self, generation: &Generation, rendition: usize, segment: u32) {
        let runs = self.0.runs.read().unwrap_or_else(PoisonError::into_inner);
        // The table is small, and empty where everything is cached.
        for ((of, which), runs) in runs.iter() {
            if *which == rendition && of == generation {
                runs.iter().for_each(|run| run.seen(segment, self.0.config.lookahead_segments));
            }
        }
    }

    /// Gives the order to a run that will reach it soon, or to a new one. Warming has runs of its own: their workers are
    /// kinder to others, and no viewer shall stand in line behind what nobody asked for.
    pub(super) fn place(&self, placed: Placed) {
        let reach = self.0.config.lookahead_segments;
        let place = (placed.order.work.generation.clone(), placed.order.rendition);
        let (object, lane, warm) = (placed.order.object, placed.lane, placed.lane == Lane::Warm);
        let most = if warm { WARM_RUNS_PER_RENDITION } else { RUNS_PER_RENDITION };
        let cost = self.0.cost(&placed.order.work, placed.order.rendition, object);
        let mut placed = Box::new(placed);
        let mut runs = self.0.runs.write().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|_, runs| runs.iter().any(|run| !run.is_over()));
        let here = runs.entry(place).or_default();
        here.retain(|run| !run.is_over());
        let crowded = here.iter().filter(|run| run.is_warm == warm).count() >= most;
        here.sort_by_key(|run| run.distance(object));
        let suits = |run: &&run::Handle| match lane {
            Lane::Viewer if run.is_idle() => crowded || run.reaches(object, reach),
            Lane::Viewer => run.reaches(object, reach) && run.has_time(cost, self.0.config.patience()),
            Lane::Ahead | Lane::Warm => crowded || run.reaches(object, reach),
        };
        for run in here.iter().filter(|run| run.is_warm == warm).filter(suits) {
            match run.take(placed) {
                Ok(()) => return,
                Err(back) => placed = back,
            }
        }
        if crowded && lane != Lane::Viewer {
            // All have more to do than they will come to, and nobody waits for this.
            return;
        }
        let (handle, run) = Run::new(&self.0, &placed);
        match handle.take(placed) {
            Ok(()) => here.push(handle),
            Err(back) => return back.order.writer.fail(FlightError::failed("the encoder is closed")),
        }
        drop(runs);
        self.spawn(run.go());
    }
}

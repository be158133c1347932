//! What was made goes to whoever waits, and into the cache: after one more check, that against its init segment.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::job::Outcome;
use super::{Error, Inner, Work};
use crate::cache::{FlightError, Object, Writer};
use crate::media::{Rendition, RenditionKind};

/// The parameter sets must be those of the init segment; the first to know them provides it. `init` is what is known of it,
/// and `writer` that of the segment: once its title was removed, it has no init segment either.
pub async fn agree(
    inner: &Inner,
    work: &Work,
    rendition: usize,
    outcome: &Outcome,
    (writer, init): (&Writer, &mut Option<Bytes>),
) -> Result<(), Error> {
    let of = &work.plan.renditions[rendition];
    if matches!(of.kind, RenditionKind::Text(_)) {
        // Every document stands alone.
        return Ok(());
    }
    let made = crate::packager::init(of, &outcome.config)?;
    if init.is_none() {
        let key = work.key(of, Object::Init);
        *init = match (outcome.is_init, writer.lead_beside(&key)) {
            (true, _) => Some(made.clone()),
            (false, Some(mut writer)) => {
                writer.push(made.clone());
                writer.commit().ok()
            }
            // One that is just being made comes from another worker's same answer, and is looked at next time.
            (false, None) => inner.rooms.cache.look(&key).await,
        };
    }
    match init {
        Some(known) if *known != made => Err(Error::Parameters),
        Some(_) | None => Ok(()),
    }
}

/// The rate of a segment, bits per second, if it exceeds BANDWIDTH. That is declared over half a target duration or more
/// (RFC 8216 §4.1), and of text not at all.
fn too_many(of: &Rendition, number: u32, bytes: u64) -> Option<u64> {
    let ticks = of.grid.ticks(number);
    if matches!(of.kind, RenditionKind::Text(_)) || ticks * 2 < of.grid.longest() {
        return None;
    }
    let bits = bytes * 8 * u64::from(of.grid.timescale().get()) / ticks.max(1);
    (bits > of.bandwidth).then_some(bits)
}

/// Commits what was made and checked.
pub fn commit(inner: &Inner, work: &Work, rendition: usize, outcome: Outcome, mut writer: Writer) {
    let key = writer.key().clone();
    writer.took(outcome.took.unwrap_or_else(|| inner.cost(work, rendition, key.object)));
    for (at, bytes) in outcome.rest {
        if let Err(mismatch) = writer.offer(at, bytes) {
            return writer.fail(FlightError::failed(mismatch.to_string()));
        }
    }
    if let Object::Segment(n) = key.object {
        inner.bridged.fetch_add(u64::from(outcome.bridged), Ordering::Relaxed);
        if outcome.bridged > 0 {
            tracing::warn!(%key, frames = outcome.bridged, "frames that cannot be decoded were bridged");
        }
        let of = &work.plan.renditions[rendition];
        if let Some(bits_per_second) = too_many(of, n, writer.sent_bytes()) {
            inner.over_bandwidth.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%key, bits_per_second, "a segment exceeds its declared bandwidth");
        }
    }
    match (writer.commit(), key.object) {
        (Ok(_), Object::Segment(n)) if outcome.bridged > 0 => {
            (inner.rooms.bridged)(work, &work.plan.renditions[rendition], n, outcome.bridged);
        }
        (Ok(_), _) => {}
        (Err(error), _) => tracing::error!(%error, %key, "a finished segment cannot be committed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::tests::work;
    use crate::media::{Cut, Grid, Timescale};

    #[test]
    fn a_segment_that_is_too_short_for_bandwidth_raises_no_alarm() {
        // One second, then four.
        let cuts = [(0, 0), (25, 25), (125, 125)].map(|(frame, at)| Cut { frame, at }).to_vec();
        let grid = Grid::new(Timescale::new(25).unwrap(), cuts).unwrap();
        let of = Rendition { bandwidth: 8000, grid, ..work(1).plan.renditions[0].clone() };
        assert_eq!((too_many(&of, 0, 1500), too_many(&of, 1, 4000), too_many(&of, 1, 4001)), (None, None, Some(8002)));
    }
}

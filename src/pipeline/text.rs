//! Segments of text: the cues of the index that a segment shows, as one WebVTT document.

use bytes::Bytes;

use super::{Error, Finished, Job, Output};
use crate::media::{Sample, TextTrack};

/// Makes a segment.
pub fn segment(job: Job, track: &TextTrack, emit: &mut dyn FnMut(Output)) -> Result<Finished, Error> {
    let grid = &job.rendition.grid;
    let cuts = grid.segment(job.number).ok_or_else(|| Error::Failed(format!("there is no segment {}", job.number)))?;
    let duration = u32::try_from(grid.ticks(job.number)).map_err(|e| Error::Failed(e.to_string()))?;
    let data = Bytes::from(track.segment(grid.timescale(), cuts));
    emit(Output::Samples(vec![Sample { duration, composition: 0, sync: true, data }]));
    Ok(Finished { config: Vec::new(), bridged: 0 })
}

//! Pictures: samples of H.264 with lengths become access units with start codes (Rec. ITU-T H.264 annex B).

use crate::media::{Program, Sample};

use super::packet::{Pid, pes};
use super::read::{self, Config};
use super::schedule::Schedule;
use super::{Coded, Error, Unit};

/// `stream_id` of the first video stream (ISO/IEC 13818-1 table 2-22).
const STREAM_ID: u8 = 0xE0;
/// A NAL unit's start code. The long form is due before the first unit and parameter sets (annex B.1.2), and costs as much
/// as the length it replaces.
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// An access unit delimiter that allows every kind of slice (§7.3.2.4): a transport stream has one before each picture
/// (ISO/IEC 13818-1 §2.14.1).
const DELIMITER: [u8; 2] = [0x09, 0xF0];
/// `nal_unit_type` of a delimiter, Rec. ITU-T H.264 table 7-1.
const DELIMITER_TYPE: u8 = 9;

/// A picture's times on the clock, in decode order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub pts: i64,
    pub dts: i64,
}

/// One unit for each picture.
pub(super) fn units(coded: &Coded, delay: i64, schedule: &Schedule) -> Result<Vec<Unit>, Error> {
    let track = read::track(&coded.init)?;
    let Config::Avc(sets) = &track.config else { return Err(Error::NoConfig("H.264 parameter sets")) };
    let samples = read::samples(&coded.segment)?;
    let on_clock = |ticks: i64| Program::at(track.timescale, ticks);
    let shown = |at: i64, composition: i32| on_clock(at.saturating_add(composition.into()));
    let times = times(samples.iter().map(|(at, s)| (on_clock(*at), shown(*at, s.composition))), delay);
    let unit = |(number, ((_, sample), times)): (usize, (&(i64, Sample), Times))| {
        let sets = if sample.sync { &sets[..] } else { &[] };
        // Zero: as long as it takes, which only video may say (§2.4.3.7).
        let mut bytes = pes(STREAM_ID, None, times.pts, Some(times.dts), sample.data.len());
        access_unit(&mut bytes, sets, &sample.data).ok_or(Error::Sample(number))?;
        Ok(Unit { pid: Pid::Video, due: schedule.due(times.dts), random_access: sample.sync, bytes })
    };
    samples.iter().zip(times).enumerate().map(unit).collect()
}

/// CMAF decodes a segment's first picture when it is shown, and a later one possibly after it is shown; here decoding must
/// come first (§2.4.3.7). All decode times move ahead by `delay`; where pictures are reordered more deeply than that, or
/// lie unevenly, a decode time moves ahead as far as it must and stays behind the one before. The first one of a segment
/// never moves, because nothing in the segment is shown before it, so segments join whatever happens inside.
pub(super) fn times(decode_and_shown: impl DoubleEndedIterator<Item = (i64, i64)>, delay: i64) -> Vec<Times> {
    let mut next = i64::MAX;
    let mut times: Vec<Times> = decode_and_shown
        .rev()
        .map(|(decode, pts)| {
            let dts = (decode - delay).min(pts).min(next.saturating_sub(1));
            next = dts;
            Times { pts, dts }
        })
        .collect();
    times.reverse();
    times
}

/// Delimiter, parameter sets, and the sample's units but for delimiters of its own. `None` if lengths do not add up.
fn access_unit(out: &mut Vec<u8>, sets: &[Vec<u8>], mut data: &[u8]) -> Option<()> {
    let mut unit = |nal: &[u8]| {
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(nal);
    };
    unit(&DELIMITER);
    sets.iter().for_each(|set| unit(set));
    while !data.is_empty() {
        let (length, rest) = data.split_first_chunk::<4>()?;
        let (nal, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if nal.first()? & 0x1F != DELIMITER_TYPE {
            unit(nal);
        }
        data = rest;
    }
    Some(())
}

//! Sound: AAC frames, each with an ADTS header (ISO/IEC 14496-3 §1.A.3.2), several to a PES packet.

use crate::media::Program;

use super::packet::{Pid, pes};
use super::read::{self, Config};
use super::schedule::Schedule;
use super::{Coded, Error, Unit};

/// `stream_id` of the first audio stream (ISO/IEC 13818-1 table 2-22).
const STREAM_ID: u8 = 0xC0;
/// Length of a header without checksum, bytes.
const HEADER_BYTES: usize = 7;
/// A PES packet of sound says its length in 16 bits; this leaves room for a header and one frame of any length.
const MAX_BYTES: usize = 48 << 10;

/// What is the same in every header of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adts {
    profile: u8,
    frequency_index: u8,
    channels: u8,
}

/// Frames in packets of up to `longest` ticks of the clock.
pub(super) fn units(coded: &Coded, longest: i64, schedule: &Schedule) -> Result<Vec<Unit>, Error> {
    let track = read::track(&coded.init)?;
    let Config::Aac(config) = &track.config else { return Err(Error::NoConfig("AudioSpecificConfig")) };
    let adts = Adts::of(config)?;
    let mut units = Vec::new();
    // When the first frame of the open packet is heard, and the packet.
    let mut open: Option<(i64, Vec<u8>)> = None;
    for (number, (decode, sample)) in read::samples(&coded.segment)?.into_iter().enumerate() {
        let end = Program::at(track.timescale, decode.saturating_add(sample.duration.into()));
        let full = |(pts, frames): &mut (i64, Vec<u8>)| end - *pts > longest || frames.len() > MAX_BYTES;
        units.extend(open.take_if(full).map(|(pts, frames)| unit(pts, &frames, schedule)));
        let (_, frames) = open.get_or_insert_with(|| (Program::at(track.timescale, decode), Vec::new()));
        frames.extend_from_slice(&adts.header(sample.data.len()).ok_or(Error::Sample(number))?);
        frames.extend_from_slice(&sample.data);
    }
    units.extend(open.map(|(pts, frames)| unit(pts, &frames, schedule)));
    Ok(units)
}

fn unit(pts: i64, frames: &[u8], schedule: &Schedule) -> Unit {
    let mut bytes = pes(STREAM_ID, Some(frames.len()), pts, None, frames.len());
    bytes.extend_from_slice(frames);
    // Every frame of sound can be decoded first; saying so helps where there is nothing but sound.
    Unit { pid: Pid::Audio, due: schedule.due(pts - schedule.delay()), random_access: true, bytes }
}

impl Adts {
    /// From an `AudioSpecificConfig` (§1.6.2.1). ADTS holds the first four object types, listed rates, and up to 7.1.
    pub(super) fn of(config: &[u8]) -> Result<Self, Error> {
        let &[first, second, ..] = config else { return Err(Error::NoConfig("AudioSpecificConfig")) };
        let object_type = first >> 3;
        let frequency_index = (first & 7) << 1 | second >> 7;
        let channels = second >> 3 & 0xF;
        let fault = |what, value: u8| Err(Error::Adts { what, value: value.into() });
        match (object_type, frequency_index, channels) {
            (0 | 5.., ..) => fault("object type", object_type),
            (_, 13.., _) => fault("frequency index", frequency_index),
            (.., 0 | 8..) => fault("channel configuration", channels),
            _ => Ok(Self { profile: object_type - 1, frequency_index, channels }),
        }
    }

    /// The header of a frame of `bytes`; `None` if 13 bits cannot say its length.
    pub(super) fn header(self, bytes: usize) -> Option<[u8; HEADER_BYTES]> {
        let length = u16::try_from(bytes + HEADER_BYTES).ok().filter(|length| *length < 1 << 13)?;
        let [high, middle] = (length >> 3).to_be_bytes();
        let [_, low] = length.to_be_bytes();
        Some([
            0xFF,
            // MPEG-4, layer 0, no checksum.
            0xF1,
            self.profile << 6 | self.frequency_index << 2 | self.channels >> 2,
            self.channels << 6 | high,
            middle,
            // Buffer fullness is not said: all ones.
            low << 5 | 0x1F,
            0xFC,
        ])
    }
}

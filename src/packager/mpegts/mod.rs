//! MPEG transport streams (ISO/IEC 13818-1, ITU-T H.222.0) from the CMAF segments that are kept: no picture and no sound is
//! coded anew, so a transport stream is a second wrapping of the same bytes.
//!
//! Nothing runs unasked. [`mux`] takes one segment of each track, reads it (`read`), turns it into access units with
//! times on the program's clock (`video`, `audio`), puts them in the order they are due (`schedule`), and cuts them into
//! packets (`packet`, `tables`). It costs two copies of the segment and no more memory than three times its size.
//!
//! The rule not to break: no state outlives a segment, and yet the stream goes on over every boundary. Times are
//! absolute. A continuity counter (§2.4.3.3) counts modulo 16, so each stream of coded data fills up a multiple of 16
//! packets per segment, and each table is repeated equally often in all: whatever was played before, segment `n` knows
//! where the counters stand.
//!
//! Why not a crate: `mpeg2ts` 0.6 is alive and lean, but leaves the reserved bits of a clock reference zero (§2.4.3.5
//! wants ones), and a PES packet that is split for counting is not in its model. What is left to write is small.

mod audio;
mod packet;
mod read;
mod schedule;
mod tables;
#[cfg(test)]
mod tests;
mod video;

use bytes::Bytes;

use crate::media::Program;

use packet::Pid;
use schedule::Schedule;

/// A track's share of a segment, as it is kept.
#[derive(Clone, Debug)]
pub struct Coded {
    /// Its init segment.
    pub init: Bytes,
    /// Its segment of this number.
    pub segment: Bytes,
}

/// Why a segment cannot be wrapped as a transport stream. None of it is cured by trying again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The program has no such segment.
    #[error("there is no segment {number}, the program has {segments}")]
    NoSegment {
        /// What was asked for.
        number: u32,
        /// How many there are.
        segments: u32,
    },
    /// A box that the packager does not write.
    #[error("the kept segment cannot be read: {0}")]
    Box(String),
    /// Samples reach past the end of the segment.
    #[error("the kept segment is cut short: sample {sample} ends at byte {end} of {length}")]
    Short {
        /// Which sample of its fragment.
        sample: usize,
        /// Where it would end.
        end: usize,
        /// How long the segment is, bytes.
        length: usize,
    },
    /// An init segment without what a decoder needs.
    #[error("the init segment holds no {0}")]
    NoConfig(&'static str),
    /// ADTS headers have no room for it (ISO/IEC 14496-3 §1.A.3.2).
    #[error("AAC with {what} {value} has no ADTS header")]
    Adts {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u32,
    },
    /// A sample that is not what its track says.
    #[error("sample {0} is not a whole access unit")]
    Sample(usize),
}

/// One PES packet, and when it is sent.
struct Unit {
    pid: Pid,
    /// When it is due, ticks of the program's clock.
    due: i64,
    /// Decoding can start here.
    random_access: bool,
    /// PES header and coded data.
    bytes: Vec<u8>,
}

/// Segment `number` of a program. A track that has no such segment, because it ended before the other, is left out.
///
/// # Errors
/// [`Error`]: what was given is not what the packager made for this program.
pub fn mux(program: &Program<'_>, number: u32, video: Option<&Coded>, audio: Option<&Coded>) -> Result<Bytes, Error> {
    let schedule = Schedule::new(program, number)?;
    let mut units = Vec::new();
    if let Some(coded) = video {
        units.extend(video::units(coded, program.delay(), &schedule)?);
    }
    if let Some(coded) = audio {
        units.extend(audio::units(coded, program.sound_ticks(), &schedule)?);
    }
    // Stable: at one moment pictures precede sound.
    units.sort_by_key(|unit| unit.due);
    Ok(packet::write(number, &schedule.items(units), &tables::map(program)))
}

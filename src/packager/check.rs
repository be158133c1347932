//! Is this the segment the grid promises? Asked of every segment before it is kept (promise 5).

use crate::media::{Rendition, RenditionKind, Sample};

use super::{Error, Fault};

/// `nal_unit_type` of a slice of an IDR picture, Rec. ITU-T H.264 table 7-1.
const IDR: u8 = 5;

/// Sees every sample of a segment on its way to the [`super::Chunker`] and knows at the end whether they are the
/// segment. A sample that is wrong on its own is refused at once, so a worker that goes astray is noticed early and
/// cannot make anyone collect without end.
#[derive(Debug)]
pub struct Tally {
    segment: u32,
    is_video: bool,
    start: u64,
    end: u64,
    frames: u64,
    /// Decode time of the next sample, ticks.
    decode_time: u64,
    /// Presentation times so far, ticks.
    shown: Vec<u64>,
}

impl Tally {
    /// For segment `segment` of the rendition.
    ///
    /// # Errors
    /// [`Error::NoSegment`] past the end of the grid.
    pub fn new(rendition: &Rendition, segment: u32) -> Result<Self, Error> {
        let grid = &rendition.grid;
        let past_end = Error::NoSegment { number: segment, segments: grid.segments() };
        let (from, to) = grid.segment(segment).ok_or(past_end)?;
        Ok(Self {
            segment,
            is_video: matches!(rendition.kind, RenditionKind::Video(_)),
            start: from.at,
            end: to.at,
            frames: grid.frames(segment),
            decode_time: from.at,
            shown: Vec::new(),
        })
    }

    /// The next sample in decode order.
    ///
    /// # Errors
    /// [`Error::Sample`], or [`Error::Frames`] and [`Error::Ticks`] as soon as there is too much.
    pub fn push(&mut self, sample: &Sample) -> Result<(), Error> {
        let (segment, number) = (self.segment, self.shown.len() as u64);
        if number >= self.frames {
            return Err(Error::Frames { segment, expected: self.frames, found: number + 1 });
        }
        let at = self.inspect(sample).map_err(|fault| Error::Sample { segment, sample: number, fault })?;
        self.shown.push(at);
        self.decode_time += u64::from(sample.duration);
        if self.decode_time > self.end {
            return Err(self.wrong_length());
        }
        Ok(())
    }

    /// All samples have been seen.
    ///
    /// # Errors
    /// [`Error::Frames`], [`Error::Ticks`] or [`Error::SameTime`].
    pub fn finish(mut self) -> Result<(), Error> {
        let (segment, found) = (self.segment, self.shown.len() as u64);
        if found != self.frames {
            return Err(Error::Frames { segment, expected: self.frames, found });
        }
        if self.decode_time != self.end {
            return Err(self.wrong_length());
        }
        self.shown.sort_unstable();
        match self.shown.windows(2).find(|w| w[0] == w[1]) {
            Some(twice) => Err(Error::SameTime { segment, at: twice[0] }),
            None => Ok(()),
        }
    }

    /// When the sample is shown, if nothing is wrong with it.
    fn inspect(&self, sample: &Sample) -> Result<u64, Fault> {
        let Self { start, end, .. } = *self;
        let is_first = self.shown.is_empty();
        if sample.data.is_empty() {
            return Err(Fault::Empty);
        }
        if sample.duration == 0 {
            return Err(Fault::NoDuration);
        }
        if !sample.sync && (is_first || !self.is_video) {
            return Err(Fault::NotSync);
        }
        let at = i128::from(self.decode_time) + i128::from(sample.composition);
        // Audio is shown in the order it is decoded.
        if (is_first || !self.is_video) && sample.composition != 0 {
            return Err(Fault::Start { at, start: self.decode_time });
        }
        if self.is_video {
            let nal_type = first_slice(&sample.data)?;
            if (nal_type == IDR) != sample.sync {
                return Err(Fault::SyncMark { marked: sample.sync, nal_type });
            }
        }
        u64::try_from(at).ok().filter(|at| (start..end).contains(at)).ok_or(Fault::Outside { at, start, end })
    }

    fn wrong_length(&self) -> Error {
        let Self { segment, start, end, decode_time, .. } = *self;
        Error::Ticks { segment, expected: end - start, found: decode_time - start }
    }
}

/// `nal_unit_type` of the first slice of an access unit. Every length is followed to the end, so none of them lies.
fn first_slice(data: &[u8]) -> Result<u8, Fault> {
    let mut slice = None;
    let mut offset = 0;
    while offset < data.len() {
        let Some((length, rest)) = data[offset..].split_first_chunk::<4>() else {
            let left = data.len() - offset;
            return Err(Fault::NalLength { offset: data.len(), length: 0, left });
        };
        let length = u32::from_be_bytes(*length) as usize;
        offset += 4;
        if length == 0 || length > rest.len() {
            return Err(Fault::NalLength { offset, length, left: rest.len() });
        }
        // Types 1 to 5 are slices and slice data partitions.
        let nal_type = rest[0] & 0x1f;
        slice = slice.or((1..=5).contains(&nal_type).then_some(nal_type));
        offset += length;
    }
    slice.ok_or(Fault::NoSlice)
}

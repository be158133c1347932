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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::testing::{audio_rendition, one_segment, video_rendition};
    use super::*;

    const START: u64 = 9_000;

    fn unit(nal_type: u8) -> Bytes {
        Bytes::from(vec![0, 0, 0, 2, 0x60 | nal_type, 0x80])
    }

    fn frame(nal_type: u8, composition: i32) -> Sample {
        Sample { duration: 100, composition, sync: nal_type == IDR, data: unit(nal_type) }
    }

    /// I B B P in decode order I P B B, presentation I B B P.
    fn good() -> Vec<Sample> {
        vec![frame(5, 0), frame(1, 200), frame(1, -100), frame(1, -100)]
    }

    fn judge(samples: &[Sample]) -> Result<(), Error> {
        let rendition = video_rendition(one_segment(90_000, START, 4, 400), 320, 180);
        let mut tally = Tally::new(&rendition, 0).unwrap();
        samples.iter().try_for_each(|s| tally.push(s))?;
        tally.finish()
    }

    fn fault(change: impl Fn(&mut Vec<Sample>)) -> (u64, Fault) {
        let mut samples = good();
        change(&mut samples);
        match judge(&samples).unwrap_err() {
            Error::Sample { segment: 0, sample, fault } => (sample, fault),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_reordered_group_of_pictures_passes() {
        judge(&good()).unwrap();
    }

    #[test]
    fn a_frame_too_many_or_too_few_or_too_long_is_noticed() {
        let frames = |found| Err(Error::Frames { segment: 0, expected: 4, found });
        assert_eq!(judge(&good()[..3]), frames(3));
        assert_eq!(judge(&[good(), vec![frame(1, 0)]].concat()), frames(5));
        let mut long = good();
        long[3].duration = 101;
        assert_eq!(judge(&long), Err(Error::Ticks { segment: 0, expected: 400, found: 401 }));
        long[3].duration = 99;
        assert_eq!(judge(&long), Err(Error::Ticks { segment: 0, expected: 400, found: 399 }));
    }

    #[test]
    fn two_frames_shown_at_once_are_noticed() {
        let mut samples = good();
        samples[3].composition = -200;
        assert_eq!(judge(&samples), Err(Error::SameTime { segment: 0, at: START + 100 }));
    }

    #[test]
    fn each_fault_of_a_sample_is_named() {
        let at = i128::from(START);
        assert_eq!(fault(|s| s[1].data = Bytes::new()), (1, Fault::Empty));
        assert_eq!(fault(|s| s[1].duration = 0), (1, Fault::NoDuration));
        assert_eq!(fault(|s| s[0] = frame(1, 0)), (0, Fault::NotSync));
        assert_eq!(fault(|s| s[0].composition = 100), (0, Fault::Start { at: at + 100, start: START }));
        let (start, end) = (START, START + 400);
        assert_eq!(fault(|s| s[1].composition = 300), (1, Fault::Outside { at: at + 400, start, end }));
        assert_eq!(fault(|s| s[1].composition = -101), (1, Fault::Outside { at: at - 1, start, end }));
        let not_idr = Fault::SyncMark { marked: true, nal_type: 1 };
        assert_eq!(fault(|s| s[0].data = unit(1)), (0, not_idr), "an I frame that is no IDR");
        assert_eq!(fault(|s| s[2].data = unit(5)), (2, Fault::SyncMark { marked: false, nal_type: 5 }));
        assert_eq!(fault(|s| s[1].data = unit(6)), (1, Fault::NoSlice));
        let lies = Fault::NalLength { offset: 4, length: 3, left: 2 };
        assert_eq!(fault(|s| s[1].data = Bytes::from_static(&[0, 0, 0, 3, 0x61, 0])), (1, lies));
        let zero = Fault::NalLength { offset: 4, length: 0, left: 0 };
        assert_eq!(fault(|s| s[1].data = Bytes::from_static(&[0; 4])), (1, zero));
        let cut = Fault::NalLength { offset: 7, length: 0, left: 1 };
        assert_eq!(fault(|s| s[1].data = Bytes::from_static(&[0, 0, 0, 2, 0x61, 0, 9])), (1, cut));
    }

    #[test]
    fn the_picture_may_follow_its_parameter_sets() {
        let mut samples = good();
        samples[0].data = [unit(9), unit(7), unit(8), unit(6), unit(5)].concat().into();
        judge(&samples).unwrap();
    }

    #[test]
    fn audio_frames_are_all_sync_and_in_order() {
        let judge = |change: fn(&mut Sample)| {
            let rendition = audio_rendition(one_segment(48_000, START, 2, 2048), "en");
            let mut tally = Tally::new(&rendition, 0).unwrap();
            let mut frame = Sample { duration: 1024, composition: 0, sync: true, data: Bytes::from_static(b"aac") };
            tally.push(&frame)?;
            change(&mut frame);
            tally.push(&frame)?;
            tally.finish()
        };
        judge(|_| {}).unwrap();
        assert!(matches!(judge(|f| f.sync = false), Err(Error::Sample { fault: Fault::NotSync, .. })));
        assert!(matches!(judge(|f| f.composition = 1), Err(Error::Sample { fault: Fault::Start { .. }, .. })));
    }

    #[test]
    fn there_is_no_segment_past_the_end() {
        let rendition = audio_rendition(one_segment(48_000, 0, 1, 1024), "en");
        assert_eq!(Tally::new(&rendition, 1).unwrap_err(), Error::NoSegment { number: 1, segments: 1 });
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_break_the_walk(data in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = first_slice(&data);
        }

        #[test]
        fn one_byte_changed_in_a_length_is_refused_or_harmless(at in 0..4_usize, to in any::<u8>()) {
            let mut data = unit(5).to_vec();
            data[at] = to;
            prop_assert_eq!(first_slice(&data).is_ok(), data[..4] == [0, 0, 0, 2]);
        }
    }
}

//! A segment's groups of pictures: each about two seconds, with an encoder of its own, and all at work at once.
//!
//! x264 has one thread here, because with more its bytes change from run to run. Groups are what keeps several cores busy
//! with one segment all the same, and a player that seeks into a segment has less to decode. What a group holds depends
//! on the frames of the segment alone, so its bytes do, too.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use gst::prelude::*;

use super::Error;
use super::encode::{Coded, Encoder};
use crate::media::Timescale;

/// Wished length of a group, seconds.
const GROUP_SECONDS: i64 = 2;

/// Scaled pictures that may wait for their encoder, bytes, where another group follows: the pictures of a group at 720p.
/// The more can wait, the sooner the next encoder begins; the last one's pictures need not.
const WAITING_BYTES: u32 = 64 << 20;

/// The groups of a segment's frames, given when each is shown and when the segment ends. None is empty.
pub fn groups(times: &[i64], end: i64, timescale: Timescale) -> Vec<Range<usize>> {
    let Some(&begin) = times.first() else { return Vec::new() };
    let group = GROUP_SECONDS * i64::from(timescale.get());
    // Rounded to the nearest, so that three seconds are two groups and not one long or three short ones.
    let count = ((end - begin + group / 2) / group).max(1);
    let cut = |k: i64| times.partition_point(|at| (at - begin) * count < (end - begin) * k);
    let cuts: Vec<usize> = (0..=count).map(cut).collect();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).filter(|range| !range.is_empty()).collect()
}

/// The encoders of a segment. Access units come out in the order of the groups, whichever encoder is ahead.
#[derive(Default)]
pub struct Encoders {
    /// The first one gives, the last one takes.
    running: VecDeque<Running>,
    config: Option<Vec<u8>>,
}

struct Running {
    encoder: Encoder,
    caps: gst::Caps,
    /// Which frame of the segment has which time in its group.
    frames: HashMap<Option<gst::ClockTime>, usize>,
}

/// An access unit, and which frame of the segment it shows.
pub struct Unit {
    pub frame: usize,
    pub coded: Coded,
}

impl Encoders {
    /// Begins the next group; the one before takes no more.
    pub fn begin(&mut self, pipeline: gst::Pipeline, caps: gst::Caps, is_last: bool) -> Result<(), Error> {
        self.end()?;
        if let (Some(waiting), false) = (pipeline.by_name("waiting"), is_last) {
            waiting.set_property("max-size-buffers", 0_u32);
            waiting.set_property("max-size-bytes", WAITING_BYTES);
        }
        let encoder = Encoder::start(pipeline, &caps)?;
        self.running.push_back(Running { encoder, caps, frames: HashMap::new() });
        Ok(())
    }

    /// Feeds a frame of the segment to the group begun last; waits while its encoder is busy.
    pub fn push(&mut self, frame: usize, buffer: gst::Buffer, caps: gst::Caps) -> Result<(), Error> {
        let last = self.running.back_mut().ok_or_else(|| Error::Failed("a frame before any group".into()))?;
        if last.caps != caps {
            last.encoder.set_caps(&caps);
            last.caps = caps;
        }
        last.frames.insert(buffer.pts(), frame);
        last.encoder.push(buffer)
    }

    /// The group begun last takes no more.
    pub fn end(&self) -> Result<(), Error> {
        self.running.back().map_or(Ok(()), |last| last.encoder.end())
    }

    /// The next access unit, if it is finished.
    pub fn try_take(&mut self) -> Result<Option<Unit>, Error> {
        while let Some(first) = self.running.front_mut() {
            let is_finished = first.encoder.is_finished();
            if let Some(coded) = first.encoder.try_take() {
                return first.unit(coded).map(Some);
            }
            if !is_finished {
                break;
            }
            self.retire()?;
        }
        Ok(None)
    }

    /// The next access unit; waits for it. `None` after the last of all groups, which must have ended.
    pub fn take(&mut self) -> Result<Option<Unit>, Error> {
        while let Some(first) = self.running.front_mut() {
            if let Some(coded) = first.encoder.take()? {
                return first.unit(coded).map(Some);
            }
            self.retire()?;
        }
        Ok(None)
    }

    /// The parameter sets of all groups, once all are finished.
    pub fn config(self) -> Result<Vec<u8>, Error> {
        self.config.ok_or_else(|| Error::Failed("a segment without frames".into()))
    }

    /// Lets go of the first group. One init segment stands for all of them.
    fn retire(&mut self) -> Result<(), Error> {
        let Some(first) = self.running.pop_front() else { return Ok(()) };
        let config = first.encoder.config();
        let config = config.ok_or_else(|| Error::Failed("the encoder gave no parameter sets".into()))?;
        match &self.config {
            Some(known) if *known != config => Err(Error::Failed("two groups have different parameter sets".into())),
            Some(_) => Ok(()),
            None => {
                self.config = Some(config);
                Ok(())
            }
        }
    }
}

impl Running {
    fn unit(&mut self, coded: Coded) -> Result<Unit, Error> {
        let frame = self.frames.remove(&Some(coded.pts));
        let unknown = || Error::Failed(format!("the encoder made a frame at {} that it was not given", coded.pts));
        Ok(Unit { frame: frame.ok_or_else(unknown)?, coded })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lengths(times: &[i64], end: i64) -> Vec<usize> {
        groups(times, end, Timescale::new(1000).unwrap()).into_iter().map(|range| range.len()).collect()
    }

    #[test]
    fn four_seconds_are_two_groups_and_a_short_segment_is_one() {
        let frames = |count: i64| (0..count).map(|i| 500 + i * 40).collect::<Vec<_>>();
        assert_eq!(lengths(&frames(100), 4500), [50, 50]);
        assert_eq!(lengths(&frames(75), 3500), [38, 37]);
        assert_eq!(lengths(&frames(50), 2500), [50]);
        assert_eq!(lengths(&frames(25), 1500), [25]);
        assert_eq!(lengths(&frames(1), 540), [1]);
        // A picture that stands for the whole segment.
        assert_eq!(lengths(&[0], 40_000), [1]);
        assert_eq!(lengths(&[0, 3900], 4000), [1, 1]);
    }

    proptest! {
        #[test]
        fn every_frame_is_in_exactly_one_group(gaps in proptest::collection::vec(1..9000i64, 1..200), begin in 0..1_000_000i64) {
            let times: Vec<i64> = gaps.iter().scan(begin, |at, gap| { let now = *at; *at += gap; Some(now) }).collect();
            let end = times.last().unwrap() + gaps.last().unwrap();
            let all: Vec<usize> = groups(&times, end, Timescale::new(1000).unwrap()).into_iter().flatten().collect();
            prop_assert_eq!(all, (0..times.len()).collect::<Vec<_>>());
        }
    }
}

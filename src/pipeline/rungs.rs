//! Renditions that are encoded from one decode, each on its own from the decoded picture on.

use std::ops::Range;

use bytes::Bytes;

use super::groups::{Encoders, Unit};
use super::template::Template;
use super::treatment::Treating;
use super::units;
use super::video::{clock, input_caps, ticks_i32, ticks_u32, values};
use super::{Error, Finished, Job, Output};
use crate::media::{Rotation, Sample, Timescale, VideoRendition};

/// The pictures of a segment.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// Which of the track's, in the order they are shown.
    pub frames: Vec<usize>,
    /// When each is shown, ticks.
    pub times: Vec<i64>,
    /// When the segment ends, ticks.
    pub end: i64,
}

/// A rendition on its way through a segment.
pub struct Rung<'a> {
    /// Its place among those that are asked for.
    pub at: usize,
    job: Job<'a>,
    video: &'a VideoRendition,
    rotation: Rotation,
    treating: Treating,
    encoders: Encoders,
    /// The cores have enough to do: no group begins before the one before it has ended.
    pub is_among_others: bool,
    /// Access units that came out.
    taken: usize,
    /// Why it takes no more.
    over: Option<Error>,
}

impl<'a> Rung<'a> {
    pub fn new(at: usize, job: Job<'a>, video: &'a VideoRendition, rotation: Rotation, treating: Treating) -> Self {
        Self {
            at,
            job,
            video,
            rotation,
            treating,
            encoders: Encoders::default(),
            is_among_others: false,
            taken: 0,
            over: None,
        }
    }

    pub fn job(&self) -> Job<'a> {
        self.job
    }

    pub fn timescale(&self) -> Timescale {
        self.job.rendition.grid.timescale()
    }

    /// True once it takes no more.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Takes the `i`-th picture of the segment, which is in this group; its neighbour is for pictures of two fields.
    pub fn feed(
        &mut self,
        span: &Span,
        (i, group): (usize, &Range<usize>),
        (sample, neighbour): (&gst::Sample, Option<&gst::Sample>),
        template: &Template,
        emit: &mut dyn FnMut(usize, Output),
    ) {
        self.unless_over(|rung| {
            rung.job.check()?;
            let (mut buffer, caps) = rung.treating.treat(sample, neighbour)?;
            // Large pictures take long to treat, and an encoder looks ahead before it gives anything.
            emit(rung.at, Output::Progress(0));
            let caps = input_caps(caps, rung.video, template);
            if i == group.start {
                let until = span.times.get(group.end).copied().unwrap_or(span.end);
                let values = values(rung.job.rendition, rung.video, until - span.times[group.start], rung.rotation);
                let is_last = rung.is_among_others || group.end == span.times.len();
                rung.encoders.begin(template.video(&values)?, caps.clone(), is_last)?;
            }
            {
                let buffer = buffer.make_mut();
                buffer.set_pts(clock(span.times[i] - span.times[group.start], rung.timescale()));
                buffer.set_dts(None);
                buffer.set_duration(None);
            }
            rung.encoders.push(i, buffer, caps)?;
            while let Some(unit) = rung.encoders.try_take()? {
                rung.take(unit, span, emit)?;
            }
            Ok(())
        });
    }

    /// Waits for everything that is in its encoders.
    pub fn drain(&mut self, span: &Span, emit: &mut dyn FnMut(usize, Output)) {
        self.unless_over(|rung| {
            rung.encoders.end()?;
            while let Some(unit) = rung.encoders.take()? {
                rung.job.check()?;
                rung.take(unit, span, emit)?;
            }
            Ok(())
        });
    }

    /// How it ended; `together` is what became of the decode.
    pub fn made(self, span: &Span, together: &Result<u32, Error>) -> Result<Finished, Error> {
        if let Some(error) = self.over {
            return Err(error);
        }
        let bridged = *together.as_ref().map_err(Error::again)?;
        if self.taken != span.times.len() {
            return Err(Error::Failed(format!("the encoder made {} frames of {}", self.taken, span.times.len())));
        }
        Ok(Finished { config: self.encoders.config()?, bridged })
    }

    /// What goes wrong with one rung is no other's affair.
    fn unless_over(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) {
        if self.over.is_none() {
            self.over = work(self).err();
        }
        if self.over.is_some() {
            self.encoders = Encoders::default();
        }
    }

    /// The `k`-th unit in decode order is decoded when the `k`-th frame in presentation order is shown.
    fn take(
        &mut self,
        Unit { frame, coded }: Unit,
        span: &Span,
        emit: &mut dyn FnMut(usize, Output),
    ) -> Result<(), Error> {
        let decode = span.times[self.taken];
        let next = span.times.get(self.taken + 1).copied().unwrap_or(span.end);
        let sample = Sample {
            duration: ticks_u32(next - decode)?,
            composition: ticks_i32(span.times[frame] - decode)?,
            sync: coded.key,
            data: Bytes::from(units::fit(coded.data)),
        };
        self.taken += 1;
        emit(self.at, Output::Samples(vec![sample]));
        Ok(())
    }
}

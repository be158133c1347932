//! Segments of video: decoded and encoded anew, or packets passed through.

use std::path::Path;

use super::cursor::{Cursor, black};
use super::encode::Encoder;
use super::groups::groups;
use super::packets::Reader;
use super::picture::Film;
use super::rungs::{Rung, Span};
use super::template::{Template, VideoValues};
use super::treatment::{Treatment, has_fields};
use super::units;
use super::{Error, Finished, Job, Output};
use crate::media::{Grid, Rendition, Rotation, Sample, VideoRendition, VideoSource, VideoTrack, decimate};

/// Pass-through samples handed over together.
const BATCH: usize = 24;
/// What a first picture should be able to take, hundredths of a bit for each pixel: less shows, above all in short
/// segments of a rate that a light source keeps low.
const FIRST_PICTURE: u64 = 50;
/// Bounds of the VBV buffer, milliseconds; `minBufferTime` and the rates of I-frames rest on the larger.
const LEAST_VBV_MS: u64 = 50;
const MOST_VBV_MS: u64 = 500;
/// x264's buffer is this full when an encode starts (its `vbv-init`), in hundredths.
const VBV_INITIAL: u64 = 90;
/// Bytes of container around each sample and each second, and what an encoder's rate control may be off by.
const OVERHEAD_PER_FRAME: u64 = 24;
const OVERHEAD_PER_SECOND: u64 = 1_500;
const RATE_CONTROL_SLACK: u64 = 97;

/// The video track of an open source, with a decoder that is kept between segments.
pub struct Video {
    cursor: Cursor,
    rotation: Rotation,
    treatment: Treatment,
}

impl Video {
    /// Prepares; nothing runs yet.
    pub fn new(source: &Path, video: &VideoTrack) -> Self {
        Self { cursor: Cursor::new(source, video), rotation: video.rotation, treatment: Treatment::of(video) }
    }

    /// What posters and thumbnails are made from.
    pub fn film(&self) -> Film<'_> {
        let Self { cursor, rotation, treatment } = self;
        let (source, track, shown) = (cursor.source(), cursor.track(), cursor.shown());
        Film { source, track, shown, rotation: *rotation, size: cursor.size(), treatment }
    }

    /// Makes a segment by decoding and encoding.
    pub fn encode(&mut self, job: Job, template: &Template, emit: &mut dyn FnMut(Output)) -> Result<Finished, Error> {
        let made = self.encode_all(&[job], template, &mut |_, output| emit(output));
        made.into_iter().next().unwrap_or(Err(Error::Cancelled))
    }

    /// Makes the same segment of several renditions from one decode, in the order they are given. Each gets what it would get
    /// alone: they share pictures and nothing else.
    pub fn encode_all(
        &mut self,
        jobs: &[Job],
        template: &Template,
        emit: &mut dyn FnMut(usize, Output),
    ) -> Vec<Result<Finished, Error>> {
        let mut made: Vec<Option<Result<Finished, Error>>> = jobs.iter().map(|_| None).collect();
        // A rendition of fewer pictures than the first one has a decode of its own.
        while made.iter().any(Option::is_none) {
            let (mut rungs, mut span): (Vec<Rung>, Option<Span>) = (Vec::new(), None);
            for (at, job) in jobs.iter().enumerate() {
                if made[at].is_some() {
                    continue;
                }
                match self.rung(at, *job) {
                    Ok((rung, of)) if *span.get_or_insert_with(|| of.clone()) == of => rungs.push(rung),
                    Ok(_) => {}
                    Err(error) => made[at] = Some(Err(error)),
                }
            }
            let Some(span) = span else { break };
            let together = self.encode_together(&mut rungs, &span, template, emit);
            for rung in rungs {
                let at = rung.at;
                made[at] = Some(rung.made(&span, &together));
            }
        }
        made.into_iter().map(|made| made.unwrap_or(Err(Error::Cancelled))).collect()
    }

    /// A rendition at the beginning of a segment, and what the segment spans.
    fn rung<'a>(&mut self, at: usize, job: Job<'a>) -> Result<(Rung<'a>, Span), Error> {
        let Job { rendition, number, .. } = job;
        let video = rendition.video().ok_or_else(|| Error::Failed("no pictures are in this rendition".into()))?;
        let span = self.frames_of(rendition, video, number)?;
        let treating = self.treatment.start(scaled(video, self.rotation));
        Ok((Rung::new(at, job, video, self.rotation, treating), span))
    }

    /// Feeds all rungs; how many frames were bridged.
    fn encode_together(
        &mut self,
        rungs: &mut [Rung],
        span: &Span,
        template: &Template,
        emit: &mut dyn FnMut(usize, Output),
    ) -> Result<u32, Error> {
        let Some(first) = rungs.first() else { return Ok(0) };
        let (at, timescale) = (first.at, first.timescale());
        let jobs: Vec<Job> = rungs.iter().map(Rung::job).collect();
        let go_on = || if jobs.iter().any(|job| job.check().is_ok()) { Ok(()) } else { Err(Error::Cancelled) };
        let alone = jobs.len() == 1;
        rungs.iter_mut().for_each(|rung| rung.is_among_others = !alone);
        let mut bridged = 0;
        // What goes wrong with a rung ends it alone; nobody waits for pictures that no rung takes.
        let all_over = |rungs: &[Rung]| rungs.iter().all(Rung::is_over);
        // Neighbours of interlaced frames, inside the segment alone: the first looks at the second, the others back.
        let (mut before, mut after): (Option<gst::Sample>, Option<(gst::Sample, bool)>) = (None, None);
        after = Some(self.cursor.first(span.frames[0], &go_on, &mut |output| emit(at, output))?).or(after);
        for group in groups(&span.times, span.end, timescale) {
            if !alone {
                rungs.iter_mut().for_each(|rung| rung.drain(span, emit));
            }
            for i in group.clone() {
                let (sample, real) = match after.take() {
                    Some(fetched) => fetched,
                    None => self.cursor.frame(span.frames[i], &go_on, &mut |output| emit(at, output))?,
                };
                bridged += u32::from(!real);
                let fields = has_fields(&sample);
                if let (true, None, Some(&next)) = (fields, &before, span.frames.get(i + 1)) {
                    after = Some(self.cursor.frame(next, &go_on, &mut |output| emit(at, output))?);
                }
                let neighbour = before.as_ref().or(after.as_ref().map(|(sample, _)| sample));
                for rung in rungs.iter_mut() {
                    rung.feed(span, (i, &group), (&sample, neighbour), template, emit);
                }
                if all_over(rungs) {
                    return Ok(bridged);
                }
                before = fields.then_some(sample);
            }
        }
        rungs.iter_mut().for_each(|rung| rung.drain(span, emit));
        Ok(bridged)
    }

    /// Makes a segment of the source's own packets.
    pub fn pass(&mut self, job: Job, avcc: &[u8], emit: &mut dyn FnMut(Output)) -> Result<Finished, Error> {
        let Job { rendition, number, .. } = job;
        let range = self.range(&rendition.grid, number)?;
        let shown = &self.cursor.shown()[range.clone()];
        let times: Vec<i64> = shown.iter().map(|s| s.at).collect();
        let end = segment_end(&rendition.grid, number)?;
        let first = shown.iter().map(|s| s.packet).min().unwrap_or(0);
        let mut reader = Reader::open(self.cursor.source(), self.cursor.track(), first)?;
        let mut batch = Vec::with_capacity(BATCH);
        for (i, &decode) in times.iter().enumerate() {
            job.check()?;
            let (packet, buffer) = reader.next()?.ok_or_else(|| Error::Failed("the source ended early".into()))?;
            let map = buffer.map_readable().map_err(|e| Error::Failed(e.to_string()))?;
            let next = times.get(i + 1).copied().unwrap_or(end);
            batch.push(Sample {
                duration: ticks_u32(next - decode)?,
                composition: ticks_i32(self.cursor.track().packets[packet].pts - decode)?,
                sync: self.cursor.track().packets[packet].key,
                data: units::fit(map.to_vec()).into(),
            });
            if batch.len() == BATCH {
                emit(Output::Samples(std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            emit(Output::Samples(batch));
        }
        Ok(Finished { config: avcc.to_vec(), bridged: 0 })
    }

    /// A rendition's parameter sets, from a black picture.
    pub fn parameters(
        &self,
        template: &Template,
        rendition: &Rendition,
        video: &VideoRendition,
    ) -> Result<Vec<u8>, Error> {
        let values = values(rendition, video, rendition.grid.ticks(0).cast_signed(), self.rotation);
        let sample = black(values.scaled, false)?;
        let caps = sample.caps_owned().ok_or_else(|| Error::Failed("a picture without caps".into()))?;
        let caps = input_caps(caps, video, template);
        let encoder = Encoder::start(template.video(&values)?, &caps)?;
        let mut buffer = sample.buffer_owned().ok_or_else(|| Error::Failed("a picture without data".into()))?;
        buffer.make_mut().set_pts(gst::ClockTime::ZERO);
        encoder.push(buffer)?;
        encoder.end()?;
        while encoder.take()?.is_some() {}
        encoder.config().ok_or_else(|| Error::Failed("the encoder gave no parameter sets".into()))
    }

    /// Positions in `shown` that lie in a segment.
    fn range(&self, grid: &Grid, number: u32) -> Result<std::ops::Range<usize>, Error> {
        let (from, to) = grid.segment(number).ok_or_else(|| Error::Failed(format!("there is no segment {number}")))?;
        let position = |at: u64| self.cursor.shown().partition_point(|s| s.at < at.cast_signed());
        let range = position(from.at)..position(to.at);
        if range.is_empty() { Err(Error::Failed(format!("segment {number} holds no frame"))) } else { Ok(range) }
    }

    /// The frames of a segment that this rendition keeps, their times, and the segment's end.
    fn frames_of(&self, rendition: &Rendition, video: &VideoRendition, number: u32) -> Result<Span, Error> {
        let range = self.range(&rendition.grid, number)?;
        let all: Vec<i64> = self.cursor.shown()[range.clone()].iter().map(|s| s.at).collect();
        let min = match video.source {
            VideoSource::Encode { min_frame_ticks, .. } => min_frame_ticks,
            VideoSource::Passthrough { .. } => 0,
        };
        let kept = decimate(&all, min);
        let frames = kept.iter().map(|&i| range.start + i).collect();
        let times = kept.iter().map(|&i| all[i]).collect();
        Ok(Span { frames, times, end: segment_end(&rendition.grid, number)? })
    }
}

/// For a group of so many ticks.
pub(super) fn values(rendition: &Rendition, video: &VideoRendition, ticks: i64, rotation: Rotation) -> VideoValues {
    let (ceiling, level) = match video.source {
        VideoSource::Encode { ceiling, level, .. } => (ceiling, level),
        VideoSource::Passthrough { .. } => (rendition.bandwidth, 40),
    };
    let (bits_per_second, vbv_ms) = vbv(rendition, video, ticks, ceiling);
    VideoValues { scaled: scaled(video, rotation), rotation, colour: video.colour, bits_per_second, vbv_ms, level }
}

/// The size to encode at, before it is turned upright.
fn scaled(video: &VideoRendition, rotation: Rotation) -> (u32, u32) {
    if rotation.swaps_sides() { (video.height, video.width) } else { (video.width, video.height) }
}

/// VBV rate and buffer such that a whole group of so many ticks, container included, stays below the ceiling: an encode
/// may spend what the buffer holds at its start on top of the rate.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a frame rate and milliseconds")]
fn vbv(rendition: &Rendition, video: &VideoRendition, ticks: i64, ceiling: u64) -> (u64, u64) {
    let scale = u64::from(rendition.grid.timescale().get());
    let group_ms = (ticks.max(0).cast_unsigned() * 1000 / scale).max(1);
    let overhead = (video.peak_rate.unwrap_or(video.rate).fps() as u64 * OVERHEAD_PER_FRAME + OVERHEAD_PER_SECOND) * 8;
    let usable = (ceiling * RATE_CONTROL_SLACK / 100).saturating_sub(overhead).max(ceiling / 2);
    let first = u64::from(video.width) * u64::from(video.height) * FIRST_PICTURE / 100;
    let needed = first * 1000 / usable.max(1);
    let buffer_ms = (group_ms / 5).max(needed).clamp(LEAST_VBV_MS, MOST_VBV_MS);
    let rate = usable * group_ms / (group_ms + buffer_ms * VBV_INITIAL / 100);
    (rate, buffer_ms)
}

/// Caps of what the encoder is given: the decoder's, with the rendition's frame rate, which ends up in the bitstream. With
/// the mean of a rate that varies, rate control would spend a picture's share of a second on each of many in a burst.
pub(super) fn input_caps(mut caps: gst::Caps, video: &VideoRendition, template: &Template) -> gst::Caps {
    let term = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let rate = match video.peak_rate {
        Some(_) if template.takes_variable_rate => gst::Fraction::new(0, 1),
        _ => gst::Fraction::new(term(video.rate.num), term(video.rate.den.get())),
    };
    let caps_mut = caps.make_mut();
    caps_mut.set("framerate", rate);
    if let Some(structure) = caps_mut.structure_mut(0) {
        // Where the source's chroma samples lie, and its mastering display, do not describe what is encoded.
        structure.remove_fields(["chroma-site", "mastering-display-info", "content-light-level"]);
    }
    caps
}

pub(super) fn clock(ticks: i64, timescale: crate::media::Timescale) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(timescale.convert(ticks, crate::media::Timescale::NANOSECONDS).max(0).cast_unsigned())
}

fn segment_end(grid: &Grid, number: u32) -> Result<i64, Error> {
    let (_, to) = grid.segment(number).ok_or_else(|| Error::Failed(format!("there is no segment {number}")))?;
    Ok(to.at.cast_signed())
}

pub(super) fn ticks_u32(ticks: i64) -> Result<u32, Error> {
    u32::try_from(ticks).map_err(|_| Error::Failed(format!("a frame of {ticks} ticks")))
}

pub(super) fn ticks_i32(ticks: i64) -> Result<i32, Error> {
    i32::try_from(ticks).map_err(|_| Error::Failed(format!("a composition offset of {ticks} ticks")))
}

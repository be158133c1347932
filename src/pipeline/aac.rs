//! Raw sound becomes AAC. The quick search that templates may have is the one that makes less noise, but after digital silence it
//! spends several times its rate for up to half a second. Where a segment becomes too large by that, it is encoded once more
//! with the steady one: both decide frame by frame, and which windows a frame has does not depend on them, so their segments
//! join like others.

use std::ops::Range;

use super::Error;
use super::audio::raw_caps;
use super::encode::Encoder;
use super::template::{AudioValues, Search, Template};
use crate::media::{AudioRendition, Timescale};

/// Samples in an AAC-LC frame.
pub const FRAME: i64 = 1024;
/// Packets the encoder emits before the one that stands for its first frame of input.
pub const PRIMING: usize = 1;
/// What the quick search makes of a segment may exceed its rate by so much, percent. Renditions declare as much.
const MOST_PERCENT: u64 = 125;

/// How sound is encoded.
pub struct Aac<'a> {
    pub template: &'a Template,
    pub audio: &'a AudioRendition,
    /// Bits per second.
    pub bitrate: u32,
}

impl Aac<'_> {
    /// The encoder's configuration, and of what it makes of these samples those packets that are wanted.
    pub fn frames(
        &self,
        samples: &[f32],
        wanted: Range<usize>,
        go_on: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let quick = self.searched(Search::Quick, samples, wanted.clone(), go_on)?;
        if self.template.has_searches() && self.is_too_large(&quick.1) {
            return self.searched(Search::Steady, samples, wanted, go_on);
        }
        Ok(quick)
    }

    /// The encoder's `AudioSpecificConfig`.
    pub fn config(&self) -> Result<Vec<u8>, Error> {
        let silence = vec![0.0; 2 * FRAME.unsigned_abs() as usize * self.audio.channels as usize];
        Ok(self.searched(Search::Quick, &silence, 0..1, &mut || Ok(()))?.0)
    }

    fn searched(
        &self,
        search: Search,
        samples: &[f32],
        wanted: Range<usize>,
        go_on: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let AudioRendition { rate, channels, .. } = *self.audio;
        let values = AudioValues { rate, channels, bitrate: self.bitrate, search };
        let encoder = Encoder::start(self.template.audio(&values)?, &raw_caps(rate, channels))?;
        feed(&encoder, samples, rate, channels)?;
        encoder.end()?;
        let mut frames = Vec::with_capacity(wanted.len());
        let mut packet = 0;
        while let Some(coded) = encoder.take()? {
            go_on()?;
            if wanted.contains(&packet) {
                frames.push(coded.data);
            }
            packet += 1;
        }
        if frames.len() != wanted.len() {
            return Err(Error::Failed(format!("the encoder made {} frames of {}", frames.len(), wanted.len())));
        }
        let config = encoder.config().ok_or_else(|| Error::Failed("the encoder gave no configuration".into()))?;
        Ok((config, frames))
    }

    fn is_too_large(&self, frames: &[Vec<u8>]) -> bool {
        let bytes: usize = frames.iter().map(Vec::len).sum();
        let samples = frames.len() as u64 * FRAME.unsigned_abs();
        bytes as u64 * 8 * 100 * u64::from(self.audio.rate) > u64::from(self.bitrate) * MOST_PERCENT * samples
    }
}

/// Feeds sound from time zero on, a frame at a time.
pub fn feed(encoder: &Encoder, samples: &[f32], rate: u32, channels: u32) -> Result<(), Error> {
    let per_buffer = FRAME.unsigned_abs() as usize * channels as usize;
    let scale = Timescale::new(rate).ok_or_else(|| Error::Failed("a sample rate of zero".into()))?;
    for (i, block) in samples.chunks(per_buffer).enumerate() {
        let mut buffer = gst::Buffer::from_mut_slice(block.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>());
        let ns = scale.convert(FRAME * i64::try_from(i).unwrap_or(0), Timescale::NANOSECONDS);
        buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(ns.cast_unsigned()));
        encoder.push(buffer)?;
    }
    Ok(())
}

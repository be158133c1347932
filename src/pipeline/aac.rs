//! Raw sound becomes AAC. FFmpeg's quick search makes less noise than its steady one, but a while after digital silence it
//! spends several times its rate. Where a segment becomes larger by that than its rendition declares, it is encoded once more
//! with the steady search. Which windows a frame has depends on the sound alone, so segments of either kind join.

use std::ops::Range;

use super::Error;
use super::encode::Encoder;
use super::mix;
use super::template::{AudioValues, Search, Template};
use crate::media::{AAC_OVERHEAD, AudioRendition, Timescale};

/// Samples in an AAC-LC frame.
pub const FRAME: i64 = 1024;
/// Packets the encoder emits before the one that stands for its first frame of input.
pub const PRIMING: usize = 1;

/// How sound is encoded.
pub struct Aac<'a> {
    pub template: &'a Template,
    pub audio: &'a AudioRendition,
    /// Bits per second.
    pub bitrate: u32,
    /// What the rendition declares, bits per second.
    pub bandwidth: u64,
}

/// An encoder's configuration, and frames it made.
type Coded = (Vec<u8>, Vec<Vec<u8>>);

impl Aac<'_> {
    /// What is made of these samples: those packets that are wanted.
    pub fn frames(
        &self,
        samples: &[f32],
        wanted: Range<usize>,
        go_on: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Coded, Error> {
        let quick = self.searched(Search::Quick, samples, wanted.clone(), go_on)?;
        if !self.template.has_searches() || self.rate(&quick) + AAC_OVERHEAD <= self.bandwidth {
            return Ok(quick);
        }
        let steady = self.searched(Search::Steady, samples, wanted, go_on)?;
        Ok(if self.rate(&steady) < self.rate(&quick) { steady } else { quick })
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
    ) -> Result<Coded, Error> {
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

    /// Bits per second.
    fn rate(&self, (_, frames): &Coded) -> u64 {
        let bytes: usize = frames.iter().map(Vec::len).sum();
        let samples = frames.len() as u64 * FRAME.unsigned_abs();
        bytes as u64 * 8 * u64::from(self.audio.rate) / samples.max(1)
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

/// Caps of interleaved floating-point sound.
pub fn raw_caps(rate: u32, channels: u32) -> gst::Caps {
    let int = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let mut builder = gst::Caps::builder("audio/x-raw")
        .field("format", "F32LE")
        .field("layout", "interleaved")
        .field("rate", int(rate))
        .field("channels", int(channels));
    if let Some(mask) = mix::mask(channels) {
        builder = builder.field("channel-mask", gst::Bitmask::new(mask));
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioSource, Label};
    use crate::pipeline::template;

    #[test]
    fn what_the_quick_search_makes_too_large_is_left_to_the_steady_one() {
        gst::init().unwrap();
        let template = template::named("aac-avenc").unwrap();
        let source = AudioSource::Encode { bitrate: 64_000 };
        let (language, label) = ("en".to_owned(), Label::default());
        let audio = AudioRendition { track: 0, rate: 48_000, channels: 2, language, label, source };
        let aac = Aac { template: &template, audio: &audio, bitrate: 64_000, bandwidth: 112_400 };
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        // Two seconds of each, which meet within a frame.
        let silent = vec![0.0; 96_000 * 2];
        let loud: Vec<f32> = (0..(188 * 1024 - 96_000) * 2).map(|_| noise() / 2.0).collect();
        for (before, search) in [(&silent, Search::Steady), (&loud, Search::Quick)] {
            let samples = [before.clone(), loud.clone()].concat()[..188 * 1024 * 2].to_vec();
            let with = |search| aac.searched(search, &samples, 9..188, &mut || Ok(())).unwrap();
            let made = aac.frames(&samples, 9..188, &mut || Ok(())).unwrap();
            let [quick, steady] = [Search::Quick, Search::Steady].map(|search| aac.rate(&with(search)));
            assert!(made == with(search), "{search:?}: quick {quick}, steady {steady} bits per second");
            assert!(aac.rate(&made) + AAC_OVERHEAD <= aac.bandwidth, "{search:?}: quick {quick}, steady {steady}");
        }
    }
}

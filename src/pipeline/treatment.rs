//! What happens to a decoded picture before a template scales and encodes it: fields become a frame, full range becomes
//! limited, what the container crops goes, what is transparent turns black, HDR becomes SDR, and pictures of 10 bits get their
//! size. Most pictures need nothing of it and pass untouched.

use std::sync::{Arc, OnceLock};

use gst_video::prelude::*;
use gst_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoFormat, VideoFrameRef, VideoInfo,
    VideoInterlaceMode, VideoTransferFunction,
};

use super::Error;
use super::colour;
use super::convert::{Conversions, failed, new_frame};
use super::deinterlace::{deinterlace, is_interlaced};
use super::tone::{self, Planes, Tone};
use crate::media::{Colour, Crop, VideoTrack};

/// What a source's pictures need.
#[derive(Clone)]
pub struct Treatment {
    colour: Colour,
    crop: Option<Crop>,
    tone: Option<tone::From>,
    /// Computed when first needed.
    table: Arc<OnceLock<Arc<Tone>>>,
}

/// Treats the pictures of one segment.
pub struct Treating {
    colour: Colour,
    crop: Option<Crop>,
    tone: Option<Arc<Tone>>,
    /// Size that HDR pictures are scaled to: the curve is for pixels that will be seen.
    scaled: (u32, u32),
    conversions: Conversions,
}

/// A picture to be encoded, and what it looks like.
pub type Treated = (gst::Buffer, gst::Caps);

/// Is this picture made of two fields? Then a neighbour helps to make a frame of it.
pub fn has_fields(sample: &gst::Sample) -> bool {
    let info = sample.caps().and_then(|c| VideoInfo::from_caps(c).ok());
    info.zip(sample.buffer()).is_some_and(|(info, buffer)| is_interlaced(&info, buffer))
}

impl Treatment {
    /// What this track's pictures need.
    pub fn of(video: &VideoTrack) -> Self {
        let tone = tone::From::of(video.colour, video.peak_nits);
        Self { colour: video.colour, crop: video.crop, tone, table: Arc::default() }
    }

    /// For pictures of this size.
    pub fn start(&self, scaled: (u32, u32)) -> Treating {
        let tone = self.tone.map(|from| Arc::clone(self.table.get_or_init(|| Arc::new(Tone::new(from)))));
        Treating { colour: self.colour, crop: self.crop, tone, scaled, conversions: Conversions::default() }
    }
}

impl Treating {
    /// Treats a picture. `neighbour` is one shown just before or after it in the same segment.
    pub fn treat(&mut self, sample: &gst::Sample, neighbour: Option<&gst::Sample>) -> Result<Treated, Error> {
        let lacking = || Error::Failed("a picture without data".into());
        let mut caps = sample.caps_owned().ok_or_else(lacking)?;
        let mut buffer = sample.buffer_owned().ok_or_else(lacking)?;
        let info = VideoInfo::from_caps(&caps).map_err(failed)?;
        if info.interlace_mode() != VideoInterlaceMode::Progressive {
            if is_interlaced(&info, &buffer) {
                // A picture that is held in the place of a lost one says nothing about movement.
                let same =
                    |n: &&gst::Sample| n.caps() == sample.caps() && n.buffer().map(|b| b.pts()) != Some(buffer.pts());
                let other = neighbour.filter(same).and_then(|n| n.buffer_owned());
                buffer = deinterlace(&info, &buffer, other.as_ref())?;
            }
            let caps = caps.make_mut();
            caps.set("interlace-mode", "progressive");
            if let Some(structure) = caps.structure_mut(0) {
                structure.remove_field("field-order");
            }
        }
        let mut info = colour::understood(VideoInfo::from_caps(&caps).map_err(failed)?, self.colour)?;
        if colour::is_full(&info) {
            if !colour::is_plain(&info) {
                let size = (info.width(), info.height());
                let plain = like(&info, VideoFormat::I42210le, size, info.colorimetry(), info.par())?;
                buffer = self.conversions.convert(&info, &buffer, None, &plain)?;
                info = plain;
            }
            (info, buffer) = colour::limited(&info, &buffer)?;
        }
        let caps = info.to_caps().map_err(failed)?;
        let crop = self.crop.filter(|c| {
            let inside = c.left + c.width <= info.width() && c.top + c.height <= info.height();
            inside && (c.width, c.height) != (info.width(), info.height())
        });
        match &self.tone {
            Some(tone) => self.mapped(&Arc::clone(tone), &info, &buffer, crop),
            None if info.has_alpha() => self.on_black(&info, &buffer, crop),
            None => match (self.scaled_deep(&info, &buffer, crop)?, crop) {
                (Some(scaled), _) => Ok(scaled),
                (None, Some(kept)) => {
                    let to = like(&info, info.format(), (kept.width, kept.height), info.colorimetry(), info.par())?;
                    Ok((self.conversions.convert(&info, &buffer, crop, &to)?, to.to_caps().map_err(failed)?))
                }
                (None, None) => Ok((buffer, caps)),
            },
        }
    }

    /// A picture of 10 bits in its new size, which the template would take longer for; `None` if it is none, or has its size.
    fn scaled_deep(
        &mut self,
        info: &VideoInfo,
        buffer: &gst::Buffer,
        crop: Option<Crop>,
    ) -> Result<Option<Treated>, Error> {
        if crop.is_none() && (info.width(), info.height()) == self.scaled {
            return Ok(None);
        }
        let Some(scaled) = self.conversions.scale_deep(info, buffer, crop, self.scaled)? else { return Ok(None) };
        let square = gst::Fraction::new(1, 1);
        let to = like(info, VideoFormat::I42010le, self.scaled, info.colorimetry(), square)?;
        Ok(Some((scaled, to.to_caps().map_err(failed)?)))
    }

    /// Scaled and drawn into BT.709.
    fn mapped(
        &mut self,
        tone: &Tone,
        info: &VideoInfo,
        buffer: &gst::Buffer,
        crop: Option<Crop>,
    ) -> Result<Treated, Error> {
        let square = gst::Fraction::new(1, 1);
        let limited = VideoColorRange::Range16_235;
        let sdr = VideoColorimetry::new(
            limited,
            VideoColorMatrix::Bt709,
            VideoTransferFunction::Bt709,
            VideoColorPrimaries::Bt709,
        );
        let to = like(info, VideoFormat::I420, self.scaled, sdr, square)?;
        let mut made = new_frame(&to)?;
        let size = (self.scaled.0 as usize, self.scaled.1 as usize);
        let strides = |strides: &[i32]| [0, 1, 2].map(|plane| strides[plane].unsigned_abs() as usize);
        let made_strides = strides(made.plane_stride());
        let [y, u, v, _] = made.planes_data_mut();
        let target = Planes { data: [y, u, v], strides: made_strides };
        let has_such = info.colorimetry().matrix() == VideoColorMatrix::Bt2020;
        let planes = if has_such { self.conversions.planes(info, buffer, crop, self.scaled)? } else { None };
        if let Some(planes) = planes {
            let (data, strides) =
                (planes.each_ref().map(|p| p.planes_data()[0]), planes.each_ref().map(|p| p.plane_stride()[0]));
            tone.apply(&Planes { data, strides: strides.map(|s| s.unsigned_abs() as usize) }, target, size)?;
        } else {
            let (source, matrix) = (info.colorimetry(), VideoColorMatrix::Bt2020);
            let colour = VideoColorimetry::new(limited, matrix, source.transfer(), source.primaries());
            let deep = like(info, VideoFormat::I42010le, self.scaled, colour, square)?;
            let scaled = self.conversions.convert(info, buffer, crop, &deep)?;
            let from = VideoFrameRef::from_buffer_ref_readable(scaled.as_ref(), &deep).map_err(failed)?;
            let [y, u, v, _] = from.planes_data();
            let source = Planes { data: [y, u, v], strides: strides(from.plane_stride()) };
            tone.apply(&source, target, size)?;
        }
        Ok((made.into_buffer(), to.to_caps().map_err(failed)?))
    }

    /// What is transparent shows black.
    fn on_black(&mut self, info: &VideoInfo, buffer: &gst::Buffer, crop: Option<Crop>) -> Result<Treated, Error> {
        let size = crop.map_or((info.width(), info.height()), |c| (c.width, c.height));
        let source = info.colorimetry();
        let (range, matrix) = (VideoColorRange::Range0_255, VideoColorMatrix::Rgb);
        let colour = VideoColorimetry::new(range, matrix, source.transfer(), source.primaries());
        let with_alpha = like(info, VideoFormat::Bgra, size, colour, info.par())?;
        let opaque = like(info, VideoFormat::Bgrx, size, colour, info.par())?;
        let mut converted = self.conversions.convert(info, buffer, crop, &with_alpha)?;
        if !has_plain_palette(info, buffer) {
            let mut map = converted.make_mut().map_writable().map_err(failed)?;
            for pixel in map.as_mut_slice().chunks_exact_mut(4) {
                let alpha = u32::from(pixel[3]);
                for colour in &mut pixel[..3] {
                    *colour = u8::try_from((u32::from(*colour) * alpha + 127) / 255).unwrap_or(u8::MAX);
                }
            }
        }
        Ok((converted, opaque.to_caps().map_err(failed)?))
    }
}

/// Does a palette say that nothing of a picture can be seen? Containers' palettes have a spare byte where alpha would be, and
/// mean all of it to be.
fn has_plain_palette(info: &VideoInfo, buffer: &gst::Buffer) -> bool {
    if info.format() != VideoFormat::Rgb8p {
        return false;
    }
    let frame = VideoFrameRef::from_buffer_ref_readable(buffer.as_ref(), info);
    // Its second plane is 256 colours, of 32 bits in the order of the machine, alpha at the top.
    let alpha = |colour: &[u8]| colour.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes) >> 24);
    let palette = frame.as_ref().ok().and_then(|frame| frame.plane_data(1).ok());
    palette.is_some_and(|colours| colours.chunks(4).all(|colour| alpha(colour) == 0))
}

/// A progressive picture at the rate of another.
fn like(
    info: &VideoInfo,
    format: VideoFormat,
    (width, height): (u32, u32),
    colour: VideoColorimetry,
    pixel: gst::Fraction,
) -> Result<VideoInfo, Error> {
    let builder = VideoInfo::builder(format, width, height).fps(info.fps()).par(pixel).colorimetry(&colour);
    builder.build().map_err(failed)
}

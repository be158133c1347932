//! Pictures in another format or size, by GStreamer's converter.

use gst_video::prelude::*;
use gst_video::video_frame::{Readable, Writable};
use gst_video::{VideoConverter, VideoConverterConfig, VideoFormat, VideoFrame, VideoFrameRef, VideoInfo};

use super::Error;
use crate::media::Crop;

/// Threads that convert a picture; as in the templates.
const THREADS: u32 = 2;
/// The highest code of 10 bits.
const MOST_OF_TEN_BITS: u16 = (1 << 10) - 1;

/// Converters that are kept from picture to picture.
#[derive(Default)]
pub struct Conversions {
    whole: Option<Converter>,
    planes: [Option<Converter>; 3],
}

struct Converter {
    from: VideoInfo,
    to: VideoInfo,
    crop: Option<Crop>,
    converter: VideoConverter,
}

pub fn failed(e: gst::glib::BoolError) -> Error {
    Error::Failed(format!("a picture cannot be converted: {e}"))
}

/// Has pictures scaled by the filters of the templates: GStreamer's own choice among cubic ones blurs more.
pub fn catmull_rom(config: &mut VideoConverterConfig) {
    config.set_resampler_method(gst_video::VideoResamplerMethod::Cubic);
    config.set("GstVideoResampler.cubic-b", 0.0_f64);
    config.set("GstVideoResampler.cubic-c", 0.5_f64);
}

/// A picture to be drawn.
pub fn new_frame(info: &VideoInfo) -> Result<VideoFrame<Writable>, Error> {
    let buffer = gst::Buffer::with_size(info.size()).map_err(failed)?;
    VideoFrame::from_buffer_writable(buffer, info).map_err(|_| Error::Failed("no room for a picture".into()))
}

impl Conversions {
    /// The picture, or what `crop` leaves of it, as `to` says.
    pub fn convert(
        &mut self,
        from: &VideoInfo,
        buffer: &gst::Buffer,
        crop: Option<Crop>,
        to: &VideoInfo,
    ) -> Result<gst::Buffer, Error> {
        convert(&mut self.whole, from, buffer, crop, to)
    }

    /// A 10-bit picture, or what `crop` leaves of it, as 4:2:0 of 10 bits and this size. `None` if it is not of three planes, or
    /// of another depth.
    pub fn scale_deep(
        &mut self,
        from: &VideoInfo,
        buffer: &gst::Buffer,
        crop: Option<Crop>,
        (width, height): (u32, u32),
    ) -> Result<Option<gst::Buffer>, Error> {
        let Some(planes) = self.planes(from, buffer, crop, (width, height))? else { return Ok(None) };
        let to = VideoInfo::builder(VideoFormat::I42010le, width, height).build().map_err(failed)?;
        let mut made = new_frame(&to)?;
        for (plane, at) in planes.iter().zip(0..) {
            let stride = plane.plane_stride()[0].unsigned_abs() as usize;
            let made_stride = made.plane_stride()[at as usize].unsigned_abs() as usize;
            let into = made.plane_data_mut(at).map_err(failed)?;
            for (row, into) in plane.planes_data()[0].chunks(stride).zip(into.chunks_mut(made_stride)) {
                for (code, into) in row.as_chunks().0.iter().zip(into.as_chunks_mut().0) {
                    // A filter overshoots, and 10 bits have no code for it.
                    *into = u16::from_le_bytes(*code).min(MOST_OF_TEN_BITS).to_le_bytes();
                }
            }
        }
        Ok(Some(made.into_buffer()))
    }

    /// Luma and chroma of a 10-bit picture, scaled to 4:2:0 of this size, each plane as if it were a grey picture: a
    /// fifteenth of the time that the converter takes for pictures of more than 8 bits. `None` if the planes are not of this
    /// kind.
    pub fn planes(
        &mut self,
        info: &VideoInfo,
        buffer: &gst::Buffer,
        crop: Option<Crop>,
        (width, height): (u32, u32),
    ) -> Result<Option<[VideoFrame<Readable>; 3]>, Error> {
        let deep = [VideoFormat::I42010le, VideoFormat::I42210le, VideoFormat::Y44410le];
        if !deep.contains(&info.format()) {
            return Ok(None);
        }
        let source = VideoFrameRef::from_buffer_ref_readable(buffer.as_ref(), info).map_err(failed)?;
        let mut made = Vec::new();
        for (plane, kept) in (0..3_u8).zip(&mut self.planes) {
            let Some(crop) = crop.map_or(Some(None), |crop| subsampled(crop, info, plane).map(Some)) else {
                return Ok(None);
            };
            let at = usize::from(plane);
            let stride = source.plane_stride()[at];
            let size = (source.comp_width(plane.into()), source.comp_height(plane.into()));
            let offset = source.plane_offset()[at];
            let end = usize::try_from(stride).ok().map(|stride| offset + stride * size.1 as usize);
            // Of a picture that is a part of a larger one, the last row may have nothing behind it.
            let Some(end) = end.filter(|end| *end <= buffer.size()) else { return Ok(None) };
            let from = grey(size).stride(&[stride]).build().map_err(failed)?;
            let alone = buffer.copy_region(gst::BufferCopyFlags::MEMORY, offset..end).map_err(failed)?;
            let size = if plane == 0 { (width, height) } else { (width.div_ceil(2), height.div_ceil(2)) };
            let to = grey(size).build().map_err(failed)?;
            let is_there = crop.is_none() && (from.width(), from.height()) == size;
            let (buffer, info) = if is_there { (alone, from) } else { (convert(kept, &from, &alone, crop, &to)?, to) };
            let frame = VideoFrame::from_buffer_readable(buffer, &info);
            made.push(frame.map_err(|_| Error::Failed("a plane cannot be read".into()))?);
        }
        Ok(made.try_into().ok())
    }
}

fn grey<'a>((width, height): (u32, u32)) -> gst_video::VideoInfoBuilder<'a> {
    VideoInfo::builder(VideoFormat::Gray16Le, width, height)
}

/// What is left of a plane; `None` if the edge would be inside a sample.
fn subsampled(crop: Crop, info: &VideoInfo, plane: u8) -> Option<Crop> {
    let format = info.format_info();
    let shift = |shifts: &[u32]| shifts[usize::from(plane)];
    let (across, down) = (shift(format.w_sub()), shift(format.h_sub()));
    let part = |n: u32, shift: u32| (n >> shift << shift == n).then_some(n >> shift);
    Some(Crop {
        left: part(crop.left, across)?,
        top: part(crop.top, down)?,
        width: part(crop.width, across)?,
        height: part(crop.height, down)?,
    })
}

fn convert(
    kept: &mut Option<Converter>,
    from: &VideoInfo,
    buffer: &gst::Buffer,
    crop: Option<Crop>,
    to: &VideoInfo,
) -> Result<gst::Buffer, Error> {
    if from == to && crop.is_none() {
        return Ok(buffer.clone());
    }
    let converter = match kept.take() {
        Some(kept) if kept.from == *from && kept.to == *to && kept.crop == crop => kept,
        _ => Converter::new(from, to, crop)?,
    };
    let source = VideoFrameRef::from_buffer_ref_readable(buffer.as_ref(), from).map_err(failed)?;
    let mut made = new_frame(to)?;
    converter.converter.frame_ref(&source, &mut made.as_mut_video_frame_ref());
    *kept = Some(converter);
    Ok(made.into_buffer())
}

impl Converter {
    fn new(from: &VideoInfo, to: &VideoInfo, crop: Option<Crop>) -> Result<Self, Error> {
        let mut config = VideoConverterConfig::new();
        config.set_threads(THREADS);
        catmull_rom(&mut config);
        if let Some(crop) = crop {
            let pixels = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
            config.set_src_x(pixels(crop.left));
            config.set_src_y(pixels(crop.top));
            config.set_src_width(Some(pixels(crop.width)));
            config.set_src_height(Some(pixels(crop.height)));
        }
        let converter = VideoConverter::new(from, to, Some(config)).map_err(failed)?;
        Ok(Self { from: from.clone(), to: to.clone(), crop, converter })
    }
}

#[cfg(test)]
mod tests {
    use gst_video::{VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction};

    use super::*;

    /// Slopes of brightness across and down, and of each chroma along one of them.
    fn slopes(format: VideoFormat, (width, height): (u32, u32)) -> (VideoInfo, gst::Buffer) {
        gst::init().unwrap();
        let info = info(format, (width, height));
        let mut frame = new_frame(&info).unwrap();
        let (across, down) = (width / frame.comp_width(1), height / frame.comp_height(1));
        for plane in 0..3 {
            let (columns, rows) = (frame.comp_width(plane), frame.comp_height(plane));
            let stride = usize::try_from(frame.plane_stride()[plane as usize]).unwrap();
            let data = frame.plane_data_mut(plane).unwrap();
            for (x, y) in (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y))) {
                let code = match plane {
                    0 => 64 + 8 * x + 4 * y,
                    1 => 512 + 4 * x * across,
                    _ => 512 - 4 * y * down,
                };
                let at = y as usize * stride + 2 * x as usize;
                data[at..at + 2].copy_from_slice(&u16::try_from(code).unwrap().to_le_bytes());
            }
        }
        (info, frame.into_buffer())
    }

    fn info(format: VideoFormat, (width, height): (u32, u32)) -> VideoInfo {
        let colour = VideoColorimetry::new(
            VideoColorRange::Range16_235,
            VideoColorMatrix::Bt2020,
            VideoTransferFunction::Bt202010,
            VideoColorPrimaries::Bt2020,
        );
        VideoInfo::builder(format, width, height).colorimetry(&colour).build().unwrap()
    }

    fn code(data: &[u8], stride: i32, (x, y): (u32, u32)) -> i32 {
        let at = y as usize * usize::try_from(stride).unwrap() + 2 * x as usize;
        u16::from_le_bytes([data[at], data[at + 1]]).into()
    }

    #[test]
    fn planes_are_scaled_as_whole_pictures_are() {
        let crop = Crop { left: 8, top: 4, width: 48, height: 40 };
        for format in [VideoFormat::I42010le, VideoFormat::I42210le, VideoFormat::Y44410le] {
            for (crop, size) in [(None, (32, 24)), (Some(crop), (24, 20)), (Some(crop), (48, 40)), (None, (64, 48))] {
                let (from, buffer) = slopes(format, (64, 48));
                let mut conversions = Conversions::default();
                let planes = conversions.planes(&from, &buffer, crop, size).unwrap().unwrap();
                let to = info(VideoFormat::I42010le, size);
                let whole = conversions.convert(&from, &buffer, crop, &to).unwrap();
                let whole = VideoFrameRef::from_buffer_ref_readable(whole.as_ref(), &to).unwrap();
                // Filters look over edges, and the place of chroma between pixels is half of one.
                for (plane, most) in [(0, 2), (1, 4), (2, 4)] {
                    let (alone, at) = (&planes[plane], u32::try_from(plane).unwrap());
                    assert_eq!((alone.width(), alone.height()), (whole.comp_width(at), whole.comp_height(at)));
                    for (x, y) in (3..alone.height() - 3).flat_map(|y| (3..alone.width() - 3).map(move |x| (x, y))) {
                        let made = code(alone.plane_data(0).unwrap(), alone.plane_stride()[0], (x, y));
                        let expected = code(whole.plane_data(at).unwrap(), whole.plane_stride()[plane], (x, y));
                        assert!(
                            (made - expected).abs() <= most,
                            "{format} {crop:?} to {size:?}, plane {plane} at {x}, {y}: {made}, not {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_planes_make_a_picture_again_without_codes_that_ten_bits_lack() {
        let (from, to) = (info(VideoFormat::I42010le, (64, 48)), info(VideoFormat::I42010le, (150, 100)));
        let mut frame = new_frame(&from).unwrap();
        // Stripes between the lowest code and the highest, four columns each.
        for plane in 0..3 {
            let words = frame.plane_data_mut(plane).unwrap().as_chunks_mut().0;
            words.iter_mut().enumerate().for_each(|(i, word)| *word = [0, 1023_u16][i / 4 % 2].to_le_bytes());
        }
        let made = Conversions::default().scale_deep(&from, &frame.into_buffer(), None, (150, 100)).unwrap().unwrap();
        let made = VideoFrame::from_buffer_readable(made, &to).unwrap();
        for plane in 0..3 {
            let stride = made.plane_stride()[plane as usize];
            let codes = (0..made.comp_width(plane)).map(|x| code(made.plane_data(plane).unwrap(), stride, (x, 20)));
            let codes = codes.collect::<Vec<i32>>();
            assert!(codes.iter().all(|code| (0..=1023).contains(code)) && codes.contains(&1023), "{plane}: {codes:?}");
        }
    }

    #[test]
    fn what_has_no_such_planes_is_left_to_the_converter() {
        let (from, buffer) = slopes(VideoFormat::I42010le, (64, 48));
        let mut conversions = Conversions::default();
        let odd = Crop { left: 3, top: 0, width: 48, height: 40 };
        assert!(conversions.planes(&from, &buffer, Some(odd), (24, 20)).unwrap().is_none());
        let eight = VideoInfo::builder(VideoFormat::I420, 64, 48).build().unwrap();
        let buffer = new_frame(&eight).unwrap().into_buffer();
        assert!(conversions.planes(&eight, &buffer, None, (32, 24)).unwrap().is_none());
    }
}

//! From a decoded frame to an upright RGB picture with square pixels, and from there to a JPEG file.

use super::Error;
use super::convert::catmull_rom;
use super::encode::Encoder;
use super::template::Template;
use crate::media::Rotation;

/// Bytes of a pixel.
const CHANNELS: usize = 3;

/// A picture in memory: 8 bits of red, green and blue for each pixel, row by row without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    pub width: u32,
    pub height: u32,
    pixels: Vec<[u8; CHANNELS]>,
}

/// A decoded frame scaled to `size`, which it has once it is upright.
pub fn upright(sample: &gst::Sample, rotation: Rotation, size: (u32, u32)) -> Result<Rgb, Error> {
    let scaled = if rotation.swaps_sides() { (size.1, size.0) } else { size };
    Ok(scale(sample, scaled)?.turned(rotation))
}

/// Width and height of a decoded frame.
pub fn size_of(sample: &gst::Sample) -> Result<(u32, u32), Error> {
    let info = info_of(sample)?;
    Ok((info.width(), info.height()))
}

fn scale(sample: &gst::Sample, (width, height): (u32, u32)) -> Result<Rgb, Error> {
    let from = info_of(sample)?;
    let to = rgb_info(width, height)?;
    let mut config = gst_video::VideoConverterConfig::new();
    // One thread, and no dithering, whose noise would depend on nothing but would cost bytes.
    config.set_threads(1);
    config.set_dither_method(gst_video::VideoDitherMethod::None);
    catmull_rom(&mut config);
    let converter = gst_video::VideoConverter::new(&from, &to, Some(config)).map_err(failed)?;
    let buffer = sample.buffer().ok_or_else(|| Error::Failed("a picture without data".into()))?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &from).map_err(failed)?;
    let mut scaled = gst::Buffer::with_size(to.size()).map_err(failed)?;
    {
        let scaled = scaled.get_mut().expect("nobody else has it yet");
        let mut scaled = gst_video::VideoFrameRef::from_buffer_ref_writable(scaled, &to).map_err(failed)?;
        converter.frame_ref(&frame, &mut scaled);
    }
    let map = scaled.map_readable().map_err(failed)?;
    let stride = to.stride()[0].unsigned_abs() as usize;
    let row = |bytes: &[u8]| bytes[..width as usize * CHANNELS].as_chunks().0.to_vec();
    let pixels = map.as_slice().chunks(stride).take(height as usize).flat_map(row).collect();
    Ok(Rgb { width, height, pixels })
}

/// The frame's format, taken for a progressive picture by itself: the converter refuses to change cadence or fields.
fn info_of(sample: &gst::Sample) -> Result<gst_video::VideoInfo, Error> {
    let mut caps = sample.caps_owned().ok_or_else(|| Error::Failed("a picture without caps".into()))?;
    caps.make_mut().set("framerate", gst::Fraction::new(0, 1));
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.set("interlace-mode", "progressive");
        structure.remove_fields(["field-order", "mastering-display-info", "content-light-level"]);
    }
    gst_video::VideoInfo::from_caps(&caps).map_err(failed)
}

fn rgb_info(width: u32, height: u32) -> Result<gst_video::VideoInfo, Error> {
    let builder = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height);
    builder.fps(gst::Fraction::new(0, 1)).build().map_err(failed)
}

fn failed(error: gst::glib::BoolError) -> Error {
    Error::Failed(format!("a picture cannot be converted: {error}"))
}

impl Rgb {
    /// A black picture.
    pub fn black(width: u32, height: u32) -> Self {
        Self { width, height, pixels: vec![[0; CHANNELS]; width as usize * height as usize] }
    }

    /// Every pixel, row by row.
    pub fn pixels(&self) -> &[[u8; CHANNELS]] {
        &self.pixels
    }

    /// The same, to be changed.
    pub fn pixels_mut(&mut self) -> impl Iterator<Item = &mut [u8; CHANNELS]> {
        self.pixels.iter_mut()
    }

    /// Puts a picture on top, with its upper left corner there; what would stick out is left off.
    pub fn put(&mut self, picture: &Self, x: u32, y: u32) {
        let across = picture.width.min(self.width.saturating_sub(x)) as usize;
        let down = picture.height.min(self.height.saturating_sub(y));
        for row in 0..down {
            let to = ((y + row) as usize * self.width as usize) + x as usize;
            let from = row as usize * picture.width as usize;
            self.pixels[to..to + across].copy_from_slice(&picture.pixels[from..from + across]);
        }
    }

    fn turned(self, rotation: Rotation) -> Self {
        let (w, h) = (self.width, self.height);
        let (width, height) = if rotation.swaps_sides() { (h, w) } else { (w, h) };
        // Where the pixel comes from that is at (x, y) afterwards.
        let from = |x: u32, y: u32| match rotation {
            Rotation::None => (x, y),
            Rotation::Clockwise => (y, h - 1 - x),
            Rotation::Half => (w - 1 - x, h - 1 - y),
            Rotation::CounterClockwise => (w - 1 - y, x),
            Rotation::Mirror => (w - 1 - x, y),
            Rotation::Flip => (x, h - 1 - y),
            Rotation::Transpose => (y, x),
            Rotation::AntiTranspose => (w - 1 - y, h - 1 - x),
        };
        if rotation == Rotation::None {
            return self;
        }
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixel = |(x, y)| {
            let (x, y) = from(x, y);
            self.pixels[y as usize * w as usize + x as usize]
        };
        let pixels = places.map(pixel).collect();
        Self { width, height, pixels }
    }

    /// As a JPEG file.
    pub fn jpeg(&self, template: &Template, quality: u32) -> Result<Vec<u8>, Error> {
        let info = rgb_info(self.width, self.height)?;
        let encoder = Encoder::start(template.picture(quality)?, &info.to_caps().map_err(failed)?)?;
        let stride = info.stride()[0].unsigned_abs() as usize;
        let mut data = vec![0; info.size()];
        for (to, from) in data.chunks_mut(stride).zip(self.pixels.chunks(self.width as usize)) {
            to[..from.len() * CHANNELS].copy_from_slice(from.as_flattened());
        }
        let mut buffer = gst::Buffer::from_mut_slice(data);
        buffer.get_mut().expect("nobody else has it yet").set_pts(gst::ClockTime::ZERO);
        encoder.push(buffer)?;
        encoder.end()?;
        let coded = encoder.take()?;
        coded.map(|coded| coded.data).ok_or_else(|| Error::Failed("the JPEG encoder made nothing".into()))
    }

    /// As a JPEG file of at most so many bytes, as good as `qualities` allow, best first.
    pub fn jpeg_below(&self, template: &Template, qualities: &[u32], most: usize) -> Result<Vec<u8>, Error> {
        for quality in qualities {
            let file = self.jpeg(template, *quality)?;
            if file.len() <= most {
                return Ok(file);
            }
        }
        Err(Error::Failed(format!("a picture of {}x{} does not fit into {most} bytes", self.width, self.height)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32, rows: &[&[u8]]) -> Rgb {
        Rgb { width, height, pixels: rows.concat().into_iter().map(|n| [n; CHANNELS]).collect() }
    }

    #[test]
    fn every_turn_makes_the_picture_upright() {
        let picture = numbered(3, 2, &[&[1, 2, 3], &[4, 5, 6]]);
        let turned = |rotation| picture.clone().turned(rotation);
        assert_eq!(turned(Rotation::None), picture);
        assert_eq!(turned(Rotation::Clockwise), numbered(2, 3, &[&[4, 1], &[5, 2], &[6, 3]]));
        assert_eq!(turned(Rotation::Half), numbered(3, 2, &[&[6, 5, 4], &[3, 2, 1]]));
        assert_eq!(turned(Rotation::CounterClockwise), numbered(2, 3, &[&[3, 6], &[2, 5], &[1, 4]]));
        assert_eq!(turned(Rotation::Mirror), numbered(3, 2, &[&[3, 2, 1], &[6, 5, 4]]));
        assert_eq!(turned(Rotation::Flip), numbered(3, 2, &[&[4, 5, 6], &[1, 2, 3]]));
        assert_eq!(turned(Rotation::Transpose), numbered(2, 3, &[&[1, 4], &[2, 5], &[3, 6]]));
        assert_eq!(turned(Rotation::AntiTranspose), numbered(2, 3, &[&[6, 3], &[5, 2], &[4, 1]]));
    }

    #[test]
    fn a_picture_put_over_the_edge_is_cut_off_there() {
        let mut sheet = numbered(3, 2, &[&[0, 0, 0], &[0, 0, 0]]);
        sheet.put(&numbered(2, 2, &[&[1, 2], &[3, 4]]), 2, 1);
        assert_eq!(sheet, numbered(3, 2, &[&[0, 0, 0], &[0, 0, 1]]));
        sheet.put(&numbered(2, 2, &[&[1, 2], &[3, 4]]), 0, 0);
        assert_eq!(sheet, numbered(3, 2, &[&[1, 2, 0], &[3, 4, 1]]));
    }
}

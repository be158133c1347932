//! What the numbers of a picture mean: which matrix and range a source has, and full range made limited. The bitstream is
//! believed first, then the container, and what neither says is guessed as players do. GStreamer 1.22 lets a container
//! overrule the bitstream, and its converter takes pictures of one matrix for pictures of one range.

use std::str::FromStr as _;

use gst_video::prelude::*;
use gst_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoFormatFlags, VideoFormatInfo,
    VideoFrame, VideoFrameRef, VideoInfo, VideoTransferFunction,
};

use super::Error;
use crate::media::Colour;

/// Code point of ISO/IEC 23091-2 for what is not said.
const UNSPECIFIED: u8 = 2;
/// Lines above which a picture that does not say its matrix has BT.709's, else BT.601's.
const STANDARD_LINES: u32 = 576;

/// What a decoder says of its pictures, completed by the container and by habit. `decoded` comes of a decoder that was
/// told nothing by the container.
pub fn of(decoded: &gst::CapsRef, container: &gst::CapsRef, info: &VideoInfo) -> Colour {
    if !has_matrix(info) {
        return described(&info.colorimetry());
    }
    let said = |caps: &gst::CapsRef| {
        let text = caps.structure(0).and_then(|s| s.get::<&str>("colorimetry").ok());
        text.and_then(|t| VideoColorimetry::from_str(t).ok())
    };
    let all: Vec<VideoColorimetry> = [said(decoded), said(container)].into_iter().flatten().collect();
    let first = |code: &dyn Fn(Colour) -> u8| {
        let codes = all.iter().map(|c| code(described(c)));
        codes.into_iter().find(|code| *code != UNSPECIFIED).unwrap_or(UNSPECIFIED)
    };
    let habit = if info.height() > STANDARD_LINES { 1 } else { 6 };
    let told = |code: u8| if code == UNSPECIFIED { habit } else { code };
    // Identity is the matrix of RGB, which these pictures are not.
    let matrix = first(&|c| if c.matrix == 0 { UNSPECIFIED } else { c.matrix });
    let range = all.iter().map(VideoColorimetry::range).find(|r| *r != VideoColorRange::Unknown);
    // Images without colours are what has no range of its own.
    let range =
        range.unwrap_or(if info.is_gray() { VideoColorRange::Range0_255 } else { VideoColorRange::Range16_235 });
    Colour {
        primaries: told(first(&|c| c.primaries)),
        transfer: told(first(&|c| c.transfer)),
        matrix: told(matrix),
        full_range: range == VideoColorRange::Range0_255,
    }
}

/// Code points of ISO/IEC 23091-2.
fn described(colorimetry: &VideoColorimetry) -> Colour {
    let code = |n: u32| u8::try_from(n).unwrap_or(UNSPECIFIED);
    Colour {
        primaries: code(colorimetry.primaries().to_iso()),
        transfer: code(colorimetry.transfer().to_iso()),
        matrix: code(colorimetry.matrix().to_iso()),
        full_range: colorimetry.range() == VideoColorRange::Range0_255,
    }
}

/// Are these brightness and differences of colours, not colours themselves?
fn has_matrix(info: &VideoInfo) -> bool {
    info.is_yuv() || info.is_gray()
}

/// The same pictures, understood as the index says, whatever their decoder was told.
pub fn understood(info: VideoInfo, colour: Colour) -> Result<VideoInfo, Error> {
    if !has_matrix(&info) {
        return Ok(info);
    }
    let range = if colour.full_range { VideoColorRange::Range0_255 } else { VideoColorRange::Range16_235 };
    let colorimetry = VideoColorimetry::new(
        range,
        VideoColorMatrix::from_iso(colour.matrix.into()),
        VideoTransferFunction::from_iso(colour.transfer.into()),
        VideoColorPrimaries::from_iso(colour.primaries.into()),
    );
    let mut caps = info.to_caps().map_err(failed)?;
    caps.make_mut().set("colorimetry", colorimetry.to_string());
    VideoInfo::from_caps(&caps).map_err(failed)
}

fn failed(e: gst::glib::BoolError) -> Error {
    Error::Failed(format!("a picture's colours cannot be read: {e}"))
}

/// Are these pictures of full range, to be made limited?
pub fn is_full(info: &VideoInfo) -> bool {
    has_matrix(info) && info.colorimetry().range() == VideoColorRange::Range0_255
}

/// Do the samples lie in bytes, or in 16-bit words of the host's order?
pub fn is_plain(info: &VideoInfo) -> bool {
    let format = info.format_info();
    let deep = format.depth().iter().any(|&depth| depth > 8);
    !format.flags().contains(VideoFormatFlags::COMPLEX) && (!deep || format.flags().contains(VideoFormatFlags::LE))
}

/// A picture of full range in limited range: ITU-R BT.601 §2.5.3 and BT.709 §3.4, at the picture's own depth.
pub fn limited(info: &VideoInfo, buffer: &gst::Buffer) -> Result<(VideoInfo, gst::Buffer), Error> {
    let said = info.colorimetry();
    let colorimetry =
        VideoColorimetry::new(VideoColorRange::Range16_235, said.matrix(), said.transfer(), said.primaries());
    let mut caps = info.to_caps().map_err(failed)?;
    caps.make_mut().set("colorimetry", colorimetry.to_string());
    let to = VideoInfo::from_caps(&caps).map_err(failed)?;
    let source = VideoFrameRef::from_buffer_ref_readable(buffer.as_ref(), info).map_err(failed)?;
    let made = gst::Buffer::with_size(to.size()).map_err(failed)?;
    let mut made =
        VideoFrame::from_buffer_writable(made, &to).map_err(|_| Error::Failed("no room for a picture".into()))?;
    let format = info.format_info();
    for plane in 0..info.n_planes() {
        let inside = (0..info.n_components()).filter(|&c| format.plane()[c as usize] == plane);
        let components: Vec<Component> = inside.map(|c| Component::of(info, format, c)).collect();
        let strides = [source.plane_stride(), made.plane_stride()].map(|s| s[plane as usize].unsigned_abs() as usize);
        let from = source.plane_data(plane).map_err(failed)?;
        rows(&components, (from, strides[0]), (made.plane_data_mut(plane).map_err(failed)?, strides[1]))?;
    }
    Ok((to, made.into_buffer()))
}

/// Where the samples of a component lie in a row, and what becomes of each.
struct Component {
    columns: usize,
    rows: usize,
    /// Bytes to the first sample, and from one to the next.
    offset: usize,
    step: usize,
    shift: u32,
    /// By code; empty for what is not changed.
    table: Vec<u16>,
    deep: bool,
}

impl Component {
    fn of(info: &VideoInfo, format: VideoFormatInfo, c: u32) -> Self {
        let (at, number) = (c as usize, c as u8);
        let depth = format.depth()[at];
        let deep = depth > 8;
        let bytes = if deep { 2 } else { 1 };
        let table = if number < 3 { table(depth, number > 0) } else { Vec::new() };
        Self {
            columns: info.comp_width(number) as usize,
            rows: info.comp_height(number) as usize,
            // GStreamer says that V of P010 is one byte behind U.
            offset: (info.comp_poffset(number) as usize).next_multiple_of(bytes),
            step: usize::try_from(info.comp_pstride(number)).unwrap_or(bytes).max(bytes),
            shift: format.shift()[at],
            table,
            deep,
        }
    }

    fn end(&self) -> usize {
        self.offset + self.columns.saturating_sub(1) * self.step + if self.deep { 2 } else { 1 }
    }
}

/// Codes of limited range for those of full range.
fn table(depth: u32, chroma: bool) -> Vec<u16> {
    // The products of 16-bit codes need more than 32 bits.
    let most = (1_u64 << depth.min(16)) - 1;
    let unit = 1 << (depth.clamp(8, 16) - 8);
    let code = |n: u64| {
        let scaled = |n: u64, span: u64| (n * span * 2 + most) / (2 * most);
        if !chroma {
            return 16 * unit + scaled(n, 219 * unit);
        }
        let middle = 128 * unit;
        if n >= middle { middle + scaled(n - middle, 224 * unit) } else { middle - scaled(middle - n, 224 * unit) }
    };
    (0..=most).map(|n| u16::try_from(code(n)).unwrap_or(u16::MAX)).collect()
}

fn rows(components: &[Component], (from, stride): (&[u8], usize), to: (&mut [u8], usize)) -> Result<(), Error> {
    let (to, made_stride) = to;
    let count = components.iter().map(|c| c.rows).max().unwrap_or(0);
    let width = components.iter().map(Component::end).max().unwrap_or(0);
    let lacks = |length: usize, stride: usize| stride < width || length < stride * count.saturating_sub(1) + width;
    if count > 0 && (lacks(from.len(), stride) || lacks(to.len(), made_stride)) {
        return Err(Error::Failed(format!("a picture whose plane is smaller than {width}x{count} bytes")));
    }
    // One table for every byte of the row, as in most formats, is many times as quick.
    let dense = components.iter().all(|c| !c.deep && c.step == components.len() && !c.table.is_empty())
        && components.iter().all(|c| c.table == components[0].table);
    for row in 0..count {
        let source = &from[row * stride..][..width];
        let made = &mut to[row * made_stride..][..width];
        if dense {
            let table = &components[0].table;
            made.iter_mut().zip(source).for_each(|(to, from)| *to = table[usize::from(*from)] as u8);
            continue;
        }
        made.copy_from_slice(source);
        for c in components.iter().filter(|c| !c.table.is_empty()) {
            for at in (0..c.columns).map(|x| c.offset + x * c.step) {
                if c.deep {
                    let word = u16::from_le_bytes([source[at], source[at + 1]]) >> c.shift;
                    let code = c.table[usize::from(word).min(c.table.len() - 1)] << c.shift;
                    made[at..at + 2].copy_from_slice(&code.to_le_bytes());
                } else {
                    let code = usize::from(source[at] >> c.shift);
                    made[at] = (c.table[code.min(c.table.len() - 1)] << c.shift) as u8;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_full_range_are_the_ends_of_limited_range_at_every_depth() {
        for (depth, unit) in [(8, 1), (10, 4), (12, 16), (16, 256)] {
            let (luma, chroma) = (table(depth, false), table(depth, true));
            let most = luma.len() - 1;
            assert_eq!((luma[0], luma[most]), (16 * unit, 235 * unit), "{depth} bits");
            assert_eq!(chroma[128 * usize::from(unit)], 128 * unit, "{depth} bits: grey stays grey");
            assert!(chroma[0].abs_diff(16 * unit) <= 1 && chroma[most].abs_diff(240 * unit) <= unit);
            assert!(luma.is_sorted() && chroma.is_sorted());
        }
    }

    #[test]
    fn planes_interleaved_ones_and_deep_ones_are_all_understood() {
        gst::init().unwrap();
        for name in ["I420", "NV12", "Y42B", "Y444", "YUY2", "UYVY", "GRAY8", "I420_10LE", "P010_10LE", "Y444_12LE"] {
            let caps = format!("video/x-raw,format={name},width=18,height=6,framerate=25/1,colorimetry=1:4:0:0");
            let info = VideoInfo::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
            assert!(is_full(&info) && is_plain(&info), "{name}");
            let deep = info.format_info().depth()[0] > 8;
            // White, with colours in the middle: every luma sample at its most.
            let fill: u16 = match info.format_info().depth()[0] {
                8 => 0xff,
                depth => (((1_u32 << depth) - 1) << info.format_info().shift()[0]) as u16,
            };
            let mut data = vec![0; info.size()];
            if deep {
                data.chunks_exact_mut(2).for_each(|word| word.copy_from_slice(&fill.to_le_bytes()));
            } else {
                data.fill(fill as u8);
            }
            let (to, made) = limited(&info, &gst::Buffer::from_mut_slice(data)).unwrap();
            assert!(!is_full(&to), "{name}");
            let map = made.map_readable().unwrap();
            let depth = info.format_info().depth()[0];
            let sample = |c: u8| {
                let at = info.comp_offset(c).next_multiple_of(if deep { 2 } else { 1 });
                let word = if deep { u16::from_le_bytes([map[at], map[at + 1]]) } else { u16::from(map[at]) };
                word >> info.format_info().shift()[usize::from(c)] >> (depth - 8)
            };
            assert_eq!(sample(0), 235, "{name}");
            if info.is_yuv() {
                assert!((239..=240).contains(&sample(1)) && (239..=240).contains(&sample(2)), "{name}");
            }
        }
    }
}

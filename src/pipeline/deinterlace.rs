//! One progressive frame of each interlaced one: the field that was taken first stays, and the lines of the other are
//! made anew. Where nothing moves they are the other field's own, so that no detail is lost; where something does they
//! are interpolated along edges of the field that stays. A frame looks at one neighbour only, which the caller chooses
//! within the segment, so that no frame depends on where decoding began.

use gst_video::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo, VideoInterlaceMode};

use super::Error;
use super::colour::is_plain;

type Readable<'a> = VideoFrameRef<&'a gst::BufferRef>;

/// Is this picture made of two fields taken one after the other? A stream of mixed content says so of each.
pub fn is_interlaced(info: &VideoInfo, buffer: &gst::BufferRef) -> bool {
    match info.interlace_mode() {
        VideoInterlaceMode::Interleaved => true,
        VideoInterlaceMode::Mixed => buffer.video_flags().contains(gst_video::VideoBufferFlags::INTERLACED),
        _ => false,
    }
}

/// Was the upper field taken first?
fn top_first(info: &VideoInfo, buffer: &gst::BufferRef) -> bool {
    let says = buffer.video_flags().contains(gst_video::VideoBufferFlags::TFF);
    says || info.field_order() == gst_video::VideoFieldOrder::TopFieldFirst
}

/// A progressive picture of an interlaced one, which is returned as it is if its samples do not lie in bytes or 16-bit
/// words of the host's order.
pub fn deinterlace(
    info: &VideoInfo,
    current: &gst::Buffer,
    neighbour: Option<&gst::Buffer>,
) -> Result<gst::Buffer, Error> {
    let failed = |e: gst::glib::BoolError| Error::Failed(format!("a picture of two fields: {e}"));
    if !is_plain(info) {
        return Ok(current.clone());
    }
    let source = Readable::from_buffer_ref_readable(current.as_ref(), info).map_err(failed)?;
    let other = neighbour.map(|n| Readable::from_buffer_ref_readable(n.as_ref(), info)).transpose().map_err(failed)?;
    let top = top_first(info, current.as_ref());
    // The frame may have other strides than `info`; what is made has those of the copy.
    let mut made = gst::Buffer::with_size(info.size()).map_err(failed)?;
    {
        let made = made.get_mut().ok_or_else(|| Error::Failed("a new buffer is shared".into()))?;
        let mut to = VideoFrameRef::from_buffer_ref_writable(made, info).map_err(failed)?;
        for plane in 0..info.n_planes() {
            let area = Area::of(info, plane);
            let fields = |frame: &Readable| frame.plane_stride()[plane as usize].unsigned_abs() as usize;
            let lines = Lines { data: source.plane_data(plane).map_err(failed)?, stride: fields(&source), area };
            let others = match &other {
                Some(o) => Some(Lines { data: o.plane_data(plane).map_err(failed)?, stride: fields(o), area }),
                None => None,
            };
            let stride = to.plane_stride()[plane as usize].unsigned_abs() as usize;
            let plane = to.plane_data_mut(plane).map_err(failed)?;
            weave(&lines, others.as_ref(), top, plane, stride)?;
        }
    }
    Ok(made)
}

/// The samples of a plane.
#[derive(Clone, Copy)]
struct Area {
    /// Samples in a row, those of all components together.
    columns: usize,
    rows: usize,
    /// Distance of samples of one component.
    step: usize,
    /// Bytes of a sample.
    bytes: usize,
}

impl Area {
    fn of(info: &VideoInfo, plane: u32) -> Self {
        let format = info.format_info();
        let inside = (0..info.n_components()).filter(|&c| format.plane()[c as usize] == plane);
        let mut area = Self { columns: 0, rows: 0, step: 1, bytes: 1 };
        for c in inside {
            let bytes = if format.depth()[c as usize] > 8 { 2 } else { 1 };
            let pixel = usize::try_from(format.pixel_stride()[c as usize]).unwrap_or(1).max(bytes);
            area.bytes = bytes;
            area.step = area.step.max(pixel / bytes);
            area.columns = area.columns.max(info.comp_width(c as u8) as usize * pixel / bytes);
            area.rows = area.rows.max(info.comp_height(c as u8) as usize);
        }
        area
    }
}

struct Lines<'a> {
    data: &'a [u8],
    stride: usize,
    area: Area,
}

impl Lines<'_> {
    fn row(&self, row: usize) -> &[u8] {
        &self.data[row * self.stride..][..self.area.columns * self.area.bytes]
    }

    /// A row as numbers.
    fn read(&self, row: usize, into: &mut Vec<i32>) {
        into.clear();
        match self.area.bytes {
            1 => into.extend(self.row(row).iter().map(|&b| i32::from(b))),
            _ => into.extend(self.row(row).chunks_exact(2).map(|b| i32::from(u16::from_le_bytes([b[0], b[1]])))),
        }
    }

    fn fits(&self, length: usize, stride: usize) -> bool {
        let bytes = self.area.columns * self.area.bytes;
        self.area.rows == 0 || (stride >= bytes && length >= stride * (self.area.rows - 1) + bytes)
    }
}

/// A line that is made anew, and what it is made of.
#[derive(Default)]
struct Around {
    above: Vec<i32>,
    below: Vec<i32>,
    /// The line itself in the field that does not stay.
    own: Vec<i32>,
    /// The same three in the neighbour.
    other: [Vec<i32>; 3],
}

fn weave(lines: &Lines, other: Option<&Lines>, top: bool, to: &mut [u8], stride: usize) -> Result<(), Error> {
    let Area { rows, bytes, columns, step } = lines.area;
    let whole = lines.fits(lines.data.len(), lines.stride)
        && lines.fits(to.len(), stride)
        && other.is_none_or(|o| o.fits(o.data.len(), o.stride));
    if !whole {
        return Err(Error::Failed(format!("a picture whose plane is smaller than {columns}x{rows}")));
    }
    let mut around = Around::default();
    for row in 0..rows {
        let made = &mut to[row * stride..][..columns * bytes];
        if row % 2 == usize::from(!top) || rows < 2 {
            made.copy_from_slice(lines.row(row));
            continue;
        }
        // At the edges of the picture there is a line on one side only.
        let (above, below) = (if row > 0 { row - 1 } else { row + 1 }, if row + 1 < rows { row + 1 } else { row - 1 });
        lines.read(above, &mut around.above);
        lines.read(below, &mut around.below);
        lines.read(row, &mut around.own);
        if let Some(other) = other {
            for (row, into) in [above, row, below].into_iter().zip(&mut around.other) {
                other.read(row, into);
            }
        }
        for x in 0..columns {
            let value = around.sample(x, step, other.is_some());
            match bytes {
                1 => made[x] = u8::try_from(value).unwrap_or(u8::MAX),
                _ => made[2 * x..2 * x + 2].copy_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes()),
            }
        }
    }
    Ok(())
}

impl Around {
    /// Interpolated from the field that stays, but no further from what the other field says there, before and after, than
    /// anything around has changed between the two frames.
    fn sample(&self, x: usize, step: usize, has_neighbour: bool) -> i32 {
        let spatial = self.along_edge(x, step);
        if !has_neighbour {
            return spatial;
        }
        let [above, own, below] = &self.other;
        let still = (self.own[x] + own[x] + 1) / 2;
        let around = (self.above[x] - above[x]).abs() + (self.below[x] - below[x]).abs();
        let change = (self.own[x] - own[x]).abs().max(around) / 2;
        spatial.clamp(still - change, still + change)
    }

    /// The mean of the two samples, straight above and below or diagonally opposite, whose surroundings are most alike.
    fn along_edge(&self, x: usize, step: usize) -> i32 {
        let (above, below) = (&self.above, &self.below);
        let straight = (above[x] + below[x] + 1) / 2;
        if x < 2 * step || x + 2 * step >= above.len() {
            return straight;
        }
        let unlike = |up: usize, down: usize| {
            let at = |d: usize| (above[up + d - step] - below[down + d - step]).abs();
            at(0) + at(step) + at(2 * step)
        };
        // The straight way wins a draw.
        let (mut least, mut best) = (unlike(x, x) - 1, straight);
        for (up, down) in [(x - step, x + step), (x + step, x - step)] {
            let score = unlike(up, down);
            if score < least {
                (least, best) = (score, (above[up] + below[down] + 1) / 2);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area { columns: 16, rows: 8, step: 1, bytes: 1 };

    fn made(current: &[u8], other: Option<&[u8]>, top: bool) -> Vec<u8> {
        let lines = |data| Lines { data, stride: 16, area: AREA };
        let mut to = vec![0; current.len()];
        weave(&lines(current), other.map(lines).as_ref(), top, &mut to, 16).unwrap();
        to
    }

    #[test]
    fn a_still_picture_keeps_every_line() {
        let picture: Vec<u8> = (0..128).map(|i| (i * 37 % 200) as u8).collect();
        for top in [true, false] {
            assert_eq!(made(&picture, Some(&picture), top), picture);
        }
    }

    #[test]
    fn of_a_moving_one_the_first_field_stays_and_the_other_leaves_no_comb() {
        // Upper field: a bar at the left. Lower field: the bar has moved to the right.
        let bar = |from: usize| (0..16).map(move |x| if (from..from + 4).contains(&x) { 200 } else { 20 });
        let frame =
            |upper: usize, lower: usize| (0..8).flat_map(|y| bar(if y % 2 == 0 { upper } else { lower })).collect();
        let (before, current): (Vec<u8>, Vec<u8>) = (frame(0, 2), frame(4, 6));
        for other in [None, Some(&before[..])] {
            let made = made(&current, other, true);
            let wanted: Vec<u8> = (0..8).flat_map(|_| bar(4)).collect();
            assert_eq!(made, wanted, "with a neighbour: {}", other.is_some());
        }
        let wanted: Vec<u8> = (0..8).flat_map(|_| bar(6)).collect();
        assert_eq!(made(&current, None, false), wanted, "lower field first");
    }

    #[test]
    fn sixteen_bit_samples_are_read_and_written_as_such() {
        let area = Area { columns: 4, rows: 3, step: 1, bytes: 2 };
        let rows: Vec<u8> = [[1000_u16; 4], [0; 4], [600; 4]].iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        let mut to = vec![0; rows.len()];
        weave(&Lines { data: &rows, stride: 8, area }, None, true, &mut to, 8).unwrap();
        assert_eq!(to[8..16], [800_u16; 4].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        assert!(weave(&Lines { data: &rows[..20], stride: 8, area }, None, true, &mut to, 8).is_err());
    }
}

//! Goes through a film's pictures: a decoder that is kept between segments, and what is shown where a picture is missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::{Decoder, Raw};
use super::{Error, Output};
use crate::media::{Shown, Track, VideoTrack};

/// Frames decoded without result before progress is told: the watchdog must know a long way from a key frame as work.
const PROGRESS_EVERY: usize = 8;
/// Decoding on to a frame at most this far ahead is cheaper than starting anew.
const SKIP_AT_MOST: usize = 8;

/// The pictures of an open source.
pub struct Cursor {
    source: PathBuf,
    track: Arc<Track>,
    shown: Vec<Shown>,
    size: (u32, u32),
    /// Black is zero in its pictures, not 16.
    is_full: bool,
    running: Option<Running>,
}

/// A decoder on its way.
struct Running {
    decoder: Decoder,
    /// Position in `shown` from which on all frames will come out.
    next: usize,
    /// Decoded, but not wanted yet.
    ahead: Option<(usize, gst::Sample)>,
    /// The last picture that came out, held where the next one is missing.
    last: Option<gst::Sample>,
    /// Its position, once one that was wanted has come out: from then on all come out, one after the other.
    seen: Option<usize>,
    /// A frame was missing or is not whole: what the decoder holds now may depend on where it started.
    damaged: bool,
}

impl Cursor {
    /// Prepares; nothing runs yet.
    pub fn new(source: &Path, video: &VideoTrack) -> Self {
        let (shown, track) = (video.track.shown(), Arc::new(video.track.clone()));
        let (size, is_full) = ((video.width, video.height), video.colour.full_range);
        Self { source: source.to_owned(), track, shown, size, is_full, running: None }
    }

    /// The file.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The packets.
    pub fn track(&self) -> &Arc<Track> {
        &self.track
    }

    /// Frames in the order they are shown. Positions are those in here.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// Width and height of the pictures as they are decoded.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The first picture of a segment, and whether it is the real one. What a decoder that goes on shows in place of a
    /// damaged one rests on pictures that one that begins has not seen: it begins here, too.
    pub fn first(
        &mut self,
        frame: usize,
        go_on: &dyn Fn() -> Result<(), Error>,
        emit: &mut dyn FnMut(Output),
    ) -> Result<(gst::Sample, bool), Error> {
        loop {
            let goes_on = self.position(frame)?;
            // A demuxer that has fallen silent may have been waited for, and then its decoder.
            emit(Output::Progress(0));
            let picture = self.frame(frame, go_on, emit)?;
            if !goes_on || self.running.as_ref().is_some_and(|d| !d.damaged) {
                return Ok(picture);
            }
        }
    }

    /// Makes sure that the decoder is on its way to this frame. True if it was before.
    fn position(&mut self, frame: usize) -> Result<bool, Error> {
        let near = |d: &Running| (d.next..=d.next + SKIP_AT_MOST).contains(&frame);
        // However the segment before ended: what a damaged decoder would make, a cold seek to here might not. Neither might it
        // make what came before a start that is none.
        let is_good = |d: &Running| !d.damaged && self.track.starts_are_exact;
        if self.running.as_ref().is_some_and(|d| is_good(d) && near(d)) {
            return Ok(true);
        }
        self.running = None;
        let wanted = self.shown[frame];
        let packets = &self.track.packets;
        let start = self.track.start_for(wanted);
        let chain = "video/x-raw";
        // The picture before may be held in place of this one, so it is decoded as well, whether others need it or not.
        let held = self.shown[..frame].iter().rev().find(|s| packets[s.packet].size > 0);
        let from = held.map_or(wanted.at, |s| s.at);
        let decoder = Decoder::open(&self.source, &self.track, start..packets.len(), from, chain)?;
        self.running = Some(Running { decoder, next: frame, ahead: None, last: None, seen: None, damaged: false });
        Ok(false)
    }

    /// The picture at a position, and whether it is the real one. A picture that cannot be decoded is replaced by the one
    /// before it, or the one after it at the start.
    pub fn frame(
        &mut self,
        wanted: usize,
        go_on: &dyn Fn() -> Result<(), Error>,
        emit: &mut dyn FnMut(Output),
    ) -> Result<(gst::Sample, bool), Error> {
        let (shown, packets, size, is_full) = (&self.shown, &self.track.packets, self.size, self.is_full);
        // Where the container repeats a picture, holding the last one is right.
        let repeats = packets[shown[wanted].packet].size == 0;
        let running = self.running.as_mut().ok_or_else(|| Error::Failed("no decoder".into()))?;
        let mut passed = 0;
        loop {
            go_on()?;
            let (position, sample) = match running.ahead.take() {
                Some(ahead) => ahead,
                None => match running.next_picture(go_on, emit)? {
                    Some(Raw { at, sample }) => match nearest(shown, at) {
                        Some(position) => {
                            running.see(position, wanted, &sample, |n| packets[shown[n].packet].size > 0);
                            (position, sample)
                        }
                        // Decoded but not presented: before an edit list's start.
                        None => continue,
                    },
                    None => {
                        emit(Output::Progress(0));
                        running.damaged |= !repeats;
                        running.next = wanted + 1;
                        let held = running.last.clone();
                        return Ok((held.map_or_else(|| black(size, is_full), Ok)?, repeats));
                    }
                },
            };
            match position.cmp(&wanted) {
                std::cmp::Ordering::Less => {
                    // It may end here, and another segment go on from where the decoder is by then.
                    running.next = running.next.max(position + 1);
                    running.last = Some(sample);
                    passed += 1;
                    if passed % PROGRESS_EVERY == 0 {
                        emit(Output::Progress(0));
                    }
                }
                std::cmp::Ordering::Equal => {
                    running.next = wanted + 1;
                    running.last = Some(sample.clone());
                    return Ok((sample, true));
                }
                std::cmp::Ordering::Greater => {
                    running.damaged |= !repeats;
                    running.next = wanted + 1;
                    let held = running.last.clone().unwrap_or_else(|| sample.clone());
                    running.ahead = Some((position, sample));
                    return Ok((held, repeats));
                }
            }
        }
    }
}

impl Running {
    /// Takes note of a picture that has come out while one was wanted: of damage that nobody may have asked for.
    fn see(&mut self, position: usize, wanted: usize, sample: &gst::Sample, is_real: impl Fn(usize) -> bool) {
        let is_corrupt = sample.buffer().is_some_and(|b| b.flags().contains(gst::BufferFlags::CORRUPTED));
        let is_missing = self.seen.is_some_and(|seen| (seen + 1..position).any(is_real));
        // Before the first that was wanted some are not even decoded.
        self.damaged |= is_missing || (is_corrupt && (self.seen.is_some() || position >= wanted));
        if self.seen.is_some() || position >= wanted {
            self.seen = Some(position);
        }
    }

    fn next_picture(
        &mut self,
        go_on: &dyn Fn() -> Result<(), Error>,
        emit: &mut dyn FnMut(Output),
    ) -> Result<Option<Raw>, Error> {
        let picture = self.decoder.next(&mut || {
            emit(Output::Progress(0));
            go_on()
        });
        // What did not come may be bridged only where it would not come to anybody.
        self.damaged |= picture.is_err();
        picture
    }
}

/// Position of the presented frame whose time is that of a decoded picture, within a tick.
fn nearest(shown: &[Shown], at: i64) -> Option<usize> {
    let after = shown.partition_point(|s| s.at < at);
    let close = |i: usize| shown.get(i).filter(|s| (s.at - at).abs() <= 1).map(|_| i);
    let exact = shown.get(after).filter(|s| s.at == at).map(|_| after);
    exact.or_else(|| close(after)).or_else(|| after.checked_sub(1).and_then(close))
}

/// A black picture; `is_full` if it will be taken for one of full range.
pub fn black(size: (u32, u32), is_full: bool) -> Result<gst::Sample, Error> {
    let failed = |e: gst::glib::BoolError| Error::Failed(e.to_string());
    let even = |n: u32| n.next_multiple_of(2);
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, even(size.0), even(size.1))
        .build()
        .map_err(failed)?;
    let mut data = vec![128; info.size()];
    let luma = info.stride()[0].unsigned_abs() as usize * even(size.1) as usize;
    data[..luma].fill(if is_full { 0 } else { 16 });
    let caps = info.to_caps().map_err(failed)?;
    Ok(gst::Sample::builder().buffer(&gst::Buffer::from_mut_slice(data)).caps(&caps).build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Colour, Rotation};
    use crate::pipeline::decode::tests::raw_track;

    fn cursor(source: &Path, full_range: bool) -> Cursor {
        gst::init().unwrap();
        let track = raw_track(8);
        let colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range };
        Cursor::new(
            source,
            &VideoTrack {
                track: Arc::unwrap_or_clone(track),
                width: 64,
                height: 64,
                crop: None,
                pixel_aspect: (1, 1),
                rotation: Rotation::None,
                rate: None,
                colour,
                peak_nits: None,
                is_8bit_420: true,
                interlaced: false,
                avcc: None,
                keys_are_idr: true,
            },
        )
    }

    /// A segment that was given up half-way left a decoder behind that had lost pictures, and the next one went on with it.
    #[test]
    fn a_decoder_that_lost_a_picture_is_not_gone_on_with_however_its_segment_ended() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 2 * 64 * 64 * 3 / 2]).unwrap();
        let mut cursor = cursor(file.path(), false);
        cursor.position(0).unwrap();
        let mut is_real = |n| cursor.frame(n, &|| Ok(()), &mut |_| ()).unwrap().1;
        assert_eq!([0, 1, 2].map(&mut is_real), [true, true, false]);
        cursor.position(3).unwrap();
        assert!(!cursor.running.unwrap().damaged, "a decoder that begins");
    }

    /// The next segment began with pictures that had gone by, and held another in their place.
    #[test]
    fn a_decoder_that_was_on_its_way_to_a_later_picture_is_not_gone_on_with_for_an_earlier_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 8 * 64 * 64 * 3 / 2]).unwrap();
        let mut cursor = cursor(file.path(), false);
        Arc::make_mut(&mut cursor.track).packets.iter_mut().skip(1).for_each(|packet| packet.key = false);
        for given_up_after in 1..8 {
            let looks = std::cell::Cell::new(0);
            let go_on = || {
                looks.set(looks.get() + 1);
                if looks.get() > given_up_after { Err(Error::Cancelled) } else { Ok(()) }
            };
            cursor.running = None;
            cursor.position(7).unwrap();
            assert!(cursor.frame(7, &go_on, &mut |_| ()).is_err());
            for n in [0, 1, 4] {
                cursor.position(n).unwrap();
                assert!(cursor.frame(n, &|| Ok(()), &mut |_| ()).unwrap().1, "{n} after {given_up_after} looks");
            }
        }
    }

    #[test]
    fn where_no_picture_is_there_at_all_black_is_black_in_the_range_of_the_source() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (full_range, black) in [(false, 16), (true, 0)] {
            let mut cursor = cursor(file.path(), full_range);
            cursor.position(0).unwrap();
            let (sample, is_real) = cursor.frame(0, &|| Ok(()), &mut |_| ()).unwrap();
            assert_eq!((sample.buffer().unwrap().map_readable().unwrap()[0], is_real), (black, false));
        }
    }
}

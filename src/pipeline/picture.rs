//! Pictures beside the video: sheets of thumbnails, and the poster. Every picture is made from the source alone, with
//! decoders of its own, so that it does not depend on what was made before.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::choose::{self, Group};
use super::decode::Decoder;
use super::score::score;
use super::template::Template;
use super::treatment::Treatment;
use super::upright::{Rgb, size_of, upright};
use super::{Error, Output, cover};
use crate::media::{Picture, Rotation, Shown, Thumbnails, Timescale, Track, scale_to_fit};

/// JPEG qualities, best first; what is too large with one is tried with the next.
const SHEET_QUALITIES: [u32; 4] = [75, 55, 35, 15];
const POSTER_QUALITIES: [u32; 4] = [85, 70, 50, 25];
/// Frames looked at for a poster ...
const CANDIDATES: i64 = 12;
/// ... between these hundredths of the film: before are titles and fades, after lies what nobody wants to know yet.
const CANDIDATES_FROM: i64 = 5;
const CANDIDATES_TO: i64 = 60;
/// Candidates are judged this large.
const JUDGED: (u32, u32) = (320, 320);
/// Decoders that make nothing of a key frame alone are given this many packets more.
const MORE_PACKETS: usize = 24;
/// Frames decoded between two signs of life.
const PROGRESS_EVERY: usize = 8;

/// What pictures are made from.
#[derive(Clone, Copy)]
pub struct Film<'a> {
    /// The file.
    pub source: &'a Path,
    /// Its video track.
    pub track: &'a Arc<Track>,
    /// Its frames in the order of time.
    pub shown: &'a [Shown],
    /// Turn towards upright.
    pub rotation: Rotation,
    /// Size of a coded picture, pixels.
    pub size: (u32, u32),
    /// What its pictures need before they are shown.
    pub treatment: &'a Treatment,
}

/// What a picture needs of whoever asked for it.
pub struct Asked<'a> {
    /// Set when it is not wanted any more.
    pub cancel: &'a AtomicBool,
    /// Hears that work goes on.
    pub emit: &'a mut dyn FnMut(Output),
}

/// Makes a picture as a JPEG file; empty if the file holds nothing to make it of.
pub fn make(
    picture: &Picture,
    source: &Path,
    film: Option<Film>,
    template: &Template,
    asked: &mut Asked,
) -> Result<Vec<u8>, Error> {
    let film = || film.ok_or_else(|| Error::Failed("the source has no video".into()));
    let (made, qualities) = match picture {
        Picture::Poster { width, height } => (poster(film()?, (*width, *height), asked)?, POSTER_QUALITIES),
        Picture::Sheet { of, number } => (sheet(film()?, of, *number, asked)?, SHEET_QUALITIES),
        Picture::Cover { width, height } => match cover::find(source, asked)? {
            Some(art) => {
                let size = scale_to_fit(size_of(&art)?, (*width, *height));
                (upright(&art, Rotation::None, size)?, POSTER_QUALITIES)
            }
            None => return Ok(Vec::new()),
        },
    };
    made.jpeg_below(template, &qualities, picture.most_bytes())
}

fn sheet(film: Film, of: &Thumbnails, number: u32, asked: &mut Asked) -> Result<Rgb, Error> {
    let milliseconds = Timescale::new(1000).expect("not zero");
    let ticks = |ms: u64| milliseconds.convert(ms.cast_signed(), film.track.timescale);
    let tiles: Vec<_> = of.on_sheet(number).filter_map(|n| of.tile(n)).collect();
    let stretches: Vec<_> = tiles.iter().map(|t| ticks(t.from_ms)..ticks(t.to_ms)).collect();
    let (width, height) = of.sheet_size();
    let mut sheet = Rgb::black(width, height);
    film.frames(&stretches, asked, &mut |n, sample| {
        let thumbnail = film.upright(sample, (of.width, of.height))?;
        sheet.put(&thumbnail, tiles[n].x, tiles[n].y);
        Ok(())
    })?;
    Ok(sheet)
}

fn poster(film: Film, size: (u32, u32), asked: &mut Asked) -> Result<Rgb, Error> {
    let (start, end) = (film.shown.first().map_or(0, |s| s.at), film.track.end);
    let at = |n: i64| {
        let share = CANDIDATES_FROM * CANDIDATES + n * (CANDIDATES_TO - CANDIDATES_FROM);
        start + i64::try_from(i128::from(end - start) * i128::from(share) / i128::from(100 * CANDIDATES)).unwrap_or(0)
    };
    let stretches: Vec<_> = (0..CANDIDATES).map(|n| at(n)..at(n + 1)).collect();
    let judged = scale_to_fit(size, JUDGED);
    let mut best: Option<(u64, gst::Sample)> = None;
    film.frames(&stretches, asked, &mut |_, sample| {
        let score = score(&film.upright(sample, judged)?);
        // The earliest of equals stays.
        if best.as_ref().is_none_or(|(best, _)| score > *best) {
            best = Some((score, sample.clone()));
        }
        Ok(())
    })?;
    let (_, sample) = best.ok_or_else(|| Error::Failed("no picture can be decoded".into()))?;
    film.upright(&sample, size)
}

type Visit<'a> = &'a mut dyn FnMut(usize, &gst::Sample) -> Result<(), Error>;

impl Film<'_> {
    /// A decoded frame as viewers of the film see it: progressive, cropped, in SDR, upright and of this size.
    fn upright(&self, sample: &gst::Sample, size: (u32, u32)) -> Result<Rgb, Error> {
        let (width, height) = if self.rotation.swaps_sides() { (size.1, size.0) } else { size };
        let mut treating = self.treatment.start((width.next_multiple_of(2), height.next_multiple_of(2)));
        let (buffer, caps) = treating.treat(sample, None)?;
        upright(&gst::Sample::builder().buffer(&buffer).caps(&caps).build(), self.rotation, size)
    }

    /// Decodes a frame for each stretch of time. A stretch whose frame cannot be decoded gets the one before it.
    fn frames(&self, stretches: &[Range<i64>], asked: &mut Asked, visit: Visit) -> Result<(), Error> {
        let pixels = u64::from(self.size.0) * u64::from(self.size.1);
        let mut held: Option<gst::Sample> = None;
        let mut missing = Vec::new();
        for group in choose::choose(self.track, self.shown, pixels, stretches) {
            let wanted = group.wanted.iter().map(|w| w.0);
            match (self.group(&group, asked, visit)?, &held) {
                (Some(last), _) => held = Some(last),
                (None, Some(held)) => wanted.into_iter().try_for_each(|n| visit(n, held))?,
                (None, None) => missing.extend(wanted),
            }
        }
        let Some(held) = &held else {
            return Err(Error::Failed("none of the pictures it needs can be decoded: the source is damaged".into()));
        };
        // Nothing came before these.
        missing.into_iter().try_for_each(|n| visit(n, held))
    }

    /// Visits all frames of a group and returns the last of them; `None`, and no visit, if nothing can be decoded.
    fn group(&self, group: &Group, asked: &mut Asked, visit: Visit) -> Result<Option<gst::Sample>, Error> {
        let alone = self.decode(group, group.packets.clone(), asked, visit)?;
        if alone.is_some() {
            return Ok(alone);
        }
        let end = (group.packets.end + MORE_PACKETS).min(self.track.packets.len());
        self.decode(group, group.packets.start..end, asked, visit)
    }

    fn decode(
        &self,
        group: &Group,
        packets: Range<usize>,
        asked: &mut Asked,
        visit: Visit,
    ) -> Result<Option<gst::Sample>, Error> {
        let first = group.wanted.first().map_or(0, |w| w.1);
        let mut decoder = Decoder::open(self.source, self.track, packets, first, "video/x-raw")?;
        let mut wanted = group.wanted.iter().copied().peekable();
        let mut last: Option<gst::Sample> = None;
        let mut seen = 0;
        while wanted.peek().is_some() {
            asked.check()?;
            let next = decoder.next(&mut || {
                (asked.emit)(Output::Progress(0));
                asked.check()
            });
            let Some(raw) = next? else { break };
            if seen % PROGRESS_EVERY == 0 {
                (asked.emit)(Output::Progress(0));
            }
            seen += 1;
            // A tick either way is rounding on the way through the decoder's clock.
            while let Some((n, at)) = wanted.next_if(|w| w.1 <= raw.at + 1) {
                let is_late = raw.at > at + 1;
                visit(n, last.as_ref().filter(|_| is_late).unwrap_or(&raw.sample))?;
            }
            last = Some(raw.sample);
        }
        if let Some(last) = &last {
            wanted.try_for_each(|(n, _)| visit(n, last))?;
        }
        Ok(last)
    }
}

impl Asked<'_> {
    /// [`Error::Cancelled`] once the picture is not wanted any more.
    fn check(&self) -> Result<(), Error> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

//! Sample tables of an MP4 or QuickTime file (ISO/IEC 14496-12 §8.6 and §8.7): exact times and places of every packet
//! without reading the media. Files this does not understand are indexed through the demuxer instead.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use mp4_atom::{Decode, FourCC, Moov, StszSamples, Trak};

use super::complaint::encrypted;
use super::found::MOST_PACKETS;
use super::splice::{self, Medium, Spliced, Stretch};
use crate::media::{Refusal, RefusalCode};

/// Largest movie header that is read, bytes.
const MOST_MOOV_BYTES: u64 = 512 << 20;
/// Most boxes at the top level that are skipped in search of `moov`.
const MOST_TOP_BOXES: usize = 10_000;

/// Longest time that is believed, ticks: sums of a few of them stay far from what a number holds.
const MOST_TICKS: i64 = 1 << 60;
/// The same of what becomes of a track, seconds: eight years.
const MOST_SECONDS: i64 = 1 << 28;
/// Most stretches of an edit list that are spliced here: all samples are looked through for each.
const MOST_STRETCHES: usize = 1000;

/// One track's tables.
#[derive(Debug)]
pub struct Table {
    /// `track_ID`.
    pub id: u32,
    /// `timescale` of the media.
    pub timescale: u32,
    /// Samples in decode order; times in `timescale`, on the movie's presentation time line.
    pub samples: Vec<TableSample>,
    /// End of the presentation, in `timescale`.
    pub end: i64,
    /// `avcC` record with 4-byte NAL unit lengths.
    pub avcc: Option<Vec<u8>>,
    /// `track_enabled`: part of the presentation.
    pub enabled: bool,
    /// What its samples are, if they are words.
    pub text: Option<TextEntry>,
    /// Another track calls it its chapters.
    pub is_chapters: bool,
    /// ISO 639-2 code.
    pub language: String,
}

/// Sample entries of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEntry {
    /// `tx3g`.
    Timed {
        /// Its samples are to be shown whatever the viewer chose.
        all_forced: bool,
    },
    /// `text`.
    QuickTime,
    /// `wvtt`.
    WebVtt,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSample {
    /// Presentation time.
    pub pts: i64,
    /// Presented according to the edit list.
    pub shown: bool,
    /// Sync sample.
    pub key: bool,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
}

/// Reads the tables of every track, or `None` if the file is not a plain (unfragmented) MP4 file whose tables agree with
/// each other and with the file's length.
pub fn tables(source: &Path) -> Option<Vec<Table>> {
    let mut file = File::open(source).ok()?;
    let length = file.metadata().ok()?.len();
    let bytes = read_moov(&mut file, length)?;
    let moov = Moov::decode(&mut bytes.as_slice()).ok()?;
    if moov.mvex.is_some() {
        return None;
    }
    let movie_scale = moov.mvhd.timescale;
    let chapters = chapter_tracks(&moov);
    moov.trak.iter().map(|trak| table(trak, movie_scale, length)).collect::<Option<Vec<_>>>().map(|tables| {
        let raw = raw_avccs(&bytes);
        let whole = |t: Table| Table {
            avcc: t.avcc.and_then(|a| own_bytes(&raw, &a)),
            is_chapters: chapters.contains(&t.id),
            ..t
        };
        tables.into_iter().map(whole).collect()
    })
}

/// What speaks against a file before any of its media is looked at: it is encrypted (ISO/IEC 14496-12 §8.12), or sizes
/// of samples are so large that readers take them for negative. Demuxers differ in what they make of either.
pub fn fault(source: &Path) -> Option<Refusal> {
    let mut file = File::open(source).ok()?;
    let length = file.metadata().ok()?.len();
    let moov = read_moov(&mut file, length)?;
    let is_protected = |kind: &[u8; 4]| boxes(&moov, kind).next().is_some();
    if is_protected(b"sinf") && (is_protected(b"encv") || is_protected(b"enca")) {
        return Some(encrypted());
    }
    let negative = boxes(&moov, b"stsz").any(|body| {
        let word = |at: usize| body.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let count = word(8).unwrap_or(0) as usize;
        let each = word(4) == Some(0);
        let sizes = body.get(12..).unwrap_or_default().chunks_exact(4).take(if each { count } else { 0 });
        let most = sizes.filter_map(|b| b.try_into().ok()).map(u32::from_be_bytes).max();
        most.or(word(4)).is_some_and(|size| size > u32::MAX / 2)
    });
    let message = "the table of sample sizes holds impossible sizes: the file is damaged";
    negative.then(|| Refusal { code: RefusalCode::Damaged, message: message.to_owned() })
}

/// Bodies of all boxes of a kind, wherever they lie. (Bytes that look like one in the midst of others hardly ever have a
/// size that fits.)
fn boxes<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> impl Iterator<Item = &'a [u8]> {
    let kind = *kind;
    bytes.windows(4).enumerate().filter(move |(_, w)| *w == kind).filter_map(move |(at, _)| {
        let size = bytes.get(at.checked_sub(4)?..at)?.try_into().map(u32::from_be_bytes).ok()? as usize;
        bytes.get(at + 4..(at - 4).checked_add(size)?)
    })
}

/// Reads `moov`, header included.
pub fn read_moov(file: &mut File, length: u64) -> Option<Vec<u8>> {
    let place = find_moov(file, length)?;
    let mut bytes = vec![0; usize::try_from(place.end - place.start).ok()?];
    file.seek(SeekFrom::Start(place.start)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Finds `moov` among the top-level boxes.
pub fn find_moov(file: &mut (impl Read + Seek), length: u64) -> Option<Range<u64>> {
    let mut at = 0;
    for _ in 0..MOST_TOP_BOXES {
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut head = [0; 16];
        file.read_exact(&mut head[..8]).ok()?;
        let mut size = u64::from(u32::from_be_bytes(head[..4].try_into().ok()?));
        let mut header = 8;
        if size == 1 {
            file.read_exact(&mut head[8..]).ok()?;
            size = u64::from_be_bytes(head[8..].try_into().ok()?);
            header = 16;
        } else if size == 0 {
            size = length.checked_sub(at)?;
        }
        let end = at.checked_add(size).filter(|&end| size >= header && end <= length)?;
        if &head[4..8] == b"moov" {
            return (size <= MOST_MOOV_BYTES).then_some(at..end);
        }
        at = end;
    }
    None
}

fn table(trak: &Trak, movie_scale: u32, length: u64) -> Option<Table> {
    let mdia = &trak.mdia;
    let timescale = mdia.mdhd.timescale;
    let stbl = &mdia.minf.stbl;
    if stbl.stsd.codecs.len() > 1 {
        // Which samples are of which entry is left to the demuxer.
        return None;
    }
    let sizes: Vec<u32> = match &stbl.stsz.samples {
        StszSamples::Identical { count, size } => {
            let count = usize::try_from(*count).ok().filter(|&c| c <= MOST_PACKETS)?;
            vec![*size; count]
        }
        StszSamples::Different { sizes } => sizes.clone(),
    };
    let offsets = offsets(stbl, &sizes, length)?;
    let decode = decode_times(stbl, sizes.len())?;
    let composition = compositions(stbl, sizes.len())?;
    let (stretches, tick) = edits(trak, timescale, movie_scale)?;
    let mut key = vec![stbl.stss.is_none(); sizes.len()];
    for &number in stbl.stss.iter().flat_map(|s| &s.entries) {
        *key.get_mut(usize::try_from(number).ok()?.checked_sub(1)?)? = true;
    }
    let times: Vec<i64> = decode.iter().zip(&composition).map(|(d, c)| d.0 + c).collect();
    let sample = |i: usize| TableSample { pts: times[i], shown: true, key: key[i], offset: offsets[i], size: sizes[i] };
    let media: Vec<Medium> = (0..sizes.len()).map(|i| (sample(i), decode[i].1)).collect();
    let most = i64::from(timescale) * MOST_SECONDS;
    let is_believable = |at: i64| (-most..=most).contains(&at);
    if !media.iter().all(|(sample, _)| is_believable(sample.pts)) {
        return None;
    }
    let is_sound = mdia.hdlr.handler == FourCC::new(b"soun");
    let Spliced { samples, end, finer } = match stretches.as_slice() {
        [stretch] => splice::one(&media, *stretch, tick),
        many if is_sound => splice::sound(&media, many)?,
        many => splice::pictures(&media, many, tick)?,
    };
    let timescale = timescale.checked_mul(finer)?;
    let most = i64::from(timescale) * MOST_SECONDS;
    let is_believable = |at: i64| (-most..=most).contains(&at);
    if !is_believable(end) || !samples.iter().all(|s| is_believable(s.pts)) {
        return None;
    }
    let avcc = stbl.stsd.codecs.iter().find_map(|codec| match codec {
        mp4_atom::Codec::Avc1(avc1) if avc1.avcc.length_size == 4 => Some(sps_of(&avc1.avcc)),
        _ => None,
    });
    let (id, enabled) = (trak.tkhd.track_id, trak.tkhd.enabled);
    Some(Table {
        id,
        timescale,
        samples,
        end,
        avcc: avcc.flatten(),
        enabled,
        text: text_entry(&stbl.stsd),
        is_chapters: false,
        language: mdia.mdhd.language.clone(),
    })
}

/// Display flag of `tx3g` that QuickTime sets where all samples are forced.
const ALL_FORCED: u32 = 0x8000_0000;

fn text_entry(stsd: &mp4_atom::Stsd) -> Option<TextEntry> {
    match stsd.codecs.as_slice() {
        [mp4_atom::Codec::Tx3g(entry)] => Some(TextEntry::Timed { all_forced: entry.display_flags & ALL_FORCED != 0 }),
        [mp4_atom::Codec::Wvtt(_)] => Some(TextEntry::WebVtt),
        [mp4_atom::Codec::Unknown(kind, _)] if kind.as_ref() == b"text" => Some(TextEntry::QuickTime),
        _ => None,
    }
}

/// Tracks that another refers to as its chapters (QuickTime File Format, track references).
fn chapter_tracks(moov: &Moov) -> Vec<u32> {
    let references = moov.trak.iter().filter_map(|t| t.tref.as_ref()).flat_map(|t| &t.track_reference_type_boxes);
    references.filter(|r| r.reference_type.as_ref() == b"chap").flat_map(|r| r.track_ids.iter().copied()).collect()
}

fn sps_of(avcc: &mp4_atom::Avcc) -> Option<Vec<u8>> {
    avcc.sequence_parameter_sets.first().map(|sps| sps.to_vec())
}

/// The bodies of all `avcC` boxes, byte for byte: what is passed through is passed through unparsed.
fn raw_avccs(moov: &[u8]) -> Vec<Vec<u8>> {
    boxes(moov, b"avcC").map(<[u8]>::to_vec).collect()
}

/// The record that holds this sequence parameter set.
fn own_bytes(records: &[Vec<u8>], sps: &[u8]) -> Option<Vec<u8>> {
    let holds = |r: &&Vec<u8>| r.first() == Some(&1) && r.get(8..8 + sps.len()) == Some(sps);
    records.iter().find(holds).cloned()
}

fn offsets(stbl: &mp4_atom::Stbl, sizes: &[u32], length: u64) -> Option<Vec<u64>> {
    let chunks: Vec<u64> = match (&stbl.stco, &stbl.co64) {
        (Some(stco), _) => stco.entries.iter().map(|&o| u64::from(o)).collect(),
        (None, Some(co64)) => co64.entries.clone(),
        (None, None) => Vec::new(),
    };
    let runs = &stbl.stsc.entries;
    let mut offsets = Vec::with_capacity(sizes.len());
    for (i, run) in runs.iter().enumerate() {
        let first = usize::try_from(run.first_chunk).ok()?.checked_sub(1)?;
        let next =
            runs.get(i + 1).map_or(Some(chunks.len()), |n| usize::try_from(n.first_chunk).ok()?.checked_sub(1))?;
        for &chunk in chunks.get(first..next)? {
            let mut at = chunk;
            for _ in 0..run.samples_per_chunk {
                let Some(&size) = sizes.get(offsets.len()) else { break };
                offsets.push(at);
                at = at.checked_add(u64::from(size)).filter(|&end| end <= length)?;
            }
        }
    }
    (offsets.len() == sizes.len()).then_some(offsets)
}

/// Decode time and duration of each sample. A negative duration, which some files have in the end, is that of the sample
/// before, or one tick.
fn decode_times(stbl: &mp4_atom::Stbl, count: usize) -> Option<Vec<(i64, u32)>> {
    let mut times = Vec::with_capacity(count);
    let (mut at, mut before) = (0_i64, 1);
    for entry in &stbl.stts.entries {
        let delta = if i32::try_from(entry.sample_delta).is_ok() { entry.sample_delta } else { before };
        before = delta;
        for _ in 0..entry.sample_count {
            if times.len() == count {
                return None;
            }
            times.push((at, delta));
            at = at.checked_add(i64::from(delta))?;
        }
    }
    (times.len() == count).then_some(times)
}

fn compositions(stbl: &mp4_atom::Stbl, count: usize) -> Option<Vec<i64>> {
    let Some(ctts) = &stbl.ctts else { return Some(vec![0; count]) };
    let mut offsets = Vec::with_capacity(count);
    for entry in &ctts.entries {
        // QuickTime writes negative offsets into version 0 boxes too.
        let offset = if entry.sample_offset > i64::from(i32::MAX) {
            entry.sample_offset - (1 << 32)
        } else {
            entry.sample_offset
        };
        let left = count.checked_sub(offsets.len())?;
        offsets.extend(std::iter::repeat_n(offset, left.min(usize::try_from(entry.sample_count).ok()?)));
    }
    offsets.resize(count, 0);
    Some(offsets)
}

/// The stretches of media in a track's edit list, all of it without one, and the length of one tick of the movie's timescale,
/// the precision of their ends, in the media's.
fn edits(trak: &Trak, timescale: u32, movie_scale: u32) -> Option<(Vec<Stretch>, i64)> {
    let scaled = |ticks: u64| {
        let wide = u128::from(ticks) * u128::from(timescale) / u128::from(movie_scale.max(1));
        i64::try_from(wide).ok().filter(|ticks| *ticks <= MOST_TICKS)
    };
    let entries = trak.edts.as_ref().and_then(|e| e.elst.as_ref()).map(|e| e.entries.as_slice()).unwrap_or_default();
    let (mut stretches, mut presented) = (Vec::new(), 0_u64);
    for entry in entries {
        let at = scaled(presented)?;
        presented = presented.checked_add(entry.segment_duration)?;
        let ends = scaled(presented)?;
        if let Some(time) = entry.media_time {
            let from = i64::try_from(time).ok().filter(|ticks| *ticks <= MOST_TICKS)?;
            let until = (entry.segment_duration > 0).then_some(from + (ends - at));
            if stretches.len() == MOST_STRETCHES {
                return None;
            }
            stretches.push(Stretch { at, from, until });
        }
    }
    if stretches.is_empty() {
        stretches.push(Stretch { at: scaled(presented)?, from: 0, until: None });
    }
    Some((stretches, scaled(1)?))
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Edts, Elst, ElstEntry};

    use super::*;

    #[test]
    fn edit_lists_that_sum_up_to_centuries_are_left_to_the_demuxer() {
        let entry = |segment_duration, media_time| ElstEntry { segment_duration, media_time, ..ElstEntry::default() };
        let edited = |entries| {
            let edts = Some(Edts { elst: Some(Elst { entries }) });
            edits(&Trak { edts, ..Trak::default() }, 1000, 1000).map(|(edits, _)| (edits[0].at, edits[0].from))
        };
        assert_eq!(edited(vec![entry(500, None), entry(9, Some(40))]), Some((500, 40)));
        assert_eq!(edited(vec![entry(1 << 60, None), entry(1, None)]), None);
        assert_eq!(edited(vec![entry(u64::MAX, None)]), None);
        assert_eq!(edited(vec![entry(1, Some(u64::MAX >> 1))]), None);
    }

    /// Each took a look at every sample: a small file kept an inspection busy until it was ended.
    #[test]
    fn edit_lists_of_more_stretches_than_anybody_cuts_are_left_to_the_demuxer() {
        let edited = |count: u64| {
            let entry = |n| ElstEntry { segment_duration: 1, media_time: Some(n), ..ElstEntry::default() };
            let elst = Elst { entries: (0..count).map(entry).collect() };
            let trak = Trak { edts: Some(Edts { elst: Some(elst) }), ..Trak::default() };
            edits(&trak, 1000, 1000).map(|(stretches, _)| stretches.len())
        };
        assert_eq!((edited(1000), edited(1001)), (Some(1000), None));
    }
}

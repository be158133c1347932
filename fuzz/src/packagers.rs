//! Samples on their way into segments, and what is made of segments again. Holds: what the check lets through is what the
//! grid says; a segment that is read by the letter of ISO/IEC 14496-12 gives the samples that went in, and a transport
//! stream by that of ISO/IEC 13818-1; a picture is carved as it was; and bytes that are none of ours, damaged ones and
//! samples that fit nowhere are errors and never a panic.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use matinee::media::{
    AudioRendition, AudioSource, Colour, Cut, Grid, Label, Picture, Plan, Program, Rate, Rendition, RenditionKind,
    Sample, Timescale, VideoRendition, VideoSource,
};
use matinee::packager::mpegts::{Coded, mux};
use matinee::packager::{Chunker, Error, Tally, check_jpeg, iframe, init, text};

/// `avcC` record of High profile with one parameter set of each kind.
const AVCC: [u8; 20] = [1, 100, 0, 31, 0xFF, 0xE1, 0, 4, 0x67, 100, 0, 31, 1, 0, 1, 0x68, 0xFD, 0xF8, 0xF8, 0];
/// AAC-LC, 48 kHz, stereo.
const ASC: [u8; 2] = [0x11, 0x90];
/// Longest frame that a header of ADTS can tell of, bytes.
const MOST_ADTS: usize = (1 << 13) - 1 - 7;

/// Tries some bytes as choices.
pub fn run(data: &[u8]) {
    let _ = tried(&mut Unstructured::new(data));
}

fn tried(u: &mut Unstructured) -> Result<()> {
    let is_video = u.arbitrary()?;
    match u.int_in_range(0..=7)? {
        0..=3 => packaged(&Segment::chosen(u, is_video)?),
        4..=6 => damaged(u, is_video)?,
        _ => foreign(u)?,
    }
    Ok(())
}

/// One segment of a title.
struct Segment {
    rendition: Rendition,
    samples: Vec<Sample>,
    config: Vec<u8>,
    chunk_ticks: u64,
    /// Nothing speaks against it.
    is_right: bool,
}

impl Segment {
    fn chosen(u: &mut Unstructured, is_video: bool) -> Result<Self> {
        let mut is_right = u.ratio(2, 3)?;
        let start = u.int_in_range(0..=1_u64 << 50)?;
        let step = if is_video { u.int_in_range(1..=200_000)? } else { 1024 };
        let count = u.int_in_range(1..=40_u32)?;
        let mut samples = (0..count)
            .map(|n| {
                let data = if is_video { picture(u, n == 0)? } else { bytes(u)? };
                Ok(Sample { duration: step, composition: 0, sync: n == 0 || !is_video, data: data.into() })
            })
            .collect::<Result<Vec<Sample>>>()?;
        // Of some pictures each is shown a place earlier, and the first of them behind them all.
        let group = u.int_in_range(2..=4_usize)?;
        if is_video && u64::from(step) < 1 << 20 && u.arbitrary()? {
            for few in samples[1..].chunks_exact_mut(group) {
                few.iter_mut().for_each(|s| s.composition = -step.cast_signed());
                few[0].composition = step.cast_signed() * (group as i32 - 1);
            }
        }
        if !is_right {
            is_right = !Self::spoil(u, &mut samples)?;
        }
        let ticks = samples.iter().map(|s| u64::from(s.duration)).sum::<u64>();
        let (mut frames, mut length) = (samples.len() as u64, ticks.max(1));
        if u.ratio(1, 8)? {
            (frames, length) = (u.int_in_range(1..=41)?, u.int_in_range(1..=1 << 40)?);
            is_right &= frames == samples.len() as u64 && length == ticks;
        }
        let cuts = vec![Cut { frame: 0, at: start }, Cut { frame: frames, at: start + length }];
        let timescale = Timescale::new(if is_video { u.int_in_range(1..=u32::MAX)? } else { 48_000 });
        let grid = Grid::new(timescale.expect("not zero"), cuts).expect("strictly rises");
        let config = if is_video { &AVCC[..] } else { &ASC };
        let config = if u.ratio(1, 8)? { bytes(u)? } else { config.to_vec() };
        Ok(Self {
            rendition: rendition(grid, is_video),
            samples,
            config,
            chunk_ticks: u.int_in_range(1..=1 << 30)?,
            is_right,
        })
    }

    /// Breaks a rule; false if it broke none after all.
    fn spoil(u: &mut Unstructured, samples: &mut Vec<Sample>) -> Result<bool> {
        let before = samples.clone();
        let sample = u.choose_index(samples.len())?;
        match u.int_in_range(0..=5)? {
            0 => samples[sample].duration = u.arbitrary()?,
            1 => samples[sample].composition = u.arbitrary()?,
            2 => samples[sample].sync = u.arbitrary()?,
            3 => samples[sample].data = bytes(u)?.into(),
            4 => samples[sample].data = Bytes::new(),
            _ => drop(samples.remove(sample)),
        }
        samples.truncate(40);
        if samples.is_empty() {
            *samples = before.clone();
        }
        Ok(*samples != before)
    }

    fn is_video(&self) -> bool {
        self.rendition.video().is_some()
    }

    /// Its bytes, chunk by chunk.
    fn chunks(&self) -> Vec<Bytes> {
        let mut chunker = Chunker::new(7, self.rendition.grid.cuts()[0].at, self.chunk_ticks);
        let mut made: Vec<Bytes> = self.samples.iter().filter_map(|s| chunker.push(s.clone())).collect();
        made.extend(chunker.finish());
        made
    }

    fn coded(&self) -> std::result::Result<Coded, Error> {
        Ok(Coded { init: init(&self.rendition, &self.config)?, segment: self.chunks().concat().into() })
    }

    /// The only rendition of a title.
    fn plan(&self) -> Plan {
        Plan { renditions: vec![self.rendition.clone()], tracks: Vec::new() }
    }
}

/// A few bytes, seldom many.
fn bytes(u: &mut Unstructured) -> Result<Vec<u8>> {
    if u.ratio(1, 32)? {
        return Ok(vec![u.arbitrary()?; u.int_in_range(1..=70_000)?]);
    }
    let length = usize::from(u.arbitrary::<u8>()? >> 2);
    Ok(u.bytes(length.min(u.len()))?.iter().copied().chain([1]).collect())
}

/// An access unit with lengths.
fn picture(u: &mut Unstructured, is_idr: bool) -> Result<Vec<u8>> {
    let mut unit = Vec::new();
    for kind in (0..u.int_in_range(0..=2)?).map(|n| if n == 0 { 9 } else { 6 }).chain([if is_idr { 5 } else { 1 }]) {
        let body = bytes(u)?;
        unit.extend_from_slice(&u32::try_from(body.len() + 1).expect("short").to_be_bytes());
        unit.push(0x60 | kind);
        unit.extend_from_slice(&body);
    }
    Ok(unit)
}

fn rendition(grid: Grid, is_video: bool) -> Rendition {
    let kind = if is_video {
        RenditionKind::Video(VideoRendition {
            width: 640,
            height: 360,
            rate: Rate::new(25, 1).expect("not zero"),
            peak_rate: None,
            colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            audio: None,
            source: VideoSource::Encode { ceiling: 1, level: 31, min_frame_ticks: 0 },
        })
    } else {
        RenditionKind::Audio(AudioRendition {
            track: 0,
            rate: 48_000,
            channels: 2,
            language: "en-GB".into(),
            label: Label::default(),
            source: AudioSource::Encode { bitrate: 128_000 },
        })
    };
    let codecs = if is_video { "avc1.64001F" } else { "mp4a.40.2" };
    let name = "rendition".parse().expect("a name");
    Rendition { name, grid, codecs: codecs.into(), bandwidth: 1_000_000, average_bandwidth: None, kind }
}

fn packaged(segment: &Segment) {
    judged(segment);
    let chunks = segment.chunks();
    let whole = chunks.concat();
    assert_eq!(chunks, segment.chunks(), "the same whenever it is made");
    let start = segment.rendition.grid.cuts()[0].at;
    read(&whole, start, &segment.samples);
    if let Ok(init) = init(&segment.rendition, &segment.config) {
        boxes(&init);
        let carries = init.windows(segment.config.len().max(1)).any(|w| w == segment.config);
        assert!(carries, "the configuration is carried byte for byte");
    }
    carved(segment, &whole);
    wrapped(segment);
}

/// What the check lets through is what the grid promises, and what is right it lets through.
fn judged(segment: &Segment) {
    let grid = &segment.rendition.grid;
    let mut tally = Tally::new(&segment.rendition, 0).expect("the first segment");
    let verdict = segment.samples.iter().try_for_each(|s| tally.push(s)).and_then(|()| tally.finish());
    assert!(verdict.is_ok() || !segment.is_right, "{verdict:?}");
    if verdict.is_ok() {
        let (from, to) = grid.segment(0).expect("the first");
        let mut at = from.at;
        let mut shown = Vec::new();
        for sample in &segment.samples {
            shown.push(u64::try_from(i128::from(at) + i128::from(sample.composition)).expect("after zero"));
            at += u64::from(sample.duration);
            assert!(!sample.data.is_empty() && sample.duration > 0);
        }
        assert_eq!((segment.samples.len() as u64, at, shown[0]), (grid.frames(0), to.at, from.at));
        assert!(segment.samples[0].sync && shown.iter().all(|t| (from.at..to.at).contains(t)));
        shown.sort_unstable();
        assert!(shown.windows(2).all(|w| w[0] < w[1]), "each has its own moment");
    }
    assert_eq!(Tally::new(&segment.rendition, 1).err(), Some(Error::NoSegment { number: 1, segments: 1 }));
}

/// The boxes of some bytes, which they fill.
fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let size = be(&bytes[..4]) as usize;
        found.push((bytes[4..8].try_into().expect("four"), &bytes[8..size]));
        bytes = &bytes[size..];
    }
    found
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

fn child<'a>(body: &'a [u8], kind: &[u8; 4]) -> &'a [u8] {
    boxes(body).into_iter().find(|(k, _)| k == kind).expect("a box of this kind").1
}

/// Reads a segment by the letter of ISO/IEC 14496-12 §8.8 and finds these samples.
fn read(segment: &[u8], start: u64, samples: &[Sample]) {
    let (mut expected, mut time, mut at, mut sequence) = (samples.iter(), start, 0, None);
    for (kind, body) in boxes(segment) {
        if &kind == b"moof" {
            let number = be(&child(body, b"mfhd")[4..8]);
            assert!(sequence.is_none_or(|before| number == before + 1), "sequence numbers rise");
            sequence = Some(number);
            let traf = child(body, b"traf");
            let (tfhd, tfdt, trun) = (child(traf, b"tfhd"), child(traf, b"tfdt"), child(traf, b"trun"));
            assert_eq!((tfdt[0], be(&tfdt[4..12])), (1, time));
            let flags = be(&tfhd[1..4]);
            let mut defaults = tfhd[8..].chunks_exact(4).map(be);
            let mut default = |bit: u64| (flags & bit != 0).then(|| defaults.next().expect("as flagged"));
            let (duration, common) = (default(0x08), default(0x20));
            let flags = be(&trun[1..4]);
            let mut fields = trun[4..].chunks_exact(4).map(be);
            let mut field = |bit: u64| (bit == 0 || flags & bit != 0).then(|| fields.next().expect("as flagged"));
            let count = field(0).expect("always there");
            let mut data = at + field(0x001).expect("written here") as usize;
            let first = field(0x004);
            for n in 0..count {
                let sample = expected.next().expect("no more than went in");
                assert_eq!(field(0x100).or(duration), Some(sample.duration.into()));
                let size = field(0x200).expect("written here") as usize;
                let own = field(0x400).or(first.filter(|_| n == 0)).or(common).expect("flags");
                assert_eq!(own & 0x1_0000 == 0, sample.sync);
                let composition = field(0x800).unwrap_or(0) as u32;
                assert_eq!(composition.cast_signed(), sample.composition);
                assert_eq!(segment[data..data + size], sample.data);
                data += size;
                time += u64::from(sample.duration);
            }
            assert_eq!(fields.next(), None);
        }
        at += 8 + body.len();
    }
    assert!(expected.next().is_none(), "all that went in");
}

/// The first picture, from the whole and from any part that has it.
fn carved(segment: &Segment, whole: &[u8]) {
    let grid = &segment.rendition.grid;
    let first = &segment.samples[0];
    let from_whole = iframe(grid, 0, whole);
    match &from_whole {
        Ok(Some(picture)) => {
            let (from, to) = grid.segment(0).expect("the first");
            let duration = u32::try_from(to.at - from.at).unwrap_or(u32::MAX);
            read(picture, from.at, &[Sample { duration, composition: 0, sync: true, data: first.data.clone() }]);
        }
        Ok(None) => panic!("a whole segment has its first picture"),
        Err(error) => panic!("{error}"),
    }
    for part in [whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        match iframe(grid, 0, &whole[..part]) {
            Ok(None) => {}
            early => assert_eq!(early, from_whole, "from {part} of {} bytes", whole.len()),
        }
    }
}

/// A transport stream carries the same.
fn wrapped(segment: &Segment) {
    let plan = segment.plan();
    let Some(program) = Program::of(&plan, &plan.renditions[0]) else { return };
    let Ok(coded) = segment.coded() else { return };
    let one = |wanted| Some(&coded).filter(|_| segment.is_video() == wanted);
    assert!(mux(&program, 0, one(false), one(true)).is_err(), "pictures are no sound");
    let made = mux(&program, 0, one(true), one(false));
    assert_eq!(made, mux(&program, 0, one(true), one(false)), "the same whenever it is made");
    let fits = |s: &Sample| if segment.is_video() { units(&s.data).is_some() } else { s.data.len() <= MOST_ADTS };
    let is_standard = segment.config == AVCC || segment.config == ASC;
    let Ok(stream) = made else {
        let expected = segment.is_right && is_standard && segment.samples.iter().all(fits);
        assert!(!expected, "a right segment is refused: {made:?}");
        return;
    };
    if is_standard {
        assert!(segment.samples.iter().all(fits), "what fits nowhere was carried");
        let wrap = if segment.is_video() { annex_b } else { adts };
        let sent: Vec<u8> = segment.samples.iter().flat_map(wrap).collect();
        assert!(demuxed(&stream) == sent, "another stream than went in");
    }
}

/// The NAL units of a sample, if its lengths fill it and none is empty.
fn units(mut data: &[u8]) -> Option<Vec<&[u8]>> {
    let mut units = Vec::new();
    while !data.is_empty() {
        let (length, rest) = data.split_first_chunk::<4>()?;
        let (unit, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        units.push(Some(unit).filter(|unit| !unit.is_empty())?);
        data = rest;
    }
    Some(units)
}

/// A picture as a transport stream has it: a delimiter, the parameter sets before key frames, start codes.
fn annex_b(sample: &Sample) -> Vec<u8> {
    let sets: &[&[u8]] = if sample.sync { &[&AVCC[8..12], &AVCC[15..16]] } else { &[] };
    let units = units(&sample.data).expect("as was asked");
    let units = units.into_iter().filter(|unit| unit[0] & 31 != 9);
    let all = [&[0x09, 0xF0][..]].into_iter().chain(sets.iter().copied()).chain(units);
    all.flat_map(|unit| [&[0, 0, 0, 1], unit].concat()).collect()
}

/// A frame of sound behind its header (ISO/IEC 14496-3 §1.A.3.2).
fn adts(sample: &Sample) -> Vec<u8> {
    let length = sample.data.len() + 7;
    let header = [0xFF, 0xF1, 0x4C, 0x80 | (length >> 11) as u8, (length >> 3) as u8, (length << 5) as u8 | 0x1F, 0xFC];
    [&header[..], &sample.data].concat()
}

/// What the PES packets of pictures or sound carry, by the letter of ISO/IEC 13818-1 §2.4.3.
fn demuxed(stream: &[u8]) -> Vec<u8> {
    let (mut carried, mut next, mut open) = (Vec::new(), [None::<u8>; 2], [(); 2].map(|()| Vec::new()));
    assert!(stream.len().is_multiple_of(188));
    for packet in stream.chunks(188) {
        let pid = be(&packet[1..3]) as usize & 0x1FFF;
        assert!(packet[0] == 0x47 && [0, 0x1000, 0x100, 0x101].contains(&pid));
        if pid & 0x100 == 0 {
            continue;
        }
        let (which, counter) = (pid & 1, packet[3] & 15);
        let field = if packet[3] & 0x20 == 0 { 0 } else { usize::from(packet[4]) + 1 };
        if packet[3] & 0x10 == 0 {
            continue;
        }
        assert!(next[which].is_none_or(|next| next == counter), "a packet is missing");
        next[which] = Some((counter + 1) & 15);
        if packet[1] & 0x40 != 0 {
            carried.extend_from_slice(behind_header(&open[which]));
            open[which].clear();
        }
        open[which].extend_from_slice(&packet[4 + field..]);
    }
    assert!(next.into_iter().flatten().all(|next| next == 0), "counters end where they began");
    open.iter().fold(carried, |carried, rest| [&carried, behind_header(rest)].concat())
}

/// What follows the header of a PES packet, if there is one.
fn behind_header(packet: &[u8]) -> &[u8] {
    if packet.is_empty() {
        return packet;
    }
    assert_eq!((be(&packet[..3]), packet[6] >> 6), (1, 2));
    &packet[9 + usize::from(packet[8])..]
}

/// Segments that somebody changed, or that belong to something else.
fn damaged(u: &mut Unstructured, is_video: bool) -> Result<()> {
    let segment = Segment::chosen(u, is_video)?;
    let plan = segment.plan();
    let Some(program) = Program::of(&plan, &plan.renditions[0]) else { return Ok(()) };
    let Ok(mut coded) = segment.coded() else { return Ok(()) };
    for bytes in [&mut coded.init, &mut coded.segment] {
        let mut changed = bytes.to_vec();
        for _ in 0..u.int_in_range(0..=4)? {
            // Boxes lie at the beginning.
            let near = if u.arbitrary()? { 600 } else { usize::MAX };
            let at = u.choose_index(changed.len().min(near))?;
            match u.int_in_range(0..=3)? {
                0 => changed[at] = u.arbitrary()?,
                1 => drop(changed.splice(at..at, u.arbitrary::<[u8; 4]>()?)),
                2 => changed.truncate(at + 1),
                _ => {
                    let word = *u.choose(&[0, 1, 8, u32::MAX, i32::MAX as u32, 0x8000_0000, 0x0100_0000])?;
                    changed.iter_mut().skip(at).zip(word.to_be_bytes()).for_each(|(old, new)| *old = new);
                }
            }
        }
        *bytes = changed.into();
    }
    made_of(&segment, &program, &coded);
    Ok(())
}

fn made_of(segment: &Segment, program: &Program, coded: &Coded) {
    for (video, audio) in [(Some(coded), None), (None, Some(coded)), (Some(coded), Some(coded))] {
        if let Ok(stream) = mux(program, 0, video, audio) {
            demuxed(&stream);
        }
    }
    if let Ok(Some(picture)) = iframe(&segment.rendition.grid, 0, &coded.segment) {
        boxes(&picture);
    }
}

/// Bytes that never were a segment.
fn foreign(u: &mut Unstructured) -> Result<()> {
    let is_video = u.arbitrary()?;
    let segment = Segment::chosen(u, is_video)?;
    let plan = segment.plan();
    let Some(program) = Program::of(&plan, &plan.renditions[0]) else { return Ok(()) };
    let size = (u.int_in_range(1..=2000)?, u.int_in_range(1..=2000)?);
    let init = if u.arbitrary()? { bytes(u)?.into() } else { segment.coded().map(|c| c.init).unwrap_or_default() };
    let rest = Bytes::copy_from_slice(u.bytes(u.len())?);
    made_of(&segment, &program, &Coded { init, segment: rest.clone() });
    let is_text = rest.starts_with(b"WEBVTT\n") && str::from_utf8(&rest).is_ok();
    assert_eq!(text(rest.clone()).ok(), is_text.then(|| rest.clone()));
    let (width, height) = size;
    for picture in [Picture::Poster { width, height }, Picture::Cover { width, height }] {
        let whole = [&[0xFF, 0xD8], &rest[..], &[0xFF, 0xD9]].concat();
        let frame =
            [0xFF, 0xC0, 0, 11, 8, (height >> 8) as u8, height as u8, (width >> 8) as u8, width as u8, 1, 1, 0x11, 0];
        let right = [&[0xFF, 0xD8], &frame[..], &rest, &[0xFF, 0xD9]].concat();
        assert_eq!(check_jpeg(&picture, &right), Ok(()), "its first frame is of this size");
        for file in [&rest[..], &whole] {
            let is_one = file.is_empty() || (file.starts_with(&[0xFF, 0xD8]) && file.ends_with(&[0xFF, 0xD9]));
            assert!(check_jpeg(&picture, file).is_err() || is_one, "no picture is one");
        }
    }
    Ok(())
}

//! Segments of made-up titles, wrapped in any order and taken apart by a reader of their own. What an independent program
//! makes of them is looked at in `tests/suite/transport.rs`.

mod demux;

use bytes::Bytes;
use proptest::prelude::*;

use crate::media::{
    Cut, Grid, Plan, Program, Rate, Rendition, RenditionKind, Sample, Timescale, VideoRendition, VideoSource,
};

use super::super::testing::{audio_rendition, video_rendition};
use super::super::{Chunker, init};
use super::*;
use demux::Stream;

/// High profile, one SPS and one PPS.
const AVCC: [u8; 20] = [1, 100, 0, 31, 0xFF, 0xE1, 0, 4, 0x67, 100, 0, 31, 1, 0, 1, 0x68, 0xFD, 0xF8, 0xF8, 0];
/// AAC-LC, 48 kHz, stereo.
const ASC: [u8; 2] = [0x11, 0x90];

/// A title of made-up frames.
#[derive(Debug)]
struct Film {
    plan: Plan,
    /// By segment.
    pictures: Vec<Vec<Sample>>,
    sound: Vec<Vec<Sample>>,
}

fn picture(number: usize, duration: u32, composition: i32, bytes: usize, delimiter: bool) -> Sample {
    let sync = number == 0;
    let mut data = Vec::new();
    if delimiter {
        data.extend([0, 0, 0, 2, 0x09, 0x10]);
    }
    data.extend((bytes as u32 + 1).to_be_bytes());
    data.push(if sync { 0x65 } else { 0x41 });
    data.extend((0..bytes).map(|i| (i * 7 + number) as u8 | 1));
    Sample { duration, composition, sync, data: data.into() }
}

/// Frames of a segment in groups of which the last is decoded first, as encoders without a pyramid do.
fn pictures(sizes: &[usize], ticks: u32, group: usize, delimiter: bool) -> Vec<Sample> {
    let mut shown = vec![0];
    for first in (1..sizes.len()).step_by(group) {
        let last = (first + group).min(sizes.len()) - 1;
        shown.push(last);
        shown.extend(first..last);
    }
    let composition = |at: usize| (shown[at] as i32 - at as i32) * ticks.cast_signed();
    sizes.iter().enumerate().map(|(at, size)| picture(at, ticks, composition(at), *size, delimiter)).collect()
}

impl Film {
    /// `rate` pictures in 1001 ticks each; sound of 48 kHz beside it, cut at the frame nearest to the picture's boundary,
    /// that lasts `tail` frames longer.
    fn new(start: u64, rate: (u32, u32), sizes: &[Vec<usize>], group: usize, sound: Option<(usize, u64)>) -> Self {
        let scale = Timescale::new(rate.0).unwrap();
        let mut cuts = vec![Cut { frame: 0, at: start }];
        for segment in sizes {
            let Cut { frame, at } = cuts[cuts.len() - 1];
            let frames = segment.len() as u64;
            cuts.push(Cut { frame: frame + frames, at: at + frames * u64::from(rate.1) });
        }
        let heard = Timescale::new(48_000).unwrap();
        let frame = |cut: &Cut| (scale.convert(cut.at.cast_signed(), heard).cast_unsigned() + 512) / 1024;
        let mut frames: Vec<u64> = cuts.iter().map(frame).collect();
        let (kind, tail) = sound.unwrap_or((1, 0));
        *frames.last_mut().unwrap() += tail;
        for at in 1..frames.len() {
            frames[at] = frames[at].max(frames[at - 1] + 1);
        }
        let sound_cuts = frames.iter().map(|f| Cut { frame: f - frames[0], at: f * 1024 }).collect();
        let frame_of = |n: u64| Bytes::from(vec![n as u8; 6 + (n as usize * 37) % (kind * 100)]);
        let sample = |n: u64| Sample { duration: 1024, composition: 0, sync: true, data: frame_of(n) };
        let mut video = video_rendition(Grid::new(scale, cuts).unwrap(), 640, 360);
        let audio = audio_rendition(Grid::new(heard, sound_cuts).unwrap(), "und");
        if let RenditionKind::Video(VideoRendition { rate: shown, audio: goes_with, .. }) = &mut video.kind {
            *shown = Rate::new(rate.0, rate.1).unwrap();
            *goes_with = sound.is_some().then(|| audio.name.clone());
        }
        Self {
            plan: Plan { renditions: vec![video, audio], ..Plan::default() },
            pictures: sizes.iter().map(|sizes| pictures(sizes, rate.1, group, sizes.len() % 2 == 0)).collect(),
            sound: frames.windows(2).map(|w| (w[0]..w[1]).map(sample).collect()).collect(),
        }
    }

    fn program(&self, rendition: usize) -> Program<'_> {
        Program::of(&self.plan, &self.plan.renditions[rendition]).unwrap()
    }

    fn coded(&self, rendition: usize, number: u32) -> Option<Coded> {
        let of = &self.plan.renditions[rendition];
        let (samples, config) = [(&self.pictures, &AVCC[..]), (&self.sound, &ASC[..])][rendition];
        let samples = samples.get(number as usize)?;
        let timescale = of.grid.timescale().get();
        let mut chunker = Chunker::new(number, of.grid.segment(number).unwrap().0.at, u64::from(timescale) / 2);
        let mut segment: Vec<u8> = samples.iter().filter_map(|s| chunker.push(s.clone())).flatten().collect();
        segment.extend(chunker.finish().unwrap_or_default());
        Some(Coded { init: init(of, config).unwrap(), segment: segment.into() })
    }

    /// Segments in the order of the numbers.
    fn mux(&self, rendition: usize, numbers: impl Iterator<Item = u32>) -> Vec<(u32, Bytes)> {
        let program = self.program(rendition);
        let part = |track: Option<&Rendition>, index, number| track.and_then(|_| self.coded(index, number));
        let one = |number| {
            let (video, audio) = (part(program.video, 0, number), part(program.audio, 1, number));
            (number, mux(&program, number, video.as_ref(), audio.as_ref()).unwrap())
        };
        numbers.map(one).collect()
    }
}

fn film() -> impl Strategy<Value = Film> {
    let rate = prop_oneof![
        Just((24_000, 1001)),
        Just((25, 1)),
        Just((30_000, 1001)),
        Just((60, 1)),
        Just((12_800, 512)),
        Just((1, 1)),
        Just((1_000_000, 83_333)),
    ];
    let sizes = prop::collection::vec(prop::collection::vec(1..3_000_usize, 1..30), 1..8);
    // Around the wrap of the clock after 26.5 hours, and at the title's zero.
    let start_seconds = prop_oneof![3 => Just(0_u64), 1 => 95_425..95_445_u64];
    let sound = prop::option::of((1..5_usize, 0..3_u64));
    (start_seconds, rate, sizes, 1..5_usize, sound)
        .prop_map(|(start, rate, sizes, group, sound)| Film::new(start * u64::from(rate.0), rate, &sizes, group, sound))
}

/// Modulo 2^33, the shorter way round.
fn since(later: i64, earlier: i64) -> i64 {
    ((later - earlier + (1 << 32)) & 0x1_FFFF_FFFF) - (1 << 32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_order_segments_are_made_in_they_are_one_stream(film in film(), turn in 0..100_u32) {
        for rendition in 0..2 {
            let program = film.program(rendition);
            let all = program.segments();
            let mut made = film.mux(rendition, (0..all).map(|n| (n * 7 + turn) % all).chain(0..all));
            made.sort_by_key(|(number, _)| *number);
            made.dedup_by(|a, b| { assert!(a.0 != b.0 || a.1 == b.1, "same bytes"); a.0 == b.0 });
            let mut stream = Stream::default();
            for (_, segment) in &made {
                prop_assert_eq!((segment[1], segment[2], segment[189], segment[190]), (0x40, 0, 0x50, 0), "tables first");
                stream.take(segment);
            }
            for (pid, counter) in &stream.counters {
                if [demux::VIDEO, demux::AUDIO].contains(pid) {
                    prop_assert_eq!(*counter, 0, "{:#x} ends where it began", pid);
                }
            }
            for pair in stream.clocks.windows(2) {
                let step = since(pair[1], pair[0]);
                prop_assert!(step > 0 && step <= 9_000, "the clock steps by {}", step);
            }
            for pes in stream.pes.values() {
                prop_assert!(pes.windows(2).all(|w| since(w[1].dts, w[0].dts) > 0), "decode times rise");
                prop_assert!(pes.iter().all(|p| since(p.pts, p.dts) >= 0), "decoded before shown");
            }
        }
    }

    #[test]
    fn every_sample_comes_out_as_it_went_in_and_when_it_should(film in film()) {
        let made = film.mux(0, 0..film.program(0).segments());
        let mut stream = Stream::default();
        made.iter().for_each(|(_, segment)| stream.take(segment));
        let scale = film.plan.renditions[0].grid.timescale();
        let mut decode = film.plan.renditions[0].grid.cuts()[0].at.cast_signed();
        let mut coded = stream.pes[&demux::VIDEO].iter();
        for sample in film.pictures.iter().flatten() {
            let pes = coded.next().unwrap();
            let nals = demux::units(&pes.data);
            prop_assert_eq!(nals[0], [0x09, 0xF0]);
            let sets: &[&[u8]] = if sample.sync { &[&AVCC[8..12], &AVCC[15..16]] } else { &[] };
            prop_assert_eq!(&nals[1..nals.len() - 1], sets);
            prop_assert_eq!(pes.random_access, sample.sync);
            // Behind the lengths, and the delimiter if the source has one.
            prop_assert!(sample.data.ends_with(nals[nals.len() - 1]));
            let shown = Program::at(scale, decode + i64::from(sample.composition));
            prop_assert_eq!(pes.pts, shown & 0x1_FFFF_FFFF);
            decode += i64::from(sample.duration);
        }
        prop_assert!(coded.next().is_none());
        if film.program(0).audio.is_some() {
            let heard: Vec<_> = stream.pes[&demux::AUDIO].iter().flat_map(|p| demux::frames(&p.data)).collect();
            let sound: Vec<_> = film.sound.iter().flatten().map(|s| ((1, 3, 2), &s.data[..])).collect();
            prop_assert_eq!(heard, sound);
        }
    }

    #[test]
    fn the_container_adds_no_more_than_the_playlist_allows_for(film in film()) {
        for rendition in 0..2 {
            let program = film.program(rendition);
            let grid = program.grid();
            let media: u64 = program.video.into_iter().chain(program.audio).map(|r| r.bandwidth).sum();
            let allowed = program.bandwidth() - (media * 188).div_ceil(184);
            // The whole title is a run of segments, too; longer than those a peak is taken over, so never above it.
            let coded = |samples: &Vec<Sample>| samples.iter().map(|s| s.data.len()).sum::<usize>();
            let pictures: usize = film.pictures.iter().map(coded).sum();
            let sound: usize = film.sound.iter().map(coded).sum();
            let carried = if program.video.is_some() { pictures } else { 0 } + if program.audio.is_some() { sound } else { 0 };
            let bytes: usize = film.mux(rendition, 0..program.segments()).iter().map(|(_, s)| s.len()).sum();
            let added = (bytes as f64 - carried as f64 * 188.0 / 184.0) * 8.0;
            let cuts = grid.cuts();
            let seconds = (cuts[cuts.len() - 1].at - cuts[0].at) as f64 / 90_000.0;
            prop_assert!(added <= allowed as f64 * seconds + 8.0, "{} of {}", added, allowed as f64 * seconds);
        }
    }

    #[test]
    fn no_bytes_panic(init in prop::collection::vec(any::<u8>(), 0..200), segment in prop::collection::vec(any::<u8>(), 0..400)) {
        let film = Film::new(0, (25, 1), &[vec![10; 5]], 2, Some((1, 0)));
        let coded = Coded { init: init.into(), segment: segment.into() };
        let _ = mux(&film.program(0), 0, Some(&coded), Some(&coded));
    }

    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), to: u8, cut in any::<prop::sample::Index>(), of_init: bool) {
        let film = Film::new(0, (25, 1), &[vec![300; 25]], 3, Some((2, 0)));
        for index in 0..2 {
            let mut coded = film.coded(index, 0).unwrap();
            let bytes = if of_init { &mut coded.init } else { &mut coded.segment };
            let mut damaged = bytes.to_vec();
            let at = at.index(damaged.len());
            damaged[at] = to;
            damaged.truncate(cut.index(damaged.len()).max(at) + 1);
            *bytes = damaged.into();
            let one = |wanted| (index == wanted).then_some(&coded);
            let _ = mux(&film.program(0), 0, one(0), one(1));
        }
    }
}

#[test]
fn sound_that_outlasts_the_picture_goes_on_without_it() {
    let mut film = Film::new(0, (25, 1), &[vec![400; 50], vec![400; 50]], 2, Some((2, 0)));
    let cuts = |at: &[u64]| at.iter().map(|f| Cut { frame: *f, at: f * 1024 }).collect();
    let heard = film.plan.renditions[1].grid.timescale();
    film.plan.renditions[1].grid = Grid::new(heard, cuts(&[0, 94, 282, 400])).unwrap();
    let frames = film.sound.concat();
    film.sound = [0..94, 94..282, 282..400].map(|range| range.map(|n: usize| frames[n % 94].clone()).collect()).into();
    let program = film.program(0);
    assert_eq!(program.segments(), 3);
    let at: Vec<u64> = program.grid().cuts().iter().map(|c| c.at).collect();
    assert_eq!(at, [0, 180_000, 282 * 1920, 400 * 1920], "where the sound goes on, its boundaries count");
    let mut stream = Stream::default();
    film.mux(0, 0..3).iter().for_each(|(_, segment)| stream.take(segment));
    assert_eq!(stream.types, [(demux::VIDEO, 0x1B), (demux::AUDIO, 0x0F)].into());
    assert_eq!((stream.pes[&demux::VIDEO].len(), stream.clock_stream), (100, demux::VIDEO));
    assert!(stream.clocks.windows(2).all(|w| w[1] > w[0] && w[1] - w[0] <= 9_000), "{:?}", stream.clocks);
    assert!(matches!(mux(&program, 3, None, None), Err(Error::NoSegment { number: 3, segments: 3 })));
}

#[test]
fn a_short_tail_of_sound_does_not_lengthen_the_last_segment() {
    let film = Film::new(0, (25, 1), &[vec![400; 50]], 2, Some((2, 10)));
    assert_eq!(film.program(0).grid().cuts()[1].at, 180_000);
    let film = Film::new(0, (25, 1), &[vec![400; 50]], 2, Some((2, 40)));
    assert_eq!(film.program(0).grid().cuts()[1].at, 134 * 1920);
}

#[test]
fn sound_alone_carries_its_own_clock() {
    let film = Film::new(0, (25, 1), &[vec![400; 50]], 2, Some((2, 0)));
    let made = film.mux(1, 0..1);
    let mut stream = Stream::default();
    stream.take(&made[0].1);
    assert_eq!((stream.types, stream.clock_stream), ([(demux::AUDIO, 0x0F)].into(), demux::AUDIO));
    assert!(stream.pes[&demux::AUDIO].iter().all(|p| p.random_access && demux::frames(&p.data).len() <= 4));
}

#[test]
fn pictures_reordered_deeper_than_the_delay_are_still_decoded_in_time_and_segments_still_join() {
    // One picture that refers to all later ones, 20 times the delay ahead.
    let samples = (0..40).map(|n| (n * 3600, if n == 1 { 39 * 3600 } else { (n - 1).max(0) * 3600 }));
    let times = video::times(samples, 7200);
    assert_eq!(times[0], video::Times { pts: 0, dts: -7200 });
    assert!(times.windows(2).all(|w| w[1].dts > w[0].dts) && times.iter().all(|t| t.dts <= t.pts));
    assert!(times[39].dts < 40 * 3600 - 7200, "before the next segment's first");
}

#[test]
fn what_adts_cannot_say_is_refused() {
    let adts = |config: &[u8]| audio::Adts::of(config);
    assert!(adts(&ASC).is_ok());
    assert_eq!(adts(&[0x12]), Err(Error::NoConfig("AudioSpecificConfig")));
    assert_eq!(adts(&[0x2B, 0x92]), Err(Error::Adts { what: "object type", value: 5 }));
    assert_eq!(adts(&[0x17, 0x90]), Err(Error::Adts { what: "frequency index", value: 15 }));
    assert_eq!(adts(&[0x11, 0x80]), Err(Error::Adts { what: "channel configuration", value: 0 }));
    assert_eq!(adts(&ASC).unwrap().header(8185), None, "13 bits say up to 8191");
    assert_eq!(adts(&ASC).unwrap().header(0x123), Some([0xFF, 0xF1, 0x4C, 0x80, 0x25, 0x5F, 0xFC]));
}

#[test]
fn a_program_knows_its_codecs_and_its_delay() {
    let mut film = Film::new(0, (25, 1), &[vec![400; 50]], 2, Some((2, 0)));
    assert_eq!(film.program(0).delay(), 7200, "two frames");
    film.plan.renditions[1].codecs = "ac-3".into();
    assert!(film.program(0).audio.is_none(), "the picture plays without what its stream cannot hold");
    assert!(Program::of(&film.plan, &film.plan.renditions[1]).is_none());
    if let RenditionKind::Video(video) = &mut film.plan.renditions[0].kind {
        video.source = VideoSource::Passthrough { avcc: AVCC.to_vec(), buffer_ms: 1000 };
    }
    assert_eq!(film.program(0).delay(), 14_400, "foreign encoders reorder more");
    let scale = film.plan.renditions[0].grid.timescale();
    let cuts = [0, 1].map(|n| Cut { frame: n, at: n * 360_000 * u64::from(scale.get()) });
    film.plan.renditions[0].grid = Grid::new(scale, cuts.to_vec()).unwrap();
    assert!(
        Program::of(&film.plan, &film.plan.renditions[0]).is_none(),
        "a picture that stays for days is clocks alone"
    );
}

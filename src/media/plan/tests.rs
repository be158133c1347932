//! Properties of the plan over random sources.

use proptest::prelude::*;

use super::*;
use crate::media::{
    Access, AudioTrack, Colour, Label, Packet, Rendition, RenditionKind, Rotation, Timescale, Track, VideoRendition,
    VideoSource, VideoTrack,
};

const COLOUR: Colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };

fn track(timescale: u32, packets: Vec<Packet>, end: i64) -> Track {
    Track {
        stream_id: "001".into(),
        caps: String::new(),
        codec: "H.264".into(),
        timescale: Timescale::new(timescale).unwrap(),
        starts_are_exact: true,
        access: Access::Direct,
        packets,
        refreshes: Vec::new(),
        joins: Vec::new(),
        end,
    }
}

fn video(timescale: u32, times: &[i64], keys: impl Fn(usize) -> bool, last: i64) -> VideoTrack {
    let packet = |(i, &pts): (usize, &i64)| Packet { pts, shown: true, key: i == 0 || keys(i), offset: 0, size: 1000 };
    VideoTrack {
        track: track(timescale, times.iter().enumerate().map(packet).collect(), times[times.len() - 1] + last),
        width: 1920,
        height: 1080,
        crop: None,
        pixel_aspect: (1, 1),
        rotation: Rotation::None,
        rate: None,
        colour: COLOUR,
        peak_nits: None,
        is_8bit_420: true,
        interlaced: false,
        avcc: Some(vec![1, 100, 0, 40]),
        keys_are_idr: true,
    }
}

fn sound(rate: u32, frames: i64) -> AudioTrack {
    let packets = (0..frames).map(|j| Packet { pts: 1024 * j, shown: true, key: true, offset: 0, size: 300 });
    AudioTrack {
        track: track(rate, packets.collect(), 1024 * frames),
        rate,
        channels: 2,
        language: "und".into(),
        label: Label::default(),
        aac_lc_config: Some(vec![17, 144]),
    }
}

fn index(video: Option<VideoTrack>, audio: Vec<AudioTrack>) -> Index {
    Index { container: "video/quicktime".into(), video, audio, text: Vec::new(), skipped: Vec::new() }
}

fn cfr(seconds: i64, gop: usize) -> VideoTrack {
    let times: Vec<i64> = (0..seconds * 25).map(|i| i * 3600).collect();
    let video = video(90_000, &times, |i| i % gop == 0, 3600);
    VideoTrack { rate: crate::media::Rate::new(25, 1), ..video }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.renditions.iter().map(|r| r.name.as_str()).collect()
}

#[test]
fn a_playable_source_is_offered_as_it_is_and_not_encoded_at_its_own_size() {
    let plan = plan(&index(Some(cfr(60, 50)), vec![sound(48_000, 2813)]), &Ladder::default()).unwrap();
    assert_eq!(names(&plan), ["source", "720p", "480p", "360p", "240p", "144p", "audio-128k", "audio-64k"]);
    let source = &plan.renditions[0];
    assert!(plan.video().all(|(r, _)| r.bandwidth <= source.bandwidth));
}

#[test]
fn key_frames_too_far_apart_leave_no_passthrough() {
    let plan = plan(&index(Some(cfr(60, 250)), vec![]), &Ladder::default()).unwrap();
    assert_eq!(names(&plan), ["1080p", "720p", "480p", "360p", "240p", "144p"]);
}

/// `fps` frames per second for 20 seconds, a key frame every two.
fn fast(fps: u32) -> VideoTrack {
    let times: Vec<i64> = (0..i64::from(20 * fps)).map(|i| i * 100).collect();
    let video = video(fps * 100, &times, |i| i % (fps as usize * 2) == 0, 100);
    VideoTrack { rate: crate::media::Rate::new(fps, 1), ..video }
}

#[test]
fn nothing_is_offered_at_more_than_120_frames_a_second_and_all_frames_up_to_there() {
    let rates = |fps| {
        let plan = plan(&index(Some(fast(fps)), vec![]), &Ladder::default()).unwrap();
        let of = |(r, v): (&Rendition, &VideoRendition)| {
            let cuts = r.grid.cuts();
            let step = u64::from(fps / v.rate.num);
            // Every boundary lies on a frame of each rendition.
            assert!(cuts.iter().all(|c| c.frame * step * 100 == c.at), "{fps} {}", r.name);
            (r.name.to_string(), v.rate.num)
        };
        plan.video().map(of).filter(|(name, _)| ["source", "1080p", "360p"].contains(&&**name)).collect::<Vec<_>>()
    };
    let named = |all: &[(&str, u32)]| all.iter().map(|(name, fps)| ((*name).to_owned(), *fps)).collect::<Vec<_>>();
    assert_eq!(rates(120), named(&[("source", 120), ("360p", 30)]));
    assert_eq!(rates(240), named(&[("1080p", 120), ("360p", 30)]));
    assert_eq!(rates(600), named(&[("1080p", 120), ("360p", 30)]));
    assert_eq!(rates(144), named(&[("1080p", 72), ("360p", 24)]), "a multiple of a multiple");
    let level = |fps| match plan(&index(Some(fast(fps)), vec![]), &Ladder::default()).unwrap().renditions[0].clone() {
        Rendition {
            kind: RenditionKind::Video(VideoRendition { source: VideoSource::Encode { level, .. }, .. }),
            ..
        } => level,
        other => panic!("{other:?}"),
    };
    assert_eq!([level(240), level(600)], [51, 51]);
}

/// A telephone's film: 25 frames a second for a minute and 60 for four seconds of it, with a clock that jitters.
#[test]
fn a_variable_rate_is_judged_by_its_busiest_second_and_not_by_its_mean() {
    let mut at = 0;
    let times: Vec<i64> = (0..1640)
        .map(|i| {
            let now = at + [0, 20, 0, -20][i % 4];
            at += if (500..740).contains(&i) { 1500 } else { 3600 };
            now.max(0)
        })
        .collect();
    let film = VideoTrack { avcc: None, ..video(90_000, &times, |_| false, 3600) };
    let plan = plan(&index(Some(film.clone()), vec![]), &Ladder::default()).unwrap();
    let (best, pictures) = plan.video().next().unwrap();
    let peak = pictures.peak_rate.unwrap().fps();
    assert!((59.9..60.2).contains(&peak) && (26.0..28.0).contains(&pictures.rate.fps()), "{pictures:?}");
    assert_eq!(best.codecs, "avc1.64002A", "4.2, for 60 frames of 1080p a second");
    let small = plan.video().find(|(r, _)| r.name.as_str() == "360p").unwrap();
    assert_eq!(small.1.peak_rate.map(crate::media::Rate::fps), Some(30.0));
    let kept = small.0.grid.cuts().last().unwrap().frame;
    assert!((1515..1530).contains(&kept), "{kept}: of 240 frames each other is left out");
    // One gap of a tick in a film of a steady rate says nothing.
    let mut times: Vec<i64> = (0..500).map(|i| i * 3600).collect();
    times[100] = times[99] + 1;
    let odd = super::plan(&index(Some(video(90_000, &times, |_| false, 3600)), vec![]), &Ladder::default()).unwrap();
    let (_, pictures) = odd.video().next().unwrap();
    assert!((25.0..26.1).contains(&pictures.peak_rate.unwrap().fps()), "{pictures:?}");
}

/// A telephone's profile nobody has, and a level that says far more than the film asks for, which devices refuse.
#[test]
fn what_devices_refuse_by_its_profile_or_level_is_encoded_at_its_own_size_too() {
    let named = |avcc: [u8; 4]| {
        let film = VideoTrack { avcc: Some(avcc.to_vec()), ..cfr(60, 50) };
        let plan = plan(&index(Some(film), vec![]), &Ladder::default()).unwrap();
        let rates: Vec<u64> = plan.video().map(|(r, _)| r.bandwidth).collect();
        assert!(rates.iter().all(|rate| *rate <= rates[0]), "no encode needs more than its source: {rates:?}");
        names(&plan)[..2].join(" ")
    };
    assert_eq!(named([1, 100, 0, 40]), "source 720p");
    assert_eq!(named([1, 100, 0, 42]), "source 720p", "common enough");
    assert_eq!(named([1, 100, 0, 51]), "source 1080p");
    assert_eq!(named([1, 88, 0, 40]), "1080p 720p");
}

#[test]
fn the_first_segments_are_short_and_the_rest_four_seconds() {
    let plan = plan(&index(Some(cfr(30, 10_000)), vec![]), &Ladder::default()).unwrap();
    let grid = &plan.renditions[0].grid;
    let seconds: Vec<u64> = (0..grid.segments()).map(|n| grid.ticks(n) / 90_000).collect();
    assert_eq!(seconds, [1, 1, 2, 4, 4, 4, 4, 4, 4, 2]);
}

#[test]
fn sound_that_outlasts_a_long_last_segment_by_little_is_part_of_it_and_by_more_begins_where_the_picture_ends() {
    let cuts = |sound_frames| {
        let plan = plan(&index(Some(cfr(6, 1000)), vec![sound(48_000, sound_frames)]), &Ladder::default()).unwrap();
        let audio = plan.renditions.iter().find(|r| r.name.as_str().starts_with("audio")).unwrap();
        (plan.renditions[0].grid.segments(), audio.grid.cuts().iter().map(|c| c.frame).collect::<Vec<_>>())
    };
    assert_eq!(cuts(282), (1, vec![0, 282]));
    assert_eq!(cuts(330), (1, vec![0, 281, 330]), "a second more");
}

#[test]
fn a_title_of_one_picture_may_take_the_bits_of_a_second() {
    let rates = |frames: i64| {
        let times: Vec<i64> = (0..frames).map(|i| i * 9_000).collect();
        let video = VideoTrack { avcc: None, ..video(90_000, &times, |_| false, 9_000) };
        let plan = plan(&index(Some(video), vec![]), &Ladder::default()).unwrap();
        plan.renditions.iter().map(|r| r.bandwidth).collect::<Vec<_>>()
    };
    let (one, second) = (rates(1), rates(10));
    assert_eq!(one, second.iter().map(|rate| rate * 10).collect::<Vec<_>>());
    assert_eq!(rates(20), second);
}

#[test]
fn a_picture_that_stays_for_minutes_makes_no_segment_of_a_millisecond() {
    let times = [0, 90, 9_000_000, 9_003_600];
    let plan =
        plan(&index(Some(video(90_000, &times, |_| false, 90_000)), vec![sound(48_000, 4800)]), &Ladder::default());
    let cuts: Vec<u64> = plan.unwrap().renditions[0].grid.cuts().iter().map(|c| c.at).collect();
    assert_eq!(cuts, [0, 9_000_000, 9_093_600]);
}

#[test]
fn a_picture_that_is_decoded_before_the_key_frame_it_is_shown_after_leaves_no_passthrough() {
    let mut film = cfr(20, 50);
    film.track.packets[99].pts = film.track.packets[100].pts + 1;
    let plan = plan(&index(Some(film), vec![]), &Ladder::default()).unwrap();
    assert_eq!(names(&plan)[0], "1080p");
}

#[test]
fn numbers_that_no_film_has_are_refused_before_anything_is_made_of_them() {
    let refused = |change: &dyn Fn(&mut VideoTrack, &mut AudioTrack)| {
        let (mut film, mut heard) = (cfr(2, 50), sound(48_000, 94));
        change(&mut film, &mut heard);
        let refused =
            |index| matches!(plan(&index, &Ladder::default()), Err(PlanError::Impossible(_) | PlanError::TooLong));
        let both = refused(index(Some(film), vec![heard.clone()]));
        assert!(!refused(index(None, vec![heard])) || both);
        both
    };
    assert!(!refused(&|_, _| ()));
    assert!(refused(&|_, heard| heard.track.end = i64::MAX), "boundaries up to there would take all memory");
    assert!(refused(&|_, heard| heard.rate = u32::MAX));
    assert!(refused(&|_, heard| heard.channels = 0));
    assert!(refused(&|film, _| film.track.end = film.track.packets[49].pts));
    assert!(refused(&|film, _| film.track.packets[7].pts = i64::MIN));
    assert!(refused(&|film, _| film.track.packets[7].pts = -1));
    assert!(refused(&|film, _| film.width = 0));
    assert!(refused(&|film, _| film.width = u32::MAX));
    assert!(refused(&|film, _| film.pixel_aspect = (u32::MAX, 1)), "nobody can show a line of a million pixels");
    assert!(refused(&|film, _| film.track.timescale = Timescale::NANOSECONDS));
}

#[test]
fn sound_that_ends_before_the_title_begins_is_a_segment_all_the_same() {
    let heard = AudioTrack { track: Track { end: -5000, ..sound(48_000, 1).track }, ..sound(48_000, 1) };
    assert!(plan(&index(None, vec![heard]), &Ladder::default()).is_ok());
}

#[test]
fn rates_of_absurd_packets_stay_numbers() {
    let mut film = cfr(2, 50);
    film.track.packets.iter_mut().for_each(|p| p.size = u32::MAX);
    film.track.timescale = Timescale::new(VideoTrack::FINEST).unwrap();
    let plan = plan(&index(Some(film), vec![]), &Ladder::default()).unwrap();
    assert!(plan.renditions.iter().all(|r| r.bandwidth <= HIGHEST_RATE), "{:?}", plan.renditions[0].bandwidth);
}

#[test]
fn words_beside_a_picture_that_stays_for_an_hour_are_cut_in_ticks_that_a_sample_can_say() {
    let scale = 10_000_000;
    let times: Vec<i64> = (0..4).map(|i| i * i64::from(u32::MAX) / 4 * 3).collect();
    let mut title = index(Some(video(scale, &times, |_| false, i64::from(u32::MAX))), vec![]);
    let (codec, language) = (String::new(), "und".to_owned());
    title.text = vec![crate::media::TextTrack { codec, language, label: Label::default(), cues: vec![] }];
    title.audio = vec![sound(48_000, 80_000)];
    let plan = plan(&title, &Ladder::default()).unwrap();
    for (text, _) in plan.text() {
        assert!((0..text.grid.segments()).all(|n| u32::try_from(text.grid.ticks(n)).is_ok()), "{:?}", text.grid);
    }
}

/// A file of 18 kB that claimed four months of sound made a plan of two million segments, and one of years took the server
/// down.
#[test]
fn what_lasts_longer_than_a_week_has_no_plan_and_a_week_has_one() {
    let lasting = |days: i64, tracks: usize| {
        let mut sound = sound(48_000, 2);
        sound.track.end = days * 86_400 * 48_000;
        plan(&index(None, vec![sound; tracks]), &Ladder::default()).map(|plan| plan.renditions[0].grid.segments())
    };
    assert_eq!(lasting(7, 1), Ok(151_607));
    assert_eq!(lasting(8, 1), Err(PlanError::TooLong));
    assert!(matches!(lasting(7, 30), Err(PlanError::TooMany { .. })));
    let mut late = sound(48_000, 3);
    late.track.packets[2].pts = i64::MAX;
    assert_eq!(plan(&index(None, vec![late]), &Ladder::default()), Err(PlanError::TooLong));
}

/// A number that is small, of any size, or near where arithmetic ends.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![-9..9_i64, -90_000_000..900_000_000_i64, any::<i64>(), Just(i64::MAX), Just(i64::MIN)]
}

prop_compose! {
    /// What a worker may say that somebody else has taken over.
    fn hostile_track()(
        timescale in prop_oneof![1..200_000_u32, any::<u32>()],
        packets in prop::collection::vec((number(), any::<[bool; 2]>(), any::<u64>(), any::<u32>()), 0..40),
        evenly in prop::option::of((1..9_000_i64, 0..300_i64)),
        end in number(),
        is_last in any::<bool>(),
    ) -> Track {
        let packet = |(pts, [shown, key], offset, size): (i64, [bool; 2], u64, u32)| Packet { pts, shown, key, offset, size };
        let mut packets: Vec<Packet> = packets.into_iter().map(packet).collect();
        let mut end = end;
        if let Some((step, count)) = evenly {
            packets = (0..count).map(|n| packet((n * step, [true, n % 7 == 0], 0, u32::MAX))).collect();
            end = if is_last { count * step } else { end };
        }
        track(timescale.max(1), packets, end)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_index_of_a_hostile_worker_has_a_plan_or_none(
        pictures in prop::option::of(hostile_track()),
        sounds in prop::collection::vec(hostile_track(), 0..3),
        sides in [prop_oneof![1..4000_u32, any::<u32>()], prop_oneof![1..4000_u32, any::<u32>()]],
        aspect in prop_oneof![Just((1, 1)), any::<(u32, u32)>()],
        rate in prop::option::of(any::<(u32, u32)>()),
        avcc in prop::option::of(prop::collection::vec(any::<u8>(), 0..6)),
        sound_rate in prop_oneof![8_000..96_000_u32, any::<u32>()],
        cues in prop::collection::vec(any::<(u64, u64)>(), 0..4),
    ) {
        let video = pictures.map(|track| VideoTrack {
            track, width: sides[0], height: sides[1], pixel_aspect: aspect, avcc,
            rate: rate.and_then(|(num, den)| crate::media::Rate::new(num, den.max(1))),
            ..cfr(1, 1)
        });
        let audio = sounds.into_iter().map(|track| AudioTrack { track, rate: sound_rate, ..sound(48_000, 1) });
        let cues = cues.into_iter().map(|(start_ms, end_ms)| crate::media::Cue { start_ms, end_ms, text: "x".into(), settings: String::new() });
        let text = crate::media::TextTrack {
            codec: String::new(), language: String::new(), label: Label::default(), cues: cues.collect(),
        };
        let index = Index { text: vec![text], ..index(video, audio.collect()) };
        let _ = (plan(&index, &Ladder::default()), index.notes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every frame lies in one segment; all video renditions share their boundaries; segments are neither very short
    /// nor, where the source has frames, very long; sound covers the picture.
    #[test]
    fn any_source_gets_a_grid_that_keeps_the_invariants(
        timescale in prop::sample::select(vec![24u32, 600, 1000, 12_800, 30_000, 90_000]),
        steps in prop::collection::vec(1u32..400, 1..600),
        gop in 1usize..300,
        rate in prop::sample::select(vec![8_000u32, 22_050, 44_100, 48_000, 96_000]),
        frames in 0i64..2000,
    ) {
        let unit = f64::from(timescale) / 1000.0;
        let mut at = 0;
        let times: Vec<i64> = steps.iter().map(|s| {
            let now = at;
            at += ((f64::from(*s) * unit) as i64).max(1);
            now
        }).collect();
        let audio = if frames > 0 { vec![sound(rate, frames)] } else { vec![] };
        let ladder = Ladder::default();
        let plan = plan(&index(Some(video(timescale, &times, |i| i % gop == 0, 40)), audio), &ladder).unwrap();
        let (first, _) = plan.video().next().unwrap();
        let ats = |g: &Grid| g.cuts().iter().map(|c| c.at).collect::<Vec<_>>();
        for (rendition, video) in plan.video() {
            let grid = &rendition.grid;
            prop_assert_eq!(ats(grid), ats(&first.grid));
            prop_assert!(video.width % 2 == 0 && video.height % 2 == 0 && video.height <= 1080);
            let cuts = grid.cuts();
            prop_assert_eq!(cuts[0].frame, 0);
            prop_assert!(cuts[cuts.len() - 1].frame <= times.len() as u64);
            let scale = f64::from(timescale);
            for n in 0..grid.segments() {
                let seconds = grid.ticks(n) as f64 / scale;
                prop_assert!(seconds >= 0.45 || grid.segments() == 1, "segment {} lasts {}", n, seconds);
                prop_assert!(seconds <= 6.0 + 0.5 + 0.4, "segment {} lasts {}", n, seconds);
            }
        }
        let full = plan.video().map(|(r, _)| r.grid.cuts()[r.grid.cuts().len() - 1].frame).max().unwrap();
        prop_assert_eq!(full, times.len() as u64);
        for (rendition, _) in plan.audio() {
            prop_assert!(matches!(rendition.kind, RenditionKind::Audio(_)));
            prop_assert!(rendition.grid.end_seconds() + 0.11 >= first.grid.end_seconds());
            prop_assert!(rendition.grid.cuts().iter().all(|c| c.at == c.frame * 1024));
        }
    }
}

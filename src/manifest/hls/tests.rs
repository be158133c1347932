//! Playlists as text.

use m3u8_rs::parse_media_playlist_res;
use proptest::prelude::*;

use crate::media::{AudioSource, Colour, Label, Rate, VideoSource};

use super::*;

const GENERATION: &str = "0123456789abcdef";

fn grid(timescale: u32, at: &[u64]) -> Grid {
    let cuts = at.iter().zip(0..).map(|(&at, frame)| Cut { frame, at }).collect();
    Grid::new(Timescale::new(timescale).unwrap(), cuts).unwrap()
}

fn rendition(name: &str, codecs: &str, bandwidth: u64, kind: RenditionKind) -> Rendition {
    let (name, codecs) = (name.parse().unwrap(), codecs.into());
    let average_bandwidth = (name == "source".parse().unwrap()).then_some(bandwidth / 2);
    Rendition { name, grid: grid(24_000, &[0, 24_024, 48_048]), codecs, bandwidth, average_bandwidth, kind }
}

fn video(name: &str, height: u32, bandwidth: u64, audio: Option<&str>) -> Rendition {
    let kind = VideoRendition {
        width: height * 16 / 9,
        height,
        rate: Rate::new(24_000, 1001).unwrap(),
        peak_rate: None,
        colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        audio: audio.map(|a| a.parse().unwrap()),
        source: VideoSource::Encode { ceiling: bandwidth, level: 31, min_frame_ticks: 0 },
    };
    rendition(name, "avc1.64001F", bandwidth, RenditionKind::Video(kind))
}

fn audio(name: &str, track: u32, bandwidth: u64, language: &str) -> Rendition {
    let source = AudioSource::Encode { bitrate: 128_000 };
    let kind =
        AudioRendition { track, rate: 48_000, channels: 2, language: language.into(), label: Label::default(), source };
    rendition(name, "mp4a.40.2", bandwidth, RenditionKind::Audio(kind))
}

fn master_of(renditions: Vec<Rendition>) -> String {
    master(&Plan { renditions, ..Plan::default() }, &GENERATION.parse().unwrap())
}

fn uris(master: &str) -> Vec<&str> {
    master.lines().filter(|l| !l.starts_with('#')).map(|l| l.split('/').nth(1).unwrap()).collect()
}

#[test]
fn a_master_playlist_lists_every_rendition_and_its_sound() {
    let renditions = vec![
        video("source", 1080, 6_000_000, Some("audio-128k")),
        video("720p", 720, 2_950_000, Some("audio-128k")),
        video("480p", 480, 1_500_000, Some("audio-128k")),
        video("240p", 240, 430_000, Some("audio-64k")),
        audio("audio-128k", 0, 140_000, "und"),
        audio("audio-64k", 0, 70_000, "und"),
    ];
    let expected = "\
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,URI=\"0123456789abcdef/audio-128k/index.m3u8\",GROUP-ID=\"audio-128k\",LANGUAGE=\"und\",\
NAME=\"Audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\"
#EXT-X-MEDIA:TYPE=AUDIO,URI=\"0123456789abcdef/audio-64k/index.m3u8\",GROUP-ID=\"audio-64k\",LANGUAGE=\"und\",\
NAME=\"Audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\"
#EXT-X-STREAM-INF:BANDWIDTH=1640000,CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=853x480,FRAME-RATE=23.976,\
VIDEO-RANGE=SDR,AUDIO=\"audio-128k\",CLOSED-CAPTIONS=NONE
0123456789abcdef/480p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=6140000,CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=1920x1080,FRAME-RATE=23.976,\
VIDEO-RANGE=SDR,AUDIO=\"audio-128k\",CLOSED-CAPTIONS=NONE
0123456789abcdef/source/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=3090000,CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=23.976,\
VIDEO-RANGE=SDR,AUDIO=\"audio-128k\",CLOSED-CAPTIONS=NONE
0123456789abcdef/720p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=500000,CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=426x240,FRAME-RATE=23.976,\
VIDEO-RANGE=SDR,AUDIO=\"audio-64k\",CLOSED-CAPTIONS=NONE
0123456789abcdef/240p/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=215000,CODECS=\"avc1.64001F\",RESOLUTION=426x240,VIDEO-RANGE=SDR,\
URI=\"0123456789abcdef/240p/iframe.m3u8\"
#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=799201,RESOLUTION=160x90,CODECS=\"jpeg\",\
URI=\"0123456789abcdef/thumbnails/index.m3u8\"
";
    let found = master_of(renditions);
    assert_eq!(found, expected);
    let parsed = m3u8_rs::parse_master_playlist_res(found.as_bytes()).unwrap();
    assert_eq!((parsed.variants.len(), parsed.alternatives.len()), (5, 2));
}

/// Only what is passed through has a known mean. Shaka, and hls.js before 1.5, rank by AVERAGE-BANDWIDTH where it stands, so
/// a 1080p source of 1.2 Mb/s on average was taken for less than its 720p of up to 2.9.
#[test]
fn an_average_stands_at_every_variant_or_at_none() {
    let averages = |master: &str| master.matches("AVERAGE-BANDWIDTH=").count();
    let generation = GENERATION.parse().unwrap();
    let both = |renditions| {
        let plan = Plan { renditions, ..Plan::default() };
        (averages(&master(&plan, &generation)), averages(&super::super::hls_ts::master(&plan, &generation)))
    };
    let (source, encoded) = (video("source", 1080, 6_000_000, None), video("720p", 720, 2_950_000, None));
    assert_eq!(both(vec![source.clone()]), (1, 1), "nothing to be ranked below");
    assert_eq!(both(vec![source, encoded]), (0, 0));
}

#[test]
fn players_start_with_the_best_rendition_a_common_line_carries() {
    let order = |renditions: Vec<Rendition>| {
        let plan = Plan { renditions, ..Plan::default() };
        in_order(&plan).iter().map(|r| r.name.to_string()).collect::<Vec<_>>()
    };
    let small_source = vec![video("source", 720, 1_900_000, None), video("480p", 480, 1_500_000, None)];
    assert_eq!(order(small_source), ["source", "480p"], "nothing needs encoding");
    let all_dear = vec![video("2160p", 2160, 16_000_000, None), video("1080p", 1080, 5_000_000, None)];
    assert_eq!(order(all_dear), ["1080p", "2160p"], "the lowest there is");
    assert!(start(&Plan::default()).is_none());
}

#[test]
fn a_silent_title_announces_no_sound_and_an_audio_title_no_pictures() {
    let silent = master_of(vec![video("480p", 480, 1_500_000, None)]);
    assert!(!silent.contains("AUDIO") && !silent.contains("mp4a"), "{silent}");
    let heard = master_of(vec![
        audio("audio-128k", 0, 140_000, "en"),
        audio("audio-64k", 0, 70_000, "en"),
        audio("audio-128k-1", 1, 140_000, "fr"),
    ]);
    assert_eq!(uris(&heard), ["audio-128k", "audio-64k"]);
    let stream = "#EXT-X-STREAM-INF:BANDWIDTH=140000,CODECS=\"mp4a.40.2\",CLOSED-CAPTIONS=NONE\n";
    assert!(heard.contains(stream) && !heard.contains("RESOLUTION") && !heard.contains("#EXT-X-MEDIA"), "{heard}");
}

#[test]
fn a_variant_is_declared_with_the_dearest_of_its_subtitles() {
    let text = |name: &str, track, bandwidth| {
        let kind = TextRendition { track, language: "de".into(), label: Label::default() };
        rendition(name, "wvtt", bandwidth, RenditionKind::Text(kind))
    };
    let listed = master_of(vec![
        video("480p", 480, 1_500_000, Some("audio-128k")),
        audio("audio-128k", 0, 140_000, "de"),
        text("text-1", 0, 900),
        text("text-2", 1, 20_000),
    ]);
    assert!(listed.contains(":BANDWIDTH=1660000,") && listed.contains("SUBTITLES=\"text\""), "{listed}");
}

#[test]
fn every_group_offers_every_track_under_its_own_name_and_one_default() {
    let renditions = vec![
        video("source", 480, 1_500_000, Some("audio-128k")),
        video("240p", 240, 400_000, Some("audio-64k")),
        audio("audio-128k", 0, 140_000, "en"),
        audio("audio-64k", 0, 70_000, "en"),
        audio("commentary", 1, 200_000, "en"),
        audio("evil", 2, 60_000, "x\"\n#EXT-X-ENDLIST"),
    ];
    let master = master_of(renditions.clone());
    let parsed = m3u8_rs::parse_master_playlist_res(master.as_bytes()).unwrap();
    for group in ["audio-128k", "audio-64k"] {
        let of_group: Vec<_> = parsed.alternatives.iter().filter(|a| a.group_id == group).collect();
        assert_eq!(of_group.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["en 1", "en 2", "Audio"]);
        assert_eq!(of_group.iter().map(|a| a.default).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(of_group.iter().map(|a| a.autoselect).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(of_group[2].language.as_deref(), Some("und"), "not what the file says");
    }
    assert_eq!(parsed.variants[0].bandwidth, 1_700_000, "with the dearest sound a player may choose");
    assert_eq!(parsed.variants[0].average_bandwidth, None, "the sound's is not known");
    assert_eq!(master, master_of(renditions), "attributes do not come out of a map in random order");
}

#[test]
fn the_highest_rate_of_a_variable_one_is_listed() {
    let mut varies = video("480p", 480, 1_500_000, None);
    if let RenditionKind::Video(pictures) = &mut varies.kind {
        pictures.peak_rate = Rate::new(60, 1);
    }
    let listed = master_of(vec![varies]);
    assert!(listed.contains("FRAME-RATE=60,"), "{listed}");
}

#[test]
fn a_media_playlist_repeats_the_grid() {
    let mut short = video("480p", 480, 1_500_000, None);
    short.grid = grid(24_000, &[0, 24_024, 48_048, 144_144, 240_240, 252_000]);
    let expected = "\
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:4
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-MAP:URI=\"init.mp4\"
#EXTINF:1.001000,
0.m4s
#EXTINF:1.001000,
1.m4s
#EXTINF:4.004000,
2.m4s
#EXTINF:4.004000,
3.m4s
#EXTINF:0.490000,
4.m4s
#EXT-X-ENDLIST
";
    assert_eq!(media(&short, 4), expected);
}

proptest! {
    #[test]
    fn the_sum_of_durations_stays_within_a_microsecond_of_every_boundary(
        timescale in prop_oneof![Just(90_000_u32), Just(12_800), Just(44_100), Just(48_000), 600..1_000_000_u32],
        first in 0..1_000_000_u64,
        seconds in prop::collection::vec(0.5..15.0_f64, 1..400),
    ) {
        let mut at = vec![first];
        for s in seconds {
            at.push(at.last().unwrap() + (s * f64::from(timescale)) as u64);
        }
        let mut rendition = video("480p", 480, 1_500_000, None);
        rendition.grid = grid(timescale, &at);
        let text = media(&rendition, 15);
        let parsed = parse_media_playlist_res(text.as_bytes()).unwrap();
        prop_assert_eq!(parsed.segments.len(), at.len() - 1);
        let mut micros = 0_i64;
        let extinf = text.lines().filter_map(|l| l.strip_prefix("#EXTINF:"));
        for (number, line) in extinf.enumerate() {
            let duration: f64 = line.trim_end_matches(',').parse().unwrap();
            micros += (duration * 1e6).round() as i64;
            let ticks = (at[number + 1] - at[0]) as f64;
            let drift = micros as f64 - ticks * 1e6 / f64::from(timescale);
            prop_assert!(drift.abs() <= 1.0, "{} microseconds off after segment {}", drift, number);
            let own = duration * f64::from(timescale) - (at[number + 1] - at[number]) as f64;
            prop_assert!(own.abs() <= 1.0, "{} ticks off", own);
        }
    }
}

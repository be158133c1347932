//! One small film of each kind that people have: what is in it is what is served.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::frames::durations;
use crate::sources::{assert_plays_exactly, film};
use crate::support::{Data, TestServer, ffprobe, run};

/// A kind of film: its name, how FFmpeg codes its pictures and sound, and what is to be there.
struct Kind {
    name: &'static str,
    coded: &'static str,
    /// Frames per second and frames; nothing without pictures.
    pictures: Option<(u32, u32)>,
    /// Sample rate and channels of the source; nothing without sound.
    sound: Option<(u32, u32)>,
}

const fn kind(
    name: &'static str,
    coded: &'static str,
    pictures: Option<(u32, u32)>,
    sound: Option<(u32, u32)>,
) -> Kind {
    Kind { name, coded, pictures, sound }
}

const KINDS: &[Kind] = &[
    kind(
        "hevc-mp3.mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=error -tag:v hvc1 -c:a libmp3lame",
        Some((25, 50)),
        Some((44_100, 2)),
    ),
    kind(
        "av1-opus.webm",
        "-c:v libaom-av1 -cpu-used 8 -usage realtime -c:a libopus",
        Some((25, 50)),
        Some((48_000, 2)),
    ),
    kind("theora-vorbis.ogg", "-c:v libtheora -c:a libvorbis", Some((25, 50)), Some((44_100, 2))),
    kind("prores-pcm.mov", "-c:v prores -c:a pcm_s24le", Some((24, 48)), Some((48_000, 2))),
    kind("wmv-wma.wmv", "-c:v wmv2 -c:a wmav2", Some((25, 50)), Some((44_100, 2))),
    kind("h264-aac.flv", "-c:v libx264 -preset ultrafast -c:a aac", Some((30, 60)), Some((44_100, 2))),
    kind("mpeg2-ac3.ts", "-c:v mpeg2video -bf 2 -c:a ac3", Some((25, 50)), Some((48_000, 2))),
    kind(
        "fragmented.mp4",
        "-c:v libx264 -preset ultrafast -c:a aac -movflags frag_keyframe+empty_moov",
        Some((25, 50)),
        Some((48_000, 2)),
    ),
    kind("surround.mkv", "-c:v libx264 -preset ultrafast -c:a flac", Some((25, 50)), Some((48_000, 8))),
    kind("telephone.wav", "", None, Some((8_000, 1))),
    kind("studio.flac", "", None, Some((192_000, 2))),
    kind("one-frame.mp4", "-c:v libx264 -preset ultrafast", Some((25, 1)), None),
    kind("lossless.avi", "-c:v ffvhuff -c:a pcm_s16le", Some((25, 50)), Some((48_000, 2))),
    kind("vp9.avi", "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -c:a pcm_s16le", Some((25, 50)), Some((48_000, 2))),
    kind("cinema.mov", "-c:v jpeg2000 -c:a pcm_s16le", Some((24, 24)), Some((48_000, 2))),
    kind("avid.mov", "-c:v dnxhd -profile:v dnxhr_sq -c:a pcm_s16le", Some((24, 24)), Some((48_000, 2))),
    kind("uncompressed.mov", "-c:v rawvideo -c:a pcm_s16le", Some((25, 25)), Some((48_000, 2))),
    kind("slow.mp4", "-c:v libx264 -preset ultrafast -c:a aac", Some((1, 3)), Some((48_000, 2))),
];

/// Seconds of the source.
fn seconds(kind: &Kind) -> f64 {
    kind.pictures.map_or(2.0, |(rate, frames)| f64::from(frames) / f64::from(rate))
}

fn make(folder: &Path, kind: &Kind) -> String {
    let path = folder.join(kind.name).to_str().unwrap().to_owned();
    let mut sources = String::new();
    if let Some((rate, _)) = kind.pictures {
        sources += &format!("-f lavfi -i testsrc2=s=256x144:r={rate}:d={} ", seconds(kind));
    }
    if let Some((rate, channels)) = kind.sound {
        let channel = vec!["0.3*sin(2000*t*t)"; channels as usize].join("|");
        sources += &format!("-f lavfi -i aevalsrc={channel}:s={rate}:d={} ", seconds(kind));
    }
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error"]).args(sources.split_whitespace());
    let format = match kind.name {
        "prores-pcm.mov" => "yuv422p10le",
        "avid.mov" => "yuv422p",
        "uncompressed.mov" => "yuyv422",
        "cinema.mov" => "rgb24",
        _ => "yuv420p",
    };
    ffmpeg.args(["-pix_fmt", format]);
    ffmpeg.args(kind.coded.split_whitespace()).arg(&path);
    let ran = run(ffmpeg);
    assert_eq!(ran.code(), 0, "{}: {ran:?}", kind.name);
    path
}

#[test]
fn films_of_every_kind_are_served_with_all_that_is_in_them() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let files: Vec<String> = KINDS.iter().map(|kind| make(media.path(), kind)).collect();
    let mut words = vec!["ingest", "--json"];
    words.extend(files.iter().map(String::as_str));
    let ran = run(data.command(&words));
    assert_eq!(ran.code(), 0, "{ran:?}");
    let server = TestServer::over(&data);
    for (kind, title) in KINDS.iter().zip(ran.json()) {
        let name = kind.name;
        let id = title["id"].as_str().unwrap();
        let playlists = server.playlists(id);
        let lowest = |family: &str| playlists.iter().rfind(|playlist| playlist.contains(family));
        let pictures = playlists.last().filter(|playlist| !playlist.contains("/audio-"));
        assert_eq!((pictures.is_some(), lowest("/audio-").is_some()), (kind.pictures.is_some(), kind.sound.is_some()));
        for playlist in [pictures, lowest("/audio-"), lowest("/surround-")].into_iter().flatten() {
            let found = ffprobe(&server.rendition(playlist), "stream=nb_read_frames,duration:packet=dts_time");
            let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
            let stream = &found["streams"][0];
            let is = number(&stream["duration"]) - number(&found["packets"][0]["dts_time"]);
            let said: f64 = durations(&server.text(playlist)).iter().sum();
            assert!((is - said).abs() < 0.000_1, "{name}: {playlist} lasts {is} s and says {said}");
            match kind.pictures.filter(|_| Some(playlist) == pictures) {
                Some((rate, frames)) => {
                    assert_eq!(number(&stream["nb_read_frames"]), f64::from(frames), "{name}: frames");
                    let (wanted, frame) = (f64::from(frames) / f64::from(rate), 1.0 / f64::from(rate));
                    // Where sound ends later, the last picture stays.
                    assert!((wanted - 0.000_1..wanted + frame).contains(&is), "{name}: pictures of {is} s");
                }
                // A codec's delay and its last frame are more than there was.
                None => assert!((seconds(kind)..seconds(kind) + 0.1).contains(&is), "{name}: sound of {is} s"),
            }
        }
        assert_eq!(lowest("/surround-").is_some(), kind.sound.is_some_and(|(_, channels)| channels > 2), "{name}");
        let video = server.get(&format!("/api/v1/videos/{id}")).json();
        assert_eq!((&video["bridged_frames"], &video["warnings"]), (&0.into(), &serde_json::json!([])), "{name}");
    }
}

/// Of films from discs pictures were lost, repeated and shown late: few of them have a time of their own. After a seek in Y4M
/// pieces of several pictures were shown as one. Palettes were taken for transparent, and all was black.
#[test]
fn films_of_rare_kinds_are_shown_picture_by_picture() {
    let media = tempfile::tempdir().unwrap();
    for (name, coded) in [
        ("disc.vob", "-c:v mpeg2video -bf 2 -g 12 -b:v 300k -c:a ac3"),
        ("disc.mpg", "-c:v mpeg1video -bf 2 -g 12 -b:v 250k -c:a mp2"),
        ("raw.y4m", "-pix_fmt yuv420p -an"),
        ("palette.mov", "-c:v qtrle -pix_fmt gray -c:a pcm_s16le"),
    ] {
        let sources = "-f lavfi -i testsrc2=s=192x108:r=25:d=12 -f lavfi -i sine=r=48000:d=12";
        assert_plays_exactly(name, &film(media.path(), name, &format!("{sources} {coded}")));
    }
}

#[test]
fn what_is_not_played_is_refused_by_name() {
    let media = tempfile::tempdir().unwrap();
    let picture = "-f lavfi -i testsrc2=s=320x180:r=25:d=1";
    let coded = |name: &str, coded: &str| film(media.path(), name, &format!("{picture} {coded}"));
    let scrambled = coded("scrambled.ts", "-c:v mpeg2video");
    let mut bytes = fs::read(&scrambled).unwrap();
    bytes.chunks_exact_mut(188).filter(|p| p[1] & 0x1F == 1).for_each(|p| p[3] |= 0x80);
    fs::write(&scrambled, bytes).unwrap();
    let data = Data::new();
    for (path, why) in [
        (coded("palette.avi", "-c:v rawvideo -pix_fmt pal8"), "uncompressed video whose pixels are RGB8P"),
        (coded("ut.avi", "-c:v utvideo"), "no package of Debian 12 brings a decoder for Ut Video"),
        (coded("ut.mkv", "-c:v utvideo"), "no package of Debian 12 brings a decoder for Ut Video"),
        (coded("screen.flv", "-c:v flashsv2"), "Flash Screen Video 2 is not supported"),
        (coded("cinema.mov", "-c:v jpeg2000 -pix_fmt yuv420p"), "does not know this kind of JPEG 2000"),
        (coded("440.webm", "-c:v libvpx-vp9 -cpu-used 8 -pix_fmt yuv440p"), "does not know this kind of VP9"),
        (coded("rgb.webm", "-c:v libvpx-vp9 -cpu-used 8 -pix_fmt gbrp"), "VP9 of red, green and blue"),
        (coded("recorded.wtv", "-c:v mpeg2video"), "WTV"),
        (scrambled, "the file is encrypted"),
    ] {
        let ran = run(data.command(&["ingest", path.to_str().unwrap()]));
        assert!(ran.code() != 0 && ran.error().contains(why), "{}: {ran:?}", path.display());
    }
    assert_eq!(data.sources(), Vec::<String>::new());
}

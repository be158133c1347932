//! Promises 1 and 3: no frame lost or doubled, no sample of sound too many, and playlists that say what the media say.

use std::path::Path;

use serde_json::Value;

use crate::media::{Film, launch};
use crate::sources::film;
use crate::support::{Data, TestServer, ffprobe};

/// Presentation time, decode time and duration of every packet in the stream's own ticks, by an independent reader.
/// Durations are the distances of decode times; only the last one is what the container says.
fn packets(media: &[u8]) -> (u64, Vec<(i64, i64, i64)>) {
    let probed = ffprobe(media, "stream=time_base:packet=pts,dts,duration");
    let base = probed["streams"][0]["time_base"].as_str().unwrap();
    let scale = base.split('/').nth(1).unwrap().parse().unwrap();
    let number = |p: &Value, key: &str| p[key].as_i64().unwrap_or_else(|| panic!("no {key} in {p}"));
    let list = probed["packets"].as_array().unwrap();
    let decode: Vec<i64> = list.iter().map(|p| number(p, "dts")).collect();
    let ends =
        decode[1..].iter().copied().chain([decode[decode.len() - 1] + number(&list[list.len() - 1], "duration")]);
    let times = list.iter().zip(&decode).zip(ends);
    (scale, times.map(|((p, &dts), end)| (number(p, "pts"), dts, end - dts)).collect())
}

/// Seconds of each segment, as a playlist says.
pub fn durations(playlist: &str) -> Vec<f64> {
    playlist.lines().filter_map(|l| l.strip_prefix("#EXTINF:")?.trim_end_matches(',').parse().ok()).collect()
}

#[test]
fn every_frame_of_the_source_is_there_once_in_every_rendition_and_playlists_agree_with_the_media() {
    let media = tempfile::tempdir().unwrap();
    let rates: [(u32, u32); 5] = [(24_000, 1001), (25, 1), (30_000, 1001), (30, 1), (60, 1)];
    for (n, rate) in rates.into_iter().enumerate() {
        // Even, because ffprobe guesses the last duration of a rendition with every other frame from the others.
        let frames = (7 * rate.0 / rate.1 + 3) / 2 * 2;
        let gop = [250, 25, 60, 7, 240][n];
        let film = Film { rate, frames, gop, size: (640, 360), kilobits: 900, sound: Some([44_100, 48_000][n % 2]) };
        let data = Data::new();
        let id = data.ingest(&film.make(media.path(), "film.mp4"));
        let server = TestServer::over(&data);
        for playlist in server.playlists(&id) {
            let rendition = server.rendition(&playlist);
            let (scale, list) = packets(&rendition);
            let mut shown: Vec<i64> = list.iter().map(|p| p.0).collect();
            shown.sort_unstable();
            let what = format!("{playlist} of {rate:?}");
            // Every frame is decoded when one is shown, so both are the same set of times. (FFmpeg moves the presentation
            // times of a track with negative composition offsets by the largest of them; the first one is moved back.)
            let moved = shown[0] - list[0].1;
            shown.iter_mut().for_each(|at| *at -= moved);
            assert_eq!(shown, list.iter().map(|p| p.1).collect::<Vec<_>>(), "{what}: presentation times");
            let seconds: f64 = durations(&server.text(&playlist)).iter().sum();
            let end = list.last().unwrap().1 + list.last().unwrap().2;
            let exact = end as f64 / scale as f64;
            assert!((seconds - exact).abs() < 0.000_1, "{what}: EXTINF says {seconds}, the media {exact}");
            if playlist.contains("audio") {
                assert!(list.iter().all(|p| p.2 == 1024 && p.0 == p.1), "{what}: frames of 1024 samples");
            } else {
                let capped = rate.0 / rate.1 > 33 && !playlist.contains("source");
                let kept = if capped { frames.div_ceil(2) } else { frames };
                assert_eq!(list.len(), kept as usize, "{what}: frames");
                let interval = u64::from(if capped { 2 * rate.1 } else { rate.1 }) * scale / u64::from(rate.0);
                let odd = list.iter().filter(|p| p.2.unsigned_abs().abs_diff(interval) > 1).count();
                assert!(odd <= 1, "{what}: {odd} frames last other than {interval} ticks");
            }
        }
    }
}

/// The highest bit rate of consecutive segments that together last between 0.5 and 1.5 target durations (RFC 8216
/// §4.3.4.2).
pub fn peak(server: &TestServer, playlist: &str) -> f64 {
    let text = server.text(playlist);
    let target = text.lines().find_map(|l| l.strip_prefix("#EXT-X-TARGETDURATION:")?.parse::<f64>().ok()).unwrap();
    let durations = durations(&text);
    let paths = server.segments(playlist);
    let bits: Vec<f64> =
        paths[paths.len() - durations.len()..].iter().map(|path| 8.0 * server.bytes(path).len() as f64).collect();
    let mut peak: f64 = 0.0;
    for from in 0..bits.len() {
        for to in from + 1..=bits.len() {
            let seconds: f64 = durations[from..to].iter().sum();
            if (0.5 * target..=1.5 * target).contains(&seconds) {
                peak = peak.max(bits[from..to].iter().sum::<f64>() / seconds);
            }
        }
    }
    assert!(peak > 0.0, "{playlist}: {durations:?}");
    peak
}

/// Noise is what encoders need the most bits for.
#[test]
fn no_stretch_of_segments_has_a_higher_rate_than_its_variant_declares() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let path = media.path().join("noise.mp4");
    launch(&format!(
        "videotestsrc pattern=snow num-buffers=225 ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 \
         ! x264enc speed-preset=ultrafast key-int-max=250 bitrate=6000 ! h264parse ! mp4mux name=mux \
         ! filesink location={} audiotestsrc wave=white-noise volume=1 num-buffers=422 samplesperbuffer=1024 \
         ! audio/x-raw,rate=48000,channels=2 ! avenc_aac bitrate=256000 ! aacparse ! mux.",
        path.display()
    ));
    assert_within_what_is_declared(&data, &path, true);
}

/// Rate control that goes by the mean spends three times as much in the burst.
#[test]
fn a_burst_of_pictures_has_no_higher_rate_than_its_variant_declares() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let burst = "-f lavfi -i color=gray:s=640x360:r=30:d=16 \
                 -vf noise=alls=100:allf=t,select='not(mod(n,15))+between(n,240,330)' -vsync vfr \
                 -c:v libx264 -preset ultrafast -crf 10 -pix_fmt yuv420p";
    assert_within_what_is_declared(&data, &film(media.path(), "burst.mp4", burst), false);
}

fn assert_within_what_is_declared(data: &Data, film: &Path, has_sound: bool) {
    let id = data.ingest(film);
    let server = TestServer::over(data);
    for master in ["master.m3u8", "master-ts.m3u8"] {
        let text = server.text(&format!("/v/{id}/{master}"));
        let mut sounds = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let value = |key: &str| {
                line.split(&format!("{key}=")).nth(1).map(|rest| rest.split([',', '"']).collect::<Vec<_>>())
            };
            if line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO") {
                let (uri, group) = (value("URI").unwrap()[1], value("GROUP-ID").unwrap()[1]);
                sounds.push((group, peak(&server, &format!("/v/{id}/{uri}"))));
            }
            if line.starts_with("#EXT-X-STREAM-INF:") {
                let declared: f64 = value(":BANDWIDTH").unwrap()[0].parse().unwrap();
                let group = value("AUDIO").map(|parts| parts[1]);
                let sound = sounds.iter().filter(|(name, _)| Some(*name) == group).map(|(_, peak)| *peak);
                let uri = lines.next().unwrap();
                let is = peak(&server, &format!("/v/{id}/{uri}")) + sound.fold(0.0, f64::max);
                assert!(is <= declared, "{master} {uri}: {is:.0} bits per second, declared are {declared:.0}");
            }
        }
        assert_eq!(sounds.is_empty(), master == "master-ts.m3u8" || !has_sound);
    }
}

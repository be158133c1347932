//! Transport streams: the same frames at the same times as in CMAF, from the same encodes, and clean to a program that
//! shares no code with the packager.

use std::process::Command;

use serde_json::Value;

use crate::media::Film;
use crate::support::{Data, TestServer, ffprobe};

/// A title's zero on the clock of its streams, ticks.
const ZERO: i64 = 900_000;

/// Paths of the transport streams' playlists.
fn playlists(server: &TestServer, id: &str) -> Vec<String> {
    let master = server.text(&format!("/v/{id}/master-ts.m3u8"));
    let uris = master.lines().filter(|line| !line.starts_with('#'));
    uris.map(|uri| format!("/v/{id}/{uri}")).collect()
}

/// The sound that goes with a video rendition.
fn sound_of(server: &TestServer, id: &str, rendition: &str) -> String {
    let master = server.text(&format!("/v/{id}/master.m3u8"));
    let (before, _) = master.split_once(&format!("/{rendition}/index.m3u8")).unwrap();
    before.rsplit("AUDIO=\"").next().unwrap().split('"').next().unwrap().to_owned()
}

/// Presentation times of a stream's packets in ticks of 90 kHz, ascending.
fn packets(probed: &Value, kind: &str) -> Vec<i64> {
    let streams = probed["streams"].as_array().unwrap();
    let stream = streams.iter().find(|s| s["codec_type"] == kind).unwrap();
    let scale: f64 = stream["time_base"].as_str().unwrap().split('/').nth(1).unwrap().parse().unwrap();
    let own = probed["packets"].as_array().unwrap().iter().filter(|p| p["stream_index"] == stream["index"]);
    let mut times: Vec<i64> =
        own.map(|p| (p["pts"].as_i64().unwrap() as f64 * 90_000.0 / scale).round() as i64).collect();
    times.sort_unstable();
    times
}

/// FFmpeg reads a whole title over HTTP and has nothing to say.
fn assert_clean(server: &TestServer, id: &str) {
    let url = format!("http://{}/v/{id}/master-ts.m3u8", server.address);
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "warning", "-xerror", "-i", &url, "-map", "0", "-c", "copy", "-f", "null", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_transport_stream_has_the_frames_of_cmaf_at_their_times_and_costs_no_encode_of_its_own() {
    let media = tempfile::tempdir().unwrap();
    for film in [Film::LONG_GOP, Film::PLAYABLE] {
        let data = Data::new();
        let id = data.ingest(&film.make(media.path(), "film.mp4"));
        let server = TestServer::over(&data);
        let cmaf: Vec<(String, Vec<u8>)> =
            server.playlists(&id).into_iter().map(|path| (path.clone(), server.rendition(&path))).collect();
        let encodes = server.metric("matinee_encodes_started_total");
        let of = |name: &str| &cmaf.iter().find(|(path, _)| path.contains(name)).unwrap().1;
        for playlist in playlists(&server, &id) {
            let stream = server.rendition(&playlist);
            let entries = "stream=codec_type,index,time_base:packet=stream_index,pts";
            let probed = ffprobe(&stream, entries);
            let rendition = playlist.rsplit('/').nth(1).unwrap();
            let shown = packets(&probed, "video");
            let kept = packets(&ffprobe(of(&format!("/{rendition}/")), entries), "video");
            assert_eq!(shown.len(), kept.len(), "{playlist}");
            for (ours, theirs) in shown.iter().zip(&kept) {
                // FFmpeg shows CMAF with negative composition offsets later by the largest of them.
                let off = (ours - ZERO) - (theirs - kept[0]);
                assert!(off.abs() <= 1, "{playlist}: {off} ticks off");
            }
            let heard = packets(&probed, "audio");
            let group = sound_of(&server, &id, rendition);
            let sound = packets(&ffprobe(of(&format!("/{group}/")), entries), "audio");
            assert_eq!(heard.len(), sound.len(), "{playlist}");
            assert!(heard.iter().zip(&sound).all(|(ours, theirs)| (ours - ZERO - theirs).abs() <= 1), "{playlist}");
        }
        assert_clean(&server, &id);
        assert_eq!(server.metric("matinee_encodes_started_total"), encodes, "wrapped, not made");
    }
}

#[test]
fn a_transport_segment_is_the_same_from_cold_backwards_and_after_a_restart() {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    let paths: Vec<String> = playlists(&server, &id).iter().flat_map(|p| server.segments(p)).collect();
    let backwards: Vec<Vec<u8>> = paths.iter().rev().map(|path| server.bytes(path)).collect();
    let server = server.restart();
    for (path, first) in paths.iter().zip(backwards.iter().rev()) {
        let answer = server.get(path);
        assert_eq!(answer.header("x-cache"), Some("disk"), "{path}");
        assert!(&answer.body == first, "{path} differs");
    }
}

#[test]
fn a_title_of_sound_alone_has_streams_of_sound_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("speech.m4a");
    let launch = format!(
        "audiotestsrc wave=pink-noise num-buffers=300 samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=1 \
         ! avenc_aac ! aacparse ! mp4mux ! filesink location={}",
        path.display()
    );
    let made = Command::new("gst-launch-1.0").arg("-q").args(launch.split_whitespace()).status();
    assert!(made.expect("gst-launch-1.0 is installed by `make test`").success());
    let data = Data::new();
    let id = data.ingest(&path);
    let server = TestServer::over(&data);
    for playlist in playlists(&server, &id) {
        let probed = ffprobe(&server.rendition(&playlist), "stream=codec_name,channels,sample_rate");
        let streams = probed["streams"].as_array().unwrap();
        assert_eq!(streams.len(), 1, "{playlist}");
        assert_eq!((&streams[0]["codec_name"], &streams[0]["sample_rate"]), (&"aac".into(), &"44100".into()));
    }
    assert_clean(&server, &id);
}

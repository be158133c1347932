//! DASH and I-frames over real media: what the manifest says is there, and it is what HLS plays.

use std::fs;

use crate::media::Film;
use crate::support::{Data, TestServer, ffprobe};

/// The values of an attribute, in the order of the manifest.
fn values<'a>(text: &'a str, attribute: &str) -> Vec<&'a str> {
    let begin = format!(" {attribute}=\"");
    text.split(begin.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// The names of the segments an adaptation set's timeline promises.
fn numbers(set: &str) -> Vec<String> {
    let repeats = |run: &str| values(run, "r").first().map_or(0, |r| r.parse::<u32>().unwrap());
    let count: u32 =
        set.split("<S ").skip(1).map(|run| 1 + repeats(&format!(" {}", run.split('>').next().unwrap()))).sum();
    (0..count).map(|n| format!("{n}.m4s")).collect()
}

/// Paths of the I-frames of a rendition.
fn iframes(server: &TestServer, playlist: &str) -> Vec<String> {
    let listed = server.segments(&playlist.replace("index.m3u8", "iframe.m3u8"));
    listed.into_iter().filter(|path| path.contains("/iframe/")).collect()
}

#[test]
fn every_segment_of_the_manifest_is_the_one_hls_made() {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&Film::PLAYABLE.make(media.path(), "film.mp4"));
    let server = TestServer::over(&data);
    let played: Vec<String> = server.playlists(&id).iter().flat_map(|list| server.segments(list)).collect();
    for path in &played {
        server.bytes(path);
    }
    let answer = server.get(&format!("/v/{id}/manifest.mpd"));
    assert_eq!(answer.header("content-type"), Some("application/dash+xml"));
    let manifest = answer.text();
    let base = values(&manifest, "media")[0].split('$').next().unwrap();
    let mut named = Vec::new();
    // Single pictures and thumbnails are no segments.
    let plays = |set: &&str| !set.contains("trickmode") && !set.contains("thumbnail_tile");
    for set in manifest.split("<AdaptationSet").skip(1).filter(plays) {
        let representations = set.split("<Representation").skip(1).map(|one| values(one, "id")[0]);
        for representation in representations {
            let of = |file: &str| format!("/v/{id}/{base}{representation}/{file}");
            named.push(of("init.mp4"));
            named.extend(numbers(set).iter().map(|file| of(file)));
        }
    }
    for path in &named {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("x-cache")), (200, Some("memory")), "{path}");
    }
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths.dedup();
        paths
    };
    assert_eq!(sorted(named), sorted(played), "neither protocol has a segment the other has not");
}

#[test]
fn an_iframe_is_one_picture_and_the_same_from_nothing_from_disk_and_from_its_segment() {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    let server = TestServer::over(&data);
    let master = server.text(&format!("/v/{id}/master.m3u8"));
    let offered = master.lines().filter(|line| line.starts_with("#EXT-X-I-FRAME-STREAM-INF:"));
    let lightest = offered.map(|line| line.split("URI=\"").nth(1).unwrap().trim_end_matches('"')).next_back().unwrap();
    let playlist = format!("/v/{id}/{lightest}").replace("iframe.m3u8", "index.m3u8");
    let init = server.bytes(&playlist.replace("index.m3u8", "init.mp4"));
    let paths = iframes(&server, &playlist);
    assert_eq!(paths.len() + 1, server.segments(&playlist).len(), "one for every segment");
    let cold: Vec<Vec<u8>> = paths.iter().map(|path| server.bytes(path)).collect();
    for picture in &cold {
        let found = ffprobe(&[init.as_slice(), picture].concat(), "stream=nb_read_frames:frame=pict_type,key_frame");
        assert_eq!(
            (&found["streams"][0]["nb_read_frames"], &found["frames"][0]["key_frame"]),
            (&"1".into(), &1.into())
        );
    }
    let server = server.restart();
    let again: Vec<Vec<u8>> = paths.iter().map(|path| server.bytes(path)).collect();
    assert!(again == cold, "from disk");
    drop(server);
    fs::remove_dir_all(data.path().join("cache")).unwrap();
    let server = TestServer::over(&data);
    server.rendition(&playlist);
    let carved: Vec<Vec<u8>> = paths.iter().map(|path| server.bytes(path)).collect();
    assert!(carved == cold, "from whole segments");
}

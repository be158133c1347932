//! What a server keeps over its restarts, and what it does not believe.

use std::fs;

use crate::media::Film;
use crate::support::{Data, TestServer, until};

/// A film, a server over it, and a segment that is on its disk.
fn with_a_segment() -> (Data, String, Vec<u8>) {
    let (data, media) = (Data::new(), tempfile::tempdir().unwrap());
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    let path = server.segments(&server.playlist(&id, "360p")).remove(1);
    let whole = server.bytes(&path);
    drop(server);
    (data, path, whole)
}

fn file(path: &str) -> String {
    let [_, _, _, generation, rendition, number] = path.split('/').collect::<Vec<_>>()[..] else { panic!("{path}") };
    format!("cache/{}/{generation}/{rendition}/{}", &generation[..2], number.trim_end_matches(".m4s"))
}

#[test]
fn a_segment_survives_a_restart_and_one_that_was_damaged_is_made_again_the_same() {
    let (data, path, whole) = with_a_segment();
    let server = TestServer::over(&data);
    let answer = server.get(&path);
    assert_eq!((answer.header("x-cache"), answer.body == whole), (Some("disk"), true));
    drop(server);
    let stored = data.path().join(file(&path));
    let mut content = fs::read(&stored).unwrap();
    content[1000] ^= 1;
    fs::write(&stored, content).unwrap();
    let server = TestServer::over(&data);
    let answer = server.get(&path);
    assert_eq!((answer.header("x-cache"), answer.body == whole), (Some("made"), true));
    assert_eq!(server.metric("matinee_cache_corrupt_files_total"), 1.0);
    until("its file is whole again", || fs::read(&stored).is_ok_and(|content| content.starts_with(&whole)));
}

#[test]
fn what_an_earlier_encoder_made_is_removed_after_a_start_and_what_this_one_made_is_not() {
    let (data, path, whole) = with_a_segment();
    let (mine, theirs) = (file(&path), "cache/ab/abcdefabcdefabcd/360p/7");
    fs::create_dir_all(data.path().join(theirs).parent().unwrap()).unwrap();
    fs::copy(data.path().join(&mine), data.path().join(theirs)).unwrap();
    // So that the folder is looked at: what another recipe made under this journal would stand in it.
    fs::remove_file(data.path().join("cache/index")).unwrap();
    let server = TestServer::over(&data);
    until("it is removed", || !data.path().join("cache/ab").exists());
    let answer = server.get(&path);
    assert_eq!((answer.header("x-cache"), answer.body == whole), (Some("disk"), true));
    until("it is said", || server.log().contains("removed segments that no title's recipe names any more"));
}

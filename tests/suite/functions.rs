//! Promise 2: the bytes of a segment depend on source, recipe and number, and on nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use crate::media::Film;
use crate::support::{Data, TestServer};

/// The bytes of every object of a title, by path.
type Bytes = BTreeMap<String, Vec<u8>>;

/// Every object's path, rendition by rendition.
fn paths(server: &TestServer, id: &str) -> Vec<Vec<String>> {
    server.playlists(id).iter().map(|playlist| server.segments(playlist)).collect()
}

fn take<'a>(server: &TestServer, paths: impl IntoIterator<Item = &'a String>) -> Bytes {
    paths.into_iter().map(|path| (path.clone(), server.bytes(path))).collect()
}

/// The names of what differs, rather than the bytes.
fn assert_same(what: &str, one: &Bytes, other: &Bytes) {
    assert_eq!(one.len(), other.len(), "{what}");
    let differing: Vec<&String> =
        one.iter().filter(|(path, bytes)| other.get(*path) != Some(bytes)).map(|(p, _)| p).collect();
    assert!(differing.is_empty(), "{what}: {differing:?}");
}

#[test]
fn a_segment_is_the_same_however_and_whenever_it_is_reached() {
    let media = tempfile::tempdir().unwrap();
    for film in [Film::LONG_GOP, Film::PLAYABLE] {
        let data = Data::new();
        let id = data.ingest(&film.make(media.path(), "film.mp4"));
        let server = TestServer::over(&data);
        let renditions = paths(&server, &id);
        // Played in order, with the decoder kept from segment to segment and look-ahead at work.
        let sequential = take(&server, renditions.iter().flatten());
        drop(server);
        let server = TestServer::over(&data);
        assert_same("after a restart, from disk", &sequential, &take(&server, renditions.iter().flatten()));
        drop(server);
        for folder in fs::read_dir(data.path().join("cache")).unwrap() {
            let folder = folder.unwrap().path();
            if folder.is_dir() {
                fs::remove_dir_all(folder).unwrap();
            }
        }
        // Last first, without look-ahead: every segment is a cold seek.
        let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
        let backwards = renditions.iter().flatten().rev();
        assert_same("backwards, made anew", &sequential, &take(&server, backwards));
        drop(server);
        fs::remove_dir_all(data.path().join("cache")).unwrap();
        // Four viewers at once, each in another order, over a cache that holds almost nothing.
        let small = [("MATINEE_CACHE__MEMORY_BYTES", "200000"), ("MATINEE_CACHE__DISK_BYTES", "400000")];
        let server = TestServer::with(&data, &small);
        let all: Vec<&String> = renditions.iter().flatten().collect();
        thread::scope(|scope| {
            let viewers: Vec<_> = (0..4)
                .map(|viewer| {
                    let (server, all) = (&server, &all);
                    scope.spawn(move || take(server, (0..all.len()).map(|i| all[(i * 7 + viewer * 11) % all.len()])))
                })
                .collect();
            for viewer in viewers {
                let seen = viewer.join().unwrap();
                let differing: Vec<_> =
                    seen.iter().filter(|(path, bytes)| sequential.get(*path) != Some(bytes)).collect();
                assert!(
                    differing.is_empty(),
                    "with competing viewers: {:?}",
                    differing.iter().map(|d| d.0).collect::<Vec<_>>()
                );
            }
        });
    }
}

//! Posters and thumbnails: the right pictures, made once, the same every time, and a clear answer where there are none.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::media::Film;
use crate::support::{Answer, Data, TestServer, until};

const CLIENTS: usize = 64;
/// Viewers at most who leave before their sheet is made: one of them is heard to leave in time.
const LEAVERS: usize = 5;
/// A film of which the first sheet takes a while: nothing in it is a key frame but the first.
const SLOW: Film = Film { rate: (25, 1), frames: 300, size: (1280, 720), gop: 400, kilobits: 4000, sound: None };

fn gst(launch: &str) {
    let made = Command::new("gst-launch-1.0").arg("-q").args(launch.split_whitespace()).stdout(Stdio::null()).status();
    assert!(made.expect("gst-launch-1.0 is installed by `make test`").success(), "gst-launch-1.0 failed: {launch}");
}

/// A film of 25 frames per second, one pattern after the other: what each is, and its frames.
fn scenes(path: &Path, scenes: &[(String, u32)], gop: u32) {
    let mut launch = format!(
        "concat name=scenes ! x264enc speed-preset=ultrafast key-int-max={gop} option-string=scenecut=0 \
         ! video/x-h264,profile=main ! h264parse ! mp4mux ! filesink location={}",
        path.display()
    );
    for (pattern, frames) in scenes {
        launch += &format!(
            " videotestsrc pattern={pattern} num-buffers={frames} \
             ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 ! scenes."
        );
    }
    gst(&launch);
}

/// Grey levels of a JPEG file, by a reader that shares no code with us.
fn grey(jpeg: &[u8], (width, height): (usize, usize)) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "mjpeg", "-i", "-", "-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed by `make test`");
    let (mut to, jpeg) = (ffmpeg.stdin.take().unwrap(), jpeg.to_vec());
    let writer = thread::spawn(move || to.write_all(&jpeg).unwrap());
    let output = ffmpeg.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.stdout.len(), width * height, "it is {width}x{height}");
    output.stdout
}

fn mean(grey: &[u8]) -> u32 {
    grey.iter().map(|g| u32::from(*g)).sum::<u32>() / grey.len() as u32
}

fn ingested(make: impl FnOnce(&Path) -> PathBuf) -> (Data, String) {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&make(media.path()));
    (data, id)
}

/// Cues of the list of thumbnails: from and to in milliseconds, the sheet's path, and where on it.
fn cues(server: &TestServer, id: &str) -> Vec<(u64, u64, String, [usize; 4])> {
    let text = server.text(&format!("/v/{id}/thumbnails.vtt"));
    assert!(text.starts_with("WEBVTT\n\n"));
    let ms = |time: &str| {
        let parts: Vec<u64> = time.split([':', '.']).map(|p| p.parse().unwrap()).collect();
        ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1000 + parts[3]
    };
    let cue = |block: &str| {
        let (times, place) = block.trim().split_once('\n').unwrap();
        let (from, to) = times.split_once(" --> ").unwrap();
        let (uri, place) = place.split_once("#xywh=").unwrap();
        let place: Vec<usize> = place.split(',').map(|n| n.parse().unwrap()).collect();
        (ms(from), ms(to), format!("/v/{id}/{uri}"), place.try_into().unwrap())
    };
    text.split("\n\n").skip(1).map(cue).collect()
}

fn sheet(server: &TestServer, id: &str) -> String {
    cues(server, id)[0].2.clone()
}

fn forget_all(data: &Data) {
    fs::remove_dir_all(data.path().join("cache")).unwrap();
}

#[test]
fn the_poster_of_a_film_that_begins_black_shows_what_it_is_about() {
    // Whether there is a key frame to see or the way there has to be decoded.
    for gop in [25, 400] {
        let (data, id) = ingested(|folder| {
            let path = folder.join("film.mp4");
            let flat = "solid-color foreground-color=0xFF606060".to_owned();
            scenes(&path, &[("black".into(), 75), (flat, 50), ("smpte".into(), 50), ("black".into(), 75)], gop);
            path
        });
        let server = TestServer::over(&data);
        let answer = server.get(&format!("/v/{id}/poster.jpg"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/jpeg")));
        let luma = grey(&answer.body, (640, 360));
        let (dark, bright) = (luma.iter().filter(|l| **l < 60).count(), luma.iter().filter(|l| **l > 150).count());
        assert!(dark > luma.len() / 20 && bright > luma.len() / 20, "the bars, with key frames {gop} apart");
    }
}

#[test]
fn a_thumbnail_shows_what_is_shown_in_its_time() {
    let level = |second: u32| 40 + second * 16;
    for gop in [1, 40, 75, 1000] {
        let (data, id) = ingested(|folder| {
            let path = folder.join("film.mp4");
            let flat = |second: u32| format!("solid-color foreground-color=0xFF{0:02x}{0:02x}{0:02x}", level(second));
            scenes(&path, &(0..13).map(|second| (flat(second), 25)).collect::<Vec<_>>(), gop);
            path
        });
        let server = TestServer::over(&data);
        let cues = cues(&server, &id);
        assert_eq!(cues.iter().map(|c| c.0).collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10, 12].map(|s| s * 1000));
        assert!(cues.windows(2).all(|w| w[0].1 == w[1].0) && cues[6].1 == 13_000);
        let sheet = server.bytes(&cues[0].2);
        let luma = grey(&sheet, (800, 180));
        for (from, to, _, [x, y, w, h]) in &cues {
            // A block inside the tile, away from its neighbours.
            let inner = (y + h / 4..y + 3 * h / 4)
                .flat_map(|row| luma[row * 800 + x + w / 4..row * 800 + x + 3 * w / 4].to_vec());
            let found = mean(&inner.collect::<Vec<_>>());
            let seconds = from / 1000..to.div_ceil(1000);
            let fits = |second: u64| level(u32::try_from(second).unwrap()).abs_diff(found) <= 5;
            assert!(seconds.clone().any(fits), "{seconds:?} s is level {found}, with key frames {gop} apart");
        }
    }
}

#[test]
fn sixty_four_clients_who_ask_for_one_sheet_cause_one_job() {
    let (data, id) = ingested(|folder| SLOW.make(folder, "film.mp4"));
    let server = TestServer::over(&data);
    let path = sheet(&server, &id);
    let before = server.metric("matinee_encodes_started_total");
    let start = Barrier::new(CLIENTS);
    let ask = || {
        start.wait();
        server.get(&path)
    };
    let answers: Vec<Answer> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|a| a.status == 200 && a.body == answers[0].body));
    assert_eq!(answers.iter().filter(|a| a.header("x-cache") == Some("made")).count(), 1);
    assert_eq!(server.metric("matinee_encodes_started_total") - before, 1.0);
}

#[test]
fn pictures_are_the_same_whenever_they_are_made_and_are_kept() {
    let (data, id) = ingested(|folder| Film::LONG_GOP.make(folder, "film.mp4"));
    let server = TestServer::over(&data);
    let paths = [format!("/v/{id}/poster.jpg"), sheet(&server, &id)];
    let whole = |server: &TestServer| paths.clone().map(|path| server.bytes(&path));
    let made = whole(&server);
    assert!(made[1].len() < 200_000);
    let kept_segment = server.bytes(&server.segments(&server.playlist(&id, "144p"))[1]);
    // DASH names the very same sheet.
    let manifest = server.text(&format!("/v/{id}/manifest.mpd"));
    let base = manifest.split("media=\"").nth(1).unwrap().split('$').next().unwrap();
    let media = format!("media=\"{base}$RepresentationID$/$Number$.jpg\"");
    assert!(manifest.contains(&media) && manifest.contains("id=\"thumbnails\""), "{manifest}");
    assert_eq!(paths[1], format!("/v/{id}/{base}thumbnails/0.jpg"));
    let second = server.get(&paths[1]);
    assert_eq!(second.header("x-cache"), Some("memory"));
    assert_eq!(second.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert!(server.get(&paths[0]).header("cache-control").unwrap().contains("max-age=60"));
    for path in &paths {
        let etag = server.get(path).header("etag").unwrap().to_owned();
        assert_eq!(server.ask(path).header("if-none-match", &etag).send().unwrap().status, 304);
        let head = server.ask(path).method("HEAD").send().unwrap();
        assert_eq!((head.status, head.header("etag"), head.body.len()), (200, Some(&*etag), 0));
    }
    let server = server.restart();
    let segment = server.segments(&server.playlist(&id, "144p")).remove(1);
    for (path, bytes) in paths.iter().zip(&made).chain([(&segment, &kept_segment)]) {
        let head = server.ask(path).method("HEAD").send().unwrap();
        assert_eq!((head.status, head.header("x-cache")), (200, Some("disk")), "{path}");
        assert_eq!(head.header("content-length"), Some(&*bytes.len().to_string()), "{path}");
    }
    let kept = server.get(&paths[1]);
    assert_eq!((kept.header("x-cache"), &kept.body), (Some("disk"), &made[1]));
    drop(server);
    forget_all(&data);
    let server = TestServer::over(&data);
    // In another order, and among other work.
    server.segments(&server.playlists(&id)[0]).iter().take(3).for_each(|path| drop(server.bytes(path)));
    assert!(server.bytes(&paths[1]) == made[1] && server.bytes(&paths[0]) == made[0], "made anew, they differ");
}

#[test]
fn a_worker_that_is_killed_over_a_sheet_costs_one_retry() {
    let (data, id) = ingested(|folder| SLOW.make(folder, "film.mp4"));
    let (path, whole) = {
        let server = TestServer::over(&data);
        let path = sheet(&server, &id);
        (path.clone(), server.bytes(&path))
    };
    forget_all(&data);
    let server = TestServer::with(&data, &[("MATINEE_WORKER__STANDBY", "0")]);
    let answer = thread::scope(|scope| {
        let asked = scope.spawn(|| server.get(&path));
        until("a worker is at it", || !server.workers().is_empty());
        for worker in server.workers() {
            let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL);
        }
        asked.join().unwrap()
    });
    assert!(answer.status == 200 && answer.body == whole, "{}", server.log());
    assert_eq!(server.metric("matinee_encodes_started_total"), 1.0);
    assert_eq!(server.metric("matinee_encodes_ended_total{outcome=\"failed\"}"), 0.0);
}

#[test]
fn a_sheet_nobody_waits_for_any_more_is_not_made() {
    let (data, id) = ingested(|folder| SLOW.make(folder, "film.mp4"));
    // It may be made before the server hears that its viewer has left: then another server tells.
    let is_stopped = (0..LEAVERS).any(|_| {
        let server = TestServer::over(&data);
        let path = sheet(&server, &id);
        let connection = server.ask(&path).sent().unwrap();
        until("the work is begun", || server.metric("matinee_encodes_started_total") >= 1.0);
        drop(connection);
        until("nothing is made any more", || server.metric("matinee_encodes_running") == 0.0);
        let is_stopped = server.metric("matinee_encodes_ended_total{outcome=\"cancelled\"}") >= 1.0;
        assert!(server.bytes(&path).len() > 1000, "whoever asks next gets it");
        drop(server);
        forget_all(&data);
        is_stopped
    });
    assert!(is_stopped, "{LEAVERS} sheets were made for nobody");
}

#[test]
fn a_source_that_was_damaged_since_is_a_problem_and_not_a_picture() {
    let (data, id) = ingested(|folder| Film::PLAYABLE.make(folder, "film.mp4"));
    let source = data.files("library").into_iter().find(|name| name.ends_with("/source")).unwrap();
    let source = data.path().join(source);
    let mut permissions = fs::metadata(&source).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of the test, about to be deleted")]
    permissions.set_readonly(false);
    fs::set_permissions(&source, permissions).unwrap();
    let length = fs::metadata(&source).unwrap().len();
    fs::write(&source, vec![0; usize::try_from(length).unwrap()]).unwrap();
    let server = TestServer::over(&data);
    for path in [format!("/v/{id}/poster.jpg"), sheet(&server, &id)] {
        let answer = server.get(&path);
        assert_eq!(answer.problem(), (500, "picture".into()), "{path}");
    }
}

#[test]
fn a_title_without_video_has_its_cover_art_as_poster_or_none() {
    let media = tempfile::tempdir().unwrap();
    let (plain, cover) = (media.path().join("plain.aac"), media.path().join("cover.jpg"));
    let sound = "audiotestsrc num-buffers=100 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2 ! audioconvert \
                 ! avenc_aac bitrate=96000 ! aacparse ! audio/mpeg,stream-format=adts";
    gst(&format!("{sound} ! filesink location={}", plain.display()));
    gst(&format!(
        "videotestsrc pattern=smpte num-buffers=1 ! video/x-raw,width=300,height=300 ! jpegenc ! filesink location={}",
        cover.display()
    ));
    let (plain, tagged) = (plain, media.path().join("tagged.aac"));
    fs::write(&tagged, [id3(&fs::read(&cover).unwrap()), fs::read(&plain).unwrap()].concat()).unwrap();
    let data = Data::new();
    let (plain, tagged) = (data.ingest(&plain), data.ingest(&tagged));
    let server = TestServer::over(&data);
    let playback = |id: &str| server.get(&format!("/api/v1/videos/{id}")).json()["playback"].clone();
    let (with, without) = (playback(&tagged), playback(&plain));
    assert_eq!(
        (with["poster"].as_str(), &without["poster"]),
        (Some(&*format!("/v/{tagged}/poster.jpg")), &serde_json::Value::Null)
    );
    assert!(with["thumbnails"].is_null() && without["thumbnails"].is_null());
    let signed = server.ask(&format!("/api/v1/videos/{plain}/playback-tokens")).method("POST").body("{}");
    let signed = signed.header("content-type", "application/json").send().unwrap().json()["playback"].clone();
    assert!(signed["hls"].is_string() && signed["poster"].is_null() && signed["thumbnails"].is_null(), "{signed}");
    let head = |id: &str| server.ask(&format!("/v/{id}/poster.jpg")).method("HEAD").send().unwrap().status;
    assert_eq!((head(&tagged), head(&plain)), (200, 404));
    let answer = server.get(&format!("/v/{tagged}/poster.jpg"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_ne!(answer.body, fs::read(&cover).unwrap(), "bytes of a source are not passed on");
    assert!((40..200).contains(&mean(&grey(&answer.body, (300, 300)))));
    let none = server.get(&format!("/v/{plain}/poster.jpg"));
    assert_eq!(none.problem(), (404, "no-poster".into()));
    let none = server.get(&format!("/v/{tagged}/thumbnails.vtt"));
    assert_eq!(none.problem(), (404, "no-thumbnails".into()));
}

/// A tag with an attached picture (ID3v2.3 §4.15).
fn id3(jpeg: &[u8]) -> Vec<u8> {
    let body = [b"\0image/jpeg\0\x03\0", jpeg].concat();
    let frame = [b"APIC", &u32::try_from(body.len()).unwrap().to_be_bytes()[..], &[0, 0], &body].concat();
    let size = u32::try_from(frame.len()).unwrap();
    let seven_bits = [21, 14, 7, 0].map(|shift| u8::try_from(size >> shift & 127).unwrap());
    [b"ID3\x03\0\0", &seven_bits[..], &frame].concat()
}

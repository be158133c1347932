//! Films that come in over HTTP: whole ones become titles, whatever else leaves nothing behind.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::media::Film;
use crate::support::{Answer, Data, PATIENCE, TestServer, until};

const VIDEOS: &str = "/api/v1/videos";

/// A film that all tests here share, and its bytes.
pub fn film() -> (&'static Path, Vec<u8>) {
    static FILM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FILM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let film = Film { frames: 90, ..Film::PLAYABLE }.make(folder.path(), "film.mp4");
        (folder, film)
    });
    (path, std::fs::read(path).unwrap())
}

/// What curl says of a request: the status, and the JSON of the body.
fn curl(server: &TestServer, arguments: &[&str], path: &str) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60", "-w", "\n%{http_code}"]).args(arguments);
    let output = command.arg(format!("http://{}{path}", server.address)).output().expect("curl is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let status = status.parse().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Waits until a title is processed, and says what it is then.
pub fn settled(server: &TestServer, id: &str) -> Value {
    let mut video = Value::Null;
    until("a title is processed", || {
        video = server.get(&format!("{VIDEOS}/{id}")).json();
        video["state"] != "processing"
    });
    video
}

fn post(server: &TestServer, body: &[u8]) -> Answer {
    server.ask(VIDEOS).method("POST").header("content-type", "video/mp4").body(body).send().unwrap()
}

fn videos(server: &TestServer) -> Vec<Value> {
    server.get(&format!("{VIDEOS}?limit=100")).json()["videos"].as_array().unwrap().clone()
}

/// Nothing was taken in, and nothing lies about.
fn assert_nothing(server: &TestServer) {
    until("what was staged is removed", || server.data.files("staging") == ["staging/.lock"]);
    assert_eq!(server.data.files("library"), Vec::<String>::new());
    assert_eq!(videos(server), Vec::<Value>::new());
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request on a socket of its own, of which the caller decides when it goes on and when it breaks off.
fn raw(server: &TestServer, head: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let line = if head.starts_with("P") { String::new() } else { format!("POST {VIDEOS} HTTP/1.1\r\nhost: x\r\n") };
    socket.write_all(format!("{line}{head}\r\n\r\n").as_bytes()).unwrap();
    socket
}

/// The status line of what comes.
fn status(socket: &mut TcpStream) -> u16 {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap().split(' ').nth(1).expect("an answer").parse().unwrap()
}

#[test]
fn curl_sends_a_film_in_each_of_its_ways_and_it_plays() {
    let server = TestServer::start();
    let (path, bytes) = film();
    let path = path.to_str().unwrap();
    let form = format!("file=@{path}");
    let data = format!("@{path}");
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("film");
    std::fs::copy(path, &bare).unwrap();
    let ways: [(&[&str], &str, &str); 7] = [
        (&["-T", path], "/api/v1/videos/", "film.mp4"),
        (&["-T", bare.to_str().unwrap()], "/api/v1/videos/film", "film"),
        (&["-T", path], "/api/v1/videos?filename=other.mp4", "other.mp4"),
        (&["-F", &form], VIDEOS, "film.mp4"),
        (&["--data-binary", &data], "/api/v1/videos?filename=a%20b.mp4", "a b.mp4"),
        (
            &["-X", "POST", "-H", "transfer-encoding: chunked", "-H", "content-type: video/mp4", "-T", path],
            VIDEOS,
            "untitled",
        ),
        (
            &[
                "-X",
                "POST",
                "-H",
                "expect: 100-continue",
                "-H",
                "content-disposition: attachment; filename=\"../x.mp4\"",
                "-T",
                path,
            ],
            VIDEOS,
            "x.mp4",
        ),
    ];
    for (arguments, to, name) in ways {
        let (status, video) = curl(&server, arguments, to);
        assert_eq!(status, 201, "{arguments:?}: {video}");
        assert_eq!((&video["file_name"], &video["size_bytes"]), (&name.into(), &bytes.len().into()));
        assert_eq!(video["source"], sha256(&bytes));
        let video = settled(&server, video["id"].as_str().unwrap());
        assert_eq!(video["state"], "ready", "{video}");
        server.text(video["playback"]["hls"].as_str().unwrap());
    }
    assert_eq!(server.data.sources(), [sha256(&bytes)], "one source, however often it came");
    let id = videos(&server)[0]["id"].as_str().unwrap().to_owned();
    let playlist = server.playlists(&id).pop().unwrap();
    server.bytes(&server.segments(&playlist)[1]);
}

#[test]
fn an_answer_names_the_title_and_says_where_it_is() {
    let server = TestServer::start();
    let answer = post(&server, &film().1);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(format!("{VIDEOS}/{id}").as_str()));
    let etag = answer.header("etag").unwrap().to_owned();
    settled(&server, &id);
    let now = server.get(&format!("{VIDEOS}/{id}"));
    assert_ne!(now.header("etag").unwrap(), etag, "it is ready now, which is another version");
    // A name as long as an id, with letters that no id has.
    for path in ["z.mp4", "holidayvideo"] {
        let put = server.ask(&format!("{VIDEOS}/{path}")).method("PUT").body(film().1).send().unwrap();
        assert_eq!((put.status, put.header("etag")), (201, None), "a tag would be the video's, not the film's");
        assert_eq!(put.json()["file_name"], path);
    }
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let length = format!("content-type: video/mp4\r\ncontent-length: {}", bytes.len());
    let form = "content-type: multipart/form-data; boundary=b\r\ncontent-length: 99999999";
    for head in [length.as_str(), "content-type: video/mp4\r\ntransfer-encoding: chunked", form] {
        let mut socket = raw(&server, head);
        if head.contains("chunked") {
            write!(socket, "{:x}\r\n", bytes.len()).unwrap();
        }
        if head.contains("boundary") {
            socket.write_all(b"--b\r\ncontent-disposition: form-data; name=file\r\n\r\n").unwrap();
        }
        socket.write_all(&bytes[..bytes.len() / 2]).unwrap();
        until("it is being staged", || server.data.files("staging").len() > 1);
        drop(socket);
        assert_nothing(&server);
    }
}

#[test]
fn a_length_that_lies_makes_no_title() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let head = format!("content-type: video/mp4\r\ncontent-length: {}", bytes.len() + 1);
    let mut socket = raw(&server, &head);
    socket.write_all(&bytes).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    let _ = socket.read_to_string(&mut said);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    assert_nothing(&server);
}

#[test]
fn what_is_too_large_is_refused_before_its_first_byte_or_as_soon_as_it_shows() {
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__MAX_BYTES", "1000")]);
    let mut said = raw(&server, "content-type: video/mp4\r\ncontent-length: 1001\r\nexpect: 100-continue");
    assert_eq!(status(&mut said), 413, "not 100: nothing was asked for");
    let mut grows = raw(&server, "content-type: video/mp4\r\ntransfer-encoding: chunked\r\nexpect: 100-continue");
    assert_eq!(status(&mut grows), 100);
    grows.write_all(format!("{:x}\r\n{}", 2000, "x".repeat(2000)).as_bytes()).unwrap();
    assert_eq!(status(&mut grows), 413);
    let answer = post(&server, &[0; 100_000]);
    assert_eq!(answer.problem(), (413, "too-large".into()), "whoever sends without asking hears it, too");
    assert!(answer.text().contains("uploads.max_bytes"), "{}", answer.text());
    let (path, _) = film();
    let (status, said) = curl(&server, &["-F", &format!("file=@{}", path.to_str().unwrap())], VIDEOS);
    assert_eq!((status, &said["status"]), (413, &413.into()));
    assert_nothing(&server);
}

#[test]
fn a_disk_without_room_is_said_before_the_first_byte() {
    let reserve = (1_u64 << 60).to_string();
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__RESERVE_BYTES", &reserve)]);
    let mut socket = raw(&server, "content-type: video/mp4\r\ncontent-length: 10\r\nexpect: 100-continue");
    assert_eq!(status(&mut socket), 507);
    assert_eq!(post(&server, &film().1).problem(), (507, "disk-full".into()));
    assert_nothing(&server);
    server.text("/readyz");
}

#[test]
fn a_digest_decides_what_is_kept() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let send = |field: &str, value: &str| {
        server.ask(VIDEOS).method("POST").header(field, value).body(bytes.clone()).send().unwrap()
    };
    for field in ["content-digest", "repr-digest"] {
        let wrong = send(field, "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
        assert_eq!(wrong.problem(), (400, "digest-mismatch".into()));
    }
    let unknown = send("content-digest", "sha-512=:AAAA:");
    assert_eq!(unknown.problem(), (400, "digest-algorithm".into()));
    assert_eq!(unknown.header("want-content-digest"), Some("sha-256=10"));
    assert_nothing(&server);
    use base64::Engine as _;
    let right = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&bytes));
    assert_eq!(send("content-digest", &format!("sha-256=:{right}:")).status, 201);
}

#[test]
fn a_form_carries_what_people_and_programs_say_of_a_film() {
    let server = TestServer::start();
    let path = film().0.to_str().unwrap();
    let file = format!("file=@{path};filename=../../etc/passwd");
    let form = ["-F", &file, "-F", "title=A <film>", "-F", "description=two\nlines", "-F", "metadata={\"a\":[1]}"];
    let (status, video) = curl(&server, &form, VIDEOS);
    assert_eq!(status, 201, "{video}");
    assert_eq!((&video["title"], &video["file_name"]), (&"A <film>".into(), &"passwd".into()));
    assert_eq!((&video["description"], &video["metadata"]["a"][0]), (&"two\nlines".into(), &1.into()));
    settled(&server, video["id"].as_str().unwrap());
    let file = format!("file=@{path}");
    let (_, said) = curl(&server, &["-F", &file, "-F", "colour=red"], VIDEOS);
    assert!(said["detail"].as_str().unwrap().contains("playback_policy"), "{said}");
    let bad: [&[&str]; 5] = [
        &["-F", "title=x"],
        &["-F", &file, "-F", &file],
        &["-F", &file, "-F", "metadata=[]"],
        &["-F", &file, "-F", "title="],
        &["-H", "content-type: multipart/form-data; boundary=x", "--data-binary", "no form at all"],
    ];
    for form in bad {
        let (status, said) = curl(&server, form, VIDEOS);
        assert_eq!((status, &said["type"]), (400, &"urn:matinee:problem:body".into()), "{form:?}: {said}");
    }
    assert_eq!(videos(&server).len(), 1);
}

/// The parser holds what comes before the end of a part's head, so a form that never gets there would fill the memory.
#[test]
fn a_form_that_never_gets_to_its_file_is_refused_long_before_it_is_as_long_as_a_film() {
    let server = TestServer::start();
    let head = "content-type: multipart/form-data; boundary=b\r\ncontent-length: 99999999";
    let part = "--b\r\ncontent-disposition: form-data; name=";
    let beginnings = [
        String::new(),
        format!("{part}file\r\nx-long: "),
        format!("{part}title\r\n\r\nA film\r\n--b\r\nx-long: "),
        format!("{part}file\r\n\r\nfilm\r\n--b\r\nx-long: "),
    ];
    for beginning in beginnings {
        let mut socket = raw(&server, head);
        socket.write_all(beginning.as_bytes()).unwrap();
        socket.write_all(&vec![b'x'; 4 << 20]).unwrap();
        assert_eq!(status(&mut socket), 413, "{beginning}");
    }
    assert_nothing(&server);
}

#[test]
fn what_is_no_film_by_its_type_is_not_even_read() {
    let server = TestServer::start();
    let head = "content-type: text/html\r\ncontent-length: 10\r\nexpect: 100-continue";
    assert_eq!(status(&mut raw(&server, head)), 415);
    let head = "content-type: video/mp4\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\nexpect: 100-continue";
    assert_eq!(status(&mut raw(&server, head)), 415);
    assert_eq!(post(&server, b"").problem(), (400, "empty".into()));
    assert_nothing(&server);
}

#[test]
fn a_file_that_points_at_other_files_is_refused_and_reads_nothing() {
    let server = TestServer::start();
    let secret = server.data.path().join("catalog.sqlite");
    let secret = secret.to_str().unwrap();
    let files = [
        ("x.m3u8", format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{secret}\n#EXT-X-ENDLIST\n")),
        (
            "x.mpd",
            format!(
                "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\"><BaseURL>file://{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>"
            ),
        ),
        ("x.smil", format!("<smil><body><video src=\"file://{secret}\"/></body></smil>")),
        ("x.xml", format!("<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY x SYSTEM \"file://{secret}\">]><a>&x;</a>")),
        ("x.ffconcat", format!("ffconcat version 1.0\nfile '{secret}'\n")),
        ("x.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n".to_owned()),
        ("x.mp4", "rtsp://127.0.0.1:9/x\n".to_owned()),
    ];
    for (name, text) in files {
        let path = format!("{VIDEOS}?filename={name}");
        let answer = server.ask(&path).method("POST").body(text).send().unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        let video = settled(&server, answer.json()["id"].as_str().unwrap());
        assert_eq!(video["state"], "failed", "{name}: {video}");
        let refused = ["not_media", "no_playable_track", "damaged", "unsupported_codec"];
        assert!(refused.contains(&video["error"]["code"].as_str().unwrap()), "{name}: {video}");
        assert!(!video.to_string().contains(secret), "{video}");
        if !["x.smil", "x.xml", "x.ffconcat"].contains(&name) {
            let message = video["error"]["message"].as_str().unwrap();
            assert!(message.contains("a list of other files"), "{name}: {message}");
        }
        let playback = server.get(&format!("/v/{}/master.m3u8", video["id"].as_str().unwrap()));
        assert_eq!(playback.status, 404);
    }
    until("what cannot be played is not kept", || server.data.sources().is_empty());
    let jobs = server.get("/api/v1/jobs").json();
    assert!(jobs["jobs"].as_array().unwrap().iter().all(|job| job["attempts"] == 1), "{jobs}");
}

/// A film of its own: what follows a film's boxes is no part of it.
fn another(bytes: &[u8], number: usize) -> Vec<u8> {
    [bytes, format!("\0\0\0\x0cfree{number:04}").as_bytes()].concat()
}

/// All the while somebody looks at the list.
#[test]
fn of_sixty_uploads_at_once_those_that_end_are_titles_and_those_that_break_off_are_nothing() {
    const UPLOADS: usize = 60;
    let server = TestServer::start();
    let (_, bytes) = film();
    thread::scope(|scope| {
        let send = |number| {
            let (server, bytes) = (&server, &bytes);
            scope.spawn(move || {
                let film = another(bytes, number);
                if number % 2 == 0 {
                    let answer = post(server, &film);
                    assert_eq!(answer.status, 201, "{}", answer.text());
                } else {
                    let head = format!("content-type: video/mp4\r\ncontent-length: {}", film.len());
                    raw(server, &head).write_all(&film[..film.len() * number / (UPLOADS + 1)]).unwrap();
                }
            })
        };
        let sent: Vec<_> = (0..UPLOADS).map(send).collect();
        // One that fails has ended, too.
        while sent.iter().any(|upload| !upload.is_finished()) {
            videos(&server);
        }
    });
    until("all are processed", || {
        server.get(&format!("{VIDEOS}?state=processing")).json()["videos"].as_array().is_some_and(Vec::is_empty)
    });
    until("what was staged is removed", || server.data.files("staging") == ["staging/.lock"]);
    let ready = videos(&server).iter().filter(|video| video["state"] == "ready").count();
    assert_eq!((ready, videos(&server).len()), (UPLOADS / 2, UPLOADS / 2));
    assert_eq!(server.data.sources().len(), UPLOADS / 2);
}

#[test]
fn an_upload_of_any_length_weighs_the_same_in_memory() {
    let server = TestServer::start();
    let resident = || server.memory_bytes("VmHWM");
    let send = |mebibytes: u64| {
        let head = format!("content-type: video/mp4\r\ncontent-length: {}", mebibytes << 20);
        let mut socket = raw(&server, &head);
        let block = vec![7; 1 << 20];
        (0..mebibytes).for_each(|_| socket.write_all(&block).unwrap());
        assert_eq!(status(&mut socket), 201);
    };
    send(8);
    let before = resident();
    send(256);
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "256 MiB made the server grow by {} MiB", grown >> 20);
}

//! Uploads that are cut and go on: whatever happens between two requests, the bytes are those that were sent.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, Asking, Data, TestServer, matinee, skipped, until};
use crate::uploads::{film, settled};

const UPLOADS: &str = "/api/v1/uploads";
const BYTES: &str = "application/offset+octet-stream";

/// A request of the protocol.
fn ask(server: &TestServer, method: &'static str, path: &str) -> Asking {
    server.ask(path).method(method).header("tus-resumable", "1.0.0")
}

fn send(asking: Asking) -> Answer {
    let answer = asking.send().unwrap();
    assert_eq!(answer.header("tus-resumable"), Some("1.0.0"), "{}", answer.text());
    answer
}

/// Begins an upload; its path.
fn create(server: &TestServer, fields: &[(&str, &str)]) -> String {
    let asking = fields.iter().fold(ask(server, "POST", UPLOADS), |asking, (name, value)| asking.header(name, value));
    let answer = send(asking.body(""));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(answer.header("upload-expires").unwrap().ends_with(" GMT"));
    answer.header("location").unwrap().to_owned()
}

fn patch(server: &TestServer, path: &str, offset: usize, bytes: &[u8]) -> Asking {
    let asking = ask(server, "PATCH", path).header("content-type", BYTES);
    asking.header("upload-offset", &offset.to_string()).body(bytes)
}

fn offset(server: &TestServer, path: &str) -> usize {
    let mut answer = send(ask(server, "HEAD", path));
    // A request that was cut may be seen later than this one, and is the newer one then: clients ask again.
    while answer.status == 423 {
        answer = send(ask(server, "HEAD", path));
    }
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    answer.header("upload-offset").unwrap().parse().unwrap()
}

/// Sends what is missing up to `end`, as clients do: where to go on is asked again if a request that was cut, and that the
/// server came to see only now, moved it.
fn go_on(server: &TestServer, path: &str, bytes: &[u8], end: usize) -> Answer {
    loop {
        let there = offset(server, path);
        let answer = send(patch(server, path, there, &bytes[there..end.max(there)]));
        if !matches!(answer.status, 409 | 423) {
            assert_eq!(answer.status, 204, "{}", answer.text());
            return answer;
        }
    }
}

/// Begins to send bytes, and does not say that it will not go on.
fn hang(server: &TestServer, path: &str, offset: usize, length: usize, bytes: &[u8]) -> std::net::TcpStream {
    let mut socket = std::net::TcpStream::connect(server.address).unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: x\r\ntus-resumable: 1.0.0\r\ncontent-type: {BYTES}\r\nupload-offset: {offset}\r\n\
         content-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(bytes).unwrap();
    socket
}

/// The film, and so many bytes that mean nothing, in a box that readers skip.
pub fn longer(more: u32) -> Vec<u8> {
    let mut bytes = film().1;
    bytes.extend(more.to_be_bytes());
    bytes.extend(b"free");
    bytes.resize(bytes.len() + more as usize - 8, 7);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The upload's video is these bytes and can be played.
fn assert_arrived(server: &TestServer, answer: &Answer, bytes: &[u8]) {
    let video = answer.header("matinee-video").expect("a finished upload names its video");
    let video = settled(server, video.rsplit('/').next().unwrap());
    assert_eq!((&video["state"], &video["source"]), (&"ready".into(), &sha256(bytes).into()), "{video}");
    server.text(video["playback"]["hls"].as_str().unwrap());
}

#[test]
fn an_upload_goes_on_over_cuts_restarts_and_kills_and_no_confirmed_byte_is_lost() {
    // The suite does a few; `TUS_ROUNDS=50` does as many as the promise says.
    let rounds = std::env::var("TUS_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    let mut chance = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |most: usize| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        usize::try_from(chance >> 11).unwrap() % most.max(1)
    };
    let mut server = TestServer::start();
    for round in 0..rounds {
        let bytes = longer(2_000_000 + round * 1000);
        let path = create(&server, &[("upload-length", &bytes.len().to_string())]);
        let mut confirmed = 0;
        for step in 0..6 {
            let there = offset(&server, &path);
            assert!(there >= confirmed, "{confirmed} bytes were confirmed, {there} are there");
            confirmed = there;
            let some = random((bytes.len() - there) / 2);
            let part = &bytes[there..there + some];
            match step % 3 {
                // Cut in the middle, by a client that says so or not.
                0 => drop(hang(&server, &path, there, bytes.len() - there, part)),
                1 => {
                    let answer = go_on(&server, &path, &bytes, there + some);
                    confirmed = answer.header("upload-offset").unwrap().parse().unwrap();
                    server = TestServer::over(&server.kill());
                }
                _ => {
                    let socket = hang(&server, &path, there, bytes.len() - there, part);
                    server = if round % 2 == 0 { TestServer::over(&server.kill()) } else { server };
                    drop(socket);
                }
            }
        }
        let there = offset(&server, &path);
        assert!(there >= confirmed, "{confirmed} bytes were confirmed, {there} are there");
        let answer = go_on(&server, &path, &bytes, bytes.len());
        assert_arrived(&server, &answer, &bytes);
        server = server.restart();
        let head = send(ask(&server, "HEAD", &path));
        assert_eq!(head.header("matinee-video"), answer.header("matinee-video"), "the news outlives a restart");
        assert!(server.bytes(&path) == bytes, "GET gives the bytes back");
    }
    assert_eq!(server.data.sources().len(), rounds as usize);
    assert!(!server.data.files("uploads").iter().any(|file| file.ends_with("/source")), "nothing is kept twice");
}

#[test]
fn a_newer_request_takes_an_upload_from_one_that_hangs() {
    let server = TestServer::start();
    let bytes = longer(2_000_000);
    let path = create(&server, &[("upload-length", &bytes.len().to_string())]);
    let half = bytes.len() / 2;
    let dead = hang(&server, &path, 0, bytes.len(), &bytes[..half]);
    until("the server keeps what was sent", || {
        server.data.files("uploads").iter().any(|file| {
            file.ends_with("/source") && fs::metadata(server.data.path().join(file)).is_ok_and(|file| file.len() > 0)
        })
    });
    assert!(offset_without_taking(&server, &path) <= half);
    let there = offset(&server, &path);
    assert!((1..=half).contains(&there), "{there} of {half}");
    let answer = send(patch(&server, &path, there, &bytes[there..]));
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_arrived(&server, &answer, &bytes);
    drop(dead);
}

fn offset_without_taking(server: &TestServer, path: &str) -> usize {
    let answer = server.ask(path).header("accept", "application/json").send().unwrap();
    usize::try_from(answer.json()["offset"].as_u64().unwrap()).unwrap()
}

#[test]
fn an_upload_may_come_with_its_beginning_and_say_its_length_later() {
    let server = TestServer::start();
    let bytes = film().1;
    let first = ask(&server, "POST", UPLOADS).header("upload-defer-length", "1").header("content-type", BYTES);
    let first = first.header("upload-metadata", "filename Li4vZmlsbS5tcDQ=,title QSBmaWxt");
    let answer = send(first.body(&bytes[..1000]));
    assert_eq!((answer.status, answer.header("upload-offset")), (201, Some("1000")), "{}", answer.text());
    let path = answer.header("location").unwrap().to_owned();
    let none = patch(&server, &path, 1000, b"").header("upload-length", "0");
    assert_eq!(send(none).problem(), (400, "empty".into()));
    let head = send(ask(&server, "HEAD", &path));
    assert_eq!(head.header("upload-defer-length"), Some("1"));
    assert_eq!(head.header("upload-metadata"), Some("filename Li4vZmlsbS5tcDQ=,title QSBmaWxt"));
    assert_eq!(send(patch(&server, &path, 1000, &bytes[1000..2000])).status, 204);
    // By a client that knows no PATCH.
    let last = ask(&server, "POST", &path).header("x-http-method-override", "PATCH").header("content-type", BYTES);
    let last = last.header("upload-offset", "2000").header("upload-length", &bytes.len().to_string());
    let answer = send(last.body(&bytes[2000..]));
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_arrived(&server, &answer, &bytes);
    let video = server.get(answer.header("matinee-video").unwrap()).json();
    assert_eq!((&video["title"], &video["file_name"]), (&"A film".into(), &"film.mp4".into()));
    let again = send(patch(&server, &path, bytes.len(), b""));
    assert_eq!(again.header("matinee-video"), answer.header("matinee-video"), "one video, however often it is asked");
    // What it says of who may play it holds.
    let signed = ask(&server, "POST", UPLOADS).header("upload-length", &bytes.len().to_string());
    let signed = signed.header("upload-metadata", "playback_policy c2lnbmVk").header("content-type", BYTES);
    let answer = send(signed.body(&bytes[..]));
    let video = answer.header("matinee-video").unwrap_or_else(|| panic!("{}", answer.text()));
    assert_eq!(server.get(video).json()["playback_policy"], "signed");
}

#[test]
fn a_checksum_decides_what_counts() {
    let server = TestServer::start();
    let bytes = film().1;
    let path = create(&server, &[("upload-length", &bytes.len().to_string())]);
    let sent = |from: usize, to: usize, checksum: &str| {
        send(patch(&server, &path, from, &bytes[from..to]).header("upload-checksum", checksum))
    };
    let sha1 = |from: usize, to: usize| format!("sha1 {}", STANDARD.encode(Sha1::digest(&bytes[from..to])));
    assert_eq!(sent(0, 5000, &sha1(0, 4999)).problem(), (460, "checksum-mismatch".into()));
    assert_eq!(offset(&server, &path), 0);
    assert_eq!(sent(0, 5000, &sha1(0, 5000)).status, 204);
    for bad in ["md5 AAAA", "sha1", "sha1 !", "crc32 AAAA"] {
        assert_eq!(sent(5000, 6000, bad).problem(), (400, "body".into()), "{bad}");
    }
    let rest = format!("sha256 {}", STANDARD.encode(Sha256::digest(&bytes[5000..])));
    let answer = sent(5000, bytes.len(), &rest);
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_arrived(&server, &answer, &bytes);
}

/// They could become part of a source whose digest did not cover them.
#[test]
fn bytes_that_did_not_count_are_not_in_the_source() {
    let server = TestServer::start();
    let bytes = film().1;
    let path = create(&server, &[("upload-defer-length", "1")]);
    assert_eq!(send(patch(&server, &path, 0, &bytes)).status, 204);
    let wrong = format!("sha1 {}", STANDARD.encode(Sha1::digest(b"")));
    let more = patch(&server, &path, bytes.len(), &[7; 600_000]).header("upload-checksum", &wrong);
    assert_eq!(send(more).problem(), (460, "checksum-mismatch".into()));
    let answer = send(patch(&server, &path, bytes.len(), b"").header("upload-length", &bytes.len().to_string()));
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_arrived(&server, &answer, &bytes);
    let sources = server.data.files("library").into_iter().filter(|file| file.ends_with("/source"));
    let lengths = sources.map(|file| fs::metadata(server.data.path().join(file)).unwrap().len());
    assert_eq!(lengths.collect::<Vec<_>>(), [bytes.len() as u64]);
}

#[test]
fn parts_are_put_together_in_their_order() {
    let server = TestServer::start();
    let bytes = longer(700_000);
    let third = bytes.len() / 3;
    let parts: Vec<String> = [&bytes[..third], &bytes[third..2 * third], &bytes[2 * third..]]
        .iter()
        .map(|part| {
            let path = create(&server, &[("upload-length", &part.len().to_string()), ("upload-concat", "partial")]);
            let answer = send(patch(&server, &path, 0, part));
            assert_eq!((answer.status, answer.header("matinee-video")), (204, None));
            path
        })
        .collect();
    let join = |parts: &[String]| {
        let concat = format!("final;{}", parts.join(" "));
        send(ask(&server, "POST", UPLOADS).header("upload-concat", &concat).body(""))
    };
    let half = create(&server, &[("upload-length", "10"), ("upload-concat", "partial")]);
    assert_eq!(join(&[parts[0].clone(), half]).problem(), (400, "body".into()), "one is not finished");
    let answer = join(&parts);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let path = answer.header("location").unwrap();
    let head = send(ask(&server, "HEAD", path));
    assert_eq!(head.header("upload-offset"), Some(bytes.len().to_string().as_str()));
    assert!(head.header("upload-concat").unwrap().starts_with("final;"));
    assert_eq!(send(patch(&server, path, bytes.len(), b"")).problem(), (403, "upload-final".into()));
    assert_arrived(&server, &answer, &bytes);
    assert_eq!(send(ask(&server, "HEAD", &parts[0])).status, 404, "parts are not kept");
    // Who did not hear the answer asks again.
    let again = join(&parts);
    let said = |answer: &Answer| ["location", "matinee-video"].map(|name| answer.header(name).map(str::to_owned));
    assert_eq!((again.status, said(&again)), (201, said(&answer)));
    assert_eq!(server.get("/api/v1/videos").json()["videos"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_not_by_the_protocol_is_refused_and_changes_nothing() {
    let server =
        TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__MAX_BYTES", "1000"), ("MATINEE_UPLOADS__MAX_OPEN", "2")]);
    let post = |fields: &[(&str, &str)]| {
        let asking =
            fields.iter().fold(ask(&server, "POST", UPLOADS), |asking, (name, value)| asking.header(name, value));
        send(asking.body("")).problem()
    };
    assert_eq!(post(&[("upload-length", "1001")]), (413, "too-large".into()));
    assert_eq!(post(&[]), (400, "body".into()));
    assert_eq!(post(&[("upload-length", "0")]), (400, "empty".into()));
    for bad in ["filename %2e%2e", "title Cg==", "metadata W10=", "title QQ==,title QQ==", "description /w=="] {
        assert_eq!(post(&[("upload-length", "9"), ("upload-metadata", bad)]), (400, "body".into()), "{bad}");
    }
    let path = create(&server, &[("upload-length", "20")]);
    let refused = |asking: Asking, status: u16, word: &str| {
        assert_eq!(send(asking).problem(), (status, word.to_owned()));
        assert_eq!(offset(&server, &path), 0);
    };
    refused(patch(&server, &path, 5, b"hello"), 409, "upload-offset");
    refused(patch(&server, &path, 0, &[0; 21]), 413, "too-large");
    refused(patch(&server, &path, 0, b"hello").header("upload-length", "21"), 400, "body");
    refused(ask(&server, "PATCH", &path).header("upload-offset", "0").body("hello"), 415, "media-type");
    refused(ask(&server, "PATCH", &path).header("content-type", BYTES).body("hello"), 400, "body");
    let mute = server.ask(&path).method("PATCH").header("content-type", BYTES).header("upload-offset", "0");
    let answer = send(mute.body("hello"));
    assert_eq!((answer.problem(), answer.header("tus-version")), ((412, "tus-version".into()), Some("1.0.0")));
    refused(patch(&server, &path, 0, b"hello").header("content-encoding", "gzip"), 415, "content-encoding");
    let packed = [("upload-length", "20"), ("content-type", BYTES), ("content-encoding", "gzip")];
    assert_eq!(post(&packed), (415, "content-encoding".into()));
    create(&server, &[("upload-length", "1")]);
    assert_eq!(post(&[("upload-length", "1")]), (503, "busy".into()), "there are two already");
    assert_eq!(send(ask(&server, "DELETE", &path)).status, 204);
    assert_eq!(send(ask(&server, "HEAD", &path)).status, 404);
    let unknown = format!("{UPLOADS}/{}", "0".repeat(32));
    assert_eq!(send(patch(&server, &unknown, 0, b"x")).problem(), (404, "no-upload".into()));
    for method in ["PATCH", "HEAD", "DELETE"] {
        let foreign = send(server.ask(&unknown).method(method).header("tus-resumable", "0.2.2"));
        assert_eq!((foreign.status, foreign.header("tus-version")), (412, Some("1.0.0")), "{method}");
    }
    create(&server, &[("upload-length", "1")]);
}

/// They kept others from beginning for as long as they were known.
#[test]
fn finished_uploads_are_not_among_those_that_are_open() {
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__MAX_OPEN", "1")]);
    let bytes = film().1;
    for _ in 0..2 {
        let path = create(&server, &[("upload-length", &bytes.len().to_string())]);
        let another = ask(&server, "POST", UPLOADS).header("upload-length", "1").body("");
        assert_eq!(send(another).problem(), (503, "busy".into()));
        assert_eq!(send(patch(&server, &path, 0, &bytes)).status, 204);
    }
}

#[test]
fn browsers_are_told_what_pages_may_do() {
    let server = TestServer::with(&Data::new(), &[]);
    let preflight = |origin: &str| send(server.ask(UPLOADS).method("OPTIONS").header("origin", origin));
    let answer = preflight("http://localhost:5173");
    assert_eq!((answer.status, answer.header("tus-version")), (204, Some("1.0.0")));
    assert!(answer.header("tus-extension").unwrap().contains("creation-with-upload"));
    assert_eq!(answer.header("tus-checksum-algorithm"), Some("sha1,sha256"));
    assert_eq!(answer.header("tus-max-size"), Some((100_u64 << 30).to_string().as_str()));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("PATCH"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("upload-offset"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("upload-offset"));
    let answer = preflight("https://example.org");
    assert_eq!((answer.status, answer.header("access-control-allow-headers")), (204, None));
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn an_upload_that_nobody_goes_on_with_expires() {
    let server = TestServer::start();
    let path = create(&server, &[("upload-length", "20")]);
    let data = server.data.clone();
    drop(server);
    let library = matinee::library::Library::open(data.path()).unwrap();
    let id = path.rsplit('/').next().unwrap().parse().unwrap();
    library.open_resumable(&id).unwrap().0.set_length(20, 0).unwrap();
    let server = TestServer::over(&data);
    assert!(matches!(send(ask(&server, "HEAD", &path)).status, 404 | 410));
    until("its leftovers are gone", || data.files("uploads").is_empty());
}

#[test]
fn a_disk_that_fills_up_is_said_and_the_upload_goes_on_once_there_is_room() {
    let Some(way) = with_a_disk_of_its_own() else {
        skipped("no small disk can be mounted here, so none was filled");
        return;
    };
    let data = Data::new();
    let (server, seen) = on_a_small_disk(&data, &way, &[]);
    let bytes = longer(8 << 20);
    let path = create(&server, &[("upload-length", &bytes.len().to_string())]);
    let disk = rustix::fs::statvfs(&seen).unwrap();
    let ballast = usize::try_from(disk.f_bavail * disk.f_frsize).unwrap() - (4 << 20);
    fs::write(seen.join("ballast"), vec![0; ballast]).unwrap();
    let answer = send(patch(&server, &path, 0, &bytes));
    assert_eq!(answer.problem(), (507, "disk-full".into()));
    assert!(answer.json()["detail"].as_str().unwrap().contains("when there is room"));
    let another = ask(&server, "POST", UPLOADS).header("upload-length", &bytes.len().to_string());
    assert_eq!(send(another.body("")).problem(), (507, "disk-full".into()));
    assert_eq!((server.get("/readyz").status, server.get("/api/v1/videos").status), (200, 200));
    let there = offset(&server, &path);
    assert!(there > 1 << 20, "{there} bytes were kept");
    fs::remove_file(seen.join("ballast")).unwrap();
    let answer = send(patch(&server, &path, there, &bytes[there..]));
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_arrived(&server, &answer, &bytes);
}

/// The start of a command that may mount a disk nobody else sees.
pub fn with_a_disk_of_its_own() -> Option<Vec<&'static str>> {
    let ways = [vec!["unshare", "--mount"], vec!["unshare", "--user", "--map-root-user", "--mount"]];
    ways.into_iter().find(|way| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["mount", "-t", "tmpfs", "matinee"]).arg(folder.path());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}

/// A server whose data folder is a small disk; the folder as the server sees it.
pub fn on_a_small_disk(data: &Data, way: &[&str], settings: &[(&str, &str)]) -> (TestServer, PathBuf) {
    let folder = data.path().to_str().unwrap();
    let serve = matinee(&["serve", "--listen", "127.0.0.1:0", "--data", folder]);
    let mut command = Command::new(way[0]);
    let script = format!("mount -t tmpfs -o size=64m matinee {folder} && exec \"$@\"");
    command.args(&way[1..]).args(["sh", "-c", &script, "sh"]).arg(serve.get_program()).args(serve.get_args());
    command.env("MATINEE_UPLOADS__RESERVE_BYTES", "1MiB").env("MATINEE_CACHE__DISK_BYTES", "0");
    command.envs(settings.iter().copied());
    let server = TestServer::started_by(command, data);
    let seen = PathBuf::from(format!("/proc/{}/root{folder}", server.pid()));
    (server, seen)
}

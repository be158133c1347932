//! Attacks that are tried: by names, by fields, by framing, and by media that are more than they look.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestServer, until};
use crate::uploads::{film, settled};

const VIDEOS: &str = "/api/v1/videos";

fn raw(server: &TestServer, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket
}

/// All that comes until the server closes.
fn said(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = socket.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn statuses(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next()).collect()
}

fn upload(server: &TestServer, name: &str, body: Vec<u8>) -> Value {
    let answer = server.ask(&format!("{VIDEOS}?filename={name}")).method("POST").body(body).send().unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    settled(server, answer.json()["id"].as_str().unwrap())
}

fn assert_unharmed(server: &TestServer) {
    assert_eq!((server.get("/healthz").status, server.get("/readyz").status), (200, 200));
}

#[test]
fn a_name_is_a_name_and_neither_a_path_nor_a_field() {
    let server = TestServer::start();
    let before = server.data.files("");
    let names = [
        ("..%2F..%2Fetc%2Fpasswd.mp4", "passwd.mp4"),
        ("%2Fetc%2Fcron.d%2Fx.mp4", "x.mp4"),
        ("..%5C..%5Cwindows%5Cx.mp4", "x.mp4"),
        ("a%0D%0Aset-cookie:%20x=1%0D%0A.mp4", ""),
        ("%2E%2E", ""),
        ("a%00.mp4", ""),
    ];
    for (sent, kept) in names {
        let answer = server.ask(&format!("{VIDEOS}?filename={sent}")).method("POST").body("no film").send().unwrap();
        assert!(!answer.headers.iter().any(|(name, _)| name == "set-cookie"), "{answer:?}");
        let name = answer.json()["file_name"].as_str().unwrap().to_owned();
        assert!(
            !name.contains(['/', '\\', '\0', '\r', '\n']) && name != ".." && name != ".",
            "{sent} was kept as {name:?}"
        );
        assert!(kept.is_empty() || name == kept, "{sent} was kept as {name:?}");
        settled(&server, answer.json()["id"].as_str().unwrap());
        // The same, as a client of tus says it.
        let sent = percent_encoding::percent_decode_str(sent).decode_utf8().unwrap();
        let metadata = format!("filename {}", STANDARD.encode(sent.as_bytes()));
        let asking = server.ask("/api/v1/uploads").method("POST").header("tus-resumable", "1.0.0").body("");
        let answer = asking.header("upload-length", "9").header("upload-metadata", &metadata).send().unwrap();
        assert!(matches!(answer.status, 201 | 400), "{}", answer.text());
        if let Some(path) = answer.header("location") {
            let stands = server.ask(path).header("accept", "application/json").send().unwrap().json();
            let name = stands["file_name"].as_str().unwrap().to_owned();
            assert!(!name.is_empty() || kept.is_empty());
            let gone = server.ask(path).method("DELETE").header("tus-resumable", "1.0.0").send().unwrap();
            assert_eq!(gone.status, 204);
        }
    }
    let known = ["catalog.sqlite", "gstreamer", "cache", "secret", "staging"];
    let strange = |file: &String| !before.contains(file) && !known.iter().any(|known| file.starts_with(known));
    until("what was refused leaves nothing, under any name", || !server.data.files("").iter().any(strange));
}

#[test]
fn what_a_client_says_of_a_request_does_not_become_a_field_of_the_answer() {
    let server = TestServer::start();
    for id in ["a b", "x\u{e9}", &"x".repeat(4000)] {
        let answer = server.ask("/healthz").header("x-request-id", id).send().unwrap();
        let given = answer.header("x-request-id").unwrap();
        assert!(given.len() <= 200 && given.bytes().all(|b| b.is_ascii_graphic()), "{given:?}");
    }
    // Bare line ends, and line ends in the middle of a field, are no way to begin another one.
    for field in ["x: a\rset-cookie: b", "x: a\nset-cookie: b\n c: d", "x : a", " folded: x", "x\0: a"] {
        let text =
            said(raw(&server, &format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{field}\r\n\r\n")));
        assert!(!text.contains("set-cookie"), "{field:?}: {text}");
        assert!(matches!(statuses(&text)[..], ["200" | "400"]), "{field:?}: {text}");
    }
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    assert!(matches!(statuses(&said(raw(&server, &head)))[..], ["431"] | []));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(2000));
    assert!(matches!(statuses(&said(raw(&server, &many)))[..], ["431"] | []));
    assert_unharmed(&server);
}

#[test]
fn a_request_ends_where_everybody_else_thinks_it_ends() {
    let server = TestServer::start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = format!("POST {VIDEOS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n");
    let length = smuggled.len() + 5;
    let both = format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}");
    let reversed = format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n0\r\n\r\n{smuggled}");
    // Whoever sends both is answered once, and then the connection ends (RFC 9112 §6.1).
    for fields in [both, reversed] {
        let text = said(raw(&server, &format!("{post}{fields}")));
        assert_eq!(statuses(&text).len(), 1, "{fields:?}: {text}");
    }
    let refused = [
        format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("content-length: +5\r\n\r\n{smuggled}"),
        format!("content-length: 0x5\r\n\r\n{smuggled}"),
        format!("content-length: 0, 0\r\n\r\n{smuggled}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("transfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("content-length: 18446744073709551616\r\n\r\n{smuggled}"),
    ];
    for fields in refused {
        let text = said(raw(&server, &format!("{post}{fields}")));
        assert!(matches!(statuses(&text)[..], ["400"]), "{fields:?}: {text}");
    }
    assert_unharmed(&server);
}

#[test]
fn a_token_of_another_server_is_worth_nothing_here() {
    let (server, other) = (TestServer::start(), TestServer::start());
    let issue = |server: &TestServer| {
        let asking = server.ask("/api/v1/upload-tokens").method("POST").header("content-type", "application/json");
        asking.body(json!({ "seconds": 600 }).to_string()).send().unwrap().json()["token"].as_str().unwrap().to_owned()
    };
    let send = |token: &str| {
        let asking = server.ask(VIDEOS).method("POST").header("authorization", &format!("Bearer {token}"));
        asking.body(film().1).send().unwrap().status
    };
    let (ours, foreign) = (issue(&server), issue(&other));
    let claims = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    // Ours, with what the other one says of who may.
    let mixed = ours.replace(&claims(&ours), &claims(&foreign));
    assert_eq!((send(&foreign), send(&mixed)), (401, 401));
    assert_eq!(send(&ours), 201);
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://x/` in HPACK.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'x'];

fn h2(server: &TestServer) -> TcpStream {
    let mut socket = raw(server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    socket.write_all(&frame(4, 0, 0, &[])).unwrap();
    socket
}

#[test]
fn requests_that_are_taken_back_at_once_and_heads_without_an_end_tire_nobody_else() {
    let server = TestServer::start();
    let mut resets = h2(&server);
    for stream in (1..20_000).step_by(2) {
        let both = [frame(1, 5, stream, GET), frame(3, 0, stream, &8_u32.to_be_bytes())].concat();
        // The server may say good-bye.
        if resets.write_all(&both).is_err() {
            break;
        }
    }
    assert_unharmed(&server);
    let mut endless = h2(&server);
    let literal = [&[0x40, 1, b'a', 0x7f, 0x81, 0x7e][..], &[b'x'; 16_000]].concat();
    let begun = endless.write_all(&frame(1, 1, 1, GET)).is_ok();
    let sent = (0..4000).take_while(|_| begun && endless.write_all(&frame(9, 0, 1, &literal)).is_ok()).count();
    assert!(sent < 4000, "64 MB of one head were taken");
    assert_unharmed(&server);
    drop((resets, endless));
    until("their connections are over", || server.metric("matinee_connections") <= 1.0);
}

/// Where a box of this kind lies in a file, behind its head.
fn boxes(file: &[u8], kind: &[u8; 4]) -> Vec<usize> {
    file.windows(4).enumerate().filter(|(_, window)| window == kind).map(|(at, _)| at + 4).collect()
}

#[test]
fn media_that_are_more_than_they_look_end_in_a_refusal_and_harm_nobody() {
    let server = TestServer::start();
    let mut billion = film().1;
    for at in boxes(&billion, b"stts") {
        billion[at + 8..at + 12].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
    }
    for at in boxes(&billion, b"stsz") {
        billion[at + 4..at + 8].copy_from_slice(&1_u32.to_be_bytes());
        billion[at + 8..at + 12].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
    }
    let mut entries = film().1;
    for kind in [b"stts", b"stsc", b"stco", b"stsz", b"ctts", b"stss", b"elst"] {
        for at in boxes(&entries, kind) {
            let count = if kind == b"stsz" { at + 8 } else { at + 4 };
            entries[count..count + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        }
    }
    const LEVELS: u32 = 100_000;
    let mut deep = b"\0\0\0\x14ftypisom\0\0\x02\0isom".to_vec();
    for level in (1..=LEVELS).rev() {
        deep.extend((level * 8).to_be_bytes());
        deep.extend(if level % 2 == 0 { b"trak" } else { b"moov" });
    }
    for (name, bytes) in [("billion.mp4", billion), ("entries.mp4", entries), ("deep.mp4", deep)] {
        let video = upload(&server, name, bytes);
        assert!(video["state"] == "failed" && video["error"]["code"].is_string(), "{name}: {video}");
        assert_unharmed(&server);
    }
    until("what was refused is removed", || server.data.sources().is_empty());
}

#[test]
fn a_picture_that_says_it_is_huge_is_refused_or_shown_and_harms_nobody() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mov");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=5", "-frames:v", "5", "-c:v", "mjpeg"]);
    assert!(ffmpeg.arg(&path).status().expect("ffmpeg is installed by `make test`").success());
    let mut bytes = fs::read(path).unwrap();
    // Start of frame: length, precision, height, width (ITU-T T.81 §B.2.2).
    let starts: Vec<usize> =
        bytes.windows(5).enumerate().filter(|(_, w)| w == b"\xff\xc0\0\x11\x08").map(|(at, _)| at + 5).collect();
    assert!(!starts.is_empty());
    for at in starts {
        bytes[at..at + 4].copy_from_slice(&[0x40, 0, 0x40, 0]);
    }
    let video = upload(&server, "huge.mov", bytes);
    if video["state"] == "ready" {
        let id = video["id"].as_str().unwrap();
        let playlist = server.playlists(id).pop().unwrap();
        for path in [format!("/v/{id}/poster.jpg"), server.segments(&playlist)[1].clone()] {
            let answer = server.ask(&path).send();
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status >= 200));
        }
    }
    assert_unharmed(&server);
}

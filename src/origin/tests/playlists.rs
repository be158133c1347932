//! Playlists, errors, and everything that is not media.

use std::io::Read as _;
use std::sync::atomic::Ordering;

use super::http1::{ask, get};
use super::support::{BASE, COMING, FAILED, READY, TestServer};

#[tokio::test]
async fn playlists_are_compressed_tagged_and_revalidated_per_coding() {
    let server = TestServer::start().await;
    let (hls, dash) = (("application/vnd.apple.mpegurl", "#EXTM3U"), ("application/dash+xml", "<?xml"));
    for (path, (kind, begins)) in [
        (format!("/v/{READY}/master.m3u8"), hls),
        (format!("/v/{READY}/manifest.mpd"), dash),
        (format!("{BASE}/720p/index.m3u8"), hls),
        (format!("{BASE}/720p/iframe.m3u8"), hls),
    ] {
        let plain = get(server.address, &path).await;
        assert_eq!((plain.status, plain.the("content-type")), (200, kind));
        assert!(plain.body.starts_with(begins.as_bytes()));
        assert!(plain.the("cache-control").contains("stale-while-revalidate"));
        assert_eq!(plain.the("vary"), "Accept-Encoding");
        assert_eq!(plain.the("access-control-allow-origin"), "*");
        let mut tags = vec![plain.the("etag").to_owned()];
        for (coding, name) in [("gzip, deflate", "gzip"), ("gzip, br", "br")] {
            let packed = ask(server.address, "GET", &path, &[("accept-encoding", coding)]).await;
            assert_eq!(packed.the("content-encoding"), name);
            let mut text = Vec::new();
            match name {
                "gzip" => flate2::read::GzDecoder::new(&*packed.body).read_to_end(&mut text).unwrap(),
                _ => brotli::Decompressor::new(&*packed.body, 4096).read_to_end(&mut text).unwrap(),
            };
            assert_eq!(text, plain.body);
            let tag = packed.the("etag").to_owned();
            let headers = [("accept-encoding", coding), ("if-none-match", tag.as_str())];
            let again = ask(server.address, "GET", &path, &headers).await;
            assert_eq!((again.status, again.the("etag"), again.the("vary")), (304, &*tag, "Accept-Encoding"));
            tags.push(tag);
        }
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 3, "one strong tag for each coding");
        let weak = format!("\"nope\", W/{}", plain.the("etag"));
        assert_eq!(ask(server.address, "GET", &path, &[("if-none-match", &weak)]).await.status, 304);
        for (wanted, status) in [(weak.as_str(), 412), (plain.the("etag"), 200)] {
            assert_eq!(ask(server.address, "GET", &path, &[("if-match", wanted)]).await.status, status, "{wanted}");
        }
        let head = ask(server.address, "HEAD", &path, &[]).await;
        for name in ["content-length", "etag", "content-type", "cache-control"] {
            assert_eq!(head.header(name), plain.header(name), "{name}");
        }
    }
}

#[tokio::test]
async fn asking_for_the_master_is_a_hint_and_one_look_up() {
    let server = TestServer::start().await;
    for _ in 0..5 {
        get(server.address, &format!("/v/{READY}/master.m3u8")).await;
    }
    assert_eq!(server.hints.load(Ordering::SeqCst), 5);
    assert_eq!(server.lookups.load(Ordering::SeqCst), 1);
    get(server.address, &format!("{BASE}/720p/index.m3u8")).await;
    assert_eq!(server.hints.load(Ordering::SeqCst), 5, "a media playlist is none");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_that_nobody_stores() {
    let server = TestServer::start().await;
    for (path, status) in [
        ("/nothing".to_owned(), 404),
        ("/v/zzzzzzzzzzzz/master.m3u8".to_owned(), 404),
        (format!("/v/{READY}/0000000000000000/720p/index.m3u8"), 404),
        (format!("{BASE}/1080p/index.m3u8"), 404),
        (format!("{BASE}/720p/30.m4s"), 404),
        (format!("{BASE}/720p/iframe/30.m4s"), 404),
        (format!("{BASE}/audio-128k/iframe.m3u8"), 404),
        (format!("{BASE}/audio-128k/iframe/0.m4s"), 404),
        ("/v/zzzzzzzzzzzz/manifest.mpd".to_owned(), 404),
        (format!("{BASE}/720p/987654.m4s"), 404),
        (format!("{BASE}/720p/007.m4s"), 404),
        (format!("/v/{COMING}/master.m3u8"), 425),
        (format!("/v/{COMING}/manifest.mpd"), 425),
        (format!("/v/{FAILED}/master.m3u8"), 404),
    ] {
        let answer = get(server.address, &path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.the("content-type"), "application/problem+json");
        assert_eq!(answer.the("cache-control"), "no-store");
        let readers = answer.header("access-control-allow-origin");
        assert_eq!(readers, path.starts_with("/v/").then_some("*"), "{path}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], answer.the("x-request-id"));
        for key in ["type", "title", "detail"] {
            assert!(body[key].is_string(), "{key} of {path}");
        }
        match path.as_str() {
            p if p.contains(COMING) => {
                assert_eq!(body["state"], "processing");
                answer.the("retry-after");
            }
            p if p.contains(FAILED) => {
                // And no word of the uploader's file.
                let error = serde_json::json!({ "code": "damaged", "message": "the film could not be made playable" });
                assert_eq!((&body["state"], &body["error"]), (&"failed".into(), &error));
            }
            _ => {}
        }
        let head = ask(server.address, "HEAD", &path, &[]).await;
        assert_eq!((head.status, head.header("content-type")), (status, answer.header("content-type")));
    }
}

#[tokio::test]
async fn only_reading_is_allowed_and_browsers_may_ask_first() {
    let server = TestServer::start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = ask(server.address, method, &format!("{BASE}/720p/0.m4s"), &[]).await;
        assert_eq!((answer.status, answer.the("allow")), (405, "GET, HEAD, OPTIONS"), "{method}");
    }
    let asks =
        [("origin", "http://p"), ("access-control-request-method", "GET"), ("access-control-request-headers", "range")];
    let preflight = ask(server.address, "OPTIONS", &format!("{BASE}/720p/0.m4s"), &asks).await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.the("access-control-allow-headers").contains("Range"));
    preflight.the("access-control-max-age");
    preflight.the("access-control-allow-origin");
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_another_replaced() {
    let server = TestServer::start().await;
    let ask =
        async |id| ask(server.address, "GET", "/healthz", &[("x-request-id", id)]).await.the("x-request-id").to_owned();
    assert_eq!(ask("abc-123").await, "abc-123");
    for bad in ["has space", "<script>", &"x".repeat(65)] {
        let fresh = ask(bad).await;
        assert!(fresh.len() == 16 && fresh != bad);
    }
}

#[tokio::test]
async fn operators_and_newcomers_find_their_pages() {
    let mut server = TestServer::start().await;
    for (path, text) in [("/healthz", "ok\n"), ("/api/v1/readyz", "ready\n")] {
        let answer = get(server.address, path).await;
        assert_eq!((answer.status, String::from_utf8(answer.body).unwrap().as_str()), (200, text));
    }
    let home = String::from_utf8(get(server.address, "/").await.body).unwrap();
    assert!(
        home.contains(&format!("/v/{READY}/master.m3u8")) && home.contains("&lt;Film&gt;") && !home.contains("<Film>")
    );
    assert!(server.orders.try_recv().is_err(), "looking makes nothing");
}

#[tokio::test]
async fn a_forgotten_title_is_asked_for_again() {
    let server = TestServer::start().await;
    let path = format!("/v/{READY}/master.m3u8");
    assert_eq!(get(server.address, &path).await.status, 200);
    server.titles.lock().unwrap().clear();
    assert_eq!(get(server.address, &path).await.status, 200, "the snapshot is fresh");
    server.origin.forget(&READY.parse().unwrap());
    assert_eq!(get(server.address, &path).await.status, 404);
}

#[tokio::test]
async fn the_manifest_names_only_what_is_there_and_hints_like_the_master() {
    let server = TestServer::start().await;
    let text = String::from_utf8(get(server.address, &format!("/v/{READY}/manifest.mpd")).await.body).unwrap();
    assert_eq!(server.hints.load(Ordering::SeqCst), 1);
    let base = text.split("media=\"").nth(1).unwrap().split('$').next().unwrap();
    for media in ["720p/0.m4s", "720p/29.m4s", "720p/init.mp4", "audio-128k/29.m4s", "720p/iframe/29.m4s"] {
        let head = ask(server.address, "HEAD", &format!("/v/{READY}/{base}{media}"), &[]).await;
        assert_eq!(head.status, 200, "{media}");
    }
    for missing in ["720p/30.m4s", "audio-128k/30.m4s", "720p/iframe/30.m4s", "audio-128k/iframe/0.m4s"] {
        let head = ask(server.address, "HEAD", &format!("/v/{READY}/{base}{missing}"), &[]).await;
        assert_eq!(head.status, 404, "{missing}");
    }
}

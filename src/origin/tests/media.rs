//! Segments and init segments: headers, ranges, one encode, and honesty about what could not be finished.

use std::sync::atomic::Ordering;

use crate::cache::{FlightError, Object};
use crate::origin::Came;

use super::super::config::{Config, Delivery};
use super::http1::{Client, ask, get};
use super::support::{BASE, TestServer, fail, finish, make, push};

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

/// Asks for an object, makes it, and returns its path.
async fn made(server: &mut TestServer, path: &str, content: &[u8]) -> String {
    let path = format!("{BASE}/{path}");
    let (answer, ()) = tokio::join!(get(server.address, &path), async {
        make(server.orders.recv().await.unwrap(), content);
    });
    assert_eq!((answer.status, answer.complete, &*answer.body), (200, true, content));
    path
}

#[tokio::test]
async fn a_segment_has_every_header_of_the_contract() {
    let mut server = TestServer::start().await;
    for (name, kind) in [("720p/7.m4s", "video/mp4"), ("audio-128k/7.m4s", "audio/mp4"), ("720p/init.mp4", "video/mp4")]
    {
        let path = made(&mut server, name, &bytes(1000)).await;
        let hit = get(server.address, &path).await;
        assert_eq!((hit.status, hit.body.len()), (200, 1000));
        assert_eq!(hit.the("content-type"), kind);
        assert_eq!(hit.the("content-length"), "1000");
        assert_eq!(hit.the("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(hit.the("accept-ranges"), "bytes");
        assert_eq!(hit.the("x-cache"), "memory");
        assert_eq!(hit.the("server-timing"), "cache;desc=memory");
        assert_eq!(hit.the("access-control-allow-origin"), "*");
        assert!(hit.the("access-control-expose-headers").contains("Content-Range"));
        assert_eq!(hit.the("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(hit.the("x-content-type-options"), "nosniff");
        assert_eq!(hit.the("timing-allow-origin"), "*");
        assert_eq!(hit.header("link"), name.contains("7.").then_some("<8.m4s>; rel=\"next\""));
        assert!(hit.the("etag").starts_with('"'));
        let head = ask(server.address, "HEAD", &path, &[("range", "bytes=0-1")]).await;
        for name in ["content-length", "etag", "content-type", "accept-ranges"] {
            assert_eq!(head.header(name), hit.header(name), "{name}");
        }
        let tag = format!("\"x\", W/{}", hit.the("etag"));
        let known = ask(server.address, "GET", &path, &[("if-none-match", &tag)]).await;
        assert_eq!((known.status, known.the("etag")), (304, hit.the("etag")));
        known.the("access-control-allow-origin");
        // RFC 9110 §13.2.2: If-Match comes before all others.
        for (wanted, status) in [("\"x\"", 412), (&tag, 412), (hit.the("etag"), 304), ("*", 304)] {
            let answer = ask(server.address, "GET", &path, &[("if-match", wanted), ("if-none-match", &tag)]).await;
            assert_eq!(answer.status, status, "{wanted}");
        }
        let other = ask(server.address, "GET", &path, &[("if-match", "\"x\""), ("range", "bytes=0-1")]).await;
        assert_eq!((other.status, other.the("cache-control")), (412, "no-store"));
    }
    let last = made(&mut server, "720p/29.m4s", b"last").await;
    assert_eq!(get(server.address, &last).await.header("link"), None);
}

#[tokio::test]
async fn ranges_are_parts_of_the_same_bytes() {
    let mut server = TestServer::start().await;
    let content = bytes(1000);
    let path = made(&mut server, "720p/0.m4s", &content).await;
    let tag = get(server.address, &path).await.the("etag").to_owned();
    let ranged = async |range: &str, tag: &str| {
        let headers = [("range", range), ("if-range", tag)];
        ask(server.address, "GET", &path, if tag.is_empty() { &headers[..1] } else { &headers }).await
    };
    for (range, first, last) in [
        ("0-99", 0, 99),
        ("100-299", 100, 299),
        ("-100", 900, 999),
        ("500-", 500, 999),
        ("990-5000", 990, 999),
        ("0-0", 0, 0),
    ] {
        let part = ranged(&format!("bytes={range}"), "").await;
        assert_eq!((part.status, &part.body[..]), (206, &content[first..=last]), "{range}");
        assert_eq!(part.the("content-range"), format!("bytes {first}-{last}/1000"));
        assert_eq!((part.the("etag"), part.the("content-type")), (&*tag, "video/mp4"));
    }
    let outside = ranged("bytes=1010-", "").await;
    assert_eq!(
        (outside.status, outside.the("content-range"), outside.the("cache-control")),
        (416, "bytes */1000", "no-store")
    );
    for whole in ["bytes=50-20", "bytes=0-1,4-5", "lines=1-2"] {
        assert_eq!(ranged(whole, "").await.status, 200, "{whole}");
    }
    assert_eq!(ranged("bytes=0-99", &tag).await.status, 206);
    let changed = ranged("bytes=0-99", "\"other\"").await;
    assert_eq!((changed.status, changed.body.len()), (200, 1000));
}

#[tokio::test]
async fn a_hit_asks_neither_catalog_nor_encoder() {
    let mut server = TestServer::start().await;
    let path = made(&mut server, "720p/0.m4s", &bytes(100)).await;
    let before = server.lookups.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(get(server.address, &path).await.the("x-cache"), "memory");
    }
    assert_eq!(server.lookups.load(Ordering::SeqCst), before);
    assert!(server.orders.try_recv().is_err());
}

#[tokio::test]
async fn a_cold_segment_streams_as_it_is_made() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/3.m4s");
    let mut client = Client::connect(server.address).await;
    client.send("GET", &path, &[]).await;
    let mut order = server.order().await;
    assert_eq!((order.rendition, order.object), (0, crate::cache::Object::Segment(3)));
    push(&mut order.writer, b"first");
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.the("x-cache"), head.header("content-length")), (200, "made", None));
    assert!(head.the("server-timing").starts_with("cache;desc=made, encode;dur="));
    assert_eq!(client.chunk().await.unwrap(), b"first");
    let mut joined = Client::connect(server.address).await;
    joined.send("GET", &path, &[]).await;
    let shared = joined.head().await.unwrap();
    assert_eq!(shared.the("x-cache"), "shared");
    push(&mut order.writer, b"second");
    assert_eq!(client.chunk().await.unwrap(), b"second");
    finish(order.writer);
    assert_eq!(client.chunk().await, Some(Vec::new()), "a proper end");
    assert_eq!(get(server.address, &path).await.body, b"firstsecond");
    let told = server.first_bytes.lock().unwrap().clone();
    assert_eq!(told, [Came::Made, Came::Shared, Came::Memory], "a first byte is told of once");
}

#[tokio::test]
async fn a_cold_segment_is_held_for_scripts_and_where_that_is_wished() {
    let script = ("sec-fetch-dest", "empty");
    for (delivery, headers, is_held) in [
        (Delivery::Auto, &[script][..], true),
        (Delivery::Auto, &[("origin", "https://player.example")], true),
        (Delivery::Auto, &[("sec-fetch-dest", "video")], false),
        (Delivery::Auto, &[], false),
        (Delivery::Hold, &[], true),
        (Delivery::Stream, &[script], false),
    ] {
        let mut server = TestServer::with(Config { delivery, ..Config::default() }).await;
        let path = format!("{BASE}/720p/5.m4s");
        let (answer, ()) = tokio::join!(ask(server.address, "GET", &path, headers), async {
            make(server.orders.recv().await.unwrap(), &bytes(500));
        });
        assert_eq!((answer.status, answer.the("x-cache"), &*answer.body), (200, "made", &bytes(500)[..]));
        assert_eq!(answer.header("content-length"), is_held.then_some("500"), "{delivery:?} {headers:?}");
    }
}

#[tokio::test]
async fn a_segment_that_fails_under_way_is_broken_off_not_ended() {
    let mut server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.send("GET", &format!("{BASE}/720p/3.m4s"), &[]).await;
    let mut order = server.order().await;
    push(&mut order.writer, b"first");
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"first");
    fail(order.writer, FlightError::Failed { message: "the worker died".into() });
    assert_eq!(client.chunk().await, None, "the connection ended inside the body");
    assert_eq!(server.origin.counters().broken_bodies.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_segment_that_fails_early_is_an_error() {
    let mut server = TestServer::start().await;
    for (error, status) in [
        (FlightError::Failed { message: "secret path".into() }, 500),
        (FlightError::Busy { retry_after_seconds: 7 }, 503),
        (FlightError::NoWorker { message: "secret path".into() }, 503),
        (FlightError::LeftAlone { retry_after_seconds: 7 }, 503),
        (FlightError::NotFound, 404),
        (FlightError::Abandoned, 503),
    ] {
        let path = format!("{BASE}/720p/3.m4s");
        let (answer, ()) = tokio::join!(get(server.address, &path), async {
            fail(server.orders.recv().await.unwrap().writer, error.clone());
        });
        assert_eq!((answer.status, answer.the("cache-control")), (status, "no-store"), "{error:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
        if matches!(error, FlightError::Busy { .. } | FlightError::LeftAlone { .. }) {
            assert_eq!(answer.the("retry-after"), "7");
        }
    }
}

#[tokio::test]
async fn sixty_four_clients_make_one_order_and_get_the_same_bytes() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/5.m4s");
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (address, path) = (server.address, path.clone());
        clients.spawn(async move { get(address, &path).await });
    }
    let mut order = server.order().await;
    server.joined(Object::Segment(5), 64).await;
    let content = bytes(300_000);
    for chunk in content.chunks(50_000) {
        push(&mut order.writer, chunk);
        tokio::task::yield_now().await;
    }
    finish(order.writer);
    let answers = clients.join_all().await;
    assert!(answers.iter().all(|a| a.complete && a.body == content));
    assert_eq!(answers.iter().filter(|a| a.header("x-cache") == Some("made")).count(), 1);
    assert!(server.orders.try_recv().is_err(), "one order");
}

#[tokio::test]
async fn a_leader_who_leaves_strands_nobody() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/5.m4s");
    let mut leader = Client::connect(server.address).await;
    leader.send("GET", &path, &[]).await;
    let order = server.order().await;
    let mut other = Client::connect(server.address).await;
    other.send("GET", &path, &[]).await;
    server.joined(Object::Segment(5), 2).await;
    drop(leader);
    server.until(|c| c.connections.load(Ordering::Relaxed) == 1).await;
    make(order, b"bytes");
    assert_eq!(other.answer(false).await.unwrap().body, b"bytes");
}

#[tokio::test]
async fn head_and_revalidation_of_a_cold_segment_make_nothing() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/5.m4s");
    let head = ask(server.address, "HEAD", &path, &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.the("content-type")), (200, None, "video/mp4"));
    let known = ask(server.address, "GET", &path, &[("if-none-match", head.the("etag"))]).await;
    assert_eq!(known.status, 304);
    for path in [path, format!("{BASE}/720p/5.ts"), format!("{BASE}/thumbnails/0.jpg")] {
        assert_eq!(ask(server.address, "GET", &path, &[("if-match", "\"x\"")]).await.status, 412, "{path}");
    }
    assert!(server.orders.try_recv().is_err() && server.pictures.try_recv().is_err());
}

#[tokio::test]
async fn only_segments_that_were_answered_are_counted_as_answered() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/5.m4s");
    let (refused, ()) = tokio::join!(get(server.address, &path), async {
        fail(server.orders.recv().await.unwrap().writer, FlightError::Busy { retry_after_seconds: 1 });
    });
    let path = made(&mut server, "720p/6.m4s", b"whole").await;
    let outside = ask(server.address, "GET", &path, &[("range", "bytes=9-")]).await;
    assert_eq!((refused.status, outside.status), (503, 416));
    let counted = server.origin.counters().media.each_ref().map(|n| n.load(Ordering::Relaxed));
    assert_eq!(counted, [0, 0, 1, 0], "made for the one that was");
}

#[tokio::test]
async fn a_range_of_a_segment_being_made_waits_for_the_whole() {
    let mut server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.send("GET", &format!("{BASE}/720p/5.m4s"), &[("range", "bytes=-4")]).await;
    let mut order = server.order().await;
    push(&mut order.writer, b"one ");
    push(&mut order.writer, b"two.");
    finish(order.writer);
    let answer = client.answer(false).await.unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.the("content-range")), (206, &b"two."[..], "bytes 4-7/8"));
    assert_eq!(answer.the("x-cache"), "made");
}

#[tokio::test]
async fn a_range_that_is_everything_makes_no_player_wait_that_always_sends_it() {
    let mut server = TestServer::start().await;
    let (path, everything) = (format!("{BASE}/720p/5.m4s"), [("range", "bytes=0-"), ("user-agent", "Lavf/59.27.100")]);
    let mut client = Client::connect(server.address).await;
    client.send("GET", &path, &everything).await;
    let mut order = server.order().await;
    push(&mut order.writer, b"one.");
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.header("content-range")), (200, None));
    assert_eq!(client.chunk().await.unwrap(), b"one.");
    push(&mut order.writer, b"two.");
    finish(order.writer);
    let kept = ask(server.address, "GET", &path, &everything).await;
    assert_eq!((kept.status, kept.the("content-range"), &*kept.body), (206, "bytes 0-7/8", &b"one.two."[..]));
    // Whoever else asks for a range means it.
    let mut client = Client::connect(server.address).await;
    client.send("GET", &format!("{BASE}/720p/6.m4s"), &everything[..1]).await;
    let mut order = server.order().await;
    push(&mut order.writer, b"one.");
    finish(order.writer);
    let answer = client.answer(false).await.unwrap();
    assert_eq!((answer.status, answer.the("content-range")), (206, "bytes 0-3/4"));
}

#[tokio::test]
async fn http_1_0_gets_a_length_because_it_could_not_see_a_break() {
    let mut server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.write(format!("GET {BASE}/720p/5.m4s HTTP/1.0\r\n\r\n").as_bytes()).await;
    let mut order = server.order().await;
    push(&mut order.writer, b"one ");
    push(&mut order.writer, b"two.");
    finish(order.writer);
    let answer = client.answer(false).await.unwrap();
    assert_eq!((answer.the("content-length"), &answer.body[..]), ("8", &b"one two."[..]));
}

#[tokio::test]
async fn h2c_serves_streams_and_resets_what_breaks() {
    let mut server = TestServer::start().await;
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str| http::Request::get(format!("http://t{BASE}/720p/{path}")).body(()).unwrap();
    let content = bytes(600_000);

    let (answer, _) = send.send_request(ask("0.m4s"), true).unwrap();
    make(server.order().await, &content);
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-cache"].to_str().unwrap()), (200, "made"));
    drop(answer);

    let (answer, _) = send.send_request(ask("0.m4s"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-length"], "600000");
    let mut body = answer.into_body();
    let mut got = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        got.extend_from_slice(&data);
    }
    assert_eq!(got, content);

    let (answer, _) = send.send_request(ask("1.m4s"), true).unwrap();
    let mut order = server.order().await;
    push(&mut order.writer, b"first");
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    fail(order.writer, FlightError::Abandoned);
    assert!(body.data().await.unwrap().is_err(), "reset, not ended");
    let (answer, _) = send.send_request(ask("0.m4s"), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200, "the connection lives on");
}

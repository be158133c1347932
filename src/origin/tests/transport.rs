//! Segments of transport streams: made of what the cache holds, and as honest about what cannot be made.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::cache::{FlightError, Object};
use crate::media::{Rendition, Sample};
use crate::origin::Order;
use crate::packager::{Chunker, init};

use super::http1::{Client, ask, get};
use super::support::{BASE, TestServer, fail, make};

/// One SPS and one PPS.
const AVCC: [u8; 20] = [1, 100, 0, 31, 0xFF, 0xE1, 0, 4, 0x67, 100, 0, 31, 1, 0, 1, 0x68, 0xFD, 0xF8, 0xF8, 0];
/// AAC-LC, 48 kHz, stereo.
const ASC: [u8; 2] = [0x11, 0x90];

/// What the packager makes of frames of no content.
fn cmaf(order: &Order) -> Bytes {
    let rendition: &Rendition = &order.presentation.facts().plan.renditions[order.rendition];
    let is_video = order.rendition == 0;
    let Object::Segment(number) = order.object else {
        return init(rendition, if is_video { &AVCC } else { &ASC }).unwrap();
    };
    let (grid, frames) = (&rendition.grid, rendition.grid.frames(number));
    let mut chunker = Chunker::new(number, grid.segment(number).unwrap().0.at, grid.ticks(number));
    let duration = u32::try_from(grid.ticks(number) / frames).unwrap();
    let mut out = Vec::new();
    for frame in 0..frames {
        let nal = [0, 0, 0, 2, if frame == 0 { 0x65 } else { 0x41 }, 0x88];
        let data = if is_video { Bytes::copy_from_slice(&nal) } else { Bytes::from_static(&[0x21; 20]) };
        out.extend(chunker.push(Sample { duration, composition: 0, sync: frame == 0 || !is_video, data }));
    }
    out.extend(chunker.finish());
    out.concat().into()
}

/// Takes the four orders that a cold segment needs, before any of them is filled.
async fn four(server: &mut TestServer) -> Vec<Order> {
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(server.order().await);
    }
    orders
}

/// A cold segment and its bytes.
async fn made(server: &mut TestServer, path: &str) -> Vec<u8> {
    let mut client = Client::connect(server.address).await;
    client.send("GET", path, &[]).await;
    for order in four(server).await {
        let bytes = cmaf(&order);
        make(order, &bytes);
    }
    let answer = client.answer(false).await.unwrap();
    assert_eq!((answer.status, answer.complete, answer.the("x-cache")), (200, true, "made"), "{answer:?}");
    assert!(answer.the("server-timing").starts_with("cache;desc=made, encode;dur="));
    answer.body
}

#[tokio::test]
async fn a_transport_segment_is_wrapped_from_what_one_encode_made_and_has_every_header_of_the_contract() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/7.ts");
    let bytes = made(&mut server, &path).await;
    assert!(bytes.len() % 188 == 0 && bytes[0] == 0x47);
    let hit = get(server.address, &path).await;
    assert_eq!((hit.status, &hit.body), (200, &bytes));
    for (name, value) in [
        ("content-type", "video/mp2t"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("x-cache", "memory"),
        ("server-timing", "cache;desc=memory"),
        ("link", "<8.ts>; rel=\"next\""),
        ("accept-ranges", "bytes"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(hit.the(name), value, "{name}");
    }
    assert_eq!(hit.the("content-length"), bytes.len().to_string());
    let head = ask(server.address, "HEAD", &path, &[]).await;
    assert_eq!((head.the("content-length"), head.the("etag")), (hit.the("content-length"), hit.the("etag")));
    let known = ask(server.address, "GET", &path, &[("if-none-match", hit.the("etag"))]).await;
    assert_eq!((known.status, known.the("etag")), (304, hit.the("etag")));
    let part = ask(server.address, "GET", &path, &[("range", "bytes=188-375")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &bytes[188..376]));
    assert_eq!(part.the("content-range"), format!("bytes 188-375/{}", bytes.len()));
    for kept in ["720p/7.m4s", "720p/init.mp4", "audio-128k/7.m4s", "audio-128k/7.ts"] {
        let answer = get(server.address, &format!("{BASE}/{kept}")).await;
        assert_eq!((answer.status, answer.the("x-cache")), (200, "memory"), "{kept}");
        assert_ne!(answer.the("etag"), hit.the("etag"), "{kept}");
    }
    assert!(server.orders.try_recv().is_err(), "nothing is made twice");
}

#[tokio::test]
async fn a_part_that_cannot_be_made_fails_the_whole_with_its_own_status() {
    let mut server = TestServer::start().await;
    for (number, (error, status)) in [
        (FlightError::Failed { message: "secret path".into() }, 500),
        (FlightError::Busy { retry_after_seconds: 7 }, 503),
        (FlightError::NotFound, 404),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(server.address).await;
        client.send("GET", &format!("{BASE}/720p/{number}.ts"), &[]).await;
        let mut orders = four(&mut server).await;
        fail(orders.pop().unwrap().writer, error);
        let answer = client.answer(false).await.unwrap();
        assert_eq!((answer.status, answer.the("cache-control")), (status, "no-store"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
        // Nobody waits for the others any more.
        assert!(orders.iter().all(|order| order.writer.viewers() == 0));
    }
}

#[tokio::test]
async fn kept_bytes_that_are_not_a_segment_are_an_error_and_not_a_stream() {
    let mut server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.send("GET", &format!("{BASE}/720p/3.ts"), &[]).await;
    for order in four(&mut server).await {
        make(order, b"\0\0\0\x08moof");
    }
    assert_eq!(client.answer(false).await.unwrap().status, 500);
}

#[tokio::test]
async fn head_and_revalidation_of_a_cold_transport_segment_make_nothing() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/5.ts");
    let head = ask(server.address, "HEAD", &path, &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.the("content-type")), (200, None, "video/mp2t"));
    assert_eq!(ask(server.address, "GET", &path, &[("if-none-match", head.the("etag"))]).await.status, 304);
    for absent in ["720p/30.ts", "audio-128k/30.ts", "720p/07.ts", "1080p/0.ts"] {
        assert_eq!(get(server.address, &format!("{BASE}/{absent}")).await.status, 404, "{absent}");
    }
    assert!(server.orders.try_recv().is_err());
}

#[tokio::test]
async fn playlists_of_transport_streams_lead_to_segments() {
    let mut server = TestServer::start().await;
    let master = get(server.address, "/v/abcdefghjkmn/master-ts.m3u8").await;
    assert_eq!((master.status, master.the("content-type")), (200, "application/vnd.apple.mpegurl"));
    assert_eq!(server.hints.load(Ordering::SeqCst), 1, "who asks for it plays soon");
    let text = String::from_utf8(master.body).unwrap();
    assert_eq!(text.lines().last(), Some("0123456789abcdef/720p/ts.m3u8"));
    let media = String::from_utf8(get(server.address, &format!("{BASE}/720p/ts.m3u8")).await.body).unwrap();
    assert!(media.contains("#EXTINF:4.000000,\n29.ts\n#EXT-X-ENDLIST") && !media.contains("EXT-X-MAP"), "{media}");
    made(&mut server, &format!("{BASE}/720p/29.ts")).await;
    assert_eq!(get(server.address, &format!("{BASE}/720p/29.ts")).await.header("link"), None);
}

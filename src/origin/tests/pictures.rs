//! Posters and thumbnails, with an encoder that does what the test says.

use bytes::Bytes;

use crate::cache::FlightError;
use crate::media::{Picture, RenditionKind};
use crate::origin::Found;

use super::http1::{ask, get};
use super::support::{BASE, READY, TestServer, bound, plan};

#[tokio::test]
async fn a_picture_is_ordered_once_and_sent_when_it_is_whole() {
    let mut server = TestServer::start().await;
    let (address, path) = (server.address, format!("/v/{READY}/poster.jpg"));
    let asked = tokio::spawn(async move { get(address, &path).await });
    let mut order = bound(server.pictures.recv()).await.unwrap();
    assert_eq!(order.picture, Picture::Poster { width: 1280, height: 720 });
    order.writer.push(Bytes::from_static(b"jpeg"));
    order.writer.commit().unwrap();
    let answer = bound(asked).await.unwrap();
    assert_eq!((answer.status, answer.the("content-type"), &*answer.body), (200, "image/jpeg", &b"jpeg"[..]));
    assert_eq!((answer.the("x-cache"), answer.the("content-length")), ("made", "4"));
    let again = ask(address, "HEAD", &format!("/v/{READY}/poster.jpg"), &[]).await;
    assert_eq!((again.the("x-cache"), again.the("etag")), ("memory", answer.the("etag")));
    assert!(server.pictures.try_recv().is_err(), "one order");
}

#[tokio::test]
async fn what_cannot_be_made_is_a_problem_and_what_is_not_there_orders_nothing() {
    let mut server = TestServer::start().await;
    let address = server.address;
    for (error, status, word) in [
        (FlightError::failed("broken"), 500, "picture"),
        (FlightError::NotFound, 404, "no-poster"),
        (FlightError::Busy { retry_after_seconds: 2 }, 503, "busy"),
    ] {
        let asked = tokio::spawn(async move { get(address, &format!("{BASE}/thumbnails/0.jpg")).await });
        bound(server.pictures.recv()).await.unwrap().writer.fail(error);
        let answer = bound(asked).await.unwrap();
        assert_eq!((answer.status, answer.the("cache-control")), (status, "no-store"));
        assert!(String::from_utf8_lossy(&answer.body).contains(&format!("urn:matinee:problem:{word}")));
    }
    // The plan lasts 120.32 s: 25 thumbnails on one sheet.
    assert_eq!(get(address, &format!("{BASE}/thumbnails/1.jpg")).await.status, 404);
    let other = format!("/v/{READY}/0000000000000000/thumbnails/0.jpg");
    assert_eq!(get(address, &other).await.status, 404);
    assert_eq!(ask(address, "HEAD", &format!("{BASE}/thumbnails/0.jpg"), &[]).await.status, 200);
    assert!(server.pictures.try_recv().is_err());
}

#[tokio::test]
async fn once_it_is_known_that_there_is_no_cover_art_nobody_looks_again_and_head_says_so_too() {
    let mut server = TestServer::start().await;
    let address = server.address;
    without_video(&server);
    let path = format!("/v/{READY}/poster.jpg");
    // Only looking tells, so HEAD has it looked for.
    let asked = tokio::spawn(async move { ask(address, "HEAD", &format!("/v/{READY}/poster.jpg"), &[]).await });
    bound(server.pictures.recv()).await.unwrap().writer.fail(FlightError::NotFound);
    assert_eq!(bound(asked).await.unwrap().status, 404);
    for method in ["HEAD", "GET"] {
        assert_eq!(ask(address, method, &path, &[]).await.status, 404, "{method}");
    }
    assert!(server.pictures.try_recv().is_err());
}

/// 304 for a poster that there was not.
#[tokio::test]
async fn cover_art_fulfils_a_condition_only_if_it_is_there() {
    let mut server = TestServer::start().await;
    let address = server.address;
    without_video(&server);
    let path = format!("/v/{READY}/poster.jpg");
    let known = |path: String| tokio::spawn(async move { ask(address, "GET", &path, &[("if-none-match", "*")]).await });
    // What is wrong with it this time does not say that there is none.
    for (error, status) in [(FlightError::failed("broken"), 500), (FlightError::NotFound, 404)] {
        let asked = known(path.clone());
        bound(server.pictures.recv()).await.unwrap().writer.fail(error);
        assert_eq!(bound(asked).await.unwrap().status, status);
    }
    let mut server = TestServer::start().await;
    let address = server.address;
    without_video(&server);
    let known = |path: String| tokio::spawn(async move { ask(address, "GET", &path, &[("if-none-match", "*")]).await });
    let asked = known(path.clone());
    let mut order = bound(server.pictures.recv()).await.unwrap();
    order.writer.push(Bytes::from_static(b"jpeg"));
    order.writer.commit().unwrap();
    assert_eq!(bound(asked).await.unwrap().status, 304);
    assert_eq!(ask(address, "GET", &path, &[("if-match", "\"x\"")]).await.status, 412);
}

#[tokio::test]
async fn part_of_a_picture_is_sent_to_who_asks_for_it() {
    let mut server = TestServer::start().await;
    let address = server.address;
    let asked = tokio::spawn(async move {
        ask(address, "GET", &format!("{BASE}/thumbnails/0.jpg"), &[("range", "bytes=1-2")]).await
    });
    let mut order = bound(server.pictures.recv()).await.unwrap();
    order.writer.push(Bytes::from_static(b"jpeg"));
    order.writer.commit().unwrap();
    let answer = bound(asked).await.unwrap();
    assert_eq!((answer.status, answer.the("content-range"), &*answer.body), (206, "bytes 1-2/4", &b"pe"[..]));
}

/// The title is one of sound alone.
fn without_video(server: &TestServer) {
    let mut titles = server.titles.lock().unwrap();
    let Found::Ready(facts) = &mut titles.get_mut(&READY.parse().unwrap()).unwrap().found else { panic!() };
    let mut plan = plan();
    plan.renditions.retain(|rendition| matches!(rendition.kind, RenditionKind::Audio(_)));
    facts.plan = plan.into();
}

#[tokio::test]
async fn thumbnails_are_listed_as_text_and_as_an_image_playlist() {
    let server = TestServer::start().await;
    let list = get(server.address, &format!("/v/{READY}/thumbnails.vtt")).await;
    assert_eq!((list.status, list.the("content-type")), (200, "text/vtt; charset=utf-8"));
    assert!(list.body.starts_with(b"WEBVTT\n"));
    let images = get(server.address, &format!("{BASE}/thumbnails/index.m3u8")).await;
    assert_eq!((images.status, images.the("content-type")), (200, "application/vnd.apple.mpegurl"));
    let master = get(server.address, &format!("/v/{READY}/master.m3u8")).await;
    let text = String::from_utf8(master.body.to_vec()).unwrap();
    assert!(text.contains("URI=\"0123456789abcdef/thumbnails/index.m3u8\""), "{text}");
}

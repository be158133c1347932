//! Single pictures: carved from what is there, and from no more than is needed of what is not.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::cache::{FlightError, Object};
use crate::media::Sample;
use crate::packager::Chunker;

use super::http1::{Client, get};
use super::support::{BASE, TestServer, bound, fail, make, push};

/// Segment 3 of the test's grid: a chunk with the key frame, and one without.
fn chunks() -> [Bytes; 2] {
    let mut chunker = Chunker::new(3, 300, 50);
    let sample = |sync, byte| Sample { duration: 50, composition: 0, sync, data: Bytes::from(vec![byte; 400]) };
    [chunker.push(sample(true, 7)).unwrap(), chunker.push(sample(false, 8)).unwrap()]
}

#[tokio::test]
async fn a_picture_waits_for_its_bytes_only_and_lets_go_of_the_rest() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/iframe/3.m4s");
    let mut client = Client::connect(server.address).await;
    client.send("GET", &path, &[]).await;
    let mut order = server.order().await;
    assert_eq!(order.object, Object::Segment(3));
    assert!(server.plays.lock().unwrap().is_empty(), "nothing is made ahead of a glimpse");
    push(&mut order.writer, &chunks()[0]);
    let answer = client.answer(false).await.unwrap();
    assert_eq!((answer.status, answer.the("x-cache"), answer.the("content-type")), (200, "made", "video/mp4"));
    assert_eq!(answer.the("link"), "<4.m4s>; rel=\"next\"");
    assert!(answer.body.windows(400).any(|w| w == [7; 400]));
    bound(order.writer.unwatched()).await;
    drop(order);
    assert_eq!(get(server.address, &path).await.the("x-cache"), "memory", "kept, though its segment is not");
    assert!(server.orders.try_recv().is_err());
}

#[tokio::test]
async fn a_picture_of_a_segment_that_is_there_orders_nothing() {
    let mut server = TestServer::start().await;
    let segment = format!("{BASE}/720p/3.m4s");
    let whole = chunks().concat();
    let (_, ()) = tokio::join!(get(server.address, &segment), async {
        make(server.orders.recv().await.unwrap(), &whole);
    });
    let picture = get(server.address, &format!("{BASE}/720p/iframe/3.m4s")).await;
    assert_eq!(picture.status, 200);
    let grid = &super::support::plan().renditions[0].grid;
    assert_eq!(Some(Bytes::from(picture.body)), crate::packager::iframe(grid, 3, &whole).unwrap());
    assert!(server.orders.try_recv().is_err());
}

#[tokio::test]
async fn whoever_asked_first_may_leave_and_nobody_left_stops_the_work() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/iframe/3.m4s");
    let mut first = Client::connect(server.address).await;
    first.send("GET", &path, &[]).await;
    let mut order = server.order().await;
    let mut second = Client::connect(server.address).await;
    second.send("GET", &path, &[]).await;
    server.joined(Object::Iframe(3), 2).await;
    drop(first);
    server.until(|c| c.connections.load(Ordering::Relaxed) == 1).await;
    push(&mut order.writer, &chunks()[0]);
    assert_eq!(second.answer(false).await.unwrap().status, 200);
    let mut alone = Client::connect(server.address).await;
    alone.send("GET", &format!("{BASE}/720p/iframe/4.m4s"), &[]).await;
    let order = server.order().await;
    drop(alone);
    bound(order.writer.unwatched()).await;
}

#[tokio::test]
async fn a_segment_that_fails_is_an_error_for_its_picture() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/iframe/3.m4s");
    for (error, status) in [(FlightError::Busy { retry_after_seconds: 2 }, 503), (FlightError::failed("secret"), 500)] {
        let (answer, ()) = tokio::join!(get(server.address, &path), async {
            fail(server.orders.recv().await.unwrap().writer, error);
        });
        assert_eq!((answer.status, answer.the("cache-control")), (status, "no-store"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    }
    let (answer, ()) = tokio::join!(get(server.address, &path), async {
        make(server.orders.recv().await.unwrap(), b"not a segment at all");
    });
    assert_eq!(answer.status, 500, "bytes nobody here wrote");
}

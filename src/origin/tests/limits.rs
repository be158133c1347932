//! What a client may hold, and how the server stops.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::cache::Object;
use crate::origin::{Config, Drained, Error, Origin, Server};

use super::http1::{Client, ask, get};
use super::support::{BASE, TestServer, bound, finish, make, push};

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut() {
    let server = TestServer::with(Config { header_seconds: 1, ..Config::default() }).await;
    for begun in ["", "P", "PRI * HTTP/2.0\r\n\r\n", "GET /healthz HTTP/1.1\r\nhost: t\r\nx-slow: "] {
        let mut client = Client::connect(server.address).await;
        client.write(begun.as_bytes()).await;
        client.closed().await;
    }
    let mut second = Client::connect(server.address).await;
    second.send("GET", "/healthz", &[]).await;
    assert_eq!(second.answer(false).await.unwrap().status, 200);
    second.write(b"GET /hea").await;
    second.closed().await;
    assert_eq!(server.origin.counters().cut_connections.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = TestServer::with(Config { idle_seconds: 1, ..Config::default() }).await;
    let mut client = Client::connect(server.address).await;
    client.send("GET", "/healthz", &[]).await;
    assert_eq!(client.answer(false).await.unwrap().status, 200);
    client.closed().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let mut server = TestServer::with(Config { stall_seconds: 1, ..Config::default() }).await;
    let path = format!("{BASE}/720p/0.m4s");
    let large = vec![7; 32 << 20];
    let (_, ()) = tokio::join!(get(server.address, &path), async { make(server.orders.recv().await.unwrap(), &large) });
    // Whoever was too slow over so much does not count.
    let before = server.origin.counters().cut_connections.load(Ordering::Relaxed);
    let mut client = Client::connect(server.address).await;
    client.send("GET", &path, &[]).await;
    client.head().await.unwrap();
    // Nothing is read until the server has cut the connection.
    server.until(|c| c.cut_connections.load(Ordering::Relaxed) == before + 1).await;
}

#[tokio::test]
async fn an_h2_answer_that_is_not_taken_is_reset_while_others_on_its_connection_move() {
    let mut server = TestServer::with(Config { stall_seconds: 1, ..Config::default() }).await;
    let path = |number: u32| format!("{BASE}/720p/{number}.m4s");
    // One is longer than its window, which is 65,535 bytes, by many pieces, and one by a byte.
    for (number, length) in [(0, 4 << 20), (1, 65_536), (2, 100)] {
        let (address, path) = (server.address, path(number));
        tokio::join!(get(address, &path), async { make(server.orders.recv().await.unwrap(), &vec![7; length]) });
    }
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let client = h2::client::Builder::new().initial_connection_window_size(1 << 20).handshake::<_, &[u8]>(socket);
    let (send, connection) = client.await.unwrap();
    tokio::spawn(connection);
    let ask = async |number| {
        let ask = http::Request::get(format!("http://t{}", path(number))).body(()).unwrap();
        let (answer, _) = send.clone().ready().await.unwrap().send_request(ask, true).unwrap();
        answer.await.unwrap().into_body()
    };
    for number in [0, 1] {
        let mut held = ask(number).await;
        // What comes is held, so its window is not opened any more.
        let reset = async { while held.data().await.expect("it is not at its end").is_ok() {} };
        let moving = async {
            loop {
                let mut body = ask(2).await;
                while let Some(bytes) = body.data().await {
                    let length = bytes.unwrap().len();
                    body.flow_control().release_capacity(length).unwrap();
                }
            }
        };
        bound(async {
            tokio::select! { () = reset => {}, () = moving => {} }
        })
        .await;
    }
    ask(2).await.data().await.unwrap().unwrap();
    assert_eq!(server.origin.counters().broken_bodies.load(Ordering::Relaxed), 2);
    assert_eq!(server.origin.counters().cut_connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_segment_that_does_not_begin_in_time_is_503() {
    let mut server = TestServer::with(Config { first_byte_seconds: 1, chunk_seconds: 1, ..Config::default() }).await;
    let answer = get(server.address, &format!("{BASE}/720p/0.m4s")).await;
    assert_eq!((answer.status, answer.the("cache-control")), (503, "no-store"));
    answer.the("retry-after");
    let mut order = server.order().await;
    push(&mut order.writer, b"late");
    let mut client = Client::connect(server.address).await;
    client.send("GET", &format!("{BASE}/720p/0.m4s"), &[]).await;
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"late");
    assert_eq!(client.chunk().await, None, "silence breaks the answer off");
    drop(order);
}

/// Who joined late was told that it was too late when who came first had waited for long enough.
#[tokio::test]
async fn what_nobody_begins_to_make_is_refused_to_who_has_waited_and_not_to_who_comes_later() {
    let patience = Duration::from_millis(200);
    let mut server = TestServer::patient(Config::default(), patience).await;
    let path = format!("{BASE}/720p/3.m4s");
    let began = Instant::now();
    let refused = get(server.address, &path).await;
    assert!(began.elapsed() >= patience);
    assert_eq!((refused.status, refused.the("cache-control"), refused.the("retry-after")), (503, "no-store", "2"));
    let mut order = server.order().await;
    let mut second = Client::connect(server.address).await;
    second.send("GET", &path, &[]).await;
    server.joined(Object::Segment(3), 1).await;
    order.writer.flight().begin(true);
    assert!(timeout(2 * patience, second.head()).await.is_err(), "what is being made is waited for longer");
    push(&mut order.writer, b"all");
    finish(order.writer);
    assert_eq!(second.head().await.unwrap().status, 200);
}

/// They waited behind everybody whose player had less to play than that of who came first.
#[tokio::test]
async fn who_joins_brings_their_own_hurry() {
    let mut server = TestServer::start().await;
    let path = format!("{BASE}/720p/3.m4s");
    let mut first = Client::connect(server.address).await;
    first.send("GET", &format!("{path}?CMCD=bl%3D30000"), &[]).await;
    let order = server.order().await;
    assert_eq!(order.due_in, Some(Duration::from_secs(30)));
    let flight = order.writer.flight().clone();
    flight.hurry(Instant::now() + Duration::from_secs(30));
    let mut clients = vec![first];
    // What each says, and the seconds that it has.
    for (told, seconds) in [("bl%3D9000", 9), ("mtp%3D1000", 2), ("su", 0)] {
        let known = flight.due().unwrap();
        let mut client = Client::connect(server.address).await;
        client.send("GET", &format!("{path}?CMCD={told}"), &[]).await;
        clients.push(client);
        bound(flight.hurried(known)).await;
        let due = flight.due().unwrap();
        assert!(due <= Instant::now() + Duration::from_secs(seconds), "{told}");
    }
    let mut calm = Client::connect(server.address).await;
    calm.send("GET", &format!("{path}?CMCD=bl%3D60000"), &[]).await;
    let known = flight.due();
    server.joined(Object::Segment(3), 5).await;
    assert_eq!(flight.due(), known);
    make(order, b"all");
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let server = TestServer::with(Config { max_connections: 1, ..Config::default() }).await;
    let mut first = Client::connect(server.address).await;
    first.send("GET", "/healthz", &[]).await;
    assert_eq!(first.answer(false).await.unwrap().status, 200);
    let answer = get(server.address, "/healthz").await;
    assert_eq!((answer.status, answer.the("retry-after")), (503, "2"));
    first.send("GET", "/healthz", &[]).await;
    assert_eq!(first.answer(false).await.unwrap().status, 200, "the first is served on");
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let server = TestServer::start().await;
    let answer = ask(server.address, "GET", "/healthz", &[("x-large", &"x".repeat(20 << 10))]).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn a_request_has_one_host_field_that_names_a_host_or_nothing() {
    let server = TestServer::start().await;
    for (head, status) in [
        ("HTTP/1.1\r\n", 400),
        ("HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
        ("HTTP/1.0\r\nhost: a\r\nhost: b\r\n", 400),
        ("HTTP/1.1\r\nhost: a b/c?<>\r\n", 400),
        ("HTTP/1.1\r\nhost: http://x/\r\n", 400),
        ("HTTP/1.0\r\nhost: user@a\r\n", 400),
        ("HTTP/1.1\r\nhost:\r\n", 200),
        ("HTTP/1.1\r\nhost: [::1]:8080\r\n", 200),
        ("HTTP/1.1\r\nhost: films_1.example:8080\r\n", 200),
        ("HTTP/1.0\r\n", 200),
    ] {
        for path in ["/healthz", "/api/v1/videos"] {
            let mut client = Client::connect(server.address).await;
            client.write(format!("GET {path} {head}\r\n").as_bytes()).await;
            let answer = client.answer(false).await.unwrap();
            assert_eq!(answer.status, status, "{head}");
            if status == 400 {
                assert_eq!(answer.the("content-type"), "application/problem+json");
            }
        }
    }
}

#[tokio::test]
async fn stopping_lets_a_body_under_way_finish() {
    let mut server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.send("GET", &format!("{BASE}/720p/0.m4s"), &[]).await;
    let mut order = server.order().await;
    push(&mut order.writer, b"first");
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"first");
    let mut idle = Client::connect(server.address).await;
    idle.send("GET", "/healthz", &[]).await;
    idle.answer(false).await.unwrap();
    let address = server.address;
    server.stop();
    idle.closed().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "no new ones come");
    push(&mut order.writer, b"last");
    finish(order.writer);
    assert_eq!(client.chunk().await.unwrap(), b"last");
    assert_eq!(client.chunk().await.unwrap(), b"");
    client.closed().await;
    assert_eq!(server.stopped().await, Drained { finished: 2, held: 0 });
}

#[tokio::test]
async fn a_server_told_to_stop_says_so_and_serves_on_for_as_long_as_it_shall() {
    let delayed = |shutdown_delay_seconds| Config { shutdown_delay_seconds, ..Config::default() };
    let mut server = TestServer::with(delayed(3600)).await;
    let address = server.address;
    assert_eq!(get(address, "/readyz").await.status, 200);
    server.stop();
    bound(async { while get(address, "/readyz").await.status != 503 {} }).await;
    assert_eq!(get(address, "/healthz").await.status, 200);
    let server = TestServer::with(delayed(1)).await;
    assert_eq!(server.stopped().await, Drained { finished: 0, held: 0 });
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_and_counted() {
    let mut server = TestServer::with(Config { drain_seconds: 0, ..Config::default() }).await;
    let mut client = Client::connect(server.address).await;
    client.send("GET", &format!("{BASE}/720p/0.m4s"), &[]).await;
    let mut order = server.order().await;
    push(&mut order.writer, b"first");
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"first");
    assert_eq!(server.stopped().await.held, 1);
    assert_eq!(client.chunk().await, None);
    drop(order);
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let server = TestServer::start().await;
    let config = Config { listen: server.address, ..Config::default() };
    let error = Server::bind(config).await.unwrap_err();
    assert!(matches!(error, Error::PortInUse { .. }));
    let line = error.to_string();
    assert!(line.contains(&server.address.to_string()) && line.contains("--listen") && !line.contains('\n'));
}

fn _is_send_and_sync<T: Send + Sync>() {}
const _: fn() = _is_send_and_sync::<Origin>;

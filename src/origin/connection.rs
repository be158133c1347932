//! One connection: hyper over a socket whose clocks are watched. A connection that does not move is cut, whichever
//! side of HTTP/1.1 or HTTP/2 it hides behind:
//!
//! - a head that does not arrive, the first one or a later one;
//! - an idle connection;
//! - bytes that the client asked for and does not take. If the socket is full, that is the connection; if it is the window of
//!   an answer over HTTP/2, that one is reset and the others go on: they may be other viewers', behind one proxy.
//!
//! A client that takes a little now and then holds one answer at a time (HTTP/2: `max_streams`) on one of
//! `max_connections` connections; that is the bound. (Answers share the cache's bytes; for those that do not see
//! `transport.rs`.)

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::config::{Config, Limits};
use super::{Counters, Origin};

/// The clocks are looked at this often within the shortest bound.
const LOOKS_PER_BOUND: u32 = 4;
/// hyper's HTTP/1 buffer cannot be smaller than this, bytes.
const LEAST_BUFFER_BYTES: usize = 8 << 10;
/// What HTTP/2 may hold per stream before the window opens, bytes.
const H2_SEND_BYTES: usize = 256 << 10;

/// hyper's builder with our limits.
pub(super) fn builder(config: &Config, counters: Arc<Counters>) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { stall: config.limits().stall, counters });
    let head = config.max_header_bytes;
    // The clocks below bound the head; hyper's own would bound idle connections by the same time.
    builder.http1().max_buf_size((head as usize).max(LEAST_BUFFER_BYTES)).header_read_timeout(None);
    builder
        .http2()
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(head)
        .max_send_buf_size(H2_SEND_BYTES);
    builder
}

/// Serves until the client leaves, a bound is passed, or `stop` is set and what is under way has been sent.
pub(super) async fn serve(
    socket: TcpStream,
    origin: Arc<Origin>,
    builder: Arc<auto::Builder<Streams>>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let clocks = Arc::new(Clocks::new());
    // A socket that is broken already has no peer, and nobody to answer.
    let Ok(peer) = socket.peer_addr().map(|peer| peer.ip()) else { return };
    let io = TokioIo::new(Watched { socket, clocks: clocks.clone() });
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let open = Open::new(clocks.clone(), request.version() == http::Version::HTTP_2);
        let origin = origin.clone();
        // hyper keeps room for it in each connection, idle or not: the room of a pointer.
        Box::pin(async move { Ok::<_, Infallible>(origin.handle(request, open, peer).await) })
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut look = interval(limits.shortest() / LOOKS_PER_BOUND);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing = false;
    let mut stopped = pin!(stopped(&mut stop));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = &mut stopped, if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => match clocks.overdue(&limits) {
                None => {}
                // Once more round: HTTP/2 says farewell, HTTP/1 just ends.
                Some(Overdue::Idle) if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                Some(overdue) => {
                    origin.counters.cut_connections.fetch_add(1, Relaxed);
                    tracing::debug!(?overdue, "a connection was cut");
                    return;
                }
            }
        }
    }
}

/// Also if whoever would say so is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Which bound was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    Head,
    Idle,
    Stalled,
}

/// What is known of a connection's movement. Times are milliseconds since it was accepted; zero means not set.
#[derive(Debug)]
struct Clocks {
    accepted: Instant,
    http2: AtomicBool,
    served: AtomicBool,
    /// Answers under way.
    open: AtomicUsize,
    /// When the head that is not complete yet began.
    head_since: AtomicU64,
    /// When the socket took no more.
    blocked_since: AtomicU64,
    /// When bytes were last written or a request ended.
    active: AtomicU64,
}

impl Clocks {
    fn new() -> Self {
        Self {
            accepted: Instant::now(),
            http2: AtomicBool::new(false),
            served: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            active: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        let now = self.now();
        let passed = |since: u64, bound: Duration| u128::from(now.saturating_sub(since)) > bound.as_millis();
        let blocked = self.blocked_since.load(Relaxed);
        if blocked != 0 {
            return passed(blocked, limits.stall).then_some(Overdue::Stalled);
        }
        if !self.served.load(Relaxed) {
            return passed(0, limits.head).then_some(Overdue::Head);
        }
        if self.open.load(Relaxed) > 0 {
            // Over HTTP/2 each has a clock of its own.
            return None;
        }
        let head = self.head_since.load(Relaxed);
        if !self.http2.load(Relaxed) && head != 0 && passed(head, limits.head) {
            return Some(Overdue::Head);
        }
        passed(self.active.load(Relaxed), limits.idle).then_some(Overdue::Idle)
    }
}

/// An answer under way: from the request's head to the last piece of the body, or its drop.
#[derive(Debug)]
pub(super) struct Open {
    clocks: Arc<Clocks>,
}

impl Open {
    fn new(clocks: Arc<Clocks>, http2: bool) -> Self {
        clocks.http2.store(http2, Relaxed);
        clocks.served.store(true, Relaxed);
        clocks.head_since.store(0, Relaxed);
        clocks.open.fetch_add(1, Relaxed);
        Self { clocks }
    }

    pub(super) fn is_http2(&self) -> bool {
        self.clocks.http2.load(Relaxed)
    }

    /// Says whose turn it is after a poll of the body.
    pub(super) fn waits_for_us(&self, waits: bool) {
        if self.is_http2() {
            TAKEN.set((!waits).then(Instant::now));
        }
    }
}

impl Drop for Open {
    /// The connection is idle again if this was its last answer.
    fn drop(&mut self) {
        self.clocks.active.store(self.clocks.now(), Relaxed);
        self.clocks.open.fetch_sub(1, Relaxed);
    }
}

thread_local! {
    /// When a piece was last taken of the answer that is being polled; `None` while it waits for us.
    static TAKEN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs hyper's answers over HTTP/2. One that is dropped is reset.
#[derive(Clone)]
pub(super) struct Streams {
    stall: Duration,
    counters: Arc<Counters>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, answer: F) {
        let Self { stall, counters } = self.clone();
        tokio::spawn(async move {
            let (mut answer, mut clock) = (pin!(answer), pin!(sleep(stall)));
            let mut turn = None;
            poll_fn(|cx| {
                TAKEN.set(turn);
                let polled = answer.as_mut().poll(cx);
                turn = TAKEN.take();
                let Some(taken) = turn.filter(|_| polled.is_pending()) else { return polled };
                // Set anew when it has run down, and not for each piece.
                loop {
                    ready!(clock.as_mut().poll(cx));
                    if taken.elapsed() >= stall {
                        counters.broken_bodies.fetch_add(1, Relaxed);
                        tracing::debug!("an answer of which the client took nothing was reset");
                        return Poll::Ready(());
                    }
                    clock.as_mut().reset(taken + stall);
                }
            })
            .await;
        });
    }
}

/// A socket that tells the clocks when it moves.
struct Watched {
    socket: TcpStream,
    clocks: Arc<Clocks>,
}

impl Watched {
    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => {
                let _ = self.clocks.blocked_since.compare_exchange(0, self.clocks.now(), Relaxed, Relaxed);
            }
            Poll::Ready(_) => {
                self.clocks.blocked_since.store(0, Relaxed);
                self.clocks.active.store(self.clocks.now(), Relaxed);
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buf));
        let clocks = &self.clocks;
        if buf.filled().len() > before && clocks.open.load(Relaxed) == 0 {
            let _ = clocks.head_since.compare_exchange(0, clocks.now(), Relaxed, Relaxed);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

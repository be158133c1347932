//! The listener: accepts, bounds, and stops in order. Say so to who asks whether it is ready, stop accepting, let what is
//! under way be sent, cut what has not ended by the deadline and say how much that was.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use super::config::Config;
use super::error::Error;
use super::threads::Threads;
use super::{Origin, connection};

/// What a connection beyond the limit is told.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncache-control: no-store\r\n\
    access-control-allow-origin: *\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Connections that are being told so at once; beyond these they are just closed.
const MAX_TURNING_AWAY: usize = 64;
/// How long telling may take: closing at once would reset the connection before the answer is read.
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);
/// Pause after the system refused to accept (out of file descriptors): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: Config,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that ended by themselves after the stop.
    pub finished: usize,
    /// Connections that were cut at the deadline.
    pub held: usize,
}

impl Server {
    /// Takes the port. Who connects before [`Server::run`] waits in the kernel's queue.
    ///
    /// # Errors
    /// [`Error::PortInUse`] and [`Error::Listen`] name address and remedy.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let address = config.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortInUse { address },
            _ => Error::Listen { address, source },
        })?;
        Ok(Self { listener, config })
    }

    /// Where it listens; tells which port the system chose for port 0.
    ///
    /// # Errors
    /// Hardly ever: what the system says of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes and for `shutdown_delay_seconds` more, then calls `on_drain`, and drains for up to
    /// `drain_seconds`.
    pub async fn run(self, origin: Arc<Origin>, stop: impl Future<Output = ()>, on_drain: impl FnOnce()) -> Drained {
        let Self { listener, config } = self;
        let limits = config.limits();
        let builder = Arc::new(connection::builder(&config, origin.counters.clone()));
        let places = Arc::new(Semaphore::new(config.max_connections));
        let turning = Arc::new(Semaphore::new(MAX_TURNING_AWAY));
        let (closing, closed) = watch::channel(false);
        let threads = Threads::start();
        let mut connections = JoinSet::new();
        let delay = Duration::from_secs(config.shutdown_delay_seconds);
        let mut stop = pin!(async {
            stop.await;
            origin.stop();
            tokio::time::sleep(delay).await;
            on_drain();
        });
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    report(ended);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are written whole: waiting for more to send only delays them.
            let _ = socket.set_nodelay(true);
            let Ok(place) = places.clone().try_acquire_owned() else {
                origin.counters.turned_away.fetch_add(1, Ordering::Relaxed);
                if let Ok(permit) = turning.clone().try_acquire_owned() {
                    tokio::spawn(async move {
                        let _permit = permit;
                        turn_away(socket).await;
                    });
                }
                continue;
            };
            // It was accepted here and is served there.
            let Ok(socket) = socket.into_std() else { continue };
            let (thread, load) = threads.least();
            let (origin, builder, closed) = (origin.clone(), builder.clone(), closed.clone());
            let held = (place, load, origin.counters.clone().connection());
            let serving = async move {
                let _held = held;
                if let Ok(socket) = TcpStream::from_std(socket) {
                    connection::serve(socket, origin, builder, limits, closed).await;
                }
            };
            connections.spawn_on(serving, thread);
        }
        drop(listener);
        closing.send_replace(true);
        drain(connections, Duration::from_secs(config.drain_seconds)).await
    }
}

async fn drain(mut connections: JoinSet<()>, patience: Duration) -> Drained {
    let mut finished = 0;
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
            finished += 1;
        }
    };
    let _ = tokio::time::timeout(patience, all).await;
    let held = connections.len();
    if held > 0 {
        tracing::warn!(held, waited_seconds = patience.as_secs(), "connections were cut while answers were under way");
    }
    connections.shutdown().await;
    Drained { finished, held }
}

/// A panic ends one connection; here is where it is told.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

async fn turn_away(mut socket: TcpStream) {
    let farewell = async {
        socket.write_all(TURNED_AWAY).await?;
        socket.shutdown().await?;
        let mut rest = [0; 1024];
        while socket.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(TURN_AWAY_TIME, farewell).await;
}

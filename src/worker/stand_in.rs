//! Workers that are no processes: tasks that speak the protocol, so that a simulation (`benches/day`) has the real encoder
//! over encodes that only take time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::{fmt, io};

use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

use super::config::Config;
use super::exit::{Death, Exit};
use super::handle::Worker;
use super::spawn::{Process, Spawner};

/// Makes what speaks for one worker until the line is cut. It begins where a process has said
/// [`super::protocol::Event::Ready`].
#[derive(Clone)]
pub struct StandIn(pub Arc<dyn Fn(UnixStream, Arc<Tied>) -> Speaks + Send + Sync>);
/// One of them.
pub type Speaks = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a process would have been told from outside.
#[derive(Debug, Default)]
pub struct Tied {
    nice: AtomicI32,
    paused: watch::Sender<bool>,
    killed: Notify,
}

impl StandIn {
    pub(super) fn worker(&self, spawner: &Spawner, config: &Config) -> io::Result<Worker> {
        let (near, far) = UnixStream::pair()?;
        let tied = Arc::<Tied>::default();
        let process = Arc::new(Process::none(Arc::clone(&tied), spawner.clone()));
        let (announce, death) = watch::channel(None);
        let (speaks, pid) = ((self.0)(far, Arc::clone(&tied)), process.pid());
        tokio::spawn(async move {
            tokio::select! {
                () = speaks => {}
                () = tied.killed.notified() => {}
            }
            announce.send_replace(Some(Death { pid, exit: Exit::Dismissed, last_words: String::new() }));
        });
        Ok(Worker::new(near, process, death, config.stall(), config.inspect()))
    }
}

impl Tied {
    /// Its nice level, as last set.
    #[must_use]
    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    /// True while it is to stand still.
    #[must_use]
    pub fn paused(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    pub(super) fn pause(&self, is_paused: bool) {
        self.paused.send_replace(is_paused);
    }

    pub(super) fn set_nice(&self, level: i32) {
        self.nice.store(level, Ordering::Relaxed);
    }

    pub(super) fn kill(&self) {
        self.killed.notify_one();
    }
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandIn")
    }
}

//! Workers at hand: some warm in advance, each given to one source for its life.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::config::Config;
use super::exit::{Death, Exit, Outcomes};
use super::handle::{SendError, Worker};
use super::protocol::{Attempt, Binding, Event, Request, Unbound};
use super::spawn::{Process, Spawner};
use super::stand_in::StandIn;
use crate::media::Trial;

/// Processes of one pool at most, however many its callers want: the last line against a fork bomb of our own making.
const MAX_WORKERS: usize = 64;
/// Of those, workers that nobody keeps: inspections, trials, and those that were killed and are not gone yet.
const PASSING: usize = 16;

/// Time since the last worker was taken before successors are warmed up, so that starting them does not take the processor
/// from the first segments of a viewer, whose player asks for several renditions within a second. (A nice level would do the
/// same, but could not be taken back.)
const REFILL_PAUSE: Duration = Duration::from_millis(1500);
/// Where workers are taken all the time, successors are warmed up after this long.
const REFILL_LATEST: Duration = Duration::from_secs(5);

/// First and longest pause after a worker that did not start, doubling between. Until the next one does the server is not
/// ready, and no start is dear enough to leave it so for longer.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// The workers of a server. Clones are the same pool; dropping the last one kills those that stand by.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    spawner: Spawner,
    /// What is bound instead of processes.
    stand_in: Option<StandIn>,
    /// GStreamer's cache of what its plugins can do.
    registry: PathBuf,
    /// Removes the registry if it is nowhere else.
    _folder: Option<TempDir>,
    /// True once a worker has brought the registry up to date. Held while one does, or all would scan at once.
    scanned: tokio::sync::Mutex<bool>,
    standby: Mutex<Vec<Worker>>,
    /// Why the last start failed, if it did.
    trouble: Mutex<Option<String>>,
    refill: Arc<Notify>,
    outcomes: Arc<Outcomes>,
    living: Arc<Living>,
}

/// Every process that has not been reaped.
#[derive(Debug)]
struct Living {
    processes: Mutex<Option<HashMap<i32, Weak<Process>>>>,
    count: watch::Sender<usize>,
}

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process could not be started.
    #[error("cannot start a worker: {0}")]
    Spawn(#[from] io::Error),
    /// It died before it was bound. Says what it said.
    #[error("a worker did not start: {0}")]
    Start(Box<Death>),
    /// It did not come up or answer in time.
    #[error("a worker was not {what} after {seconds} s")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The sandbox cannot be closed; says what to do.
    #[error("{0}")]
    Sandbox(String),
    /// The source cannot be opened.
    #[error("{0}")]
    Source(String),
    /// Too many workers.
    #[error("{MAX_WORKERS} workers are running already")]
    TooMany,
    /// The pool is closed.
    #[error("the server is shutting down")]
    Closed,
}

impl Error {
    /// Whether it is the server that has no worker, whatever the source.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Spawn(_) | Self::Start(_) | Self::Timeout { .. } | Self::Sandbox(_) | Self::TooMany => true,
            Self::Source(_) | Self::Closed => false,
        }
    }

    /// Whether the same request may succeed later or on another worker.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Spawn(_) | Self::Timeout { .. } | Self::TooMany => true,
            Self::Start(death) => death.exit.is_retryable(),
            Self::Sandbox(_) | Self::Source(_) | Self::Closed => false,
        }
    }
}

impl Pool {
    /// Makes a pool and begins to warm up its standby workers; returns at once. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Spawn`] if the folder for GStreamer's registry cannot be made, or no thread started.
    pub fn start(config: Config) -> Result<Self, Error> {
        Self::with(config, None)
    }

    /// A pool for simulations: each worker is a task, which needs no file to be there. None stands by.
    ///
    /// # Errors
    /// As for [`Pool::start`].
    pub fn of_stand_ins(config: Config, stand_in: StandIn) -> Result<Self, Error> {
        Self::with(Config { standby: 0, ..config }, Some(stand_in))
    }

    fn with(config: Config, stand_in: Option<StandIn>) -> Result<Self, Error> {
        let (folder, path) = match &config.folder {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                (None, std::path::absolute(path)?)
            }
            None => {
                let folder = tempfile::Builder::new().prefix("matinee-").tempdir()?;
                let path = folder.path().to_owned();
                (Some(folder), path)
            }
        };
        let refill = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            spawner: Spawner::start()?,
            stand_in,
            registry: path.join("gstreamer-registry.bin"),
            _folder: folder,
            scanned: tokio::sync::Mutex::new(false),
            standby: Mutex::default(),
            trouble: Mutex::default(),
            refill: refill.clone(),
            outcomes: Arc::default(),
            living: Arc::new(Living { processes: Mutex::new(Some(HashMap::new())), count: watch::Sender::new(0) }),
            config,
        });
        tokio::spawn(keep_standby(Arc::downgrade(&inner), refill));
        Ok(Self(inner))
    }

    /// What the pool was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// How many bound workers may be kept at a time, so that there is room for those that stand by and those that pass.
    #[must_use]
    pub fn most_bound(&self) -> usize {
        (MAX_WORKERS - PASSING).saturating_sub(self.0.config.standby).max(1)
    }

    /// A worker that has read `index`, and can read `source` and `devices` and nothing else. Takes a standby worker if one is
    /// ready, else the time of a start.
    ///
    /// # Errors
    /// One that is a [shortage](Error::is_shortage) says nothing of the source.
    pub async fn bind(&self, source: &Path, index: Option<&Path>, devices: &[PathBuf]) -> Result<Worker, Error> {
        let binding = Binding {
            source: std::path::absolute(source)?,
            index: index.map(std::path::absolute).transpose()?,
            memory_bytes: self.0.config.memory_bytes,
            sandbox: self.0.config.sandbox,
            devices: devices.to_vec(),
        };
        while let Some(worker) = self.0.take_standby() {
            match bind(worker, &binding).await {
                // It died of something while it waited: that is no fault of this source.
                Err(Error::Start(_)) => {}
                outcome => return outcome,
            }
        }
        bind(self.0.fresh().await?, &binding).await
    }

    /// Tries every template, in a worker of its own: pipelines leave threads behind that no sandbox can hold, so it is
    /// not bound to anything afterwards.
    ///
    /// # Errors
    /// [`Error::Start`] or [`Error::Timeout`] if no worker comes up or answers.
    pub async fn trial(&self) -> Result<Vec<Trial>, Error> {
        let mut worker = self.0.fresh().await?;
        let limit = self.0.config.trial();
        let outcome = timeout(limit, async {
            ask(&worker, &Request::Trial).await?;
            match worker.next().await.map_err(start)? {
                Event::Trialled(trials) => Ok(trials),
                other => Err(out_of_order(&other)),
            }
        });
        let outcome =
            outcome.await.unwrap_or(Err(Error::Timeout { what: "done with its trial", seconds: limit.as_secs() }));
        worker.kill().await;
        outcome
    }

    /// Binds a worker to a scratch file and lets it try to break out.
    ///
    /// # Errors
    /// [`Error::Sandbox`] if it cannot be closed; else as for [`Pool::bind`].
    pub async fn self_test(&self) -> Result<Vec<Attempt>, Error> {
        let folder = tempfile::Builder::new().prefix("matinee-").tempdir()?;
        let (source, neighbour) = (folder.path().join("source"), folder.path().join("neighbour"));
        std::fs::write(&source, [])?;
        std::fs::write(&neighbour, [])?;
        let mut worker = self.bind(&source, None, &[]).await?;
        ask(&worker, &Request::SelfTest { neighbour }).await?;
        let outcome = match worker.next().await.map_err(start)? {
            Event::SelfTested(attempts) => Ok(attempts),
            other => Err(out_of_order(&other)),
        };
        worker.kill().await;
        outcome
    }

    /// Why no work can begin, if none can: the last start of a worker failed, and none stands by.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let stands_by = lock(&self.0.standby).iter().any(Worker::is_alive);
        lock(&self.0.trouble).clone().filter(|_| !stands_by)
    }

    /// How many workers stand by, and how many there are in all.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (lock(&self.0.standby).len(), *self.0.living.count.borrow())
    }

    /// How workers ended so far.
    #[must_use]
    pub fn outcomes(&self) -> &Outcomes {
        &self.0.outcomes
    }

    /// Kills every worker, whoever holds it, and waits until all are gone. No worker starts afterwards.
    pub async fn close(&self) {
        let processes = lock(&self.0.living.processes).take();
        lock(&self.0.standby).clear();
        for process in processes.into_iter().flat_map(HashMap::into_values) {
            if let Some(process) = process.upgrade() {
                process.condemn(Exit::Dismissed);
            }
        }
        self.0.refill.notify_one();
        let _ = self.0.living.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Inner {
    /// Takes a worker that stands by and lives, and has it replaced.
    fn take_standby(&self) -> Option<Worker> {
        let mut standby = lock(&self.standby);
        standby.retain(Worker::is_alive);
        let worker = standby.pop();
        drop(standby);
        self.refill.notify_one();
        worker
    }

    /// Starts a worker and waits until it is ready.
    async fn fresh(&self) -> Result<Worker, Error> {
        if let Some(stand_in) = &self.stand_in {
            return Ok(stand_in.worker(&self.spawner, &self.config)?);
        }
        let mut scanned = self.scanned.lock().await;
        if *scanned {
            drop(scanned);
            return self.spawn(false).await;
        }
        let worker = self.spawn(true).await?;
        *scanned = true;
        Ok(worker)
    }

    /// A caller who leaves does not cut this short: a process that is half there would belong to nobody.
    async fn spawn(&self, scan: bool) -> Result<Worker, Error> {
        let start = Start {
            config: self.config.clone(),
            spawner: self.spawner.clone(),
            registry: self.registry.clone(),
            refill: self.refill.clone(),
            outcomes: self.outcomes.clone(),
            living: self.living.clone(),
        };
        let started = tokio::spawn(start.run(scan)).await;
        let started = started.unwrap_or_else(|died| Err(Error::Spawn(io::Error::other(died))));
        match &started {
            Ok(_) => *lock(&self.trouble) = None,
            // That they are many proves that they can be started.
            Err(Error::TooMany | Error::Closed) => {}
            Err(error) => {
                *lock(&self.trouble) = Some(error.to_string());
                self.refill.notify_one();
            }
        }
        started
    }
}

/// The start of one worker.
struct Start {
    config: Config,
    spawner: Spawner,
    registry: PathBuf,
    refill: Arc<Notify>,
    outcomes: Arc<Outcomes>,
    living: Arc<Living>,
}

impl Start {
    async fn run(self, scan: bool) -> Result<Worker, Error> {
        let limit = self.config.start();
        // From here on there may be a process that nobody has entered yet: closing waits for it.
        let starting = self.living.starting()?;
        let started = self.spawner.spawn(self.config.program.as_deref(), &self.registry, scan).await?;
        started.socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixStream::from_std(started.socket)?;
        let process = Arc::new(started.process);
        self.living.enter(&process)?;
        drop(starting);
        let (announce, death) = watch::channel(None);
        let (attended, outcomes, living) = (process.clone(), self.outcomes.clone(), self.living.clone());
        let refill = self.refill.clone();
        tokio::spawn(async move {
            let death = attended.attend(started.stderr).await;
            outcomes.count(&death.exit);
            tracing::debug!(pid = death.pid, exit = %death.exit, "worker ended");
            announce.send_replace(Some(death));
            living.leave(&attended);
            refill.notify_one();
        });
        let mut worker = Worker::new(socket, process, death, self.config.stall(), self.config.inspect());
        match timeout(limit, worker.next()).await {
            Ok(Ok(Event::Ready)) => Ok(worker),
            Ok(Ok(other)) => Err(out_of_order(&other)),
            Ok(Err(death)) => Err(start(death)),
            Err(_) => Err(Error::Timeout { what: "ready", seconds: limit.as_secs() }),
        }
    }
}

impl Drop for Inner {
    /// Wakes the task that keeps the standby, which finds that it has nothing to keep.
    fn drop(&mut self) {
        self.refill.notify_one();
    }
}

/// A process that is being started. Dropping it says that it is entered, or gone.
struct Starting<'a>(&'a Living);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

impl Living {
    /// Counts a process before it exists, unless the pool is closed.
    fn starting(&self) -> Result<Starting<'_>, Error> {
        let processes = lock(&self.processes);
        if processes.is_none() {
            return Err(Error::Closed);
        }
        self.count.send_modify(|count| *count += 1);
        Ok(Starting(self))
    }

    fn enter(&self, process: &Arc<Process>) -> Result<(), Error> {
        let mut processes = lock(&self.processes);
        let all = processes.as_mut().ok_or(Error::Closed)?;
        if all.len() >= MAX_WORKERS {
            return Err(Error::TooMany);
        }
        all.insert(process.pid(), Arc::downgrade(process));
        self.count.send_modify(|count| *count += 1);
        Ok(())
    }

    fn leave(&self, process: &Process) {
        if let Some(all) = lock(&self.processes).as_mut() {
            // Its number is free again since it was reaped, and may be another worker's by now.
            if all.get(&process.pid()).is_some_and(|entry| std::ptr::eq(entry.as_ptr(), process)) {
                all.remove(&process.pid());
            }
        }
        self.count.send_modify(|count| *count -= 1);
    }
}

/// Starts one worker at a time until enough stand by, then waits until one is taken. After a start that failed it tries
/// again also if none shall stand by, so that it is known when workers can start again. Ends with the pool.
async fn keep_standby(pool: Weak<Inner>, refill: Arc<Notify>) {
    let mut pause = RETRY_PAUSES[0];
    loop {
        let Some(inner) = pool.upgrade() else { return };
        if lock(&inner.living.processes).is_none() {
            return;
        }
        lock(&inner.standby).retain(Worker::is_alive);
        let is_enough = lock(&inner.standby).len() >= inner.config.standby;
        if is_enough && lock(&inner.trouble).is_none() {
            drop(inner);
            refill.notified().await;
            let _ = timeout(REFILL_LATEST, quiet(&refill)).await;
            continue;
        }
        match inner.fresh().await {
            Ok(worker) => {
                pause = RETRY_PAUSES[0];
                if is_enough {
                    // It has shown that they start, which is all it was for.
                    continue;
                }
                lock(&inner.standby).push(worker);
                if lock(&inner.living.processes).is_none() {
                    // Closed meanwhile, perhaps before this one was there to be cleared away.
                    lock(&inner.standby).clear();
                    return;
                }
            }
            Err(Error::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, retry_in_seconds = pause.as_secs(), "no standby worker");
                drop(inner);
                sleep(pause).await;
                pause = RETRY_PAUSES[1].min(pause * 2);
            }
        }
    }
}

/// Waits until no worker was taken, nor ended, for a while.
async fn quiet(refill: &Notify) {
    while timeout(REFILL_PAUSE, refill.notified()).await.is_ok() {}
}

async fn bind(mut worker: Worker, binding: &Binding) -> Result<Worker, Error> {
    ask(&worker, &Request::Bind(binding.clone())).await?;
    match worker.next().await.map_err(start)? {
        Event::Bound => Ok(worker),
        Event::Unbound(Unbound::Sandbox(why)) => Err(Error::Sandbox(why)),
        Event::Unbound(Unbound::Source(why)) => Err(Error::Source(why)),
        other => Err(out_of_order(&other)),
    }
}

/// If the worker is gone, what it died of comes with the next event.
async fn ask(worker: &Worker, request: &Request) -> Result<(), Error> {
    match worker.send(request).await {
        Ok(()) | Err(SendError::Gone) => Ok(()),
        Err(SendError::Frame(error)) => Err(Error::Spawn(io::Error::other(error))),
    }
}

fn start(death: Death) -> Error {
    Error::Start(Box::new(death))
}

/// The worker is dropped, hence killed, by whoever gets this.
fn out_of_order(event: &Event) -> Error {
    let word = format!("{event:?}");
    let word = word.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let exit = Exit::Nonsense(format!("{word} is not what it was asked for"));
    Error::Start(Box::new(Death { pid: 0, exit, last_words: String::new() }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

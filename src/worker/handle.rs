//! The server's hold on one worker: what is asked of it, what it tells, and the watch over its silence.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::activity::Activity;
use super::exit::{Death, Exit};
use super::protocol::{Event, FrameError, Request, frame, unframe};
use super::spawn::Process;

/// Requests on their way to a worker. A worker always reads, so more than a few means that it is stopped; the sender
/// waits then and the watchdog decides.
const REQUESTS: usize = 32;

/// How long a worker that has closed its end may take to end. What ends for a reason is gone in a millisecond.
const GRACE: Duration = Duration::from_secs(2);

/// A worker. Dropping it kills its process group.
#[derive(Debug)]
pub struct Worker {
    requests: Requests,
    events: Events,
}

/// The half that asks. Clones ask the same worker, and none of them keeps it alive.
#[derive(Clone, Debug)]
pub struct Requests {
    frames: mpsc::Sender<Vec<u8>>,
    pending: Arc<Pending>,
}

/// The half that hears. It owns the worker: dropping it kills the process group.
#[derive(Debug)]
pub struct Events {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    pending: Arc<Pending>,
    /// The last look at it while it seemed to stand still.
    look: Option<Look>,
    process: Arc<Process>,
    death: watch::Receiver<Option<Death>>,
}

/// Why a request could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The worker is dead; [`Events::next`] says how it died.
    #[error("the worker is gone")]
    Gone,
    /// The request is too large.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// How long a worker that seems to stand still is looked at before it is killed for it.
const LOOK: Duration = Duration::from_secs(1);
/// One that is starved of processors is given this many times the stall time.
const STARVED_PATIENCE: u32 = 10;

/// A first look at a worker that seems to stand still.
#[derive(Debug)]
struct Look {
    /// Since when nothing was heard.
    quiet_since: Instant,
    at: Instant,
    was: Activity,
}

/// Answers that are due, and since when nothing was heard.
#[derive(Debug)]
struct Pending {
    state: Mutex<Due>,
    changed: Notify,
    stall: Duration,
    inspect: Duration,
}

#[derive(Debug)]
struct Due {
    /// Answers that are due, in no order.
    answers: u32,
    /// When something was last heard, or asked of an idle worker.
    quiet_since: Instant,
    /// Inspections that are due: when they were asked for.
    inspections: VecDeque<Instant>,
}

impl Worker {
    pub(super) fn new(
        socket: UnixStream,
        process: Arc<Process>,
        death: watch::Receiver<Option<Death>>,
        stall: Duration,
        inspect: Duration,
    ) -> Self {
        let (read, write) = socket.into_split();
        let due = Due { answers: 0, quiet_since: Instant::now(), inspections: VecDeque::new() };
        let pending = Arc::new(Pending { state: Mutex::new(due), changed: Notify::new(), stall, inspect });
        let (frames, queue) = mpsc::channel(REQUESTS);
        tokio::spawn(write_out(queue, write, death.clone()));
        let events =
            Events { socket: read, buffer: BytesMut::new(), pending: pending.clone(), look: None, process, death };
        Self { requests: Requests { frames, pending }, events }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.events.pid()
    }

    /// As [`Requests::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, request: &Request) -> Result<(), SendError> {
        self.requests.send(request).await
    }

    /// As [`Events::next`].
    ///
    /// # Errors
    /// How the worker died.
    pub async fn next(&mut self) -> Result<Event, Death> {
        self.events.next().await
    }

    /// Both halves, so that one task can ask while another listens.
    #[must_use]
    pub fn split(self) -> (Requests, Events) {
        (self.requests, self.events)
    }

    /// As [`Events::set_nice`].
    pub fn set_nice(&self, level: i32) {
        self.events.set_nice(level);
    }

    /// Stands still until this is dropped.
    #[must_use]
    pub fn pause(&self) -> Paused<'_> {
        self.events.process.pause();
        Paused { events: &self.events, since: Instant::now() }
    }

    /// As [`Events::kill`].
    pub async fn kill(self) -> Death {
        self.events.kill().await
    }

    /// True until its death is known.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.events.death.borrow().is_none()
    }
}

impl Requests {
    /// Asks for something. May be cancelled: a request is sent whole or not at all.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, request: &Request) -> Result<(), SendError> {
        let frame = frame(request)?;
        let permit = self.frames.reserve().await.map_err(|_| SendError::Gone)?;
        self.pending.asked(request);
        permit.send(frame);
        Ok(())
    }
}

impl Events {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The next thing the worker says. May be cancelled and called again: nothing is lost. This is also the watchdog:
    /// while an answer is due and nothing is heard for the stall time, the process group is killed; one that waits for
    /// processors or a disk is given up to ten times that. Nobody watches a worker nobody listens to.
    ///
    /// # Errors
    /// How the worker died, the same each time.
    pub async fn next(&mut self) -> Result<Event, Death> {
        loop {
            match unframe(&mut self.buffer) {
                Ok(Some(event)) => {
                    self.pending.answered(&event);
                    return Ok(event);
                }
                Ok(None) => {}
                Err(error) => return Err(self.condemn(Exit::Nonsense(error.to_string())).await),
            }
            let limit = self.pending.limit(self.look.as_ref());
            let pending = self.pending.clone();
            let heard = async {
                tokio::select! {
                    biased;
                    read = self.socket.read_buf(&mut self.buffer) => Some(read),
                    () = pending.changed.notified() => None,
                }
            };
            let heard = match &limit {
                Some((at, _)) => timeout_at(*at, heard).await,
                None => Ok(heard.await),
            };
            match (heard, limit) {
                (Ok(None), _) => {}
                (Ok(Some(Ok(1..))), _) => self.pending.heard(),
                (Ok(Some(Ok(0) | Err(_))), _) => return Err(self.hung_up().await),
                (Err(_), Some((_, Exit::Stalled(_)))) if self.may_be_starved() => {}
                (Err(_), Some((_, exit))) => return Err(self.condemn(exit).await),
                (Err(_), None) => unreachable!("no limit, no timeout"),
            }
        }
    }

    /// Looks at a worker that was quiet for long, and again a moment later: true if it has not been seen twice yet, or
    /// would have worked had the host let it. One that waits for nothing but itself stands still.
    fn may_be_starved(&mut self) -> bool {
        let (quiet_since, at, is) = (self.pending.quiet_since(), Instant::now(), Activity::of(self.pid()));
        let before = self.look.replace(Look { quiet_since, at, was: is.clone() });
        let Some(before) = before.filter(|look| look.quiet_since == quiet_since) else { return true };
        // One that died in between has used nothing by now.
        let is_starved =
            before.was.is_hindered && is.is_hindered && is.used.saturating_sub(before.was.used) < (at - before.at) / 2;
        is_starved && at - quiet_since < self.pending.stall * STARVED_PATIENCE
    }

    /// Sets the nice level of all its threads. Without privileges it can only be raised, so a viewer's worker starts
    /// at the server's own level and is never given a lower lane first.
    pub fn set_nice(&self, level: i32) {
        if let Err(error) = self.process.set_nice(level) {
            tracing::debug!(pid = self.pid(), level, %error, "cannot set a worker's nice level");
        }
    }

    /// Kills the worker for what it said: `why` is what is wrong with it. For events that are in the protocol but not
    /// in the plan.
    pub async fn reject(mut self, why: String) -> Death {
        self.condemn(Exit::Nonsense(why)).await
    }

    /// Kills the worker, which nobody needs any more, and waits until it is gone.
    pub async fn kill(mut self) -> Death {
        self.condemn(Exit::Dismissed).await
    }

    pub(super) async fn condemn(&mut self, exit: Exit) -> Death {
        self.process.condemn(exit);
        self.death().await
    }

    async fn hung_up(&mut self) -> Death {
        match timeout(GRACE, self.death()).await {
            Ok(death) => death,
            Err(_) => self.condemn(Exit::Nonsense("it closed the line and lived on".to_owned())).await,
        }
    }

    async fn death(&mut self) -> Death {
        match self.death.wait_for(Option::is_some).await {
            Ok(death) => death.clone().expect("as waited for"),
            // Only while the runtime itself is being dropped.
            Err(_) => Death { pid: self.process.pid(), exit: Exit::Dismissed, last_words: String::new() },
        }
    }
}

/// A worker that stands still.
#[derive(Debug)]
pub struct Paused<'a> {
    events: &'a Events,
    since: Instant,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.events.pending.stood_still(self.since.elapsed());
        self.events.process.resume();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.process.condemn(Exit::Dismissed);
    }
}

impl Pending {
    fn asked(&self, request: &Request) {
        let mut due = self.lock();
        let now = Instant::now();
        let mut answers = 1;
        match request {
            // A trial says nothing until all templates are through; the pool limits it as a whole.
            Request::Trial | Request::Open { .. } | Request::Cancel { .. } => return,
            Request::Inspect { .. } => due.inspections.push_back(now),
            Request::Bind(_) | Request::SelfTest { .. } | Request::Parameters { .. } | Request::Segment { .. } => {}
            Request::Picture { .. } => {}
            Request::Segments { jobs, .. } => answers = u32::try_from(jobs.len()).unwrap_or(u32::MAX),
        }
        due.answers += answers;
        if due.answers == answers {
            due.quiet_since = now;
        }
        drop(due);
        self.changed.notify_one();
    }

    fn answered(&self, event: &Event) {
        let mut due = self.lock();
        match event {
            Event::Ready | Event::Trialled(_) | Event::Progress(_) | Event::Samples { .. } => return,
            Event::Inspected(_) => drop(due.inspections.pop_front()),
            Event::Bound | Event::Unbound(_) | Event::SelfTested(_) | Event::Parameters { .. } => {}
            Event::Picture { .. } => {}
            Event::Finished { .. } | Event::Cancelled { .. } | Event::Failed { .. } => {}
        }
        due.answers = due.answers.saturating_sub(1);
    }

    fn heard(&self) {
        self.lock().quiet_since = Instant::now();
    }

    /// It could not say anything meanwhile.
    fn stood_still(&self, time: Duration) {
        self.lock().quiet_since += time;
    }

    fn quiet_since(&self) -> Instant {
        self.lock().quiet_since
    }

    /// When patience ends, and as what; of a worker that stands still, when it is to be looked at next.
    fn limit(&self, look: Option<&Look>) -> Option<(Instant, Exit)> {
        let due = self.lock();
        let span = LOOK.min(self.stall / 3);
        let look = look.filter(|look| look.quiet_since == due.quiet_since);
        let at = look.map_or(due.quiet_since + self.stall - span, |look| look.at + span);
        let stalled = (due.answers > 0).then_some((at, Exit::Stalled(self.stall)));
        let overran = due.inspections.front().map(|at| (*at + self.inspect, Exit::Overran(self.inspect)));
        stalled.into_iter().chain(overran).min_by_key(|(at, _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes requests until nobody can ask any more or the worker is gone.
async fn write_out(
    mut queue: mpsc::Receiver<Vec<u8>>,
    mut socket: OwnedWriteHalf,
    mut death: watch::Receiver<Option<Death>>,
) {
    let write = async {
        while let Some(frame) = queue.recv().await {
            socket.write_all(&frame).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        // What went wrong shows as the worker's death, and there alone.
        _ = write => {}
        _ = death.wait_for(Option::is_some) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pending() -> Pending {
        let due = Due { answers: 0, quiet_since: Instant::now(), inspections: VecDeque::new() };
        Pending { state: Mutex::new(due), changed: Notify::new(), stall: 6 * SECOND, inspect: 20 * SECOND }
    }

    #[tokio::test(start_paused = true)]
    async fn an_inspection_that_never_ends_is_ended_however_busy_it_looks() {
        let pending = pending();
        pending.asked(&Request::Inspect { sidecars: Vec::new() });
        let end = Instant::now() + 20 * SECOND;
        for _ in 0..4 {
            tokio::time::advance(4 * SECOND).await;
            pending.heard();
            pending.answered(&Event::Progress(0));
        }
        assert_eq!(pending.limit(None), Some((end, Exit::Overran(20 * SECOND))));
        pending.answered(&Event::Inspected(Ok(bytes::Bytes::new())));
        assert_eq!(pending.limit(None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_was_looked_at_is_looked_at_again_until_something_is_heard() {
        let pending = pending();
        pending.asked(&Request::SelfTest { neighbour: "/".into() });
        tokio::time::advance(5 * SECOND).await;
        let look = Look { quiet_since: pending.quiet_since(), at: Instant::now(), was: Activity::default() };
        let at = |pending: &Pending| pending.limit(Some(&look)).unwrap().0;
        assert_eq!(at(&pending), Instant::now() + SECOND);
        pending.heard();
        assert_eq!(at(&pending), Instant::now() + 5 * SECOND);
    }

    /// Each pause began its patience anew, and one that hangs was never found.
    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stood_still_has_as_much_patience_left_as_before() {
        let pending = pending();
        pending.asked(&Request::SelfTest { neighbour: "/".into() });
        for _ in 0..2 {
            tokio::time::advance(2 * SECOND).await;
            tokio::time::advance(60 * SECOND).await;
            pending.stood_still(60 * SECOND);
        }
        assert_eq!(pending.limit(None), Some((Instant::now() + SECOND, Exit::Stalled(6 * SECOND))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_may_be_silent_and_is_watched_from_its_next_job_on() {
        let pending = pending();
        tokio::time::advance(60 * SECOND).await;
        assert_eq!(pending.limit(None), None);
        pending.asked(&Request::Cancel { job: 1 });
        assert_eq!(pending.limit(None), None, "nothing is due for it");
        pending.asked(&Request::SelfTest { neighbour: "/".into() });
        assert_eq!(pending.limit(None), Some((Instant::now() + 5 * SECOND, Exit::Stalled(6 * SECOND))));
    }
}

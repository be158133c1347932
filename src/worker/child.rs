//! The far end: `matinee work`. Blocking threads, no runtime.
//!
//! Until it is bound the process has one thread of ours, which reads requests and acts on them: the sandbox can only
//! confine threads that do not exist yet. Once bound that thread goes on reading, and a second one does the jobs in
//! the order they came. It ends when the server hangs up, with the server's death at the latest.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{env, fs, panic, process, thread};

use bytes::Bytes;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde::Serialize;

use super::protocol::{self, Binding, Event, PREFIX_BYTES, Request, Unbound};
use super::{attempts, exit, sandbox, spawn};
use crate::media::{Index, Refusal, Rendition, Sidecar};
use crate::pipeline::{self, Output};

/// Share of the blame the kernel gives a worker when memory runs out, -1000 to 1000: more than the server's.
const OOM_SCORE: &str = "500";

/// Whether a server started this process, and not somebody by hand.
#[must_use]
pub fn is_one() -> bool {
    env::var_os(spawn::PARENT_VARIABLE).is_some()
}

/// Runs until the server hangs up.
#[must_use]
pub fn run() -> ExitCode {
    // A panic on the thread that does the jobs must not leave a process that still answers to its name.
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        #[expect(
            clippy::disallowed_methods,
            reason = "other threads still run; nothing here has a Drop worth waiting for"
        )]
        process::exit(i32::from(exit::PANIC));
    }));
    let link = match attach() {
        Ok(link) => link,
        Err(why) => {
            eprintln!("matinee work: {why}");
            return ExitCode::from(exit::USAGE);
        }
    };
    if let Err(why) = pipeline::warm_up() {
        eprintln!("matinee work: {why}");
        return ExitCode::from(exit::UNAVAILABLE);
    }
    match serve(&link) {
        Ok(()) => ExitCode::SUCCESS,
        // The server hung up while something was being said to it.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("matinee work: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

/// Name and version of the media library this program is linked with, for `matinee doctor`. Initialises nothing.
#[must_use]
pub fn media_library() -> String {
    pipeline::version()
}

/// Ties this process to the server that started it and takes standard input as the line to it.
fn attach() -> Result<UnixStream, String> {
    let server = env::var(spawn::PARENT_VARIABLE).ok().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    let server = server.ok_or("it is not said which server started it")?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| e.to_string())?;
    // It may have died before the line above; its death is not announced then.
    if getppid() != Some(server) {
        return Err("the server is gone".to_owned());
    }
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?);
    link.peer_addr().map_err(|e| format!("standard input is no socket: {e}"))?;
    Ok(link)
}

fn serve(link: &UnixStream) -> io::Result<()> {
    let voice = Arc::new(Voice(Mutex::new(link.try_clone()?)));
    voice.say(&Event::Ready)?;
    let (source, index) = loop {
        match read(link)? {
            None => return Ok(()),
            Some(Request::Trial) => voice.say(&Event::Trialled(pipeline::trial()))?,
            Some(Request::Bind(binding)) => match bind(&binding) {
                Ok(index) => break (binding.source, index),
                Err(why) => {
                    voice.say(&Event::Unbound(why))?;
                    return Ok(());
                }
            },
            Some(_) => return Err(io::Error::other("a request for a bound worker before it was bound")),
        }
    };
    voice.say(&Event::Bound)?;
    let queue = Arc::new(Queue::default());
    let (jobs, speaker) = (queue.clone(), voice.clone());
    thread::Builder::new().name("jobs".to_owned()).spawn(move || do_jobs(&jobs, &speaker, &source, index))?;
    while let Some(request) = read(link)? {
        match request {
            Request::Trial | Request::Bind(_) => {
                return Err(io::Error::other("a request for an unbound worker after it was bound"));
            }
            Request::Cancel { job } => {
                if queue.cancel(job) {
                    voice.say(&Event::Cancelled { job })?;
                }
            }
            request => queue.push(request),
        }
    }
    Ok(())
}

/// Reads the index and closes the sandbox.
fn bind(binding: &Binding) -> Result<Option<Vec<u8>>, Unbound> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| sandbox::cannot_open(path, &error));
    let index = binding.index.as_ref().map(read).transpose()?;
    sandbox::close(binding)?;
    Ok(index)
}

/// The next request, or `None` if the server hung up between two.
fn read(mut link: &UnixStream) -> io::Result<Option<Request>> {
    let mut prefix = [0; PREFIX_BYTES];
    loop {
        match link.read(&mut prefix[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            // A stray signal is no request.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    link.read_exact(&mut prefix[1..])?;
    let length = protocol::body_length(u64::from(u32::from_be_bytes(prefix))).map_err(io::Error::other)?;
    let mut body = vec![0; length];
    link.read_exact(&mut body)?;
    protocol::message(&body).map(Some).map_err(io::Error::other)
}

/// The way to the server, shared by both threads. A server that does not listen blocks who speaks: that is the limit
/// on what a worker holds in memory.
struct Voice(Mutex<UnixStream>);

impl Voice {
    fn say<T: Serialize>(&self, event: &T) -> io::Result<()> {
        let frame = protocol::frame(event).map_err(io::Error::other)?;
        lock(&self.0).write_all(&frame)
    }

    /// For the thread that does the jobs, which has no one to tell that the line is cut.
    fn must_say(&self, event: &Event) {
        if self.say(event).is_err() {
            #[expect(
                clippy::disallowed_methods,
                reason = "the server is gone, and the main thread waits for it to speak"
            )]
            process::exit(0);
        }
    }

    fn tell(&self, job: u64, output: Output) {
        self.must_say(&match output {
            Output::Progress(thousandths) => Event::Progress(thousandths),
            Output::Samples(samples) => Event::Samples { job, samples },
        });
    }
}

/// Requests not done yet. The server sends no more than it has credit for, so no bound here.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    running: Vec<(u64, Arc<AtomicBool>)>,
}

impl Queue {
    fn push(&self, request: Request) {
        lock(&self.state).requests.push_back(request);
        self.arrived.notify_one();
    }

    /// The next request, and what says that a job of it is not wanted any more.
    fn pop(&self) -> (Request, Vec<Arc<AtomicBool>>) {
        let idle = |waiting: &mut Waiting| {
            waiting.running.clear();
            waiting.requests.is_empty()
        };
        let mut waiting = self.arrived.wait_while(lock(&self.state), idle).unwrap_or_else(PoisonError::into_inner);
        let request = waiting.requests.pop_front().expect("not empty, as waited for");
        waiting.running = numbers(&request).into_iter().map(|job| (job, Arc::default())).collect();
        (request, waiting.running.iter().map(|(_, cancel)| cancel.clone()).collect())
    }

    /// True if the job was still waiting and is gone now. A running one is told to stop and says so itself.
    fn cancel(&self, job: u64) -> bool {
        let mut waiting = lock(&self.state);
        if let Some((_, cancel)) = waiting.running.iter().find(|(running, _)| *running == job) {
            cancel.store(true, Ordering::Relaxed);
            return false;
        }
        let mut found = false;
        waiting.requests.retain_mut(|request| {
            found |= numbers(request).contains(&job);
            if let Request::Segments { jobs, .. } = request {
                jobs.retain(|(of, _)| *of != job);
                return !jobs.is_empty();
            }
            !numbers(request).contains(&job)
        });
        found
    }
}

fn numbers(request: &Request) -> Vec<u64> {
    match request {
        Request::Parameters { job, .. } | Request::Segment { job, .. } | Request::Picture { job, .. } => vec![*job],
        Request::Segments { jobs, .. } => jobs.iter().map(|(job, _)| *job).collect(),
        Request::Trial | Request::Bind(_) | Request::SelfTest { .. } | Request::Inspect { .. } => Vec::new(),
        Request::Open { .. } | Request::Cancel { .. } => Vec::new(),
    }
}

fn do_jobs(queue: &Queue, voice: &Voice, source: &Path, mut index: Option<Vec<u8>>) {
    let mut session = Err("no source was opened".to_owned());
    loop {
        let (request, cancels) = queue.pop();
        let unasked = AtomicBool::new(false);
        let cancel: &AtomicBool = cancels.first().map_or(&unasked, |cancel| cancel);
        match request {
            Request::SelfTest { neighbour } => {
                let mut attempts = attempts::all(source, &neighbour);
                attempts.push(attempts::become_another());
                voice.must_say(&Event::SelfTested(attempts));
            }
            Request::Inspect { sidecars } => voice.must_say(&Event::Inspected(inspect(source, &sidecars, voice))),
            Request::Open { templates } => {
                let bytes = index.take().ok_or("the worker was bound without an index".to_owned());
                session = bytes
                    .and_then(|b| {
                        postcard::from_bytes::<Index>(&b).map_err(|e| format!("the index cannot be read: {e}"))
                    })
                    .and_then(|index| pipeline::Session::open(source, &index, &templates).map_err(|e| e.to_string()));
            }
            Request::Parameters { job, rendition } => {
                let config = with(&mut session, |s| s.parameters(&rendition));
                answer(voice, job, config, |config| Event::Parameters { job, config });
            }
            Request::Segment { job, rendition, number } => {
                let finished = with(&mut session, |s| segment(s, job, &rendition, number, cancel, voice));
                answer(voice, job, finished, |f| Event::Finished { job, config: f.config, bridged: f.bridged });
            }
            Request::Segments { jobs, number } => {
                let asked: Vec<(&Rendition, &AtomicBool)> =
                    jobs.iter().map(|(_, rendition)| rendition).zip(cancels.iter().map(|cancel| &**cancel)).collect();
                let mut tell = |at: usize, output| voice.tell(jobs[at].0, output);
                let finished = match &mut session {
                    Ok(session) => session.segments(&asked, number, &mut tell),
                    Err(why) => jobs.iter().map(|_| Err(pipeline::Error::Failed(why.clone()))).collect(),
                };
                for ((job, _), finished) in jobs.iter().zip(finished) {
                    let job = *job;
                    answer(voice, job, finished, |f| Event::Finished { job, config: f.config, bridged: f.bridged });
                }
            }
            Request::Picture { job, picture } => {
                let jpeg = with(&mut session, |s| s.picture(&picture, cancel, &mut |output| voice.tell(job, output)));
                answer(voice, job, jpeg, |jpeg| Event::Picture { job, jpeg: jpeg.into() });
            }
            Request::Trial | Request::Bind(_) | Request::Cancel { .. } => unreachable!("the reader keeps these"),
        }
    }
}

fn inspect(source: &Path, sidecars: &[Sidecar], voice: &Voice) -> Result<Bytes, Refusal> {
    let index = pipeline::inspect(source, sidecars, &mut |output| voice.tell(0, output))?;
    Ok(postcard::to_stdvec(&index).expect("an index is plain data").into())
}

fn segment(
    session: &mut pipeline::Session,
    job: u64,
    rendition: &Rendition,
    number: u32,
    cancel: &AtomicBool,
    voice: &Voice,
) -> Result<pipeline::Finished, pipeline::Error> {
    session.segment(rendition, number, cancel, &mut |output| voice.tell(job, output))
}

fn with<T>(
    session: &mut Result<pipeline::Session, String>,
    work: impl FnOnce(&mut pipeline::Session) -> Result<T, pipeline::Error>,
) -> Result<T, pipeline::Error> {
    work(session.as_mut().map_err(|why| pipeline::Error::Failed(why.clone()))?)
}

fn answer<T>(voice: &Voice, job: u64, outcome: Result<T, pipeline::Error>, event: impl FnOnce(T) -> Event) {
    voice.must_say(&match outcome {
        Ok(value) => event(value),
        Err(pipeline::Error::Cancelled) => Event::Cancelled { job },
        Err(pipeline::Error::Failed(message)) => Event::Failed { job, message },
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

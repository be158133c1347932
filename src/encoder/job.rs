//! One object on one worker: asks for it, packages what comes, checks it against the grid, and stops when nobody needs it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::schedule::{Lane, Slot};
use super::{Error, pause};
use crate::cache::{Flight, Object, Writer};
use crate::media::{Rendition, RenditionKind};
use crate::packager::{Chunker, Tally};
use crate::worker::protocol::{Event, Request};
use crate::worker::{SendError, Worker};

/// A worker that was told to stop has this long to say so; then it is killed.
pub const STOP_TIME: Duration = Duration::from_millis(800);
/// One that warms gets hardly any processor time from those who may wait for it to stop.
const KIND_STOP_TIME: Duration = Duration::from_millis(100);
/// One picture or two frames of sound are encoded for parameter sets. A worker that says it is busy with it for longer is
/// out of its mind, and nobody's leaving would stop it.
const PARAMETERS_TIME: Duration = Duration::from_secs(20);
/// A segment may have this many times the bytes its bandwidth explains, and a fixed amount more: rate control may miss, a
/// worker gone wrong may not fill the memory.
const BYTES_FACTOR: u64 = 8;
const BYTES_EXTRA: u64 = 4 << 20;

/// One object to make.
pub struct Job<'a> {
    pub rendition: &'a Rendition,
    pub object: Object,
    pub chunk_seconds: f64,
    /// Tells what is warmed when to stand still.
    pub crowded: Option<watch::Receiver<bool>>,
}

/// What was made and checked; not committed yet.
pub struct Outcome {
    /// Bytes that were held back until everything was checked, with their offsets.
    pub rest: Vec<(u64, Bytes)>,
    /// The parameter sets of the encoder.
    pub config: Vec<u8>,
    /// Frames that were bridged.
    pub bridged: u32,
    /// It is the init segment.
    pub is_init: bool,
    /// What a worker for viewers took for it, from the request on. A kinder one makes it with what others leave of the cores,
    /// and several at once: how long that takes says nothing.
    pub took: Option<Duration>,
}

/// For whom a job is done.
pub struct Interest<'a> {
    flight: Arc<Flight>,
    slot: &'a Slot,
    lane: Lane,
}

/// Takes a segment's samples and sends its chunks.
pub struct Assembly {
    tally: Tally,
    form: Form,
    at: u64,
    limit: u64,
}

/// What becomes of samples.
enum Form {
    /// Fragments, sent as they fill.
    Cmaf(Chunker),
    /// A document, which is one sample.
    Text(Option<Bytes>),
}

/// Distinguishes the answers to this job from late ones to an earlier.
static JOBS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// A number no other job has.
pub fn number() -> u64 {
    JOBS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// The first of these that somebody waits for.
pub async fn watched<'a>(writers: impl Iterator<Item = &'a Writer>) -> usize {
    let mut all: Vec<_> = writers.map(|writer| Box::pin(writer.flight().watched())).collect();
    poll_fn(|context| {
        let ready = all.iter_mut().position(|one| one.as_mut().poll(context).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Sends a request. That the worker is gone is told as how it died.
pub async fn ask(worker: &mut Worker, request: &Request) -> Result<(), Error> {
    match worker.send(request).await {
        Ok(()) => Ok(()),
        // How it died is what the line says next.
        Err(SendError::Gone) => loop {
            worker.next().await?;
        },
        Err(error) => Err(Error::Job(error.to_string())),
    }
}

/// Stops jobs, and waits until the worker is free for others. Says how that ended: [`Error::Cancelled`], and the worker can
/// be used again.
pub async fn stop(worker: &mut Worker, mut jobs: Vec<u64>, time: Duration) -> Error {
    let stopped = async {
        for job in &jobs {
            ask(worker, &Request::Cancel { job: *job }).await?;
        }
        while !jobs.is_empty() {
            if let Event::Cancelled { job } | Event::Finished { job, .. } | Event::Failed { job, .. } =
                worker.next().await?
            {
                jobs.retain(|left| *left != job);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(time, stopped).await {
        Ok(Ok(())) => Error::Cancelled,
        Ok(Err(error)) => error,
        Err(_) => Error::Stuck,
    }
}

impl<'a> Interest<'a> {
    pub fn new(writer: &Writer, slot: &'a Slot, lane: Lane) -> Self {
        Self { flight: Arc::clone(writer.flight()), slot, lane }
    }

    /// Resolves when the job is to stop. A viewer's is when all of them have left; any other when somebody who waits needs
    /// its slot, or `called` resolves. What is made ahead is a viewer's from the moment that one joins; warming stops then,
    /// because its worker is too kind to be a viewer's. May be cancelled and called again.
    pub async fn lost(&mut self, called: impl Future<Output = ()>) {
        let mut called = pin!(called);
        while self.lane != Lane::Viewer {
            tokio::select! {
                biased;
                () = self.flight.watched() => {
                    if self.lane == Lane::Warm {
                        return;
                    }
                    self.joined();
                }
                () = self.slot.wanted.notified() => return,
                () = &mut called => return,
            }
        }
        self.flight.unwatched().await;
    }

    /// True if a viewer waits for it, or has.
    pub fn is_viewers(&self) -> bool {
        self.lane == Lane::Viewer
    }

    /// A viewer has come: it is theirs, and nobody else's need ends it any more.
    pub fn joined(&mut self) {
        self.lane = Lane::Viewer;
        self.slot.promote();
    }
}

impl Job<'_> {
    /// Makes it, or stops when `lost` resolves. On [`Error::Cancelled`] and on success the worker can be used again.
    pub async fn run(
        &self,
        worker: &mut Worker,
        writer: &mut Writer,
        mut lost: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Outcome, Error> {
        let (job, since) = (number(), Instant::now());
        let rendition = Box::new(self.rendition.clone());
        let request = match self.object {
            Object::Init => Request::Parameters { job, rendition },
            Object::Segment(number) => Request::Segment { job, rendition, number },
            Object::Iframe(_) => return Err(Error::Job("pictures are carved, not encoded".into())),
        };
        ask(worker, &request).await?;
        let Object::Segment(number) = self.object else { return self.parameters(worker, job, since).await };
        let mut assembly = Assembly::new(self.rendition, number, self.chunk_seconds)?;
        let mut crowded = self.crowded.clone();
        loop {
            let next = async {
                match &mut crowded {
                    Some(crowded) => pause::next(worker, crowded).await,
                    None => worker.next().await.map(Some),
                }
            };
            let event = tokio::select! {
                event = next => event?,
                () = &mut lost => None,
            };
            let Some(event) = event else {
                let time = if crowded.is_some() { KIND_STOP_TIME } else { STOP_TIME };
                return Err(stop(worker, vec![job], time).await);
            };
            match event {
                Event::Samples { job: of, samples } if of == job => {
                    samples.into_iter().try_for_each(|sample| assembly.take(writer, sample))?;
                }
                Event::Finished { job: of, config, bridged } if of == job => {
                    let rest = assembly.end()?;
                    return Ok(Outcome { rest, config, bridged, is_init: false, took: Some(since.elapsed()) });
                }
                Event::Failed { job: of, message } if of == job => return Err(Error::Job(message)),
                // Heartbeats, and late answers to a job that was cancelled.
                _ => {}
            }
        }
    }

    async fn parameters(&self, worker: &mut Worker, job: u64, since: Instant) -> Result<Outcome, Error> {
        let answer = async {
            loop {
                match worker.next().await? {
                    Event::Parameters { job: of, config } if of == job => return Ok(config),
                    Event::Failed { job: of, message } if of == job => return Err(Error::Job(message)),
                    _ => {}
                }
            }
        };
        let late = || Error::Job(format!("no parameter sets after {} s", PARAMETERS_TIME.as_secs()));
        let config = tokio::time::timeout(PARAMETERS_TIME, answer).await.map_err(|_| late())??;
        let init = crate::packager::init(self.rendition, &config)?;
        Ok(Outcome { rest: vec![(0, init)], config, bridged: 0, is_init: true, took: Some(since.elapsed()) })
    }
}

impl Assembly {
    pub fn new(rendition: &Rendition, number: u32, chunk_seconds: f64) -> Result<Self, Error> {
        let Some((from, _)) = rendition.grid.segment(number) else {
            return Err(Error::Job(format!("there is no segment {number}")));
        };
        let timescale = rendition.grid.timescale();
        let chunk_ticks = timescale.ticks(chunk_seconds).max(1).cast_unsigned();
        let per_second = rendition.bandwidth * BYTES_FACTOR / 8;
        Ok(Self {
            tally: Tally::new(rendition, number)?,
            form: match rendition.kind {
                RenditionKind::Video(_) | RenditionKind::Audio(_) => {
                    Form::Cmaf(Chunker::new(number, from.at, chunk_ticks))
                }
                RenditionKind::Text(_) => Form::Text(None),
            },
            at: 0,
            limit: BYTES_EXTRA + per_second * rendition.grid.ticks(number).div_ceil(u64::from(timescale.get())),
        })
    }

    pub fn take(&mut self, writer: &mut Writer, sample: crate::media::Sample) -> Result<(), Error> {
        self.tally.push(&sample)?;
        match &mut self.form {
            Form::Cmaf(chunker) => match chunker.push(sample) {
                Some(chunk) => self.send(writer, chunk),
                None => Ok(()),
            },
            Form::Text(_) if sample.data.len() as u64 > self.limit => Err(Error::TooLarge(self.limit)),
            Form::Text(document) => {
                *document = Some(crate::packager::text(sample.data)?);
                Ok(())
            }
        }
    }

    fn send(&mut self, writer: &mut Writer, chunk: Bytes) -> Result<(), Error> {
        let at = self.at;
        self.at += chunk.len() as u64;
        if self.at > self.limit {
            return Err(Error::TooLarge(self.limit));
        }
        Ok(writer.offer(at, chunk)?)
    }

    /// The last chunk is held back until the whole has been checked, so that a segment that fails is never complete.
    pub fn end(self) -> Result<Vec<(u64, Bytes)>, Error> {
        self.tally.finish()?;
        let last = match self.form {
            Form::Cmaf(chunker) => chunker.finish(),
            Form::Text(document) => document,
        };
        let last = last.map(|chunk| (self.at, chunk));
        Ok(last.into_iter().collect())
    }
}

//! Workers that only take the time of a machine.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use matinee::media::{Plan, Rendition, RenditionKind, Sample};
use matinee::worker::protocol::{Event, Request, frame, unframe};
use matinee::worker::{StandIn, Tied};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval};

use crate::SCALE;
use crate::films::{bytes, seconds};
use crate::machine::Machine;

/// CPU seconds for a second of 1080p24 (H.264, 6 Mb/s), as measured on two cores: decoding it; and scaling and encoding it for
/// pictures of so many lines.
const DECODE: f64 = 0.20;
const ENCODE: [(u32, f64); 6] = [(1080, 0.70), (720, 0.36), (480, 0.19), (360, 0.11), (240, 0.06), (144, 0.05)];
/// CPU seconds to begin somewhere: a decoder, from the key frame before; and for parameter sets.
pub const BEGIN: f64 = 0.5;
const PARAMETERS: f64 = 0.1;
/// Parts of a segment that are sent as they are made.
pub const PARTS: usize = 8;
/// A worker says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Bytes of boxes around a segment's samples, and around each: what a segment has is scaled, these are not.
const BOXES: u64 = 900;
const BOXES_OF_SAMPLE: u64 = 16;

/// CPU seconds of a segment from one decode.
pub fn cost<'a>(renditions: impl IntoIterator<Item = &'a Rendition>, number: u32) -> f64 {
    let mut all = 0.0;
    let mut length = 0.0;
    for of in renditions {
        let lines = of.video().map_or(0, |video| video.height);
        let known = ENCODE.iter().find(|(height, _)| *height == lines);
        all += known.unwrap_or_else(|| panic!("the ladder has no {lines}p")).1;
        length = seconds(of, number);
    }
    (DECODE + all) * length
}

/// CPU seconds of all segments of all renditions.
pub fn eager(plan: &Plan) -> f64 {
    (0..plan.renditions[0].grid.segments()).map(|number| cost(&plan.renditions, number)).sum()
}

pub fn workers(machine: &Machine) -> StandIn {
    let machine = machine.clone();
    StandIn(Arc::new(move |line, tied| {
        let line = Line { socket: line, buffer: BytesMut::new() };
        let worker = Worker { line, tied, machine: machine.clone(), waiting: VecDeque::new(), stands: None };
        Box::pin(async { worker.serve().await.unwrap_or_default() })
    }))
}

struct Worker {
    line: Line,
    tied: Arc<Tied>,
    machine: Machine,
    waiting: VecDeque<Request>,
    /// The segment before which its decoder stands.
    stands: Option<u32>,
}

struct Line {
    socket: UnixStream,
    buffer: BytesMut,
}

/// The server has hung up.
struct HungUp;

impl Worker {
    /// `None` once the server hangs up.
    async fn serve(mut self) -> Option<()> {
        loop {
            let request = match self.waiting.pop_front() {
                Some(request) => request,
                None => self.line.hear().await.ok()?,
            };
            match request {
                Request::Bind(_) => self.line.say(&Event::Bound).await.ok()?,
                Request::Open { .. } | Request::Cancel { .. } => {}
                Request::Parameters { job, rendition } => {
                    self.machine.work(PARAMETERS, self.tied.nice(), self.tied.paused()).await;
                    self.line.say(&Event::Parameters { job, config: config(&rendition) }).await.ok()?;
                }
                Request::Segment { job, rendition, number } => {
                    self.encode(vec![(job, *rendition)], number).await.ok()?;
                }
                Request::Segments { jobs, number } => self.encode(jobs, number).await.ok()?,
                other => panic!("nobody asks for {other:?} here"),
            }
        }
    }

    async fn encode(&mut self, mut jobs: Vec<(u64, Rendition)>, number: u32) -> Result<(), HungUp> {
        let begin = if self.stands == Some(number) { 0.0 } else { BEGIN };
        self.stands = None;
        for part in 0..PARTS {
            let cost = cost(jobs.iter().map(|(_, of)| of), number) / PARTS as f64;
            let cost = if part == 0 { cost + begin } else { cost };
            self.work(cost, &mut jobs).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for (job, of) in &jobs {
                let mut samples = samples(of, number);
                let frames = samples.len();
                let samples: Vec<Sample> = samples.drain(frames * part / PARTS..frames * (part + 1) / PARTS).collect();
                if !samples.is_empty() {
                    self.line.say(&Event::Samples { job: *job, samples }).await?;
                }
            }
        }
        for (job, of) in jobs {
            self.line.say(&Event::Finished { job, config: config(&of), bridged: 0 }).await?;
        }
        self.stands = Some(number + 1);
        Ok(())
    }

    /// Works on while anybody wants it.
    async fn work(&mut self, cost: f64, jobs: &mut Vec<(u64, Rendition)>) -> Result<(), HungUp> {
        let mut work = pin!(self.machine.work(cost, self.tied.nice(), self.tied.paused()));
        let paused = self.tied.paused();
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        while !jobs.is_empty() {
            tokio::select! {
                () = &mut work => return Ok(()),
                _ = heartbeat.tick(), if !*paused.borrow() => self.line.say(&Event::Progress(0)).await?,
                heard = self.line.hear() => match heard? {
                    Request::Cancel { job } => {
                        jobs.retain(|(of, _)| *of != job);
                        self.line.say(&Event::Cancelled { job }).await?;
                    }
                    other => self.waiting.push_back(other),
                },
            }
        }
        Ok(())
    }
}

impl Line {
    /// May be cancelled.
    async fn hear(&mut self) -> Result<Request, HungUp> {
        loop {
            if let Some(request) = unframe(&mut self.buffer).expect("the server speaks the protocol") {
                return Ok(request);
            }
            if !matches!(self.socket.read_buf(&mut self.buffer).await, Ok(1..)) {
                return Err(HungUp);
            }
        }
    }

    async fn say(&mut self, event: &Event) -> Result<(), HungUp> {
        let frame = frame(event).expect("it is small");
        self.socket.write_all(&frame).await.map_err(|_| HungUp)
    }
}

/// An `avcC` record of what the playlist says.
fn config(of: &Rendition) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&of.codecs[at..at + 2], 16).expect("avc1. and three bytes");
    let [profile, constraints, level] = [5, 7, 9].map(byte);
    let sets = [0xE1, 0, 4, 0x67, profile, constraints, level, 1, 0, 1, 0x68];
    [&[1, profile, constraints, level, 0xFF][..], &sets].concat()
}

/// Frames without pictures, of about as many bytes as the segment would have.
fn samples(of: &Rendition, number: u32) -> Vec<Sample> {
    assert!(matches!(of.kind, RenditionKind::Video(_)), "films have no sound");
    let (frames, ticks) = (of.grid.frames(number), of.grid.ticks(number));
    let boxes = BOXES + frames * BOXES_OF_SAMPLE;
    let data = (bytes(of, number) / SCALE).saturating_sub(boxes) / frames;
    let sample = |n: u64| {
        let size = data.max(5);
        let mut unit = vec![0; usize::try_from(size).expect("small")];
        unit[..4].copy_from_slice(&u32::try_from(size - 4).expect("small").to_be_bytes());
        // A slice of an IDR picture, or of another.
        unit[4] = if n == 0 { 0x65 } else { 0x41 };
        let duration = u32::try_from(ticks * (n + 1) / frames - ticks * n / frames).expect("a frame is short");
        Sample { duration, composition: 0, sync: n == 0, data: Bytes::from(unit) }
    };
    (0..frames).map(sample).collect()
}

//! What server and worker say to each other: length-delimited `postcard` frames over a Unix socket pair, which is the
//! worker's standard input. The server trusts nothing a worker says: every frame has a size limit, and what it
//! describes is checked against the plan before it is used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::media::{Refusal, Rendition, Sample, Templates, Trial};

/// Largest frame either side accepts, bytes: the index of a ten-hour film at 60 frames per second stays below it,
/// a lying length prefix does not make anyone allocate more.
pub const MAX_FRAME_BYTES: usize = 256 << 20;

/// From the server to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Run every pipeline template once on a test signal; only before [`Request::Bind`]. Answer: [`Event::Trialled`].
    Trial,
    /// Give up all privileges but reading this one file. Answer: [`Event::Bound`]. Everything below needs it.
    Bind(Binding),
    /// Try what a bound worker must not be able to do. Answer: [`Event::SelfTested`].
    SelfTest,
    /// Find tracks and packets of the source. Answer: [`Event::Progress`]..., [`Event::Inspected`].
    Inspect,
    /// Take the index of the source, and the templates to encode with. No answer.
    Open {
        /// A [`crate::media::Index`], `postcard`.
        index: Vec<u8>,
        /// Templates by name.
        templates: Templates,
    },
    /// Make a rendition's parameter sets. Answer: [`Event::Parameters`].
    Parameters {
        /// Echoed in the answer.
        job: u64,
        /// Which rendition.
        rendition: Box<Rendition>,
    },
    /// Make a segment. Answer: [`Event::Samples`]..., then [`Event::Finished`]. Jobs run in the order they come; one that
    /// continues where the last one ended costs no new decoder.
    Segment {
        /// Echoed in the answers.
        job: u64,
        /// Which rendition.
        rendition: Box<Rendition>,
        /// Which segment of it.
        number: u32,
    },
    /// Stop that job, whether it runs or waits. Answer: [`Event::Cancelled`], unless it ended before.
    Cancel {
        /// The job's number.
        job: u64,
    },
}

/// The one file a worker may read, and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The source file.
    pub source: PathBuf,
    /// `RLIMIT_DATA`, bytes.
    pub memory_bytes: u64,
    /// Device files the chosen templates need, such as a GPU's.
    pub devices: Vec<PathBuf>,
}

/// From a worker to the server.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// GStreamer is initialised and its plugins are loaded.
    Ready,
    /// What became of each template, in the order tried.
    Trialled(Vec<Trial>),
    /// The sandbox is closed and the source open.
    Bound,
    /// Each forbidden act and what became of it.
    SelfTested(Vec<Attempt>),
    /// Work goes on; keeps the watchdog quiet. Thousandths done, if known.
    Progress(u16),
    /// A [`crate::media::Index`], `postcard`, or why there is none.
    Inspected(Result<Vec<u8>, Refusal>),
    /// A rendition's parameter sets: an `avcC` record or an `AudioSpecificConfig`.
    Parameters {
        /// The request's number.
        job: u64,
        /// The record.
        config: Vec<u8>,
    },
    /// The next samples of a segment, in decode order.
    Samples {
        /// The request's number.
        job: u64,
        /// At least one.
        samples: Vec<Sample>,
    },
    /// A segment is complete.
    Finished {
        /// The request's number.
        job: u64,
        /// Parameter sets the encoder used.
        config: Vec<u8>,
        /// Frames that could not be decoded and were replaced by their neighbour or by silence.
        bridged: u32,
    },
    /// A job was cancelled.
    Cancelled {
        /// The request's number.
        job: u64,
    },
    /// A job failed; the worker lives on.
    Failed {
        /// The request's number.
        job: u64,
        /// What happened, for the log.
        message: String,
    },
}

/// One act that the sandbox must forbid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried: `open another file`.
    pub act: String,
    /// The error it met, or `None` if it succeeded, which is a fault.
    pub refused: Option<String>,
}

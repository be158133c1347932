//! What server and worker say to each other: length-delimited `postcard` frames over a Unix socket pair, which is the
//! worker's standard input. The server trusts nothing a worker says: every frame has a size limit, and what it
//! describes is checked against the plan before it is used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::media::{Rendition, Sample};

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

/// The templates chosen for each job, by file name without extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Templates {
    /// H.264 encoder.
    pub video: String,
    /// AAC encoder.
    pub audio: String,
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

/// What became of a template at its trial encode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The template's name.
    pub name: String,
    /// What it encodes to: `h264` or `aac`.
    pub codec: String,
    /// Preference; the highest that works is used.
    pub rank: i32,
    /// Device files it needs in the sandbox.
    pub devices: Vec<PathBuf>,
    /// SHA-256 over the template's text and the bytes it produced, or why it cannot be used.
    pub outcome: Result<[u8; 32], String>,
}

/// One act that the sandbox must forbid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried: `open another file`.
    pub act: String,
    /// The error it met, or `None` if it succeeded, which is a fault.
    pub refused: Option<String>,
}

/// Why a file cannot become a title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable word for programs.
    pub code: RefusalCode,
    /// A sentence for people: what is wrong and what to do.
    pub message: String,
}

/// Stable words for refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Nothing in it.
    Empty,
    /// Not a container GStreamer knows.
    NotMedia,
    /// A container whose structure is broken.
    Damaged,
    /// No track that can be played.
    NoPlayableTrack,
    /// No decoder is installed.
    UnsupportedCodec,
    /// Protected, and the key is not ours.
    Encrypted,
    /// Larger than a limit: picture size, number of packets, duration.
    TooLarge,
}

impl RefusalCode {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotMedia => "not_media",
            Self::Damaged => "damaged",
            Self::NoPlayableTrack => "no_playable_track",
            Self::UnsupportedCodec => "unsupported_codec",
            Self::Encrypted => "encrypted",
            Self::TooLarge => "too_large",
        }
    }
}

//! What server and worker say to each other: length-delimited `postcard` frames over a Unix socket pair, which is the
//! worker's standard input. The server trusts nothing a worker says: every frame has a size limit, and what it
//! describes is checked against the plan before it is used.
//!
//! A frame is its body's length as four bytes, big-endian, and the body. No frame is empty.

use std::path::PathBuf;

use bytes::{Buf, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::Sandbox;
use crate::media::{Picture, Refusal, Rendition, Sample, Sidecar, Templates, Trial};

/// Largest frame either side accepts, bytes: the index of a ten-hour film at 60 frames per second stays below it,
/// a lying length prefix does not make anyone allocate more.
pub const MAX_FRAME_BYTES: usize = 256 << 20;

/// Bytes of a frame's length prefix.
pub(super) const PREFIX_BYTES: usize = 4;

/// From the server to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Run every pipeline template once on a test signal; only before [`Request::Bind`]. Answer: [`Event::Trialled`].
    Trial,
    /// Give up all privileges but reading this one file. Answer: [`Event::Bound`] or [`Event::Unbound`].
    /// Everything below needs it.
    Bind(Binding),
    /// Try what a bound worker must not be able to do. Answer: [`Event::SelfTested`].
    SelfTest {
        /// Another file, which the server can read.
        neighbour: PathBuf,
    },
    /// Find tracks and packets of the source. Answer: [`Event::Progress`]..., [`Event::Inspected`].
    Inspect {
        /// Subtitle files that lay beside it; the sandbox lets the worker read the source alone.
        sidecars: Vec<Sidecar>,
    },
    /// Take the templates to encode with, and the index that was read at the binding. No answer.
    Open {
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
    /// Make the same segment of several video renditions from one decode. Answers: as to a [`Request::Segment`] for each,
    /// with the same bytes.
    Segments {
        /// Renditions that are encoded, each with the number that is echoed in its answers.
        jobs: Vec<(u64, Rendition)>,
        /// Which segment of them.
        number: u32,
    },
    /// Make a poster or a sheet of thumbnails. Answer: [`Event::Progress`]..., [`Event::Picture`].
    Picture {
        /// Echoed in the answer.
        job: u64,
        /// Which picture.
        picture: Picture,
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
    /// Its [`crate::media::Index`], `postcard`, if it has one yet: read before the sandbox closes, so it is not one more file the
    /// worker may open.
    pub index: Option<PathBuf>,
    /// `RLIMIT_DATA`, bytes: heap, thread stacks and the libraries' own data together.
    pub memory_bytes: u64,
    /// What to do on a kernel that cannot close the sandbox.
    pub sandbox: Sandbox,
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
    /// The sandbox is closed and the source can be read.
    Bound,
    /// The binding failed; the worker is good for nothing any more.
    Unbound(Unbound),
    /// Each forbidden act and what became of it.
    SelfTested(Vec<Attempt>),
    /// Work goes on; keeps the watchdog quiet. Thousandths done, if known.
    Progress(u16),
    /// A [`crate::media::Index`], `postcard`, or why there is none.
    Inspected(Result<Bytes, Refusal>),
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
    /// A picture is complete.
    Picture {
        /// The request's number.
        job: u64,
        /// A JPEG file; empty if the source holds no such picture.
        jpeg: Bytes,
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

/// Why a worker could not be bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unbound {
    /// The sandbox cannot be closed: what is missing, and what to do.
    Sandbox(String),
    /// The source cannot be opened.
    Source(String),
}

/// One act that the sandbox must forbid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried: `open another file`.
    pub act: String,
    /// The refusal it met, or `None` if nothing forbade it, which is a fault.
    pub refused: Option<String>,
}

/// Why bytes are not a frame.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is zero or above [`MAX_FRAME_BYTES`].
    #[error("a frame of {bytes} bytes, where 1 to {MAX_FRAME_BYTES} are allowed")]
    Length {
        /// As announced.
        bytes: usize,
    },
    /// The body is no message, or holds more than one.
    #[error("a frame of {bytes} bytes that is no message: {reason}")]
    Body {
        /// The body's length.
        bytes: usize,
        /// What `postcard` says.
        reason: String,
    },
}

/// A message as a frame.
///
/// # Errors
/// [`FrameError::Length`] for one that is too large.
pub fn frame<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = |error: postcard::Error| FrameError::Body { bytes: 0, reason: error.to_string() };
    let mut frame = postcard::to_extend(message, vec![0; PREFIX_BYTES]).map_err(body)?;
    let length = body_length((frame.len() - PREFIX_BYTES) as u64)?;
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_FRAME_BYTES")]
    frame[..PREFIX_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// Takes the first frame off `buffer`, or `None` if it is not complete yet. Reserves nothing on the word of a prefix.
///
/// # Errors
/// [`FrameError`]; the stream cannot be read any further then.
pub fn unframe<T: DeserializeOwned>(buffer: &mut BytesMut) -> Result<Option<T>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = body_length(u64::from(u32::from_be_bytes(*prefix)))?;
    if buffer.len() - PREFIX_BYTES < length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    message(&buffer.split_to(length)).map(Some)
}

/// A frame's body as a message.
///
/// # Errors
/// [`FrameError::Body`].
pub(super) fn message<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let error = |reason: String| FrameError::Body { bytes: body.len(), reason };
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(error(format!("{} bytes left over", rest.len()))),
        Err(e) => Err(error(e.to_string())),
    }
}

/// A length that a frame may have.
///
/// # Errors
/// [`FrameError::Length`].
pub(super) fn body_length(bytes: u64) -> Result<usize, FrameError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if (1..=MAX_FRAME_BYTES).contains(&bytes) { Ok(bytes) } else { Err(FrameError::Length { bytes }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_body_arrives() {
        for length in [0, u32::try_from(MAX_FRAME_BYTES).unwrap() + 1, u32::MAX] {
            let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
            let error = unframe::<Event>(&mut buffer).unwrap_err();
            assert_eq!(error, FrameError::Length { bytes: length as usize });
        }
    }

    #[test]
    fn a_frame_with_something_behind_its_message_is_refused() {
        let mut bytes = frame(&Event::Ready).unwrap();
        bytes[3] += 1;
        bytes.push(0);
        assert!(matches!(unframe::<Event>(&mut BytesMut::from(&bytes[..])), Err(FrameError::Body { bytes: 2, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_an_error_but_never_a_panic(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = unframe::<Event>(&mut buffer) {}
        }

        #[test]
        fn any_body_is_an_event_or_an_error_but_never_a_panic(body in proptest::collection::vec(any::<u8>(), 1..200)) {
            let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend_from_slice(&body);
            let _ = unframe::<Event>(&mut BytesMut::from(&bytes[..]));
        }

        #[test]
        fn frames_survive_being_cut_anywhere(data: Vec<u8>, job: u64, cut: prop::sample::Index) {
            let sample = Sample { duration: 1, composition: -1, sync: true, data: Bytes::from(data.clone()) };
            let bytes = [
                frame(&Event::Samples { job, samples: vec![sample.clone()] }).unwrap(),
                frame(&Event::Cancelled { job }).unwrap(),
            ].concat();
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for part in [&bytes[..cut.index(bytes.len())], &bytes[cut.index(bytes.len())..]] {
                buffer.extend_from_slice(part);
                while let Some(event) = unframe::<Event>(&mut buffer).unwrap() {
                    seen.push(event);
                }
            }
            let [Event::Samples { job: first, samples }, Event::Cancelled { job: second }] = &seen[..] else {
                panic!("{seen:?}")
            };
            prop_assert_eq!((*first, *second, samples), (job, job, &vec![sample]));
            prop_assert!(buffer.is_empty());
        }
    }
}

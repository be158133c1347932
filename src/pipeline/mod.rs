//! The only room that says `gst`. Runs inside a worker, never in the server process; reached from `worker/child.rs` alone.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::media::{Index, Refusal, Rendition, Sample, Templates, Trial};

/// What a running job tells.
#[derive(Debug)]
pub enum Output {
    /// Work goes on; thousandths done, if known, else 0.
    Progress(u16),
    /// The next samples in decode order.
    Samples(Vec<Sample>),
}

/// How a segment ended.
#[derive(Debug)]
pub struct Finished {
    /// Parameter sets the encoder used: an `avcC` record or an `AudioSpecificConfig`.
    pub config: Vec<u8>,
    /// Frames replaced by their neighbour or by silence.
    pub bridged: u32,
}

/// Why a job ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was told to stop.
    #[error("cancelled")]
    Cancelled,
    /// A pipeline failed.
    #[error("{0}")]
    Failed(String),
}

/// Initialises GStreamer and loads every plugin that may be needed, so that nothing but the source is opened later.
///
/// # Errors
/// A sentence naming what is missing.
pub fn warm_up() -> Result<(), String> {
    Ok(())
}

/// Runs every template once on a test signal.
#[must_use]
pub fn trial() -> Vec<Trial> {
    Vec::new()
}

/// Finds tracks and packets.
///
/// # Errors
/// Why the file is not taken.
pub fn inspect(_source: &Path, _emit: &mut dyn FnMut(Output)) -> Result<Index, Refusal> {
    unimplemented!()
}

/// A source open for encoding.
pub struct Session {}

impl Session {
    /// Opens the source for encoding with these templates.
    ///
    /// # Errors
    /// What could not be opened.
    pub fn open(_source: &Path, _index: Index, _templates: &Templates) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// A rendition's parameter sets.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn parameters(&mut self, _rendition: &Rendition) -> Result<Vec<u8>, Error> {
        unimplemented!()
    }

    /// Makes one segment. Continues without a new decoder if it follows the one made last.
    ///
    /// # Errors
    /// [`Error::Cancelled`] soon after `cancel` becomes true.
    pub fn segment(
        &mut self,
        _rendition: &Rendition,
        _number: u32,
        _cancel: &AtomicBool,
        _emit: &mut dyn FnMut(Output),
    ) -> Result<Finished, Error> {
        unimplemented!()
    }
}

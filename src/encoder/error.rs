//! What can go wrong while something is made.

use crate::cache::{FlightError, Mismatch};
use crate::worker::{self, Death};

/// Why there is no segment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No template encodes this on this host.
    #[error("nothing on this host encodes {codec}: run `matinee doctor` to see why")]
    NoTemplate {
        /// `h264`, `aac` or `jpeg`.
        codec: &'static str,
    },
    /// The source file or its index is gone.
    #[error("the source cannot be opened: {0}")]
    Source(String),
    /// No worker could be had.
    #[error("no worker: {0}")]
    Worker(#[from] worker::Error),
    /// The worker died.
    #[error("{0}")]
    Died(#[from] Death),
    /// The worker said that it failed.
    #[error("the worker failed: {0}")]
    Job(String),
    /// What came back is not what the grid says.
    #[error("the segment is not what the timeline says: {0}")]
    Check(#[from] crate::packager::Error),
    /// The second attempt made other bytes than the first had sent.
    #[error("a second attempt made other bytes: {0}")]
    Mismatch(#[from] Mismatch),
    /// Another encoder, driver or setting made this segment than the init segment was made for.
    #[error("the encoder's parameter sets differ from those of the init segment")]
    Parameters,
    /// What came back is not the picture that was asked for.
    #[error("{0}")]
    Picture(#[from] crate::packager::NotThePicture),
    /// A picture took longer than any should.
    #[error("the picture was not made within {seconds} s")]
    TooSlow {
        /// The bound.
        seconds: u64,
    },
    /// Far more bytes than the rendition's bandwidth explains.
    #[error("the segment has more than {0} bytes")]
    TooLarge(u64),
    /// This source killed too many workers lately.
    #[error("{0}")]
    Quarantined(#[from] worker::Quarantined),
    /// Nobody waits for it any more, or a viewer needs the slot.
    #[error("cancelled")]
    Cancelled,
    /// The same, but the worker did not stop when it was told to, and was killed.
    #[error("cancelled; the worker did not stop and was killed")]
    Stuck,
}

impl Error {
    /// What those who wait are told.
    #[must_use]
    pub fn flight(&self) -> FlightError {
        match self {
            Self::Quarantined(quarantined) => {
                let seconds = u32::try_from(quarantined.remaining.as_secs()).unwrap_or(u32::MAX);
                FlightError::LeftAlone { retry_after_seconds: seconds.saturating_add(1) }
            }
            Self::Worker(error) if error.is_shortage() => FlightError::NoWorker { message: self.to_string().into() },
            _ => FlightError::failed(self.to_string()),
        }
    }

    /// May another attempt on a fresh worker succeed?
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Died(death) => death.exit.is_retryable(),
            Self::Worker(error) => error.is_retryable(),
            Self::Job(_) | Self::Check(_) | Self::Picture(_) => true,
            Self::NoTemplate { .. }
            | Self::Source(_)
            | Self::Mismatch(_)
            | Self::Parameters
            | Self::TooSlow { .. }
            | Self::TooLarge(_)
            | Self::Quarantined(_)
            | Self::Cancelled
            | Self::Stuck => false,
        }
    }
}

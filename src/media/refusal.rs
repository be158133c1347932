//! Why a file is not taken.

use serde::{Deserialize, Serialize};

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

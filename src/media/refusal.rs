//! Why a file is not taken.

use serde::{Deserialize, Serialize};

/// Longest title, seconds: a week. A few bytes can claim any length, and a plan takes memory for each second of it.
pub const MOST_SECONDS: u32 = 7 * 24 * 3600;

/// Why a file cannot become a title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable word for programs.
    pub code: RefusalCode,
    /// A sentence for people: what is wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// A track of it goes on for longer than [`MOST_SECONDS`].
    #[must_use]
    pub fn too_long() -> Self {
        let days = MOST_SECONDS / 86_400;
        let message = format!("the file says that it lasts longer than {days} days: its times are wrong, or cut it up");
        Self { code: RefusalCode::TooLarge, message }
    }
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

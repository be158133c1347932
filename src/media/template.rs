//! What is known of a pipeline template outside the pipeline room.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The templates chosen for each job, by file name without extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Templates {
    /// H.264 encoder.
    pub video: String,
    /// AAC encoder.
    pub audio: String,
    /// JPEG encoder.
    pub picture: String,
}

/// What became of a template at its trial encode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The template's name.
    pub name: String,
    /// What it encodes to: `h264`, `aac` or `jpeg`.
    pub codec: String,
    /// Preference; the highest that works is used.
    pub rank: i32,
    /// Device files it needs in the sandbox.
    pub devices: Vec<PathBuf>,
    /// SHA-256 over the template's text and the bytes it produced, or why it cannot be used.
    pub outcome: Result<[u8; 32], String>,
}

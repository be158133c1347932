//! Why an upload cannot go on as asked.

use crate::ingest;

/// Why an upload cannot go on as asked. Unless it says otherwise, what was received stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of this name.
    #[error("there is no such upload, or it ended long ago: begin a new one")]
    Unknown,
    /// Nothing came for too long.
    #[error("nothing came for so long that the upload was given up: begin a new one")]
    Expired,
    /// The bytes would not follow those that are there.
    #[error("{offset_bytes} bytes are there, so that is where the next must begin")]
    Offset {
        /// So many.
        offset_bytes: u64,
    },
    /// More than was announced.
    #[error("the upload was announced with {length_bytes} bytes, and these would be more")]
    TooLong {
        /// So many.
        length_bytes: u64,
    },
    /// Its length was said before.
    #[error("the upload was announced with {length_bytes} bytes, and a length cannot change")]
    Length {
        /// So many.
        length_bytes: u64,
    },
    /// Another request has it and does not let go.
    #[error("another request is busy with this upload: try again in a moment")]
    Locked,
    /// A newer request has it now.
    #[error("a newer request for this upload took over")]
    Superseded,
    /// It is put together of others, and takes no bytes itself.
    #[error("this upload is put together of others and takes no bytes")]
    Final,
    /// What is to be put together is not all there.
    #[error("{id} is not a finished partial upload: finish it first, or leave it out")]
    Part {
        /// As named.
        id: String,
    },
    /// There are too many.
    #[error("{limit} uploads are open already: finish or remove some, or try again later")]
    TooMany {
        /// `uploads.max_open`.
        limit: usize,
    },
    /// What can befall any film.
    #[error(transparent)]
    Film(#[from] ingest::Error),
}

impl Error {
    /// True if the same may succeed later without its sender doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Locked | Self::TooMany { .. } => true,
            Self::Film(error) => error.is_retryable(),
            Self::Unknown
            | Self::Expired
            | Self::Offset { .. }
            | Self::TooLong { .. }
            | Self::Length { .. }
            | Self::Superseded
            | Self::Final
            | Self::Part { .. } => false,
        }
    }
}

impl From<crate::library::Error> for Error {
    fn from(error: crate::library::Error) -> Self {
        Self::Film(error.into())
    }
}

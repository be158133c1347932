//! What the errors of the rooms below are to whoever asked.

use http::HeaderName;
use http::header::RETRY_AFTER;

use super::{BUSY_RETRY_SECONDS, Kind, Problem};
use crate::ingest::resume;
use crate::media::Exceeded;
use crate::{cache, catalog, ingest, library, outbound};

impl From<ingest::Error> for Problem {
    fn from(error: ingest::Error) -> Self {
        use ingest::Error as E;
        match error {
            E::Refused { .. } => Self::new(Kind::Empty, error.to_string()),
            E::TooLarge { .. } => Self::new(Kind::TooLarge, error.to_string()),
            E::TooMany { .. } => Self::new(Kind::Busy, error.to_string()),
            E::Spent => Self::of(Kind::TokenSpent),
            E::NoTitle => Self::of(Kind::NoTitle),
            E::Stale => Self::of(Kind::Version),
            E::NotReady => Self::new(Kind::NotReady, error.to_string()),
            E::Quota(Exceeded::Bytes(_) | Exceeded::Titles(_)) => Self::new(Kind::Quota, error.to_string()),
            E::Quota(Exceeded::Uploads(limit)) => Self::too_many_uploads(limit, &error),
            E::KeyReused => Self::new(Kind::KeyReused, error.to_string()),
            E::Library(why) => why.into(),
            E::Catalog(why) => why.into(),
            E::Fetch(outbound::Error::Private { .. }) => Self::new(Kind::PrivateAddress, error.to_string()),
            E::Fetch(
                outbound::Error::Url(_)
                | outbound::Error::Scheme(_)
                | outbound::Error::Credentials
                | outbound::Error::Port(_),
            ) => Self::new(Kind::Url, error.to_string()),
            // The rest comes of fetching, which no request waits for.
            E::Fetch(_) | E::Status { .. } | E::Parts { .. } | E::Overdue { .. } => Self::internal(error),
            E::Interrupted { .. }
            | E::Changed { .. }
            | E::Unwritten { .. }
            | E::Missing { .. }
            | E::NotAFile { .. }
            | E::Unreadable { .. }
            | E::Sidecar { .. }
            | E::Beside { .. }
            | E::Died { .. }
            | E::Worker { .. }
            | E::NoName(_)
            | E::Defect { .. } => Self::internal(error),
        }
    }
}

impl From<resume::Error> for Problem {
    fn from(error: resume::Error) -> Self {
        use resume::Error as E;
        let said = error.to_string();
        match error {
            E::Unknown => Self::new(Kind::NoUpload, said),
            E::Expired => Self::new(Kind::UploadExpired, said),
            E::Offset { offset_bytes } => Self::new(Kind::UploadOffset, said)
                .header(HeaderName::from_static("upload-offset"), &offset_bytes.to_string()),
            E::TooLong { .. } => Self::new(Kind::TooLarge, said),
            E::Length { .. } | E::Part { .. } => Self::new(Kind::Body, said),
            E::Locked | E::Superseded => {
                Self::new(Kind::UploadLocked, said).header(RETRY_AFTER, &BUSY_RETRY_SECONDS.to_string())
            }
            E::Final => Self::new(Kind::UploadFinal, said),
            E::TooMany { .. } => Self::new(Kind::Busy, said),
            E::Film(why) => why.into(),
        }
    }
}

impl From<library::Error> for Problem {
    fn from(error: library::Error) -> Self {
        match error {
            // The folder's name is the operator's affair.
            library::Error::Full { free_bytes, needed_bytes, .. } => {
                let (free, needed) = (free_bytes >> 20, needed_bytes.div_ceil(1 << 20));
                let detail =
                    format!("the server has {free} MiB left and {needed} MiB are needed: try again when there is room");
                Self { inner: Some(error.to_string()), ..Self::new(Kind::DiskFull, detail) }
            }
            library::Error::Busy { .. } => Self { inner: Some(error.to_string()), ..Self::of(Kind::Busy) },
            library::Error::Unusable { .. }
            | library::Error::Unreadable { .. }
            | library::Error::NotAFile { .. }
            | library::Error::Damaged { .. }
            | library::Error::Io { .. } => Self::internal(error),
        }
    }
}

impl From<catalog::Error> for Problem {
    fn from(error: catalog::Error) -> Self {
        match error {
            catalog::Error::Busy => Self { inner: Some(error.to_string()), ..Self::of(Kind::Busy) },
            catalog::Error::Full => Self { inner: Some(error.to_string()), ..Self::of(Kind::DiskFull) },
            catalog::Error::Newer { .. }
            | catalog::Error::Foreign { .. }
            | catalog::Error::Unusable { .. }
            | catalog::Error::Damaged { .. }
            | catalog::Error::DamagedKey { .. }
            | catalog::Error::DamagedWebhook { .. }
            | catalog::Error::Chance(_)
            | catalog::Error::Sqlite(_) => Self::internal(error),
        }
    }
}

impl From<cache::Error> for Problem {
    fn from(error: cache::Error) -> Self {
        Self::internal(error)
    }
}

//! Why a file did not become a title: what is wrong with which file, and what to do.

use std::io;
use std::path::PathBuf;

use crate::media::{Exceeded, PlanError, Refusal, RefusalCode};
use crate::worker::{Death, Exit};
use crate::{catalog, library, outbound, worker};

/// Why a file did not become a title. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file.
    #[error("{}: there is no such file: check the path", .path.display())]
    Missing {
        /// As named.
        path: PathBuf,
    },
    /// A folder, a device.
    #[error("{}: it is {what}, not a file: name a video or audio file", .path.display())]
    NotAFile {
        /// As named.
        path: PathBuf,
        /// What it is: `a folder`.
        what: &'static str,
    },
    /// It cannot be opened or read.
    #[error("{}: it cannot be read ({why}): check its permissions and its disk", .path.display())]
    Unreadable {
        /// As named.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A subtitle file beside it cannot be taken.
    #[error("{}: {why}", .path.display())]
    Sidecar {
        /// The subtitle file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A subtitle file beside it cannot be read.
    #[error("{}: it lies beside the film and cannot be read ({why}): check its permissions, or move it away", .path.display())]
    Beside {
        /// The subtitle file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// It was understood, and cannot be played.
    #[error("{}: {refusal}: {}", .path.display(), remedy(.refusal.code))]
    Refused {
        /// As named.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// Workers died over it.
    #[error("{}: inspecting it failed {attempts} times ({}): {}", .path.display(), .death.exit, death_remedy(&.death.exit))]
    Died {
        /// As named.
        path: PathBuf,
        /// How the last one died.
        death: Box<Death>,
        /// How many there were.
        attempts: u32,
    },
    /// There is no worker to inspect it.
    #[error("{}: no worker could inspect it: {why}", .path.display())]
    Worker {
        /// As named.
        path: PathBuf,
        /// Why not.
        why: worker::Error,
    },
    /// A worker's answer makes no sense, or a defect here.
    #[error("{}: a defect in matinee, please report it: {why}", .path.display())]
    Defect {
        /// As named.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// More bytes than a film may have.
    #[error("it is larger than {limit_bytes} bytes: convert it to something smaller, or raise uploads.max_bytes")]
    TooLarge {
        /// `uploads.max_bytes`.
        limit_bytes: u64,
    },
    /// Too many films are received at once.
    #[error("{limit} films are being received already: try again in a moment")]
    TooMany {
        /// `uploads.max_concurrent`.
        limit: usize,
    },
    /// The Idempotency-Key was used for another film.
    #[error("this Idempotency-Key was used for another film: use a new one for each film")]
    KeyReused,
    /// There is no such title, of which the film should be the source.
    #[error("there is no such title")]
    NoTitle,
    /// The title whose source the film should be was changed.
    #[error("the title was changed since: get it again")]
    Stale,
    /// The title whose source the film should be is still being made of its first one.
    #[error("the title is being processed: replace its source when it is ready or has failed")]
    NotReady,
    /// The key may not have more.
    #[error("{}", exceeded(.0))]
    Quota(Exceeded),
    /// The upload token made its title already.
    #[error("this upload token was used: ask for another one for another film")]
    Spent,
    /// It was written to while it was copied.
    #[error("{}: it changes: try again when it is complete", .path.display())]
    Changed {
        /// As named.
        path: PathBuf,
    },
    /// It could not be put where it should be.
    #[error("{}: it cannot be written to ({why}): check its permissions and its disk", .path.display())]
    Unwritten {
        /// As named.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// It could not be fetched.
    #[error("it could not be fetched: {0}")]
    Fetch(#[from] outbound::Error),
    /// The server that should have it has not, or does not give it.
    #[error("it could not be fetched: {host} answers with status {status}")]
    Status {
        /// Who answered.
        host: String,
        /// How.
        status: u16,
    },
    /// The server that has it sends parts of it that do not fit together.
    #[error("it could not be fetched: {host} sends parts that do not belong together")]
    Parts {
        /// Who.
        host: String,
    },
    /// It could not be fetched in time.
    #[error("it could not be fetched within {hours} hours: raise uploads.fetch_hours, or send the file")]
    Overdue {
        /// `uploads.fetch_hours`.
        hours: u64,
    },
    /// Whoever worked on it ended in the middle.
    #[error(
        "none of {attempts} attempts came to its end, because the server ended during the last one: look into its log"
    )]
    Interrupted {
        /// How many there were.
        attempts: u32,
    },
    /// The system has no randomness to give.
    #[error("no title could be named: {0}")]
    NoName(io::Error),
    /// The file could not be stored.
    #[error(transparent)]
    Library(#[from] library::Error),
    /// The title could not be entered.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
}

impl Error {
    /// Stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::NotAFile { .. } => "not_a_file",
            Self::Unreadable { .. } => "unreadable",
            Self::Sidecar { .. } | Self::Beside { .. } => "subtitles",
            Self::Refused { refusal, .. } => refusal.code.as_str(),
            Self::Died { .. } => "worker_died",
            Self::Worker { .. } => "no_worker",
            Self::Defect { .. } => "defect",
            Self::TooLarge { .. } => "too_large",
            Self::TooMany { .. } => "too_many",
            Self::KeyReused => "key_reused",
            Self::NoTitle => "no_title",
            Self::Stale => "stale",
            Self::NotReady => "not_ready",
            Self::Quota(_) => "quota",
            Self::Spent => "token_spent",
            Self::Changed { .. } => "changed",
            Self::Unwritten { .. } => "unwritten",
            Self::Fetch(why) => why.code(),
            Self::Status { .. } => "http_status",
            Self::Parts { .. } => "broken_off",
            Self::Overdue { .. } => "slow",
            Self::Interrupted { .. } => "interrupted",
            Self::NoName(_) => "no_name",
            Self::Library(library::Error::Full { .. }) | Self::Catalog(catalog::Error::Full) => "disk_full",
            Self::Library(_) => "storage",
            Self::Catalog(_) => "catalog",
        }
    }

    /// True if the same film may succeed later or on another worker: nothing is wrong with it for all that is known.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Died { death, .. } => death.exit.is_retryable(),
            Self::Worker { why, .. } => why.is_retryable() || matches!(why, worker::Error::Closed),
            Self::Library(why) => !matches!(why, library::Error::NotAFile { .. }),
            Self::Fetch(why) => why.is_retryable(),
            // What says that it is too much or too early, that it failed or is not there yet; and a part that is no part any
            // more: the next go begins anew.
            Self::Status { status, .. } => matches!(status, 408 | 416 | 425 | 429 | 500 | 502..=504),
            Self::Parts { .. } | Self::Changed { .. } | Self::Unwritten { .. } => true,
            Self::Unreadable { .. }
            | Self::Beside { .. }
            | Self::Catalog(_)
            | Self::TooMany { .. }
            | Self::NoName(_) => true,
            Self::Missing { .. }
            | Self::NotAFile { .. }
            | Self::Refused { .. }
            | Self::Defect { .. }
            | Self::Sidecar { .. }
            | Self::TooLarge { .. }
            | Self::Overdue { .. }
            | Self::Interrupted { .. }
            | Self::KeyReused
            | Self::NoTitle
            | Self::Stale
            | Self::NotReady
            | Self::Quota(_)
            | Self::Spent => false,
        }
    }

    /// True if workers died over it: the film may be to blame. That there was no worker is the host's affair.
    pub(super) fn killed_workers(&self) -> bool {
        matches!(self, Self::Died { .. })
    }

    /// True if there is no room on the disk.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Library(library::Error::Full { .. }) | Self::Catalog(catalog::Error::Full))
    }

    pub(super) fn plan(path: PathBuf, error: &PlanError) -> Self {
        match error {
            PlanError::NothingToShow => {
                let refusal = Refusal { code: RefusalCode::NoPlayableTrack, message: error.to_string() };
                Self::Refused { path, refusal }
            }
            PlanError::TooLong => Self::Refused { path, refusal: Refusal::too_long() },
            PlanError::TooMany { .. } => {
                let refusal = Refusal { code: RefusalCode::TooLarge, message: error.to_string() };
                Self::Refused { path, refusal }
            }
            PlanError::Impossible(_) | PlanError::Grid(_) => Self::Defect { path, why: error.to_string() },
        }
    }

    /// A room's word on a file, under the name the user knows it by.
    pub(super) fn storage(path: PathBuf, error: library::Error) -> Self {
        match error {
            library::Error::Unreadable { why, .. } => Self::unreadable(path, why),
            library::Error::NotAFile { what, .. } => Self::NotAFile { path, what },
            other => Self::Library(other),
        }
    }

    pub(super) fn unwritten(path: PathBuf, why: io::Error) -> Self {
        Self::Unwritten { path, why }
    }

    pub(super) fn unreadable(path: PathBuf, why: io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing { path },
            _ => Self::Unreadable { path, why },
        }
    }
}

/// What to do about it.
fn remedy(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Empty => "copy it again",
        RefusalCode::NotMedia => "name a video or audio file",
        RefusalCode::Damaged => "copy it again, or repair it with another program",
        RefusalCode::NoPlayableTrack => "it needs a track of pictures or sound",
        RefusalCode::UnsupportedCodec => "H.264 with AAC in MP4 works everywhere",
        RefusalCode::Encrypted => "matinee has no key for it",
        RefusalCode::TooLarge => "convert it to something smaller",
    }
}

fn exceeded(what: &Exceeded) -> String {
    match what {
        Exceeded::Bytes(limit) => {
            format!("this key may have {limit} bytes of films, and this would be more: remove some")
        }
        Exceeded::Titles(limit) => format!("this key may have {limit} titles, and has them: remove some"),
        Exceeded::Uploads(limit) => {
            format!("this key may have {limit} uploads under way, and has them: finish some first")
        }
    }
}

fn death_remedy(exit: &Exit) -> &'static str {
    match exit {
        Exit::OutOfMemory => "convert it to something smaller, or raise worker.memory_bytes",
        Exit::Overran(_) => "convert it, or raise worker.inspect_seconds",
        Exit::Stalled(_) => "it is probably damaged: repair it, or raise worker.stall_seconds on a busy host",
        Exit::Clean | Exit::Code(_) | Exit::Signal(_) | Exit::Nonsense(_) | Exit::Dismissed => {
            "it is probably damaged: repair it or convert it with another program"
        }
    }
}

//! A film that is to take the place of a title's source: stored, entered with its job, and told. The title plays its old
//! one until the job is done; one that is refused leaves it as it is.

use super::events::What;
use super::file::blocking;
use super::{Error, Uploads, discard, name};
use crate::catalog::{Replacement, Replacing, Superseded, new_job_id, now_ms};
use crate::library::Staged;
use crate::media::{Refusal, RefusalCode, TitleId};

/// A film for a title that is there.
#[derive(Clone, Debug)]
pub struct Successor {
    /// The title.
    pub title: TitleId,
    /// The version it must be at, if that matters.
    pub expected: Option<u64>,
    /// What the film's file is called, if anything.
    pub file_name: String,
}

impl Uploads {
    /// Has a staged film take the place of a title's source, as soon as it can be played. False if it is the source
    /// already. A newer one calls off an older one that still waits.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is empty, [`Error::NoTitle`], [`Error::Stale`], [`Error::NotReady`], [`Error::Quota`],
    /// [`Error::Library`], [`Error::Catalog`]. Nothing of it is left then.
    pub async fn replace(&self, staged: Staged, successor: Successor) -> Result<bool, Error> {
        let this = self.clone();
        // From here on it runs to its end, also if nobody waits for it any more: storing and entering belong together.
        blocking(move || this.succeed(staged, successor)).await
    }

    fn succeed(&self, staged: Staged, successor: Successor) -> Result<bool, Error> {
        let Successor { title, expected, file_name } = successor;
        if staged.size_bytes() == 0 {
            let refusal = Refusal { code: RefusalCode::Empty, message: "the file is empty".to_owned() };
            return Err(Error::Refused { path: name::file(&file_name).into(), refusal });
        }
        let job = new_job_id().map_err(Error::NoName)?;
        let size_bytes = staged.size_bytes();
        let stored = staged.commit_uninspected()?;
        let new = Replacement {
            title,
            source: stored.digest().clone(),
            file_name: Some(file_name).filter(|given| !given.is_empty()).map(|given| name::file(&given)),
            size_bytes,
            expected,
            configured: self.config().quota(),
            at_ms: now_ms(),
        };
        let entered = self.0.rooms.catalog.replace(&new, &job);
        // It holds the library back from being frozen, and is not needed once the catalog names the source.
        drop(stored);
        let refused = match entered {
            Ok(Replacing::Entered(superseded)) => {
                tracing::info!(title = %new.title, source = %new.source, size_bytes, "received a new source");
                self.call_off(superseded);
                self.told(&new.title);
                self.0.processor.wake();
                return Ok(true);
            }
            Ok(Replacing::Same(superseded)) => {
                let any = !superseded.is_empty();
                self.call_off(superseded);
                if any {
                    self.told(&new.title);
                }
                return Ok(false);
            }
            Ok(Replacing::Stale) => Error::Stale,
            Ok(Replacing::Absent) => Error::NoTitle,
            Ok(Replacing::Unready) => Error::NotReady,
            Ok(Replacing::Over(exceeded)) => Error::Quota(exceeded),
            Err(error) => error.into(),
        };
        self.0.take_back(&new.source);
        Err(refused)
    }

    fn call_off(&self, superseded: Vec<Superseded>) {
        for (job, source) in superseded {
            self.0.processor.call_off(&job);
            self.0.take_back(&source);
        }
    }

    fn told(&self, title: &TitleId) {
        // Should it not be found now, whoever asks next sees it.
        if let Ok(Some(title)) = self.0.rooms.catalog.title(title) {
            self.0.events.tell(&title.entry.id, What::Changed { version: title.entry.version });
        }
    }
}

impl super::accept::Inner {
    /// Removes what was stored and no title names.
    pub(super) fn take_back(&self, digest: &crate::media::Digest) {
        discard::source(&self.rooms.catalog, &self.rooms.library, digest);
    }
}

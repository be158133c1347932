//! Films that are fetched: the bytes are here, and the title is to be processed.

use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::jobs::{Job, Kind, Outcome, end, enqueue};
use super::keys::exceeded;
use super::{Catalog, Error, Owner};
use crate::media::{Digest, Exceeded, JobId, KeyId, TitleId};

/// A film that was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its source in the library.
    pub source: Digest,
    /// The source's size.
    pub size_bytes: u64,
    /// The job that will process it; [`super::new_job_id`].
    pub next: JobId,
    /// Whose it is.
    pub owner: Option<Owner>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// The title is to be processed.
    Done,
    /// The claim was lost; nothing has changed.
    Lost,
    /// Its owner may not have it; nothing has changed.
    Over(Exceeded),
}

impl Catalog {
    /// Ends the job that fetched a film, enters the one that processes it and says so of the title, in one transaction.
    ///
    /// # Errors
    /// As any call; nothing is entered then.
    pub fn enter_fetched(&self, job: &Job, by: &str, now_ms: i64, fetched: &Fetched) -> Result<Entered, Error> {
        let Fetched { source, size_bytes, next, owner } = fetched;
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(owner) = owner
            && let Some(over) = exceeded(&transaction, owner, *size_bytes, 0, 0)?
        {
            return Ok(Entered::Over(over));
        }
        if !end(&transaction, job, by, now_ms, &Outcome::Done)? {
            return Ok(Entered::Lost);
        }
        transaction.execute(
            "UPDATE titles SET state = 'processing', source = ?2, size_bytes = ?3, version = version + 1
             WHERE id = ?1 AND state = 'receiving'",
            params![job.title.as_str(), source.as_str(), i64::try_from(*size_bytes).unwrap_or(i64::MAX)],
        )?;
        enqueue(&transaction, next, Kind::Process, &job.title, "{}", now_ms)?;
        transaction.commit()?;
        Ok(Entered::Done)
    }

    /// The key on whose quota a title counts, if one does.
    ///
    /// # Errors
    /// As any call.
    pub fn owner_of(&self, title: &TitleId) -> Result<Option<KeyId>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT owner FROM titles WHERE id = ?1")?;
        let owner: Option<Option<String>> = query.query_row([title.as_str()], |row| row.get(0)).optional()?;
        let damaged = |why: String| Error::Damaged { title: title.to_string(), why };
        owner.flatten().map(|key| key.parse().map_err(|why| damaged(format!("{why}")))).transpose()
    }
}

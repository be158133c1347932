//! Films that are fetched: the bytes are here, and the title is to be processed.

use rusqlite::{Connection, TransactionBehavior, params};

use super::jobs::{Job, JobState, Kind, Outcome, end, enqueue};
use super::keys::{counted, exceeded};
use super::{Catalog, Error, Owner};
use crate::media::{Digest, Exceeded, JobId};

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
    /// [`Error::Busy`], [`Error::Full`]; nothing is entered then.
    pub fn enter_fetched(&self, job: &Job, by: &str, now_ms: i64, fetched: &Fetched) -> Result<Entered, Error> {
        let Fetched { source, size_bytes, next, owner } = fetched;
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(owner) = owner
            && let Some(over) = over(&transaction, owner, job, *size_bytes)?
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
        self.job_ended(Kind::Fetch, JobState::Done);
        Ok(Entered::Done)
    }

    /// Notes how long a film is that is being fetched, so that it counts on its owner's quota from now on.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is noted then.
    pub fn announce_fetched(
        &self,
        job: &Job,
        by: &str,
        size_bytes: u64,
        owner: Option<&Owner>,
    ) -> Result<Entered, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(owner) = owner
            && let Some(over) = over(&transaction, owner, job, size_bytes)?
        {
            return Ok(Entered::Over(over));
        }
        let changed = transaction.execute(
            "UPDATE titles SET size_bytes = ?2 WHERE id = ?1 AND state = 'receiving'
                 AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = ?3 AND jobs.owner = ?4)",
            params![job.title.as_str(), i64::try_from(size_bytes).unwrap_or(i64::MAX), job.id.as_str(), by],
        )?;
        transaction.commit()?;
        Ok(if changed > 0 { Entered::Done } else { Entered::Lost })
    }
}

/// What would be too much for the owner of a title of this length, if anything.
fn over(connection: &Connection, owner: &Owner, job: &Job, size_bytes: u64) -> Result<Option<Exceeded>, Error> {
    let announced = counted(connection, &job.title)?.map_or(0, |counted| counted.bytes);
    exceeded(connection, owner, size_bytes, 0, announced)
}

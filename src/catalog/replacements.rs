//! Sources that are to take the place of others: a job until they can, and then one change of the title's row.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::json;

use super::jobs::{self, Job, JobState, Kind, enqueue};
use super::keys::{self, exceeded};
use super::titles::keep_plan;
use super::webhooks::{News, tell, tell_purge};
use super::{Catalog, Error, Failure, Owner, State};
use crate::media::{Digest, Exceeded, JobId, KeyId, Plan, Quota, TitleId};

/// A stored film that is to become a title's source.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Of which title.
    pub title: TitleId,
    /// The film in the library.
    pub source: Digest,
    /// What its file is called; without a name the old one's stays.
    pub file_name: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// The version the title must be at, if that matters.
    pub expected: Option<u64>,
    /// What the configuration says a key may have.
    pub configured: Quota,
    /// Milliseconds since the Unix epoch; [`super::now_ms`].
    pub at_ms: i64,
}

/// What became of it. Older ones that were still waiting for the same title are called off by the first two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacing {
    /// It is entered, with its job.
    Entered(Vec<Superseded>),
    /// It is the source already.
    Same(Vec<Superseded>),
    /// The title is at another version than expected.
    Stale,
    /// There is no such title.
    Absent,
    /// The title's first source is not done with.
    Unready,
    /// The title's owner may not have it.
    Over(Exceeded),
}

/// A job that was called off, and its source.
pub type Superseded = (JobId, Digest);

impl Catalog {
    /// Enters a replacement with the job that makes it playable; the title stays as it is until then. Durable when it
    /// returns.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is entered then.
    pub fn replace(&self, new: &Replacement, job: &JobId) -> Result<Replacing, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(old) = old(&transaction, &new.title)? else { return Ok(Replacing::Absent) };
        if new.expected.is_some_and(|expected| expected != old.version) {
            return Ok(Replacing::Stale);
        }
        if old.state == State::Ready.as_str() && old.source.as_deref() == Some(new.source.as_str()) {
            let superseded = supersede(&transaction, new)?;
            if !superseded.is_empty() {
                touch(&transaction, &new.title)?;
            }
            transaction.commit()?;
            superseded.iter().for_each(|_| self.job_ended(Kind::Replace, JobState::Cancelled));
            return Ok(Replacing::Same(superseded));
        }
        if old.state != State::Ready.as_str() && old.state != State::Failed.as_str() {
            return Ok(Replacing::Unready);
        }
        if let Some(key) = old.owner {
            let quota = keys::quota(&transaction, &key)?.or(new.configured);
            // What goes for it, also what still waits to take the same place.
            let except = keys::counted(&transaction, &new.title)?.map_or(0, |counted| counted.bytes);
            if let Some(exceeded) = exceeded(&transaction, &Owner { key, quota }, new.size_bytes, 0, except)? {
                return Ok(Replacing::Over(exceeded));
            }
        }
        let superseded = supersede(&transaction, new)?;
        let file_name = new.file_name.as_ref().unwrap_or(&old.file_name);
        let detail = json!({ "file_name": file_name, "size_bytes": new.size_bytes }).to_string();
        enqueue(&transaction, job, Kind::Replace, &new.title, &detail, new.at_ms)?;
        let say = "UPDATE jobs SET source = ?2 WHERE id = ?1";
        transaction.execute(say, params![job.as_str(), new.source.as_str()])?;
        touch(&transaction, &new.title)?;
        transaction.commit()?;
        superseded.iter().for_each(|_| self.job_ended(Kind::Replace, JobState::Cancelled));
        Ok(Replacing::Entered(superseded))
    }

    /// The newest replacement of a title's source, whatever became of it, as long as its job is remembered.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its row cannot be understood.
    pub fn replacement(&self, title: &TitleId) -> Result<Option<Job>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!(
            "SELECT {} FROM jobs WHERE title = ?1 AND kind = 'replace' ORDER BY rowid DESC LIMIT 1",
            jobs::COLUMNS
        ))?;
        query.query_row([title.as_str()], |row| Ok(jobs::job(row))).optional()?.transpose()
    }
}

/// The replacement takes its place.
pub(super) fn replaced(
    connection: &Connection,
    job: &Job,
    plan: &Plan,
    notes: &[String],
    now_ms: i64,
) -> Result<(), Error> {
    let damaged = |why: serde_json::Error| jobs::damaged(job.title.as_str(), why.to_string());
    let notes = serde_json::to_string(notes).map_err(damaged)?;
    let (file_name, size_bytes) = job.film();
    connection.execute(
        "UPDATE titles SET state = 'ready', error_code = NULL, error_message = NULL, source = ?2, file_name = ?3,
             size_bytes = ?4, duration_s = ?5, notes = ?6, version = version + 1 WHERE id = ?1",
        params![
            job.title.as_str(),
            job.source.as_ref().map(Digest::as_str),
            file_name,
            i64::try_from(size_bytes).unwrap_or(i64::MAX),
            plan.duration_seconds(),
            notes
        ],
    )?;
    keep_plan(connection, &job.title, plan)?;
    tell(connection, News::Replaced, &job.title, json!({ "state": "ready" }), now_ms)?;
    tell_purge(connection, &job.title, "replaced", now_ms)
}

/// The replacement cannot take its place.
pub(super) fn not_replaced(
    connection: &Connection,
    title: &TitleId,
    failure: &Failure,
    now_ms: i64,
) -> Result<(), Error> {
    touch(connection, title)?;
    tell(connection, News::ReplacementFailed, title, json!({ "error": failure }), now_ms)
}

/// A client sees another title now.
fn touch(connection: &Connection, title: &TitleId) -> Result<(), Error> {
    connection.execute("UPDATE titles SET version = version + 1 WHERE id = ?1", [title.as_str()])?;
    Ok(())
}

impl Job {
    /// What a replacement's file is called, and its size in bytes.
    #[must_use]
    pub fn film(&self) -> (String, u64) {
        let detail: serde_json::Value = serde_json::from_str(&self.detail).unwrap_or_default();
        (detail["file_name"].as_str().unwrap_or_default().to_owned(), detail["size_bytes"].as_u64().unwrap_or_default())
    }
}

struct Old {
    version: u64,
    state: String,
    source: Option<String>,
    file_name: String,
    owner: Option<KeyId>,
}

fn old(connection: &Connection, title: &TitleId) -> Result<Option<Old>, Error> {
    let query = "SELECT version, state, source, file_name, owner FROM titles WHERE id = ?1";
    let read = |row: &Row| {
        let owner: Option<String> = row.get(4)?;
        Ok(Old {
            version: row.get::<_, i64>(0)?.cast_unsigned(),
            state: row.get(1)?,
            source: row.get(2)?,
            file_name: row.get(3)?,
            owner: owner.and_then(|owner| owner.parse().ok()),
        })
    };
    Ok(connection.query_row(query, [title.as_str()], read).optional()?)
}

/// Calls off what waits to be this title's source.
fn supersede(connection: &Connection, new: &Replacement) -> Result<Vec<Superseded>, Error> {
    let mut query = connection.prepare_cached(
        "UPDATE jobs SET state = 'cancelled', owner = NULL, lease_until_ms = NULL, ended_at_ms = ?2
         WHERE title = ?1 AND kind = 'replace' AND ended_at_ms IS NULL RETURNING id, source",
    )?;
    let read = |row: &Row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let rows = query.query_map(params![new.title.as_str(), new.at_ms], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let fault = |why: String| jobs::damaged(new.title.as_str(), format!("its job: {why}"));
    rows.into_iter()
        .map(|(id, source)| {
            let id = id.parse().map_err(|why| fault(format!("{why}")))?;
            Ok((id, source.parse().map_err(|why| fault(format!("{why}")))?))
        })
        .collect()
}

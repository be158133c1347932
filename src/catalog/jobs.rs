//! Jobs: work that outlives the process that began it. One is claimed for a while (its lease) and kept by heartbeats; if
//! the claimant dies, the lease runs out and somebody else claims it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, named_params, params};
use serde::Serialize;
use serde_json::json;

use super::replacements::{not_replaced, replaced};
use super::titles::keep_plan;
use super::webhooks::{News, tell};
use super::{Catalog, Error, Failure, MAX_PAGE, clock};
use crate::media::{Digest, JobId, Plan, TitleId};

/// Jobs that ended and are still shown; older ones are forgotten, so that the table is bounded.
const ENDED_KEPT: u32 = 1000;

pub(super) const COLUMNS: &str = "id, kind, title, state, attempts, progress, due_at_ms, error_code, error_message, \
     created_at_ms, ended_at_ms, detail, source";

/// A job as it was when asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name in URLs.
    pub id: JobId,
    /// What is to be done.
    pub kind: Kind,
    /// For which title.
    pub title: TitleId,
    /// Where it is in its life.
    pub state: JobState,
    /// How often it was begun.
    pub attempts: u32,
    /// Thousandths done, as of the last heartbeat.
    pub progress: u16,
    /// When it may be begun, milliseconds since the Unix epoch.
    pub due_at_ms: i64,
    /// What went wrong last.
    pub failure: Option<Failure>,
    /// When it was entered, milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// What exactly is to be done, JSON; its form is the kind's.
    pub detail: String,
    /// The source that it is about, if that is not its title's.
    pub source: Option<Digest>,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Brings a title's bytes from where its uploader says they are.
    Fetch,
    /// Makes an uploaded source playable: inspected, indexed, planned.
    Process,
    /// Encodes a title ahead of demand.
    Warm,
    /// Makes another source playable, which then takes the place of the title's.
    Replace,
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its turn, or for its next attempt.
    Queued,
    /// Somebody is at it.
    Running,
    /// It did what it was for.
    Done,
    /// It cannot.
    Failed,
    /// Somebody called it off.
    Cancelled,
}

/// Who claims jobs and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// The claimant.
    pub owner: &'a str,
    /// Now, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Until when, milliseconds since the Unix epoch.
    pub until_ms: i64,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The title can be played.
    Ready {
        /// Timeline and ladder.
        plan: Arc<Plan>,
        /// Sentences about damage that was worked around.
        notes: Vec<String>,
    },
    /// It is done, and changes nothing of the title.
    Done,
    /// It cannot, and trying again will not help.
    Failed(Failure),
    /// It is worth another attempt.
    Again {
        /// Not before this, milliseconds since the Unix epoch.
        due_at_ms: i64,
        /// What went wrong.
        failure: Failure,
    },
    /// It waits for something that others have to do; the attempt does not count.
    Waits {
        /// Not before this, milliseconds since the Unix epoch.
        due_at_ms: i64,
        /// For what.
        failure: Failure,
    },
    /// The claimant has to go; the attempt does not count.
    Released,
}

/// What became of a cancellation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is called off, and its title failed if it could not be played yet.
    Done(TitleId),
    /// It had ended before.
    Ended,
    /// There is no such job.
    Absent,
}

/// A place in the list of jobs: after this one. Its text is opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCursor {
    created_at_ms: i64,
    id: JobId,
}

/// Part of the list of jobs, newest first.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page starts, if there is more.
    pub next: Option<JobCursor>,
}

impl Catalog {
    /// Enters a job that encodes a title ahead of demand; it is due at once.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is entered then.
    pub fn insert_warming(&self, id: &JobId, title: &TitleId, detail: &str, now_ms: i64) -> Result<(), Error> {
        let writer = self.writer();
        enqueue(&writer, id, Kind::Warm, title, detail, now_ms)
    }

    /// Takes a job that is due, or whose claimant let its lease run out. `None` if there is none. The claimant names those
    /// it is at: after a pause of the machine or a step of its clock their leases have run out, too.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is claimed then.
    pub fn claim(&self, kind: Kind, lease: Lease, mine: &[JobId]) -> Result<Option<Job>, Error> {
        let writer = self.writer();
        self.look_at_clock(&writer, lease.now_ms)?;
        let mut claim = writer.prepare_cached(&format!(
            "UPDATE jobs SET state = 'running', owner = :owner, lease_until_ms = :until, attempts = attempts + 1
             WHERE id = (
                 SELECT id FROM jobs
                 WHERE kind = :kind AND id NOT IN (SELECT value FROM json_each(:mine))
                     AND ((state = 'queued' AND due_at_ms <= :now) OR (state = 'running' AND lease_until_ms < :now))
                 ORDER BY due_at_ms LIMIT 1
             ) RETURNING {COLUMNS}"
        ))?;
        let (owner, now, until) = (lease.owner, lease.now_ms, lease.until_ms);
        let mine = list(mine);
        let values =
            named_params! { ":kind": kind.as_str(), ":owner": owner, ":now": now, ":until": until, ":mine": mine };
        claim.query_row(values, |row| Ok(job(row))).optional()?.transpose()
    }

    /// Keeps a claim, and says how far it got. False if it is lost: cancelled, removed, or somebody else's.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn beat(&self, job: &JobId, lease: Lease, progress: u16) -> Result<bool, Error> {
        let changed = self.writer().execute(
            "UPDATE jobs SET lease_until_ms = ?3, progress = ?4 WHERE id = ?1 AND owner = ?2",
            params![job.as_str(), lease.owner, lease.until_ms, progress],
        )?;
        Ok(changed > 0)
    }

    /// Ends an attempt and says so of its title, in one transaction. False if the claim was lost; nothing changes then.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn end_attempt(&self, job: &Job, owner: &str, now_ms: i64, outcome: &Outcome) -> Result<bool, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !end(&transaction, job, owner, now_ms, outcome)? {
            return Ok(false);
        }
        self.commit_told(transaction, now_ms)?;
        match outcome {
            Outcome::Ready { .. } | Outcome::Done => self.job_ended(job.kind, JobState::Done),
            Outcome::Failed(_) => self.job_ended(job.kind, JobState::Failed),
            Outcome::Again { .. } | Outcome::Waits { .. } | Outcome::Released => {}
        }
        Ok(true)
    }

    /// When the next job is due or the next lease runs out, without those of which the caller knows, milliseconds since the
    /// Unix epoch.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn next_due(&self, kind: Kind, mine: &[JobId]) -> Result<Option<i64>, Error> {
        let next = "SELECT min(iif(state = 'running', lease_until_ms + 1, due_at_ms)) FROM jobs
             WHERE ended_at_ms IS NULL AND kind = ?1 AND id NOT IN (SELECT value FROM json_each(?2))";
        Ok(self.reader().query_row(next, params![kind.as_str(), list(mine)], |row| row.get(0))?)
    }

    /// What a process that was killed had in hand is due at once. For the one server of a data folder, at its start: no
    /// other process claims jobs. The attempts count.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn release_jobs(&self, now_ms: i64) -> Result<(), Error> {
        let release = "UPDATE jobs SET state = 'queued', owner = NULL, lease_until_ms = NULL, due_at_ms = ?1
             WHERE state = 'running'";
        let writer = self.writer();
        writer.execute(release, [now_ms])?;
        clock::put_back(&writer, now_ms)
    }

    /// Calls a job off. A title that cannot be played yet fails with the code `cancelled`.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn cancel(&self, id: &JobId, now_ms: i64) -> Result<Cancelled, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let query = "SELECT title, ended_at_ms, kind FROM jobs WHERE id = ?1";
        let read = |row: &Row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, String>(2)?));
        let (title, kind): (TitleId, String) = match transaction.query_row(query, [id.as_str()], read).optional()? {
            None => return Ok(Cancelled::Absent),
            Some((_, Some(_), _)) => return Ok(Cancelled::Ended),
            Some((title, None, kind)) => (title.parse().map_err(|e| damaged(&title, format!("{e}")))?, kind),
        };
        transaction.execute(
            "UPDATE jobs SET state = 'cancelled', owner = NULL, lease_until_ms = NULL, ended_at_ms = ?2 WHERE id = ?1",
            params![id.as_str(), now_ms],
        )?;
        let failure = |message: &str| Failure { code: "cancelled".to_owned(), message: message.to_owned() };
        let kind: Kind = kind.parse().map_err(|why| damaged(title.as_str(), why))?;
        if kind == Kind::Replace {
            let why =
                failure("the replacement was cancelled: the title keeps its current film; upload the new one again");
            not_replaced(&transaction, &title, &why, now_ms)?;
        } else {
            fail(&transaction, &title, &failure("its processing was cancelled: upload it again"), now_ms)?;
        }
        forget_old(&transaction)?;
        self.commit_told(transaction, now_ms)?;
        self.job_ended(kind, JobState::Cancelled);
        Ok(Cancelled::Done(title))
    }

    /// One job.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its row cannot be understood.
    pub fn job(&self, id: &JobId) -> Result<Option<Job>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"))?;
        query.query_row([id.as_str()], |row| Ok(job(row))).optional()?.transpose()
    }

    /// Up to `limit` jobs (at least one, at most [`MAX_PAGE`]), newest first, from `after` on, of one state or all.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a row cannot be understood.
    pub fn jobs(&self, after: Option<&JobCursor>, limit: u32, state: Option<JobState>) -> Result<JobPage, Error> {
        let limit = limit.clamp(1, MAX_PAGE);
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM jobs
             WHERE (:state IS NULL OR state = :state) AND (:id IS NULL OR (created_at_ms, id) < (:at, :id))
             ORDER BY created_at_ms DESC, id DESC LIMIT :rows"
        ))?;
        let values = named_params! {
            ":state": state.map(JobState::as_str),
            ":at": after.map(|c| c.created_at_ms),
            ":id": after.map(|c| c.id.as_str()),
            ":rows": i64::from(limit) + 1,
        };
        let rows = query.query_map(values, |row| Ok(job(row)))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut jobs = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
        let more = jobs.len() > limit as usize;
        jobs.truncate(limit as usize);
        let next = jobs.last().filter(|_| more);
        let next = next.map(|last| JobCursor { created_at_ms: last.created_at_ms, id: last.id.clone() });
        Ok(JobPage { jobs, next })
    }
}

/// The jobs of a title that have not ended, without those that cannot be understood.
pub(super) fn open(connection: &Connection, title: &TitleId) -> Result<Vec<Job>, Error> {
    let open = format!("SELECT {COLUMNS} FROM jobs WHERE title = ?1 AND ended_at_ms IS NULL");
    let mut query = connection.prepare_cached(&open)?;
    let rows = query.query_map([title.as_str()], |row| Ok(job(row)))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// As a statement takes them.
fn list(ids: &[JobId]) -> String {
    json!(ids.iter().map(JobId::as_str).collect::<Vec<_>>()).to_string()
}

/// Enters a job that is due at once.
pub(super) fn enqueue(
    connection: &Connection,
    id: &JobId,
    kind: Kind,
    title: &TitleId,
    detail: &str,
    now_ms: i64,
) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO jobs (id, kind, title, state, due_at_ms, created_at_ms, detail)
         VALUES (?1, ?2, ?3, 'queued', ?4, ?4, ?5)",
        params![id.as_str(), kind.as_str(), title.as_str(), now_ms, detail],
    )?;
    Ok(())
}

/// Ends an attempt. False if the claim was lost.
pub(super) fn end(
    connection: &Connection,
    job: &Job,
    owner: &str,
    now_ms: i64,
    outcome: &Outcome,
) -> Result<bool, Error> {
    let (state, ended, due) = match outcome {
        Outcome::Ready { .. } | Outcome::Done => (JobState::Done, Some(now_ms), None),
        Outcome::Failed(_) => (JobState::Failed, Some(now_ms), None),
        Outcome::Again { due_at_ms, .. } | Outcome::Waits { due_at_ms, .. } => {
            (JobState::Queued, None, Some(*due_at_ms))
        }
        Outcome::Released => (JobState::Queued, None, None),
    };
    let failure = match outcome {
        Outcome::Failed(failure) | Outcome::Again { failure, .. } | Outcome::Waits { failure, .. } => Some(failure),
        Outcome::Ready { .. } | Outcome::Done | Outcome::Released => None,
    };
    let changed = connection.execute(
        "UPDATE jobs SET state = :state, owner = NULL, lease_until_ms = NULL, ended_at_ms = :ended,
             due_at_ms = coalesce(:due, due_at_ms), error_code = :code, error_message = :message,
             attempts = attempts - :uncounted, progress = iif(:state = 'done', 1000, progress)
         WHERE id = :id AND owner = :owner",
        named_params! {
            ":id": job.id.as_str(),
            ":owner": owner,
            ":state": state.as_str(),
            ":ended": ended,
            ":due": due,
            ":code": failure.map(|f| f.code.as_str()),
            ":message": failure.map(|f| f.message.as_str()),
            ":uncounted": i64::from(matches!(outcome, Outcome::Released | Outcome::Waits { .. })),
        },
    )?;
    if changed == 0 {
        return Ok(false);
    }
    match outcome {
        Outcome::Ready { plan, notes } if job.kind == Kind::Replace => replaced(connection, job, plan, notes, now_ms)?,
        Outcome::Failed(failure) if job.kind == Kind::Replace => {
            not_replaced(connection, &job.title, failure, now_ms)?;
        }
        Outcome::Ready { plan, notes } => ready(connection, &job.title, plan, notes, now_ms)?,
        Outcome::Failed(failure) => fail(connection, &job.title, failure, now_ms)?,
        Outcome::Done | Outcome::Again { .. } | Outcome::Waits { .. } | Outcome::Released => {}
    }
    forget_old(connection)?;
    Ok(true)
}

fn ready(connection: &Connection, title: &TitleId, plan: &Plan, notes: &[String], now_ms: i64) -> Result<(), Error> {
    let notes = serde_json::to_string(notes).map_err(|why| damaged(title.as_str(), why.to_string()))?;
    let changed = connection.execute(
        "UPDATE titles SET state = 'ready', duration_s = ?2, notes = ?3, version = version + 1
         WHERE id = ?1 AND state = 'processing'",
        params![title.as_str(), plan.duration_seconds(), notes],
    )?;
    if changed == 0 {
        return Ok(());
    }
    keep_plan(connection, title, plan)?;
    tell(connection, News::Ready, title, json!({ "state": "ready" }), now_ms)
}

/// A title that failed names no source any more: what cannot be played is not kept.
fn fail(connection: &Connection, title: &TitleId, failure: &Failure, now_ms: i64) -> Result<(), Error> {
    let changed = connection.execute(
        "UPDATE titles SET state = 'failed', error_code = ?2, error_message = ?3, source = NULL, version = version + 1
         WHERE id = ?1 AND state IN ('receiving', 'processing')",
        params![title.as_str(), failure.code, failure.message],
    )?;
    let data = json!({ "state": "failed", "error": failure });
    if changed == 0 { Ok(()) } else { tell(connection, News::Failed, title, data, now_ms) }
}

fn forget_old(connection: &Connection) -> Result<(), Error> {
    connection.execute(
        "DELETE FROM jobs WHERE ended_at_ms IS NOT NULL AND id IN (
             SELECT id FROM jobs WHERE ended_at_ms IS NOT NULL ORDER BY ended_at_ms DESC LIMIT -1 OFFSET ?1)",
        [ENDED_KEPT],
    )?;
    Ok(())
}

pub(super) fn damaged(title: &str, why: String) -> Error {
    Error::Damaged { title: title.to_owned(), why }
}

pub(super) fn job(row: &Row) -> Result<Job, Error> {
    let title: String = row.get("title")?;
    let fault = |why: String| damaged(&title, format!("its job: {why}"));
    let (id, kind, state): (String, String, String) = (row.get("id")?, row.get("kind")?, row.get("state")?);
    let code: Option<String> = row.get("error_code")?;
    let message: Option<String> = row.get("error_message")?;
    let source: Option<String> = row.get("source")?;
    Ok(Job {
        id: id.parse().map_err(|e| fault(format!("{e}")))?,
        kind: kind.parse().map_err(fault)?,
        title: title.parse().map_err(|e| fault(format!("{e}")))?,
        state: state.parse().map_err(fault)?,
        attempts: row.get("attempts")?,
        progress: row.get("progress")?,
        due_at_ms: row.get("due_at_ms")?,
        failure: code.map(|code| Failure { code, message: message.unwrap_or_default() }),
        created_at_ms: row.get("created_at_ms")?,
        ended_at_ms: row.get("ended_at_ms")?,
        detail: row.get("detail")?,
        source: source.map(|source| source.parse()).transpose().map_err(|e| fault(format!("{e}")))?,
    })
}

/// A fresh job id.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new_job_id() -> std::io::Result<JobId> {
    let bits = getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(JobId::from_random(bits))
}

impl fmt::Display for JobCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_at_ms, self.id)
    }
}

impl FromStr for JobCursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |(at, id): (&str, &str)| Some(Self { created_at_ms: at.parse().ok()?, id: id.parse().ok()? });
        text.rsplit_once('-').and_then(parse).ok_or_else(|| format!("{text:?} is not a cursor"))
    }
}

//! Titles: insert, look up, list, remove.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, named_params, params};
use serde::Serialize;
use serde_json::json;

use super::watched::{self, Lying, Watched};
use super::webhooks::{News, tell, tell_purge};
use super::{Catalog, Error, jobs};
use crate::media::{Digest, JobId, Plan, Policy, TitleId};

/// Most titles on one page: bounds what a listing holds in memory.
pub const MAX_PAGE: u32 = 200;

const COLUMNS: &str = "id, name, state, error_code, error_message, created_at_ms, source, file_name, size_bytes, \
     duration_s, notes, description, metadata, version, playback_policy";

/// A title as it was when asked for: what is needed to answer for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Title {
    /// All but the plan.
    pub entry: Entry,
    /// Timeline and ladder; there if the title is [`State::Ready`].
    pub plan: Option<Arc<Plan>>,
}

/// A title without its plan, as it stands in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name in URLs.
    pub id: TitleId,
    /// Its name for people.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// Why it failed; there if it is [`State::Failed`].
    pub failure: Option<Failure>,
    /// When it was added, milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Its source in the library, once that is known.
    pub source: Option<Digest>,
    /// The file's name as it came, without folders. Never used as a path.
    pub file_name: String,
    /// The source's size.
    pub size_bytes: u64,
    /// Seconds, once known.
    pub duration_s: Option<f64>,
    /// Sentences about damage that was worked around.
    pub notes: Vec<String>,
    /// What its uploader says about it.
    pub description: String,
    /// What its uploader's programs say about it.
    pub metadata: Metadata,
    /// One more with every change.
    pub version: u64,
    /// Who may play it.
    pub policy: Policy,
}

/// Free fields of a title: a JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// A title to be added that can be played at once.
#[derive(Clone, Debug)]
pub struct NewTitle {
    /// Its name in URLs; [`new_id`].
    pub id: TitleId,
    /// Its name for people.
    pub name: String,
    /// Milliseconds since the Unix epoch; [`now_ms`].
    pub created_at_ms: i64,
    /// Its source in the library.
    pub source: Digest,
    /// The file's name as it came, without folders.
    pub file_name: String,
    /// The source's size.
    pub size_bytes: u64,
    /// Sentences about damage that was worked around.
    pub notes: Vec<String>,
    /// Timeline and ladder.
    pub plan: Arc<Plan>,
    /// The file of the watched folder that it is, as [`Catalog::watched`] knows it.
    pub watched: Option<Lying>,
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq)]
pub enum Removal {
    /// It was made.
    Done(Removed),
    /// The title is at another version than expected.
    Stale,
    /// There is no such title.
    Absent,
}

/// What a title had when it was removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed {
    /// Its source in the library.
    pub source: Option<Digest>,
    /// The source's size.
    pub size_bytes: u64,
    /// Timeline and ladder, if it could be played.
    pub plan: Option<Arc<Plan>>,
    /// Its jobs that had not ended.
    pub jobs: Vec<JobId>,
    /// What waited to be its source.
    pub successors: Vec<Digest>,
}

/// Where a title is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its bytes are still coming.
    Receiving,
    /// It is being inspected.
    Processing,
    /// It can be played.
    Ready,
    /// It cannot become a title.
    Failed,
}

/// Why a title or a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// A place in the list of titles: after this one. Its text is opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(super) created_at_ms: i64,
    pub(super) id: TitleId,
}

/// Part of the list of titles, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The titles.
    pub entries: Vec<Entry>,
    /// Where the next page starts, if there is more.
    pub next: Option<Cursor>,
}

impl Catalog {
    /// One title with its plan, or `None` if there is none of that id.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its row cannot be understood.
    pub fn title(&self, id: &TitleId) -> Result<Option<Title>, Error> {
        let found = {
            let reader = self.reader();
            let mut query = reader.prepare_cached(&format!(
                "SELECT {COLUMNS}, (SELECT plan FROM plans WHERE title = titles.id) AS plan FROM titles WHERE id = ?1"
            ))?;
            let read = |row: &Row| Ok((entry(row), row.get::<_, Option<String>>("plan")?));
            query.query_row([id.as_str()], read).optional()?
        };
        // Parsed after the connection is given back: a long film's plan takes milliseconds.
        let Some((entry, plan)) = found else { return Ok(None) };
        let plan = plan.as_deref().map(serde_json::from_str).transpose();
        let plan = plan.map_err(|why| Error::Damaged { title: id.to_string(), why: why.to_string() })?;
        Ok(Some(Title { entry: entry?, plan: plan.map(Arc::new) }))
    }

    /// A number that is another one once anything in the title's row is; `None` if there is none of that id. Costs a
    /// fraction of [`Catalog::title`], because no plan is read: another plan is another version. It means nothing to
    /// another process.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn mark(&self, id: &TitleId) -> Result<Option<u64>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT * FROM titles WHERE id = ?1")?;
        let columns = query.column_count();
        let hash = |row: &Row| {
            let mut hasher = DefaultHasher::new();
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => 0_u8.hash(&mut hasher),
                    ValueRef::Integer(value) => value.hash(&mut hasher),
                    ValueRef::Real(value) => value.to_bits().hash(&mut hasher),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(&mut hasher),
                }
            }
            Ok(hasher.finish())
        };
        Ok(query.query_row([id.as_str()], hash).optional()?)
    }

    /// Up to `limit` titles (at least one, at most [`MAX_PAGE`]), newest first, from `after` on, of one state or all.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a row cannot be understood.
    pub fn titles(&self, after: Option<&Cursor>, limit: u32, state: Option<State>) -> Result<Page, Error> {
        let limit = limit.clamp(1, MAX_PAGE);
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM titles
             WHERE (:state IS NULL OR state = :state) AND (:id IS NULL OR (created_at_ms, id) < (:at, :id))
             ORDER BY created_at_ms DESC, id DESC LIMIT :rows"
        ))?;
        let values = named_params! {
            ":state": state.map(State::as_str),
            ":at": after.map(|c| c.created_at_ms),
            ":id": after.map(|c| c.id.as_str()),
            // One more than asked for tells whether there is a next page.
            ":rows": i64::from(limit) + 1,
        };
        let rows = query.query_map(values, |row| Ok(entry(row)))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut entries = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more);
        let next = next.map(|last| Cursor { created_at_ms: last.created_at_ms, id: last.id.clone() });
        Ok(Page { entries, next })
    }

    /// Adds a title that can be played. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is added then.
    pub fn insert_ready(&self, title: &NewTitle) -> Result<(), Error> {
        let damaged = |why: serde_json::Error| Error::Damaged { title: title.id.to_string(), why: why.to_string() };
        let notes = serde_json::to_string(&title.notes).map_err(damaged)?;
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(lying) = &title.watched {
            watched::note(&transaction, lying, &Watched::Title(title.id.clone()), title.created_at_ms)?;
        }
        transaction.execute(
            "INSERT INTO titles (id, name, state, created_at_ms, source, file_name, size_bytes, duration_s, notes)
             VALUES (?1, ?2, 'ready', ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                title.id.as_str(),
                title.name,
                title.created_at_ms,
                title.source.as_str(),
                title.file_name,
                i64::try_from(title.size_bytes).unwrap_or(i64::MAX),
                title.plan.duration_seconds(),
                notes
            ],
        )?;
        keep_plan(&transaction, &title.id, &title.plan)?;
        tell(&transaction, News::Ready, &title.id, json!({ "state": State::Ready }), title.created_at_ms)?;
        self.commit_told(transaction, title.created_at_ms)
    }

    /// Removes a title, if it is at the expected version or none is expected, and tells what it had in that moment. Its
    /// sources are the caller's to remove, if no other title [names them](Self::sources_in_use).
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]. A plan or job that cannot be understood keeps no title from being removed.
    pub fn remove(&self, id: &TitleId, expected: Option<u64>) -> Result<Removal, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let query = "SELECT source, (SELECT plan FROM plans WHERE title = titles.id), size_bytes, version
             FROM titles WHERE id = ?1";
        let text = |row: &Row, n| row.get::<_, Option<String>>(n);
        let read = |row: &Row| Ok((text(row, 0)?, text(row, 1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?));
        let found = transaction.query_row(query, [id.as_str()], read).optional()?;
        let Some((source, plan, size_bytes, version)) = found else { return Ok(Removal::Absent) };
        if expected.is_some_and(|expected| version.cast_unsigned() != expected) {
            return Ok(Removal::Stale);
        }
        let open = jobs::open(&transaction, id)?;
        // Its plan, its jobs and what remembers its creation go with it.
        transaction.execute("DELETE FROM titles WHERE id = ?1", [id.as_str()])?;
        let now = now_ms();
        tell(&transaction, News::Deleted, id, json!({}), now)?;
        tell_purge(&transaction, id, "deleted", now)?;
        self.commit_told(transaction, now)?;
        Ok(Removal::Done(Removed {
            source: source.and_then(|source| source.parse().ok()),
            size_bytes: size_bytes.cast_unsigned(),
            plan: plan.and_then(|plan| serde_json::from_str(&plan).ok()).map(Arc::new),
            jobs: open.iter().map(|job| job.id.clone()).collect(),
            successors: open.into_iter().filter_map(|job| job.source).collect(),
        }))
    }

    /// How many titles there are.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn count(&self) -> Result<u64, Error> {
        let count = self.reader().query_row("SELECT count(*) FROM titles", [], |row| row.get::<_, i64>(0))?;
        Ok(count.cast_unsigned())
    }

    /// The titles that name a source, at most [`MAX_PAGE`] of them.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a row cannot be understood.
    pub fn titles_of(&self, source: &Digest) -> Result<Vec<TitleId>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT id FROM titles WHERE source = ?1 LIMIT ?2")?;
        let rows = query.query_map(params![source.as_str(), MAX_PAGE], |row| row.get::<_, String>(0))?;
        let ids = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let parse = |id: String| id.parse().map_err(|e| Error::Damaged { title: id, why: format!("{e}") });
        ids.into_iter().map(parse).collect()
    }

    /// How many titles name a source, or are to. It stays true only as long as the library is frozen.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn sources_in_use(&self, source: &Digest) -> Result<u64, Error> {
        let count = "SELECT (SELECT count(*) FROM titles WHERE source = ?1)
                 + (SELECT count(*) FROM jobs WHERE source = ?1 AND ended_at_ms IS NULL)";
        let count = self.reader().query_row(count, [source.as_str()], |row| row.get::<_, i64>(0))?;
        Ok(count.cast_unsigned())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_at_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |(at, id): (&str, &str)| Some(Self { created_at_ms: at.parse().ok()?, id: id.parse().ok()? });
        text.rsplit_once('-').and_then(parse).ok_or_else(|| format!("{text:?} is not a cursor"))
    }
}

/// A fresh title id.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new_id() -> std::io::Result<TitleId> {
    let bits = getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(TitleId::from_random(bits))
}

/// Now, milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Puts a title's plan in the place of what it had.
pub(super) fn keep_plan(connection: &Connection, title: &TitleId, plan: &Plan) -> Result<(), Error> {
    let damaged = |why: serde_json::Error| Error::Damaged { title: title.to_string(), why: why.to_string() };
    let text = serde_json::to_string(plan).map_err(damaged)?;
    let keep = "INSERT OR REPLACE INTO plans (title, plan) SELECT id, ?2 FROM titles WHERE id = ?1";
    connection.execute(keep, params![title.as_str(), text])?;
    Ok(())
}

/// Reads a row. Its fault names the title, so that one damaged row can be found and removed.
fn entry(row: &Row) -> Result<Entry, Error> {
    let id: String = row.get("id")?;
    let damaged = |why: String| Error::Damaged { title: id.clone(), why };
    let state: String = row.get("state")?;
    let code: Option<String> = row.get("error_code")?;
    let message: Option<String> = row.get("error_message")?;
    let source: Option<String> = row.get("source")?;
    let notes: String = row.get("notes")?;
    let metadata: String = row.get("metadata")?;
    let policy: String = row.get("playback_policy")?;
    Ok(Entry {
        id: id.parse().map_err(|e| damaged(format!("{e}")))?,
        name: row.get("name")?,
        state: state.parse().map_err(damaged)?,
        failure: code.map(|code| Failure { code, message: message.unwrap_or_default() }),
        created_at_ms: row.get("created_at_ms")?,
        source: source.map(|s| s.parse()).transpose().map_err(|e| damaged(format!("{e}")))?,
        file_name: row.get("file_name")?,
        size_bytes: row.get::<_, i64>("size_bytes")?.cast_unsigned(),
        duration_s: row.get("duration_s")?,
        notes: serde_json::from_str(&notes).map_err(|e| damaged(format!("notes: {e}")))?,
        description: row.get("description")?,
        metadata: serde_json::from_str(&metadata).map_err(|e| damaged(format!("metadata: {e}")))?,
        version: row.get::<_, i64>("version")?.cast_unsigned(),
        policy: policy.parse().map_err(damaged)?,
    })
}

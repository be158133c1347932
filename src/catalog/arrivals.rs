//! Titles that came over HTTP: entered with the job that makes them playable, and changed by their uploaders.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params, params};
use serde_json::json;

use super::jobs::{Kind, enqueue};
use super::keys::exceeded;
use super::webhooks::{News, tell, tell_purge};
use super::{Catalog, Error, Metadata, Owner, State, now_ms};
use crate::media::{Digest, Exceeded, JobId, Policy, TitleId, UploadId};

/// How long a client's Idempotency-Key is remembered, milliseconds: a day is longer than any client retries.
const CREATION_MS: i64 = 24 * 3600 * 1000;

/// How long a creation of the server's own is remembered that nobody [forgets](Catalog::forget_creation), milliseconds:
/// longer than any resumable upload is kept, `uploads.expire_hours` at most.
const OWN_CREATION_MS: i64 = 366 * 24 * 3600 * 1000;

/// How much longer than it is good a token is remembered as spent, milliseconds: an upload that began in time may take
/// as long as this.
const SPENT_MS: i64 = 7 * 24 * 3600 * 1000;

/// What keys of resumable uploads begin with: no client's key has two line ends.
const UPLOAD: &str = "upload\n\n";

/// A title whose bytes are complete and which is to be processed, or whose bytes are still to be fetched.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its name in URLs; [`super::new_id`].
    pub id: TitleId,
    /// Its name for people.
    pub name: String,
    /// What its uploader says about it.
    pub description: String,
    /// What its uploader's programs say about it.
    pub metadata: Metadata,
    /// Milliseconds since the Unix epoch; [`super::now_ms`].
    pub created_at_ms: i64,
    /// Where its bytes are.
    pub bytes: Place,
    /// The file's name as it came, without folders.
    pub file_name: String,
    /// Who may play it.
    pub policy: Policy,
    /// Until when the token is good that allows it, Unix milliseconds, if one does. The token names the title, and is
    /// spent with it.
    pub token_until_ms: Option<i64>,
    /// What its client calls this creation, if it may ask for it again.
    pub creation: Option<Creation>,
    /// Whose it is.
    pub owner: Option<Owner>,
}

/// Where the bytes of an arrival are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the library: the title is to be processed.
    Here {
        /// The source.
        source: Digest,
        /// Its size.
        size_bytes: u64,
    },
    /// Somewhere else: the title is to be received first.
    Elsewhere {
        /// The job's detail, which says where.
        detail: String,
        /// Jobs of this kind that may be open with this one; one more is not entered.
        limit: usize,
    },
}

/// A client's name for one creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// The Idempotency-Key, with whatever tells one client's keys from another's; or [`Creation::of_upload`].
    pub key: String,
    /// What was to be created, without a line end: the same key with another fingerprint is a mistake.
    pub fingerprint: String,
}

impl Creation {
    /// The creation of a resumable upload's title: a crash after it was entered makes no second one.
    #[must_use]
    pub fn of_upload(id: &UploadId) -> Self {
        Self { key: format!("{UPLOAD}{id}"), fingerprint: String::new() }
    }
}

/// What is known of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was made before: this title.
    Made(TitleId),
    /// The key was used for something else.
    Other,
    /// The token that allows it was spent.
    Spent,
    /// Its owner may not have it.
    Over(Exceeded),
    /// There are as many open jobs of its kind as there may be.
    TooMany,
}

/// What is to be changed of a title; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Its name for people.
    pub name: Option<String>,
    /// What its uploader says about it.
    pub description: Option<String>,
    /// What its uploader's programs say about it.
    pub metadata: Option<Metadata>,
    /// Who may play it.
    pub policy: Option<Policy>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Done,
    /// The title is at another version than expected.
    Stale,
    /// There is no such title.
    Absent,
}

impl Catalog {
    /// Enters a title in state `processing` together with the job that does it, or in state `receiving` with the job that
    /// fetches it. Durable when it returns. If its creation was made meanwhile, nothing is entered and that is said.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is entered then.
    pub fn insert_arrival(&self, arrival: &Arrival, job: &JobId) -> Result<Option<Known>, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = arrival.created_at_ms;
        let (kind, state, source, size_bytes, detail) = match &arrival.bytes {
            Place::Here { source, size_bytes } => (Kind::Process, State::Processing, Some(source), *size_bytes, "{}"),
            Place::Elsewhere { detail, .. } => (Kind::Fetch, State::Receiving, None, 0, detail.as_str()),
        };
        transaction.execute(
            "DELETE FROM creations WHERE created_at_ms < iif(instr(key, ?1) = 1, ?2, ?3)",
            params![UPLOAD, now - OWN_CREATION_MS, now - CREATION_MS],
        )?;
        if let Some(creation) = &arrival.creation
            && let Some(known) = known(&transaction, creation, source)?
        {
            return Ok(Some(known));
        }
        if let Place::Elsewhere { limit, .. } = arrival.bytes {
            let count = "SELECT count(*) FROM jobs WHERE ended_at_ms IS NULL AND kind = ?1";
            let open: i64 = transaction.query_row(count, [kind.as_str()], |row| row.get(0))?;
            if open.cast_unsigned() >= limit as u64 {
                return Ok(Some(Known::TooMany));
            }
        }
        if let Some(until_ms) = arrival.token_until_ms {
            transaction.execute("DELETE FROM spent_tokens WHERE expires_at_ms < ?1", [now])?;
            let spend = "INSERT OR IGNORE INTO spent_tokens (title, expires_at_ms) VALUES (?1, ?2)";
            if transaction.execute(spend, params![arrival.id.as_str(), until_ms + SPENT_MS])? == 0 {
                return Ok(Some(Known::Spent));
            }
        }
        if let Some(owner) = &arrival.owner
            && let Some(exceeded) = exceeded(&transaction, owner, size_bytes, 1, 0)?
        {
            return Ok(Some(Known::Over(exceeded)));
        }
        transaction.execute(
            "INSERT INTO titles (id, name, description, metadata, state, created_at_ms, source, file_name, size_bytes,
                 playback_policy, owner)
             VALUES (:id, :name, :description, :metadata, :state, :at, :source, :file_name, :size,
                 :policy, :owner)",
            named_params! {
                ":id": arrival.id.as_str(),
                ":name": arrival.name,
                ":description": arrival.description,
                ":metadata": text(&arrival.metadata),
                ":state": state.as_str(),
                ":at": now,
                ":source": source.map(Digest::as_str),
                ":file_name": arrival.file_name,
                ":size": i64::try_from(size_bytes).unwrap_or(i64::MAX),
                ":policy": arrival.policy.as_str(),
                ":owner": arrival.owner.as_ref().map(|owner| owner.key.as_str()),
            },
        )?;
        if let Some(Creation { key, fingerprint }) = &arrival.creation {
            let fingerprint = source.map_or_else(|| fingerprint.clone(), |source| format!("{fingerprint}\n{source}"));
            let values = params![key, fingerprint, arrival.id.as_str(), now];
            transaction.execute(
                "INSERT INTO creations (key, fingerprint, title, created_at_ms) VALUES (?1, ?2, ?3, ?4)",
                values,
            )?;
        }
        enqueue(&transaction, job, kind, &arrival.id, detail, now)?;
        tell(&transaction, News::Created, &arrival.id, json!({ "state": state }), now)?;
        self.commit_told(transaction, now)?;
        Ok(None)
    }

    /// What is known of a creation, or `None` if it is new or was forgotten. One that brought another film than `source`
    /// is another.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a row cannot be understood.
    pub fn creation(&self, creation: &Creation, source: Option<&Digest>) -> Result<Option<Known>, Error> {
        known(&self.reader(), creation, source)
    }

    /// Forgets a creation that will not be asked for again.
    ///
    /// # Errors
    /// As any call.
    pub fn forget_creation(&self, creation: &Creation) -> Result<(), Error> {
        self.writer().execute("DELETE FROM creations WHERE key = ?1", [&creation.key])?;
        Ok(())
    }

    /// Whether the token that names this title was spent.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn is_spent(&self, title: &TitleId) -> Result<bool, Error> {
        let query = "SELECT EXISTS (SELECT 1 FROM spent_tokens WHERE title = ?1)";
        Ok(self.reader().query_row(query, [title.as_str()], |row| row.get(0))?)
    }

    /// Changes a title, if it is at the expected version or none is expected.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn change(&self, id: &TitleId, change: &Change, expected: Option<u64>) -> Result<Changed, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old = "SELECT version, playback_policy FROM titles WHERE id = ?1";
        let read = |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        let (version, policy) = transaction.query_row(old, [id.as_str()], read).optional()?.unzip();
        match (version, expected) {
            (None, _) => return Ok(Changed::Absent),
            (Some(version), Some(expected)) if version.cast_unsigned() != expected => return Ok(Changed::Stale),
            (Some(_), _) => {}
        }
        transaction.execute(
            "UPDATE titles SET name = coalesce(:name, name), description = coalesce(:description, description),
                 metadata = coalesce(:metadata, metadata),
                 playback_policy = coalesce(:policy, playback_policy), version = version + 1 WHERE id = :id",
            named_params! {
                ":id": id.as_str(),
                ":name": change.name,
                ":description": change.description,
                ":metadata": change.metadata.as_ref().map(text),
                ":policy": change.policy.map(Policy::as_str),
            },
        )?;
        let (now, version) = (now_ms(), version.map(|version| version + 1));
        tell(&transaction, News::Changed, id, json!({ "version": version }), now)?;
        if change.policy.is_some_and(|new| Some(new.as_str()) != policy.as_deref()) {
            // What was public is to be had from whoever keeps copies until they drop it.
            tell_purge(&transaction, id, "policy", now)?;
        }
        self.commit_told(transaction, now)?;
        Ok(Changed::Done)
    }
}

fn known(connection: &Connection, creation: &Creation, source: Option<&Digest>) -> Result<Option<Known>, Error> {
    let query = "SELECT title, fingerprint FROM creations WHERE key = ?1";
    let read = |row: &rusqlite::Row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let Some((title, fingerprint)) = connection.query_row(query, [&creation.key], read).optional()? else {
        return Ok(None);
    };
    // What came, if that was known, stands behind what was said.
    let (said, came) = fingerprint.split_once('\n').map_or((&*fingerprint, None), |(said, came)| (said, Some(came)));
    let is_another = came.zip(source).is_some_and(|(came, source)| came != source.as_str());
    if said != creation.fingerprint || is_another {
        return Ok(Some(Known::Other));
    }
    let title = title.parse().map_err(|e| Error::Damaged { title, why: format!("{e}") })?;
    Ok(Some(Known::Made(title)))
}

fn text(metadata: &Metadata) -> String {
    serde_json::Value::Object(metadata.clone()).to_string()
}

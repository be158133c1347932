//! API keys: who may manage. The key itself is nowhere, only its hash; what the hash is made of is `access`'s affair.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, named_params, params};

use super::{Catalog, Error};
use crate::media::{Exceeded, KeyId, Quota, Scopes, TitleId, Usage};

/// Most keys there may be that are not revoked, since a listing has no pages. So many are kept in all, too: of those that
/// are revoked and have no title the oldest go.
pub const MAX_KEYS: u32 = 1000;

const COLUMNS: &str = "id, name, hash, scopes, created_at_ms, used_at_ms, revoked_at_ms, \
     max_bytes, max_titles, max_uploads";

/// A key as it is kept. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name in URLs and logs; also the first part of the key.
    pub id: KeyId,
    /// Its name for people.
    pub name: String,
    /// Of the key's text.
    pub hash: [u8; 32],
    /// What its holder may do.
    pub scopes: Scopes,
    /// When it was added.
    pub created_at_ms: i64,
    /// When it was last used, give or take what [`Catalog::key_used`]'s caller rounds it by.
    pub used_at_ms: Option<i64>,
    /// Since when it is worth nothing.
    pub revoked_at_ms: Option<i64>,
    /// How much it may have.
    pub quota: Quota,
}

/// Whose a title is, and how much that one may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The key.
    pub key: KeyId,
    /// With what the configuration says in it.
    pub quota: Quota,
}

/// On whose quota a title counts, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The key, if it counts on one.
    pub owner: Option<KeyId>,
    /// Its source, or what is to take the source's place if that is larger; of a film that is fetched, what was announced.
    pub bytes: u64,
}

/// Bytes of a title as it is. One that failed has none; one that is fetched will have what was announced.
const BYTES: &str = "iif(titles.source IS NULL AND titles.state <> 'receiving', 0, titles.size_bytes)";

/// Open jobs that will give titles other sources, and by how much those are larger (`more`). Both are stored for a while and
/// one of them stays: the larger one counts.
fn replaced(which: &str) -> String {
    format!(
        "SELECT titles.id AS title, titles.owner AS owner,
             max(0, coalesce(json_extract(jobs.detail, '$.size_bytes'), 0) - {BYTES}) AS more
         FROM jobs JOIN titles ON titles.id = jobs.title
         WHERE jobs.ended_at_ms IS NULL AND jobs.kind = 'replace' AND {which}"
    )
}

impl Catalog {
    /// Adds a key; false if there are [`MAX_KEYS`] already that are not revoked. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is added then.
    pub fn insert_key(&self, key: &ApiKey) -> Result<bool, Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let added = transaction.execute(
            "INSERT INTO api_keys (id, name, hash, scopes, created_at_ms, max_bytes, max_titles, max_uploads)
             SELECT :id, :name, :hash, :scopes, :at, :bytes, :titles, :uploads
             WHERE (SELECT count(*) FROM api_keys WHERE revoked_at_ms IS NULL) < :most",
            named_params! {
                ":id": key.id.as_str(),
                ":name": key.name,
                ":hash": key.hash,
                ":scopes": key.scopes.to_string(),
                ":at": key.created_at_ms,
                ":bytes": key.quota.max_bytes.map(stored),
                ":titles": key.quota.max_titles.map(stored),
                ":uploads": key.quota.max_uploads.map(stored),
                ":most": MAX_KEYS,
            },
        )?;
        transaction.execute(
            "DELETE FROM api_keys WHERE id IN (
                 SELECT id FROM api_keys
                 WHERE revoked_at_ms IS NOT NULL AND NOT EXISTS (SELECT 1 FROM titles WHERE owner = api_keys.id)
                 ORDER BY revoked_at_ms, rowid LIMIT max(0, (SELECT count(*) FROM api_keys) - ?1))",
            [MAX_KEYS],
        )?;
        transaction.commit()?;
        Ok(added > 0)
    }

    /// One key, or `None`.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its row cannot be understood.
    pub fn key(&self, id: &KeyId) -> Result<Option<ApiKey>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys WHERE id = ?1"))?;
        query.query_row([id.as_str()], |row| Ok(read(row))).optional()?.transpose()
    }

    /// All keys, newest first.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a row cannot be understood.
    pub fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        let reader = self.reader();
        let mut query =
            reader.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys ORDER BY created_at_ms DESC, id"))?;
        let rows = query.query_map([], |row| Ok(read(row)))?.collect::<rusqlite::Result<Vec<_>>>()?;
        rows.into_iter().collect()
    }

    /// Whether a key was ever added, and whether one of them is still worth something.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn has_keys(&self) -> Result<(bool, bool), Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM api_keys), EXISTS (SELECT 1 FROM api_keys WHERE revoked_at_ms IS NULL)",
        )?;
        Ok(query.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// Makes a key worth nothing from now on; false if there is none of that id. The time of the first revocation stays.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn revoke_key(&self, id: &KeyId, now_ms: i64) -> Result<bool, Error> {
        let revoke = "UPDATE api_keys SET revoked_at_ms = coalesce(revoked_at_ms, ?2) WHERE id = ?1";
        Ok(self.writer().execute(revoke, params![id.as_str(), now_ms])? > 0)
    }

    /// What a key has. Of uploads under way those alone that are fetched.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn usage(&self, key: &KeyId) -> Result<Usage, Error> {
        usage(&self.reader(), key)
    }

    /// The same of all keys that have something.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn usages(&self) -> Result<HashMap<String, Usage>, Error> {
        let reader = self.reader();
        // One snapshot of both.
        let reader = reader.unchecked_transaction()?;
        let mut query = reader.prepare_cached(&format!(
            "SELECT owner, count(*), coalesce(sum({BYTES}), 0), sum(state = 'receiving')
             FROM titles WHERE owner IS NOT NULL GROUP BY owner"
        ))?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, used(row, 1)?)))?;
        let mut usages: HashMap<String, Usage> = rows.collect::<rusqlite::Result<_>>()?;
        let mut query = reader.prepare_cached(&format!(
            "SELECT owner, sum(more) FROM ({}) GROUP BY owner",
            replaced("titles.owner IS NOT NULL")
        ))?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        for row in rows {
            let (owner, more) = row?;
            usages.entry(owner).or_default().bytes += more.cast_unsigned();
        }
        Ok(usages)
    }

    /// On whose quota a title counts, and how much; `None` if there is none of that id.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a row cannot be understood.
    pub fn counted(&self, title: &TitleId) -> Result<Option<Counted>, Error> {
        counted(&self.reader(), title)
    }

    /// Notes that a key was used.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn key_used(&self, id: &KeyId, now_ms: i64) -> Result<(), Error> {
        self.writer().execute("UPDATE api_keys SET used_at_ms = ?2 WHERE id = ?1", params![id.as_str(), now_ms])?;
        Ok(())
    }
}

/// What a key itself may have.
pub(super) fn quota(connection: &Connection, key: &KeyId) -> Result<Quota, Error> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys WHERE id = ?1"))?;
    let found = query.query_row([key.as_str()], |row| Ok(read(row))).optional()?.transpose()?;
    Ok(found.map(|key| key.quota).unwrap_or_default())
}

/// What would be too much for the owner of this many more titles and bytes, with some bytes gone, if anything.
pub(super) fn exceeded(
    connection: &Connection,
    owner: &Owner,
    size_bytes: u64,
    titles: u64,
    except_bytes: u64,
) -> Result<Option<Exceeded>, Error> {
    let Usage { bytes, titles: there, uploads } = usage(connection, &owner.key)?;
    let bytes = bytes.saturating_sub(except_bytes).saturating_add(size_bytes);
    Ok(owner.quota.exceeded_by(Usage { bytes, titles: there + titles, uploads }))
}

/// As [`Catalog::counted`].
pub(super) fn counted(connection: &Connection, title: &TitleId) -> Result<Option<Counted>, Error> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT owner, {BYTES} + coalesce((SELECT sum(more) FROM ({})), 0)
         FROM titles WHERE id = ?1",
        replaced("titles.id = ?1")
    ))?;
    let read = |row: &Row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, i64>(1)?));
    let Some((owner, bytes)) = query.query_row([title.as_str()], read).optional()? else { return Ok(None) };
    let damaged = |why: String| Error::Damaged { title: title.to_string(), why };
    let owner = owner.map(|key| key.parse().map_err(|why| damaged(format!("{why}")))).transpose()?;
    Ok(Some(Counted { owner, bytes: bytes.cast_unsigned() }))
}

fn usage(connection: &Connection, key: &KeyId) -> Result<Usage, Error> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT count(*), coalesce(sum({BYTES}), 0)
             + coalesce((SELECT sum(more) FROM ({})), 0),
             coalesce(sum(state = 'receiving'), 0)
         FROM titles WHERE owner = ?1",
        replaced("titles.owner = ?1")
    ))?;
    Ok(query.query_row([key.as_str()], |row| used(row, 0))?)
}

fn used(row: &Row, at: usize) -> rusqlite::Result<Usage> {
    let (titles, bytes, uploads): (i64, i64, i64) = (row.get(at)?, row.get(at + 1)?, row.get(at + 2)?);
    Ok(Usage { titles: titles.cast_unsigned(), bytes: bytes.cast_unsigned(), uploads: uploads.cast_unsigned() })
}

fn stored(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn read(row: &Row) -> Result<ApiKey, Error> {
    let id: String = row.get("id")?;
    let damaged = |why: String| Error::DamagedKey { key: id.clone(), why };
    let scopes: String = row.get("scopes")?;
    Ok(ApiKey {
        id: id.parse().map_err(|why| damaged(format!("{why}")))?,
        name: row.get("name")?,
        hash: row.get("hash")?,
        scopes: scopes.parse().map_err(damaged)?,
        created_at_ms: row.get("created_at_ms")?,
        used_at_ms: row.get("used_at_ms")?,
        revoked_at_ms: row.get("revoked_at_ms")?,
        quota: Quota {
            max_bytes: row.get::<_, Option<i64>>("max_bytes")?.map(i64::cast_unsigned),
            max_titles: row.get::<_, Option<i64>>("max_titles")?.map(i64::cast_unsigned),
            max_uploads: row.get::<_, Option<i64>>("max_uploads")?.map(i64::cast_unsigned),
        },
    })
}

//! The tables, and how an older file becomes a newer one.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{BUSY_TIMEOUT, Error};

/// `PRAGMA application_id`, "MTNE": tells our file from any other program's.
pub(super) const APPLICATION_ID: i64 = 0x4d54_4e45;

/// Step `n` makes format `n + 1` of format `n`. Steps are only ever appended; a shipped one never changes.
///
/// Times are Unix milliseconds. `plan` is JSON of `media::Plan`, which can be read by later versions that know more
/// fields, and stands in a table of its own: it is a hundred times as long as the rest of a title, and whatever stood
/// behind it in a row would be found by reading all of it. `notes` is a JSON list of sentences about damage that was worked around. `version` counts the changes of a
/// title that a client can see. A `creation` remembers which title a client's Idempotency-Key made.
pub(super) const STEPS: [&str; 13] = [
    "
    CREATE TABLE titles (
        id            TEXT PRIMARY KEY,
        name          TEXT NOT NULL,
        state         TEXT NOT NULL CHECK (state IN ('receiving', 'processing', 'ready', 'failed')),
        error_code    TEXT,
        error_message TEXT,
        created_at_ms INTEGER NOT NULL,
        source        TEXT,
        file_name     TEXT NOT NULL,
        size_bytes    INTEGER NOT NULL,
        duration_s    REAL,
        notes         TEXT NOT NULL DEFAULT '[]',
        plan          TEXT,
        CHECK ((state = 'failed') = (error_code IS NOT NULL)),
        CHECK (state <> 'ready' OR (plan IS NOT NULL AND source IS NOT NULL AND duration_s IS NOT NULL))
    ) STRICT;
    CREATE INDEX titles_newest ON titles (created_at_ms DESC, id DESC);
    CREATE INDEX titles_source ON titles (source) WHERE source IS NOT NULL;
",
    "
    ALTER TABLE titles ADD COLUMN description TEXT NOT NULL DEFAULT '';
    ALTER TABLE titles ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE titles ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    CREATE INDEX titles_state ON titles (state, created_at_ms DESC, id DESC);
    CREATE TABLE jobs (
        id             TEXT PRIMARY KEY,
        kind           TEXT NOT NULL,
        title          TEXT NOT NULL REFERENCES titles (id) ON DELETE CASCADE,
        state          TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        attempts       INTEGER NOT NULL DEFAULT 0,
        progress       INTEGER NOT NULL DEFAULT 0,
        due_at_ms      INTEGER NOT NULL,
        owner          TEXT,
        lease_until_ms INTEGER,
        error_code     TEXT,
        error_message  TEXT,
        created_at_ms  INTEGER NOT NULL,
        ended_at_ms    INTEGER,
        CHECK ((state = 'running') = (owner IS NOT NULL AND lease_until_ms IS NOT NULL)),
        CHECK ((state IN ('done', 'failed', 'cancelled')) = (ended_at_ms IS NOT NULL))
    ) STRICT;
    CREATE INDEX jobs_newest ON jobs (created_at_ms DESC, id DESC);
    CREATE INDEX jobs_open ON jobs (state, due_at_ms) WHERE ended_at_ms IS NULL;
    CREATE INDEX jobs_title ON jobs (title);
    CREATE TABLE creations (
        key           TEXT PRIMARY KEY,
        fingerprint   TEXT NOT NULL,
        title         TEXT NOT NULL REFERENCES titles (id) ON DELETE CASCADE,
        created_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX creations_title ON creations (title);
",
    "
    CREATE TABLE api_keys (
        id            TEXT PRIMARY KEY,
        name          TEXT NOT NULL,
        hash          BLOB NOT NULL,
        scopes        TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        used_at_ms    INTEGER,
        revoked_at_ms INTEGER
    ) STRICT;
",
    "
    ALTER TABLE jobs ADD COLUMN detail TEXT NOT NULL DEFAULT '{}';
    CREATE TABLE popularity (
        title     TEXT NOT NULL REFERENCES titles (id) ON DELETE CASCADE,
        rendition TEXT NOT NULL,
        score     REAL NOT NULL,
        PRIMARY KEY (title, rendition)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE popularity_of_others (
        at_ms INTEGER NOT NULL,
        cells BLOB NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE titles ADD COLUMN playback_policy TEXT NOT NULL DEFAULT 'public'
        CHECK (playback_policy IN ('public', 'signed'));
",
    "
    CREATE TABLE spent_tokens (
        title         TEXT PRIMARY KEY,
        expires_at_ms INTEGER NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE api_keys ADD COLUMN max_bytes INTEGER;
    ALTER TABLE api_keys ADD COLUMN max_titles INTEGER;
    ALTER TABLE api_keys ADD COLUMN max_uploads INTEGER;
    ALTER TABLE titles ADD COLUMN owner TEXT;
    CREATE INDEX titles_owner ON titles (owner) WHERE owner IS NOT NULL;
",
    "
    ALTER TABLE jobs ADD COLUMN source TEXT;
    CREATE INDEX jobs_source ON jobs (source) WHERE source IS NOT NULL;
",
    "
    CREATE TABLE webhooks (
        id             TEXT PRIMARY KEY,
        url            TEXT NOT NULL,
        events         TEXT NOT NULL,
        created_at_ms  INTEGER NOT NULL,
        disabled_at_ms INTEGER,
        disabled_why   TEXT
    ) STRICT;
    CREATE TABLE deliveries (
        id            TEXT PRIMARY KEY,
        webhook       TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
        event         TEXT NOT NULL,
        body          TEXT NOT NULL,
        state         TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'failed')),
        sending       INTEGER NOT NULL DEFAULT 0,
        attempts      INTEGER NOT NULL DEFAULT 0,
        due_at_ms     INTEGER NOT NULL,
        status        INTEGER,
        error         TEXT,
        created_at_ms INTEGER NOT NULL,
        ended_at_ms   INTEGER,
        CHECK ((state = 'queued') = (ended_at_ms IS NULL))
    ) STRICT;
    CREATE INDEX deliveries_due ON deliveries (due_at_ms) WHERE ended_at_ms IS NULL;
    CREATE INDEX deliveries_webhook ON deliveries (webhook);
",
    "
    CREATE TABLE watched (
        file    TEXT PRIMARY KEY,
        title   TEXT,
        code    TEXT,
        message TEXT,
        CHECK ((title IS NULL) = (code IS NOT NULL))
    ) STRICT;
",
    "
    CREATE TABLE bridged (
        source     TEXT NOT NULL,
        generation TEXT NOT NULL,
        rendition  TEXT NOT NULL,
        segment    INTEGER NOT NULL,
        frames     INTEGER NOT NULL,
        PRIMARY KEY (source, generation, rendition, segment)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER bridged_of_removed AFTER DELETE ON titles
        WHEN OLD.source IS NOT NULL AND NOT EXISTS (SELECT 1 FROM titles WHERE source = OLD.source)
        BEGIN DELETE FROM bridged WHERE source = OLD.source; END;
    CREATE TRIGGER bridged_of_replaced AFTER UPDATE OF source ON titles
        WHEN OLD.source IS NOT NULL AND NOT EXISTS (SELECT 1 FROM titles WHERE source = OLD.source)
        BEGIN DELETE FROM bridged WHERE source = OLD.source; END;
",
    "
    ALTER TABLE watched ADD COLUMN beside TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE watched ADD COLUMN seen_at_ms INTEGER NOT NULL DEFAULT 0;
    UPDATE watched SET seen_at_ms = unixepoch() * 1000;
",
    "
    CREATE TABLE plans (
        title TEXT PRIMARY KEY REFERENCES titles (id) ON DELETE CASCADE,
        plan  TEXT NOT NULL
    ) STRICT;
    INSERT INTO plans (title, plan) SELECT id, plan FROM titles WHERE plan IS NOT NULL;
    CREATE TABLE without_plans (
        id              TEXT PRIMARY KEY,
        name            TEXT NOT NULL,
        state           TEXT NOT NULL CHECK (state IN ('receiving', 'processing', 'ready', 'failed')),
        error_code      TEXT,
        error_message   TEXT,
        created_at_ms   INTEGER NOT NULL,
        source          TEXT,
        file_name       TEXT NOT NULL,
        size_bytes      INTEGER NOT NULL,
        duration_s      REAL,
        version         INTEGER NOT NULL DEFAULT 1,
        playback_policy TEXT NOT NULL DEFAULT 'public' CHECK (playback_policy IN ('public', 'signed')),
        owner           TEXT,
        notes           TEXT NOT NULL DEFAULT '[]',
        description     TEXT NOT NULL DEFAULT '',
        metadata        TEXT NOT NULL DEFAULT '{}',
        CHECK ((state = 'failed') = (error_code IS NOT NULL)),
        CHECK (state <> 'ready' OR (source IS NOT NULL AND duration_s IS NOT NULL))
    ) STRICT;
    INSERT INTO without_plans (id, name, state, error_code, error_message, created_at_ms, source, file_name,
            size_bytes, duration_s, version, playback_policy, owner, notes, description, metadata)
        SELECT id, name, state, error_code, error_message, created_at_ms, source, file_name,
            size_bytes, duration_s, version, playback_policy, owner, notes, description, metadata
        FROM titles ORDER BY rowid;
    DROP TABLE titles;
    ALTER TABLE without_plans RENAME TO titles;
    CREATE INDEX titles_newest ON titles (created_at_ms DESC, id DESC);
    CREATE INDEX titles_source ON titles (source) WHERE source IS NOT NULL;
    CREATE INDEX titles_state ON titles (state, created_at_ms DESC, id DESC);
    CREATE INDEX titles_owner ON titles (owner) WHERE owner IS NOT NULL;
    CREATE TRIGGER bridged_of_removed AFTER DELETE ON titles
        WHEN OLD.source IS NOT NULL AND NOT EXISTS (SELECT 1 FROM titles WHERE source = OLD.source)
        BEGIN DELETE FROM bridged WHERE source = OLD.source; END;
    CREATE TRIGGER bridged_of_replaced AFTER UPDATE OF source ON titles
        WHEN OLD.source IS NOT NULL AND NOT EXISTS (SELECT 1 FROM titles WHERE source = OLD.source)
        BEGIN DELETE FROM bridged WHERE source = OLD.source; END;
",
];

/// The newest format this program knows.
pub(super) const KNOWN: i64 = STEPS.len().cast_signed() as i64;

/// Opens the file for writing, at the newest format.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    // Looking comes first and writes nothing: choosing WAL already changes the file.
    if path.exists() {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let look = Connection::open_with_flags(path, flags).map_err(|e| unusable(path, e))?;
        look.busy_timeout(BUSY_TIMEOUT)?;
        // One snapshot: between two looks another process may migrate.
        format(&*look.unchecked_transaction()?, path)?;
    }
    let mut connection = connect(path).map_err(|e| unusable(path, e))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// A connection with our settings. The file is made if it is not there.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let began = Instant::now();
    // The change to WAL does not wait for the busy time-out when another process makes the same change.
    while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || began.elapsed() > BUSY_TIMEOUT {
            return Err(error);
        }
        std::thread::yield_now();
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// The file's format: 0 for an empty one. Needs a transaction.
fn format(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables = || connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let (found, application, tables) = (|| Ok((read("user_version")?, read("application_id")?, tables()?)))()
        .map_err(|error: rusqlite::Error| unusable(path, error))?;
    match (found, application, tables) {
        (0, 0, 0) => Ok(0),
        (_, APPLICATION_ID, _) if found > KNOWN => Err(Error::Newer { path: path.to_owned(), found, known: KNOWN }),
        (1.., APPLICATION_ID, _) => Ok(found),
        _ => Err(Error::Foreign { path: path.to_owned() }),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    // A step that puts another table in the place of one would take along what refers to it. This cannot be said within a
    // transaction.
    connection.pragma_update(None, "foreign_keys", false)?;
    // All steps in one transaction, and the format is read inside it: of two processes that start at once one migrates.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = format(&transaction, path)?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step)?;
    }
    if found < KNOWN {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", KNOWN)?;
    }
    transaction.commit()?;
    Ok(connection.pragma_update(None, "foreign_keys", true)?)
}

pub(super) fn unusable(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::Foreign { path: path.to_owned() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => error.into(),
        _ => Error::Unusable { path: path.to_owned(), why: error.to_string() },
    }
}

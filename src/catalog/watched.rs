//! Files of the watched folder and what became of them, as long as they are there and for a while after.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::{Catalog, Error, Failure};
use crate::media::TitleId;

/// How long a file must not have been seen to be forgotten, milliseconds: a disk that was away for less brings no film a
/// second time.
const FORGET_MS: i64 = 24 * 3600 * 1000;
/// That a file was seen is noted this often, milliseconds: each time is a write.
const NOTE_MS: i64 = 3600 * 1000;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// This title, which may have been removed since.
    Title(TitleId),
    /// Nothing.
    Refused(Failure),
}

/// A file of the watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lying {
    /// Names it as it was when it was looked at.
    pub file: String,
    /// The same of those beside it that are its own.
    pub beside: Vec<String>,
}

impl Catalog {
    /// What became of a file and which files beside it were its own, if it was taken in or refused. That it was taken in
    /// is noted by [`Catalog::insert_ready`].
    ///
    /// # Errors
    /// [`Error::Damaged`] if a row cannot be understood.
    pub fn watched(&self, file: &str) -> Result<Option<(Watched, Vec<String>)>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT title, code, message, beside FROM watched WHERE file = ?1")?;
        let text = |row: &rusqlite::Row, n| row.get::<_, Option<String>>(n);
        let read = |row: &rusqlite::Row| Ok((text(row, 0)?, text(row, 1)?, text(row, 2)?, row.get::<_, String>(3)?));
        let Some((title, code, message, beside)) = query.query_row([file], read).optional()? else { return Ok(None) };
        let beside = serde_json::from_str(&beside).unwrap_or_default();
        let Some(title) = title else {
            let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
            return Ok(Some((Watched::Refused(Failure { code, message }), beside)));
        };
        let title = title.parse().map_err(|why| Error::Damaged { title, why: format!("{why}") })?;
        Ok(Some((Watched::Title(title), beside)))
    }

    /// Notes that a file cannot be a title.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn note_refused(&self, lying: &Lying, failure: &Failure, now_ms: i64) -> Result<(), Error> {
        note(&self.writer(), lying, &Watched::Refused(failure.clone()), now_ms)
    }

    /// Forgets a file that was put away: another one of its name, size and time is another film.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn forget_watched(&self, file: &str) -> Result<(), Error> {
        self.writer().execute("DELETE FROM watched WHERE file = ?1", [file])?;
        Ok(())
    }

    /// Notes which files are there, and forgets those that have not been for a day.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn see_watched(&self, there: &[String], now_ms: i64) -> Result<(), Error> {
        let there = json!(there).to_string();
        let (seen, gone) = (now_ms.saturating_sub(NOTE_MS), now_ms.saturating_sub(FORGET_MS + NOTE_MS));
        let is_due: bool = {
            let reader = self.reader();
            let mut query = reader.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM watched WHERE
                     (seen_at_ms < ?2 AND file IN (SELECT value FROM json_each(?1))) OR
                     (seen_at_ms < ?3 AND file NOT IN (SELECT value FROM json_each(?1))))",
            )?;
            query.query_row(params![there, seen, gone], |row| row.get(0))?
        };
        if !is_due {
            return Ok(());
        }
        let mut writer = self.writer();
        let transaction = writer.transaction()?;
        transaction.execute(
            "UPDATE watched SET seen_at_ms = ?2 WHERE file IN (SELECT value FROM json_each(?1))",
            params![there, now_ms],
        )?;
        transaction.execute("DELETE FROM watched WHERE seen_at_ms < ?1", [gone])?;
        Ok(transaction.commit()?)
    }
}

/// Notes what became of a file.
pub(super) fn note(connection: &Connection, lying: &Lying, became: &Watched, now_ms: i64) -> Result<(), Error> {
    let (title, failure) = match became {
        Watched::Title(title) => (Some(title.as_str()), None),
        Watched::Refused(failure) => (None, Some(failure)),
    };
    connection.execute(
        "INSERT OR REPLACE INTO watched (file, title, code, message, beside, seen_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            lying.file,
            title,
            failure.map(|failure| failure.code.as_str()),
            failure.map(|failure| failure.message.as_str()),
            json!(lying.beside).to_string(),
            now_ms
        ],
    )?;
    Ok(())
}

//! Files of the watched folder and what became of them, as long as they are there.

use rusqlite::{OptionalExtension, params};

use super::{Catalog, Error, Failure};
use crate::media::TitleId;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// This title, which may have been removed since.
    Title(TitleId),
    /// Nothing.
    Refused(Failure),
}

impl Catalog {
    /// What became of a file, if it was taken in or refused. That it was taken in is noted by
    /// [`Catalog::insert_ready`].
    ///
    /// # Errors
    /// As any call.
    pub fn watched(&self, file: &str) -> Result<Option<Watched>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT title, code, message FROM watched WHERE file = ?1")?;
        let read = |row: &rusqlite::Row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?))
        };
        let Some((title, code, message)) = query.query_row([file], read).optional()? else { return Ok(None) };
        let Some(title) = title else {
            let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
            return Ok(Some(Watched::Refused(Failure { code, message })));
        };
        let title = title.parse().map_err(|why| Error::Damaged { title, why: format!("{why}") })?;
        Ok(Some(Watched::Title(title)))
    }

    /// Notes that a file cannot be a title.
    ///
    /// # Errors
    /// As any call.
    pub fn note_refused(&self, file: &str, failure: &Failure) -> Result<(), Error> {
        self.writer().execute(
            "INSERT OR REPLACE INTO watched (file, code, message) VALUES (?1, ?2, ?3)",
            params![file, failure.code, failure.message],
        )?;
        Ok(())
    }

    /// Forgets files that are not among these.
    ///
    /// # Errors
    /// As any call.
    pub fn forget_watched(&self, there: &[String]) -> Result<(), Error> {
        let known: Vec<String> = {
            let reader = self.reader();
            let mut query = reader.prepare_cached("SELECT file FROM watched")?;
            query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
        };
        let there: std::collections::HashSet<&str> = there.iter().map(String::as_str).collect();
        for gone in known.iter().filter(|file| !there.contains(file.as_str())) {
            self.writer().execute("DELETE FROM watched WHERE file = ?1", [gone])?;
        }
        Ok(())
    }
}

//! How much titles are asked for, as it was when last noted.

use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::{Catalog, Error};
use crate::media::{RenditionName, TitleId};

/// What was noted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Popularity {
    /// As of when, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Titles and renditions counted one by one.
    pub scores: Vec<(TitleId, RenditionName, f64)>,
    /// The sketch of all others; its form is the warmer's.
    pub others: Vec<u8>,
}

impl Catalog {
    /// Notes it in the place of what was noted before. Titles that are gone are left out.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn note_popularity(&self, noted: &Popularity) -> Result<(), Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM popularity", [])?;
        transaction.execute("DELETE FROM popularity_of_others", [])?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO popularity (title, rendition, score) SELECT id, ?2, ?3 FROM titles WHERE id = ?1",
            )?;
            for (title, rendition, score) in &noted.scores {
                insert.execute(params![title.as_str(), rendition.as_str(), score])?;
            }
        }
        transaction.execute("INSERT INTO popularity_of_others VALUES (?1, ?2)", params![noted.at_ms, noted.others])?;
        Ok(transaction.commit()?)
    }

    /// What was noted last; nothing if nothing was. Rows that cannot be understood are left out: this is a hint.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn popularity(&self) -> Result<Popularity, Error> {
        let reader = self.reader();
        let others = "SELECT at_ms, cells FROM popularity_of_others";
        let others = reader.query_row(others, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (at_ms, others) = others.unwrap_or_default();
        let mut query = reader.prepare_cached("SELECT title, rendition, score FROM popularity")?;
        let rows = query
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, f64>(2)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let scores = rows
            .into_iter()
            .filter_map(|(title, rendition, score)| Some((title.parse().ok()?, rendition.parse().ok()?, score)));
        Ok(Popularity { at_ms, scores: scores.collect(), others })
    }
}

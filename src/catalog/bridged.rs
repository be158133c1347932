//! Frames that could not be decoded, as far as segments were made. A segment is the same whenever it is made, so it is noted
//! once. What is noted goes with the last title of its source, by triggers.

use rusqlite::params;

use super::{Catalog, Error};
use crate::media::{Digest, Generation, RenditionName};

impl Catalog {
    /// Notes how many frames of a segment were replaced by their neighbour or by silence. Of a source that no title has it is
    /// not noted.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn note_bridged(
        &self,
        (source, generation): (&Digest, &Generation),
        (rendition, segment): (&RenditionName, u32),
        frames: u32,
    ) -> Result<(), Error> {
        self.writer().execute(
            "INSERT OR REPLACE INTO bridged (source, generation, rendition, segment, frames)
             SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM titles WHERE source = ?1)",
            params![source.as_str(), generation.as_str(), rendition.as_str(), segment, frames],
        )?;
        Ok(())
    }

    /// Frames bridged so far in the rendition that has most of them: the same ones are missing in all.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn bridged(&self, source: &Digest, generation: &Generation) -> Result<u64, Error> {
        let most = "SELECT coalesce(max(frames), 0) FROM (SELECT sum(frames) AS frames FROM bridged
             WHERE source = ?1 AND generation = ?2 GROUP BY rendition)";
        let reader = self.reader();
        let mut query = reader.prepare_cached(most)?;
        let frames: i64 = query.query_row([source.as_str(), generation.as_str()], |row| row.get(0))?;
        Ok(frames.max(0).cast_unsigned())
    }
}

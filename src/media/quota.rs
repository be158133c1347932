//! How much a key may have.

use serde::Serialize;

/// How much a key may have. `None` is what the configuration says, 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Bytes of films, of those that are still coming, too.
    pub max_bytes: Option<u64>,
    /// Titles.
    pub max_titles: Option<u64>,
    /// Uploads at once, unfinished resumable ones included.
    pub max_uploads: Option<u64>,
}

/// Which limit was reached, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// Bytes of films.
    Bytes(u64),
    /// Titles.
    Titles(u64),
    /// Uploads at once.
    Uploads(u64),
}

/// What a key has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes of films.
    pub bytes: u64,
    /// Titles.
    pub titles: u64,
    /// Uploads under way.
    pub uploads: u64,
}

impl Quota {
    /// With the configuration's word where there is none of its own.
    #[must_use]
    pub fn or(self, configured: Self) -> Self {
        Self {
            max_bytes: self.max_bytes.or(configured.max_bytes),
            max_titles: self.max_titles.or(configured.max_titles),
            max_uploads: self.max_uploads.or(configured.max_uploads),
        }
    }

    /// What would be too much of having this.
    #[must_use]
    pub fn exceeded_by(self, usage: Usage) -> Option<Exceeded> {
        let over = |limit: Option<u64>, used: u64| limit.filter(|limit| *limit != 0 && used > *limit);
        over(self.max_uploads, usage.uploads)
            .map(Exceeded::Uploads)
            .or_else(|| over(self.max_titles, usage.titles).map(Exceeded::Titles))
            .or_else(|| over(self.max_bytes, usage.bytes).map(Exceeded::Bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_configured_and_nought_is_no_limit() {
        let key = Quota { max_bytes: Some(0), max_titles: Some(2), max_uploads: None };
        let quota = key.or(Quota { max_bytes: Some(7), max_titles: Some(9), max_uploads: Some(1) });
        let full = Usage { bytes: u64::MAX, titles: 2, uploads: 1 };
        assert_eq!(quota.exceeded_by(full), None);
        assert_eq!(quota.exceeded_by(Usage { titles: 3, ..full }), Some(Exceeded::Titles(2)));
        assert_eq!(quota.exceeded_by(Usage { uploads: 2, ..full }), Some(Exceeded::Uploads(1)));
        let bytes = Quota { max_bytes: Some(7), ..Quota::default() };
        assert_eq!(bytes.exceeded_by(Usage { bytes: 8, ..Usage::default() }), Some(Exceeded::Bytes(7)));
    }
}

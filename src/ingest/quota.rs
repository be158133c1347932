//! How much a key may bring: looked at before the first byte, where bytes come, and once more when the title is entered,
//! which is what counts.

use super::file::blocking;
use super::{Error, Uploads};
use crate::catalog::Owner;
use crate::media::{Exceeded, KeyId, Quota, Usage};

/// Leave to bring a film. An upload is under way as long as it lives.
#[derive(Debug)]
pub struct Admission {
    uploads: Uploads,
    key: Option<KeyId>,
    quota: Quota,
    left_bytes: u64,
}

/// What is to be brought.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its length, if that is known.
    pub bytes: Option<u64>,
    /// Titles that will be more: 0 or 1.
    pub titles: u64,
    /// Bytes that go for it.
    pub replaced_bytes: u64,
}

impl Uploads {
    /// Lets a key bring a film, if it may. `open` is what it has open of resumable uploads. Without a key there is no
    /// limit.
    ///
    /// # Errors
    /// [`Error::Quota`], [`Error::Catalog`].
    pub async fn admit(&self, key: Option<&KeyId>, open: Usage, wanted: Wanted) -> Result<Admission, Error> {
        let Some(key) = key.cloned() else {
            let (uploads, quota) = (self.clone(), Quota::default());
            return Ok(Admission { uploads, key: None, quota, left_bytes: u64::MAX });
        };
        let (this, of) = (self.clone(), key.clone());
        let (quota, mut usage) = blocking(move || Ok((this.quota(&of)?, this.0.rooms.catalog.usage(&of)?))).await?;
        usage.bytes = usage.bytes.saturating_add(open.bytes).saturating_sub(wanted.replaced_bytes);
        let left_bytes = quota.bytes_left(usage).unwrap_or(u64::MAX);
        let mut under_way = self.under_way();
        let mine = under_way.entry(key.clone()).or_default();
        let after = Usage {
            bytes: usage.bytes.saturating_add(wanted.bytes.unwrap_or(1)),
            titles: usage.titles + wanted.titles,
            uploads: usage.uploads + *mine + open.uploads + 1,
        };
        match quota.exceeded_by(after) {
            None => *mine += 1,
            Some(exceeded) => return Err(Error::Quota(exceeded)),
        }
        drop(under_way);
        Ok(Admission { uploads: self.clone(), key: Some(key), quota, left_bytes })
    }

    /// What a key may have.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub fn quota(&self, key: &KeyId) -> Result<Quota, Error> {
        let own = self.0.rooms.catalog.key(key)?.map(|key| key.quota).unwrap_or_default();
        Ok(own.or(self.config().quota()))
    }

    /// Who owns what this key brings, and how much that may be.
    pub(super) fn owner(&self, key: Option<KeyId>) -> Result<Option<Owner>, Error> {
        key.map(|key| Ok(Owner { quota: self.quota(&key)?, key })).transpose()
    }

    /// Uploads of a key under way in this moment, without resumable ones.
    #[must_use]
    pub fn under_way_of(&self, key: &KeyId) -> u64 {
        self.under_way().get(key).copied().unwrap_or_default()
    }
}

impl Admission {
    /// Bytes that may come, and what is exceeded by more, if there is a limit.
    pub(super) fn bound(&self) -> Option<(u64, Exceeded)> {
        let limit = self.quota.max_bytes.filter(|limit| *limit != 0)?;
        Some((self.left_bytes, Exceeded::Bytes(limit)))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(key) = &self.key else { return };
        let mut under_way = self.uploads.under_way();
        if let Some(mine) = under_way.get_mut(key) {
            *mine -= 1;
            if *mine == 0 {
                under_way.remove(key);
            }
        }
    }
}

//! How much a key may bring: looked at before the first byte, where bytes come, and once more when the title is entered,
//! which is what counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::file::blocking;
use super::{Error, Uploads};
use crate::catalog::Owner;
use crate::media::{Exceeded, KeyId, Quota, Usage};

/// Leave to bring a film. As long as it lives, an upload is under way, and what it announced or brought is not there for
/// others. Clones are the same.
#[derive(Clone, Debug)]
pub struct Admission(Option<Arc<Share>>);

#[derive(Debug)]
struct Share {
    uploads: Uploads,
    key: KeyId,
    quota: Quota,
    /// What its key had then, without what was under way.
    had_bytes: u64,
    /// What of the key's uploads under way is this one's.
    takes: Mutex<Usage>,
}

/// What is to be brought.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its length, if that is known.
    pub bytes: Option<u64>,
    /// Titles that will be more: 0 or 1.
    pub titles: u64,
    /// Uploads that will be more: 0 for one that is open already.
    pub uploads: u64,
    /// Bytes that go for it.
    pub replaced_bytes: u64,
}

impl Uploads {
    /// Lets a key bring a film, if it may. `open` is what it has open of resumable uploads. Without a key there is no
    /// limit.
    ///
    /// # Errors
    /// [`Error::Quota`], [`Error::Catalog`].
    pub async fn admit(
        &self,
        key: Option<&KeyId>,
        open: impl FnOnce() -> Usage,
        wanted: Wanted,
    ) -> Result<Admission, Error> {
        let Some(key) = key.cloned() else { return Ok(Admission(None)) };
        let (this, of) = (self.clone(), key.clone());
        let (quota, usage) = blocking(move || Ok((this.quota(&of)?, this.0.rooms.catalog.usage(&of)?))).await?;
        let takes = Usage { bytes: wanted.bytes.unwrap_or(0), titles: wanted.titles, uploads: wanted.uploads };
        let mut under_way = self.under_way();
        // Asked here: one that is opened meanwhile is under way or open.
        let open = open();
        let mine = under_way.entry(key.clone()).or_default();
        let had_bytes = usage.bytes.saturating_add(open.bytes).saturating_sub(wanted.replaced_bytes);
        let after = Usage {
            bytes: had_bytes.saturating_add(mine.bytes).saturating_add(takes.bytes.max(1)),
            titles: usage.titles + mine.titles + takes.titles,
            uploads: usage.uploads + mine.uploads + open.uploads + takes.uploads,
        };
        if let Some(exceeded) = quota.exceeded_by(after) {
            forget(&mut under_way, &key);
            return Err(Error::Quota(exceeded));
        }
        mine.bytes = mine.bytes.saturating_add(takes.bytes);
        mine.titles += takes.titles;
        mine.uploads += takes.uploads;
        drop(under_way);
        let uploads = self.clone();
        Ok(Admission(Some(Arc::new(Share { uploads, key, quota, had_bytes, takes: Mutex::new(takes) }))))
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

    /// What a key has under way in this moment, without what it has open of resumable uploads.
    #[must_use]
    pub fn under_way_of(&self, key: &KeyId) -> Usage {
        self.under_way().get(key).copied().unwrap_or_default()
    }
}

impl Admission {
    /// Bytes that may come in this moment, and what is exceeded by more, if there is a limit.
    pub(super) fn bound(&self) -> Option<(u64, Exceeded)> {
        let share = self.0.as_ref()?;
        let limit = share.limit()?;
        let takes = share.takes.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        let others = share.uploads.under_way().get(&share.key).map_or(0, |mine| mine.bytes.saturating_sub(takes));
        Some((limit.saturating_sub(share.had_bytes).saturating_sub(others), Exceeded::Bytes(limit)))
    }

    /// Takes as many bytes as have come, should that be more than was announced.
    ///
    /// # Errors
    /// [`Error::Quota`].
    pub(super) fn came(&self, bytes: u64) -> Result<(), Error> {
        let Some((share, limit)) = self.0.as_ref().and_then(|share| Some((share, share.limit()?))) else {
            return Ok(());
        };
        let mut takes = share.takes.lock().unwrap_or_else(PoisonError::into_inner);
        let more = bytes.saturating_sub(takes.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut under_way = share.uploads.under_way();
        let mine = under_way.entry(share.key.clone()).or_default();
        if share.had_bytes.saturating_add(mine.bytes).saturating_add(more) > limit {
            return Err(Error::Quota(Exceeded::Bytes(limit)));
        }
        mine.bytes += more;
        takes.bytes = bytes;
        Ok(())
    }
}

impl Share {
    fn limit(&self) -> Option<u64> {
        self.quota.max_bytes.filter(|limit| *limit != 0)
    }
}

/// It is under way no more, and its bytes are the title's or nobody's.
impl Drop for Share {
    fn drop(&mut self) {
        let takes = *self.takes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut under_way = self.uploads.under_way();
        if let Some(mine) = under_way.get_mut(&self.key) {
            mine.bytes -= takes.bytes;
            mine.titles -= takes.titles;
            mine.uploads -= takes.uploads;
        }
        forget(&mut under_way, &self.key);
    }
}

/// Keys that have nothing under way any more are not kept.
fn forget(under_way: &mut HashMap<KeyId, Usage>, key: &KeyId) {
    if under_way.get(key).is_some_and(|mine| *mine == Usage::default()) {
        under_way.remove(key);
    }
}

//! Whether a film has room on the disk, and who may make some.

use std::fmt;
use std::sync::Arc;

use super::{Error, Library};

/// Asked by how many bytes the room falls short. True if somebody makes so much: some at once, and the rest when they are asked
/// again. May block.
pub type GiveWay = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// Whoever may make room.
#[derive(Clone, Default)]
pub(super) struct Asked(Option<GiveWay>);

impl Library {
    /// The same library, which asks this for room before a film is refused.
    #[must_use]
    pub fn asking(self, give_way: GiveWay) -> Self {
        Self { asked: Asked(Some(give_way)), ..self }
    }

    /// Whether so many bytes can be written with so many left free.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn room_for(&self, needed_bytes: u64, reserve_bytes: u64) -> Result<(), Error> {
        let all_bytes = self.free_bytes().unwrap_or(u64::MAX);
        let missing_bytes = needed_bytes.max(1).saturating_add(reserve_bytes).saturating_sub(all_bytes);
        if missing_bytes == 0 || self.asked.0.as_ref().is_some_and(|give_way| give_way(missing_bytes)) {
            return Ok(());
        }
        let free_bytes = all_bytes.saturating_sub(reserve_bytes);
        Err(Error::Full { folder: self.staging.clone(), free_bytes, needed_bytes })
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.0.is_some()).finish()
    }
}

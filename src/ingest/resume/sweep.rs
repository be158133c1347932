//! What nobody asks for: what a dead process had in hand goes on, and what has expired goes.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::time::interval;

use super::{Inner, Purpose, Resumables, Status, Upload, blocking};
use crate::catalog::now_ms;

/// How often expired uploads are looked for; they are refused from the moment they expire.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Resumables {
    /// What a process that died had in hand.
    pub(super) fn catch_up(&self) {
        for upload in self.all().values().filter(|upload| upload.status().title.is_none()) {
            let (this, upload, status) = (self.clone(), upload.clone(), upload.status());
            let is_whole = matches!(upload.declared.purpose, Purpose::Whole(_));
            if is_whole || status.length_bytes == Some(status.offset_bytes) {
                tokio::spawn(async move {
                    let done = if is_whole { this.joined(&upload).await } else { this.settle(&status.id).await };
                    if let Err(error) = done {
                        tracing::warn!(upload = %status.id, %error, "a complete upload could not become a title");
                    }
                });
            }
        }
    }

    pub(super) async fn remove_expired(&self) {
        let now = now_ms();
        for upload in self.all().values() {
            // Nobody is at it: what a request that was cut left open is closed.
            if let Ok(mut held) = upload.held.try_lock() {
                held.rest();
            }
        }
        let expired: Vec<_> = self.all().values().filter(|u| u.status().expires_at_ms <= now).cloned().collect();
        for upload in expired {
            self.remove_idle(&upload, |status| status.expires_at_ms <= now_ms()).await;
        }
        let unread = || self.0.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = unread().extract_if(.., |(_, expires_at_ms)| *expires_at_ms <= now).collect();
        for (id, _) in gone {
            let (library, of) = (self.0.uploads.0.rooms.library.clone(), id.clone());
            if let Err(error) = blocking(move || Ok(library.remove_resumable(&of)?)).await {
                tracing::warn!(upload = %id, %error, "an upload is left to the next start");
            }
        }
    }

    /// Removes the oldest finished ones, all but so many.
    pub(super) async fn forget_finished(&self, kept: usize) {
        let mut finished: Vec<_> = self.all().values().filter(|upload| upload.is_finished()).cloned().collect();
        let more = finished.len().saturating_sub(kept);
        if more > 0 {
            finished.sort_by_cached_key(|upload| upload.status().expires_at_ms);
            for upload in &finished[..more] {
                self.remove_idle(upload, |status| status.title.is_some()).await;
            }
        }
    }

    /// Removes one that nobody is at, if it still `may` go then: whoever was at it in the meantime has touched it.
    pub(super) async fn remove_idle(&self, upload: &Arc<Upload>, may: impl FnOnce(&Status) -> bool) {
        let Ok(mut held) = upload.held.clone().try_lock_owned() else { return };
        upload.note(&held, &self.0.uploads);
        let status = upload.status();
        if !may(&status) {
            return;
        }
        let id = status.id;
        self.all().remove(&id);
        match blocking(move || Ok(held.remove()?)).await {
            Ok(()) => tracing::info!(upload = %id, video = ?status.title, "an upload is forgotten"),
            Err(error) => tracing::warn!(upload = %id, %error, "an upload is left to the next start"),
        }
    }
}

/// Until all handles are gone.
pub(super) async fn sweep(inner: Weak<Inner>) {
    let mut clock = interval(SWEEP_EVERY);
    loop {
        clock.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let resumables = Resumables(inner);
        resumables.remove_expired().await;
        resumables.join_again();
    }
}

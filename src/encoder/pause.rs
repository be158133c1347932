//! Warming stands still while viewers have all slots: the kindest worker still has caches and memory in common with theirs.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::worker::protocol::Event;
use crate::worker::{Death, Worker};

/// Longest pause: what stands still keeps its memory, its slot, and others from making the same.
const LONGEST: Duration = Duration::from_secs(10);

/// The next thing a worker says that stands still while it is `crowded`; `None` if it did so for too long and is to be given
/// up. May be cancelled and called again.
pub async fn next(worker: &mut Worker, crowded: &mut watch::Receiver<bool>) -> Result<Option<Event>, Death> {
    loop {
        tokio::select! {
            biased;
            Ok(_) = crowded.wait_for(|is_crowded| *is_crowded) => {}
            event = worker.next() => return event.map(Some),
        }
        let _paused = worker.pause();
        if timeout(LONGEST, crowded.wait_for(|is_crowded| !*is_crowded)).await.is_err() {
            return Ok(None);
        }
    }
}

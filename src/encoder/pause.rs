//! Warming stands still while viewers have all cores: the kindest worker still has caches and memory in common with theirs.

use tokio::sync::watch;

use crate::worker::protocol::Event;
use crate::worker::{Death, Worker};

/// The next thing a worker says that stands still while it is `crowded`. May be cancelled and called again.
pub async fn next(worker: &mut Worker, crowded: &mut watch::Receiver<bool>) -> Result<Event, Death> {
    loop {
        tokio::select! {
            biased;
            _ = crowded.wait_for(|is_crowded| *is_crowded) => {}
            event = worker.next() => return event,
        }
        let _paused = worker.pause();
        // It goes on if there is nobody left who could tell.
        let _ = crowded.wait_for(|is_crowded| !*is_crowded).await;
    }
}

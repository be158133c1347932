//! Alive and able: for orchestrators.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Origin;
use super::Ready;
use super::error::Problem;
use super::respond::{self, Asked, Response};

/// How long an answer is good for everybody who asks: looking takes a thread, the catalog and the disk.
const FRESH: Duration = Duration::from_secs(1);

/// Shares what somebody found among those who ask.
#[derive(Default)]
pub(super) struct Readiness(Arc<Mutex<Option<Look>>>);

struct Look {
    at: Instant,
    found: Result<(), String>,
}

/// `/healthz`: the process answers.
pub(super) fn alive(asked: &Asked) -> Response {
    respond::now(asked, "text/plain; charset=utf-8", "ok\n".to_owned())
}

/// `/readyz`: catalog, disk and an encoder are there, and the server is not stopping.
pub(super) async fn ready(origin: &Origin, asked: &Asked) -> Result<Response, Problem> {
    if origin.stopping() {
        return Err(Problem::NotServing { reason: "it is stopping".into() });
    }
    match origin.readiness.look(&origin.rooms.ready).await {
        Ok(()) => Ok(respond::now(asked, "text/plain; charset=utf-8", "ready\n".to_owned())),
        Err(reason) => Err(Problem::NotServing { reason }),
    }
}

impl Readiness {
    /// One look at a time: whoever comes meanwhile waits for its answer.
    async fn look(&self, ready: &Ready) -> Result<(), String> {
        let mut last = self.0.clone().lock_owned().await;
        if let Some(look) = last.as_ref().filter(|look| look.at.elapsed() < FRESH) {
            return look.found.clone();
        }
        let ready = ready.clone();
        // It reads catalog and disk, which block. The lock goes along, so that clients who leave do not have it looked for
        // again and again.
        let look = tokio::task::spawn_blocking(move || {
            let found = ready();
            *last = Some(Look { at: Instant::now(), found: found.clone() });
            found
        });
        look.await.unwrap_or_else(|panic| Err(panic.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_within_a_second_gets_one_answer_good_or_bad() {
        let looks = Arc::new(AtomicUsize::new(0));
        let ready: Ready = {
            let looks = looks.clone();
            Arc::new(move || if looks.fetch_add(1, Ordering::SeqCst) == 0 { Ok(()) } else { Err("full".into()) })
        };
        let readiness = Readiness::default();
        let at_once = tokio::join!(readiness.look(&ready), readiness.look(&ready), readiness.look(&ready));
        assert_eq!(at_once, (Ok(()), Ok(()), Ok(())));
        assert_eq!((readiness.look(&ready).await, looks.load(Ordering::SeqCst)), (Ok(()), 1));
        tokio::time::advance(FRESH).await;
        for _ in 0..2 {
            assert_eq!((readiness.look(&ready).await, looks.load(Ordering::SeqCst)), (Err("full".into()), 2));
        }
    }
}

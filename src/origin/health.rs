//! Alive and able: for orchestrators.

use super::Origin;
use super::error::Problem;
use super::respond::{self, Asked, Response};

/// `/healthz`: the process answers.
pub(super) fn alive(asked: &Asked) -> Response {
    respond::now(asked, "text/plain; charset=utf-8", "ok\n".to_owned())
}

/// `/readyz`: catalog, disk and an encoder are there, and the server is not stopping.
pub(super) async fn ready(origin: &Origin, asked: &Asked) -> Result<Response, Problem> {
    if origin.stopping() {
        return Err(Problem::NotServing { reason: "it is stopping".into() });
    }
    let ready = origin.rooms.ready.clone();
    // It reads catalog and disk, which block.
    match tokio::task::spawn_blocking(move || ready()).await {
        Ok(Ok(())) => Ok(respond::now(asked, "text/plain; charset=utf-8", "ready\n".to_owned())),
        Ok(Err(reason)) => Err(Problem::NotServing { reason }),
        Err(panic) => Err(Problem::NotServing { reason: panic.to_string() }),
    }
}

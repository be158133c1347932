//! Jobs: what is queued and running, and what became of it.

use std::sync::Arc;

use http::request;
use serde_json::{Value, json};

use super::problem::{self, Problem};
use super::query::{self, Listing};
use super::video::time;
use super::{Api, Response, blocking, respond};
use crate::catalog::{Cancelled, Failure, Job, JobCursor, JobState, Kind, State, now_ms};
use crate::ingest::discard;
use crate::ingest::events::What;
use crate::media::JobId;

/// `GET /jobs`: newest first.
pub(super) async fn list(api: &Arc<Api>, parts: &request::Parts) -> Result<Response, Problem> {
    let Listing { after, limit, state } = query::listing::<JobCursor, JobState>(parts)?;
    let catalog = api.rooms.catalog.clone();
    let page = blocking(move || Ok(catalog.jobs(after.as_ref(), limit, state)?)).await?;
    let jobs: Vec<Value> = page.jobs.iter().map(shown).collect();
    Ok(respond::json(&json!({ "jobs": jobs, "next_cursor": page.next.map(|next| next.to_string()) })))
}

/// `GET /jobs/{id}`.
pub(super) async fn one(api: &Arc<Api>, id: &JobId) -> Result<Response, Problem> {
    let (catalog, id) = (api.rooms.catalog.clone(), id.clone());
    let job = blocking(move || Ok(catalog.job(&id)?)).await?.ok_or_else(|| Problem::of(problem::Kind::NoJob))?;
    Ok(respond::json(&shown(&job)))
}

/// `DELETE /jobs/{id}`: calls it off. A title that was to become ready by it fails, and what was stored of it goes.
pub(super) async fn cancel(api: &Arc<Api>, id: &JobId) -> Result<Response, Problem> {
    let (this, id) = (api.clone(), id.clone());
    // All of it in here: a client that leaves takes what follows an await along.
    let job = blocking(move || {
        let catalog = &this.rooms.catalog;
        let job = catalog.job(&id)?.ok_or_else(|| Problem::of(problem::Kind::NoJob))?;
        let source = match job.source {
            Some(source) => Some(source),
            None => catalog.title(&job.title)?.and_then(|title| title.entry.source),
        };
        let title = match catalog.cancel(&id, now_ms())? {
            Cancelled::Done(title) => title,
            Cancelled::Ended => return Err(Problem::of(problem::Kind::JobEnded)),
            Cancelled::Absent => return Err(Problem::of(problem::Kind::NoJob)),
        };
        this.rooms.processor.call_off(&id);
        (this.rooms.forget)(&title);
        if let Some(digest) = source {
            discard::source(catalog, &this.rooms.library, &digest);
        }
        let job = catalog.job(&id)?.ok_or_else(|| Problem::of(problem::Kind::NoJob))?;
        if job.kind == Kind::Replace {
            let error = Some(Failure { code: "cancelled".to_owned(), message: "cancelled by request".to_owned() });
            this.rooms.events.tell(&title, What::Replaced { replaced: false, error });
        } else if let Some(entry) = catalog.title(&title)?.map(|title| title.entry)
            && entry.state == State::Failed
        {
            this.rooms.events.tell(&title, What::State { state: entry.state, error: entry.failure });
        }
        Ok(job)
    });
    Ok(respond::json(&shown(&job.await?)))
}

pub(super) fn shown(job: &Job) -> Value {
    let error: Option<&Failure> = job.failure.as_ref();
    json!({
        "id": job.id, "kind": job.kind, "video": job.title, "state": job.state, "attempts": job.attempts,
        "progress": job.progress, "error": error, "created_at": time(job.created_at_ms), "due_at": time(job.due_at_ms),
        "ended_at": job.ended_at_ms.map(time),
    })
}

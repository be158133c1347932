//! `POST /videos/{id}/warm`: a job that encodes a title, or part of it, ahead of demand.

use std::sync::Arc;

use http::request;

use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::{Api, Response, blocking, jobs, respond, videos};
use crate::catalog::State;
use crate::media::TitleId;
use crate::warmer::{Range, Warmer};

/// Longest body, bytes: the names of a few dozen renditions and two numbers.
const MAX_BODY_BYTES: usize = 16 << 10;

pub(super) async fn create(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    id: &TitleId,
) -> Result<Response, Problem> {
    let title = videos::find(api, id).await?;
    let state = title.entry.state;
    let Some(plan) = title.plan.filter(|_| state == State::Ready) else {
        let why = format!("the title is {}: only one that is ready can be warmed", state.as_str());
        return Err(Problem::new(Kind::NotReady, why));
    };
    let bad = |why: String| {
        let form = r#"{"renditions": ["720p"], "from": 0, "to": 60}, all optional"#;
        Problem::new(Kind::Body, format!("{why}; a range is {form}"))
    };
    let object = respond::object_if_any(parts, payload, MAX_BODY_BYTES).await?;
    let range: Range = serde_json::from_value(object.into()).map_err(|why| bad(why.to_string()))?;
    // What makes no sense is said now, and not by a job that fails.
    range.objects(&plan).map_err(|why| bad(why.to_string()))?;
    let (this, title) = (api.clone(), id.clone());
    let entered = blocking(move || {
        let id = Warmer::enter(&this.rooms.catalog, &title, &range)?;
        (this.rooms.warm)();
        this.rooms.catalog.job(&id)?.ok_or_else(|| Problem::of(Kind::NoTitle))
    });
    let job = entered.await?;
    Ok(respond::made(&jobs::shown(&job), &format!("/api/v1/jobs/{}", job.id)))
}

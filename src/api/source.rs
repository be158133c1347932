//! `PUT /videos/{id}/source`: another film for a title that is there. It keeps its id, its words and its policy, and plays
//! what it played until the new one can be played.

use std::sync::Arc;

use http::{StatusCode, request};

use super::access::Caller;
use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::upload::{self, Bounds, Form};
use super::{Api, Response, blocking, respond, videos};
use crate::catalog::{Counted, State};
use crate::ingest::replace::Successor;
use crate::ingest::{About, Wanted};
use crate::media::TitleId;

pub(super) async fn replace(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    id: &TitleId,
    caller: &Caller,
) -> Result<Response, Problem> {
    let form = Form::of(parts)?;
    let about = upload::from_request(parts, None)?;
    must_say_nothing(&about)?;
    let old = videos::find(api, id).await?;
    let counted = counted(api, id, caller).await?;
    let expected = videos::condition(parts, &old)?;
    if matches!(old.entry.state, State::Receiving | State::Processing) {
        return Err(crate::ingest::Error::NotReady.into());
    }
    let bytes = if form == Form::Raw { payload.announced_bytes() } else { None };
    // What goes for it makes room for its owner alone.
    let replaced_bytes = if counted.owner == caller.owner { counted.bytes } else { 0 };
    let wanted = Wanted { bytes, titles: 0, uploads: 1, replaced_bytes };
    let open = || api.rooms.resumables.open_of(caller.owner.as_ref(), &[]);
    let admission = api.rooms.uploads.admit(caller.owner.as_ref(), open, wanted).await?;
    let bounds = Bounds { max_bytes: u64::MAX, admission };
    let (staged, about) = upload::receive(api, parts, payload, form, about, &bounds).await?;
    // A form may have said something.
    must_say_nothing(&about)?;
    let successor = Successor { title: id.clone(), expected, file_name: about.file_name };
    let entered = api.rooms.uploads.replace(staged, successor).await?;
    let mut response = videos::one(api, id).await?;
    if entered {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    Ok(respond::with_location(response, &format!("/api/v1/videos/{id}")))
}

/// On whose quota a title counts, and how much, if the caller may change it.
pub(super) async fn counted(api: &Arc<Api>, id: &TitleId, caller: &Caller) -> Result<Counted, Problem> {
    let (catalog, of) = (api.rooms.catalog.clone(), id.clone());
    let counted = blocking(move || Ok(catalog.counted(&of)?)).await?.ok_or_else(|| Problem::of(Kind::NoTitle))?;
    if caller.may_change(counted.owner.as_ref()) {
        return Ok(counted);
    }
    Err(Problem::new(Kind::Scope, "a title of another key is changed by a key with scope admin"))
}

/// That nothing is said of a film but how its file is called.
pub(super) fn must_say_nothing(about: &About) -> Result<(), Problem> {
    let About { title, description, metadata, policy, .. } = about;
    if title.is_none() && description.is_empty() && metadata.is_empty() && *policy == Default::default() {
        return Ok(());
    }
    Err(Problem::new(Kind::Body, "a new source changes nothing else of a title: PATCH does that"))
}

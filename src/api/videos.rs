//! Titles: listed, shown, changed.

use std::sync::Arc;

use http::header::{ACCEPT, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, request};
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::query::{self, Listing};
use super::{Api, Response, blocking, respond, source, video};
use crate::catalog::{Change, Changed, Cursor, Metadata, State, Title};
use crate::ingest::events::What;
use crate::media::TitleId;

/// Longest body of a change, bytes: metadata and description, escaped.
const MAX_CHANGE_BYTES: usize = 64 << 10;
/// A change without a condition is merged into what is there so often, should others change the same title meanwhile.
const TRIES: u32 = 8;
/// What a change is written in (RFC 7396).
const MERGE_PATCH: &str = "application/merge-patch+json";
/// All that a change may be written in.
pub(super) const PATCHES: &str = "application/merge-patch+json, application/json";

/// `GET /videos`: newest first.
pub(super) async fn list(api: &Arc<Api>, parts: &request::Parts) -> Result<Response, Problem> {
    let Listing { after, limit, state } = query::listing::<Cursor, State>(parts)?;
    let api = api.clone();
    let body = blocking(move || {
        let page = api.rooms.catalog.titles(after.as_ref(), limit, state)?;
        let mut videos = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            // A page has no plans; a title that is gone since is left out.
            let replacement = api.rooms.catalog.replacement(&entry.id)?;
            if let Some(title) = api.rooms.catalog.title(&entry.id)? {
                videos.push(video::json(&api, &title, replacement.as_ref())?);
            }
        }
        Ok(json!({ "videos": videos, "next_cursor": page.next.map(|next| next.to_string()) }))
    });
    Ok(respond::json(&body.await?))
}

/// `GET /videos/{id}`.
pub(super) async fn get(api: &Arc<Api>, parts: &request::Parts, id: &TitleId) -> Result<Response, Problem> {
    respond::unless_known(parts, one(api, id).await?)
}

/// Whether the caller may look at this title.
pub(super) async fn must_see(api: &Arc<Api>, id: &TitleId, caller: &Caller) -> Result<(), Problem> {
    let (catalog, of) = (api.rooms.catalog.clone(), id.clone());
    let counted = blocking(move || Ok(catalog.counted(&of)?)).await?.ok_or_else(|| Problem::of(Kind::NoTitle))?;
    if caller.may_see(id, counted.owner.as_ref()) {
        return Ok(());
    }
    Err(Problem::new(Kind::Scope, "a title of another key is shown to a key with scope read"))
}

/// A title as it is now.
pub(super) async fn one(api: &Arc<Api>, id: &TitleId) -> Result<Response, Problem> {
    let (of, this) = (id.clone(), api.clone());
    // In this order, so that none whose replacement is over still has its old source.
    let shown = blocking(move || {
        let replacement = this.rooms.catalog.replacement(&of)?;
        let title = this.rooms.catalog.title(&of)?.ok_or_else(|| Problem::of(Kind::NoTitle))?;
        Ok((video::json(&this, &title, replacement.as_ref())?, video::version(&title.entry)))
    });
    let (video, version) = shown.await?;
    Ok(respond::versioned(&video, &version))
}

/// `PATCH /videos/{id}`: a merge patch of `title`, `description` and `metadata`.
pub(super) async fn change(
    api: &Arc<Api>,
    parts: &request::Parts,
    mut payload: Payload,
    id: &TitleId,
    caller: &Caller,
) -> Result<Response, Problem> {
    if !matches!(respond::essence(parts).as_deref(), Some(MERGE_PATCH | "application/json")) {
        let detail = format!("a change is {MERGE_PATCH} (RFC 7396) or application/json");
        let problem = Problem::new(Kind::MediaType, detail).header(ACCEPT, MERGE_PATCH);
        return Err(problem.header(respond::ACCEPT_PATCH, PATCHES));
    }
    respond::must_be_plain(parts)?;
    source::counted(api, id, caller).await?;
    let patch = respond::parsed(&payload.whole(MAX_CHANGE_BYTES).await?)?;
    for _ in 0..TRIES {
        let old = find(api, id).await?;
        // A condition counts only if the request would succeed without it (RFC 9110 §13.2.1).
        let change = read(patch.clone(), &old.entry.metadata)?;
        let condition = condition(parts, &old)?;
        if patch.is_empty() {
            return one(api, id).await;
        }
        // Metadata are merged into what was read, so without `If-Match` it is the version that was read.
        let expected = condition.unwrap_or(old.entry.version);
        let (this, of) = (api.clone(), id.clone());
        let changed = blocking(move || {
            let changed = this.rooms.catalog.change(&of, &change, Some(expected))?;
            // Here, since a client that leaves now takes what follows an await along.
            if changed == Changed::Done {
                (this.rooms.forget)(&of);
                this.rooms.events.tell(&of, What::Changed { version: expected + 1 });
            }
            Ok(changed)
        });
        match changed.await? {
            Changed::Done => return one(api, id).await,
            Changed::Stale if condition.is_none() => {}
            Changed::Stale => return Err(Problem::of(Kind::Version)),
            Changed::Absent => return Err(Problem::of(Kind::NoTitle)),
        }
    }
    Err(Problem::new(Kind::Busy, "others change this video all the time: try again in a moment"))
}

/// A title that is there.
pub(super) async fn find(api: &Arc<Api>, id: &TitleId) -> Result<Title, Problem> {
    let (catalog, id) = (api.rooms.catalog.clone(), id.clone());
    blocking(move || Ok(catalog.title(&id)?)).await?.ok_or_else(|| Problem::of(Kind::NoTitle))
}

/// The version the title must be at, if `If-Match` names one. It must not be at one that `If-None-Match` names (RFC 9110
/// §13.1.2).
pub(super) fn condition(parts: &request::Parts, old: &Title) -> Result<Option<u64>, Problem> {
    let ours = format!("\"{}", video::version(&old.entry));
    // What changes by itself, such as how much is cached, keeps nobody from changing the rest.
    let is_ours = |tag: &str| tag == "*" || tag.rsplit_once('.').is_some_and(|(version, _)| version == ours);
    let names_ours = |field: HeaderName, is_ours: &dyn Fn(&str) -> bool| {
        let matches =
            |value: &HeaderValue| value.to_str().is_ok_and(|list| list.split(',').map(str::trim).any(is_ours));
        parts.headers.get_all(field).iter().any(matches)
    };
    let is_needed = parts.headers.contains_key(IF_MATCH);
    if is_needed && !names_ours(IF_MATCH, &is_ours) {
        return Err(Problem::of(Kind::Version));
    }
    if names_ours(IF_NONE_MATCH, &|tag| is_ours(tag.trim_start_matches("W/"))) {
        return Err(Problem::new(Kind::Version, "the title is at the version that If-None-Match names"));
    }
    Ok(is_needed.then_some(old.entry.version))
}

fn read(patch: Map<String, Value>, old: &Metadata) -> Result<Change, Problem> {
    let mut change = Change::default();
    for (name, value) in patch {
        match (name.as_str(), value) {
            ("title", Value::String(text)) => change.name = Some(video::title(text)?),
            ("description", Value::String(text)) => change.description = Some(video::description(text)?),
            ("description", Value::Null) => change.description = Some(String::new()),
            ("metadata", Value::Null) => change.metadata = Some(Map::new()),
            ("metadata", Value::Object(fields)) => {
                let mut merged = Value::Object(old.clone());
                merge(&mut merged, Value::Object(fields));
                change.metadata = Some(video::metadata(merged)?);
            }
            ("playback_policy", Value::String(text)) => change.policy = Some(video::policy(&text)?),
            ("playback_policy", _) => return Err(video::bad(&name, "public or signed")),
            ("title" | "description", _) => return Err(video::bad(&name, "text")),
            ("metadata", _) => return Err(video::bad(&name, "a JSON object")),
            _ => {
                let known = "title, description, metadata and playback_policy are known";
                let detail = format!("there is no field {name:?} to change: {known}");
                return Err(Problem::new(Kind::Body, detail));
            }
        }
    }
    Ok(change)
}

/// RFC 7396 §2. As deep as the JSON reader lets a body be.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_does_what_the_appendix_of_its_rfc_says() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, patch);
            assert_eq!(merged, result);
        }
    }

    #[test]
    fn metadata_may_be_as_deep_as_is_said() {
        let deep = |levels| (1..levels).fold(json!({}), |inner, _| json!({ "x": inner }));
        assert!(video::metadata(deep(32)).is_ok() && video::metadata(deep(33)).is_err());
    }

    #[test]
    fn a_change_of_what_cannot_be_changed_is_refused() {
        for bad in [
            json!({"id":"x"}),
            json!({"title":""}),
            json!({"title":null}),
            json!({"metadata":[]}),
            json!({"title":"two\nlines"}),
            json!({"metadata":{"x":"y".repeat(20_000)}}),
            // It was stored deeper still, and not read any more.
            json!({"metadata": (0..32).fold(json!({}), |inner, _| json!({"x": inner}))}),
        ] {
            let Value::Object(patch) = bad else { unreachable!() };
            assert_eq!(read(patch, &Map::new()).unwrap_err().kind(), Kind::Body);
        }
    }
}

//! A film that lies at a URL: `POST /videos` with JSON. The title is there at once; its bytes are fetched by a job.

use std::sync::Arc;

use http::request;
use serde_json::{Map, Value};

use super::access::Caller;
use super::idempotency::{self, fingerprint};
use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::{Api, Response, respond, upload, video};
use crate::ingest::{self, About, Wanted};

/// Longest body, bytes: a URL, and what is said of a film.
const MAX_BODY_BYTES: usize = 64 << 10;

/// True if a film is named and not sent.
pub(super) fn is_meant(parts: &request::Parts) -> bool {
    respond::essence(parts).as_deref() == Some("application/json")
}

/// Enters a title whose film is to be fetched.
pub(super) async fn create(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    caller: &Caller,
) -> Result<Response, Problem> {
    let (url, mut about) = read(respond::object(parts, payload, MAX_BODY_BYTES).await?)?;
    // What can be refused at once is.
    let target = api.rooms.client.target(&url).map_err(ingest::Error::from)?;
    about.creation = idempotency::creation(parts, caller, fingerprint(&target.to_string(), &about))?;
    let max_bytes = caller.grant.as_ref().map_or(u64::MAX, |grant| grant.max_bytes);
    if let Some(grant) = &caller.grant {
        upload::allow(api, grant, None, &mut about).await?;
    }
    about.owner = caller.owner.clone();
    let _under_way = about.creation.as_ref().map(|creation| api.creations.begin(creation)).transpose()?;
    if let Some(creation) = about.creation.clone()
        && let Some(id) = upload::made(api, creation, None).await?
    {
        return upload::created(api, id).await;
    }
    let open = || api.rooms.resumables.open_of(caller.owner.as_ref(), &[]);
    let wanted = Wanted { bytes: None, titles: 1, uploads: 1, replaced_bytes: 0 };
    let admission = api.rooms.uploads.admit(caller.owner.as_ref(), open, wanted).await?;
    let id = api.rooms.uploads.fetch(&target, max_bytes, &admission, about).await?;
    upload::created(api, id).await
}

fn read(body: Map<String, Value>) -> Result<(String, About), Problem> {
    let (mut url, mut about) = (None, About::default());
    for (name, value) in body {
        match (name.as_str(), value) {
            ("url", Value::String(text)) => url = Some(text),
            ("filename", Value::String(text)) => about.file_name = text,
            ("metadata", value) => about.metadata = video::metadata(value)?,
            ("title" | "description" | "playback_policy", Value::String(text)) => {
                video::field(&mut about, &name, text)?;
            }
            ("url" | "filename" | "title" | "description" | "playback_policy", _) => {
                return Err(video::bad(&name, "text"));
            }
            (other, _) => {
                let known = "url, filename, title, description, metadata and playback_policy are known";
                return Err(Problem::new(Kind::Body, format!("there is no field {other:?}: {known}")));
            }
        }
    }
    let url = url.ok_or_else(|| video::bad("url", "there: the address of a film, https://..."))?;
    Ok((url, about))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_film_is_named_with_what_is_said_of_it_and_nothing_else() {
        let read = |body: Value| read(body.as_object().unwrap().clone());
        let (url, about) = read(json!({
            "url": "https://example.org/a", "title": "A film", "filename": "a.mp4", "description": "d",
            "metadata": {"year": 2026}, "playback_policy": "signed",
        }))
        .unwrap();
        assert_eq!(
            (url.as_str(), about.title.as_deref(), about.file_name.as_str()),
            ("https://example.org/a", Some("A film"), "a.mp4")
        );
        assert_eq!((about.description.as_str(), about.metadata["year"].as_u64()), ("d", Some(2026)));
        for bad in [
            json!({}),
            json!({"url": null}),
            json!({"url": 1}),
            json!({"url": ["https://example.org/a"]}),
            json!({"url": "https://example.org/a", "title": ""}),
            json!({"url": "https://example.org/a", "metadata": []}),
            json!({"url": "https://example.org/a", "playback_policy": "secret"}),
            json!({"url": "https://example.org/a", "headers": {"Authorization": "x"}}),
        ] {
            assert_eq!(read(bad.clone()).err().map(|problem| problem.kind()), Some(Kind::Body), "{bad}");
        }
    }
}

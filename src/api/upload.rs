//! One film in one request: `POST /videos`, and `PUT` for `curl -T`.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::request;

use super::access::Caller;
use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::{Api, Response, blocking, digest, disposition, idempotency, multipart, query, respond, video};
use crate::access::Grant;
use crate::catalog::Creation;
use crate::ingest::{self, About, Admission, Wanted};
use crate::library::Staged;
use crate::media::{Digest, TitleId};

/// What is taken, for who sent something else.
const TAKEN: &str = "video/*, audio/*, application/octet-stream, multipart/form-data";

/// How the film comes.
#[derive(PartialEq, Eq)]
pub(super) enum Form {
    /// The body is the film.
    Raw,
    /// One part of the body is; the text divides the parts.
    Multipart(String),
}

/// Receives a film and makes a title of it. `named` is the file's name, if the path says it.
pub(super) async fn create(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    named: Option<&str>,
    caller: &Caller,
) -> Result<Response, Problem> {
    let form = Form::of(parts)?;
    let mut about = from_request(parts, named)?;
    let length = payload.announced_bytes().map(|bytes| bytes.to_string());
    let fingerprint = idempotency::fingerprint(&length.unwrap_or_default(), &about);
    about.creation = idempotency::creation(parts, caller, fingerprint)?;
    // What allows it looks whether it is a creation that may be asked for again.
    if let Some(grant) = &caller.grant {
        let announced = if form == Form::Raw { payload.announced_bytes() } else { None };
        allow(api, grant, announced, &mut about).await?;
    }
    about.owner = caller.owner.clone();
    let max_bytes = caller.grant.as_ref().map_or(u64::MAX, |grant| grant.max_bytes);
    let Some(creation) = about.creation.clone() else {
        let admission = admit(api, caller, &form, &payload).await?;
        let bounds = Bounds { max_bytes, admission };
        return accept(api, parts, payload, form, about, bounds).await;
    };
    let _under_way = api.creations.begin(&creation)?;
    if let Some(id) = made(api, creation.clone(), None).await? {
        // A client that sends before it listens would take an early answer for a failure. What it sends may tell
        // that this is another film.
        let digest = payload.ignore(api.rooms.uploads.config().max_bytes).await?;
        made(api, creation, digest.filter(|_| form == Form::Raw)).await?;
        return created(api, id).await;
    }
    if let Some(grant) = &caller.grant {
        must_be_unspent(api, grant).await?;
    }
    let admission = admit(api, caller, &form, &payload).await?;
    accept(api, parts, payload, form, about, Bounds { max_bytes, admission }).await
}

/// What a film may be.
pub(super) struct Bounds {
    /// What a token allows.
    pub max_bytes: u64,
    /// What a key allows.
    pub admission: Admission,
}

async fn admit(api: &Api, caller: &Caller, form: &Form, payload: &Payload) -> Result<Admission, Problem> {
    let bytes = if *form == Form::Raw { payload.announced_bytes() } else { None };
    let wanted = Wanted { bytes, titles: 1, uploads: 1, replaced_bytes: 0 };
    let open = || api.rooms.resumables.open_of(caller.owner.as_ref(), &[]);
    Ok(api.rooms.uploads.admit(caller.owner.as_ref(), open, wanted).await?)
}

async fn accept(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    form: Form,
    about: About,
    bounds: Bounds,
) -> Result<Response, Problem> {
    let (staged, about) = receive(api, parts, payload, form, about, &bounds).await?;
    let id = api.rooms.uploads.accept(staged, about).await?;
    created(api, id).await
}

/// Takes the body: the film, and what a form says of it.
pub(super) async fn receive(
    api: &Arc<Api>,
    parts: &request::Parts,
    mut payload: Payload,
    form: Form,
    about: About,
    bounds: &Bounds,
) -> Result<(Staged, About), Problem> {
    let expected = digest::expected(&parts.headers)?;
    let uploads = &api.rooms.uploads;
    let (staged, about) = match form {
        Form::Raw => {
            let receiving = uploads.receive(payload.announced_bytes()).await?;
            let mut receiving = receiving.limited_to(bounds.max_bytes).within(&bounds.admission);
            while let Some(bytes) = payload.next().await? {
                receiving.push(&bytes).await?;
            }
            (receiving.end().await?, about)
        }
        Form::Multipart(_) if !expected.is_empty() => {
            let detail = "a digest of a whole form is not checked: put Content-Digest into the file's part, or send the film alone";
            return Err(Problem::new(Kind::DigestAlgorithm, detail));
        }
        Form::Multipart(boundary) => multipart::receive(uploads, payload, boundary, about, bounds).await?,
    };
    digest::check(&expected, staged.digest())?;
    Ok((staged, about))
}

/// What a token allows, as far as it can be seen before the first byte; `about` has its creation by then. That a token is
/// spent once is decided when its title is entered.
pub(super) async fn allow(
    api: &Arc<Api>,
    grant: &Grant,
    announced: Option<u64>,
    about: &mut About,
) -> Result<(), Problem> {
    if announced.is_some_and(|length| length > grant.max_bytes) {
        return Err(ingest::Error::TooLarge { limit_bytes: grant.max_bytes }.into());
    }
    about.reserved = Some((grant.title.clone(), until_ms(grant)));
    // A creation that may be asked for again is looked up by its key first.
    if about.creation.is_some() { Ok(()) } else { must_be_unspent(api, grant).await }
}

/// Until when a token is good, Unix milliseconds.
pub(super) fn until_ms(grant: &Grant) -> i64 {
    i64::try_from(grant.expires_s).unwrap_or(i64::MAX).saturating_mul(1000)
}

pub(super) async fn must_be_unspent(api: &Arc<Api>, grant: &Grant) -> Result<(), Problem> {
    let (catalog, title) = (api.rooms.catalog.clone(), grant.title.clone());
    let is_spent = blocking(move || Ok(catalog.is_spent(&title)?)).await?;
    if is_spent { Err(Problem::of(Kind::TokenSpent)) } else { Ok(()) }
}

/// The title of a creation that was made before. `film` is what came, if that is known.
pub(super) async fn made(api: &Arc<Api>, creation: Creation, film: Option<Digest>) -> Result<Option<TitleId>, Problem> {
    let catalog = api.rooms.catalog.clone();
    let known = blocking(move || Ok(catalog.creation(&creation, film.as_ref())?)).await?;
    Ok(known.map(|known| api.rooms.uploads.made(known)).transpose()?)
}

pub(super) async fn created(api: &Arc<Api>, id: TitleId) -> Result<Response, Problem> {
    let (this, of) = (api.clone(), id.clone());
    let shown = blocking(move || {
        let title = this.rooms.catalog.title(&of)?.ok_or_else(|| Problem::of(Kind::NoTitle))?;
        Ok((video::json(&this, &title, None)?, video::version(&title.entry)))
    });
    let (video, version) = shown.await?;
    Ok(respond::created(&video, &version, &format!("/api/v1/videos/{id}")))
}

/// What headers and query say of the film.
pub(super) fn from_request(parts: &request::Parts, named: Option<&str>) -> Result<About, Problem> {
    let mut about = About::default();
    let disposition = parts.headers.get(CONTENT_DISPOSITION).and_then(|value| disposition::file_name(value.as_bytes()));
    about.file_name = named.map(str::to_owned).or(disposition).unwrap_or_default();
    for (key, value) in query::pairs(parts) {
        match key.as_str() {
            "filename" => about.file_name = value,
            _ => {
                video::field(&mut about, &key, value)?;
            }
        }
    }
    Ok(about)
}

impl Form {
    /// How the head says that the film will come.
    pub(super) fn of(parts: &request::Parts) -> Result<Self, Problem> {
        respond::must_be_plain(parts)?;
        let Some(value) = parts.headers.get(CONTENT_TYPE) else { return Ok(Self::Raw) };
        let text = value.to_str().unwrap_or_default();
        let essence = respond::essence(parts).unwrap_or_default();
        let (class, kind) = essence.split_once('/').unwrap_or_default();
        match (class, kind) {
            ("multipart", "form-data") => multer::parse_boundary(text)
                .map(Self::Multipart)
                .map_err(|_| Problem::new(Kind::Body, "multipart/form-data needs a boundary in Content-Type")),
            ("video" | "audio", _) => Ok(Self::Raw),
            // The last is what curl says of --data-binary.
            ("application", "octet-stream" | "mp4" | "mxf" | "ogg" | "x-matroska" | "x-www-form-urlencoded") => {
                Ok(Self::Raw)
            }
            _ => {
                let detail = format!(
                    "{essence:?} is not taken here: send the film as video/mp4, application/octet-stream or multipart/form-data"
                );
                Err(Problem::new(Kind::MediaType, detail).header(ACCEPT, TAKEN))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: Option<&str>) -> Option<bool> {
        let mut request = http::Request::builder();
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let form = Form::of(&request.body(()).unwrap().into_parts().0).ok()?;
        Some(matches!(form, Form::Multipart(_)))
    }

    #[test]
    fn films_are_taken_as_browsers_curl_and_programs_send_them() {
        for raw in [
            "video/mp4",
            "Video/X-Matroska; codecs=x",
            "application/octet-stream",
            "audio/mpeg",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(form(Some(raw)), Some(false), "{raw}");
        }
        assert_eq!(form(None), Some(false));
        assert_eq!(form(Some("multipart/form-data; boundary=x")), Some(true));
        for bad in ["multipart/form-data", "text/html", "application/json", "application/vnd.apple.mpegurl", "x", ""] {
            assert_eq!(form(Some(bad)), None, "{bad}");
        }
    }
}

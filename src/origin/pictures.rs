//! Posters and thumbnails. A picture that nobody has made yet is ordered when it is asked for and sent when it is whole;
//! the lists of thumbnails are text and order nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::timeout;

use crate::cache::{Claim, FlightError, Key, Object, Writer};
use crate::media::{Generation, Picture, Thumbnails, TitleId};

use super::conditional;
use super::error::Problem;
use super::playlist::{MASTER_CACHE, MEDIA_CACHE};
use super::respond::{self, Asked, IMMUTABLE, Kept, Response};
use super::segment::Came;
use super::{Origin, Presentation};

/// The address stays when the recipe changes, so caches look again.
const POSTER_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60, stale-while-revalidate=86400");

const JPEG: HeaderValue = HeaderValue::from_static("image/jpeg");

/// Has a picture made whose bytes go to the writer; must not block. An order that cannot be taken fails its flight.
pub type MakePicture = Arc<dyn Fn(PictureOrder) + Send + Sync>;

/// What the encoder is asked for.
pub struct PictureOrder {
    /// The title.
    pub presentation: Arc<Presentation>,
    /// Which picture of it.
    pub picture: Picture,
    /// Where the bytes go.
    pub writer: Writer,
}

/// `/v/{id}/poster.jpg`.
pub(super) async fn poster(origin: &Origin, asked: &Asked, title: &TitleId) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    let picture = Picture::poster(&presentation.facts().plan);
    answer(origin, asked, presentation, picture, POSTER_CACHE).await
}

/// `/v/{id}/{generation}/thumbnails/{n}.jpg`.
pub(super) async fn sheet(
    origin: &Origin,
    asked: &Asked,
    title: &TitleId,
    generation: &Generation,
    number: u32,
) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    presentation.is_of(generation)?;
    let of = all(&presentation)?;
    if number >= of.sheets() {
        return Err(Problem::NoSheet { sheets: of.sheets() });
    }
    answer(origin, asked, presentation, Picture::Sheet { of, number }, IMMUTABLE).await
}

/// `/v/{id}/thumbnails.vtt`.
pub(super) async fn thumbnails(origin: &Origin, asked: &Asked, title: &TitleId) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    let list = presentation.thumbnails(&all(&presentation)?);
    respond::playlist(asked, list, MASTER_CACHE)
}

/// `/v/{id}/{generation}/thumbnails/index.m3u8`.
pub(super) async fn images(
    origin: &Origin,
    asked: &Asked,
    title: &TitleId,
    generation: &Generation,
) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    presentation.is_of(generation)?;
    let list = presentation.images(&all(&presentation)?);
    respond::playlist(asked, list, MEDIA_CACHE)
}

fn all(presentation: &Presentation) -> Result<Thumbnails, Problem> {
    Thumbnails::of(&presentation.facts().plan).ok_or(Problem::NoThumbnails)
}

async fn answer(
    origin: &Origin,
    asked: &Asked,
    presentation: Arc<Presentation>,
    picture: Picture,
    cache: HeaderValue,
) -> Result<Response, Problem> {
    let generation = presentation.facts().generation.clone();
    let (name, number) = picture.name();
    let is_cover = matches!(picture, Picture::Cover { .. });
    if is_cover && presentation.is_coverless() {
        return Err(Problem::NoPoster);
    }
    let etag = format!("\"{generation}.{name}.{number}\"");
    let key = Key { generation, rendition: name, object: Object::Segment(number) };
    let kept = || Kept { etag: &etag, media_type: JPEG, cache: cache.clone(), next: None };
    // Whether there is cover art only looking tells, and what is not there fulfils no condition (RFC 9110 §13.2.1).
    if !is_cover && conditional::known(&asked.parts.headers, &etag)? {
        return Ok(respond::unchanged(kept()));
    }
    let (bytes, came) = match origin.rooms.cache.peek(&key) {
        Some(bytes) => (bytes, Came::Memory),
        // What is not made has no length yet, and asking for it is no reason to make it; but for cover art it is looked.
        None if asked.head() && !is_cover => {
            return Ok(respond::unread(kept(), origin.rooms.cache.length(&key)));
        }
        None => cold(origin, presentation, picture, &key).await?,
    };
    if is_cover && conditional::known(&asked.parts.headers, &etag)? {
        return Ok(respond::unchanged(kept()));
    }
    let waited = matches!(came, Came::Made | Came::Shared).then(|| asked.received.elapsed());
    respond::whole(asked, kept(), bytes, came, waited)
}

async fn cold(
    origin: &Origin,
    presentation: Arc<Presentation>,
    picture: Picture,
    key: &Key,
) -> Result<(Bytes, Came), Problem> {
    // No await between the claim and the order: a client that leaves here would strand those who joined.
    let (reader, came) = match origin.rooms.cache.claim(key).await {
        Claim::Whole(bytes, tier) => return Ok((bytes, tier.into())),
        Claim::Making(reader) => (reader, Came::Shared),
        Claim::Lead(writer) => {
            let reader = writer.reader();
            let presentation = presentation.clone();
            (origin.rooms.make_picture)(PictureOrder { presentation, picture, writer });
            (reader, Came::Made)
        }
    };
    let patience = origin.patience.whole;
    match timeout(patience, reader.whole()).await {
        Ok(Ok(bytes)) => Ok((bytes, came)),
        Ok(Err(FlightError::Failed { message })) => Err(Problem::Picture { inner: message.to_string() }),
        // Of a title with video there is always one.
        Ok(Err(FlightError::NotFound)) => {
            presentation.has_no_cover();
            Err(Problem::NoPoster)
        }
        Ok(Err(other)) => Err(other.into()),
        Err(_) => Err(Problem::Late { waited_seconds: patience.as_secs() }),
    }
}

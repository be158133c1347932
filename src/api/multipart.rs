//! A form with a film in it: `multipart/form-data` (RFC 7578), read as it comes. Fields may stand before or after the
//! file.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyDataStream;
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::payload::{Cut, Payload};
use super::problem::{Kind, Problem};
use super::upload::Bounds;
use super::{digest, video};
use crate::ingest::{About, Uploads};
use crate::library::Staged;

/// Parts of a form, at most.
const MAX_PARTS: usize = 32;
/// Longest part that is not the file, bytes.
const MAX_FIELD_BYTES: u64 = 64 << 10;
/// What may come beside the file, bytes: the other parts, lines between parts, and what one look at the connection reads of
/// the file with its head, which over HTTP/2 is a window of 1 MiB. The parser holds whatever comes before the end of a
/// part's head.
const MAX_FRAME_BYTES: u64 = 2 << 20;
/// Name of the part that is the film.
const FILE: &str = "file";

/// Receives a form: the film, and what its fields say about it.
pub(super) async fn receive(
    uploads: &Uploads,
    payload: Payload,
    boundary: String,
    mut about: About,
    bounds: &Bounds,
) -> Result<(Staged, About), Problem> {
    let limit = uploads.config().max_bytes.saturating_add(MAX_FRAME_BYTES);
    if payload.announced_bytes().is_some_and(|length| length > limit) {
        return Err(crate::ingest::Error::TooLarge { limit_bytes: uploads.config().max_bytes }.into());
    }
    // What is left of the length once the form's own lines are taken off is hardly less than the file.
    let announced = payload.announced_bytes().map(|length| length.saturating_sub(MAX_FRAME_BYTES));
    let sizes = SizeLimit::new().whole_stream(limit).per_field(MAX_FIELD_BYTES).for_field(FILE, u64::MAX);
    let constraints = Constraints::new().size_limit(sizes);
    let in_file = Arc::new(AtomicBool::new(false));
    let counted = Counted { payload, in_file: in_file.clone(), beside_bytes: 0 };
    let mut form = Multipart::with_constraints(BodyDataStream::new(counted), boundary, constraints);
    let mut film = None;
    let mut parts = 0;
    while let Some(mut part) = form.next_field().await? {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(Problem::new(Kind::Body, format!("a form may have {MAX_PARTS} parts at most")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        if name != FILE {
            let value = part.text().await?;
            if !video::field(&mut about, &name, value)? {
                let known = "file, title, description, metadata and playback_policy are known";
                let detail = format!("there is no field {name:?}: {known}");
                return Err(Problem::new(Kind::Body, detail));
            }
            continue;
        }
        if film.is_some() {
            return Err(Problem::new(Kind::Body, "the form has two files: send one film at a time"));
        }
        if about.file_name.is_empty() {
            about.file_name = part.file_name().unwrap_or_default().to_owned();
        }
        in_file.store(true, Relaxed);
        film = Some(file(uploads, announced, bounds, &mut part).await?);
        in_file.store(false, Relaxed);
    }
    let film =
        film.ok_or_else(|| Problem::new(Kind::Body, "the form has no part named file: curl -F file=@film.mp4"))?;
    Ok((film, about))
}

async fn file(
    uploads: &Uploads,
    announced: Option<u64>,
    bounds: &Bounds,
    part: &mut Field<'static>,
) -> Result<Staged, Problem> {
    let expected = digest::expected(part.headers())?;
    let receiving = uploads.receive(announced).await?;
    let mut receiving = receiving.limited_to(bounds.max_bytes).within(&bounds.admission);
    while let Some(bytes) = part.chunk().await? {
        receiving.push(&bytes).await?;
    }
    let staged = receiving.end().await?;
    digest::check(&expected, staged.digest())?;
    Ok(staged)
}

/// A body of which little may come while no file is read.
struct Counted {
    payload: Payload,
    in_file: Arc<AtomicBool>,
    beside_bytes: u64,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let polled = ready!(Pin::new(&mut self.payload).poll_frame(cx));
        if let Some(Ok(frame)) = &polled
            && !self.in_file.load(Relaxed)
        {
            self.beside_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            if self.beside_bytes > MAX_FRAME_BYTES {
                return Poll::Ready(Some(Err(Cut::Frame(MAX_FRAME_BYTES))));
            }
        }
        Poll::Ready(polled)
    }
}

impl From<multer::Error> for Problem {
    fn from(error: multer::Error) -> Self {
        use multer::Error as E;
        match error {
            E::StreamReadFailed(inner) => match inner.downcast::<Cut>() {
                Ok(cut) => Self::from(*cut),
                Err(inner) => Self::internal(inner),
            },
            E::StreamSizeExceeded { limit } => {
                Self::new(Kind::TooLarge, format!("the form is larger than {limit} bytes"))
            }
            E::FieldSizeExceeded { limit, field_name } => {
                let name = field_name.unwrap_or_default();
                Self::new(Kind::TooLarge, format!("the field {name:?} is larger than {limit} bytes"))
            }
            other => Self::new(Kind::Body, format!("the form cannot be read: {other}")),
        }
    }
}

//! A form with a film in it: `multipart/form-data` (RFC 7578), read as it comes. Fields may stand before or after the
//! file.

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
/// What names and lines between parts may take beside the file, bytes.
const MAX_FRAME_BYTES: u64 = 4 << 20;
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
    let mut form = Multipart::with_constraints(BodyDataStream::new(payload), boundary, constraints);
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
                let detail = format!("there is no field {name:?}: file, title, description and metadata are known");
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
        film = Some(file(uploads, announced, bounds, &mut part).await?);
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

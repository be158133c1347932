//! Segments of transport streams: wrapped for each request from the CMAF segments of picture and sound, which come from
//! memory, disk or the encoder like any other. So one encode serves every protocol, and the cache holds it once.
//!
//! The answer is held until both are whole: how a stream is filled up so that its counters come round is known at its
//! end.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::cache::{Key, Object};
use crate::media::{Generation, Rendition};
use crate::packager::mpegts::{self, Coded};

use super::conditional;
use super::error::Problem;
use super::respond::{self, Asked, Response};
use super::route::{Form, Media};
use super::segment::{self, Came, Claimed, Target};
use super::{Origin, Presentation};

/// Picture or sound of a segment: its init segment and itself.
struct Part {
    init: Target,
    segment: Target,
}

/// `/v/{id}/{generation}/{rendition}/{n}.ts`.
pub(super) async fn answer(origin: &Origin, asked: &Asked, media: Media) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, &media.title).await?;
    let (target, number) = find(&presentation, media)?;
    if conditional::known(&asked.parts.headers, &target.etag)? {
        return Ok(respond::unchanged(&target));
    }
    let program = presentation.program(target.rendition)?;
    let part = |rendition: Option<&Rendition>| Part::find(&presentation, rendition, number);
    let (video, audio) = (part(program.video)?, part(program.audio)?);
    if asked.head() && !held(origin, video.iter().chain(&audio)) {
        // What is not made has no length yet, and asking for it is no reason to make it.
        return Ok(respond::unread(&target, None));
    }
    let (video, audio) = tokio::try_join!(coded(origin, asked, video), coded(origin, asked, audio))?;
    let came = [&video, &audio].into_iter().flatten().map(|(_, came)| *came).max_by_key(|came| slowness(*came));
    let came = came.unwrap_or(Came::Memory);
    let _ = asked.came.set(came);
    let waited = matches!(came, Came::Made | Came::Shared).then(|| asked.received.elapsed());
    let bytes = wrap(&presentation, target.rendition, number, video, audio).await?;
    respond::whole(asked, &target, bytes, came, waited)
}

/// The segment that was asked for. Its name is a strong tag: the generation covers all that decides its bytes.
fn find(presentation: &Arc<Presentation>, media: Media) -> Result<(Target, u32), Problem> {
    let rendition = presentation.rendition(&media.generation, &media.rendition)?;
    let segments = presentation.program(rendition)?.segments();
    let Media { generation, rendition: name, object, .. } = media;
    let number = match object {
        Object::Segment(number) if number < segments => number,
        Object::Segment(_) | Object::Init | Object::Iframe(_) => return Err(Problem::NoSegment { segments }),
    };
    let etag = format!("\"{generation}.{name}.{number}.ts\"");
    let key = Key { generation, rendition: name, object };
    let presentation = presentation.clone();
    Ok((Target { presentation, rendition, key, etag, form: Form::Transport, segments, due_in: None }, number))
}

impl Part {
    /// `None` for a track the program has not, or that has ended.
    fn find(presentation: &Arc<Presentation>, of: Option<&Rendition>, number: u32) -> Result<Option<Self>, Problem> {
        let Some(rendition) = of.filter(|r| number < r.grid.segments()) else { return Ok(None) };
        let facts = presentation.facts();
        let target = |object| {
            let generation: Generation = facts.generation.clone();
            let (title, rendition) = (facts.id.clone(), rendition.name.clone());
            Target::find(presentation.clone(), Media { title, generation, rendition, object, form: Form::Cmaf })
        };
        Ok(Some(Self { init: target(Object::Init)?, segment: target(Object::Segment(number))? }))
    }
}

/// True if wrapping would wait for no encoder.
fn held<'a>(origin: &Origin, mut parts: impl Iterator<Item = &'a Part>) -> bool {
    let held = |target: &Target| origin.rooms.cache.holds(&target.key);
    parts.all(|part| held(&part.init) && held(&part.segment))
}

/// Both objects of a part, asked for at once, and where the slower one came from.
async fn coded(origin: &Origin, asked: &Asked, part: Option<Part>) -> Result<Option<(Coded, Came)>, Problem> {
    let Some(mut part) = part else { return Ok(None) };
    part.segment.played(origin, asked);
    let ((init, one), (segment, other)) = tokio::try_join!(fetch(origin, &part.init), fetch(origin, &part.segment))?;
    let came = if slowness(one) > slowness(other) { one } else { other };
    Ok(Some((Coded { init, segment }, came)))
}

async fn fetch(origin: &Origin, target: &Target) -> Result<(Bytes, Came), Problem> {
    if let Some(bytes) = origin.rooms.cache.peek(&target.key) {
        return Ok((bytes, Came::Memory));
    }
    match segment::claim(origin, target).await {
        Claimed::Whole(bytes, came) => Ok((bytes, came)),
        Claimed::Coming(reader, came) => Ok((segment::whole(reader, origin.patience).await?, came)),
    }
}

/// On a thread of its own: some milliseconds of copying would hold up every other connection of this one.
async fn wrap(
    presentation: &Arc<Presentation>,
    rendition: usize,
    number: u32,
    video: Option<(Coded, Came)>,
    audio: Option<(Coded, Came)>,
) -> Result<Bytes, Problem> {
    let presentation = presentation.clone();
    let task = spawn_blocking(move || {
        let program = presentation.program(rendition)?;
        let (video, audio) = (video.map(|(coded, _)| coded), audio.map(|(coded, _)| coded));
        mpegts::mux(&program, number, video.as_ref(), audio.as_ref())
            .map_err(|error| Problem::Encode { inner: error.to_string() })
    });
    task.await.unwrap_or_else(|panic| Err(Problem::Encode { inner: panic.to_string() }))
}

/// An answer is as late as its latest part.
fn slowness(came: Came) -> u8 {
    match came {
        Came::Memory => 0,
        Came::Disk => 1,
        Came::Shared => 2,
        Came::Made => 3,
    }
}

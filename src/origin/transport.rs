//! Segments of transport streams: wrapped for each request from the CMAF segments of picture and sound, which come from
//! memory, disk or the encoder like any other. So one encode serves every protocol, and the cache holds it once.
//!
//! The answer is held until both are whole: how a stream is filled up so that its counters come round is known at its
//! end. Every answer is then bytes of its own, unlike one from the cache, until its client has taken it; so there is a bound
//! on those of all clients together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cache::{FlightError, Key, Object};
use crate::media::{Generation, Rendition};
use crate::packager::mpegts::{self, Coded};

use super::conditional;
use super::error::Problem;
use super::respond::{self, Asked, Response};
use super::route::{Form, Media};
use super::segment::{self, Came, Claimed, Target};
use super::{Origin, Presentation};

/// Bytes of transport streams that clients have yet to take, about: some hundred segments.
const MAX_SENDING_BYTES: usize = 512 << 20;
/// The unit it is counted in, bytes.
const UNIT_BYTES: usize = 1 << 10;
/// How long a request waits for others to take theirs.
const ROOM_WAIT: Duration = Duration::from_secs(2);

/// The segments that clients have yet to take.
pub(super) struct Sending(Arc<Semaphore>);

/// A segment, and its part of what there may be.
struct Sent {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

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
    if !asked.head() {
        let _ = asked.came.set(came);
    }
    let waited = matches!(came, Came::Made | Came::Shared).then(|| asked.received.elapsed());
    let room = origin.sending.room([&video, &audio].into_iter().flatten().map(|(coded, _)| coded)).await?;
    let bytes = wrap(&presentation, target.rendition, number, video, audio).await?;
    let bytes = Bytes::from_owner(Sent { bytes, _room: room });
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

impl Default for Sending {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_SENDING_BYTES / UNIT_BYTES)))
    }
}

impl Sending {
    /// Room for a segment that is to be wrapped. Its packets weigh little more than what is in them.
    async fn room<'a>(&self, parts: impl Iterator<Item = &'a Coded>) -> Result<OwnedSemaphorePermit, Problem> {
        let bytes: usize = parts.map(|coded| coded.segment.len()).sum();
        let units = bytes.min(MAX_SENDING_BYTES).div_ceil(UNIT_BYTES);
        let room = self.0.clone().acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX));
        let room = timeout(ROOM_WAIT, room).await.ok().and_then(Result::ok);
        room.ok_or(Problem::Busy { retry_after_seconds: FlightError::RETRY_SECONDS })
    }
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clients_that_take_nothing_hold_no_more_than_the_bound_and_others_are_told_after_a_while() {
        let sending = Sending::default();
        let coded = Coded { init: Bytes::new(), segment: Bytes::from(vec![0; 16 << 20]) };
        let mut sent = Vec::new();
        while let Ok(room) = sending.room([&coded].into_iter()).await {
            let bytes = Bytes::from_static(b"some of it is a part of all of it");
            sent.push(Bytes::from_owner(Sent { bytes, _room: room }).slice(..1));
        }
        assert_eq!(sent.len(), MAX_SENDING_BYTES / (16 << 20));
        sent.pop();
        assert!(sending.room([&coded].into_iter()).await.is_ok());
    }
}

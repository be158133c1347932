//! Segments. The hit path comes first: parsed path, snapshot, memory, answer. It asks no catalog and no encoder,
//! holds no lock across an await and copies no byte of media.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout};

use crate::cache::{Claim, Flight, FlightError, Key, Object, Reader, Tier, Writer};
use crate::media::RenditionKind;

use super::body::Stream;
use super::cmcd::Cmcd;
use super::conditional;
use super::config::{Delivery, Patience};
use super::error::Problem;
use super::iframe;
use super::plays::Play;
use super::range::Wanted;
use super::respond::{self, Asked, Response};
use super::route::{Form, Media};
use super::{Origin, Presentation};

/// Starts an encode whose bytes go to the writer; must not block. An order that cannot be taken fails its flight.
pub type Make = Arc<dyn Fn(Order) + Send + Sync>;

/// Told of every segment a viewer asks for; must not block.
pub type OnSegment = Arc<dyn Fn(&Presentation, Play) + Send + Sync>;

/// What the encoder is asked for.
pub struct Order {
    /// The title.
    pub presentation: Arc<Presentation>,
    /// Index of the rendition in the plan.
    pub rendition: usize,
    /// The init segment or which segment.
    pub object: Object,
    /// Where the bytes go.
    pub writer: Writer,
    /// When the viewer runs out of what to play, from now; `None` if the player does not say.
    pub due_in: Option<Duration>,
}

/// An object of a rendition that exists.
pub(super) struct Target {
    pub presentation: Arc<Presentation>,
    /// Index in the plan.
    pub rendition: usize,
    pub key: Key,
    pub etag: String,
    pub form: Form,
    /// How many segments there are.
    pub segments: u32,
    /// When the viewer runs out of what to play, from the request on, if the player says.
    pub due_in: Option<Duration>,
}

/// What there is of an object.
pub(super) enum Claimed {
    /// All of it.
    Whole(Bytes, Came),
    /// It is being made.
    Coming(Reader, Came),
}

/// `/v/{id}/{generation}/{rendition}/{n}.m4s`.
pub(super) async fn answer(origin: &Origin, asked: &Asked, media: Media) -> Result<Response, Problem> {
    object(origin, asked, media, origin.delivery).await
}

/// Every kind of object.
pub(super) async fn object(
    origin: &Origin,
    asked: &Asked,
    media: Media,
    delivery: Delivery,
) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, &media.title).await?;
    let mut target = Target::find(presentation, media)?;
    if conditional::known(&asked.parts.headers, &target.etag)? {
        return Ok(respond::unchanged(&target));
    }
    target.played(origin, asked);
    if let Some(bytes) = origin.rooms.cache.peek(&target.key) {
        if !asked.head() {
            let _ = asked.came.set(Came::Memory);
        }
        return respond::whole(asked, &target, bytes, Came::Memory, None);
    }
    if asked.head() {
        // What is not made has no length yet, and asking for it is no reason to make it.
        return Ok(respond::unread(&target, origin.rooms.cache.length(&target.key)));
    }
    Box::pin(cold(origin, asked, target, delivery)).await
}

async fn cold(origin: &Origin, asked: &Asked, target: Target, delivery: Delivery) -> Result<Response, Problem> {
    let (mut reader, came) = match claim(origin, &target).await {
        Claimed::Whole(bytes, came) => {
            let _ = asked.came.set(came);
            return respond::whole(asked, &target, bytes, came, None);
        }
        Claimed::Coming(reader, came) => (reader, came),
    };
    let _ = asked.came.set(came);
    let patience = origin.patience;
    let wanted = Wanted::of(&asked.parts.headers, &target.etag);
    let part = match wanted {
        Wanted::Whole => false,
        Wanted::From(0, None) => !asks_always(&asked.parts.headers),
        Wanted::From(..) | Wanted::Last(_) => true,
    };
    // HTTP/1.0 has no chunks: a body without length that breaks off would look complete.
    if part || delivery.holds(&asked.parts.headers) || asked.parts.version < http::Version::HTTP_11 {
        let bytes = whole(reader, patience).await?;
        return respond::whole(asked, &target, bytes, came, Some(asked.received.elapsed()));
    }
    // Nothing is sent before the first chunk is there, so that an early failure still becomes a status.
    let flight = Arc::clone(reader.flight());
    let Some(first) = in_time(patience, patience.first, &flight, reader.next()).await? else {
        return Err(Problem::Encode { inner: "the flight ended without a byte".into() });
    };
    let first = first?;
    let waited = asked.received.elapsed();
    let stream = Stream::new(first, reader, patience.gap, asked, origin.counters.clone());
    Ok(respond::streamed(&target, stream, came, waited))
}

/// FFmpeg and VLC ask for `bytes=0-` whatever they want. That may be answered as if there was no range (RFC 9110 §14.2), and
/// then need not wait for the end; whoever else asks for a range gets one.
fn asks_always(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    [&b"Lavf/"[..], b"VLC/"].iter().any(|name| agent.starts_with(name))
}

/// Takes the object, joins those who wait for it, or has it made.
pub(super) async fn claim(origin: &Origin, target: &Target) -> Claimed {
    // No await between the claim and the order: a client that leaves here would strand those who joined.
    match origin.rooms.cache.claim(&target.key).await {
        Claim::Whole(bytes, tier) => Claimed::Whole(bytes, tier.into()),
        Claim::Making(reader) => {
            // Whoever came first may have had more time.
            let due_in = target.due_in.unwrap_or_else(|| target.key.object.usual_buffer());
            reader.flight().hurry(Instant::now() + due_in);
            Claimed::Coming(reader, Came::Shared)
        }
        Claim::Lead(writer) => {
            let reader = writer.reader();
            match target.key.object {
                Object::Iframe(number) => iframe::make(origin, target, number, writer),
                Object::Init | Object::Segment(_) => (origin.rooms.make)(target.order(writer)),
            }
            Claimed::Coming(reader, Came::Made)
        }
    }
}

pub(super) async fn whole(reader: Reader, patience: Patience) -> Result<Bytes, Problem> {
    let flight = Arc::clone(reader.flight());
    Ok(in_time(patience, patience.whole, &flight, reader.whole()).await??)
}

/// Waits for what a flight is to bring. If nobody has begun to make it by the time players give up, more is asked for than
/// was expected: that is said then and not when it has become of no use. Everybody has as long, whoever asked first.
async fn in_time<T>(
    patience: Patience,
    limit: Duration,
    flight: &Flight,
    wanted: impl Future<Output = T>,
) -> Result<T, Problem> {
    let late = Problem::Late { waited_seconds: limit.as_secs() };
    let mut wanted = pin!(wanted);
    let queue = patience.queue.min(limit);
    if let Ok(there) = timeout(queue, &mut wanted).await {
        return Ok(there);
    }
    if queue < limit && !flight.is_begun() {
        return Err(Problem::Busy { retry_after_seconds: FlightError::RETRY_SECONDS });
    }
    timeout(limit - queue, wanted).await.map_err(|_| late)
}

/// Where the bytes of an answer came from: X-Cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// They were in memory.
    Memory,
    /// They were on disk.
    Disk,
    /// They were made for this request.
    Made,
    /// They were being made for another.
    Shared,
}

impl Came {
    /// Its place among what is counted: memory, disk, made, shared.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Memory => 0,
            Self::Disk => 1,
            Self::Made => 2,
            Self::Shared => 3,
        }
    }

    /// The word in X-Cache and Server-Timing.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Made => "made",
            Self::Shared => "shared",
        }
    }
}

impl From<Tier> for Came {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Memory => Self::Memory,
            Tier::Disk => Self::Disk,
        }
    }
}

impl Target {
    pub(super) fn find(presentation: Arc<Presentation>, media: Media) -> Result<Self, Problem> {
        let rendition = presentation.rendition(&media.generation, &media.rendition)?;
        let of = &presentation.facts().plan.renditions[rendition];
        let segments = of.grid.segments();
        let Media { generation, rendition: name, object, form, .. } = media;
        let own = match of.kind {
            RenditionKind::Video(_) | RenditionKind::Audio(_) => Form::Cmaf,
            RenditionKind::Text(_) => Form::Text,
        };
        if form != own {
            return Err(Problem::NoRoute);
        }
        // Promise 2: the bytes are a function of these three, so their names are a strong tag.
        let etag = match object {
            Object::Init => format!("\"{generation}.{name}.init\""),
            Object::Segment(n) if n < segments => format!("\"{generation}.{name}.{n}\""),
            Object::Iframe(n) if n < segments => {
                iframe::offered(&presentation, rendition)?;
                format!("\"{generation}.{name}.iframe-{n}\"")
            }
            Object::Segment(_) | Object::Iframe(_) => return Err(Problem::NoSegment { segments }),
        };
        Ok(Self {
            presentation,
            rendition,
            key: Key { generation, rendition: name, object },
            etag,
            form,
            segments,
            due_in: None,
        })
    }

    fn order(&self, writer: Writer) -> Order {
        let presentation = self.presentation.clone();
        Order { presentation, rendition: self.rendition, object: self.key.object, writer, due_in: self.due_in }
    }

    /// A viewer asks for it: says where they are, and how urgent it is to them.
    pub(super) fn played(&mut self, origin: &Origin, asked: &Asked) {
        if let (Object::Segment(number), false) = (self.key.object, asked.head()) {
            let play = origin.plays.play(asked, &self.presentation, self.rendition, number);
            self.due_in = asked.cmcd.as_ref().and_then(Cmcd::due_in);
            (origin.rooms.on_segment)(&self.presentation, play);
        }
    }

    /// Content-Type.
    pub(super) fn media_type(&self) -> HeaderValue {
        let kind = &self.presentation.facts().plan.renditions[self.rendition].kind;
        HeaderValue::from_static(match (self.form, kind) {
            (Form::Transport, _) => "video/mp2t",
            (Form::Cmaf, RenditionKind::Audio(_)) => "audio/mp4",
            (Form::Cmaf, _) => "video/mp4",
            (Form::Text, _) => "text/vtt; charset=utf-8",
        })
    }

    /// The file name of the segment that follows, if this is one and one does.
    pub(super) fn next_file(&self) -> Option<String> {
        let extension = match self.form {
            Form::Cmaf => "m4s",
            Form::Text => "vtt",
            Form::Transport => "ts",
        };
        self.next().map(|n| format!("{n}.{extension}"))
    }

    /// Number of the segment that follows, if this is one and one does.
    fn next(&self) -> Option<u32> {
        match self.key.object {
            Object::Init => None,
            Object::Segment(n) | Object::Iframe(n) => n.checked_add(1).filter(|next| *next < self.segments),
        }
    }
}

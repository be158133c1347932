//! Single pictures for scrubbing. One that is kept is answered like a segment; one that is not is carved from its
//! segment: from memory or disk, from one that is being made, or from one that is begun for the picture's sake and given
//! up as soon as the picture is there.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::cache::{Cache, Claim, Flight, FlightError, Key, Object, Writer};
use crate::manifest::iframes;
use crate::packager;

use super::config::Delivery;
use super::error::Problem;
use super::respond::{Asked, Response};
use super::route::Media;
use super::segment::{self, Make, Order, Target};
use super::{Origin, Presentation};

/// `/v/{id}/{generation}/{rendition}/iframe/{n}.m4s`.
pub(super) async fn answer(origin: &Origin, asked: &Asked, media: Media) -> Result<Response, Problem> {
    segment::object(origin, asked, media, Delivery::Hold).await
}

/// Makes one for whoever reads the writer's flight. A task of its own, so that the one who asked first may leave.
pub(super) fn make(origin: &Origin, target: &Target, number: u32, writer: Writer) {
    let carving = Carving {
        cache: origin.rooms.cache.clone(),
        make: origin.rooms.make.clone(),
        presentation: target.presentation.clone(),
        rendition: target.rendition,
        number,
    };
    tokio::spawn(carving.run(writer));
}

struct Carving {
    cache: Cache,
    make: Make,
    presentation: Arc<Presentation>,
    rendition: usize,
    number: u32,
}

impl Carving {
    /// Until it is there, or nobody waits for it any more.
    async fn run(self, mut writer: Writer) {
        let flight = Arc::clone(writer.flight());
        let mut picture = std::pin::pin!(self.picture(&flight));
        loop {
            tokio::select! {
                made = &mut picture => return match made {
                    Ok(bytes) => {
                        writer.push(bytes);
                        // An error is one of its readers' too.
                        drop(writer.commit());
                    }
                    Err(error) => writer.fail(error),
                },
                () = flight.unwatched() => match writer.abandon_if_unwatched() {
                    Some(wanted) => writer = wanted,
                    None => return,
                },
            }
        }
    }

    /// Dropping this, or its end, lets go of the segment: if nobody else wants it, its encode stops.
    async fn picture(&self, flight: &Flight) -> Result<Bytes, FlightError> {
        let key = Key { object: Object::Segment(self.number), ..self.key() };
        let mut reader = match self.cache.claim(&key).await {
            Claim::Whole(bytes, _) => return self.carve(&bytes)?.ok_or_else(|| self.incomplete()),
            Claim::Making(reader) => {
                reader.flight().hurry(Instant::now() + Object::Iframe(self.number).usual_buffer());
                reader
            }
            Claim::Lead(writer) => {
                let reader = writer.reader();
                let object = key.object;
                let presentation = self.presentation.clone();
                (self.make)(Order { presentation, rendition: self.rendition, object, writer, due_in: None });
                reader
            }
        };
        let mut begun = Vec::new();
        while let Some(chunk) = reader.next().await {
            begun.extend_from_slice(&chunk?);
            flight.begin(true);
            if let Some(picture) = self.carve(&begun)? {
                return Ok(picture);
            }
        }
        Err(self.incomplete())
    }

    fn carve(&self, segment: &[u8]) -> Result<Option<Bytes>, FlightError> {
        let grid = &self.presentation.facts().plan.renditions[self.rendition].grid;
        packager::iframe(grid, self.number, segment).map_err(|error| FlightError::failed(error.to_string()))
    }

    fn key(&self) -> Key {
        let facts = self.presentation.facts();
        let rendition = facts.plan.renditions[self.rendition].name.clone();
        Key { generation: facts.generation.clone(), rendition, object: Object::Iframe(self.number) }
    }

    fn incomplete(&self) -> FlightError {
        FlightError::failed(format!("segment {} ends before its first picture does", self.number))
    }
}

/// Only the renditions whose I-frames are listed have any.
pub(super) fn offered(presentation: &Presentation, rendition: usize) -> Result<(), Problem> {
    let plan = &presentation.facts().plan;
    if iframes::is_offered(plan, &plan.renditions[rendition]) { Ok(()) } else { Err(Problem::NoRendition) }
}

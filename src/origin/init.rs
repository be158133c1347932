//! Init segments. They are a kilobyte and made in one go, so their answer always waits for the whole.

use super::Origin;
use super::config::Delivery;
use super::error::Problem;
use super::respond::{Asked, Response};
use super::route::Media;
use super::segment;

/// `/v/{id}/{generation}/{rendition}/init.mp4`.
pub(super) async fn answer(origin: &Origin, asked: &Asked, media: Media) -> Result<Response, Problem> {
    segment::object(origin, asked, media, Delivery::Hold).await
}

//! Playlists and manifests: rendered and compressed once per title, then answered from the snapshot.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use crate::media::{Generation, RenditionName, TitleId};

use super::Origin;
use super::compress::Coding;
use super::error::Problem;
use super::iframe;
use super::respond::{self, Asked, Response};

/// A master playlist may name a new generation after an upgrade, or be gone after a deletion: CDNs look again soon.
pub(super) const MASTER_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=10, stale-while-revalidate=60");
/// A media playlist never changes below its generation; only a deletion ends it.
pub(super) const MEDIA_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60, stale-while-revalidate=600");

const HLS: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");
const DASH: HeaderValue = HeaderValue::from_static("application/dash+xml");
const VTT: HeaderValue = HeaderValue::from_static("text/vtt; charset=utf-8");

/// The text of a playlist and, once asked for, its compressed forms. Each has its own strong tag: the hash of its bytes.
#[derive(Debug)]
pub(super) struct Playlist {
    pub media_type: HeaderValue,
    identity: Form,
    gzip: OnceLock<Form>,
    brotli: OnceLock<Form>,
}

/// The bytes sent, and their tag.
#[derive(Debug)]
pub(super) struct Form {
    pub bytes: Bytes,
    pub etag: HeaderValue,
}

/// `/v/{id}/master.m3u8`.
pub(super) async fn master(origin: &Origin, asked: &Asked, title: &TitleId) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    // Who asks for the master plays soon.
    (origin.rooms.on_master)(&presentation);
    respond::playlist(asked, presentation.master(), MASTER_CACHE)
}

/// `/v/{id}/manifest.mpd`.
pub(super) async fn manifest(origin: &Origin, asked: &Asked, title: &TitleId) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    (origin.rooms.on_master)(&presentation);
    respond::playlist(asked, presentation.manifest(), MASTER_CACHE)
}

/// `/v/{id}/master-ts.m3u8`.
pub(super) async fn master_ts(origin: &Origin, asked: &Asked, title: &TitleId) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    (origin.rooms.on_master)(&presentation);
    respond::playlist(asked, presentation.master_ts(), MASTER_CACHE)
}

/// `/v/{id}/{generation}/{rendition}/ts.m3u8`.
pub(super) async fn media_ts(
    origin: &Origin,
    asked: &Asked,
    title: &TitleId,
    generation: &Generation,
    rendition: &RenditionName,
) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    let rendition = presentation.rendition(generation, rendition)?;
    respond::playlist(asked, presentation.media_ts(rendition)?, MEDIA_CACHE)
}

/// `/v/{id}/{generation}/{rendition}/index.m3u8`.
pub(super) async fn media(
    origin: &Origin,
    asked: &Asked,
    title: &TitleId,
    generation: &Generation,
    rendition: &RenditionName,
) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    let rendition = presentation.rendition(generation, rendition)?;
    respond::playlist(asked, presentation.media(rendition), MEDIA_CACHE)
}

/// `/v/{id}/{generation}/{rendition}/iframe.m3u8`.
pub(super) async fn iframes(
    origin: &Origin,
    asked: &Asked,
    title: &TitleId,
    generation: &Generation,
    rendition: &RenditionName,
) -> Result<Response, Problem> {
    let presentation = origin.presentation(asked, title).await?;
    let rendition = presentation.rendition(generation, rendition)?;
    iframe::offered(&presentation, rendition)?;
    respond::playlist(asked, presentation.iframes(rendition), MEDIA_CACHE)
}

impl Playlist {
    pub(super) fn hls(text: String) -> Self {
        Self::new(text, HLS)
    }

    pub(super) fn dash(text: String) -> Self {
        Self::new(text, DASH)
    }

    pub(super) fn vtt(text: String) -> Self {
        Self::new(text, VTT)
    }

    fn new(text: String, media_type: HeaderValue) -> Self {
        Self { media_type, identity: Form::new(text.into()), gzip: OnceLock::new(), brotli: OnceLock::new() }
    }

    pub(super) fn form(&self, coding: Coding) -> &Form {
        let compressed = || Form::new(coding.encode(&self.identity.bytes));
        match coding {
            Coding::Identity => &self.identity,
            Coding::Gzip => self.gzip.get_or_init(compressed),
            Coding::Brotli => self.brotli.get_or_init(compressed),
        }
    }
}

impl Form {
    fn new(bytes: Bytes) -> Self {
        let hash = Sha256::digest(&bytes);
        let hex: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{hex}\"")).expect("hexadecimal digits");
        Self { bytes, etag }
    }
}

/// Called with the snapshot of a title whose master playlist was asked for. Must not block.
pub type OnMaster = Arc<dyn Fn(&Arc<super::Presentation>) + Send + Sync>;

//! `Idempotency-Key`: a client that did not hear the answer asks again and gets the same title, not a second one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, request};
use serde_json::json;

use super::access::Caller;
use super::problem::{Kind, Problem};
use crate::catalog::Creation;
use crate::ingest::About;
use crate::media::TitleId;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key, bytes.
const MAX_KEY_BYTES: usize = 128;

/// The creations under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Creations(Arc<Mutex<HashSet<String>>>);

/// A creation under way; dropping it says that it is not any more.
#[derive(Debug)]
pub(super) struct UnderWay {
    all: Creations,
    key: String,
}

/// What the request calls its creation, if it does.
pub(super) fn creation(
    parts: &request::Parts,
    caller: &Caller,
    fingerprint: String,
) -> Result<Option<Creation>, Problem> {
    let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    let must = || Problem::new(Kind::Body, format!("Idempotency-Key must be 1 to {MAX_KEY_BYTES} ASCII characters"));
    let key = format!("{}\n{}", caller.name, key.ok_or_else(must)?);
    Ok(Some(Creation { key, fingerprint }))
}

/// What was to be created: which film, and all that was said of it. It has no line end.
pub(super) fn fingerprint(film: &str, about: &About) -> String {
    let About { title, description, metadata, file_name, policy, .. } = about;
    json!([film, file_name, title, description, metadata, policy]).to_string()
}

impl Creations {
    /// Begins one, unless the same is under way.
    pub(super) fn begin(&self, creation: &Creation) -> Result<UnderWay, Problem> {
        self.enter(creation.key.clone(), Kind::KeyInUse)
    }

    /// Begins an upload by a token, under the title it makes; keys of clients have a line end.
    pub(super) fn begin_alone(&self, title: &TitleId) -> Result<UnderWay, Problem> {
        self.enter(title.to_string(), Kind::UploadLocked)
    }

    fn enter(&self, key: String, otherwise: Kind) -> Result<UnderWay, Problem> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        if is_new { Ok(UnderWay { all: self.clone(), key }) } else { Err(Problem::of(otherwise)) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

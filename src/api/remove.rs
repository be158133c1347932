//! `DELETE /videos/{id}`: the title goes, and with it everything that no other title needs.

use std::sync::Arc;

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request;
use serde_json::json;

use super::problem::{Kind, Problem};
use super::{Api, Response, blocking, respond, videos};
use crate::cache::Purged;
use crate::catalog::{self, Removal, Removed};
use crate::ingest::discard;
use crate::ingest::events::What;
use crate::media::{Digest, Generation, TitleId};

/// What is done where it blocks.
struct Gone {
    title: Removed,
    source_removed: bool,
    /// The recipe that no title uses any more, and its source.
    unused: Option<(Generation, Digest)>,
}

pub(super) async fn video(api: &Arc<Api>, parts: &request::Parts, id: &TitleId) -> Result<Response, Problem> {
    // Only who asks for it has a title read: one that is damaged can be removed all the same.
    let is_asked = [IF_MATCH, IF_NONE_MATCH].iter().any(|field| parts.headers.contains_key(field));
    let expected = match is_asked {
        true => videos::condition(parts, &videos::find(api, id).await?)?,
        false => None,
    };
    // Runs to its end also if the client leaves: half a removal would leave what nobody can name any more.
    let (api, id) = (api.clone(), id.clone());
    tokio::spawn(async move { remove(&api, &id, expected).await })
        .await
        .unwrap_or_else(|died| Err(Problem::internal(died)))
}

async fn remove(api: &Arc<Api>, id: &TitleId, expected: Option<u64>) -> Result<Response, Problem> {
    let (rooms, this, of) = (api.rooms.clone(), api.clone(), id.clone());
    let gone = blocking(move || this.forget_title(&of, expected)).await?;
    let mut purged = Purged::default();
    if let Some((generation, digest)) = gone.unused {
        (rooms.stop)(&generation, &digest);
        purged = rooms.cache.purge(&generation).await.unwrap_or_else(|error| {
            tracing::warn!(title = %id, %error, "segments of a title that was removed are left to the next start");
            Purged::default()
        });
    }
    rooms.events.tell(id, What::Removed { removed: true });
    let (source_removed, Removed { source, size_bytes, jobs, .. }) = (gone.source_removed, gone.title);
    tracing::info!(title = %id, source_removed, memory = purged.memory, disk = purged.disk, "removed");
    Ok(respond::json(&json!({
        "id": id,
        "removed": true,
        "source": { "digest": source, "removed": source_removed, "size_bytes": size_bytes },
        "cache": { "memory_objects": purged.memory, "disk_objects": purged.disk },
        "jobs_cancelled": jobs,
        "paths": [format!("/v/{id}/")],
    })))
}

impl Api {
    /// Takes the title out of the catalog, its work out of the queue and its source out of the library. Once the catalog
    /// has forgotten it, nothing fails any more: what cannot be removed now is left to the next start. Blocks.
    fn forget_title(&self, id: &TitleId, expected: Option<u64>) -> Result<Gone, Problem> {
        let (catalog, library) = (&self.rooms.catalog, &self.rooms.library);
        // What it had is what it had at its end: until then another source may take the place of its own.
        let title = match catalog.remove(id, expected)? {
            Removal::Done(title) => title,
            Removal::Stale => return Err(Problem::of(Kind::Version)),
            Removal::Absent => return Err(Problem::of(Kind::NoTitle)),
        };
        // Playback first: from here on nobody begins to play it.
        (self.rooms.forget)(id);
        title.jobs.iter().for_each(|job| self.rooms.processor.call_off(job));
        for successor in &title.successors {
            discard::source(catalog, library, successor);
        }
        let Some(digest) = title.source.clone() else {
            return Ok(Gone { title, source_removed: false, unused: None });
        };
        let source_removed = discard::source(catalog, library, &digest);
        let unused = self.unused(&title, &digest).unwrap_or_else(|error| {
            tracing::warn!(title = %id, %error, "segments of a title that was removed are left to the next start");
            None
        });
        Ok(Gone { title, source_removed, unused: unused.map(|generation| (generation, digest)) })
    }

    /// The recipe of a title that was removed, unless another title has it: those of one source that were planned alike share
    /// their segments.
    fn unused(&self, removed: &Removed, digest: &Digest) -> Result<Option<Generation>, catalog::Error> {
        let mut unused = removed.plan.as_ref().map(|plan| (self.rooms.generation)(digest, plan));
        for other in self.rooms.catalog.titles_of(digest)? {
            let plan = self.rooms.catalog.title(&other)?.and_then(|title| title.plan);
            let theirs = plan.map(|plan| (self.rooms.generation)(digest, &plan));
            unused = unused.filter(|generation| Some(generation) != theirs.as_ref());
        }
        Ok(unused)
    }
}

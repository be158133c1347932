//! `DELETE /videos/{id}`: the title goes, and with it everything that no other title needs.

use std::sync::Arc;

use serde_json::json;

use super::problem::{Kind, Problem};
use super::{Api, Response, blocking, respond, videos};
use crate::cache::Purged;
use crate::catalog::Title;
use crate::ingest::discard;
use crate::ingest::events::What;
use crate::media::{Digest, Generation, JobId, TitleId};

/// What is done where it blocks.
struct Gone {
    jobs: Vec<JobId>,
    source_removed: bool,
    /// The recipe that no title uses any more.
    unused: Option<Generation>,
}

pub(super) async fn video(api: &Arc<Api>, id: &TitleId) -> Result<Response, Problem> {
    let title = videos::find(api, id).await?;
    // Runs to its end also if the client leaves: half a removal would leave what nobody can name any more.
    let (api, id) = (api.clone(), id.clone());
    tokio::spawn(async move { remove(&api, &id, title).await })
        .await
        .unwrap_or_else(|died| Err(Problem::internal(died)))
}

async fn remove(api: &Arc<Api>, id: &TitleId, title: Title) -> Result<Response, Problem> {
    let (rooms, source) = (api.rooms.clone(), title.entry.source.clone());
    let generation = source.as_ref().zip(title.plan.as_ref()).map(|(digest, plan)| (rooms.generation)(digest, plan));
    let (this, of, digest) = (api.clone(), id.clone(), source.clone());
    let gone = blocking(move || this.forget_title(&of, digest.as_ref(), generation)).await?;
    let mut purged = Purged::default();
    if let (Some(generation), Some(digest)) = (&gone.unused, &source) {
        (rooms.stop)(generation, digest);
        purged = rooms.cache.purge(generation).await?;
    }
    rooms.events.tell(id, What::Removed { removed: true });
    let (source_removed, jobs) = (gone.source_removed, gone.jobs);
    tracing::info!(title = %id, source_removed, memory = purged.memory, disk = purged.disk, "removed");
    Ok(respond::json(&json!({
        "id": id,
        "removed": true,
        "source": { "digest": source, "removed": source_removed, "size_bytes": title.entry.size_bytes },
        "cache": { "memory_objects": purged.memory, "disk_objects": purged.disk },
        "jobs_cancelled": jobs,
        "paths": [format!("/v/{id}/")],
    })))
}

impl Api {
    /// Takes the title out of the catalog, its work out of the queue and its source out of the library. Blocks.
    fn forget_title(
        &self,
        id: &TitleId,
        source: Option<&Digest>,
        generation: Option<Generation>,
    ) -> Result<Gone, Problem> {
        let catalog = &self.rooms.catalog;
        let jobs = catalog.open_jobs(id)?;
        let successor = catalog.replacement(id)?.filter(|job| job.ended_at_ms.is_none()).and_then(|job| job.source);
        if !catalog.remove(id)? {
            return Err(Problem::of(Kind::NoTitle));
        }
        // Playback first: from here on nobody begins to play it.
        (self.rooms.forget)(id);
        jobs.iter().for_each(|job| self.rooms.processor.call_off(job));
        if let Some(successor) = successor {
            discard::source(catalog, &self.rooms.library, &successor)?;
        }
        let mut gone = Gone { jobs, source_removed: false, unused: generation };
        if let Some(digest) = source {
            gone.source_removed = discard::source(catalog, &self.rooms.library, digest)?;
            // Titles of one source that were planned alike share their segments.
            for other in catalog.titles_of(digest)? {
                let plan = catalog.title(&other)?.and_then(|title| title.plan);
                let theirs = plan.map(|plan| (self.rooms.generation)(digest, &plan));
                gone.unused = gone.unused.filter(|generation| Some(generation) != theirs.as_ref());
            }
        }
        Ok(gone)
    }
}

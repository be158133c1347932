//! Clears what no title's recipe can name any more, once after a start: an encoder's or a template's upgrade leaves the
//! segments of every title behind, and waiting until others push them out would take half the disk from those.

use std::collections::HashSet;

use tokio::task::spawn_blocking;

use crate::cache::Cache;
use crate::catalog::{self, Catalog, State};
use crate::encoder::Recipe;
use crate::media::Generation;

/// Titles read from the catalog at a time.
const PAGE: u32 = 100;

/// Behind the server's users: none of it is in anybody's way, and what goes wrong costs only space.
pub(super) async fn clear(cache: Cache, catalog: Catalog, recipe: Recipe) {
    // Before the titles are listed: what a title that comes in meanwhile has made is not among them.
    let kept = cache.generations().await;
    if kept.is_empty() {
        return;
    }
    let named = match spawn_blocking(move || named(&catalog, &recipe)).await {
        Ok(Ok(named)) => named,
        Ok(Err(error)) => return tracing::warn!(%error, "segments of earlier encoders are left to be pushed out"),
        // A panic is told where it happens.
        Err(_) => return,
    };
    let (mut generations, mut files) = (0_u64, 0);
    for generation in kept.difference(&named) {
        match cache.purge(generation).await {
            Ok(purged) => {
                generations += 1;
                files += purged.disk;
            }
            Err(error) => tracing::warn!(%error, "segments of an earlier encoder are left"),
        }
    }
    if generations > 0 {
        tracing::info!(generations, files, "removed segments that no title's recipe names any more");
    }
}

/// Generations of all titles that can be played.
fn named(catalog: &Catalog, recipe: &Recipe) -> Result<HashSet<Generation>, catalog::Error> {
    let (mut named, mut after) = (HashSet::new(), None);
    loop {
        let page = catalog.titles(after.as_ref(), PAGE, Some(State::Ready))?;
        for entry in page.entries {
            let Some(catalog::Title { entry, plan: Some(plan) }) = catalog.title(&entry.id)? else { continue };
            named.extend(entry.source.map(|digest| recipe.generation(&digest, &plan)));
        }
        after = page.next;
        if after.is_none() {
            return Ok(named);
        }
    }
}

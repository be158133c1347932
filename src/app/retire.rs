//! What a title played before its source was replaced goes: encodes are stopped, and what was made is removed from the
//! cache, unless another title has the same recipe.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::cache::Cache;
use crate::catalog::{self, Catalog};
use crate::encoder::Encoder;
use crate::ingest::OnRetire;
use crate::media::{Digest, Generation};

pub(super) fn retire(catalog: &Catalog, cache: &Cache, encoder: &Encoder) -> OnRetire {
    let (catalog, cache, encoder) = (catalog.clone(), cache.clone(), encoder.clone());
    Arc::new(move |digest, plan| {
        let generation = encoder.recipe().generation(&digest, &plan);
        let (catalog, cache, encoder) = (catalog.clone(), cache.clone(), encoder.clone());
        tokio::spawn(async move {
            let (of, source, recipe) = (generation.clone(), digest.clone(), encoder.clone());
            let used = spawn_blocking(move || is_used(&catalog, &recipe, &of, &source)).await;
            match used {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => return tracing::warn!(%generation, %error, "an old recipe is left to the next start"),
                // A panic is told where it happens.
                Err(_) => return,
            }
            encoder.stop(&generation, &digest);
            match cache.purge(&generation).await {
                Ok(purged) => tracing::info!(%generation, memory = purged.memory, disk = purged.disk, "purged"),
                Err(error) => tracing::warn!(%generation, %error, "segments of an old source are left"),
            }
        });
    })
}

fn is_used(
    catalog: &Catalog,
    encoder: &Encoder,
    generation: &Generation,
    source: &Digest,
) -> Result<bool, catalog::Error> {
    for other in catalog.titles_of(source)? {
        let plan = catalog.title(&other)?.and_then(|title| title.plan);
        if plan.is_some_and(|plan| encoder.recipe().generation(source, &plan) == *generation) {
            return Ok(true);
        }
    }
    Ok(false)
}

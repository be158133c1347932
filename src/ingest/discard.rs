//! A source that no title names any more goes.

use super::Error;
use crate::catalog::Catalog;
use crate::library::Library;
use crate::media::Digest;

/// Removes a source unless a title names it; true if it is gone. Blocks. Who has the file open keeps reading. One that
/// cannot be removed now is left to the server's next start: the catalog has forgotten it, and nobody could try again.
pub fn source(catalog: &Catalog, library: &Library, digest: &Digest) -> bool {
    let remove = || -> Result<bool, Error> {
        // What the catalog says stays true only while nobody commits.
        let frozen = library.freeze()?;
        Ok(catalog.sources_in_use(digest)? == 0 && library.remove(frozen, digest)?)
    };
    remove().unwrap_or_else(|error| {
        tracing::warn!(%digest, %error, "a source that no title names is left to the server's next start");
        false
    })
}

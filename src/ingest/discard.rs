//! A source that no title names any more goes.

use super::Error;
use crate::catalog::Catalog;
use crate::library::Library;
use crate::media::Digest;

/// Removes a source unless a title names it; true if it is gone. Blocks. Who has the file open keeps reading.
///
/// # Errors
/// [`Error::Library`], [`Error::Catalog`]; the server's next start tries again.
pub fn source(catalog: &Catalog, library: &Library, digest: &Digest) -> Result<bool, Error> {
    // What the catalog says stays true only while nobody commits.
    let frozen = library.freeze()?;
    Ok(catalog.sources_in_use(digest)? == 0 && library.remove(&frozen, digest)?)
}

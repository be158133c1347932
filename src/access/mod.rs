//! Who may, and how often: API keys for management, tokens for single uploads, signed URLs for playback, limits by
//! address.
//!
//! Nothing runs unasked. Checking a key costs one look-up in the catalog and one SHA-256, so it blocks;
//! nothing is remembered, so a key is worth nothing from the moment it is revoked, whoever revoked it.
//! Checking a signed URL costs an HMAC over a line of text, and asks nobody. Counting a request costs a hash and one
//! atomic number.
//!
//! The rule not to break: no secret is kept that can be used as it is, none is logged, and none is shown twice.
//!
//! Arrow: `access` -> `catalog`, `media`.

mod grant;
mod key;
mod playback;
mod rate;
mod secret;
mod webhook;

use std::io;
use std::path::PathBuf;

use crate::catalog;

pub use grant::{Grant, Grants, MAX_SECONDS as MAX_UPLOAD_SECONDS};
pub use key::{Issued, Keys, MAX_NAME_CHARS};
pub use playback::{MAX_SECONDS as MAX_PLAYBACK_SECONDS, Pass, Playback, Refused};
pub use rate::{Client, Rate, Taken};
pub use secret::{FILE as SECRET_FILE, Secret};
pub use webhook::Signer;

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key's name that cannot stand in a list.
    #[error("a key's name must be one line of 1 to {MAX_NAME_CHARS} characters")]
    Name,
    /// A key that may do nothing.
    #[error("a key needs at least one of the scopes read, upload, admin")]
    NoScope,
    /// There are as many keys as there may be.
    #[error("there are {} keys already that are not revoked, which is the maximum: revoke some", catalog::MAX_KEYS)]
    TooMany,
    /// The secret cannot be read, or made.
    #[error("{} cannot be used ({why}): restore it, or delete it, which invalidates every URL and token signed \
        with it", .path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: io::Error,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to give: {0}")]
    Chance(io::Error),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
}

/// Bytes nobody can guess.
fn chance<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|why| Error::Chance(io::Error::other(why.to_string())))?;
    Ok(bytes)
}

/// Compares without telling by its time where two secrets differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

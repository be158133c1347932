//! The server's secret: 32 bytes in the data folder, readable by its owner alone. Whatever is signed is signed with a key
//! made of it for that purpose, so that one kind of signature is never taken for another.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Error, chance};

/// Name of the file in the data folder.
pub const FILE: &str = "secret";
const BYTES: usize = 32;

/// HMAC with SHA-256 (RFC 2104).
pub(super) type Signature = Hmac<Sha256>;

/// The secret. It is never shown.
pub struct Secret([u8; BYTES]);

impl Secret {
    /// Reads it, or makes it if there is none. Of two processes that make one at once one wins, and both have that one.
    ///
    /// # Errors
    /// [`Error::Secret`], [`Error::Chance`].
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        let unusable = |why: io::Error| Error::Secret { path: path.clone(), why };
        if !path.exists() {
            // Mode 0600, and whole before it has its name.
            let mut file = tempfile::NamedTempFile::new_in(data_dir).map_err(unusable)?;
            file.write_all(&chance::<BYTES>()?).and_then(|()| file.as_file().sync_all()).map_err(unusable)?;
            match file.persist_noclobber(&path) {
                Ok(_) => {}
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unusable(error.error)),
            }
        }
        let bytes = fs::read(&path).map_err(unusable)?;
        let length = bytes.len();
        let wrong = |_| unusable(io::Error::other(format!("it has {length} bytes and not {BYTES}")));
        bytes.try_into().map(Self).map_err(wrong)
    }

    /// What signs for one purpose.
    pub(super) fn signature(&self, purpose: &str) -> Signature {
        let mut derived = keyed(&self.0);
        derived.update(purpose.as_bytes());
        keyed(&derived.finalize().into_bytes())
    }
}

fn keyed(key: &[u8]) -> Signature {
    Signature::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn signed(secret: &Secret, purpose: &str) -> Vec<u8> {
        secret.signature(purpose).finalize().into_bytes().to_vec()
    }

    #[test]
    fn it_stays_the_same_is_its_owners_alone_and_differs_by_purpose_and_folder() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (first, again) = (Secret::open(one.path()).unwrap(), Secret::open(one.path()).unwrap());
        assert_eq!(signed(&first, "a"), signed(&again, "a"));
        assert_ne!(signed(&first, "a"), signed(&first, "b"));
        assert_ne!(signed(&first, "a"), signed(&Secret::open(two.path()).unwrap(), "a"));
        let mode = fs::metadata(one.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(one.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_one_is_named_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "short").unwrap();
        let error = Secret::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("secret cannot be used (it has 5 bytes and not 32)"), "{error}");
    }
}

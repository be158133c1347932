//! API keys: `matinee_{id}_{64 hexadecimal digits}`.
//!
//! The id finds the row and salts the hash; the digits are 256 bits of chance. The hash is SHA-256: slow ones (argon2)
//! are for secrets that people choose, of which billions can be tried. Nobody tries 2^256, and a slow hash would only
//! make each request slow, and requests with wrong keys an attack. The fixed beginning lets scanners find a key that
//! got into a repository.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Error, chance, same};
use crate::catalog::{ApiKey, Catalog};
use crate::media::{KeyId, Quota, Scopes};

/// Longest name of a key, characters.
pub const MAX_NAME_CHARS: usize = 100;
/// The time of last use is noted this coarsely, milliseconds: a write for each request would cost more than the request.
const USED_EVERY_MS: i64 = 10 * 60 * 1000;
const PREFIX: &str = "matinee_";
const SECRET_BYTES: usize = 32;

/// The keys of a catalog. Every call blocks.
#[derive(Clone, Debug)]
pub struct Keys(Catalog);

/// A new key.
pub struct Issued {
    /// What its holder sends. It is not kept anywhere.
    pub text: String,
    /// What is kept.
    pub key: ApiKey,
}

impl Keys {
    /// Of this catalog.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self(catalog)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::NoScope`], [`Error::TooMany`]; [`Error::Chance`], [`Error::Catalog`].
    pub fn issue(&self, name: &str, scopes: Scopes, quota: Quota, now_ms: i64) -> Result<Issued, Error> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.contains(char::is_control) {
            return Err(Error::Name);
        }
        if scopes == Scopes::default() {
            return Err(Error::NoScope);
        }
        let id = KeyId::from_random(u64::from_le_bytes(chance()?));
        let secret = chance::<SECRET_BYTES>()?;
        let text = secret.iter().fold(format!("{PREFIX}{id}_"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let (name, hash) = (name.to_owned(), Sha256::digest(&text).into());
        let key =
            ApiKey { id, name, hash, scopes, created_at_ms: now_ms, used_at_ms: None, revoked_at_ms: None, quota };
        if self.0.insert_key(&key)? { Ok(Issued { text, key }) } else { Err(Error::TooMany) }
    }

    /// Whose key this is; `None` if it is nobody's, or was revoked.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub fn check(&self, text: &str, now_ms: i64) -> Result<Option<ApiKey>, Error> {
        let Some(id) = id(text) else { return Ok(None) };
        let Some(key) = self.0.key(&id)? else { return Ok(None) };
        if !same(&Sha256::digest(text), &key.hash) || key.revoked_at_ms.is_some() {
            return Ok(None);
        }
        if key.used_at_ms.is_none_or(|used| now_ms.saturating_sub(used) >= USED_EVERY_MS) {
            // A disk that is full shall not lock out who could make room.
            if let Err(error) = self.0.key_used(&id, now_ms) {
                tracing::debug!(key = %id, %error, "the use of a key was not noted");
            }
        }
        Ok(Some(key))
    }

    /// Whether the key with this id is worth something.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub fn is_good(&self, id: &KeyId) -> Result<bool, Error> {
        Ok(self.0.key(id)?.is_some_and(|key| key.revoked_at_ms.is_none()))
    }

    /// True as long as no key was ever added. A server whose keys were all revoked stays closed: who takes a key away
    /// does not mean to let everybody in.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub fn never_used(&self) -> Result<bool, Error> {
        Ok(!self.0.has_keys()?.0)
    }

    /// Whether there is a key that is worth something.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub fn any(&self) -> Result<bool, Error> {
        Ok(self.0.has_keys()?.1)
    }

    /// All keys, newest first.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub fn list(&self) -> Result<Vec<ApiKey>, Error> {
        Ok(self.0.keys()?)
    }

    /// Makes a key worth nothing from now on; `None` if there is no such key.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub fn revoke(&self, id: &KeyId, now_ms: i64) -> Result<Option<ApiKey>, Error> {
        self.0.revoke_key(id, now_ms)?;
        Ok(self.0.key(id)?)
    }
}

/// The id in a key, if it has the form of one.
fn id(text: &str) -> Option<KeyId> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let good = secret.len() == 2 * SECRET_BYTES && secret.bytes().all(|b| b.is_ascii_hexdigit());
    id.parse().ok().filter(|_| good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Scope;

    fn keys() -> (tempfile::TempDir, Keys) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        (folder, Keys::new(catalog))
    }

    fn reading() -> Scopes {
        [Scope::Read].into_iter().collect()
    }

    #[test]
    fn a_key_is_worth_something_until_it_is_revoked() {
        let (_folder, keys) = keys();
        assert!(keys.never_used().unwrap());
        let Issued { text, key } = keys.issue(" ci ", reading(), Quota::default(), 5).unwrap();
        assert_eq!(keys.check(&text, 6).unwrap().unwrap().name, "ci");
        assert_eq!(keys.revoke(&key.id, 7).unwrap().unwrap().revoked_at_ms, Some(7));
        assert_eq!(keys.revoke(&key.id, 8).unwrap().unwrap().revoked_at_ms, Some(7));
        assert_eq!(keys.check(&text, 9).unwrap(), None);
        assert!(!keys.any().unwrap() && !keys.never_used().unwrap(), "a closed door stays closed");
    }

    #[test]
    fn what_is_not_the_key_is_worth_nothing() {
        let (_folder, keys) = keys();
        let Issued { text, key } = keys.issue("a", reading(), Quota::default(), 0).unwrap();
        let other = keys.issue("b", reading(), Quota::default(), 0).unwrap().text;
        let swapped = format!("{PREFIX}{}_{}", key.id, other.rsplit('_').next().unwrap());
        let upper = text.to_uppercase();
        for bad in ["", PREFIX, &text[1..], &text[..text.len() - 1], &format!("{text}0"), &swapped, &upper] {
            assert_eq!(keys.check(bad, 0).unwrap(), None, "{bad}");
        }
    }

    #[test]
    fn nothing_that_is_kept_can_be_used_as_a_key() {
        let (folder, keys) = keys();
        let text = keys.issue("a", reading(), Quota::default(), 0).unwrap().text;
        let secret = text.rsplit('_').next().unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|at| at == secret.as_bytes()));
        }
    }

    #[test]
    fn the_last_use_is_noted_coarsely() {
        let (_folder, keys) = keys();
        let text = keys.issue("a", reading(), Quota::default(), 0).unwrap().text;
        for (now, noted) in [(1000, 1000), (2000, 1000), (1000 + USED_EVERY_MS, 1000 + USED_EVERY_MS)] {
            keys.check(&text, now).unwrap();
            assert_eq!(keys.list().unwrap()[0].used_at_ms, Some(noted));
        }
    }

    #[test]
    fn a_key_without_a_name_or_a_scope_is_not_made() {
        let (_folder, keys) = keys();
        for bad in ["", " ", "two\nlines", &"x".repeat(MAX_NAME_CHARS + 1)] {
            assert!(matches!(keys.issue(bad, reading(), Quota::default(), 0), Err(Error::Name)), "{bad:?}");
        }
        assert!(matches!(keys.issue("a", Scopes::default(), Quota::default(), 0), Err(Error::NoScope)));
    }
}

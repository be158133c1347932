//! Digests that come with a body: `Content-Digest` and `Repr-Digest` (RFC 9530). A film is sent as it is, so both are of
//! the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::problem::{Kind, Problem};
use crate::media::Digest;

const FIELDS: [HeaderName; 2] = [HeaderName::from_static("content-digest"), HeaderName::from_static("repr-digest")];
const WANT_CONTENT_DIGEST: HeaderName = HeaderName::from_static("want-content-digest");

/// The digests by SHA-256 that a body must have. A digest that cannot be checked is refused: whoever sends one relies
/// on it. A field without a member is as good as none (RFC 8941 §3.2).
pub(super) fn expected(headers: &HeaderMap) -> Result<Vec<Digest>, Problem> {
    let mut found = Vec::new();
    for name in FIELDS {
        let mut checked = headers.get_all(&name).iter().all(|value| value.as_bytes().trim_ascii().is_empty());
        for value in headers.get_all(&name) {
            let text = value.to_str().map_err(|_| malformed(&name))?;
            for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
                let (algorithm, bytes) = member.split_once('=').ok_or_else(|| malformed(&name))?;
                if algorithm == "sha-256" {
                    found.push(digest(bytes).ok_or_else(|| malformed(&name))?);
                    checked = true;
                }
            }
        }
        if !checked {
            return Err(Problem::of(Kind::DigestAlgorithm).header(WANT_CONTENT_DIGEST, "sha-256=10"));
        }
    }
    Ok(found)
}

/// Whether the bytes that came are those.
pub(super) fn check(expected: &[Digest], came: &Digest) -> Result<(), Problem> {
    if expected.iter().all(|digest| digest == came) { Ok(()) } else { Err(Problem::of(Kind::Digest)) }
}

/// A byte sequence of RFC 8941 §3.3.5: base64 between colons. Parameters mean nothing here.
fn digest(text: &str) -> Option<Digest> {
    let (encoded, _) = text.trim().strip_prefix(':')?.split_once(':')?;
    named(&STANDARD.decode(encoded).ok()?)
}

/// A hash that has ended.
pub(super) fn of(hash: Sha256) -> Option<Digest> {
    named(&hash.finalize())
}

fn named(bytes: &[u8]) -> Option<Digest> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse().ok()
}

fn malformed(name: &HeaderName) -> Problem {
    Problem::new(Kind::DigestAlgorithm, format!("{name} is not a list such as sha-256=:...=: (RFC 9530)"))
        .header(WANT_CONTENT_DIGEST, "sha-256=10")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    // Of no bytes at all.
    const NOTHING: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    fn expect(name: &'static str, value: &str) -> Result<Vec<Digest>, Problem> {
        let value = HeaderValue::from_str(value).unwrap();
        expected(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
    }

    #[test]
    fn sha_256_is_found_among_others_in_either_field() {
        for field in ["content-digest", "repr-digest"] {
            let found = expect(field, &format!("sha-512=:AAAA:, sha-256=:{NOTHING}:")).unwrap();
            assert!(found[0].as_str().starts_with("e3b0c44298fc1c14"), "{found:?}");
        }
        assert_eq!(expected(&HeaderMap::new()).unwrap(), []);
    }

    #[test]
    fn a_digest_that_cannot_be_checked_is_refused() {
        assert_eq!(expect("content-digest", "").unwrap(), []);
        for bad in [",", "sha-512=:AAAA:", "sha-256", "sha-256=AAAA", "sha-256=:AAAA:", "sha-256=:!:", "md5=::"] {
            assert_eq!(expect("content-digest", bad).unwrap_err().kind(), Kind::DigestAlgorithm, "{bad}");
        }
    }
}

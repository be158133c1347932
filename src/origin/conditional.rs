//! If-Match, If-None-Match and If-Range (RFC 9110 §13). Nothing here has a modification time, so the date forms never match.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};

use super::error::Problem;

/// Whether the client already has the representation that `etag` names: 304. Before anything is read or made for it, since
/// If-Match comes first (RFC 9110 §13.2.2): 412 if the client wants none but others.
pub(super) fn known(headers: &HeaderMap, etag: &str) -> Result<bool, Problem> {
    if wanted(headers, etag) { Ok(not_modified(headers, etag)) } else { Err(Problem::Version) }
}

/// False if the client wants none but other representations than the one that `etag` names: 412. Strong comparison.
#[must_use]
pub fn wanted(headers: &HeaderMap, etag: &str) -> bool {
    let mut lists = headers.get_all(IF_MATCH).iter().peekable();
    lists.peek().is_none() || lists.any(|value| matches(value.as_bytes(), etag, true))
}

/// True if the client already has the representation that `etag` names: 304. Weak comparison.
#[must_use]
pub fn not_modified(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| matches(value.as_bytes(), etag, false))
}

/// True if a Range of this request may be answered with a part. Strong comparison (RFC 9110 §13.1.5).
#[must_use]
pub fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(IF_RANGE).is_none_or(|value| !etag.starts_with("W/") && value.as_bytes() == etag.as_bytes())
}

/// Walks the list. A tag is quoted and may hold commas, so splitting at commas would be wrong.
fn matches(mut list: &[u8], etag: &str, is_strong: bool) -> bool {
    let wanted = opaque(etag.as_bytes());
    loop {
        list = list.trim_ascii_start();
        let is_weak = list.starts_with(b"W/") || etag.starts_with("W/");
        list = match list {
            [] => return false,
            [b'*', rest @ ..] => return rest.trim_ascii().is_empty(),
            [b',', rest @ ..] => rest,
            [b'W', b'/', rest @ ..] | rest => {
                let Some(end) = rest.strip_prefix(b"\"").and_then(|r| r.iter().position(|b| *b == b'"')) else {
                    return false;
                };
                let (tag, after) = rest.split_at(end + 2);
                if tag == wanted && !(is_strong && is_weak) {
                    return true;
                }
                after
            }
        };
    }
}

fn opaque(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn asked(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn if_none_match_takes_lists_stars_and_weak_tags() {
        for hit in ["\"a\"", "W/\"a\"", "\"x\", \"a\"", "\"x\",W/\"a\"", "*", " * ", ",, \"a\"", "\"x,y\" , \"a\""] {
            assert!(not_modified(&asked(hit), "\"a\""), "{hit}");
            assert!(not_modified(&asked(hit), "W/\"a\""), "{hit}");
        }
        for miss in ["", "\"b\"", "a", "\"a", "\"x, \"a\"", "\"A\"", "* \"b\"", "W/a", "\"xa\"", "\"x,\"a\",\""] {
            assert!(!not_modified(&asked(miss), "\"a\""), "{miss}");
        }
        assert!(!not_modified(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn if_match_takes_lists_and_stars_and_no_weak_tag() {
        let with = |v: &str| HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_str(v).unwrap())]);
        assert!(wanted(&HeaderMap::new(), "\"a\""));
        for good in ["\"a\"", "*", "\"x\", \"a\"", "W/\"a\", \"a\""] {
            assert!(wanted(&with(good), "\"a\""), "{good}");
        }
        for bad in ["W/\"a\"", "\"b\"", "", "a"] {
            assert!(!wanted(&with(bad), "\"a\""), "{bad}");
        }
        assert!(!wanted(&with("W/\"a\""), "W/\"a\"") && !wanted(&with("\"a\""), "W/\"a\""));
    }

    #[test]
    fn a_range_needs_the_very_same_strong_tag() {
        let with = |v: &str| HeaderMap::from_iter([(IF_RANGE, HeaderValue::from_str(v).unwrap())]);
        assert!(range_applies(&HeaderMap::new(), "\"a\""));
        assert!(range_applies(&with("\"a\""), "\"a\""));
        for other in ["W/\"a\"", "\"b\"", "Sat, 01 Jan 2000 00:00:00 GMT", "*"] {
            assert!(!range_applies(&with(other), "\"a\""), "{other}");
        }
        assert!(!range_applies(&with("W/\"a\""), "W/\"a\""));
    }

    proptest! {
        #[test]
        fn no_header_panics_and_none_matches_by_chance(value in "[ -~]{0,40}") {
            let hit = not_modified(&asked(&value), "\"zz\"");
            prop_assert!(!hit || value.contains("\"zz\"") || value.trim_matches([' ', ',']) .contains('*'));
        }
    }
}

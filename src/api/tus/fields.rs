//! The fields of requests.

use std::collections::HashSet;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, request};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{BYTES, UPLOAD_CHECKSUM, UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH};
use crate::api::problem::{Kind, Problem};
use crate::ingest::resume::Purpose;
use crate::media::UploadId;

/// How checksums are made.
pub(super) const ALGORITHMS: &str = "sha1,sha256";

/// Bytes of a request, to be checked.
pub(super) enum Checksum {
    Sha1(Sha1, Vec<u8>),
    Sha256(Sha256, Vec<u8>),
}

/// A field's text.
pub(super) fn text<'a>(parts: &'a request::Parts, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = parts.headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(bad(name, "one value"));
    }
    first.map(HeaderValue::to_str).transpose().map_err(|_| bad(name, "ASCII"))
}

/// A field that is a number of bytes.
pub(super) fn bytes(parts: &request::Parts, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let Some(text) = text(parts, name)? else { return Ok(None) };
    // `parse` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match u64::from_str(text) {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(bad(name, "a whole number of bytes")),
    }
}

/// How long an upload will be; `None` if that is said later.
pub(super) fn length(parts: &request::Parts) -> Result<Option<u64>, Problem> {
    match (bytes(parts, &UPLOAD_LENGTH)?, text(parts, &UPLOAD_DEFER_LENGTH)?) {
        (Some(0), None) => Err(Problem::of(Kind::Empty)),
        (Some(length), None) => Ok(Some(length)),
        (None, Some("1")) => Ok(None),
        (_, Some(_)) => Err(bad(&UPLOAD_DEFER_LENGTH, "1, and instead of Upload-Length")),
        (None, None) => Err(bad(&UPLOAD_LENGTH, "there, or Upload-Defer-Length: 1")),
    }
}

/// What an upload is for.
pub(super) fn purpose(parts: &request::Parts) -> Result<Purpose, Problem> {
    let Some(text) = text(parts, &UPLOAD_CONCAT)? else { return Ok(Purpose::Title) };
    let must = || bad(&UPLOAD_CONCAT, "\"partial\", or \"final;\" and the URLs of the parts, each once");
    if text == "partial" {
        return Ok(Purpose::Part);
    }
    let urls = text.strip_prefix("final;").ok_or_else(must)?;
    let ids = urls.split_ascii_whitespace().map(|url| upload(url).ok_or_else(must)).collect::<Result<Vec<_>, _>>()?;
    // What a part holds counts on a quota once; copied a hundred times it would fill the disk.
    let distinct: HashSet<_> = ids.iter().collect();
    if ids.is_empty() || distinct.len() < ids.len() { Err(must()) } else { Ok(Purpose::Whole(ids)) }
}

/// The upload that a URL names, absolute or not.
fn upload(url: &str) -> Option<UploadId> {
    let (before, id) = url.rsplit_once('/')?;
    before.ends_with("/api/v1/uploads").then(|| id.parse().ok())?
}

/// True if the body is bytes of an upload.
pub(super) fn has_bytes(parts: &request::Parts) -> bool {
    let content_type = parts.headers.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(BYTES.as_bytes()))
}

/// What is wrong with a field.
pub(super) fn bad(name: &HeaderName, must: &str) -> Problem {
    Problem::new(Kind::Body, format!("{name} must be {must}"))
}

impl Checksum {
    /// What the bytes of a request must have, if it says.
    pub(super) fn of(parts: &request::Parts) -> Result<Option<Self>, Problem> {
        let Some(text) = text(parts, &UPLOAD_CHECKSUM)? else { return Ok(None) };
        let must = || bad(&UPLOAD_CHECKSUM, &format!("an algorithm ({ALGORITHMS}), a space, and base64"));
        let (algorithm, encoded) = text.split_once(' ').ok_or_else(must)?;
        let expected = STANDARD.decode(encoded).map_err(|_| must())?;
        match algorithm {
            "sha1" => Ok(Some(Self::Sha1(Sha1::new(), expected))),
            "sha256" => Ok(Some(Self::Sha256(Sha256::new(), expected))),
            _ => Err(must().header(super::TUS_CHECKSUM_ALGORITHM, ALGORITHMS)),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash, _) => hash.update(bytes),
            Self::Sha256(hash, _) => hash.update(bytes),
        }
    }

    pub(super) fn matches(self) -> bool {
        match self {
            Self::Sha1(hash, expected) => hash.finalize().as_slice() == expected,
            Self::Sha256(hash, expected) => hash.finalize().as_slice() == expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_length_is_said_now_or_later_and_never_half() {
        assert_eq!(length(&parts(&[("upload-length", "7")])).unwrap(), Some(7));
        assert_eq!(length(&parts(&[("upload-defer-length", "1")])).unwrap(), None);
        for bad in [
            &[][..],
            &[("upload-length", "0")],
            &[("upload-length", "-1")],
            &[("upload-length", "+1")],
            &[("upload-length", "99999999999999999999")],
            &[("upload-length", "1"), ("upload-length", "2")],
            &[("upload-length", "1"), ("upload-defer-length", "1")],
            &[("upload-defer-length", "2")],
        ] {
            assert!(length(&parts(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parts_are_named_by_url_or_path() {
        const ID: &str = "0123456789abcdef0123456789abcdef";
        const OTHER: &str = "123456789abcdef0123456789abcdef0";
        let read = |text: &str| purpose(&parts(&[("upload-concat", text)]));
        assert_eq!(read("partial").unwrap(), Purpose::Part);
        let two = read(&format!("final;/api/v1/uploads/{ID} https://x.example/api/v1/uploads/{OTHER}")).unwrap();
        assert_eq!(two, Purpose::Whole(vec![ID.parse().unwrap(), OTHER.parse().unwrap()]));
        assert!(read(&format!("final;/api/v1/uploads/{ID} https://x.example/api/v1/uploads/{ID}")).is_err());
        for bad in ["", "final", "final;", "final;../../etc/passwd", "final;/api/v1/uploads/..", "whole", "final;x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("final;/api/v1/videos/{ID}")).is_err());
    }
}

//! WebVTT documents, which a worker writes whole: looked at before anyone gets them.

use bytes::Bytes;

use super::Error;

/// A document as it was made, if it is one: UTF-8 behind the signature (WebVTT §4.1).
///
/// # Errors
/// [`Error::Text`].
pub fn text(document: Bytes) -> Result<Bytes, Error> {
    let is_one = str::from_utf8(&document).is_ok_and(|text| text.starts_with("WEBVTT\n"));
    if is_one { Ok(document) } else { Err(Error::Text(document.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_document_is_refused() {
        assert!(text(Bytes::from_static(b"WEBVTT\n")).is_ok());
        for bad in [&b""[..], b"WEBVTT", b"<html>", b"WEBVTT\n\xff"] {
            assert_eq!(text(Bytes::copy_from_slice(bad)), Err(Error::Text(bad.len())));
        }
    }
}

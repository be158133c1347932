//! `Upload-Metadata`: keys, each with a value in base64.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request;

use super::{UPLOAD_METADATA, fields};
use crate::api::problem::Problem;
use crate::api::{source, video};
use crate::ingest::About;
use crate::ingest::resume::Declared;

/// What the uploader says of the film. Keys nobody knows are given back and mean nothing else; `filetype` is one of them,
/// because what a film is shows in its bytes.
pub(super) fn read(parts: &request::Parts) -> Result<Declared, Problem> {
    let Some(text) = fields::text(parts, &UPLOAD_METADATA)? else { return Ok(Declared::default()) };
    let (mut about, mut seen, mut replaces) = (About::default(), BTreeSet::new(), None);
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, encoded) = pair.split_once(' ').unwrap_or((pair, ""));
        let not =
            |what: &str| fields::bad(&UPLOAD_METADATA, &format!("keys, each with a value in base64; {key} {what}"));
        if !seen.insert(key) {
            return Err(not("is there twice"));
        }
        let value = STANDARD.decode(encoded.trim()).map_err(|_| not("has another"))?;
        let value = String::from_utf8(value).map_err(|_| not("is not UTF-8"))?;
        if key == "replaces" {
            replaces = Some(value.parse().map_err(|_| not("is no title's id"))?);
            continue;
        }
        match key {
            "filename" => about.file_name = value,
            // What Uppy calls it.
            "name" if about.file_name.is_empty() => about.file_name = value,
            _ => {
                video::field(&mut about, key, value)?;
            }
        }
    }
    if replaces.is_some() {
        source::must_say_nothing(&about)?;
    }
    let About { title, description, metadata, policy, file_name, .. } = about;
    let verbatim = text.to_owned();
    Ok(Declared { title, description, metadata, policy, file_name, verbatim, replaces, ..Declared::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::Policy;

    fn declared(text: &str) -> Result<Declared, Problem> {
        let request = http::Request::builder().header(UPLOAD_METADATA, text);
        read(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn what_clients_send_is_understood_and_kept_as_it_was() {
        let text = "filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0, title QSBmaWxt,metadata eyJhIjpbMV19,is_confidential";
        let read = declared(text).unwrap();
        assert_eq!((read.file_name.as_str(), read.title.as_deref()), ("film.mp4", Some("A film")));
        assert_eq!((&read.metadata["a"][0], read.verbatim.as_str()), (&1.into(), text));
        assert_eq!(declared("name ZmlsbS5tcDQ=").unwrap().file_name, "film.mp4");
        assert_eq!(read.policy, Policy::Public);
        assert_eq!(declared("playback_policy c2lnbmVk").unwrap().policy, Policy::Signed);
        assert_eq!(declared("replaces MDAwMDAwMDAwMDAw,filename ZmlsbS5tcDQ=").unwrap().file_name, "film.mp4");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            "filename %2e%2e%2f",
            "filename ZmlsbS5tcDQ=,filename ZmlsbS5tcDQ=",
            "title /w==",
            "title Cg==",
            "title ",
            "metadata W10=",
            "filename a b",
            "playback_policy c2VjcmV0",
            "replaces MDAwMDAwMDAwMDAw,title QSBmaWxt",
            "replaces MDAwMDAwMDAwMDAw,playback_policy c2lnbmVk",
        ] {
            assert!(declared(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~]{0,80}") {
            let _ = declared(&text);
        }
    }
}

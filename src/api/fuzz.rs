//! Whatever this room and `origin` read of a request's head, behind one door: for the fuzzers (`fuzz/`) and for the test
//! that reads again what they kept. Ordinary builds do not have it.

use http::{HeaderName, HeaderValue, Request, request};

use super::route::Route;
use super::{digest, disposition, query, tus};
use crate::catalog::{Cursor, State};
use crate::origin;

/// Reads a request: a line with path and query, then lines with a field each, name and value with a colon between. What
/// hyper would not let through is left out.
pub fn request(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(parts) = parts(&mut lines) else { return };
    let path = parts.uri.path();
    if let Some(route) = Route::parse(path) {
        assert!(path.starts_with("/api/v1/") || path == "/openapi.json", "{route:?} from {path}");
        assert_eq!(Route::parse(path), Some(route));
    }
    let _ = (query::pairs(&parts).count(), query::listing::<Cursor, State>(&parts));
    if let Ok(digests) = digest::expected(&parts.headers) {
        assert!(digests.iter().all(|digest| digest.as_str().len() == 64));
    }
    for value in parts.headers.values() {
        drop(disposition::file_name(value.as_bytes()));
    }
    tus::fuzz(&parts);
    origin::fuzz::request(&parts);
}

fn parts<'a>(lines: &mut impl Iterator<Item = &'a [u8]>) -> Option<request::Parts> {
    let mut request = Request::get(lines.next()?).body(()).ok()?;
    for line in lines.take(32) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    Some(request.into_parts().0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_the_fuzzer_of_requests_kept_is_read_again() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora/requests");
        let inputs: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(!inputs.is_empty(), "nothing was kept");
        for entry in inputs {
            super::request(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

//! A file's name as a header gives it: `Content-Disposition` (RFC 6266), `filename*` (RFC 8187) before `filename`.

use percent_encoding::percent_decode_str;

/// The name, if there is one that can be read. It may be anything, also a path.
pub(super) fn file_name(header: &[u8]) -> Option<String> {
    // Senders put raw UTF-8 there although the field is not meant for it.
    let text = String::from_utf8_lossy(header);
    let (mut plain, mut extended) = (None, None);
    let mut rest = text.split_once(';')?.1;
    while !rest.trim().is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start())?;
        match name.trim().to_ascii_lowercase().as_str() {
            "filename" => plain = Some(value),
            "filename*" => extended = decode(&value),
            _ => {}
        }
        rest = after.trim_start().strip_prefix(';').unwrap_or_default();
    }
    extended.or(plain)
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

/// `charset'language'percent-encoded`.
fn decode(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let utf8 = charset.eq_ignore_ascii_case("utf-8");
    utf8.then(|| percent_decode_str(encoded).decode_utf8().ok().map(std::borrow::Cow::into_owned))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_the_rfcs_write_them() {
        for (header, name) in [
            ("attachment; filename=\"film.mp4\"", Some("film.mp4")),
            ("Attachment; FileName=film.mp4 ; x=y", Some("film.mp4")),
            (r#"form-data; name="file"; filename="a \"b\" \\ c.mp4""#, Some(r#"a "b" \ c.mp4"#)),
            ("attachment; filename=\"x\"; filename*=UTF-8''%e2%82%ac%20rates.mp4", Some("€ rates.mp4")),
            ("attachment; filename*=utf-8'en'a.mp4; filename=b", Some("a.mp4")),
            ("attachment; filename=b; filename*=iso-8859-1''%A3", Some("b")),
            ("attachment; filename=\"größe.mp4\"", Some("größe.mp4")),
            ("attachment", None),
            ("attachment; filename=\"open", None),
            ("", None),
        ] {
            assert_eq!(file_name(header.as_bytes()).as_deref(), name, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(header in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = file_name(&header);
            let _ = file_name(&[b"x; filename=".as_slice(), &header].concat());
        }
    }
}

//! Rust source without comments and without the contents of its literals, so that a rule sees code and nothing else.

/// The code of a source file. Every comment and literal becomes a blank; lines stay where they are.
pub fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = comment(rest).or_else(|| string(rest)).or_else(|| character(rest));
        if let Some(len) = skip {
            out.push(' ');
            out.extend(rest[..len].chars().filter(|c| *c == '\n'));
            rest = &rest[len..];
        } else if c.is_alphanumeric() || c == '_' {
            // A word as a whole, or the r of `for"` would look like the start of a raw string.
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            out.push_str(&rest[..len]);
            rest = &rest[len..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        match rest.get(..2) {
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += rest.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 || at >= text.len() {
            return Some(at.min(text.len()));
        }
    }
}

fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|p| {
        text.strip_prefix(p)
            .is_some_and(|t| t.starts_with('"') || (p.ends_with('r') && t.trim_start_matches('#').starts_with('"')))
    })?;
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    let start = prefix.len() + hashes + 1;
    if prefix.ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
    }
    let mut escaped = false;
    for (at, c) in text[start..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(start + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// A character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if let Some(escape) = body.strip_prefix('\\') {
        let first = escape.chars().next()?.len_utf8();
        return Some(2 + first + escape[first..].find('\'')? + 1);
    }
    let first = body.chars().next()?.len_utf8();
    body[first..].starts_with('\'').then_some(1 + first + 1)
}

#[test]
fn comments_and_literals_vanish_and_code_stays() {
    let text = "a // gst\n/* gst /* gst */ gst */ b \"gst \\\" gst\" c r#\"gst \" gst\"# '\"' d '\\'' e<'x> b\"gst\" for_r\"gst\" f";
    let words: Vec<String> = code(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "b", "c", "d", "e<'x>", "for_r", "f"]);
}

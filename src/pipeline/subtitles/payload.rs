//! The text of a cue, whatever form it came in, as a WebVTT payload (WebVTT §4.2): escaped, without blank lines, with
//! italics, bold and underline and no other markup. Everything here reads what strangers wrote.

/// Longest payload that is kept, bytes: several screens full.
pub const MOST_BYTES: usize = 4096;
/// Longest thing between angle brackets or braces that is taken for markup.
const MOST_TAG_CHARS: usize = 256;
/// Styles open at once.
const MOST_OPEN: usize = 16;

/// Builds a payload.
#[derive(Default)]
struct Payload {
    lines: Vec<String>,
    line: String,
    bytes: usize,
    /// Styles that are open, outermost first.
    open: Vec<char>,
}

/// Text with the tags of SubRip, WebVTT or Pango, and entities.
pub fn from_tagged(text: &str) -> String {
    let mut payload = Payload::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '<'
            && let Some((tag, after)) = enclosed(rest, '>')
        {
            payload.tag(tag);
            rest = after;
            continue;
        }
        // SubRip files carry ASS overrides.
        if c == '{'
            && rest[1..].starts_with('\\')
            && let Some((_, after)) = enclosed(rest, '}')
        {
            rest = after;
            continue;
        }
        if c == '&'
            && let Some((decoded, after)) = entity(rest)
        {
            payload.push(decoded);
            rest = after;
            continue;
        }
        payload.push(c);
        rest = &rest[c.len_utf8()..];
    }
    payload.finish()
}

/// Text without any markup.
pub fn from_plain(text: &str) -> String {
    let mut payload = Payload::default();
    text.chars().for_each(|c| payload.push(c));
    payload.finish()
}

/// The text field of an ASS event: overrides in braces, `\N` for a new line.
pub fn from_ass(text: &str) -> String {
    let mut payload = Payload::default();
    let mut drawing = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '{'
            && let Some((overrides, after)) = enclosed(rest, '}')
        {
            for one in overrides.split('\\').skip(1) {
                match one.as_bytes() {
                    [style @ (b'i' | b'b' | b'u'), b'0'] => payload.close(char::from(*style)),
                    [style @ (b'i' | b'b' | b'u'), b'1'..=b'9', ..] => payload.open(char::from(*style)),
                    [b'p', b'0'] => drawing = false,
                    // What follows are the corners of a shape.
                    [b'p', b'1'..=b'9', ..] => drawing = true,
                    [b'r', ..] => payload.close_all(),
                    _ => {}
                }
            }
            rest = after;
            continue;
        }
        let (shown, length) = match rest.as_bytes() {
            [b'\\', b'N' | b'n', ..] => ('\n', 2),
            [b'\\', b'h', ..] => ('\u{a0}', 2),
            _ => (c, c.len_utf8()),
        };
        if !drawing {
            payload.push(shown);
        }
        rest = &rest[length..];
    }
    payload.finish()
}

/// What stands between the first character and `end`, on one line and not too long, and what follows.
fn enclosed(text: &str, end: char) -> Option<(&str, &str)> {
    let inner = &text[1..];
    let at = inner.char_indices().take(MOST_TAG_CHARS).take_while(|(_, c)| *c != '\n').find(|(_, c)| *c == end)?.0;
    let begins = inner.chars().next()?;
    // `a < b` is no tag; a time of day inside a WebVTT cue is one.
    let is_tag = end != '>' || begins.is_ascii_alphanumeric() || begins == '/';
    is_tag.then(|| (&inner[..at], &inner[at + 1..]))
}

/// The character an entity stands for, and what follows.
fn entity(text: &str) -> Option<(char, &str)> {
    let end = text.bytes().take(12).position(|b| b == b';')?;
    let name = &text[1..end];
    let decoded = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "lrm" => '\u{200e}',
        "rlm" => '\u{200f}',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((decoded, &text[end + 1..]))
}

impl Payload {
    fn push(&mut self, c: char) {
        if self.bytes >= MOST_BYTES {
            return;
        }
        match c {
            '\n' | '\u{2028}' | '\u{2029}' => self.end_line(),
            '&' => self.line.push_str("&amp;"),
            '<' => self.line.push_str("&lt;"),
            '>' => self.line.push_str("&gt;"),
            '\t' => self.line.push(' '),
            c if c.is_control() || c == '\u{feff}' => return,
            c => self.line.push(c),
        }
        self.bytes += c.len_utf8();
    }

    fn tag(&mut self, tag: &str) {
        let (closes, name) = match tag.strip_prefix('/') {
            Some(name) => (true, name),
            None => (false, tag),
        };
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let style = match name {
            "i" | "I" | "em" => 'i',
            "b" | "B" | "strong" => 'b',
            "u" | "U" => 'u',
            "br" | "BR" => return self.end_line(),
            _ => return,
        };
        if closes { self.close(style) } else { self.open(style) }
    }

    fn open(&mut self, style: char) {
        if !self.open.contains(&style) && self.open.len() < MOST_OPEN {
            self.open.push(style);
            self.line.extend(['<', style, '>']);
        }
    }

    /// Ends a style, and those inside it, which begin again: tags must nest.
    fn close(&mut self, style: char) {
        let Some(at) = self.open.iter().position(|open| *open == style) else { return };
        let inner = self.open.split_off(at);
        for open in inner.iter().rev() {
            self.line.extend(['<', '/', *open, '>']);
        }
        for open in &inner[1..] {
            self.open(*open);
        }
    }

    fn close_all(&mut self) {
        while let Some(outermost) = self.open.first().copied() {
            self.close(outermost);
        }
    }

    /// A blank line would end the cue, so there is none.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        // Tags alone stay with what follows.
        let words = line.trim_matches(|c: char| c == ' ' || c == '\r');
        let is_blank = without_tags(words).trim().is_empty();
        match is_blank {
            true if words.is_empty() => {}
            true => self.line = words.to_owned(),
            false => self.lines.push(words.to_owned()),
        }
    }

    fn finish(mut self) -> String {
        self.close_all();
        let rest = std::mem::take(&mut self.line);
        let words = rest.trim().to_owned();
        if without_tags(&words).trim().is_empty() {
            if let Some(last) = self.lines.last_mut() {
                last.push_str(&words);
            }
        } else {
            self.lines.push(words);
        }
        self.lines.join("\n")
    }
}

/// A line of a payload without its styles.
fn without_tags(line: &str) -> String {
    let mut inside = false;
    let outside = |c: &char| {
        let was = inside;
        inside = match c {
            '<' => true,
            '>' => false,
            _ => inside,
        };
        !was && *c != '<'
    };
    line.chars().filter(outside).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn styles_stay_and_everything_else_is_words() {
        assert_eq!(from_tagged("<i>Hello</i> <font color=\"red\">you</font> & me"), "<i>Hello</i> you &amp; me");
        assert_eq!(from_tagged("{\\an8}a < b --> c"), "a &lt; b --&gt; c");
        assert_eq!(from_tagged("<v Bob>Tom &amp; Jerry&#x21;</v><00:00:01.000> x"), "Tom &amp; Jerry! x");
        assert_eq!(from_tagged("<b>one\r\n\r\n<i>two</b>"), "<b>one\n<i>two</i></b><i></i>");
        assert_eq!(from_plain("<i>3 < 4</i>"), "&lt;i&gt;3 &lt; 4&lt;/i&gt;");
    }

    #[test]
    fn ass_overrides_are_taken_out_and_shapes_are_not_read_aloud() {
        assert_eq!(from_ass(r"{\an8\i1}Hello\Nyou{\i0} {\c&H00FF&}there"), "<i>Hello\nyou</i> there");
        assert_eq!(from_ass(r"{\p1}m 0 0 l 100 0{\p0}sign"), "sign");
        assert_eq!(from_ass("{unclosed"), "{unclosed");
    }

    fn is_payload(text: &str) {
        assert!(!text.contains("-->") && !text.contains("\n\n") && !text.contains('\r'), "{text:?}");
        assert!(!text.starts_with('\n') && !text.ends_with('\n'), "{text:?}");
        let mut open = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            let end = at + rest[at..].find('>').expect("a tag ends");
            match &rest[at + 1..end] {
                tag @ ("i" | "b" | "u") => open.push(tag),
                tag => assert_eq!(tag.strip_prefix('/'), open.pop(), "{text:?}"),
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty() && text.len() < 3 * MOST_BYTES * 6, "{text:?}");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_a_payload_comes_out(
            text in r"([a-z <>/&;#\\{}\r\n\t\x00-\x1f-]|<[ibu]>|</[ibu]>|\{\\[ibup][01]\}|\\N|-->|&lt;|\PC){0,60}"
        ) {
            is_payload(&from_tagged(&text));
            is_payload(&from_plain(&text));
            is_payload(&from_ass(&text));
        }
    }
}

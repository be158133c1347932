//! Values: sizes, addresses, what a value must be, and which key was meant.

/// What a key that ends in `_bytes` must be.
pub(super) const SIZE_MUST: &str =
    "a size: bytes as a whole number, or text such as \"256MiB\" (KiB, MiB, GiB, TiB, KB, MB, GB, TB)";

/// Longest value shown in a message.
const SHOWN_CHARS: usize = 80;

/// `"256MiB"`, `"10 GB"`, `"4096"` in bytes.
#[must_use]
pub fn size(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let power =
        |letter: Option<char>| "KMGT".find(letter?.to_ascii_uppercase()).and_then(|n| u32::try_from(n + 1).ok());
    let unit = unit.trim_start();
    let factor = match (unit.len(), unit.get(1..)) {
        (0, _) => 1,
        (1, _) if unit.eq_ignore_ascii_case("b") => 1,
        (3, Some(rest)) if rest.eq_ignore_ascii_case("ib") => 1024_i64.pow(power(unit.chars().next())?),
        (2, Some(rest)) if rest.eq_ignore_ascii_case("b") => 1000_i64.pow(power(unit.chars().next())?),
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

/// A value on one line, not longer than a line.
pub(super) fn shown(value: &toml::Value) -> String {
    let mut text = match value {
        toml::Value::String(text) => format!("{text:?}"),
        other => other.to_string().replace('\n', " "),
    };
    if let Some((cut, _)) = text.char_indices().nth(SHOWN_CHARS) {
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

/// What is wrong with a value, from what the deserializer said: `must be a whole number, 0 or more`.
pub(super) fn complaint(said: &str) -> String {
    let Some((_, expected)) = said.rsplit_once("expected ") else { return said.replace('`', "\"") };
    let expected = match expected {
        "u8" | "u16" | "u64" | "usize" => "a whole number, 0 or more",
        "u32" => "a whole number from 0 to 4294967295",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" | "string only" => "text in quotes",
        "a sequence" => "a list",
        other => return format!("must be {}", other.replace('`', "\"")),
    };
    format!("must be {expected}")
}

/// The known key that an unknown one most likely stands for.
pub(super) fn nearest<'a>(unknown: &str, known: &'a [String]) -> Option<&'a str> {
    fn last(key: &str) -> &str {
        key.rsplit('.').next().unwrap_or(key)
    }
    // Levels and words are divided by `.`, `__`, `_` or `-`, and people mix them up.
    let plain = |key: &str| key.to_lowercase().replace("__", "_").replace(['.', '-'], "_");
    let distance = |key: &&String| edits(&plain(unknown), &plain(key));
    let near = known.iter().min_by_key(distance).filter(|key| distance(key) <= (last(unknown).len() / 3).max(1));
    let begun = || known.iter().find(|key| last(unknown).len() > 2 && key.starts_with(unknown));
    let elsewhere = || known.iter().find(|key| last(key) == last(unknown));
    near.or_else(begun).or_else(elsewhere).map(String::as_str)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let swap = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("16KiB", 16 << 10), ("256 mib", 256 << 20), ("20GiB", 20 << 30)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for (text, bytes) in [("1TiB", 1 << 40), ("10GB", 10_000_000_000), ("7 B", 7), (" 1kb ", 1000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5GiB", "1M", "1 MiBs", "1XiB", "1é", "9999999999TiB", "0x10", "é"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, n) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("workers", "wokers", 1)] {
            assert_eq!((edits(a, b), edits(b, a)), (n, n), "{a} {b}");
        }
    }
}

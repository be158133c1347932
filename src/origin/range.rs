//! Range (RFC 9110 §14). One range is honoured; several are answered with the whole, which is always allowed.

use http::HeaderMap;
use http::header::RANGE;

use super::conditional;

/// What part a request wants, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no Range, one that is not understood, or one that If-Range voids.
    Whole,
    /// From the first byte to the last, both counted, or to the end.
    From(u64, Option<u64>),
    /// That many bytes at the end.
    Last(u64),
}

/// The part of a body of known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 200.
    Whole,
    /// 206: first and last byte, both counted.
    Bytes(usize, usize),
    /// 416.
    Outside,
}

impl Wanted {
    /// Reads Range and If-Range. `etag` is the current strong tag.
    #[must_use]
    pub fn of(headers: &HeaderMap, etag: &str) -> Self {
        let mut values = headers.get_all(RANGE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Self::Whole };
        match value.to_str().ok().and_then(parse) {
            Some(wanted) if conditional::range_applies(headers, etag) => wanted,
            _ => Self::Whole,
        }
    }

    /// Which bytes of `length` these are.
    #[must_use]
    pub fn within(self, length: usize) -> Part {
        let end = length.saturating_sub(1);
        let clip = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match self {
            Self::Whole => Part::Whole,
            Self::From(first, _) if clip(first) >= length => Part::Outside,
            Self::From(first, last) => Part::Bytes(clip(first), last.map_or(end, clip).min(end)),
            Self::Last(0) => Part::Outside,
            Self::Last(_) if length == 0 => Part::Outside,
            Self::Last(count) => Part::Bytes(length.saturating_sub(clip(count)), end),
        }
    }
}

fn parse(value: &str) -> Option<Wanted> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Some(Wanted::From(first, Some(last))),
        (Some(first), None) if last.is_empty() => Some(Wanted::From(first, None)),
        (None, Some(count)) if first.is_empty() => Some(Wanted::Last(count)),
        _ => None,
    }
}

/// Digits only. A number too large to count is still a number: it lies past every end.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn part(range: &str, length: usize) -> Part {
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_str(range).unwrap())]);
        Wanted::of(&headers, "\"a\"").within(length)
    }

    #[test]
    fn single_open_and_suffix_ranges_are_understood() {
        for (range, expected) in [
            ("bytes=0-99", Part::Bytes(0, 99)),
            ("bytes=0-0", Part::Bytes(0, 0)),
            ("bytes=500-", Part::Bytes(500, 999)),
            ("bytes=-100", Part::Bytes(900, 999)),
            ("bytes=-5000", Part::Bytes(0, 999)),
            ("bytes=990-2000", Part::Bytes(990, 999)),
            ("Bytes=1-2", Part::Bytes(1, 2)),
            ("bytes=1000-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=99999999999999999999999-", Part::Outside),
            ("bytes=0-99999999999999999999999", Part::Bytes(0, 999)),
            ("bytes=50-20", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("items=0-1", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            assert_eq!(part(range, 1000), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Outside);
        assert_eq!(part("bytes=-1", 0), Part::Outside);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_body(range in "bytes=[0-9]{0,4}-[0-9]{0,4}", length in 0usize..5000) {
            if let Part::Bytes(first, last) = part(&range, length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}

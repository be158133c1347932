//! Where a cue stands: WebVTT's cue settings (§3.1), kept as far as they are numbers and words of the standard. Everything
//! here reads what strangers wrote.

/// Longest value that is looked at, bytes.
const MOST_BYTES: usize = 24;

/// What stands behind the times of a WebVTT cue, each setting once; the rest is left out. Regions are, because their
/// definitions are not kept, and so is what other formats write there.
pub fn from_webvtt(text: &str) -> String {
    let mut kept: Vec<(&str, String)> = Vec::new();
    for (name, value) in text.split_whitespace().filter_map(|one| one.split_once(':')) {
        if value.len() <= MOST_BYTES
            && kept.iter().all(|(of, _)| *of != name)
            && let Some(value) = valid(name, value)
        {
            kept.push((name, value));
        }
    }
    kept.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(" ")
}

/// The first alignment among the overrides of ASS, which SubRip files have, too: a key of the number pad.
pub fn from_overrides(text: &str) -> String {
    let overrides = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let key = |one: &str| one.strip_prefix("an")?.parse().ok().filter(|key| (1..=9_u8).contains(key));
    let Some(key) = overrides.flat_map(|(inner, _)| inner.split('\\').skip(1)).find_map(key) else {
        return String::new();
    };
    let row = ["", "line:50%", "line:0"][usize::from(key - 1) / 3];
    let column = ["align:left", "", "align:right"][usize::from(key - 1) % 3];
    [row, column].into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A value of a setting, if it is one; how lines and positions are counted from may follow.
fn valid(name: &str, value: &str) -> Option<String> {
    let (place, from) = value.split_once(',').map_or((value, None), |(place, from)| (place, Some(from)));
    let one_of = |words: &[&str], word: &str| words.contains(&word);
    let is_from = |words: &[&str]| from.is_none_or(|from| one_of(words, from));
    let is_valid = match name {
        "vertical" => one_of(&["rl", "lr"], value),
        "line" => (is_percent(place) || is_line(place)) && is_from(&["start", "center", "end"]),
        "position" => is_percent(place) && is_from(&["line-left", "center", "line-right"]),
        "size" => is_percent(value),
        // What drafts of the standard called the centre.
        "align" if value == "middle" => return Some("center".to_owned()),
        "align" => one_of(&["start", "center", "end", "left", "right"], value),
        _ => false,
    };
    is_valid.then(|| value.to_owned())
}

fn is_percent(text: &str) -> bool {
    let Some(number) = text.strip_suffix('%') else { return false };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number(whole) && is_number(part) && number.parse::<f64>().is_ok_and(|n| n <= 100.0)
}

fn is_line(text: &str) -> bool {
    !text.starts_with('+') && text.parse::<i16>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_of_the_standard_stay_and_nothing_else_does() {
        let all = "vertical:rl line:84.5%,end position:10%,line-left size:35% align:start";
        assert_eq!(from_webvtt(all), all);
        assert_eq!(from_webvtt("  line:-1\talign:middle  line:0 "), "line:-1 align:center");
        for none in [
            "",
            "X1:10 X2:20",
            "line:1.5",
            "line:+1",
            "line:99999",
            "size:101%",
            "size:.5%",
            "size:5",
            "align:",
            "region:top",
            "position:5%,start",
            "line:0,middle",
            "align:left,start",
            "-->",
            "line:1%%",
        ] {
            assert_eq!(from_webvtt(none), "", "{none}");
        }
    }

    #[test]
    fn the_number_pad_of_ass_is_where_words_stand() {
        let of = |key: u8| from_overrides(&format!("{{\\i1\\an{key}\\b1}}words"));
        let all: Vec<String> = (0..10).map(of).collect();
        let expected = [
            "",
            "align:left",
            "",
            "align:right",
            "line:50% align:left",
            "line:50%",
            "line:50% align:right",
            "line:0 align:left",
            "line:0",
            "line:0 align:right",
        ];
        assert_eq!(all, expected);
        assert_eq!(from_overrides("{\\an8}top{\\an2}"), "line:0", "the first counts");
        for none in ["{\\an}x", "{\\an10}", "\\an8", "{an8}", "{\\an8"] {
            assert_eq!(from_overrides(none), "", "{none}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_in_one_line_of_settings_comes_out(
            text in r"((vertical|line|position|size|align|region):|rl|start|middle|[0-9]{1,3}|[-+.,%: \n\t{}\\]|an|\PC){0,20}"
        ) {
            for made in [from_webvtt(&text), from_overrides(&text)] {
                prop_assert!(made.bytes().all(|b| b.is_ascii_alphanumeric() || b" :%,.-".contains(&b)), "{}", made);
                prop_assert_eq!(from_webvtt(&made), made);
            }
        }
    }
}

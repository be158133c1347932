//! SubRip and WebVTT files. Both are blocks between blank lines with a line `start --> end`, and files of either kind
//! borrow from the other, so one lenient reader takes both: whatever has no such line is a number, a name, a style or a
//! note.

use super::{Raw, payload, settings};

/// Nanoseconds per millisecond.
const MS: i64 = 1_000_000;

/// The cues of a file, in its order.
pub fn read(text: &str) -> Vec<Raw> {
    let mut cues = Vec::new();
    let mut lines = text.lines().map(str::trim_end).peekable();
    while let Some(line) = lines.next() {
        let Some((start_ms, end_ms)) = timing(line) else { continue };
        let after = line.split_once("-->").and_then(|(_, rest)| rest.trim_start().split_once(char::is_whitespace));
        let told = settings::from_webvtt(after.map_or("", |(_, told)| told));
        let mut words = String::new();
        while let Some(line) = lines.next_if(|l| !l.trim().is_empty() && timing(l).is_none()) {
            if words.len() < payload::MOST_BYTES {
                words.push_str(line);
                words.push('\n');
            }
        }
        // Without a blank line between, the next cue's number was taken for words.
        if lines.peek().is_some_and(|l| timing(l).is_some()) {
            let kept = words.trim_end().rsplit_once('\n').filter(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
            words = kept.map(|(before, _)| before.to_owned()).unwrap_or(words);
        }
        let text = payload::from_tagged(&words);
        let settings = if told.is_empty() { settings::from_overrides(&words) } else { told };
        cues.push(Raw { start_ns: start_ms * MS, end_ns: Some(end_ms * MS), text, settings });
        if cues.len() >= super::MOST_CUES {
            break;
        }
    }
    cues
}

/// `00:01:02,500 --> 00:01:04.000 line:0`: milliseconds.
fn timing(line: &str) -> Option<(i64, i64)> {
    let (start, rest) = line.split_once("-->")?;
    let end = rest.split_whitespace().next()?;
    Some((stamp(start.trim())?, stamp(end)?))
}

/// Hours may be left out, and a comma does for the point.
fn stamp(text: &str) -> Option<i64> {
    let (whole, part) = text.rsplit_once([',', '.']).unwrap_or((text, "0"));
    let digits = |t: &str| (!t.is_empty() && t.len() <= 9 && t.bytes().all(|b| b.is_ascii_digit())).then_some(());
    digits(part)?;
    let mut seconds: i64 = 0;
    let mut parts = 0;
    for number in whole.split(':') {
        digits(number)?;
        seconds = seconds.checked_mul(60)?.checked_add(number.parse().ok()?)?;
        parts += 1;
    }
    let thousandths: i64 = format!("{part:0<3}")[..3].parse().ok()?;
    // A day is longer than any film, and keeps the arithmetic far from its limits.
    (2..=3).contains(&parts).then_some(())?;
    seconds.checked_mul(1000)?.checked_add(thousandths).filter(|ms| *ms < 100 * 3_600_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<(i64, i64, String)> {
        read(text).into_iter().map(|c| (c.start_ns / MS, c.end_ns.unwrap() / MS, c.text)).collect()
    }

    #[test]
    fn subrip_and_webvtt_are_read() {
        let srt = "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>One</i>\r\ntwo\r\n\r\n2\r\n00:01:00,5 --> 01:00:00,000\r\nThree\r\n";
        let expected = [(1_000, 2_500, "<i>One</i>\ntwo".to_owned()), (60_500, 3_600_000, "Three".to_owned())];
        assert_eq!(found(srt), expected);
        let vtt = "WEBVTT - x\n\nNOTE 1 --> 2\n\nSTYLE\n::cue {}\n\nid\n00:01.000 --> 00:02.500 line:0 align:start\n<i>One</i>\ntwo\n\n01:00.500 --> 60:00.000\nThree";
        assert_eq!(found(vtt), expected);
    }

    #[test]
    fn where_words_stand_is_kept() {
        let settings = |text: &str| read(text).into_iter().map(|cue| cue.settings).collect::<Vec<_>>();
        let vtt = "WEBVTT\n\n00:01.000 --> 00:02.000 align:start line:0 x:y\nOne\n\n00:03.000 -->\t00:04.000\nTwo";
        assert_eq!(settings(vtt), ["align:start line:0", ""]);
        let srt = "1\n00:00:01,000 --> 00:00:02,000 X1:5 Y1:6\n{\\an8}One\n\n2\n00:00:03,000 --> 00:00:04,000\nTwo";
        assert_eq!(settings(srt), ["line:0", ""]);
    }

    #[test]
    fn a_missing_blank_line_does_not_join_two_cues() {
        let text = "1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:03,000 --> 00:00:04,000\nTwo";
        assert_eq!(found(text), [(1_000, 2_000, "One".to_owned()), (3_000, 4_000, "Two".to_owned())]);
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in r"([0-9:,. \n-]|-->|WEBVTT|\PC|<|é){0,200}") {
            for cue in read(&text) {
                prop_assert!(cue.start_ns >= 0);
            }
        }
    }
}

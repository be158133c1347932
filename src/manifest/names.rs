//! What a player's menu calls a track, the same in every manifest. Languages and names come out of source files: what
//! passes here can stand between the quotes of an attribute.

use crate::media::{Label, Plan};

/// Longest language tag passed on; RFC 5646 §4.4.1 finds 35 characters enough.
const MAX_LANGUAGE_BYTES: usize = 35;

/// The name of an audio track: the same for all its renditions, different for every track.
#[must_use]
pub fn of_audio(plan: &Plan, track: u32) -> String {
    let mut all: Vec<(u32, String)> = Vec::new();
    for (_, audio) in plan.audio() {
        if all.iter().all(|(of, _)| *of != audio.track) {
            all.push((audio.track, plain(&audio.label, &audio.language, "Audio")));
        }
    }
    distinct(&all, track)
}

/// The name of a text track, different for every track.
#[must_use]
pub fn of_text(plan: &Plan, track: u32) -> String {
    let own = |text: &crate::media::TextRendition| {
        let name = plain(&text.label, &text.language, "Text");
        let says_so = name.to_lowercase().contains("forced");
        if text.label.forced && !says_so { format!("{name} (forced)") } else { name }
    };
    let all: Vec<(u32, String)> = plan.text().map(|(_, text)| (text.track, own(text))).collect();
    distinct(&all, track)
}

/// A tag as it may be passed on, `und` for whatever is none.
#[must_use]
pub fn language(tag: &str) -> &str {
    let is_tag =
        (1..=MAX_LANGUAGE_BYTES).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_tag { tag } else { "und" }
}

fn plain(label: &Label, tag: &str, otherwise: &str) -> String {
    let title = label.title.as_deref().and_then(Label::clean);
    let spoken = Some(language(tag)).filter(|tag| *tag != "und");
    title.or_else(|| spoken.map(str::to_owned)).unwrap_or_else(|| otherwise.to_owned())
}

/// The track's own name, with its number where another track has the same.
fn distinct(all: &[(u32, String)], track: u32) -> String {
    let mut taken: Vec<String> = Vec::new();
    for (of, name) in all {
        let is_shared = all.iter().any(|(other, same)| other != of && same == name);
        let mut full = if is_shared { format!("{name} {}", of + 1) } else { name.clone() };
        // A track may be called what the number makes of another's name.
        while taken.contains(&full) {
            full.push('\'');
        }
        if *of == track {
            return full;
        }
        taken.push(full);
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_two_tracks_have_one_name(names in prop::collection::vec("[ab]( [12])?'?", 1..8)) {
            let all: Vec<(u32, String)> = (0..).zip(names).collect();
            let mut made: Vec<String> = all.iter().map(|(track, _)| distinct(&all, *track)).collect();
            made.sort();
            made.dedup();
            prop_assert_eq!(made.len(), all.len());
        }
    }

    #[test]
    fn a_language_that_could_close_its_quotes_is_unknown() {
        assert_eq!(language("de-AT"), "de-AT");
        for bad in ["", "e\"n", "en\n", &"a".repeat(36)] {
            assert_eq!(language(bad), "und", "{bad:?}");
        }
    }
}

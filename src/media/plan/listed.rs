//! Every track of a source, as a list shows it.

use super::{audio, text};
use crate::media::{Index, Label, Listed, TrackKind};

/// In the order of the index: video, audio, text, and what is not offered.
pub(super) fn tracks(index: &Index) -> Vec<Listed> {
    let line = |kind, codec: &str, language: &str, label: &Label| Listed {
        kind,
        codec: codec.to_owned(),
        language: Some(language.to_owned()),
        name: label.title.clone(),
        channels: None,
        video_range: None,
        default: label.default,
        forced: label.forced,
        offered: true,
        why_not: None,
    };
    let not = |line: Listed, why: String| Listed { offered: false, why_not: Some(why), default: false, ..line };
    let video = index.video.iter().map(|v| Listed {
        language: None,
        video_range: Some(v.colour.range()),
        default: true,
        ..line(TrackKind::Video, &v.track.codec, "und", &Label::default())
    });
    let offered: Vec<usize> = audio::offered(index).map(|(n, _)| n).collect();
    let default = audio::default_track(index);
    let audio = index.audio.iter().enumerate().map(|(n, a)| {
        let label = Label { default: default == Some(n), ..a.label.clone() };
        let listed =
            Listed { channels: Some(a.channels), ..line(TrackKind::Audio, &a.track.codec, &a.language, &label) };
        if offered.contains(&n) {
            listed
        } else {
            not(listed, format!("nothing of it is heard, or it is beyond the first {} tracks", audio::MOST_TRACKS))
        }
    });
    let text = (0..).zip(&index.text).map(|(n, t)| {
        let label = Label { default: text::is_default(index, n), ..t.label.clone() };
        let listed = line(TrackKind::Text, &t.codec, &t.language, &label);
        if (n as usize) < text::MOST_TRACKS {
            listed
        } else {
            not(listed, format!("it is beyond the first {} text tracks", text::MOST_TRACKS))
        }
    });
    let skipped = index.skipped.iter().map(|s| not(line(s.kind, &s.codec, &s.language, &s.label), s.why.clone()));
    video.chain(audio).chain(text).chain(skipped).collect()
}

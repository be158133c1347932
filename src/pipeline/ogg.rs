//! Ogg files that were put together. What follows the first is a link of a chain (RFC 3533 §4), which GStreamer's demuxer
//! passes over or takes for tracks of their own: it is said that there is some.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::media::{Label, Skipped, TrackKind};

/// Most pages that are looked at, some hours of sound.
const MOST_PAGES: usize = 200_000;
/// A page begins with this (RFC 3533 §6), its flags and the number of its segments, whose lengths follow.
const CAPTURE: &[u8] = b"OggS";
const FLAGS_AT: usize = 5;
const SEGMENTS_AT: usize = 26;
const HEAD_BYTES: usize = 27;
/// A stream begins with this page.
const BEGINS: u8 = 2;

/// What comes behind the first link of a chain, as a track that is not offered.
pub fn chained(file: &File) -> Option<Skipped> {
    let mut at = 0;
    let mut has_begun = false;
    let mut head = [0; HEAD_BYTES + 255];
    for _ in 0..MOST_PAGES {
        let read = file.read_at(&mut head, at).ok().filter(|read| *read >= HEAD_BYTES)?;
        let page = head[..read].strip_prefix(CAPTURE).map(|_| &head[..read])?;
        let begins = page[FLAGS_AT] & BEGINS != 0;
        if begins && has_begun {
            return Some(Skipped {
                kind: TrackKind::Audio,
                codec: "Ogg".to_owned(),
                language: "und".to_owned(),
                label: Label::default(),
                why: "the file is several that were put together: what follows the first is not heard behind it"
                    .to_owned(),
            });
        }
        has_begun |= !begins;
        let segments = page.get(HEAD_BYTES..HEAD_BYTES + usize::from(page[SEGMENTS_AT]))?;
        let body: u64 = segments.iter().map(|length| u64::from(*length)).sum();
        at += (HEAD_BYTES + segments.len()) as u64 + body;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn is_chained(pages: &[(u8, usize)]) -> bool {
        let page = |(flags, length): &(u8, usize)| {
            let mut page = [CAPTURE, &[0, *flags], &[0; 20], &[2, 255, u8::try_from(length % 255).unwrap()]].concat();
            page.resize(page.len() + 255 + length % 255, 7);
            page
        };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&pages.iter().flat_map(page).collect::<Vec<u8>>()).unwrap();
        chained(&file).is_some()
    }

    /// The second half of a broadcast was missing, and nothing said so.
    #[test]
    fn a_file_in_which_a_stream_begins_behind_another_is_a_chain_and_one_of_several_streams_is_not() {
        assert!(is_chained(&[(2, 30), (0, 200), (4, 9), (2, 30), (0, 100)]));
        assert!(!is_chained(&[(2, 30), (2, 40), (0, 200), (0, 1), (4, 100)]));
        assert!(!is_chained(&[]));
    }
}

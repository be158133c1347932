//! Frames that could not be decoded.

use super::*;

#[test]
fn bridged_frames_are_counted_once_and_go_with_the_last_title_of_their_source() {
    let (data, catalog) = catalog();
    let (one, two) = (title(1, 1), title(2, 2));
    let (source, recipe) = (one.source.clone(), "0123456789abcdef".parse().unwrap());
    let note = |rendition: &str, segment, frames| {
        catalog.note_bridged((&source, &recipe), (&rendition.parse().unwrap(), segment), frames).unwrap();
    };
    note("360p", 0, 9);
    let two = NewTitle { source: source.clone(), ..two };
    for title in [&one, &two] {
        catalog.insert_ready(title).unwrap();
    }
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 0, "nobody had it");
    for (rendition, segment, frames) in [("360p", 0, 3), ("360p", 7, 4), ("144p", 0, 3), ("360p", 0, 3)] {
        note(rendition, segment, frames);
    }
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 7);
    assert_eq!(catalog.bridged(&source, &"01fedcba98765432".parse().unwrap()).unwrap(), 0);
    removed(&catalog, &one.id);
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 7);
    sql(data.path(), &format!("UPDATE titles SET source = '{}'", "7b".repeat(32)));
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 0, "its source was replaced");
    sql(data.path(), &format!("UPDATE titles SET source = '{source}'"));
    note("360p", 0, 3);
    removed(&catalog, &two.id);
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 0);
}

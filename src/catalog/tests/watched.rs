//! Files of a watched folder.

use super::*;

#[test]
fn a_watched_file_is_forgotten_once_it_was_away_for_a_day() {
    const HOUR: i64 = 3_600_000;
    let (_data, catalog) = catalog();
    let lying = |file: &str| Lying { file: file.into(), beside: vec![format!("{file}.srt")] };
    let failure = Failure { code: "not_media".into(), message: "no film".into() };
    catalog.note_refused(&lying("kept"), &failure, 0).unwrap();
    catalog.insert_ready(&NewTitle { watched: Some(lying("away")), ..title(1, 0) }).unwrap();
    let away = || catalog.watched("away").unwrap();
    let both = ["kept".to_owned(), "away".to_owned()];
    catalog.see_watched(&both, 30 * HOUR).unwrap();
    for hour in 31..=54 {
        catalog.see_watched(&both[..1], hour * HOUR).unwrap();
    }
    assert_eq!(away(), Some((Watched::Title(title(1, 0).id), vec!["away.srt".to_owned()])));
    catalog.see_watched(&both[..1], 56 * HOUR).unwrap();
    assert_eq!(away(), None);
    assert_eq!(catalog.watched("kept").unwrap(), Some((Watched::Refused(failure), vec!["kept.srt".to_owned()])));
}

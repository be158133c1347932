//! Creations: what is remembered of how a title came.

use super::*;

#[test]
fn the_creation_of_an_upload_outlives_a_day_and_is_forgotten_with_its_mark() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let (_data, catalog) = catalog();
    let enter = |number: u64, creation: &Creation, at_ms| {
        let arrival = Arrival {
            id: TitleId::from_random(number),
            name: "film".into(),
            description: String::new(),
            metadata: Metadata::new(),
            created_at_ms: at_ms,
            bytes: Place::Here { source: "7a".repeat(32).parse().unwrap(), size_bytes: 1 },
            file_name: "film.mp4".into(),
            policy: crate::media::Policy::Public,
            token_until_ms: None,
            creation: Some(creation.clone()),
            owner: None,
        };
        catalog.insert_arrival(&arrival, &new_job_id().unwrap()).unwrap()
    };
    let upload = Creation::of_upload(&"0".repeat(32).parse().unwrap());
    let clients = Creation { key: "me\nmine".into(), fingerprint: String::new() };
    assert_eq!((enter(1, &upload, 0), enter(2, &clients, 0)), (None, None));
    let other = Creation { key: "me\nother".into(), fingerprint: String::new() };
    assert_eq!(enter(3, &other, 365 * DAY_MS), None);
    assert_eq!(catalog.creation(&clients, None).unwrap(), None);
    assert_eq!(catalog.creation(&upload, None).unwrap(), Some(Known::Made(TitleId::from_random(1))));
    catalog.forget_creation(&upload).unwrap();
    assert_eq!(catalog.creation(&upload, None).unwrap(), None);
}

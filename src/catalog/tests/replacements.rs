//! Sources that take the place of others.

use super::*;

#[test]
fn a_newer_source_calls_off_an_older_one_that_waits_and_the_old_one_stays_in_use_until_it_is_replaced() {
    let (_data, catalog) = catalog();
    let old = title(1, 1);
    catalog.insert_ready(&old).unwrap();
    let digest = |n: u32| format!("{n:064x}").parse::<crate::media::Digest>().unwrap();
    let new = |n, expected| Replacement {
        title: old.id.clone(),
        source: digest(n),
        file_name: None,
        size_bytes: 7,
        expected,
        configured: crate::media::Quota::default(),
        at_ms: 5,
    };
    let (first, second) = (new_job_id().unwrap(), new_job_id().unwrap());
    assert_eq!(catalog.replace(&new(1, Some(2)), &first).unwrap(), Replacing::Stale);
    assert_eq!(catalog.replace(&new(1, Some(1)), &first).unwrap(), Replacing::Entered(Vec::new()));
    let superseded = vec![(first.clone(), digest(1))];
    assert_eq!(catalog.replace(&new(2, None), &second).unwrap(), Replacing::Entered(superseded));
    assert_eq!(catalog.job(&first).unwrap().unwrap().state, JobState::Cancelled);
    let in_use = |n| catalog.sources_in_use(&digest(n)).unwrap();
    assert_eq!((in_use(1), in_use(2), catalog.sources_in_use(&old.source).unwrap()), (0, 1, 1));
    let lease = Lease { owner: "me", now_ms: 6, until_ms: 9 };
    assert_eq!(catalog.claim(Kind::Process, lease, &[]).unwrap(), None);
    let job = catalog.claim(Kind::Replace, lease, &[]).unwrap().unwrap();
    assert_eq!((&job.id, job.source.as_ref(), job.film()), (&second, Some(&digest(2)), ("film.mp4".into(), 7)));
    let ready = Outcome::Ready { plan: Arc::new(plan()), notes: Vec::new() };
    assert!(catalog.end_attempt(&job, "me", 8, &ready).unwrap());
    let entry = catalog.title(&old.id).unwrap().unwrap().entry;
    assert_eq!((entry.source, entry.size_bytes, entry.version), (Some(digest(2)), 7, 4));
    assert_eq!((in_use(2), catalog.sources_in_use(&old.source).unwrap()), (1, 0));
    assert_eq!(catalog.replace(&new(2, None), &first).unwrap(), Replacing::Same(Vec::new()));
    assert_eq!(
        catalog.replace(&Replacement { title: TitleId::from_random(9), ..new(3, None) }, &first).unwrap(),
        Replacing::Absent
    );
}

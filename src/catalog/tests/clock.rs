//! A clock that was put back.

use std::slice::from_ref;

use super::*;

const HOUR_MS: i64 = 3_600_000;

fn failure() -> Failure {
    Failure { code: "disk_full".into(), message: "no room".into() }
}

/// What was entered or put off before waited until the clock had caught up.
#[test]
fn no_job_waits_for_a_clock_that_was_put_back() {
    let (_data, catalog) = catalog();
    let film = title(1, 1);
    catalog.insert_ready(&film).unwrap();
    let lease = |now_ms| Lease { owner: "me", now_ms, until_ms: now_ms + 9 };
    let enter = |now_ms| {
        let id = new_job_id().unwrap();
        catalog.insert_warming(&id, &film.id, "{}", now_ms).unwrap();
        id
    };
    let claim = |now_ms, mine: &[crate::media::JobId]| {
        catalog.claim(Kind::Warm, lease(now_ms), mine).unwrap().map(|job| job.id)
    };
    let noon = 100 * HOUR_MS;
    let tried = enter(noon);
    let job = catalog.claim(Kind::Warm, lease(noon), &[]).unwrap().unwrap();
    let again = |due_at_ms| Outcome::Again { due_at_ms, failure: failure() };
    assert!(catalog.end_attempt(&job, "me", noon, &again(noon + 60_000)).unwrap());
    assert_eq!(claim(noon + 1, &[]), None, "its pause is not over");
    let new = enter(noon + 2);
    // By a little: a pause stays a pause, and what was never tried has none.
    assert_eq!(claim(noon - 60_000, &[]), Some(new.clone()));
    assert_eq!(claim(noon - 60_000, from_ref(&new)), None);
    // By more than there are pauses.
    assert_eq!(claim(noon - HOUR_MS, from_ref(&new)), Some(tried.clone()));
    // A lease, too.
    assert_eq!(claim(noon - 3 * HOUR_MS, from_ref(&tried)), None);
    assert_eq!(claim(noon - 3 * HOUR_MS + 1, &[tried]), Some(new));
}

#[test]
fn no_delivery_waits_for_a_clock_that_was_put_back() {
    let (_data, catalog) = catalog();
    let webhook = Webhook {
        id: "000000000001".parse().unwrap(),
        url: "https://example.org".into(),
        events: vec![News::Ready],
        created_at_ms: 1,
        disabled: None,
    };
    assert!(catalog.insert_webhook(&webhook).unwrap());
    let noon = 100 * HOUR_MS;
    catalog.insert_ready(&title(1, noon)).unwrap();
    let claim = |now_ms| catalog.claim_delivery(&[], now_ms, now_ms + 9).unwrap();
    let first = claim(noon).unwrap();
    catalog.end_delivery(&first, None, &Told::Again(noon + HOUR_MS, "down".into()), noon).unwrap();
    assert_eq!(claim(noon + 1), None, "its pause is not over");
    catalog.insert_ready(&title(2, noon + 1)).unwrap();
    let second = claim(noon - HOUR_MS).unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(claim(noon - HOUR_MS), None);
    assert_eq!(claim(noon - 9 * HOUR_MS).map(|delivery| delivery.webhook), Some(webhook.id));
}

#[test]
fn what_a_killed_server_had_in_hand_is_due_at_the_next_start_whatever_its_clock_said() {
    let (_data, catalog) = catalog();
    let film = title(1, 1);
    catalog.insert_ready(&film).unwrap();
    let (held, waiting) = (new_job_id().unwrap(), new_job_id().unwrap());
    let far = 100 * HOUR_MS;
    catalog.insert_warming(&held, &film.id, "{}", far).unwrap();
    let lease = |owner, now_ms| Lease { owner, now_ms, until_ms: now_ms + 9 };
    assert!(catalog.claim(Kind::Warm, lease("killed", far), &[]).unwrap().is_some());
    catalog.insert_warming(&waiting, &film.id, "{}", far).unwrap();
    catalog.release_jobs(5).unwrap();
    let claim = || catalog.claim(Kind::Warm, lease("next", 5), &[]).unwrap().map(|job| (job.id, job.attempts));
    let mut claimed = [claim().unwrap(), claim().unwrap()];
    let mut expected = [(held, 2), (waiting, 1)];
    claimed.sort();
    expected.sort();
    assert_eq!((claimed, claim()), (expected, None));
}

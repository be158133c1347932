//! Jobs.

use super::*;

#[test]
fn a_claimant_does_not_claim_what_it_is_at_and_waiting_does_not_count() {
    let (_data, catalog) = catalog();
    let film = title(1, 1);
    catalog.insert_ready(&film).unwrap();
    let id = new_job_id().unwrap();
    catalog.insert_warming(&id, &film.id, "{}", 1).unwrap();
    let lease = |now_ms| Lease { owner: "me", now_ms, until_ms: now_ms + 9 };
    let job = catalog.claim(Kind::Warm, lease(1), &[]).unwrap().unwrap();
    let mine = [id];
    // The machine was paused: the lease has run out, and the heartbeat keeps it.
    assert_eq!(catalog.claim(Kind::Warm, lease(100), &mine).unwrap(), None);
    assert_eq!(
        (catalog.next_due(Kind::Warm, &mine).unwrap(), catalog.next_due(Kind::Warm, &[]).unwrap()),
        (None, Some(11))
    );
    assert!(catalog.beat(&job.id, lease(100), 0).unwrap());
    let failure = Failure { code: "disk_full".into(), message: "no room".into() };
    let waits = Outcome::Waits { due_at_ms: 200, failure: failure.clone() };
    assert!(catalog.end_attempt(&job, "me", 101, &waits).unwrap());
    let waiting = catalog.job(&job.id).unwrap().unwrap();
    assert_eq!((waiting.state, waiting.attempts, waiting.due_at_ms), (JobState::Queued, 0, 200));
    assert_eq!(waiting.failure, Some(failure));
}

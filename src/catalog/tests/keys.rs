//! Keys and their quotas.

use super::*;

#[test]
fn what_waits_to_be_a_source_and_what_is_fetched_counts_on_a_quota() {
    let (data, catalog) = catalog();
    let (key, other): (crate::media::KeyId, crate::media::KeyId) =
        ("000000000001".parse().unwrap(), "000000000002".parse().unwrap());
    let quota = crate::media::Quota { max_bytes: Some(20), ..crate::media::Quota::default() };
    for (number, name) in [(1, "one"), (2, "two")] {
        catalog.insert_ready(&NewTitle { name: name.into(), size_bytes: 2, ..title(number, 1) }).unwrap();
    }
    sql(data.path(), &format!("UPDATE titles SET owner = '{key}'"));
    let digest = |n: u64| format!("{n:064x}").parse::<crate::media::Digest>().unwrap();
    let replace = |number, size_bytes| {
        let new = Replacement {
            title: TitleId::from_random(number),
            source: digest(number * 100 + size_bytes),
            file_name: None,
            size_bytes,
            expected: None,
            configured: quota,
            at_ms: 5,
        };
        catalog.replace(&new, &new_job_id().unwrap()).unwrap()
    };
    let over = Replacing::Over(crate::media::Exceeded::Bytes(20));
    let bytes = || (catalog.usage(&key).unwrap().bytes, catalog.usages().unwrap()[key.as_str()].bytes);
    assert_eq!(bytes(), (4, 4));
    assert_eq!((replace(1, 19), bytes()), (over.clone(), (4, 4)));
    assert_eq!((replace(1, 18), bytes()), (Replacing::Entered(Vec::new()), (20, 20)));
    assert_eq!(replace(2, 3), over, "the other one waits and counts");
    // What it supersedes goes for it.
    assert!(matches!(replace(1, 17), Replacing::Entered(superseded) if superseded.len() == 1));
    assert_eq!(bytes(), (19, 19));
    let counted = |number| catalog.counted(&TitleId::from_random(number)).unwrap();
    assert_eq!(counted(1), Some(Counted { owner: Some(key.clone()), bytes: 17 }));
    assert_eq!((counted(2).unwrap().bytes, counted(3)), (2, None));

    let fetch = |number| {
        let arrival = Arrival {
            id: TitleId::from_random(number),
            name: "film".into(),
            description: String::new(),
            metadata: Metadata::new(),
            created_at_ms: 6,
            bytes: Place::Elsewhere { detail: "{}".into(), limit: 9 },
            file_name: "film.mp4".into(),
            policy: crate::media::Policy::Public,
            token_until_ms: None,
            creation: None,
            owner: Some(Owner { key: other.clone(), quota }),
        };
        assert_eq!(catalog.insert_arrival(&arrival, &new_job_id().unwrap()).unwrap(), None);
        catalog.claim(Kind::Fetch, Lease { owner: "me", now_ms: 7, until_ms: 9 }, &[]).unwrap().unwrap()
    };
    let owner = Owner { key: other.clone(), quota };
    let (first, second) = (fetch(4), fetch(5));
    let announce = |job: &Job, bytes| catalog.announce_fetched(job, "me", bytes, Some(&owner)).unwrap();
    assert_eq!(announce(&first, 15), Entered::Done);
    assert_eq!(announce(&second, 6), Entered::Over(crate::media::Exceeded::Bytes(20)));
    assert_eq!(announce(&first, 14), Entered::Done, "another one by now");
    assert_eq!(announce(&second, 6), Entered::Done);
    assert_eq!(catalog.announce_fetched(&first, "somebody", 1, None).unwrap(), Entered::Lost);
    assert_eq!(catalog.usage(&other).unwrap().bytes, 20);
    let fetched =
        |size_bytes| Fetched { source: digest(9), size_bytes, next: new_job_id().unwrap(), owner: Some(owner.clone()) };
    let over = Entered::Over(crate::media::Exceeded::Bytes(20));
    assert_eq!(catalog.enter_fetched(&second, "me", 8, &fetched(7)).unwrap(), over, "it was longer than announced");
    assert_eq!(catalog.enter_fetched(&first, "me", 8, &fetched(14)).unwrap(), Entered::Done);
    assert_eq!(catalog.usage(&other).unwrap().bytes, 20);
}

/// After a thousand keys none could be added, whatever was revoked.
#[test]
fn keys_that_were_revoked_make_room_for_others() {
    let (data, catalog) = catalog();
    let ids = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 999)";
    sql(
        data.path(),
        &format!(
            "{ids} INSERT INTO api_keys (id, name, hash, scopes, created_at_ms)
                 SELECT printf('%012d', n), 'key', zeroblob(32), 'read', n FROM n"
        ),
    );
    let key = |id: &str| ApiKey {
        id: id.parse().unwrap(),
        name: "new".into(),
        hash: [0; 32],
        scopes: "read".parse().unwrap(),
        created_at_ms: 2000,
        used_at_ms: None,
        revoked_at_ms: None,
        quota: crate::media::Quota::default(),
    };
    let (one, two) = (key("00000000000a"), key("00000000000b"));
    assert!(!catalog.insert_key(&one).unwrap());
    let [oldest, older, old] = [3, 4, 5].map(|n| format!("{n:012}").parse::<crate::media::KeyId>().unwrap());
    for (n, id) in [&oldest, &older, &old].into_iter().enumerate() {
        assert!(catalog.revoke_key(id, 3000 + n as i64).unwrap());
    }
    // Whose a title is stays known.
    catalog.insert_ready(&title(1, 1)).unwrap();
    sql(data.path(), &format!("UPDATE titles SET owner = '{oldest}'"));
    assert!(catalog.insert_key(&one).unwrap() && catalog.insert_key(&two).unwrap());
    let there = [&oldest, &older, &old, &one.id, &two.id].map(|id| catalog.key(id).unwrap().is_some());
    assert_eq!(there, [true, false, false, true, true]);
    assert_eq!(catalog.keys().unwrap().len(), 1000);
}

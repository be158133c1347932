//! Titles.

use super::*;

#[test]
fn a_title_comes_back_as_it_was_put_in_also_after_a_restart() {
    let (data, catalog) = catalog();
    let new = title(7, 1_700_000_000_123);
    catalog.insert_ready(&new).unwrap();
    drop(catalog);
    let found = Catalog::open(data.path()).unwrap().title(&new.id).unwrap().unwrap();
    assert_eq!(found.plan.as_deref(), Some(&*new.plan));
    let expected = Entry {
        id: new.id,
        name: new.name,
        state: State::Ready,
        failure: None,
        created_at_ms: 1_700_000_000_123,
        source: Some(new.source),
        file_name: new.file_name,
        size_bytes: 1 << 40,
        duration_s: Some(new.plan.duration_seconds()),
        notes: new.notes,
        description: String::new(),
        metadata: Metadata::new(),
        version: 1,
        policy: crate::media::Policy::Public,
    };
    assert_eq!(found.entry, expected);
}

#[test]
fn a_title_of_another_version_than_expected_is_not_removed() {
    let (_data, catalog) = catalog();
    catalog.insert_ready(&title(1, 1)).unwrap();
    let id = TitleId::from_random(1);
    let version = catalog.title(&id).unwrap().unwrap().entry.version;
    assert_eq!(catalog.remove(&id, Some(version + 1)).unwrap(), Removal::Stale);
    assert!(matches!(catalog.remove(&id, Some(version)).unwrap(), Removal::Done(_)));
}

#[test]
fn an_unknown_title_is_none_and_removing_it_is_false() {
    let (_data, catalog) = catalog();
    let id = TitleId::from_random(1);
    assert_eq!(catalog.title(&id).unwrap(), None);
    assert_eq!(catalog.remove(&id, None).unwrap(), Removal::Absent);
}

#[test]
fn a_source_is_in_use_until_the_last_title_that_names_it_is_removed() {
    let (_data, catalog) = catalog();
    let (one, two) = (title(1, 1), title(2, 2));
    let in_use = || catalog.sources_in_use(&one.source).unwrap();
    assert_eq!((catalog.count().unwrap(), in_use()), (0, 0));
    catalog.insert_ready(&one).unwrap();
    catalog.insert_ready(&two).unwrap();
    assert_eq!((catalog.count().unwrap(), in_use()), (2, 2));
    assert_eq!(removed(&catalog, &one.id).source.as_ref(), Some(&one.source));
    assert_eq!(in_use(), 1);
    assert_eq!(removed(&catalog, &two.id).plan.as_deref(), Some(&*two.plan));
    assert_eq!((catalog.count().unwrap(), in_use()), (0, 0));
}

#[test]
fn an_id_is_taken_once() {
    let (_data, catalog) = catalog();
    catalog.insert_ready(&title(1, 1)).unwrap();
    assert!(matches!(catalog.insert_ready(&title(1, 2)), Err(Error::Sqlite(_))));
    assert_eq!(catalog.count().unwrap(), 1);
}

#[test]
fn pages_newest_first_show_every_title_once_even_if_they_were_added_in_the_same_millisecond() {
    let (_data, catalog) = catalog();
    for number in 0..7 {
        catalog.insert_ready(&title(number, i64::from(number > 1))).unwrap();
    }
    let (mut seen, mut after): (Vec<(i64, String)>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = catalog.titles(after.as_ref(), 3, None).unwrap();
        assert!(page.entries.len() <= 3);
        seen.extend(page.entries.iter().map(|e| (e.created_at_ms, e.id.to_string())));
        // Through its text, as a client sends it back.
        match page.next {
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    let mut expected = seen.clone();
    expected.sort_by(|a, b| b.cmp(a));
    expected.dedup();
    assert_eq!((seen.len(), &seen), (7, &expected));
}

#[test]
fn a_full_last_page_has_no_next_and_a_limit_is_bounded() {
    let (_data, catalog) = catalog();
    for number in 0..3 {
        catalog.insert_ready(&title(number, 0)).unwrap();
    }
    assert_eq!(catalog.titles(None, 3, None).unwrap().next, None);
    assert_eq!(catalog.titles(None, 0, None).unwrap().entries.len(), 1);
    assert_eq!(catalog.titles(None, u32::MAX, None).unwrap().entries.len(), 3);
}

#[test]
fn titles_of_one_state_are_listed_alone_and_a_failed_one_says_why() {
    let (data, catalog) = catalog();
    catalog.insert_ready(&title(1, 1)).unwrap();
    sql(
        data.path(),
        "INSERT INTO titles (id, name, state, error_code, error_message, created_at_ms, file_name, size_bytes)
         VALUES ('000000000009', 'x', 'failed', 'not_media', 'no film', 2, 'x', 1)",
    );
    let failed = catalog.titles(None, 10, Some(State::Failed)).unwrap().entries;
    let why = Failure { code: "not_media".into(), message: "no film".into() };
    assert_eq!(failed.iter().map(|e| e.failure.clone()).collect::<Vec<_>>(), [Some(why)]);
    assert_eq!(catalog.titles(None, 10, Some(State::Ready)).unwrap().entries.len(), 1);
    assert_eq!(catalog.title(&failed[0].id).unwrap().unwrap().plan, None);
}

#[test]
fn cursors_that_are_not_ours_are_refused() {
    for bad in ["", "-", "1", "1-", "x-000000000001", "1-000000000001-", "1-../../../../x"] {
        assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
    }
    assert!("-5-000000000001".parse::<Cursor>().is_ok(), "clocks may stand before 1970");
}

#[test]
fn one_damaged_row_is_named_and_the_others_can_be_read() {
    let (data, catalog) = catalog();
    let (good, bad) = (title(1, 1), title(2, 2));
    catalog.insert_ready(&good).unwrap();
    catalog.insert_ready(&bad).unwrap();
    sql(data.path(), &format!("UPDATE plans SET plan = '{{' WHERE title = '{}'", bad.id));
    let said = catalog.title(&bad.id).unwrap_err().to_string();
    assert!(said.contains(bad.id.as_str()) && said.contains("remove the title"), "{said}");
    assert!(catalog.title(&good.id).unwrap().is_some());
}

#[test]
fn a_rows_mark_changes_with_the_row_and_not_with_others() {
    let (data, catalog) = catalog();
    let (one, other) = (title(1, 5), title(2, 6));
    assert_eq!(catalog.mark(&one.id).unwrap(), None);
    catalog.insert_ready(&one).unwrap();
    let mark = catalog.mark(&one.id).unwrap();
    assert!(mark.is_some());
    catalog.insert_ready(&other).unwrap();
    assert_eq!(catalog.mark(&one.id).unwrap(), mark);
    assert_ne!(catalog.mark(&other.id).unwrap(), mark);
    for change in ["name = name || '.'", "duration_s = duration_s + 1", "version = version + 1", "notes = '[]'"] {
        let before = catalog.mark(&one.id).unwrap();
        sql(data.path(), &format!("UPDATE titles SET {change} WHERE id = '{}'", one.id));
        assert_ne!(catalog.mark(&one.id).unwrap(), before, "{change}");
    }
    removed(&catalog, &one.id);
    assert_eq!(catalog.mark(&one.id).unwrap(), None);
}

#[test]
fn who_removes_a_title_hears_what_it_had_in_that_moment() {
    let (_data, catalog) = catalog();
    let old = title(1, 1);
    catalog.insert_ready(&old).unwrap();
    let (job, warming) = (new_job_id().unwrap(), new_job_id().unwrap());
    let new = Replacement {
        title: old.id.clone(),
        source: "7b".repeat(32).parse().unwrap(),
        file_name: None,
        size_bytes: 7,
        expected: None,
        configured: crate::media::Quota::default(),
        at_ms: 5,
    };
    assert_eq!(catalog.replace(&new, &job).unwrap(), Replacing::Entered(Vec::new()));
    catalog.insert_warming(&warming, &old.id, "{}", 5).unwrap();
    let Removed { source, plan, mut jobs, successors, size_bytes } = removed(&catalog, &old.id);
    assert_eq!((source, plan, size_bytes), (Some(old.source), Some(old.plan), old.size_bytes));
    let mut expected = vec![job, warming];
    jobs.sort();
    expected.sort();
    assert_eq!((jobs, successors), (expected, vec![new.source]));
}
